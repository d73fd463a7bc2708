"""What happens to a study that is edited, looked at or cut off while nobody watches."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rl_gns.errors import UserError
from rl_gns.studies import results, worker
from rl_gns.studies.driver import _settle
from rl_gns.studies.fitting import fit_study
from rl_gns.studies.local import Ended, ended
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.store import BUSY, DISK_FULL
from rl_gns.studies.study import Study
from rl_gns.studies.view import View
from rl_gns.training import checkpoint
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.run import Run, train

Write = Callable[..., Path]
SHORT = TrainConfig(
    env="gym:CartPole-v1",
    algo="a2c",
    num_envs=2,
    rollout=5,
    observations=600,
    log_every=500,
    checkpoint_every=300,
)


def test_a_smaller_budget_cuts_what_was_made_beyond_it(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = study_of(study_of().path.read_text().replace("halflife = 100\n", "halflife = 4_000\n"))
    for run in study.plan({}):
        write_run(study, run, ramp=2_500_000 if run.num_envs == 2 else 600_000)
    smaller = study_of(study.path.read_text().replace("1_000_000", "500_000"))
    for run in smaller.plan({}):
        outcome, before = smaller.outcome(run), study.outcome(run)
        assert outcome.status == "done"
        if run.num_envs == 2:  # it reached 100 at 833,000
            assert (outcome.observations, outcome.updates) == (500_000, 500_000 / run.batch)
            assert outcome.crossings == {100.0: None, 200.0: None}
            assert before.crossings[100.0] is not None
            assert outcome.peak == pytest.approx(60, abs=2)
        else:
            assert outcome.crossings == before.crossings
    assert fit_study(smaller, bootstrap=0).points["censored"].sum() == 4
    assert study_of(study.path.read_text().replace("500_000", "1_000_000")).outcome(run) == before


def test_another_budget_of_a_scheduled_rate_is_another_run(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = study_of()
    text = study.path.read_text() + '[train]\nschedule = "linear"\n'
    run = study_of(text).plan({})[0]
    write_run(study_of(text), run, ramp=60_000)
    assert study_of(text).outcome(run).status == "done"
    larger = study_of(text.replace("1_000_000", "2_000_000"))
    outcome = larger.outcome(larger.plan({})[0])
    assert outcome.status == "damaged"
    assert outcome.reason.startswith("was made with observations=1000000.0, the study now says 2000000.0")


def test_fits_say_what_they_leave_out(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    for run in study.plan({}):
        write_run(study, run, ramp=60_000)
    assert fit_study(study, bootstrap=0).left_out == ""
    config = study.folder(run) / "config.toml"
    config.write_text(config.read_text().replace("gamma = 0.99", "gamma = 0.9"))
    said = f"1 of 10 planned runs are on disk and left out, the first: {run.id} was made with gamma=0.9"
    assert fit_study(study, bootstrap=0).text().startswith(said)
    other = study_of(study.path.read_text() + "[train]\ngamma = 0.5\n")
    with pytest.raises(UserError, match="10 of 10 planned runs are on disk and left out"):
        fit_study(other)


def test_another_halflife_is_named_first(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    run = study.plan({})[0]
    write_run(study, run, ramp=60_000)
    other = study_of(study.path.read_text().replace("halflife = 100\n", ""))
    reason = other.outcome(other.plan({})[0]).reason
    assert reason.startswith("was made with stop_halflife=100.0")
    assert "write it down" in reason


def test_a_run_of_other_settings_is_damaged_however_often_it_failed(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = study_of("".join((study_of().path.read_text(), "[train]\ngamma = 0.5\n")))
    run = study.plan({})[0]
    folder = write_run(study, run, ramp=2_500_000, until=150_000)
    study.failures(run).parent.mkdir(parents=True)
    study.failures(run).write_text('"loss is not finite"\n' * 2)
    assert study.outcome(run).status == "failed"
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("gamma = 0.5", "gamma = 0.9"))
    assert study.outcome(run).status == "damaged"


def test_a_database_in_use_is_no_damage(
    study_of: Callable[..., Study], write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of()
    run = study.plan({})[0]
    folder = write_run(study, run, ramp=60_000)
    study.failures(run).parent.mkdir(parents=True)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, **{**kw, "timeout": 0.1}))
    holder = connect(folder / "metrics.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("DELETE FROM metrics WHERE 0")
    try:
        with pytest.raises(UserError, match=r"metrics\.db can't be read just now .*is it in use"):
            study.outcome(run)
        assert _settle(study, Ended(run, "killed")).status == "partial"  # and the night goes on
        assert _settle(study, Ended(run, "killed")).status == "failed"
    finally:
        holder.close()
    assert study.outcome(run).status == "done"


def test_what_is_its_machines_failure_uses_up_no_try_of_a_run(study_of: Callable[..., Study]) -> None:
    """A full disk, another process at work on it, a node that died: the run is as far as it was, and tried again."""
    study = study_of()
    run = study.plan({})[0]
    study.failures(run).parent.mkdir(parents=True)
    for code in (BUSY, DISK_FULL):
        for _ in range(3):
            assert _settle(study, ended(run, code, "not its own")).status == "pending"
    assert _settle(study, Ended(run, "its node died", counts=False)).status == "pending"
    assert not study.failures(run).exists()
    assert _settle(study, ended(run, 1, "its own")).reason == "failed once: its own"
    assert _settle(study, ended(run, 1, "its own")).status == "failed"


def test_a_run_that_measures_correlation_is_done_when_that_is_saved(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = study_of()
    run = study.plan({})[0]
    folder = write_run(study, run, ramp=60_000)
    planned = dataclasses.replace(run.config, correlation_every=10)

    def status() -> str:
        return results.read(folder, planned, study.spec.goals, study.failures(run), None).status

    end = int(study.metrics(run)["observations"].iloc[-1])
    assert study.outcome(run).status == "done"
    assert status() != "done"
    checkpoint.save(folder / "checkpoints", end - 1, {})
    assert status() == "partial"
    checkpoint.save(folder / "checkpoints", end, {})
    assert status() == "done"


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1), OSError(errno.ENOSPC, "full")])
def test_a_view_that_nobody_reads_ends_no_study(study_of: Callable[..., Study], error: BaseException) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    view = View(Console(file=Broken()), study_of())
    view.note("a line")
    view.note("another")
    view.show([], {}, {})


def test_the_databases_of_other_machines_are_not_opened(
    study_of: Callable[..., Study], write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of()
    run = study.plan({})[0]
    write_run(study, run, ramp=60_000)
    opened: list[str] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kw: opened.append(args[0]) or connect(*args, **kw)
    )
    for look in (True, False):
        View(Console(file=io.StringIO()), study, look=look).show([run], {}, {run.id: run})
        assert bool(opened) is look
        opened.clear()


def test_a_budget_that_is_a_settings_default_is_asked_for(tmp_path: Path) -> None:
    train(SHORT, tmp_path / "run", quiet=True)
    asked = dataclasses.replace(SHORT, observations=TrainConfig().observations, stop_score=5.0)
    assert worker.attempt(configs.resolve(asked), tmp_path / "run") == 0
    stored = configs.load(tmp_path / "run" / "config.toml")
    assert (stored.observations, stored.stop_score) == (TrainConfig().observations, 5.0)


def test_a_run_resumed_beyond_its_end_still_writes_its_last_row(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(dataclasses.replace(SHORT, observations=1_200), folder, quiet=True)
    (folder / "checkpoints" / "000000001200.ckpt").unlink()
    with sqlite3.connect(folder / "metrics.db") as db:
        for table in ("metrics", "timing", "episodes"):
            db.execute(f'DELETE FROM {table} WHERE "update" > 50')
    assert Run(folder, SHORT).metrics()["observations"].tolist() == [500]
    assert worker.attempt(configs.resolve(dataclasses.replace(SHORT, observations=700)), folder) == 0
    rows = Run(folder, SHORT).metrics()["observations"].tolist()
    assert rows == [500, 900]
    assert worker.attempt(configs.resolve(dataclasses.replace(SHORT, observations=700)), folder) == 0
    assert Run(folder, SHORT).metrics()["observations"].tolist() == rows


def test_a_lock_is_asked_for_as_network_file_systems_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lock byte ranges, exclusively only through a descriptor that may write (flock(2))."""
    flock = fcntl.flock

    def of_nfs(file: Any, operation: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & 3 == 0:  # O_RDONLY
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    monkeypatch.setattr(worker, "LOCK_PATIENCE", 0.0)
    (tmp_path / "lock").touch()
    assert worker._wait_for_lock(tmp_path)
    with (tmp_path / "lock").open("w") as held:
        flock(held, fcntl.LOCK_EX)
        assert not worker._wait_for_lock(tmp_path)
        assert worker.attempt(TrainConfig(), tmp_path) == BUSY
        assert not ended(PlannedRun("a", 1, 1, 1e-3, 1, TrainConfig()), BUSY, "busy").counts
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    with pytest.raises(UserError, match=r"can't be locked \(no locks\): put it on a file system with locks"):
        worker._wait_for_lock(tmp_path)
