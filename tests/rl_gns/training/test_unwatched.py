"""What nights bring: a terminal that is closed, a mirror on a full disk, a database without its log."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

import rl_gns
from agents import optimizers
from envs import atari_picture
from rl_gns.errors import RunStopped, UserError
from rl_gns.studies.store import is_full
from rl_gns.training import checkpoint, progress, rows
from rl_gns.training import config as configs
from rl_gns.training.loop import Trainer
from rl_gns.training.metrics import PATIENCE, MetricsWriter

CONFIG = rl_gns.TrainConfig(
    env="gym:CartPole-v1",
    num_envs=4,
    observations=600,
    log_every=100,
    checkpoint_every=200,
    tensorboard=False,
    threads=1,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> rl_gns.Run:
    return rl_gns.train(CONFIG, tmp_path_factory.mktemp("runs") / "run", quiet=True)


@pytest.fixture
def stopped(finished: rl_gns.Run, tmp_path: Path) -> Path:
    """A copy of a run whose newest checkpoint is at 400 of 600 observations, with a row every 100."""
    folder = tmp_path / "stopped"
    shutil.copytree(finished.path, folder)
    checkpoint.files(folder / "checkpoints")[-1].unlink()
    return folder


def full_disk() -> IO[str]:
    return open("/dev/full", "w")


def closed_pipe() -> IO[str]:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def closed_terminal() -> IO[str]:
    ours, theirs = os.openpty()
    os.close(ours)
    return os.fdopen(theirs, "w")


@pytest.mark.parametrize("stderr", [full_disk, closed_pipe, closed_terminal])
def test_a_run_goes_on_where_nobody_reads_what_it_says(
    stderr: Callable[[], IO[str]], stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.0)
    file = stderr()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", file)
        resumed = rl_gns.train(CONFIG, stopped, resume=True)
    with contextlib.suppress(OSError):  # what could not be written
        file.close()
    assert resumed.metrics()["observations"].iloc[-1] == 600


def test_brackets_in_a_folders_name_are_no_markup(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stopped.with_name("a[") / "b] [red] [lr=3]"
    folder.parent.mkdir()
    stopped.rename(folder)
    rl_gns.train(CONFIG, folder, resume=True)
    assert f"resuming {folder} at 400 observations" in capsys.readouterr().err


class FullBoard:
    """A mirror on a full disk."""

    log_dir = "run/tensorboard"

    def __init__(self, from_row: bool) -> None:
        self.from_row = from_row

    def add_scalar(self, *_: Any) -> None:
        if self.from_row:
            self.close()

    def close(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("from_row", "saved"), [(True, "; no checkpoint was written yet"), (False, "")], ids=["row", "end"]
)
def test_a_mirror_on_a_full_disk_ends_the_run_in_one_line(
    from_row: bool, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "board_of", lambda *_: FullBoard(from_row))
    config = dataclasses.replace(CONFIG, tensorboard=True)
    with pytest.raises(
        RunStopped, match=f"tensorboard could not be written: No space left on device{saved}$"
    ) as full:
        rl_gns.train(config, tmp_path / "run", quiet=True)
    assert is_full(full.value)
    monkeypatch.undo()
    again = rl_gns.train(config, tmp_path / "run", resume=True, quiet=True)
    assert again.metrics()["observations"].tolist() == [100, 200, 300, 400, 500, 600]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lock", "lock could not be written: Is a directory"),
        ("metrics.db", "metrics.db could not be opened: unable to open database file"),
    ],
)
def test_what_can_t_be_opened_is_one_line(name: str, says: str, stopped: Path) -> None:
    (stopped / name).unlink()
    (stopped / name).mkdir()
    with pytest.raises(RunStopped, match=says):
        rl_gns.train(CONFIG, stopped, resume=True, quiet=True)


def test_a_mirror_that_can_t_be_made_is_one_line(stopped: Path) -> None:
    (stopped / "tensorboard").touch()
    with pytest.raises(RunStopped, match="tensorboard could not be written: File exists"):
        rl_gns.train(rl_gns.TrainConfig(), stopped, resume=True, quiet=True, given=["tensorboard"])


@pytest.mark.parametrize("rows", [0, 2])
def test_a_run_whose_rows_are_lost_is_not_gone_on_with(rows: int, stopped: Path) -> None:
    """As where metrics.db was copied without its log: a study would take the gap for games never played."""
    settings = (stopped / "config.toml").read_bytes()
    if rows:
        with sqlite3.connect(stopped / "metrics.db") as db:
            db.execute("DELETE FROM metrics WHERE observations > 200")
        db.close()
    else:
        (stopped / "metrics.db").unlink()
    with pytest.raises(
        UserError, match=f"ends at {5 * rows} updates, and 000000000400.ckpt has rows up to 20: put back"
    ):
        rl_gns.train(CONFIG, stopped, resume=True, quiet=True)
    assert (stopped / "config.toml").read_bytes() == settings
    assert not (stopped / "metrics.db-wal").exists(), "it would be taken for that of the one that is put back"


def test_a_checkpoint_of_a_version_that_kept_no_word_of_rows_is_gone_on_with(stopped: Path) -> None:
    newest, state, _ = checkpoint.newest(stopped / "checkpoints")
    del state["newest_row"]
    checkpoint.save(newest.parent, 400, state)
    assert rl_gns.train(CONFIG, stopped, resume=True, quiet=True).metrics()["observations"].iloc[-1] == 600


def test_somebody_elses_transaction_is_waited_for(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "metrics.db")
    assert writer._guard("PRAGMA busy_timeout").fetchone()[0] == 1000 * PATIENCE >= 60_000
    writer.close()


def test_settings_are_on_the_disk_before_they_take_the_place_of_the_older_ones(
    finished: rl_gns.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves one of the two whole."""
    path = tmp_path / "config.toml"
    path.write_text("older")
    seen, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        seen.append((path.read_text(), "[train]" in path.with_suffix(".tmp").read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    configs.save(finished.config, path, {})
    assert seen == [("older", True)]
    assert configs.load(path) == finished.config


@pytest.mark.parametrize(
    ("handler", "ends"), [(signal.SIG_DFL, 220), (signal.SIG_IGN, 600)], ids=["closed", "nohup"]
)
def test_a_closed_terminal_checkpoints_unless_it_is_to_be_ignored(
    handler: signal.Handlers, ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trainer.update

    def hung_up(trainer: Trainer) -> None:
        update(trainer)
        if trainer.observations == 220:
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(Trainer, "update", hung_up)
    old = signal.signal(signal.SIGHUP, handler)
    try:
        rl_gns.train(CONFIG, tmp_path / "run", quiet=True)
        assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, old)
    assert int(checkpoint.files(tmp_path / "run" / "checkpoints")[-1].stem) == ends


@pytest.mark.parametrize("module", [optimizers, atari_picture])
def test_machine_code_that_can_t_be_kept_is_made_anew(module: Any) -> None:
    """As where neither installation nor user's cache can be written; what has no file has no place."""
    made: dict[str, Any] = {}
    exec("def twice(x): return 2 * x", made)
    assert module._compiled(made["twice"])(4) == 8
