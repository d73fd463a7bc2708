"""Columns of tables that something else made: read, renamed, and refused where they make no sense."""

from __future__ import annotations

import lzma
import shlex
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
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
    **dict.fromkeys(("batch_size", "b"), "batch"),
    **dict.fromkeys(("n_envs", "envs"), "num_envs"),
    **dict.fromkeys(("n_steps", "num_steps", "rollout_length"), "rollout"),
    **dict.fromkeys(
        ("step", "steps", "global_step", "timesteps", "total_timesteps", "examples", "samples"),
        "observations",
    ),
    **dict.fromkeys(("update", "iterations", "optimizer_steps"), "updates"),
    **dict.fromkeys(
        ("return", "reward", "episodic_return", "ep_rew_mean", "r", "value", "loss", "val_loss"), "score"
    ),
    **dict.fromkeys(("lr",), "learning_rate"),
    **dict.fromkeys(("run_id", "id", "name"), "run"),
}
"""What others call our columns, in small letters and without a folder as charts/: named in the error, never taken for
granted."""
RUN = " - "
"""Between run and metric, in exports that have a column for every run."""
FILE, ROW = "_file", "_row"
"""Where a row was read: only the errors and the telling apart of runs need them."""
UNPACKED = (EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, ImportError)
"""What unpacking raises besides an OSError: a file cut short, one that is not what its name says, no unpacker."""


def read(paths: Sequence[Path], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """All tables one below the other; a file without a column `run` is a file of its own runs.

    Args:
        paths: CSV (also packed: .csv.gz, .csv.xz) or Parquet files.
        columns: our name -> what the files call it.

    Raises:
        UserError: no file, one given twice, one that is no table, a column that is not there.
    """
    if not paths:
        raise UserError("which table? a CSV or Parquet file with a row per run, or rows along runs")
    files = [path.resolve() for path in paths]
    if twice := [path for i, path in enumerate(paths) if files[i] in files[:i]]:
        raise UserError(f"{twice[0]} is given twice")
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
        given[FILE], given[ROW] = str(path), np.arange(1, len(given) + 1)
        frames.append(given)
    return pd.concat(frames, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            named = [name for name in frame.index.names if name is not None]  # CSV has them as columns
            return frame.reset_index(level=named) if named else frame
        return _read_csv(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from None
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError, *UNPACKED) as error:
        raise UserError(f"{path} is no table: {' '.join(str(error).split())}") from None


def _read_csv(path: Path) -> pd.DataFrame:
    """Without the comments it begins with, as Stable-Baselines3's monitor files do; further down "#" is a name's."""
    skipped = 0
    while str(pd.read_csv(path, skiprows=skipped, nrows=0).columns[0]).startswith("#"):
        skipped += 1
    return pd.read_csv(path, skiprows=skipped, low_memory=False)


def where(frame: pd.DataFrame, index: int) -> str:
    """How an error names a row of a table whose rows are numbered: as its file counts it, with the file if several."""
    if ROW not in frame:
        return f"row {index + 1}"
    file = f"{frame[FILE][index]}, " if frame[FILE].nunique() > 1 else ""
    return f"{file}row {frame[ROW][index]}"


def with_batch(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with batch, num_envs and rollout; a batch that nobody takes apart counts as rollouts of one."""
    apart = "num_envs" in frame and "rollout" in frame
    if not apart and "batch" not in frame:
        raise UserError(missing(frame, "batch"))
    for name in ("batch", *(("num_envs", "rollout") if apart else ())):
        if name in frame:
            positive(frame, name)
    if apart:
        product = frame["num_envs"] * frame["rollout"]
        if "batch" in frame and (off := frame.index[frame["batch"] != product]).size:
            raise UserError(
                f"{where(frame, off[0])}: batch is {frame['batch'][off[0]]:g}, num_envs x rollout {product[off[0]]:g}"
            )
        return frame.assign(batch=product)
    return frame.assign(num_envs=frame["batch"], rollout=1)


def positive(frame: pd.DataFrame, name: str) -> None:
    """Raises unless the column holds positive whole numbers."""
    values = pd.to_numeric(frame[name], errors="coerce").astype(float)
    bad = frame.index[~((values > 0) & (values % 1 == 0))]
    if len(bad):
        raise UserError(
            f"{where(frame, bad[0])}: {name} must be a positive whole number, got {frame[name][bad[0]]}"
        )
    frame[name] = values.astype(int)


def numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column as floats, NaN where it is empty."""
    values = pd.to_numeric(frame[name], errors="coerce")
    bad = frame.index[values.isna() & frame[name].notna()]
    if len(bad):
        raise UserError(f"{where(frame, bad[0])}: {name} is no number: {frame[name][bad[0]]}")
    return values.astype(float)


def rates(frame: pd.DataFrame) -> pd.Series:
    """The column `learning_rate`: positive, NaN where it is empty."""
    values = numbers(frame, "learning_rate")
    bad = frame.index[values.notna() & ~((values > 0) & (values < np.inf))]
    if len(bad):
        raise UserError(
            f"{where(frame, bad[0])}: learning_rate must be a positive number, got {values[bad[0]]:g}"
        )
    return values


def missing(frame: pd.DataFrame, name: str) -> str:
    """That a column is not there, and what others call it where one of those is."""
    theirs = [str(column) for column in frame.columns if _meant(str(column)) == name]
    hint = (
        f"; is it '{theirs[0]}'? then give --columns {shlex.quote(f'{name}={theirs[0]}')}" if theirs else ""
    )
    if len({column.partition(RUN)[0] for column in theirs if RUN in column}) > 1:
        # As Weights & Biases exports a panel: "run - charts/episodic_return", for every run.
        hint = f"; it has a column a run, as '{theirs[0]}': put the runs one below the other, with a column 'run'"
    there = ", ".join(str(column) for column in frame.columns if column not in (FILE, ROW))
    return f"the table has no column '{name}'{hint or f': it has {there}'}"


def _meant(column: str) -> str:
    """Which of ours a column of theirs may be, e.g. 'charts/episodic_return' the score; "" where none."""
    last = column.rsplit("/", 1)[-1].casefold()
    return OTHER_NAMES.get(last, last if last in KNOWN else "")


def spent(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with observations, and updates where it has some; where one is empty, the other gives it."""
    has = [name for name in ("observations", "updates") if name in frame]
    if not has:
        raise UserError(missing(frame, "observations"))
    for name in has:
        frame[name] = numbers(frame, name)
    if "updates" in has:
        made = frame["updates"] * frame["batch"]
        frame["observations"] = frame["observations"].fillna(made) if len(has) == 2 else made
        frame["updates"] = frame["updates"].fillna(frame["observations"] / frame["batch"])
    return frame


def flags(frame: pd.DataFrame) -> pd.Series:
    """The column `censored` as bool; empty cells are False, and so are all without one."""
    if "censored" not in frame:
        return pd.Series(False, index=frame.index)
    words = (
        frame["censored"]
        .astype(object)
        .where(frame["censored"].notna(), "")
        .astype(str)
        .str.strip()
        .str.lower()
    )
    yes, no = words.isin(("true", "1", "1.0", "yes")), words.isin(("false", "0", "0.0", "no", ""))
    if len(bad := frame.index[~(yes | no)]):
        raise UserError(
            f"{where(frame, bad[0])}: censored must be true or false, got {frame['censored'][bad[0]]}"
        )
    return yes
