"""Starting and killing runs: one of each way by default, all 200 when slow tests are asked for."""

import random
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("way", ["worker", "sigterm"])
def test_a_run_ended_badly_leaves_nothing(way: str, tmp_path: Path) -> None:
    from stress import cycle

    rng = random.Random(3)
    outcome = cycle(tmp_path / "run", way, rng, early=False)
    assert outcome.wrong == []
    assert outcome.hit
    assert outcome.code == (1 if way == "worker" else 0)
    assert outcome.observations > 0


def test_what_is_left_behind_is_seen(tmp_path: Path) -> None:
    import stress

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        stress.PATIENCE = 0.2
        (tmp_path / "left").touch()
        found = stress.left_behind(child.pid, set(), tmp_path)
        assert any(line.startswith(f"process {child.pid}") for line in found)
        assert "temporary left" in found
        assert stress.complaints("worker", 1, "rl-gns: something else", early=False) == [
            "the worker's exit code is not named: rl-gns: something else"
        ]
        assert stress.complaints("exception", 1, "Traceback (most recent call last):\nX", early=False)
        assert stress.complaints("sigterm", 143, "", early=False)
        assert not stress.complaints("sigterm", 143, "", early=True)
    finally:
        stress.PATIENCE = 20.0
        child.kill()
        child.wait()


@pytest.mark.slow
def test_two_hundred_cycles(tmp_path: Path) -> None:
    from stress import stress

    outcomes = list(stress(tmp_path, 200))
    assert [outcome.wrong for outcome, _ in outcomes if outcome.wrong] == []
    assert sum(outcome.hit for outcome, _ in outcomes) >= 150
    assert sum(compared for _, compared in outcomes) >= 10
