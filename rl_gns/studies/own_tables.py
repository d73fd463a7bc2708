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
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.analysis import noise_scale_at_goals, smooth
from rl_gns.analysis.goals import crossing_of
from rl_gns.errors import UserError
from rl_gns.studies.study import COLUMNS

KNOWN = (
    "run",
    "batch",
    "num_envs",
    "rollout",
    "observations",
    "updates",
    "score",
    "seed",
    "learning_rate",
    "goal",
    "censored",
    "noise_scale",
    "mean_noise_scale",
)
OTHER_NAMES = {
    **dict.fromkeys(("batch_size", "B"), "batch"),
    **dict.fromkeys(("n_envs", "envs"), "num_envs"),
    **dict.fromkeys(("n_steps", "num_steps", "rollout_length"), "rollout"),
    **dict.fromkeys(
        ("step", "steps", "global_step", "timesteps", "total_timesteps", "examples", "samples"),
        "observations",
    ),
    **dict.fromkeys(("update", "iterations", "optimizer_steps"), "updates"),
    **dict.fromkeys(
        ("return", "reward", "episodic_return", "ep_rew_mean", "charts/episodic_return", "loss"), "score"
    ),
    **dict.fromkeys(("lr",), "learning_rate"),
    **dict.fromkeys(("run_id", "id", "name"), "run"),
}
"""What others call our columns: named in the error, never taken for granted."""
FILE = "_file"
NO_GOAL = -math.inf
"""Of runs whose table names none."""
SMOOTHED_OVER = 50
"""The default half-life is the longest run's observations divided by this, as in a study."""


def read(paths: Sequence[Path], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """All tables one below the other; a file without a column `run` is a file of its own runs.

    Args:
        paths: CSV (also packed: .csv.gz, .csv.xz) or Parquet files.
        columns: our name -> what the files call it.

    Raises:
        UserError: no file, one that is no table, a column that is not there.
    """
    if not paths:
        raise UserError("which table? a CSV or Parquet file with a row per run, or rows along runs")
    columns = dict(columns or {})
    if strange := sorted(set(columns) - set(KNOWN)):
        raise UserError(f"no column is called '{strange[0]}' here; there are {', '.join(KNOWN)}")
    frames = []
    for path in paths:
        frame = _read(path)
        for theirs in columns.values():
            if theirs not in frame:
                raise UserError(
                    f"{path} has no column '{theirs}'; it has {', '.join(map(str, frame.columns))}"
                )
        given = frame.drop(columns=[name for name in frame if name in (*columns, *columns.values())])
        given = given.assign(**{ours: frame[theirs] for ours, theirs in columns.items()})
        frames.append(given.assign(**{FILE: str(path)}))
    return pd.concat(frames, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, comment="#")  # Stable-Baselines3's monitor files begin with a comment
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from None
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} is no table: {' '.join(str(error).split())}") from None


def runs_table(
    frame: pd.DataFrame,
    goals: Sequence[float] = (),
    halflife: float | None = None,
    start_score: float | None = None,
    lower: bool = False,
) -> pd.DataFrame:
    """A row per run and goal with the columns of `Study.table()`: what `fits.fit` takes.

    Args:
        frame: columns as in this file's docstring.
        goals: scores to reach. Curves need them; of a table of runs they choose among its goals.
        halflife: of the score's smoothing in observations, for curves. None: a 50th of the longest run's.
        start_score: curves with a noise scale: leave out of its means what came before this score.
        lower: whether the lower score is the better one, as with a loss.

    Raises:
        UserError: a column is missing or a value makes no sense; the row or run is named.
    """
    if frame.empty:
        raise UserError("the table has no rows")
    frame = _with_batch(frame.copy())
    table = (
        _of_curves(frame, goals, halflife, start_score, lower) if "score" in frame else _of_runs(frame, goals)
    )
    twice = table[table[["num_envs", "rollout", "learning_rate", "seed", "goal"]].duplicated()]
    if len(twice):
        raise UserError(
            f"two runs at batch {twice['batch'].iloc[0]} have seed {twice['seed'].iloc[0]}: number them"
        )
    return table[COLUMNS]


def _with_batch(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with batch, num_envs and rollout; a batch that nobody takes apart counts as rollouts of one."""
    apart = "num_envs" in frame and "rollout" in frame
    if not apart and "batch" not in frame:
        raise UserError(_missing(frame, "batch"))
    for name in ("num_envs", "rollout") if apart else ("batch",):
        _positive(frame, name)
    if apart:
        product = frame["num_envs"] * frame["rollout"]
        if "batch" in frame and (off := frame.index[frame["batch"] != product]).size:
            raise UserError(
                f"row {off[0] + 1}: batch is {frame['batch'][off[0]]:g}, num_envs x rollout {product[off[0]]:g}"
            )
        return frame.assign(batch=product)
    return frame.assign(num_envs=frame["batch"], rollout=1)


def _positive(frame: pd.DataFrame, name: str) -> None:
    """Raises unless the column holds positive whole numbers."""
    values = pd.to_numeric(frame[name], errors="coerce")
    bad = frame.index[~((values > 0) & (values % 1 == 0))]
    if len(bad):
        raise UserError(
            f"row {bad[0] + 1}: {name} must be a positive whole number, got {frame[name][bad[0]]}"
        )
    frame[name] = values.astype(int)


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column as floats, NaN where it is empty."""
    values = pd.to_numeric(frame[name], errors="coerce")
    bad = frame.index[values.isna() & frame[name].notna()]
    if len(bad):
        raise UserError(f"row {bad[0] + 1}: {name} is no number: {frame[name][bad[0]]}")
    return values.astype(float)


def _missing(frame: pd.DataFrame, name: str) -> str:
    theirs = [str(column) for column in frame.columns if OTHER_NAMES.get(str(column)) == name]
    hint = f"; is it '{theirs[0]}'? then give --columns {name}={theirs[0]}" if theirs else ""
    there = ", ".join(str(column) for column in frame.columns if column != FILE)
    return f"the table has no column '{name}'{hint or f': it has {there}'}"


def _spent(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with observations and updates, of which it has one at least."""
    has = [name for name in ("observations", "updates") if name in frame]
    if not has:
        raise UserError(_missing(frame, "observations"))
    for name in has:
        frame[name] = _numbers(frame, name)
    if "observations" not in has:
        frame["observations"] = frame["updates"] * frame["batch"]
    return frame


def _of_runs(given: pd.DataFrame, goals: Sequence[float]) -> pd.DataFrame:
    frame = _spent(given.copy())
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
    frame["censored"] = _flags(frame)
    frame["goal"] = _numbers(frame, "goal") if "goal" in frame else NO_GOAL
    if frame["goal"].isna().any():
        raise UserError(f"row {frame.index[frame['goal'].isna()][0] + 1} has no goal")
    if goals:
        absent = [goal for goal in goals if goal not in set(frame["goal"])]
        if absent:
            there = ", ".join(f"{goal:g}" for goal in sorted(frame["goal"].unique()))
            raise UserError(f"no run is about goal {absent[0]:g}; the table has {there}")
        frame = frame[frame["goal"].isin(list(goals))]
    for name in ("learning_rate", "noise_scale", "mean_noise_scale"):
        frame[name] = _numbers(frame, name) if name in frame else math.nan
    frame["seed"] = _numbers(frame, "seed") if "seed" in frame else math.nan
    frame = _with_seeds(frame, "seed" in given)
    frame["id"] = frame["run"].astype(str) if "run" in frame else [f"row {i + 1}" for i in frame.index]
    return _complete(frame)


def _flags(frame: pd.DataFrame) -> pd.Series:
    if "censored" not in frame:
        return pd.Series(False, index=frame.index)
    words = frame["censored"].astype(object).where(frame["censored"].notna(), "").astype(str).str.lower()
    yes, no = words.isin(("true", "1", "1.0", "yes")), words.isin(("false", "0", "0.0", "no", ""))
    if len(bad := frame.index[~(yes | no)]):
        raise UserError(f"row {bad[0] + 1}: censored must be true or false, got {frame['censored'][bad[0]]}")
    return yes


def _of_curves(
    frame: pd.DataFrame,
    goals: Sequence[float],
    halflife: float | None,
    start_score: float | None,
    lower: bool,
) -> pd.DataFrame:
    if not goals:
        raise UserError("rows with a score are curves: say which scores count, --goals 100 200")
    frame = _spent(frame)
    for name in ("score", *(name for name in ("noise_scale", "learning_rate", "seed") if name in frame)):
        frame[name] = _numbers(frame, name)
    if frame["observations"].isna().any():
        raise UserError(f"row {frame.index[frame['observations'].isna()][0] + 1} has no observations")
    halflife = float(frame["observations"].max()) / SMOOTHED_OVER if halflife is None else halflife
    if not 0 < halflife < math.inf:
        raise UserError(f"the half-life must be a positive number of observations, got {halflife:g}")
    sign = -1.0 if lower else 1.0
    per_run = ["batch", "num_envs", "rollout", *(name for name in ("learning_rate", "seed") if name in frame)]
    keys = [name for name in ([FILE, "run"] if "run" in frame else [FILE, *per_run]) if name in frame]
    rows: list[dict[str, Any]] = []
    for key, run in frame.groupby(keys, dropna=False, sort=False):
        name = _name(dict(zip(keys, key, strict=True)))
        for column in per_run:
            if run[column].nunique(dropna=False) > 1:
                raise UserError(
                    f"run {name} has several values of {column}: {', '.join(map(str, run[column].unique()[:3]))}"
                )
        rows += _reached(
            run.sort_values("observations", kind="stable"), name, goals, halflife, start_score, sign
        )
    table = pd.DataFrame(rows)
    return _complete(_with_seeds(table, "seed" in frame))


def _name(key: Mapping[str, Any]) -> str:
    """E.g. "a" or "runs.csv, batch 80, learning_rate 0.001, seed 1"."""
    if "run" in key:
        return str(key["run"])
    file = [Path(key[FILE]).name] if FILE in key else []
    shown = [f"{name} {key[name]:g}" for name in ("batch", "learning_rate", "seed") if name in key]
    return ", ".join([*file, *shown])


def _reached(
    run: pd.DataFrame,
    name: str,
    goals: Sequence[float],
    halflife: float,
    start_score: float | None,
    sign: float,
) -> list[dict[str, Any]]:
    """One run's rows, a goal each."""
    scored = run[run["score"].notna()]
    if scored.empty:
        raise UserError(f"run {name} has no score")
    x, score = scored["observations"].to_numpy(), sign * scored["score"].to_numpy()
    first, batch = run.iloc[0], int(run["batch"].iloc[0])
    smoothed = smooth(x, score, halflife)
    rows = []
    for goal in goals:
        at = crossing_of(x, smoothed, sign * goal)
        made = float(run["observations"].max()) if at is None else at
        row = {
            "id": name,
            "goal": goal,
            "observations": made,
            "updates": made / batch,
            "censored": at is None,
        }
        row |= {key: first[key] for key in ("batch", "num_envs", "rollout")}
        row |= {key: first.get(key, math.nan) for key in ("learning_rate", "seed")}
        if "noise_scale" in run and at is not None:
            metrics = run[["observations", "noise_scale"]].assign(score=sign * run["score"])
            start = None if start_score is None else sign * start_score
            there = noise_scale_at_goals(metrics, [sign * goal], halflife, start).iloc[0]
            row |= {key: there[key] for key in ("noise_scale", "mean_noise_scale", "known_share")}
        rows.append({**row, "peak": float(sign * smoothed.max())})
    return rows


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
