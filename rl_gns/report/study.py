"""`rl-gns study report`: draw a study's figures, save them, and put them on one page."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rl_gns.analysis import paper_fronts
from rl_gns.errors import UserError
from rl_gns.report import figures
from rl_gns.report.page import Section, page
from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.study import Study
from rl_gns.studies.view import counts


def report(study: Study, path: Path | None = None, seed: int = 0, bootstrap: int = 1000) -> Path:
    """Write the page, its figures (SVG and PNG, in `figures` beside it) and the CSV tables.

    Args:
        study: the study; what has not finished yet is shown as such.
        path: the page. Default: report.html in the results folder.
        seed: of the bootstraps.
        bootstrap: replicas.

    Raises:
        UserError: no run has finished, or the folder can't be written.
    """
    path = path or study.results / "report.html"
    table = study.table()
    fits = fit(table, seed, bootstrap)
    drawn = draw(study, fits)
    try:
        folder = path.parent / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        for name, (_, _, figure) in drawn.items():
            figure.savefig(folder / f"{name}.svg")
            figure.savefig(folder / f"{name}.png", dpi=130)
        sections = [
            Section(title, caption, (folder / f"{name}.svg").read_bytes())
            for name, (title, caption, _) in drawn.items()
        ]
        fits.write(path.parent)
        path.write_text(page(study.name, summary(study), sections, tables(study, fits)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"the page {path} can't be written: {error.strerror}") from None
    return path


def draw(study: Study, fits: Fits) -> dict[str, tuple[str, str, Figure]]:
    """Name -> title, caption, figure; figures with nothing to show are left out."""
    drawn: dict[str, tuple[str, str, Figure]] = {}
    paper = paper_of(study.spec.env)
    for rollout in sorted(fits.points["rollout"].unique()):
        length = int(rollout)
        drawn[f"fronts-t{length}"] = (
            f"Fronts, rollouts of {length}",
            "Updates and observations to each goal; a point is the best learning rate of one seed, a hollow arrow "
            "a seed that did not reach the goal within its budget. Line: S = S_min (1 + B_crit/B); dashed where "
            "B_crit can't be told. Band: B_crit over its interval."
            + (" Grey: the paper's own fronts." if paper is not None and length == 5 else ""),
            figures.fronts(fits, length, paper if length == 5 else None),
        )
    drawn["critical-batch"] = (
        "Critical batch and noise scale over score",
        "B_crit of each goal's front with its interval; B_simple at the same score and its step-weighted mean until "
        "then (geometric mean over the runs of the front). Theory compares B_crit with the mean.",
        figures.critical_batch(fits),
    )
    drawn["learning-rates"] = (
        "Learning rate against batch",
        "Best rate of each seed; hollow where it was the least or greatest tried. Line: ε*/(1 + B*/B)^a.",
        figures.learning_rates(fits),
    )
    if fits.rollout_law_of:
        drawn["two-axes"] = (
            "Environments and rollout length",
            "Left: updates to the hardest fitted goal over both axes; dotted lines have an equal batch, dashed ones "
            "equal observations to the goal. Right: critical number of environments against rollout length, "
            "each front's own (points) and the law that joins them (line, band).",
            figures.two_axes(fits),
        )
    curves = noise_curves(study, fits)
    if curves:
        drawn["noise-scale"] = (
            "Noise scale along the runs",
            "Simple noise scale of the best run at each batch size, against observations and score; gaps are where it "
            "is unknown.",
            figures.noise_scale(curves),
        )
    return drawn


def noise_curves(study: Study, fits: Fits) -> list[tuple[str, int, pd.DataFrame]]:
    """(id, batch, metric rows) of the best run of each cell at the hardest goal that it reached."""
    met = fits.points[~fits.points["censored"]]
    runs = {run.id: run for run in study.plan()}
    curves = []
    for _, cell in met.groupby("batch"):
        hardest = cell[cell["goal"] == cell["goal"].max()]
        run = runs[str(hardest.loc[hardest["updates"].idxmin(), "id"])]
        metrics = study.metrics(run)
        if metrics["noise_scale"].notna().any():
            curves.append((run.id, run.batch, metrics))
    return curves[:: max(1, int(np.ceil(len(curves) / 8)))]


def paper_of(env: str) -> pd.DataFrame | None:
    """The paper's fronts of this task; None where it is none of the paper's."""
    prefix, _, name = env.partition(":")
    if prefix != "atari":
        return None
    fronts = paper_fronts()
    task = name.lower().replace("-", "_")
    same = fronts[fronts["task"].str.replace("_", "") == task.replace("_", "")]
    return same if len(same) else None


def summary(study: Study) -> list[str]:
    """Lines at the head of the page."""
    outcomes = study.outcomes()
    spec = study.spec
    return [
        f"{spec.env}, {spec.algo}; environments {', '.join(map(str, spec.num_envs))}; "
        f"rollouts {', '.join(map(str, spec.rollout))}; seeds {', '.join(map(str, spec.seeds))}",
        f"{spec.observations:,.0f} observations per run at most; "
        f"goals {', '.join(f'{goal:g}' for goal in spec.goals)}; "
        f"scores smoothed with a half-life of {spec.halflife:,.0f} observations",
        counts(study.plan(outcomes), outcomes, {}),
    ]


def tables(study: Study, fits: Fits) -> list[tuple[str, str]]:
    """(title, HTML) of every table of the page."""
    shown: list[tuple[str, pd.DataFrame]] = [
        (
            "Fronts",
            fits.fronts.drop(columns=[name for name in fits.fronts.columns if str(name).startswith("aic_")]),
        ),
        ("Learning-rate laws", fits.rates),
        ("Critical number of environments", fits.rollouts),
        ("Equal batch: more environments or longer rollouts", fits.exchange),
        ("Adaptive batch", fits.turning),
        ("Every run", runs_table(study, fits.table)),
    ]
    return [(title, to_html(frame)) for title, frame in shown if len(frame)]


def runs_table(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """One row per run: id, status, best score, observations to each goal, command."""
    commands = {run.id: study.command(run) for run in study.plan()}
    rows = []
    for name, group in table.groupby("id", sort=False):
        first = group.iloc[0]
        reached = {
            f"to {row.goal:g}": "not reached" if row.censored else f"{row.observations:,.0f}"
            for row in group.itertuples()
        }
        status = first["status"] + (f": {first['reason']}" if first["reason"] else "")
        rows.append(
            {
                "run": name,
                "status": status,
                "best score": first["peak"],
                **reached,
                "command": commands[str(name)],
            }
        )
    return pd.DataFrame(rows)


def to_html(frame: pd.DataFrame) -> str:
    """A table; numbers to three or four digits, NaN as a dash."""
    shown: Callable[[float], str] = lambda x: f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"  # noqa: E731
    escaped = frame.rename(columns=lambda name: html.escape(str(name)))
    return escaped.to_html(index=False, float_format=shown, na_rep="–", border=0, escape=True)
