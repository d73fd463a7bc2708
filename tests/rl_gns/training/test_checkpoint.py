"""Checkpoints on disk: complete or passed over, newest first, two kept, full disks survived."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from rl_gns.errors import RunStopped, UserError
from rl_gns.training import checkpoint

STATE = {"weights": torch.arange(1000.0), "counts": [1, 2], "name": "x", "nested": {"t": torch.zeros(2, 3)}}


def test_round_trip_keeps_two(tmp_path: Path) -> None:
    for i in range(4):
        checkpoint.save(tmp_path, 10**i, STATE | {"counts": [i]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000100.ckpt", "000000001000.ckpt"]
    path, state, warnings = checkpoint.newest(tmp_path)
    assert (path.name, state["counts"], warnings) == ("000000001000.ckpt", [3], [])
    assert torch.equal(state["weights"], STATE["weights"])


def test_a_checkpoint_is_on_the_disk_before_its_name_is_and_then_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the older one or the whole new one, and what was renamed stays renamed."""
    seen: list[tuple[bool, list[str]]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), [path.name for path in tmp_path.iterdir()]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    checkpoint.save(tmp_path, 100, STATE)
    assert seen == [(False, ["000000000100.tmp"]), (True, ["000000000100.ckpt"])]


def test_the_first_past_each_multiple_is_kept_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for observations in (40, 90, 130, 170, 210, 460):
        path = checkpoint.save(folder, observations, STATE)
        for _ in range(2):  # once more after a kill
            checkpoint.keep(path, 100)
    assert sorted(int(p.stem) for p in (tmp_path / "kept").iterdir()) == [130, 210, 460]
    assert checkpoint.equal(checkpoint.read(tmp_path / "kept" / "000000000130.ckpt"), STATE)
    checkpoint.keep(checkpoint.save(folder, 900, STATE), 0)
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_passed_over_and_said_so(tmp_path: Path, damage: str) -> None:
    checkpoint.save(tmp_path, 100, STATE)
    newer = checkpoint.save(tmp_path, 200, STATE)
    data = bytearray(newer.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    newer.write_bytes(
        {"cut": data[: len(data) // 2], "flip": data, "empty": b"", "foreign": b"PK" + data}[damage]
    )
    path, _, warnings = checkpoint.newest(tmp_path)
    assert path.name == "000000000100.ckpt"
    assert len(warnings) == 1
    assert "000000000200.ckpt" in warnings[0]
    assert "going back to the one before" in warnings[0]


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_every_truncation_is_noticed(tmp_path: Path, keep: float) -> None:
    path = checkpoint.save(tmp_path, 1, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        checkpoint.read(path)
    with pytest.raises(UserError, match="no complete checkpoint"):
        checkpoint.newest(tmp_path)


def test_a_full_disk_keeps_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 100, STATE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunStopped, match=r"No space left on device; .*000000000100.ckpt is kept"):
        checkpoint.save(tmp_path, 200, STATE)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["000000000100.ckpt"]
    checkpoint.newest(tmp_path)
