"""A reader that stops early, as `rl-gns envs | head` does, is no failure of ours."""

import signal
import subprocess
import sys

import pytest

from rl_gns.cli import main


def test_a_closed_pipe_ends_the_command_without_a_traceback() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "rl_gns", "envs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    command.stdout.close()
    _, errors = command.communicate(timeout=120)
    assert errors == b""
    assert command.returncode == 128 + signal.SIGPIPE


def test_a_command_begun_without_an_output_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    main(["envs"])
