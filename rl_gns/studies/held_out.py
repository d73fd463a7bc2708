"""What a front owes to choosing each seed's learning rate by that seed's own result: the same front, chosen by others'.

The best of several rates that are nearly tied is also the luckiest, and a batch with more rates tried is luckier: the
protocol of the paper, one seed and its best rate (McCandlish et al. 2018, A.3), can't part the two. With several seeds
it can be had without: the rate is the one that served the other seeds best, and the run made at it counts whether it
was lucky or not, as in cross-validation. A few seeds may choose badly, so this front may be too high as the other is
too low: the best rate's lies between.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rl_gns.analysis import fit_front
from rl_gns.studies.axes import front_numbers
from rl_gns.studies.choice import best_of, usable


def held_out_table(
    table: pd.DataFrame, points: pd.DataFrame, seed: int = 0, bootstrap: int = 1000
) -> pd.DataFrame:
    """Each front twice, from the same seeds: `own` has each seed's best rate, `others` the rate of `held_out_points`.

    Args:
        table: `Study.table()`.
        points: `fits.best_points` of it.
        seed: of the bootstraps.
        bootstrap: replicas.

    Returns:
        One row per rollout, goal and rates ("own", "others"): s_min, e_min and b_crit with _low and _high and
        rms_log_residual as `fits.Fits.fronts` has them, NaN where a front can't be told; points and censored, the runs
        it rests on; chosen, how many of them were chosen among several rates; left_out, seeds of which no rate was
        tried by another. Goals where nothing was chosen are not there.
    """
    others = held_out_points(table)
    rows = []
    for (rollout, goal), cell in others.groupby(["rollout", "goal"]):
        if not (cell["rates"] > 1).any():
            continue
        best = points[(points["rollout"] == rollout) & (points["goal"] == goal)]
        same = best.merge(cell[["num_envs", "seed"]], on=["num_envs", "seed"])
        for rates, some in (("own", same), ("others", cell)):
            censored = some["censored"].to_numpy(bool)
            front = fit_front(some["batch"], some["updates"], censored, seed, bootstrap)
            row = {"rollout": rollout, "goal": goal, "rates": rates}
            row |= front_numbers(front) | {"points": front.points, "censored": front.censored}
            row |= {"chosen": int((cell["rates"] > 1).sum()), "left_out": len(best) - len(same)}
            rows.append(row)
    return pd.DataFrame(rows)


def held_out_points(table: pd.DataFrame) -> pd.DataFrame:
    """The run of each goal, cell and seed at the rate that was best for the cell's other seeds.

    A rate is judged by how many times the other seeds' fewest updates it took them, in the geometric mean over those
    that tried it; a run that did not reach the goal counts with the updates it made, the least it can have taken, and
    so does a seed that no rate brought there. Ties go to the rate that more seeds tried, then to the lower. A seed with
    one rate keeps it, as there was no choice; one with several, of which none was tried by another, is left out.

    Args:
        table: `Study.table()`.

    Returns:
        Rows of `table` with `rates`, among how many of the seed's it was chosen.
    """
    counted = usable(table)
    rows = []
    for _, cell in counted[counted["updates"] > 0].groupby(["rollout", "goal", "num_envs"]):
        regret = _regret(cell)
        for one, own in cell.groupby("seed"):
            tried = own["learning_rate"].nunique(dropna=False)
            if tried > 1:
                rate = _choice(
                    regret[(regret["seed"] != one) & regret["learning_rate"].isin(own["learning_rate"])]
                )
                own = own[own["learning_rate"] == rate]
            if len(own):
                # Runs that differ in something else: the best of them, as everywhere.
                rows.append(best_of(own).to_dict() | {"rates": tried})
    types = {"censored": bool, "rollout": int, "num_envs": int, "batch": int, "seed": int, "rates": int}
    return pd.DataFrame(rows, columns=[*table.columns, "rates"]).astype(types)


def _choice(others: pd.DataFrame) -> float:
    """The rate of least mean regret; NaN where there is none."""
    means = others.groupby("learning_rate")["regret"].agg(["mean", "size"]).reset_index()
    order = means.sort_values(["mean", "size", "learning_rate"], ascending=[True, False, True], kind="stable")
    return float(order["learning_rate"].iloc[0]) if len(order) else math.nan


def _regret(cell: pd.DataFrame) -> pd.DataFrame:
    """ln of a run's updates over the fewest of its seed, those that reached the goal before those that did not."""
    met = cell[~cell["censored"]].groupby("seed")["updates"].min()
    least = cell["seed"].map(met).fillna(cell.groupby("seed")["updates"].transform("max"))
    return cell.assign(regret=np.log(cell["updates"] / least))
