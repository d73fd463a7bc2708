"""On a full disk a run, a study and a page end in one line; nothing is lost, and they go on when there is space."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from rl_gns.errors import RunStopped, UserError
from rl_gns.studies.driver import drive
from rl_gns.studies.store import is_full, put, write_tables
from rl_gns.studies.study import load_study
from rl_gns.training.saved import load_run

SIZE = 4 << 20
STUDY = """
env = "gym:CartPole-v1"
goals = [400]
observations = 3_000
halflife = 400
[grid]
num_envs = [4]
rollout = [5]
learning_rate = [2e-3]
seeds = [1, 2]
[train]
checkpoint_every = 300
log_every = 100
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave `free` bytes. Returns the file that takes the rest."""
    ballast = disk / "ballast"
    space = os.statvfs(disk)
    with ballast.open("wb") as file:
        file.write(b"\0" * max(space.f_bavail * space.f_frsize - free, 0))
    return ballast


def command(*words: str) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of `rl-gns`."""
    found = subprocess.run(
        [sys.executable, "-c", "from rl_gns.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return found.returncode, found.stderr.strip().splitlines()


@pytest.mark.slow
def test_run(disk: Path) -> None:
    out = disk / "run"
    words = ["gym:CartPole-v1", "--num-envs", "4", "--log-every", "100", "--checkpoint-every", "400"]
    words += ["--no-tensorboard", "--quiet", "--out", str(out)]
    assert command("train", *words, "--observations", "800")[0] == 0
    before = load_run(out).metrics()
    ballast = fill(disk, 20_000)
    code, lines = command("train", "--resume", "--quiet", "--observations", "20000", "--out", str(out))
    assert code == 1
    assert len(lines) == 1
    assert "full" in lines[0] or "No space left" in lines[0]
    assert "is kept" in lines[0]
    pd.testing.assert_frame_equal(load_run(out).metrics().iloc[: len(before)], before)
    ballast.unlink()
    assert command("train", "--resume", "--quiet", "--observations", "2000", "--out", str(out))[0] == 0
    assert load_run(out).metrics()["observations"].iloc[-1] >= 2000


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 12_000, 60_000, 100_000, 140_000, 300_000])
def test_study(disk: Path, tmp_path: Path, free: int) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    whole = load_study(tmp_path, tmp_path / "whole")
    drive(whole, jobs=1, quiet=True)
    study = load_study(tmp_path, disk / "results")
    ballast = fill(disk, free)
    with pytest.raises(RunStopped, match="free some space and start again, nothing is lost") as caught:
        drive(study, jobs=2, quiet=True)
    assert "\n" not in str(caught.value)
    assert not list(study.results.glob("failures/*"))
    assert "failed" not in set(study.table()["status"])
    ballast.unlink()
    drive(study, jobs=2, quiet=True)
    pd.testing.assert_frame_equal(study.table(), whole.table(), check_exact=True)


def test_study_on_a_full_disk_stops_in_one_line(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = load_study(tmp_path, disk / "results")
    fill(disk, 0)
    with pytest.raises(RunStopped, match="No space left on device; free some space and start again"):
        drive(study, jobs=1, quiet=True)
    assert set(study.table()["status"]) == {"pending"}


def test_read_only_disk_is_refused_in_one_line(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = load_study(tmp_path, disk / "results")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(
        UserError, match=r"results folder .* can't be written \(Read-only file system\): give --out"
    ):
        drive(study, jobs=1, quiet=True)
    with pytest.raises(UserError, match=r"a\.csv can't be written: Read-only file system"):
        write_tables(disk, {"a": pd.DataFrame({"x": [1]})})


def test_older_tables_are_kept(disk: Path) -> None:
    table = pd.DataFrame({"x": range(10)})
    write_tables(disk, {"a": table})
    before = {path.name: path.read_bytes() for path in disk.iterdir()}
    fill(disk, 8_000)
    with pytest.raises(RunStopped, match=r"a\.csv can't be written: No space left.*free some space"):
        write_tables(disk, {"a": pd.DataFrame({"x": range(100_000)})})
    assert {name: (disk / name).read_bytes() for name in before} == before
    assert {path.name for path in disk.iterdir()} == {*before, "ballast"}


def test_file_size_limit_counts_as_full(tmp_path: Path) -> None:
    put(tmp_path / "page.html", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunStopped, match="can't be written: File too large"):
            put(tmp_path / "page.html", b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "page.html").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves one of the two whole."""
    (tmp_path / "table.csv").write_bytes(b"older")
    seen, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        seen.append(((tmp_path / "table.csv").read_bytes(), (tmp_path / ".table.csv.tmp").read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    put(tmp_path / "table.csv", b"newer")
    assert seen == [(b"older", b"newer")]
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cant_be_made_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written: "):
        put(tmp_path / "file" / "page.html", b"")


def test_full_is_seen_through_the_errors_made_of_it() -> None:
    stopped = RunStopped("stopped")
    assert not is_full(stopped)
    stopped.__cause__ = OSError(errno.ENOSPC, "full")
    assert is_full(stopped)
    assert not is_full(OSError(errno.EACCES, "denied"))


@pytest.mark.parametrize("name", [".", "..", "reports"])
def test_a_folder_in_the_place_of_a_page_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"can't be written: it is a folder"):
        put(Path(name), b"page")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
