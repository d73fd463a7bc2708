"""What a study's page shows: which figures there are, what is said of each, and the data they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rl_gns.analysis import paper_fronts, paper_task
from rl_gns.analysis.claims import Claim
from rl_gns.report import figures, maps, sentences
from rl_gns.studies.fits import Fits
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study

PAPERS_ROLLOUT = 5


def draw(
    study: Study, fits: Fits, outcomes: Mapping[str, Outcome], judged: Sequence[Claim] = ()
) -> dict[str, tuple[str, list[str], Figure]]:
    """Name -> title, what is seen and what is drawn, figure; figures with nothing to show are left out."""
    drawn: dict[str, tuple[str, list[str], Figure]] = {}
    paper = paper_of(study.spec.env)
    for rollout in sorted(fits.points["rollout"].unique()):
        length = int(rollout)
        if fits.points[fits.points["rollout"] == rollout]["batch"].nunique() < 2:
            continue  # the table of fronts says as much as points of one batch size could
        theirs = paper if length == PAPERS_ROLLOUT else None
        drawn[f"fronts-t{length}"] = (
            f"Fronts, rollouts of {length}",
            [
                sentences.fronts(fits, length),
                "A point is the best learning rate of one seed; a hollow arrow a seed that did not reach the goal "
                "within its budget. Line: S = S_min (1 + B_crit/B), dashed where B_crit can't be told; diamond: "
                "B = B_crit, twice the least updates and observations; its bar: the 95 % interval of B_crit, an arrow "
                "where that is open or leaves the panel."
                + (
                    ""
                    if theirs is None
                    else " Grey: the paper's own fronts near ours (one seed), with their goals."
                ),
            ],
            figures.fronts(fits, length, theirs),
        )
    drawn["critical-batch"] = (
        "Critical batch and noise scale over score",
        [
            sentences.critical_batch(fits),
            "B_crit of each goal's front; B_simple at the same score and its mean over the updates until then "
            "(means of logarithms over runs). "
            "Bars: 95 % intervals, an arrow where one end is open or leaves the panel; hollow: no interval is known. "
            "Theory compares B_crit "
            "with the mean.",
        ],
        figures.critical_batch(fits),
    )
    drawn["learning-rates"] = (
        "Learning rate against batch",
        [
            sentences.learning_rates(fits),
            "Best rate of each seed, larger where several have the same, goals shifted a little against one another; "
            "hollow where it was the least or greatest tried. Line: ε*/(1 + B*/B)^a, dashed where B* can't be told.",
        ],
        figures.learning_rates(fits),
    )
    if fits.rollout_law_of:
        drawn["two-axes"] = (
            "Environments and rollout length",
            [
                *sentences.two_axes(fits),
                "Left: updates to the hardest fitted goal (geometric mean over seeds); dotted: equal batch B; "
                "dashed: equal observations to the goal, by the law. Right: critical number of environments, B_crit/T. "
                "Band and bars: 95 % intervals, an arrow where one end is open or leaves the panel.",
            ],
            maps.two_axes(fits),
        )
    if len(fits.equal_batch):
        drawn["equal-batch"] = (
            "Rollout length at an equal batch",
            [
                sentences.equal_batch(fits),
                "Observations to each goal over rollout length, a colour a batch: seeds (dots, open where they had not "
                "reached the goal by then) and their geometric mean with its 95 % interval, an arrow where that leaves "
                "the panel. Batches are shifted a little against one another.",
            ],
            maps.equal_batch(fits),
        )
    curves = noise_curves(study, fits, outcomes)
    if curves:
        drawn["noise-scale"] = (
            "Noise scale along the runs",
            [
                sentences.noise_scale(fits, judged),
                "Left: simple noise scale of every seed at the learning rate that served the hardest goal best, a "
                "colour a batch size; gaps are where it is unknown. Right: where each goal is reached, every seed "
                "(dots) and their geometric mean with its 95 % interval; an arrow where that leaves the panel, hollow "
                "where one seed gives none.",
            ],
            figures.noise_scale(fits, curves),
        )
    return drawn


def noise_curves(
    study: Study, fits: Fits, outcomes: Mapping[str, Outcome]
) -> list[tuple[int, list[pd.DataFrame]]]:
    """(batch, metric rows of each seed) at each batch size's best learning rate, shortest rollout, at most eight."""
    met = fits.points[~fits.points["censored"]]
    met = met[met["rollout"] == met["rollout"].min()]
    runs = {
        (run.num_envs, run.rollout, run.learning_rate, run.seed): run
        for run in study.plan(outcomes)
        if run.in_grid
    }
    curves = []
    for _, cell in met.groupby("num_envs"):
        hardest = cell[cell["goal"] == cell["goal"].max()]
        best = hardest.loc[hardest["updates"].idxmin()]
        where = int(best["num_envs"]), int(best["rollout"]), float(best["learning_rate"])
        chosen = [runs[*where, seed] for seed in study.spec.seeds if (*where, seed) in runs]
        seeds = [
            study.read(run, "metrics", outcomes[run.id]) for run in chosen if outcomes[run.id].observations
        ]
        seeds = [metrics for metrics in seeds if metrics["noise_scale"].notna().any()]
        if seeds:
            curves.append((int(best["batch"]), seeds))
    return curves[:: max(1, int(np.ceil(len(curves) / 8)))]


def paper_of(env: str) -> pd.DataFrame | None:
    """The paper's fronts of this task; None where it is none of the paper's."""
    task = paper_task(env)
    fronts = paper_fronts()
    return None if task is None else fronts[fronts["task"] == task]
