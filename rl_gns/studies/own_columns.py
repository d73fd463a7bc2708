"""Columns of tables that something else made: read, renamed, and refused where they make no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from rl_gns.errors import UserError

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


def with_batch(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with batch, num_envs and rollout; a batch that nobody takes apart counts as rollouts of one."""
    apart = "num_envs" in frame and "rollout" in frame
    if not apart and "batch" not in frame:
        raise UserError(missing(frame, "batch"))
    for name in ("num_envs", "rollout") if apart else ("batch",):
        positive(frame, name)
    if apart:
        product = frame["num_envs"] * frame["rollout"]
        if "batch" in frame and (off := frame.index[frame["batch"] != product]).size:
            raise UserError(
                f"row {off[0] + 1}: batch is {frame['batch'][off[0]]:g}, num_envs x rollout {product[off[0]]:g}"
            )
        return frame.assign(batch=product)
    return frame.assign(num_envs=frame["batch"], rollout=1)


def positive(frame: pd.DataFrame, name: str) -> None:
    """Raises unless the column holds positive whole numbers."""
    values = pd.to_numeric(frame[name], errors="coerce")
    bad = frame.index[~((values > 0) & (values % 1 == 0))]
    if len(bad):
        raise UserError(
            f"row {bad[0] + 1}: {name} must be a positive whole number, got {frame[name][bad[0]]}"
        )
    frame[name] = values.astype(int)


def numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column as floats, NaN where it is empty."""
    values = pd.to_numeric(frame[name], errors="coerce")
    bad = frame.index[values.isna() & frame[name].notna()]
    if len(bad):
        raise UserError(f"row {bad[0] + 1}: {name} is no number: {frame[name][bad[0]]}")
    return values.astype(float)


def missing(frame: pd.DataFrame, name: str) -> str:
    """That a column is not there, and what others call it where one of those is."""
    theirs = [str(column) for column in frame.columns if OTHER_NAMES.get(str(column)) == name]
    hint = f"; is it '{theirs[0]}'? then give --columns {name}={theirs[0]}" if theirs else ""
    there = ", ".join(str(column) for column in frame.columns if column != FILE)
    return f"the table has no column '{name}'{hint or f': it has {there}'}"


def spent(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with observations and updates, of which it has one at least."""
    has = [name for name in ("observations", "updates") if name in frame]
    if not has:
        raise UserError(missing(frame, "observations"))
    for name in has:
        frame[name] = numbers(frame, name)
    if "observations" not in has:
        frame["observations"] = frame["updates"] * frame["batch"]
    return frame


def flags(frame: pd.DataFrame) -> pd.Series:
    """The column `censored` as bool; empty cells are False, and so are all without one."""
    if "censored" not in frame:
        return pd.Series(False, index=frame.index)
    words = frame["censored"].astype(object).where(frame["censored"].notna(), "").astype(str).str.lower()
    yes, no = words.isin(("true", "1", "1.0", "yes")), words.isin(("false", "0", "0.0", "no", ""))
    if len(bad := frame.index[~(yes | no)]):
        raise UserError(f"row {bad[0] + 1}: censored must be true or false, got {frame['censored'][bad[0]]}")
    return yes
