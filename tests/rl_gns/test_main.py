"""`python -m rl_gns` works where the `rl-gns` script is not on the path."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rl_gns", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_is_the_command() -> None:
    listed = run("envs")
    assert listed.returncode == 0
    assert "gym:CartPole-v1" in listed.stdout.split()
    wrong = run("trian")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("rl-gns: ")
    assert len(wrong.stderr.splitlines()) == 1


def test_its_version_is_the_packages() -> None:
    asked = run("--version")
    assert (asked.returncode, asked.stdout) == (0, f"rl-gns {version('rl-gns')}\n")


def test_a_run_in_which_no_game_ended_has_no_score(tmp_path: Path) -> None:
    sized = ("--num-envs", "2", "--observations", "20", "--no-tensorboard", "--quiet")
    done = run("train", "atari:pong", *sized, "--out", str(tmp_path / "run"))
    assert "score: unknown yet, no game has ended (20 observations)" in done.stdout.splitlines()
