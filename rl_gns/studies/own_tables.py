"""Runs that something else trained, from tables of yours to the table that fronts are fitted to.

Two kinds of table, told apart by a column `score`:

runs    a row per run (and goal): batch, and updates or observations to the goal
curves  rows along runs: batch, observations or updates so far, and the score there

Besides, where there: run, seed, learning_rate, goal, censored, noise_scale; num_envs and rollout in place of batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rl_gns.analysis import smooth
from rl_gns.analysis.goals import Floats, crossing_of
from rl_gns.errors import UserError
from rl_gns.studies.own_columns import FILE, flags, numbers, spent, with_batch
from rl_gns.studies.results import noise_until
from rl_gns.studies.study import COLUMNS
from rl_gns.studies.words import counted
from rl_gns.training.stopping import FEWEST_GAMES

NO_GOAL = -math.inf
"""Of runs whose table names none."""
SMOOTHED_OVER = 50
"""The default half-life is the longest run's observations divided by this, as in a study."""


def runs_table(
    frame: pd.DataFrame,
    goals: Sequence[float] = (),
    halflife: float | None = None,
    start_score: float | None = None,
    lower: bool = False,
    fewest: int = FEWEST_GAMES,
) -> pd.DataFrame:
    """A row per run and goal with the columns of `Study.table()`: what `fits.fit` takes.

    Args:
        frame: columns as in this file's docstring.
        goals: scores to reach. Curves need them; of a table of runs they choose among its goals.
        halflife: of the score's smoothing in observations, for curves. None: a 50th of the longest run's.
        start_score: curves with a noise scale: leave out of its means what came before this score.
        lower: whether the lower score is the better one, as with a loss.
        fewest: curves: scores of a run before one counts, as a single lucky game is no goal reached; 1 for evaluations.

    Raises:
        UserError: a column is missing or a value makes no sense; the row or run is named.
    """
    if frame.empty:
        raise UserError("the table has no rows")
    frame = with_batch(frame.copy())
    table = (
        _of_curves(frame, goals, halflife, start_score, lower, fewest)
        if "score" in frame
        else _of_runs(frame, goals)
    )
    twice = table[table[["num_envs", "rollout", "learning_rate", "seed", "goal"]].duplicated()]
    if len(twice):
        raise UserError(
            f"two runs at batch {twice['batch'].iloc[0]} have seed {twice['seed'].iloc[0]}: number them"
        )
    return table[COLUMNS]


def _of_runs(given: pd.DataFrame, goals: Sequence[float]) -> pd.DataFrame:
    frame = spent(given.copy())
    if "status" in frame:  # a study's own table
        frame = frame[frame["status"].isin(("done", "failed"))].copy()
    if "updates" not in frame:
        frame["updates"] = frame["observations"] / frame["batch"]
    bad = frame.index[~(np.isfinite(frame["updates"]) & (frame["updates"] > 0))]
    if len(bad):
        raise UserError(
            f"row {bad[0] + 1}: updates to the goal must be positive, got {frame['updates'][bad[0]]:g}; "
            "a run that did not reach it has those it made, and censored = 1"
        )
    frame["censored"] = flags(frame)
    frame["goal"] = numbers(frame, "goal") if "goal" in frame else NO_GOAL
    if frame["goal"].isna().any():
        raise UserError(f"row {frame.index[frame['goal'].isna()][0] + 1} has no goal")
    if goals:
        absent = [goal for goal in goals if goal not in set(frame["goal"])]
        if absent:
            there = ", ".join(f"{goal:g}" for goal in sorted(frame["goal"].unique()))
            raise UserError(f"no run is about goal {absent[0]:g}; the table has {there}")
        frame = frame[frame["goal"].isin(list(goals))]
    for name in ("learning_rate", "noise_scale", "mean_noise_scale"):
        frame[name] = numbers(frame, name) if name in frame else math.nan
    frame["seed"] = numbers(frame, "seed") if "seed" in frame else math.nan
    frame = _with_seeds(frame, "seed" in given)
    frame["id"] = frame["run"].astype(str) if "run" in frame else [f"row {i + 1}" for i in frame.index]
    return _complete(frame)


class Rule(NamedTuple):
    """When a curve has reached a goal."""

    goals: Sequence[float]
    halflife: float
    start_score: float | None
    sign: float
    """-1 where the lower score is the better one."""
    fewest: int

    def crossing(self, x: Floats, smoothed: Floats, score: float) -> float | None:
        """First x at which `smoothed`, of scores times `sign`, reaches `score`."""
        return crossing_of(x, smoothed, self.sign * score)


def _of_curves(
    frame: pd.DataFrame,
    goals: Sequence[float],
    halflife: float | None,
    start_score: float | None,
    lower: bool,
    fewest: int,
) -> pd.DataFrame:
    if not goals:
        raise UserError("rows with a score are curves: say which scores count, --goals 100 200")
    if fewest < 1:
        raise UserError(f"fewest must be at least 1, got {fewest}")
    frame = spent(frame)
    for name in ("score", *(name for name in ("noise_scale", "learning_rate", "seed") if name in frame)):
        frame[name] = numbers(frame, name)
    if frame["observations"].isna().any():
        raise UserError(f"row {frame.index[frame['observations'].isna()][0] + 1} has no observations")
    halflife = float(frame["observations"].max()) / SMOOTHED_OVER if halflife is None else halflife
    if not 0 < halflife < math.inf:
        raise UserError(f"the half-life must be a positive number of observations, got {halflife:g}")
    rule = Rule(goals, halflife, start_score, -1.0 if lower else 1.0, fewest)
    per_run = ["batch", "num_envs", "rollout", *(name for name in ("learning_rate", "seed") if name in frame)]
    keys = [name for name in ([FILE, "run"] if "run" in frame else [FILE, *per_run]) if name in frame]
    rows: list[dict[str, Any]] = []
    for key, run in frame.groupby(keys, dropna=False, sort=False):
        name = _name(dict(zip(keys, key, strict=True)))
        for column in per_run:
            if run[column].nunique(dropna=False) > 1:
                values = ", ".join(map(str, run[column].unique()[:3]))
                raise UserError(f"run {name} has several values of {column}: {values}")
        rows += _reached(run.sort_values("observations", kind="stable"), name, rule)
    return _complete(_with_seeds(pd.DataFrame(rows), "seed" in frame))


def _name(key: Mapping[str, Any]) -> str:
    """E.g. "a" or "runs.csv, batch 80, learning_rate 0.001, seed 1"."""
    if "run" in key:
        return str(key["run"])
    file = [Path(key[FILE]).name] if FILE in key else []
    shown = [f"{name} {key[name]:g}" for name in ("batch", "learning_rate", "seed") if name in key]
    return ", ".join([*file, *shown])


def _reached(run: pd.DataFrame, name: str, rule: Rule) -> list[dict[str, Any]]:
    """One run's rows, a goal each, as `results` reads a run of ours."""
    scored = run[run["score"].notna()]
    if len(scored) < rule.fewest:
        raise UserError(
            f"run {name} has {counted(len(scored), 'score')}, and only from {rule.fewest} on is one believed: if they "
            "are not single games but evaluations, give --fewest 1"
        )
    x = scored["observations"].to_numpy()
    smoothed = smooth(x, rule.sign * scored["score"].to_numpy(), rule.halflife)
    believed = np.searchsorted(x, x, side="right") >= rule.fewest
    x, smoothed = x[believed], smoothed[believed]
    start = 0.0 if rule.start_score is None else rule.crossing(x, smoothed, rule.start_score)
    first, made = run.iloc[0], float(run["observations"].max())
    rows = []
    for goal in rule.goals:
        at = rule.crossing(x, smoothed, goal)
        spent_ = made if at is None else at
        row = {"id": name, "goal": goal, "observations": spent_, "censored": at is None}
        row |= {"updates": spent_ / int(first["batch"]), "peak": float(rule.sign * smoothed.max())}
        row |= {key: first[key] for key in ("batch", "num_envs", "rollout")}
        row |= {key: first.get(key, math.nan) for key in ("learning_rate", "seed")}
        if "noise_scale" in run and at is not None and start is not None:
            there = noise_until(_readings(run), at, rule.halflife, start)
            row |= dict(zip(("noise_scale", "mean_noise_scale", "known_share"), there, strict=True))
        rows.append(row)
    return rows


def _readings(run: pd.DataFrame) -> pd.DataFrame:
    """Rows at which the noise scale was read: those without a score, or that know it; where all have scores, all."""
    apart = run["score"].isna()
    rows = run[apart | run["noise_scale"].notna()] if apart.any() else run
    return rows[["observations", "noise_scale"]].assign(update=rows["observations"] / rows["batch"])


def _with_seeds(table: pd.DataFrame, given: bool) -> pd.DataFrame:
    """With whole seeds; where none are given, runs of one setting are counted."""
    if not given:
        same = ["goal", "num_envs", "rollout", "learning_rate"]
        return table.assign(seed=table.groupby(same, dropna=False).cumcount() + 1)
    bad = table[~(table["seed"] % 1 == 0)]
    if len(bad):
        raise UserError(f"a seed at batch {bad['batch'].iloc[0]} is no whole number: {bad['seed'].iloc[0]}")
    return table.assign(seed=table["seed"].astype(int))


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """With every column of a study's table."""
    filled = {"status": "done", "reason": ""}
    missing = {name: filled.get(name, math.nan) for name in COLUMNS if name not in table}
    return table.assign(**missing)
