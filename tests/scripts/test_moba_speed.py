"""The lane-battle world's speed, by hand: what is a decision, what the clock sees. No world is stepped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch


def test_hero_decisions_by_the_median_step(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import moba_speed

    steps = iter([0.5, 9.0, 0.5, 0.25, 2.0])

    def act(env: Any) -> None:
        clock.now += 100.0  # the scripts' own time is not counted

    def step(actions: Any) -> None:
        clock.now += next(steps)

    monkeypatch.setattr(moba_speed, "time", clock)
    monkeypatch.setattr(moba_speed, "actions_of", act)
    options, device = SimpleNamespace(heroes=5), torch.device("cpu")
    env: Any = SimpleNamespace(num_envs=64, options=options, device=device, step=step)
    assert moba_speed.rate(env, seconds=12.0) == 64 * 10 / 0.5  # two teams of five
    assert list(steps) == []  # twelve seconds of stepping


def test_microseconds_of_a_worlds_decision(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop takes 3 s for all 4 worlds at each of 5 decisions, and 1e9 s more while it is compiled."""
    import moba_speed

    calls: list[str] = []

    def loop(name: str, seconds: float) -> Any:
        def run(*_: Any) -> None:
            clock.now += seconds + (1e9 if name not in calls else 0.0)
            calls.append(name)

        return run

    space = torch.zeros(4, 1)
    state = dict.fromkeys(("units", "heroes", "game", "rows"), space)
    env = SimpleNamespace(state=state, options=None, heroes=2, _obs=space)
    monkeypatch.setattr(moba_speed, "time", clock)
    monkeypatch.setattr(moba_speed, "mid_game", lambda *_, threads: env if threads == 1 else None)
    monkeypatch.setattr(moba_speed, "actions_of", lambda env: torch.zeros(8, 3))
    monkeypatch.setattr(moba_speed.st, "knobs_of", lambda options: np.zeros(1))
    compiled = {"fight": loop("fight", 3.0), "sight": loop("sight", 2.0)}
    found = moba_speed.shares("1v1", compiled, worlds=4, decisions=5)
    assert found == pytest.approx({"fight": 3e6 / 4, "sight": 2e6 / 4})


def test_the_options_reach_the_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import moba_speed

    asked: list[tuple[Any, ...]] = []

    def mid_game(*world: Any) -> Any:
        asked.append(world)
        return SimpleNamespace(bytes_per_world={"total": 9}, close=lambda: None, worlds=world[1])

    monkeypatch.setattr(moba_speed, "mid_game", mid_game)
    monkeypatch.setattr(moba_speed, "rate", lambda env, seconds: 1000.0 * env.worlds * seconds)
    file = tmp_path / "speed.json"
    command = ["moba_speed.py", "--games", "5v5", "--worlds", "3", "8", "--threads", "2", "--seconds", "0.5"]
    monkeypatch.setattr(sys, "argv", [*command, "--no-shares", "--json", str(file)])
    threads = torch.get_num_threads()
    try:
        moba_speed.main()
    finally:
        torch.set_num_threads(threads)
    assert asked == [("5v5", 3, 2, "cpu"), ("5v5", 8, 2, "cpu")]
    found = json.loads(file.read_text())
    assert found["games"]["5v5"]["hero_decisions_per_second"] == {"3": 1500.0, "8": 4000.0}
    assert "5v5      8 worlds:       4 k hero-decisions/s" in capsys.readouterr().out
