"""How far a study's fronts depend on how its scores were smoothed: the same runs, read with other averages.

A goal is reached when the smoothed score crosses it (McCandlish et al. 2018, A.3: the constant was chosen by hand for
each task and is not printed). A smoothed score lags: one that rises steadily crosses half-life / ln 2 observations late
(the mean age of what it averages), whatever the batch. S = S_min + (E_min + lag)/B is a hyperbola like any other, so
the lag shows in no residual, only in E_min and B_crit = E_min/S_min. A shorter half-life lags less and is crossed by
luck more often. Longer ones can't be read: a run stops where its own smoothed score met the last goal.

A centred average of as many games is not late (`analysis.smooth`). Only a run that ends where its trailing average met
the last goal has it cut short there, which leaves it a ninth of the lag.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from rl_gns.analysis import fit_front
from rl_gns.analysis.goals import crossing_of
from rl_gns.studies.axes import front_numbers
from rl_gns.studies.fits import best_points
from rl_gns.studies.results import Outcome, smoothed_scores
from rl_gns.studies.study import Study

SHARES = (1.0, 0.5, 0.25)
"""Of the study's own half-life."""
AVERAGES = ("trailing", "centred")


def smoothing_table(
    study: Study, outcomes: Mapping[str, Outcome], seed: int = 0, bootstrap: int = 1000
) -> pd.DataFrame:
    """The fronts anew from every finished run's games, smoothed with each of `SHARES` of the study's half-life, by
    trailing and by centred averages.

    Args:
        study: the study.
        outcomes: `study.outcomes()`.
        seed: of the bootstraps.
        bootstrap: replicas.

    Returns:
        One row per rollout, goal, average and halflife (observations): lag, by which a steadily rising score crosses
        late (observations, in e_min), 0 of a centred average; s_min, e_min and b_crit with _low and _high,
        rms_log_residual as `fits.Fits.fronts` has them, NaN where a front can't be told; points, the runs it rests on.
        The best learning rate is chosen anew. Empty where no run has finished.
    """
    table = study.table(outcomes)
    done = table[table["status"] == "done"]
    games = {}
    for run in (run for run in study.plan(outcomes) if outcomes[run.id].status == "done"):
        episodes = study.read(run, "episodes", outcomes[run.id])
        games[run.id] = episodes[episodes["observations"] <= study.spec.budget(run.batch)]
    rows = []
    for average, share in itertools.product(AVERAGES, SHARES):
        halflife, centred = share * study.spec.halflife, average == "centred"
        scores = {name: smoothed_scores(episodes, halflife, centred) for name, episodes in games.items()}
        for (rollout, goal), cell in best_points(reread(done, scores)).groupby(["rollout", "goal"]):
            front = fit_front(
                cell["batch"], cell["updates"], cell["censored"].to_numpy(bool), seed, bootstrap
            )
            row = {"rollout": rollout, "goal": goal, "average": average, "halflife": halflife}
            row["lag"] = 0.0 if centred else halflife / math.log(2)
            rows.append({**row, **front_numbers(front), "points": front.points})
    order = ["rollout", "goal", "average", "halflife"]
    if not rows:
        return pd.DataFrame(columns=order)
    return pd.DataFrame(rows).sort_values(order, ascending=[True, True, False, False], ignore_index=True)


def reread(done: pd.DataFrame, scores: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """The rows of `Study.table()` with observations, updates and censored by these smoothed scores.

    A goal not met counts as many observations as the run's row for the last goal has, all that it made or more.
    """
    made = done.groupby("id")["observations"].max()
    ids, goals = done["id"].tolist(), done["goal"].tolist()
    at = [crossing_of(*scores[name], goal) for name, goal in zip(ids, goals, strict=True)]
    observations = [made[name] if x is None else x for name, x in zip(ids, at, strict=True)]
    again = done.assign(observations=observations, censored=[x is None for x in at])
    return again.assign(updates=again["observations"] / again["batch"])
