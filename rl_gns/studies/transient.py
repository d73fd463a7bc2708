"""The noise scale before and after a run leaves the random policy's score. It reads runs, and judges nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from rl_gns.studies.fits import Fits
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study

COLUMNS = ["id", "batch", "seed", "start", "spike", "floor", "ratio", "is_bound"]


def spikes(study: Study, outcomes: Mapping[str, Outcome], fits: Fits) -> pd.DataFrame:
    """One row per run that serves the hardest goal reached at its batch and seed.

    Returns:
        Columns id, batch, seed; start, the observations at which the smoothed score passed the study's start_score;
        spike, the greatest noise scale before (its lower bound, where only that is known); floor, the least known
        after; ratio; is_bound, whether the spike, and so the ratio, is a lower bound. NaN where nothing is known on one
        side. Empty without a start_score.
    """
    if study.spec.start_score is None:
        return pd.DataFrame(columns=COLUMNS)
    met = fits.points[~fits.points["censored"]]
    chosen = met.sort_values("goal").groupby(["rollout", "num_envs", "seed"]).tail(1)
    by_id = {run.id: run for run in study.plan(outcomes)}
    rows = []
    for name in chosen["id"]:
        run, outcome = by_id[name], outcomes[name]
        metrics, start = study.read(run, "metrics", outcome), outcome.start
        if start is None:
            continue
        metrics = metrics[metrics["observations"] <= study.spec.budget(run.batch)]
        at_least = metrics["noise_scale"].fillna(metrics["noise_scale_low"])
        at_least = at_least[at_least > 0]
        before, after = metrics["observations"] <= start, metrics["observations"] > start
        spike, floor = at_least[before[at_least.index]].max(), metrics["noise_scale"][after].min()
        is_bound = not spike <= metrics["noise_scale"][before].max()
        ratio = spike / floor if floor > 0 else math.nan
        rows.append([run.id, run.batch, run.seed, start, spike, floor, ratio, is_bound])
    return pd.DataFrame(rows, columns=COLUMNS)
