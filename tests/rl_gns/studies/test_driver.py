"""The driver may die at any moment: the table comes out as if it had not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.studies.driver import drive
from rl_gns.studies.study import Study, load_study

TINY = """
env = "gym:CartPole-v1"
goals = [18, 25]
observations = 2_400
halflife = 400
[grid]
num_envs = [4, 16]
rollout = [5]
seeds = [1]
[auto]
rate = 4e-3
batch = 100
points = 2
most = 3
[train]
rmsprop = "torch"
checkpoint_every = 300
"""


def tiny(folder: Path, text: str = TINY) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(text)
    return load_study(folder)


def test_a_run_uses_the_threads_it_is_given(tmp_path: Path) -> None:
    one_rate = TINY.replace("num_envs = [4, 16]", "num_envs = [4]").replace(
        "points = 2\nmost = 3", "points = 1\nmost = 1"
    )
    study = tiny(tmp_path, one_rate)
    with pytest.raises(UserError, match="threads must be at least 1, got 0"):
        drive(study, jobs=1, threads=0, quiet=True)
    drive(study, jobs=1, threads=1, quiet=True)
    configs = [(run / "config.toml").read_text() for run in (study.results / "runs").iterdir()]
    assert configs
    assert all("threads = 1\n" in text for text in configs)


def start(study: Study) -> subprocess.Popen[bytes]:
    code = "from rl_gns.cli import main; main()"
    words = ["study", "run", str(study.path), "--quiet", "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts() -> None:
    """A shell's background job ignores Ctrl-C, and so would all it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def killed_at_random(study: Study, kills: int, rng: random.Random, most: float) -> None:
    """SIGKILL the driver some time after its first run began, `kills` times; then let it finish."""
    for _ in range(kills):
        driver = start(study)
        before = {path.name for path in (study.results / "logs").glob("*")}
        limit = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < limit:
            if {path.name for path in (study.results / "logs").glob("*")} - before or not before:
                break
            time.sleep(0.05)
        time.sleep(rng.uniform(0, most))
        driver.kill()
        driver.communicate()
    last = start(study)
    _, errors = last.communicate(timeout=240)
    assert last.returncode == 0, errors.decode()


def undisturbed(folder: Path, text: str) -> pd.DataFrame:
    study = tiny(folder, text)
    drive(study, jobs=2, quiet=True)
    return study.table()


def test_killed_drivers_leave_the_same_table(tmp_path: Path) -> None:
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [8]")
    whole = undisturbed(tmp_path / "whole", text)
    assert set(whole["status"]) == {"done"}
    study = tiny(tmp_path / "killed", text)
    killed_at_random(study, 2, random.Random(0), 2.0)
    pd.testing.assert_frame_equal(study.table(), whole, check_exact=True)
    assert not list((study.results / "failures").iterdir())


@pytest.mark.slow
def test_killed_drivers_of_a_patient_study_leave_the_same_table(tmp_path: Path) -> None:
    """Its rounds and budgets follow from the runs before, whichever driver saw them end."""
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [8]").replace(
        "most = 3", "most = 4\npatience = 1.05"
    )
    text = text.replace("goals = [18, 25]", "goals = [18, 21]")
    whole = undisturbed(tmp_path / "whole", text)
    assert set(whole["status"]) == {"done"}
    given_up = whole[whole["censored"]]
    assert len(given_up)
    assert (given_up["observations"] < 2_400).all()
    study = tiny(tmp_path / "killed", text)
    killed_at_random(study, 3, random.Random(3), 2.0)
    pd.testing.assert_frame_equal(study.table(), whole, check_exact=True)


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    whole = undisturbed(tmp_path / "whole", TINY)
    study = tiny(tmp_path / "killed")
    killed_at_random(study, 10, random.Random(1), 4.0)
    pd.testing.assert_frame_equal(study.table(), whole, check_exact=True)


def test_second_driver_is_refused_and_finished_runs_are_not_repeated(tmp_path: Path) -> None:
    study = tiny(tmp_path, TINY.replace("num_envs = [4, 16]", "num_envs = [16]\nlearning_rate = [4e-3]"))
    (study.results).mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True);"
            "input()",
            str(study.results / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(UserError, match="another driver is running the study"):
        drive(study, jobs=1, quiet=True)
    holder.communicate(b"\n")
    drive(study, jobs=1, quiet=True)
    databases = {path: path.stat().st_mtime_ns for path in study.results.glob("runs/*/metrics.db")}
    assert len(databases) == 1
    drive(study, jobs=1, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in databases} == databases


def test_failed_run_is_retried_once_and_shown(tmp_path: Path) -> None:
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [4]\nlearning_rate = [1e30]")
    study = tiny(tmp_path, text)
    assert drive(study, jobs=1, quiet=True) == 1
    (run,) = study.plan()
    outcome = study.outcome(run)
    assert outcome.status == "failed"
    assert "finite" in outcome.reason
    assert len(study.failures(run).read_text().splitlines()) == 2
    assert set(study.table()["status"]) == {"failed"}
    from rl_gns.studies.view import status_text

    assert f"failed: {run.id}" in status_text(study)
    with pytest.raises(SystemExit) as stopped:
        main(["study", "run", str(study.path), "--jobs", "1", "--quiet"])
    assert stopped.value.code == 1


def test_a_run_that_failed_twice_is_tried_again_when_asked_and_jobs_share_the_processors(
    tmp_path: Path,
) -> None:
    """As many jobs as processors leave each run one of them; what failed stays failed until it is asked for."""
    study = tiny(tmp_path, TINY.replace("num_envs = [4, 16]", "num_envs = [16]\nlearning_rate = [4e-3]"))
    (run,) = study.plan()
    study.failures(run).parent.mkdir(parents=True)
    study.failures(run).write_text('"no memory"\n"no memory"\n')
    assert drive(study, quiet=True) == 1
    assert not study.folder(run).exists()
    assert drive(study, retry_failed=True, quiet=True) == 0
    assert study.outcome(run).status == "done"
    assert "threads = 1\n" in (study.folder(run) / "config.toml").read_text()


def test_an_environment_that_cannot_be_made_is_said_before_any_run_fails(tmp_path: Path) -> None:
    study = tiny(tmp_path, TINY.replace("gym:CartPole-v1", "gym:CartPol-v1"))
    with pytest.raises(
        UserError, match=r"study.toml: Gymnasium has no environment 'CartPol-v1'; did you mean"
    ):
        drive(study, jobs=1, quiet=True)
    assert not list((study.results / "failures").iterdir())


@pytest.mark.slow
def test_half_deleted_run_is_set_aside_and_run_anew(tmp_path: Path) -> None:
    study = tiny(tmp_path, TINY.replace("num_envs = [4, 16]", "num_envs = [16]\nlearning_rate = [4e-3]"))
    drive(study, jobs=1, quiet=True)
    whole = study.table()
    (run,) = study.plan()
    (study.folder(run) / "metrics.db").unlink()
    assert set(study.table()["status"]) == {"damaged"}
    drive(study, jobs=1, quiet=True)
    pd.testing.assert_frame_equal(study.table(), whole, check_exact=True)
    assert (study.results / "runs" / f"{run.id}.damaged-1" / "checkpoints").is_dir()


@pytest.mark.slow
def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [16]\nlearning_rate = [4e-3]")
    text = text.replace("[18, 25]", "[400]")
    drive(tiny(tmp_path, text), jobs=1, quiet=True)
    study = tiny(tmp_path, text.replace("2_400", "4_800"))
    (run,) = study.plan()
    assert study.outcome(run).status == "partial"
    drive(study, jobs=1, quiet=True)
    assert study.outcome(run).status == "done"
    assert study.outcome(run).observations == 4_800
    assert "resuming" in (study.results / "logs" / f"{run.id}.log").read_text()


def test_runs_of_other_settings_are_refused(tmp_path: Path) -> None:
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [16]\nlearning_rate = [4e-3]")
    study = tiny(tmp_path, text)
    drive(study, jobs=1, quiet=True)
    with pytest.raises(UserError, match=r"was made with gamma=0.99, the study now says 0.5; move it away"):
        drive(tiny(tmp_path, text + "gamma = 0.5\n"), jobs=1, quiet=True)


def test_results_folder_that_cant_be_made(tmp_path: Path) -> None:
    tiny(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"results folder .* can't be written"):
        drive(load_study(tmp_path, tmp_path / "file" / "results"), jobs=1, quiet=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_results_folder(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    study.results.mkdir(mode=0o555)
    with pytest.raises(UserError, match=r"results folder .* can't be written"):
        drive(study, jobs=1, quiet=True)


def test_bad_jobs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jobs must be at least 1"):
        drive(tiny(tmp_path), jobs=0)


def test_interrupt_checkpoints_and_goes_on(tmp_path: Path) -> None:
    text = TINY.replace("num_envs = [4, 16]", "num_envs = [4]\nlearning_rate = [4e-3]")
    study = tiny(tmp_path, text.replace("goals = [18, 25]", "goals = [400]").replace("2_400", "9_000"))
    driver = start(study)
    (run,) = study.plan()
    limit = time.monotonic() + 60
    while not (study.folder(run) / "checkpoints").is_dir() and time.monotonic() < limit:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert b"Traceback" not in errors
    assert not study.failures(run).exists()
    assert study.outcome(run).status in ("partial", "done")
