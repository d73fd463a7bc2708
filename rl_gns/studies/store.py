"""Tables and pages onto disk: each file is written aside and renamed, so that a full disk costs no older one."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rl_gns.errors import RunStopped, UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota left, file too large."""
DISK_FULL = 3
"""Exit code of a run's process that could not write."""
BUSY = 5
"""Exit code of a run's process that found another one at work on it."""


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is what an exception, or what it came from, is about."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if (
            isinstance(error, sqlite3.Error)
            and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def put(path: Path, data: bytes) -> Path:
    """Write a whole file.

    Raises:
        RunStopped: the disk is full; the file that was there before is kept.
        UserError: the folder can't be written.
    """
    if path.is_dir():
        raise UserError(f"{path} can't be written: it is a folder")
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as error:
        if error.errno in FULL:
            aside.unlink(missing_ok=True)
            raise RunStopped(
                f"{path} can't be written: {error.strerror}; free some space and try again, nothing is lost"
            ) from error
        raise UserError(f"{path} can't be written: {error.strerror or error}") from None
    return path


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> list[Path]:
    """Write every table as NAME.csv and NAME.parquet (the same rows, with types). Returns the files.

    Raises:
        RunStopped, UserError: as `put`.
    """
    written = []
    for name, table in tables.items():
        written.append(put(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.8g").encode()))
        written.append(put(folder / f"{name}.parquet", parquet(table)))
    return written


def parquet(table: pd.DataFrame) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()
