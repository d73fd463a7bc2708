"""Checkpoints that a kill, a full disk or a torn write can't turn into a lost run.

On disk: `checkpoints/OBSERVATIONS.ckpt` = b"rl-gns 2\\n" + SHA-256 of the rest (32 bytes) + torch.save of the state.
Writing: to `OBSERVATIONS.tmp`, fsync, rename, fsync the folder, then remove all but the newest two; one that is to be
kept for good has a second name in `kept`. A file that is too short or whose digest differs is not complete; reading
takes the newest complete one. The state holds only tensors, numbers, strings, lists and dicts, and is read with torch's
weights_only loader.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_gns.errors import RunStopped, UserError

MAGIC = b"rl-gns 2\n"
KEPT = 2


def save(folder: Path, observations: int, state: dict[str, Any]) -> Path:
    """Write `state` aside and rename it into place. Returns the file.

    Raises:
        RunStopped: the disk is full or read-only; older checkpoints are untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    path = folder / f"{observations:012d}.ckpt"
    aside = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(MAGIC)
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for old in files(folder)[:-KEPT]:
            old.unlink()
    except OSError as error:
        aside.unlink(missing_ok=True)
        newest = next(reversed(files(folder)), None)
        kept = f"{newest} is kept" if newest else "there is none before it"
        raise RunStopped(f"the checkpoint {path} could not be written: {error.strerror}; {kept}") from error
    return path


def files(folder: Path) -> list[Path]:
    """A folder's checkpoints, oldest first. A file of another name, as somebody's copy best.ckpt, is none of them."""
    return sorted(path for path in folder.glob("*.ckpt") if path.stem.isdecimal())


def keep(path: Path, every: float) -> None:
    """Link a checkpoint into `kept` beside its folder if it is the first past a multiple of `every` observations.

    Raises:
        RunStopped: the disk is full or read-only.
    """
    kept = path.parent.parent / "kept"
    newest_kept = max((int(old.stem) for old in files(kept)), default=0)
    if every <= 0 or int(path.stem) // every <= newest_kept // every:
        return
    try:
        kept.mkdir(exist_ok=True)
        os.link(path, kept / path.name)
    except OSError as error:
        raise RunStopped(f"{path} could not be kept in {kept}: {error.strerror}") from error


def read(path: Path) -> dict[str, Any]:
    """The state in one file.

    Raises:
        ValueError: the file is not a complete checkpoint.
    """
    data = path.read_bytes()
    head = len(MAGIC) + 32
    if data.startswith(b"rl-gns ") and not data.startswith(MAGIC):
        raise ValueError(f"{path} is of another version of rl-gns")
    if len(data) < head or not data.startswith(MAGIC):
        raise ValueError(f"{path} is no checkpoint, or was cut short")
    payload = memoryview(data)[head:]
    if hashlib.sha256(payload).digest() != data[len(MAGIC) : head]:
        raise ValueError(f"{path} is damaged (its checksum differs)")
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return state


def newest(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest complete checkpoint: file, state, and a line for every newer file that had to be passed over.

    Raises:
        UserError: there is none.
    """
    warnings: list[str] = []
    for path in reversed(files(folder)):
        try:
            return path, read(path), warnings
        except (ValueError, OSError) as error:
            warnings.append(f"{error}; going back to the one before")
    why = f" ({warnings[-1]})" if warnings else ""
    raise UserError(f"{folder} holds no complete checkpoint{why}: start the run anew with another --out")


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same bit for bit, through lists and dicts; NaN equals NaN."""
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        one, other = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b))
        return torch.equal(one, other)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b or (a != a and b != b))


def as_tensors(state: Any) -> Any:
    """`state` with its arrays as tensors, the only ones that a checkpoint holds."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state)
    return {key: as_tensors(value) for key, value in state.items()} if isinstance(state, dict) else state
