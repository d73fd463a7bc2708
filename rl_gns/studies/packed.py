"""Finished runs small enough to be committed beside the study's file: one archive a run, `finished/ID.tar.xz`.

    config.toml        as in the run's directory, byte for byte
    metrics.csv        every table of metrics.db but `timing`, every digit; a table without rows is left out
    episodes.csv …
    correlation.json   what the newest checkpoint holds of the correlation within rollouts, where it was measured

`tar xf` and a text editor are enough to read one. Checkpoints are left out: a packed run can't go on, only count.
The same run directory gives the same bytes. This file knows run directories; it must not know studies.
"""

from __future__ import annotations

import functools
import io
import json
import lzma
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.errors import UserError
from rl_gns.studies.store import put
from rl_gns.training import checkpoint
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.metrics import TABLES, read_table

SUFFIX = ".tar.xz"
KEPT = tuple(name for name in TABLES if name != "timing")
_WHOLE, _WORDS = ("update", "stream"), ("part", "opponent")


@dataclass(frozen=True)
class PackedRun:
    """An archive, read and checked."""

    config: TrainConfig
    members: dict[str, bytes]

    def table(self, name: str) -> pd.DataFrame:
        """As `training.metrics.read_table` of the run's directory: the same values and types.

        Raises:
            KeyError: the archive has no such table, as the run wrote nothing into it.
        """
        data = self.members[f"{name}.csv"]
        names = data[: data.index(b"\n")].decode().split(",")
        numbers = [column for column in names if column not in (*_WORDS, *_WHOLE)]
        return pd.read_csv(
            io.BytesIO(data),
            dtype={
                **dict.fromkeys(names, np.float64),
                **dict.fromkeys(_WHOLE, np.int64),
                **dict.fromkeys(_WORDS, str),
            },
            keep_default_na=False,
            na_values={column: [""] for column in numbers},
            float_precision="round_trip",  # what was written, to the last bit, which other parsers may not return
        )

    @property
    def correlation(self) -> dict[str, Any]:
        """State of a `RolloutGram`, empty where nothing was measured."""
        import torch

        stored = json.loads(self.members.get("correlation.json", b"{}"))
        return {
            name: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
            for name, value in stored.items()
        }


def archive(folder: Path) -> bytes:
    """The archive of the run in `folder`.

    Raises:
        UserError: config.toml or metrics.db can't be read.
    """
    try:
        members = {"config.toml": (folder / "config.toml").read_bytes()}
        for name in KEPT:
            try:
                frame = read_table(folder / "metrics.db", name)
            except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
                if "no such table" in str(error) and name not in ("metrics", "episodes"):
                    continue  # written by a version without it
                raise
            if len(frame) or name in ("metrics", "episodes"):
                members[f"{name}.csv"] = frame.to_csv(index=False, lineterminator="\n").encode()
    except (OSError, sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        raise UserError(f"{folder} can't be packed: {' '.join(str(error).split())}") from None
    state = correlation_of(folder)
    if state:
        plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in state.items()}
        members["correlation.json"] = json.dumps(plain, sort_keys=True).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)  # no time, no owner: the same run, the same bytes
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), preset=6)


def unpack(path: Path) -> PackedRun:
    """Read an archive.

    Raises:
        ValueError: it is cut short, or is no packed run, or one of another version.
    """
    try:
        return _unpacked(path.read_bytes())
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from None


@functools.lru_cache(maxsize=2)  # a run's tables are asked for one after the other
def _unpacked(data: bytes) -> PackedRun:
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as tar:
            members = {}
            for entry in tar.getmembers():
                content = tar.extractfile(entry)
                members[entry.name] = b"" if content is None else content.read()
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"can't be read ({' '.join(str(error).split()) or type(error).__name__})") from None
    missing = {"config.toml", "metrics.csv", "episodes.csv"} - set(members)
    if missing:
        raise ValueError(f"is no packed run: it has no {sorted(missing)[0]}")
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "config.toml"
        file.write_bytes(members["config.toml"])
        try:
            config = configs.load(file)
        except UserError as error:
            reason = str(error).replace(str(file), "its config.toml")
            raise ValueError(f"is of another version? {reason}") from None
    return PackedRun(config, members)


def pack(folder: Path, path: Path) -> bool:
    """Write the archive of `folder` to `path`, whole or not at all. Returns whether the file has changed.

    Raises:
        UserError: the run can't be read, or the folder of `path` not be written.
        RunStopped: the disk is full; the file that was there is kept.
    """
    data = archive(folder)
    if path.is_file() and path.read_bytes() == data:
        return False
    put(path, data)
    return True


def correlation_of(folder: Path) -> dict[str, Any]:
    """State of a `RolloutGram` in the newest checkpoint of a run's directory, empty where there is none."""
    try:
        state = checkpoint.newest(folder / "checkpoints")[1].get("correlation")
    except (UserError, OSError):
        return {}
    return dict(state or {})
