"""`python -m rl_gns` works where the `rl-gns` script is not on the path."""

from __future__ import annotations

import subprocess
import sys


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
