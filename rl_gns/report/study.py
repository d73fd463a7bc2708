"""`rl-gns study report`: draw a study's figures, save them, and put them on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rl_gns.report.claims import closest_shown, shown, tables_of
from rl_gns.report.contents import draw
from rl_gns.report.findings import findings, title
from rl_gns.report.page import Section, Table, page
from rl_gns.report.style import rendered
from rl_gns.report.tables import progress_table, run_links, runs_table, tables, to_html, with_notes
from rl_gns.studies import claims, predictors
from rl_gns.studies.fitting import fit_study, report_folder
from rl_gns.studies.results import Outcome
from rl_gns.studies.scope import of_study
from rl_gns.studies.smoothing import smoothing_table
from rl_gns.studies.store import parquet, put, write_tables
from rl_gns.studies.study import Study
from rl_gns.studies.view import counts


def report(study: Study, path: Path | None = None, seed: int = 0, bootstrap: int = 1000) -> Path:
    """Write the page; beside it `figures` (SVG and PNG) and `tables` (CSV and Parquet, and the metrics of all runs).

    Args:
        study: the study; what has not finished yet is shown as such.
        path: the page. Default: report/report.html in the results folder.
        seed: of the bootstraps.
        bootstrap: replicas.

    Raises:
        UserError: no run has finished, or the folder can't be written.
        RunStopped: the disk is full.
    """
    path = path or report_folder(study) / "report.html"
    outcomes = study.outcomes()
    fits = fit_study(study, seed, bootstrap, outcomes)
    scope = of_study(study, outcomes, fits, seed)
    judged = claims.claims([scope])
    drawn = draw(study, fits, outcomes, judged)
    sections = []
    for name, (heading, said, figure) in drawn.items():
        svg = rendered(figure, "svg")
        put(path.parent / "figures" / f"{name}.svg", svg)
        put(path.parent / "figures" / f"{name}.png", rendered(figure, "png"))
        sections.append(Section(heading, said, svg))
    runs = runs_table(study, outcomes)
    smoothing = smoothing_table(study, outcomes, seed, bootstrap)
    written = {**fits.tables(), "smoothing": smoothing, "runs": runs, **tables_of([scope])}
    write_tables(path.parent / "tables", written)
    put(path.parent / "tables" / "metrics.parquet", parquet(metrics_of_all(study, outcomes)))
    found = findings(study, scope, judged, outcomes)
    order = predictors.closest([scope])
    judgement = [
        Table(
            "What the paper claims",
            with_notes(to_html(shown(judged), words=True)),
            f"{claims.tally(judged)}.",
        ),
        Table(
            "Runs behind the claims",
            run_links(claims.notes(judged)),
            "By the numbers in the last column above.",
        ),
        Table("What predicts B_crit", to_html(closest_shown(order), words=True), predictors.sentence(order)),
    ]
    found += fits.doubts
    if fits.left_out:
        found.insert(0, fits.left_out)
    progress, first = progress_table(study, outcomes), []
    if len(progress):
        found.insert(0, unfinished(progress))
        first = [Table("How far each cell is", to_html(progress))]
    text = page(
        title(study.spec),
        found,
        summary(study, outcomes),
        sections,
        judgement + tables(fits, runs, smoothing, study.spec.halflife),
        study.path.read_text(),
        first,
    )
    return put(path, text.encode())


def unfinished(progress: pd.DataFrame) -> str:
    """The first line of a page that is not final, from `tables.progress_table`."""
    whole = progress["done"] + progress["failed"] == progress["runs"]
    none = int((progress["done"] == 0).sum())
    return (
        f"Not finished: {int(whole.sum())} of {len(progress)} cells have all the runs known to be needed, {none} have "
        "none. What follows counts finished runs only and will move: a cell's best rate may still be untried."
    )


def metrics_of_all(study: Study, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """The metric rows of every run: id, update, observations, score, noise scale and its interval, signal, noise, and
    information, NaN in runs of before it was taken.
    """
    measured = ["noise_scale", "noise_scale_low", "noise_scale_high", "signal", "noise", "information"]
    names = ["observations", "score", *measured]
    frames = []
    for run in study.plan(outcomes):
        if outcomes[run.id].observations:
            metrics = study.read(run, "metrics", outcomes[run.id])
            frames.append(
                metrics[["update"]].assign(id=run.id).join(metrics.reindex(columns=names).astype("float32"))
            )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def summary(study: Study, outcomes: Mapping[str, Outcome]) -> list[str]:
    """What the page is of, under its findings."""
    spec = study.spec
    sizes = ("environments", spec.num_envs) if spec.batch is None else ("batches", spec.batch)
    return [
        f"{study.name}: {spec.env}, {spec.algo}; {sizes[0]} {', '.join(map(str, sizes[1]))}; "
        f"rollouts {', '.join(map(str, spec.rollout))}; seeds {', '.join(map(str, spec.seeds))}",
        f"{spec.observations:,.0f} observations per run at most; "
        f"goals {', '.join(f'{goal:g}' for goal in spec.goals)}; "
        f"scores smoothed with a half-life of {spec.halflife:,.0f} observations",
        counts(study.plan(outcomes), outcomes, {}),
    ]
