"""Packed runs stand for their directories: the same tables, from a clone that has no results folder."""

from __future__ import annotations

import dataclasses
import lzma
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rl_gns.errors import RunStopped, UserError
from rl_gns.noise import RolloutGram
from rl_gns.studies import driver
from rl_gns.studies.driver import drive
from rl_gns.studies.fitting import fit_study
from rl_gns.studies.packed import KEPT, unpack
from rl_gns.studies.store import put
from rl_gns.studies.study import Study, load_study
from rl_gns.studies.view import status_text
from rl_gns.study_commands import StudyPack
from rl_gns.training import checkpoint
from rl_gns.training.metrics import MetricsWriter, read_table

Write = Callable[..., Path]
CORRELATED = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 1_000
[grid]
num_envs = [2, 8, 32, 128]
rollout = [5, 20]
learning_rate = [1e-3]
seeds = [1, 2]
[correlation]
"""
PLAIN = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 2_000
[grid]
num_envs = [2, 8, 32]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2]
"""


def finished(study: Study, write_run: Write) -> Study:
    """Every run on a front with S = 200 (1 + 30/n) per environment, and the [correlation] runs where there are any."""
    rng = np.random.default_rng(0)
    while missing := [run for run in study.plan() if study.outcome(run).status == "pending"]:
        for run in missing:
            updates = 200 * (1 + 30 / run.num_envs) * float(np.exp(rng.normal(0, 0.05)))
            folder = write_run(
                study, run, ramp=updates * run.batch * 1.5, noise_scale=float(rng.lognormal(5))
            )
            if run.in_grid:
                continue
            gram = RolloutGram(run.rollout)
            gram.update(
                torch.randn(run.rollout, 8, 40, generator=torch.Generator().manual_seed(run.seed)) + 0.5
            )
            checkpoint.save(folder / "checkpoints", 2_000_000, {"correlation": gram.state_dict()})
            writer = MetricsWriter(folder / "metrics.db")
            writer.write(10**6, {"observations": 2e6}, {}, [], [("policy", {"noise_scale": 1 / 3})])
            writer.close()
    return study


def clone(study: Study, folder: Path) -> Study:
    """What git would hand on: the file and the packed runs."""
    folder.mkdir()
    shutil.copy(study.path, folder)
    shutil.copytree(study.finished, folder / study.finished.name)
    return load_study(folder)


@pytest.mark.parametrize("text", [PLAIN, CORRELATED])
def test_a_clone_with_packed_runs_gives_the_same_tables(
    study_of: Callable[..., Study], write_run: Write, tmp_path: Path, text: str
) -> None:
    study = finished(study_of(text), write_run)
    written = study.pack()
    assert {path.name for path in written} == {f"{run.id}.tar.xz" for run in study.plan()}
    other = clone(study, tmp_path / "clone")
    assert other.outcomes() == study.outcomes()
    ours, theirs = fit_study(study, bootstrap=20).tables(), fit_study(other, bootstrap=20).tables()
    assert (
        set(ours)
        == set(theirs)
        >= ({"table", "fronts"} if text is PLAIN else {"moments", "parts", "predicted"})
    )
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], check_exact=True)
    assert not other.results.exists()
    before = status_text(study)
    assert status_text(other).replace("clone", study.name) == before
    drive(other, jobs=1, quiet=True)
    assert not any((other.results / "runs").iterdir())


def test_tables_come_back_bit_for_bit_and_packing_is_repeatable(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = finished(study_of(PLAIN), write_run)
    run = study.plan()[0]
    writer = MetricsWriter(study.folder(run) / "metrics.db")
    odd = {"noise_scale": np.nextafter(0.1, 1), "noise_scale_low": 5e-324, "noise_scale_high": np.inf}
    writer.write(10**7, {"observations": 3e6, **odd, "signal": -1e-17 / 3}, {}, [], [("policy", odd)])
    writer.close()
    assert len(study.pack()) == len(study.plan())
    data = study.archive(run).read_bytes()
    packed = unpack(study.archive(run))
    for name in KEPT:
        table = read_table(study.folder(run) / "metrics.db", name)
        if len(table):
            pd.testing.assert_frame_equal(packed.table(name), table, check_exact=True)
        else:
            assert f"{name}.csv" not in packed.members
    assert packed.config == run.config
    assert study.pack() == []
    study.archive(run).unlink()
    assert study.pack() == [study.archive(run)]
    assert study.archive(run).read_bytes() == data


def test_games_against_scripts_are_packed_too(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of(PLAIN)
    run = study.plan()[0]
    folder = write_run(study, run, ramp=60_000)
    writer = MetricsWriter(folder / "metrics.db")
    writer.write_ladder(5, 900, [("laner", 16.0, 4.0, 0.25, 1 / 3, 2.5, 30.0)])
    writer.close()
    (path,) = study.pack()
    games = unpack(path).table("ladder")
    pd.testing.assert_frame_equal(games, read_table(folder / "metrics.db", "ladder"), check_exact=True)
    assert games[["opponent", "wins", "rating"]].iloc[0].tolist() == ["laner", 4, 1 / 3]


def test_only_finished_runs_are_packed_and_none_in_use(
    study_of: Callable[..., Study], write_run: Write
) -> None:
    study = study_of(PLAIN)
    done, partial, used = study.plan()[:3]
    write_run(study, done, ramp=60_000)
    write_run(study, partial, ramp=2_500_000, until=150_000)
    write_run(study, used, ramp=60_000)
    import fcntl

    with (study.folder(used) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert study.pack() == [study.archive(done)]
    assert study.pack() == [study.archive(used)]


def test_a_packed_run_of_other_settings_is_refused_in_one_line(
    study_of: Callable[..., Study], write_run: Write, tmp_path: Path
) -> None:
    study = finished(study_of(PLAIN), write_run)
    study.pack()
    other = clone(study, tmp_path / "clone")
    other.path.write_text(other.path.read_text() + "[train]\ngamma = 0.9\n")
    other = load_study(other.path)
    run = other.plan()[0]
    assert other.outcome(run).status == "damaged"
    with pytest.raises(
        UserError, match=r"n2-t5-lr1e-3-s1.tar.xz was made with gamma=0.99, the study now says 0.9"
    ):
        drive(other, jobs=1, quiet=True)
    assert other.archive(run).is_file()
    assert "damaged: n2-t5" in status_text(other)


def test_runs_of_another_study_count_where_it_has_packed_them_and_are_not_written_to(
    study_of: Callable[..., Study], write_run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = finished(study_of(PLAIN), write_run)
    study.pack()
    before = {path.name: path.read_bytes() for path in study.finished.iterdir()}
    folder = tmp_path / "wider"
    folder.mkdir()
    text = f'runs_of = ["../{study.path.relative_to(tmp_path)}"]\n' + PLAIN.replace(
        "seeds = [1", "seeds = [9, 1"
    )
    assert "[9, 1" in text
    (folder / "study.toml").write_text(text)
    wider = load_study(folder)
    outcomes = wider.outcomes()
    same, new = ([run for run in wider.plan() if (run.seed != 9) is known] for known in (True, False))
    assert same
    assert new
    assert {outcomes[run.id].status for run in same} == {"done"}
    assert all(outcomes[run.id] == study.outcome(run) and outcomes[run.id].packed for run in same)
    assert {outcomes[run.id].status for run in new} == {"pending"}
    pd.testing.assert_frame_equal(wider.metrics(same[0]), study.metrics(same[0].id), check_exact=True)
    with pytest.raises(UserError, match=rf"has no run '{same[0].id}x'; did you mean '{same[0].id}'"):
        study.metrics(f"{same[0].id}x")
    # What was trained here as well, and says something else, is packed here.
    write_run(wider, new[0], ramp=60_000)
    write_run(wider, same[0], ramp=70_000)
    assert wider.pack() == [folder / "finished" / f"{run.id}.tar.xz" for run in (same[0], new[0])]
    assert {path.name: path.read_bytes() for path in study.finished.iterdir()} == before
    assert wider.archive(same[0]).parent == folder / "finished"
    StudyPack(folder).run()
    assert f"2 of {len(wider.plan())} are now in {folder / 'finished'}" in (out := capsys.readouterr().out)
    assert f"{len(same) - 1} more in other studies'" in out
    (folder / "study.toml").write_text(text + "[train]\ngamma = 0.9\n")
    (folder / "finished" / f"{same[0].id}.tar.xz").unlink()
    edited = load_study(folder)
    assert not edited.outcome(same[0]).reason.startswith(str(edited.finished))
    shutil.rmtree(edited.results / "runs")
    (folder / "finished" / f"{new[0].id}.tar.xz").unlink()
    with pytest.raises(UserError, match="or leave that study out of runs_of") as refused:
        driver.drive(edited, jobs=1, quiet=True)
    assert "remove that file" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('runs_of = ["../nowhere"]', "study.toml: runs_of names ../nowhere, where there is no study file"),
        ('runs_of = "../other"', "runs_of must be a list of folders"),
    ],
)
def test_runs_of_nowhere_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "study.toml").write_text(f"{line}\n{PLAIN}")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_larger_budget_or_a_harder_goal_is_trained_anew(
    study_of: Callable[..., Study], write_run: Write, tmp_path: Path
) -> None:
    study = study_of(PLAIN)
    run = study.plan()[0]
    write_run(study, run, ramp=2_500_000)  # censored at the budget
    study.pack()
    other = clone(study, tmp_path / "clone")
    assert other.outcome(run).status == "done"
    text = other.path.read_text()
    for change in ("observations = 2_000_000", "observations = 1_000_000\nupdates = 1e9"):
        other.path.write_text(text.replace("observations = 1_000_000", change))
        changed = load_study(other.path)
        asked = changed.plan()[0]
        more = asked.config.observations > 1e6
        assert changed.outcome(asked).status == ("pending" if more else "done")


@pytest.mark.parametrize("damage", ["cut", "garbage", "other"])
def test_a_broken_archive_is_refused_and_kept(
    study_of: Callable[..., Study], write_run: Write, tmp_path: Path, damage: str
) -> None:
    study = study_of(PLAIN)
    run = study.plan()[0]
    write_run(study, run, ramp=60_000)
    study.pack()
    path = study.archive(run)
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-40], "garbage": b"x" * 99, "other": lzma.compress(b"")}[damage])
    assert study.outcome(run).status == "done"  # its directory is there
    shutil.rmtree(study.results)
    with pytest.raises(UserError, match=r"n2-t5-lr1e-3-s1.tar.xz .*; remove that file") as error:
        drive(study, jobs=1, quiet=True)
    assert "\n" not in str(error.value)
    assert path.is_file()


def test_a_full_disk_keeps_what_was_packed(
    study_of: Callable[..., Study], write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished(study_of(PLAIN), write_run)
    first = study.pack()
    before = {path: path.read_bytes() for path in first}
    put(first[0], b"older")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RunStopped, match="free some space"):
        study.pack()
    assert first[0].read_bytes() == b"older"
    monkeypatch.undo()
    assert study.pack() == [first[0]]
    assert {path: path.read_bytes() for path in first} == before


def test_killed_while_packing_loses_nothing(study_of: Callable[..., Study], write_run: Write) -> None:
    study = finished(study_of(PLAIN), write_run)
    expected = {path.name: path.read_bytes() for path in study.pack()}
    shutil.rmtree(study.finished)
    rng, code = random.Random(0), "from rl_gns.cli import main; main()"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, "study", "pack", str(study.path)], stdout=-3)
        limit = time.monotonic() + 60
        while process.poll() is None and not study.finished.exists() and time.monotonic() < limit:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in study.finished.glob("*.tar.xz"):
            assert path.read_bytes() == expected[path.name]
    study.pack()
    assert {path.name: path.read_bytes() for path in study.finished.glob("*.tar.xz")} == expected


def test_the_driver_knows_packed_runs_by_a_flag_that_equality_ignores() -> None:
    outcome = driver.Outcome("done", packed=True)
    assert outcome == dataclasses.replace(outcome, packed=False)
