"""What measuring costs a run: the median and its interval by hand, and a race of trainers that only wait."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest


def test_median_and_its_interval_by_hand() -> None:
    """Of ten costs the 2nd and the 9th: beyond them lie 11 / 1024 a side, beyond the 3rd 5.5 %."""
    from noise_overhead import summary

    rounds = [[2.0 * (1 + cost), 2.0] for cost in (0.9, 0.1, 0.2, 0.3, 0.4, 0.6, 0.5, 0.7, 0.8, 50.0)]
    found = summary(rounds, measured_in=2)
    assert found == pytest.approx({"cost": 0.275, "low": 0.1, "high": 0.45, "rounds": 10})
    assert summary([[3.0, 2.0]], 1) == {"cost": 0.5, "low": 0.5, "high": 0.5, "rounds": 1}


@pytest.mark.parametrize(("at_cadence", "turn"), [(False, 1), (True, 2)])
def test_a_race_by_hand(at_cadence: bool, turn: int, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import noise_overhead

    order: list[float | None] = []
    closed: list[Any] = []

    class Waits:
        """An update takes 1 s, 3 s where it measures."""

        def __init__(self, config: Any) -> None:
            self.config, self.updates = config, 0

        def update(self) -> None:
            cadence = self.config.noise_cadence
            clock.now += 3.0 if cadence and self.updates % cadence == 0 else 1.0
            self.updates += 1
            order.append(self.config.noise_budget)

        def take_row(self) -> None:
            pass

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(noise_overhead, "Trainer", Waits)
    monkeypatch.setattr(noise_overhead, "time", clock)
    monkeypatch.setattr(noise_overhead, "CLOCKS", {"wall": clock.perf_counter, "cpu": lambda: clock.now / 2})
    case = noise_overhead.CASES["a2c 16x5"]
    assert noise_overhead.every(case) == 2
    seconds = 12.0 * 4.0 if not at_cadence else 6.0 * 7.0  # twelve rounds of 3 + 1 s, or seven of 3 + 1 + 2
    found = noise_overhead.race(case, seconds, at_cadence)
    # The first 800 observations, ten updates, warm up.
    assert found["wall"] == ([[4.0, 2.0]] * 2 if at_cadence else [[3.0, 1.0]] * 2)
    assert found["cpu"] == [[a / 2, b / 2] for a, b in found["wall"]]
    measuring = 0.05 if at_cadence else 1.0
    never, always = [0.0] * turn, [measuring] * turn
    assert order[: 4 * turn] == [*never, *always, *always, *never]  # either goes first as often
    assert len(closed) == 2
    same = [dataclasses.replace(one.config, noise_budget=0.0) for one in closed]
    assert same[0] == same[1]


def test_rounds_are_added_and_divided_by_the_cadence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import noise_overhead

    def raced(case: Any, seconds: float, at_cadence: bool) -> dict[str, list[list[float]]]:
        return {"wall": [[1.2, 1.0]], "cpu": [[1.4, 1.0]]}

    monkeypatch.setattr(noise_overhead, "race", raced)
    file = tmp_path / "overhead.json"
    command = ["noise_overhead.py", "--only", "a2c 16x5", "--json", str(file)]
    for more in ([], [], ["--summary"], ["--at-cadence"]):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        noise_overhead.main()
    found = json.loads(file.read_text())
    assert found["a2c 16x5"]["wall"] == [[1.2, 1.0]] * 2
    costs = {
        key: {clock: row["summary"][clock]["cost"] for clock in ("wall", "cpu")} for key, row in found.items()
    }
    assert costs["a2c 16x5"] == pytest.approx({"wall": 0.1, "cpu": 0.2})  # measured once in two rollouts
    assert costs["a2c 16x5 at its cadence"] == pytest.approx({"wall": 0.2, "cpu": 0.4})
    assert capsys.readouterr().out.splitlines()[2] == (
        "a2c 16x5: 10.0% of wall time (10.0% to 10.0%), 20.0% of cpu time (20.0% to 20.0%), 2 rounds"
    )
    before = found["a2c 16x5"]["processors"] = len(os.sched_getaffinity(0)) + 1
    file.write_text(json.dumps(found))
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        noise_overhead.main()
    assert f"has rounds on {before} processors" in capsys.readouterr().err
