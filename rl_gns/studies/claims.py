"""The table of claims: one row per claim and study, then one per claim over all studies. It judges fits only.

Which claim is which, and why each band is where it is: `docs/results.md`. Rows over all studies draw their tasks with
replacement too, as the games that could be afforded are a sample of games.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.analysis import Interval
from rl_gns.analysis.claims import CANT_TELL, FAIL, PASS, Band, Claim, claim, over_tasks, share, unknown
from rl_gns.studies import front_claims as fronts
from rl_gns.studies import noise_claims as noise
from rl_gns.studies.front_claims import front_claims
from rl_gns.studies.noise_claims import noise_claims
from rl_gns.studies.scope import Scope
from rl_gns.studies.words import counted

ALL, PAPERS = "all Atari studies", "paper's own fronts"
"""Scopes of the claims about many games; the bands are of Atari, so other tasks are not among them."""
FEWEST_TASKS, GAMES = 3, 7
ORDER = ("P", "N", "L", "F", "A", "X")


def claims(scopes: Sequence[Scope]) -> list[Claim]:
    """Every claim on every scope, in the order of the checklist; with several games also those over all of them.

    Among all games a game counts once: of two studies of one the first that is named, see `repeats`.
    """
    again = repeats(scopes)
    rows = [row for scope in scopes for row in (*front_claims(scope), *noise_claims(scope))]
    for name, owned in ((ALL, True), (PAPERS, False)):
        games = [s for s in scopes if s.atari and s.owned == owned and not (owned and s.name in again)]
        if len(games) > 1:
            names = {scope.name for scope in games}
            some = pooled(games, [row for row in rows if row.scope in names])
            rows += [replace(row, scope=name) for row in some]
    where = {scope.name: i for i, scope in enumerate(scopes)}
    return sorted(
        rows, key=lambda row: (ORDER.index(row.code[0]), row.code, where.get(row.scope, len(where)))
    )


def repeats(scopes: Sequence[Scope]) -> dict[str, str]:
    """Studies of a game that one named before them is of -> that one: they would count twice among all games."""
    first: dict[str, str] = {}
    found = {}
    for scope in scopes:
        if scope.owned and scope.task is not None:
            before = first.setdefault(scope.task, scope.name)
            if before != scope.name:
                found[scope.name] = before
    return found


def pooled(scopes: list[Scope], single: Sequence[Claim] = ()) -> list[Claim]:
    """Claims that are about all tasks together; `single` are those of each scope, which some of them count."""
    runs = [run for scope in scopes for run in scope.runs()]
    spread = [[draws.value for draws in fronts.residuals(scope)] for scope in scopes]
    tops = [[abs(math.log(draws.value)) for draws in fronts.large(scope).values()] for scope in scopes]
    ends = [[draws.value for draws in fronts.small(scope).values()] for scope in scopes]
    ratios = [[draws.value for _, draws in noise.ratios(scope)] for scope in scopes]
    rows = [
        _over("P2", fronts.SAYS["P2"], fronts.RESIDUAL, spread, np.median, runs),
        _over("P2b", fronts.SAYS["P2b"], fronts.TAIL, spread, fronts.ninetieth, runs),
        _over(
            "P3",
            "large batches collapse: |ln| of P3's ratio",
            Band(high=math.log(1.15)),
            tops,
            np.median,
            runs,
        ),
        _over("P4", fronts.SAYS["P4"], fronts.UPTURN, ends, np.median, runs),
        fronts.aic(scopes, ALL),
        _over("N5", noise.SAYS["N5"], noise.RATIO, ratios, np.median, runs),
    ]
    rows += _shares([value for some in ratios for value in some], len(scopes), runs)
    rows += [_games(code, least, single) for code, least in (("N3", 5), ("N4", 5), ("N8", 2))]
    return rows + _tasks(scopes, runs)


def _over(
    code: str, says: str, band: Band, tasks: list[list[float]], function: Callable[..., Any], runs: list[str]
) -> Claim:
    known = [values for values in tasks if values]
    if not known:
        return unknown(code, says, ALL, band, "no study has it", runs)
    measured = over_tasks(known, function, np.random.default_rng(0))
    why = f"{counted(sum(map(len, known)), 'front')} of {len(known)} " + (
        "study" if len(known) == 1 else "studies"
    )
    made = claim(code, says, ALL, band, measured, why, runs)
    return made if len(known) >= FEWEST_TASKS else _too_few(made, len(known))


def _games(code: str, least: int, single: Sequence[Claim]) -> Claim:
    """Of the games that must show it, how many do; pass once that is enough, fail once it can't be any more."""
    games = [row for row in single if row.code == code and row.verdict in (PASS, FAIL)]
    hits = sum(row.verdict == PASS for row in games)
    says, runs = f"games that pass {code}", [run for row in games for run in row.runs]
    verdict = PASS if hits >= least else FAIL if len(games) - hits > GAMES - least else CANT_TELL
    why = f"told in {len(games)} of {GAMES} games"
    measured = Interval(float(hits), math.nan, math.nan)
    return Claim(code, says, ALL, f"≥ {least}", measured, verdict, why, tuple(dict.fromkeys(runs)))


def _too_few(made: Claim, tasks: int) -> Claim:
    return made.because(f"{counted(tasks, 'task')}, fewer than {FEWEST_TASKS}")


def _shares(found: list[float], tasks: int, runs: list[str]) -> list[Claim]:
    """The spread of B_simple/B_crit over all fronts."""
    says = "share of fronts with B_simple/B_crit"
    wanted = (
        ("N5b", "in 1 to 10 (paper 0.81)", 0.75, 1.0, 10.0),
        ("N5c", "in 0.5 to 20 (paper 0.96)", 0.95, 0.5, 20.0),
        ("N5d", "above 1 (paper: all)", 0.90, 1.0, math.inf),
    )
    rows = []
    for code, where, least, low, high in wanted:
        hits = sum(low <= value <= high for value in found)
        why = f"{hits} of {counted(len(found), 'front')}, counted as if independent"
        made = claim(code, f"{says} {where}", ALL, Band(low=least), share(hits, len(found)), why, runs)
        rows.append(made if tasks >= FEWEST_TASKS else _too_few(made, tasks))
    return rows


def _tasks(scopes: list[Scope], runs: list[str]) -> list[Claim]:
    """Across tasks: does a larger noise scale go with a larger critical batch (the paper's Fig. 4)?"""
    pairs = []
    for scope in scopes:
        for key in scope.hardest[:1]:
            local, b_crit = scope.noise(key, "mean_noise_scale"), scope.b_crit(key)
            local = local or scope.noise(key, "noise_scale")
            if local is not None and b_crit is not None:
                pairs.append((math.log(local.value), math.log(b_crit.value)))
    says = "correlation of ln B_simple and ln B_crit over tasks, hardest goals (paper 0.89)"
    band = Band(low=0.7)
    if len(pairs) < 4:
        row = unknown("F1", says, ALL, band, f"tasks that have both: {len(pairs)}; it takes 8", runs)
    else:
        x, y = np.array(pairs).T
        r = float(np.corrcoef(x, y)[0, 1])
        half = 1.96 / math.sqrt(len(pairs) - 3)  # Fisher's z
        ends = np.tanh([np.arctanh(r) - half, np.arctanh(r) + half])
        row = claim("F1", says, ALL, band, Interval(r, *map(float, ends)), counted(len(pairs), "task"), runs)
        row = row if len(pairs) >= 8 else row.because(f"{counted(len(pairs), 'task')}; it takes 8")
    near = sum(abs(a - b) <= math.log(10) for a, b in pairs)
    says = "share of tasks within a factor of 10 of B_simple = B_crit"
    why = f"{near} of {counted(len(pairs), 'task')}"
    return [row, claim("F1b", says, ALL, Band(low=0.8), share(near, len(pairs)), why, runs)]


def to_frame(rows: Sequence[Claim]) -> pd.DataFrame:
    """Columns claim, says, where, study, band, measured, measured_low, measured_high, verdict, why, note, runs.

    `note` numbers the sets of runs, as in `notes`; `runs` is how many.
    """
    numbers = {runs: i + 1 for i, runs in enumerate(dict.fromkeys(row.runs for row in rows if row.runs))}
    return pd.DataFrame(
        [
            {
                "claim": row.code,
                "says": row.says,
                "where": row.where,
                "study": row.scope,
                "band": row.band,
                "measured": row.measured.value,
                "measured_low": row.measured.low,
                "measured_high": row.measured.high,
                "verdict": row.verdict,
                "why": row.why,
                "note": numbers.get(row.runs, 0),
                "runs": len(row.runs),
            }
            for row in rows
        ]
    )


def notes(rows: Sequence[Claim]) -> pd.DataFrame:
    """The run ids behind each note of `to_frame`: columns note, run (STUDY/ID)."""
    sets = dict.fromkeys(row.runs for row in rows if row.runs)
    return pd.DataFrame(
        [(i + 1, run) for i, runs in enumerate(sets) for run in runs], columns=["note", "run"]
    )


def tally(rows: Sequence[Claim]) -> str:
    """E.g. "7 pass, 2 fail, 12 can't tell"."""
    words = [row.verdict for row in rows]
    return ", ".join(f"{words.count(word)} {word}" for word in ("pass", "fail", CANT_TELL))
