"""The claims table as people read it, in Markdown and HTML, and its files. It shows what was judged and judges nothing.

claims.csv       every row with its interval, verdict and reason (and .parquet)
claims_runs.csv  the run ids behind each row's note
predictors.csv   every predictor beside every front's critical batch
closest.csv      each study's predictors in order of how near they come
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rl_gns.analysis.claims import Claim
from rl_gns.errors import UserError
from rl_gns.report import overview
from rl_gns.report.style import rendered
from rl_gns.studies import predictors
from rl_gns.studies.claims import claims, notes, repeats, tally, to_frame
from rl_gns.studies.scope import Scope
from rl_gns.studies.store import put, write_tables
from rl_gns.studies.words import counted, said, spread

BEGIN, END = "<!-- claims -->", "<!-- end of claims -->"
FRONTS_BEGIN, FRONTS_END = "<!-- fronts -->", "<!-- end of fronts -->"


def tables_of(scopes: Sequence[Scope]) -> dict[str, pd.DataFrame]:
    """Name -> the tables of this file's docstring; empty ones are left out."""
    rows = claims(scopes)
    beside = [table for scope in scopes if len(table := predictors.table(scope))]
    found = {
        "claims": to_frame(rows),
        "claims_runs": notes(rows),
        "predictors": pd.concat(beside, ignore_index=True) if beside else pd.DataFrame(),
        "closest": pd.concat([predictors.closest([scope]).assign(study=scope.name) for scope in scopes]),
    }
    return {name: table for name, table in found.items() if len(table)}


def write(scopes: Sequence[Scope], folder: Path) -> dict[str, pd.DataFrame]:
    """Write the tables as CSV and Parquet and return them. Raises as `store.put`."""
    tables = tables_of(scopes)
    write_tables(folder, tables)
    return tables


def markdown(scopes: Sequence[Scope]) -> str:
    """Tally, table by study, which predictor comes closest; folded, every row with its reason and the run ids of notes.

    Of the paper's own fronts only what is said of all games together; the CSV has each game.
    """
    theirs = {scope.name for scope in scopes if not scope.owned}
    once = "".join(
        f" Among all Atari studies {name} does not count, as {before} is of the same game."
        for name, before in repeats(scopes).items()
    )
    rows = [row for row in claims(scopes) if row.scope not in theirs]
    scopes = [scope for scope in scopes if scope.owned]
    names = [scope.name for scope in scopes]
    orders = {scope.name: predictors.closest([scope]) for scope in scopes}
    parts = [
        f"{tally(rows)}. In brackets: 95 % intervals. Why a verdict is what it is, and the runs behind it, are listed "
        f"below.{once}",
        _grid(by_study(rows, names)),
        "**Which predictor comes closest to B_crit**, study by study: what holds of one is no sample of the others.",
        *(f"* {name}: {predictors.sentence(order)}" for name, order in orders.items()),
    ]
    known = [closest_shown(order).assign(study=name) for name, order in orders.items() if len(order)]
    if known:
        together = pd.concat(known, ignore_index=True)
        parts.append(_grid(together[["study", *(name for name in together if name != "study")]]))
    parts.append(
        _folded("Every row, with its reason; the last column numbers the sets of runs", _grid(shown(rows)))
    )
    named = notes(rows)
    if len(named):
        lines = [
            f"* [{number}] {counted(len(some), 'run')}: {_compact(some['run'].tolist())}"
            for number, some in named.groupby("note")
        ]
        parts.append(_folded("Run ids", "\n".join(lines)))
    return "\n\n".join(parts)


def shown(rows: Sequence[Claim]) -> pd.DataFrame:
    """The table of claims with numbers as text."""
    frame = to_frame(rows)
    measured = [
        said(row["measured"], row["measured_low"], row["measured_high"], none="–")
        for row in frame.to_dict("records")
    ]
    note = [f"[{number}]" if number else "–" for number in frame["note"]]
    what = [
        f"{row['says']}, {row['where']}" if row["where"] else row["says"] for row in frame.to_dict("records")
    ]
    columns = {"claim": frame["claim"], "what": what, "study": frame["study"], "band": frame["band"]}
    return pd.DataFrame(
        {**columns, "measured": measured, "verdict": frame["verdict"], "why": frame["why"], "runs": note}
    )


def by_study(rows: Sequence[Claim], order: Sequence[str]) -> pd.DataFrame:
    """A row per claim and band, a column per study: verdict, number, interval; studies in `order`, then all others.

    What a claim says at several goals or rollout lengths of one study stands in one cell.
    """
    frame = shown(rows)
    where = [f" ({row.where})" if row.where else "" for row in rows]
    said_so = [
        {"pass": "**pass**", "fail": "**fail**"}.get(row["verdict"], row["verdict"])
        + at
        + ("" if row["measured"] == "–" else f": {row['measured']}")
        for row, at in zip(frame.to_dict("records"), where, strict=True)
    ]
    frame = frame.assign(what=[row.says for row in rows], cell=said_so)
    keys = ["claim", "what", "band"]
    wide = frame.pivot_table("cell", keys, "study", aggfunc="; ".join, sort=False)
    studies = list(dict.fromkeys([*(name for name in order if name in wide), *frame["study"]]))
    first = frame[keys].drop_duplicates().itertuples(index=False, name=None)
    return wide.loc[list(first), studies].fillna("").reset_index().rename_axis(columns=None)


def closest_shown(order: pd.DataFrame) -> pd.DataFrame:
    """The predictors with numbers as text."""
    ratio = [spread(row, "ratio", none="–") for _, row in order.iterrows()]
    names = [predictors.NAMES.get(name, name) for name in order["predictor"]]
    known = [
        f"{row['fronts']} of {row['of']}"
        + (f", {row['pooled']} by all runs together" if row["pooled"] else "")
        + (f", no signal on {row['lost']}" if row["lost"] else "")
        for row in order.to_dict("records")
    ]
    apart = ["–" if math.isnan(value) else f"{value:.2f}" for value in order["spread"]]
    return pd.DataFrame(
        {"predictor": names, "over B_crit": ratio, "known on fronts": known, "s.d. of ln ratio": apart}
    )


def into(page: Path, scopes: Sequence[Scope]) -> None:
    """Put `markdown` between the two markers of a Markdown page, a chart and a table of fronts before it.

    The chart is a file in `figures` beside the page. Both go between the markers of fronts where the page has these.
    Raises as `insert`.
    """
    text, table = markdown(scopes), overview.rows([scope for scope in scopes if scope.owned])
    new, chart = _read(page), ""
    if len(table):
        picture = page.parent / "figures" / f"{page.stem}-claims.svg"
        alt = f"B_crit, E_min and B_simple over B_crit of {counted(len(table), 'front')}, with 95 % intervals"
        chart = f"![{alt}]({picture.relative_to(page.parent)})\n\n{overview.CAPTION}\n\n{_grid(overview.texts(table))}"
    if FRONTS_BEGIN in new or FRONTS_END in new:
        new = insert(page, new, chart, FRONTS_BEGIN, FRONTS_END)
    elif chart:
        text = f"{chart}\n\n{text}"
    new = insert(page, new, text)
    if len(table):
        put(picture, rendered(overview.overview(table), "svg"))
    put(page, new.encode())


def insert(page: Path, old: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """A page's text `old` with `text` in place of what stands between two of its lines.

    Raises:
        UserError: it has not both lines once each and in this order; `page` is its name.
    """
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise UserError(f"{page} must hold the lines {begin} and {end} once each, in this order")
    return f"{old[: old.index(begin) + len(begin)]}\n\n{text}\n\n{old[old.index(end) :]}"


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{page} is no text in UTF-8") from None


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _grid(frame: pd.DataFrame) -> str:
    lines = [" | ".join(frame.columns), "|".join("---" for _ in frame.columns)]
    lines += [
        " | ".join(str(cell).replace("|", "\\|") for cell in row) for row in frame.itertuples(index=False)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _compact(runs: list[str]) -> str:
    """STUDY: id id …; STUDY: …"""
    by_study: dict[str, list[str]] = {}
    for run in runs:
        study, _, name = run.partition("/")
        by_study.setdefault(study, []).append(name)
    return "; ".join(f"{study}: {' '.join(names)}" for study, names in by_study.items())
