"""Starting and killing runs: one of each way by default, all 200 when slow tests are asked for."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

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
        assert stress.complaints("ctrl-c", 130, "", early=False)
        assert not stress.complaints("sigterm", 143, "", early=True)
        assert stress.complaints("sigkill", 1, "", early=True)
    finally:
        stress.PATIENCE = 20.0
        child.kill()
        child.wait()


def test_a_lost_checkpoint_is_seen(tmp_path: Path) -> None:
    from stress import damage, newest

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "400.ckpt").write_bytes(b"not whole")
    assert newest(tmp_path) == 400
    lost, unreadable = damage(tmp_path, before=800)
    assert lost == "checkpoint of 800 observations lost"
    assert unreadable.startswith("400.ckpt: ")
    assert len(damage(tmp_path, before=400)) == 1


def test_what_all_cycles_amount_to() -> None:
    from stress import Outcome, total

    ways = [("sigterm", True, []), ("worker", True, ["a", "b"]), ("sigterm", True, []), ("worker", False, [])]
    cycles = [dataclasses.asdict(Outcome(way, False, 0, 1.0, 9, hit, wrong)) for way, hit, wrong in ways]
    assert total({"cycles": cycles, "compared": 3}) == (
        "4 cycles, hit while running: 2 sigterm, 1 worker; 3 runs got to their end and were compared; "
        "1 cycles left something wrong"
    )


@pytest.mark.parametrize(("code", "hit"), [(1, True), (0, False)])
def test_an_exception_has_hit_where_it_was_thrown(
    code: int, hit: bool, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes by itself: a run that is seen alive may end before it, one that is dead may be dead of it."""
    import stress

    class Ended:
        pid, returncode = 0, code

        def poll(self) -> int | None:
            return None if code == 0 else code

        def communicate(self, timeout: float | None = None) -> tuple[str, str]:
            return "", "RuntimeError: thrown on purpose" if code else ""

    monkeypatch.setattr(stress.subprocess, "Popen", lambda *_, **__: Ended())
    monkeypatch.setattr(stress, "left_behind", lambda *_: [])
    monkeypatch.setattr(stress, "newest", lambda run: 400)
    monkeypatch.setattr(stress, "time", clock)
    outcome = stress.cycle(tmp_path / "run", "exception", random.Random(0))
    assert (outcome.hit, outcome.wrong) == (hit, [])


@pytest.mark.slow
def test_two_hundred_cycles(tmp_path: Path) -> None:
    from stress import stress

    outcomes = list(stress(tmp_path, 200))
    assert [outcome.wrong for outcome, _ in outcomes if outcome.wrong] == []
    assert sum(outcome.hit for outcome, _ in outcomes) >= 150
    assert sum(compared for _, compared in outcomes) >= 10
