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
from rl_gns.studies.own_columns import FILE, flags, missing, numbers, rates, spent, where, with_batch
from rl_gns.studies.results import noise_until
from rl_gns.studies.study import COLUMNS
from rl_gns.studies.words import counted, short
from rl_gns.training.stopping import FEWEST_GAMES

NO_GOAL = -math.inf
"""Of runs whose table names none."""
SMOOTHED_OVER = 50
"""The default half-life is the longest run's observations divided by this, as in a study."""
LAGGED = 15
"""Half-lives before which a goal is reached too early: the lag, 1.4 of them, then is above a tenth of what it took."""
CUT = 1.5
"""The same for a centred average, of which there the start cuts so much off that it is early by a tenth."""
AT_FIRST = "at the first score that counts"
"""`reason` of a run that may have reached its goal long before."""
WITHIN = f"within {LAGGED} half-lives"
"""How `reason` begins where the lag is that large."""
WITHIN_CUT = f"within {CUT} half-lives"
"""The same for a centred average."""


def runs_table(
    frame: pd.DataFrame,
    goals: Sequence[float] = (),
    halflife: float | None = None,
    start_score: float | None = None,
    lower: bool = False,
    fewest: int = FEWEST_GAMES,
    centred: bool = False,
) -> pd.DataFrame:
    """A row per run and goal with the columns of `Study.table()`: what `fits.fit` takes.

    Args:
        frame: columns as in this file's docstring.
        goals: scores to reach. Curves need them; of a table of runs they choose among its goals.
        halflife: of the score's smoothing in observations, for curves. None: a 50th of the longest run's.
        start_score: curves with a noise scale: leave out of its means what came before this score.
        lower: whether the lower score is the better one, as with a loss.
        fewest: curves: scores of a run before one counts, as a single lucky game is no goal reached; 1 for evaluations.
        centred: curves: whether scores are averaged over both sides, which does not lag (`analysis.smooth`).

    Raises:
        UserError: a column is missing or a value makes no sense; the row or run is named.
    """
    if frame.empty:
        raise UserError("the table has no rows")
    for name, value in [*(("goal", goal) for goal in goals), ("start-score", start_score)]:
        if value is not None and not math.isfinite(value):
            raise UserError(f"a {name} must be a finite score, got {value}")
    goals = list(dict.fromkeys(goals))  # the same goal twice would count every run as two seeds
    if "score" not in frame:
        given = {"goals": bool(goals) and "goal" not in frame, "halflife": halflife is not None}
        given |= {"start-score": start_score is not None, "fewest": fewest != FEWEST_GAMES}
        given["centred"] = centred
        if idle := [name for name, asked in given.items() if asked]:
            raise UserError(f"--{idle[0]} is for rows along runs: {missing(frame, 'score')}")
    frame = with_batch(frame.reset_index(drop=True))
    table = (
        _of_curves(frame, goals, halflife, start_score, lower, fewest, centred)
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
    if set(COLUMNS) - {"information"} <= set(frame):  # a study's own table, maybe of an older version
        frame = frame[frame["status"].isin(("done", "failed"))].copy()
        if frame.empty:
            raise UserError("no run of the table has finished")
    else:  # a status or reason of somebody else's says nothing here
        frame = frame.drop(columns=["status", "reason", "known_share", "peak"], errors="ignore")
    if "updates" not in frame:
        frame["updates"] = frame["observations"] / frame["batch"]
    bad = frame.index[~(np.isfinite(frame["updates"]) & (frame["updates"] > 0))]
    if len(bad):
        raise UserError(
            f"{where(frame, bad[0])}: updates to the goal must be positive, got {frame['updates'][bad[0]]:g}; "
            "a run that did not reach it has those it made, and censored = 1"
        )
    frame["censored"] = flags(frame)
    frame["goal"] = numbers(frame, "goal") if "goal" in frame else NO_GOAL
    if frame["goal"].isna().any():
        raise UserError(f"{where(frame, frame.index[frame['goal'].isna()][0])} has no goal")
    once = [name for name in (FILE, "run", "goal") if name in frame]
    if "run" in frame and len(again := frame.index[frame.duplicated(once)]):
        raise UserError(
            f"{where(frame, again[0])}: run {frame['run'][again[0]]} is there a second time; rows along runs need a "
            "column 'score'"
        )
    if goals:
        absent = [goal for goal in goals if goal not in set(frame["goal"])]
        if absent:
            there = ", ".join(f"{goal:g}" for goal in sorted(frame["goal"].unique()))
            raise UserError(f"no run is about goal {absent[0]:g}; the table has {there}")
        frame = frame[frame["goal"].isin(list(goals))]
    frame["learning_rate"] = rates(frame) if "learning_rate" in frame else math.nan
    for name in ("noise_scale", "mean_noise_scale"):  # an infinite one is unknown
        frame[name] = numbers(frame, name).replace(math.inf, math.nan) if name in frame else math.nan
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
    centred: bool

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
    centred: bool,
) -> pd.DataFrame:
    if not goals:
        raise UserError("rows with a score are curves: say which scores count, --goals 100 200")
    if fewest < 1:
        raise UserError(f"fewest must be at least 1, got {fewest}")
    frame = spent(frame)
    if start_score is not None and "noise_scale" not in frame:
        raise UserError(f"--start-score is for the noise scale: {missing(frame, 'noise_scale')}")
    for name in ("score", *(name for name in ("noise_scale", "seed") if name in frame)):
        frame[name] = numbers(frame, name)
    # As a study leaves them out.
    frame["score"] = frame["score"].replace([math.inf, -math.inf], math.nan)
    if "learning_rate" in frame:
        frame["learning_rate"] = rates(frame)
    x = frame["observations"]
    if x.isna().any():
        raise UserError(f"{where(frame, frame.index[x.isna()][0])} has no observations")
    if len(bad := frame.index[~((x >= 0) & (x < math.inf))]):
        raise UserError(
            f"{where(frame, bad[0])}: observations must be finite and not negative, got {x[bad[0]]:g}"
        )
    halflife = float(frame["observations"].max()) / SMOOTHED_OVER if halflife is None else halflife
    if not 0 < halflife < math.inf:
        raise UserError(f"the half-life must be a positive number of observations, got {halflife:g}")
    rule = Rule(goals, halflife, start_score, -1.0 if lower else 1.0, fewest, centred)
    per_run = ["batch", "num_envs", "rollout", *(name for name in ("learning_rate", "seed") if name in frame)]
    keys = [name for name in ([FILE, "run"] if "run" in frame else [FILE, *per_run]) if name in frame]
    rows: list[dict[str, Any]] = []
    for key, run in frame.groupby(keys, dropna=False, sort=False):
        name = _name(dict(zip(keys, key, strict=True)))
        for column in per_run:
            if run[column].nunique(dropna=False) > 1:
                values = ", ".join(map(str, run[column].unique()[:3]))
                raise UserError(f"run {name} has several values of {column}: {values}")
        if "run" not in frame and "seed" not in frame:
            _refuse_several(run[run["score"].notna()], name)
        rows += _reached(run.sort_values("observations", kind="stable"), name, rule)
    return _complete(_with_seeds(pd.DataFrame(rows), "seed" in frame))


def _refuse_several(scored: pd.DataFrame, name: str) -> None:
    """Raises where observations fall: two runs one below the other would be read as one."""
    fall = scored.index[scored["observations"].diff() < 0]
    if len(fall):
        raise UserError(
            f"{where(scored, fall[0])}: observations of {name} fall; if that is another run, a column run or seed must "
            "tell them apart, if not, sort them"
        )


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
        apart = "run" not in run and "learning_rate" in run  # a run whose rate is annealed falls into pieces
        raise UserError(
            f"run {name} has {counted(len(scored), 'score')}, and only from {rule.fewest} on is one believed: if they "
            "are not single games but evaluations, give --fewest 1"
            + ("; if learning_rate changes along runs, put its first one into all rows" if apart else "")
        )
    x = scored["observations"].to_numpy()
    smoothed = smooth(x, rule.sign * scored["score"].to_numpy(), rule.halflife, rule.centred)
    believed = np.searchsorted(x, x, side="right") >= rule.fewest
    x, smoothed = x[believed], smoothed[believed]
    start = 0.0 if rule.start_score is None else rule.crossing(x, smoothed, rule.start_score)
    first, made = run.iloc[0], float(run["observations"].max())
    rows = []
    for goal in rule.goals:
        at = rule.crossing(x, smoothed, goal)
        if at == 0:
            raise UserError(
                f"run {name} has score {goal:g} before its first update: it takes a harder goal, or "
                + ("no --lower if the higher score" if rule.sign < 0 else "--lower if the lower score")
                + " is better"
            )
        spent_ = made if at is None else at
        row = {"id": name, "goal": goal, "observations": spent_, "censored": at is None}
        row |= {"updates": spent_ / int(first["batch"]), "peak": float(rule.sign * smoothed.max())}
        row["reason"] = "" if at is None else _doubt(at, float(x[0]), rule)
        row |= {key: first[key] for key in ("batch", "num_envs", "rollout")}
        row |= {key: first.get(key, math.nan) for key in ("learning_rate", "seed")}
        if "noise_scale" in run and at is not None and start is not None:
            there = noise_until(_readings(run), at, rule.halflife, start)
            row |= dict(zip(("noise_scale", "mean_noise_scale", "known_share"), there, strict=True))
        rows.append(row)
    return rows


def _doubt(at: float, first: float, rule: Rule) -> str:
    """Why a crossing is not where the goal was reached; "" where it is."""
    if at == first:
        return AT_FIRST
    most, within = (CUT, WITHIN_CUT) if rule.centred else (LAGGED, WITHIN)
    return f"{within} of {short(rule.halflife)} observations" if at < most * rule.halflife else ""


def _readings(run: pd.DataFrame) -> pd.DataFrame:
    """Rows at which the noise scale was read: those without a score, or that know it; where all have scores, all."""
    apart = run["score"].isna()
    rows = run[apart | run["noise_scale"].notna()] if apart.any() else run
    # Where one step's columns are rows of their own, the row of the reading would come no update after the one before.
    steps = rows.groupby("observations", as_index=False)[["noise_scale", "batch"]].last()
    return steps.assign(update=steps["observations"] / steps["batch"])


def _with_seeds(table: pd.DataFrame, given: bool) -> pd.DataFrame:
    """With whole seeds; where none are given, runs of one setting are counted."""
    if not given:
        same = ["goal", "num_envs", "rollout", "learning_rate"]
        return table.assign(seed=table.groupby(same, dropna=False).cumcount() + 1)
    bad = table[~(table["seed"] % 1 == 0)]
    if len(bad):
        raise UserError(f"a seed at batch {bad['batch'].iloc[0]} is no whole number: {bad['seed'].iloc[0]}")
    if (table["seed"].abs() >= 2**53).any():
        raise UserError("seeds of 2^53 and more can't be told apart: number the runs otherwise")
    return table.assign(seed=table["seed"].astype(int))


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """With every column of a study's table."""
    filled = {"status": "done", "reason": ""}
    absent = {name: filled.get(name, math.nan) for name in COLUMNS if name not in table}
    return table.assign(**absent)
