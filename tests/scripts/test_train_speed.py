"""The race against Stable-Baselines3, and of an option against the default, by hand: nobody trains here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

RATES = {  # of a warm-up and four rounds
    "ours": [7e9, 40.0, 20.0, 90.0, 20.0],
    "sb3": [7e9, 10.0, 10.0, 10.0, 40.0],
    "sb3-subproc": [7e9, 20.0, 16.0, 15.0, 10.0],
    "limit": [7e9, 80.0, 50.0, 60.0, 100.0],
}


Entered = tuple[Callable[[], float], Callable[[], None]]


def contenders(order: list[str], closed: list[str]) -> dict[str, Callable[[], Entered]]:
    """Contenders with these rates, which note who had a turn and who was closed."""

    def contender(name: str) -> Entered:
        left = iter(RATES[name])

        def turn() -> float:
            order.append(name)
            return next(left)

        return turn, lambda: closed.append(name)

    return {name: partial(contender, name) for name in RATES}


def test_a_race_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    from train_speed import race

    order: list[str] = []
    closed: list[str] = []
    row = race("a2c 16x5", contenders(order, closed), rounds=4)
    names = list(RATES)
    assert order == [*names[::-1], *names, *names[::-1], *names, *names[::-1]]  # nobody always goes first
    assert closed == names[::-1]
    assert row["rates"] == {name: rates[1:] for name, rates in RATES.items()}  # no warm-up
    assert row["medians"] == {"ours": 30.0, "sb3": 10.0, "sb3-subproc": 15.5, "limit": 70.0}
    # Round by round against the faster peer, 2, 1.25, 6 and 2: not 30 / 15.5, and no mean.
    assert (row["best_peer"], row["ratio"]) == ("sb3-subproc", 2.0)
    assert row["share_of_limit"] == {"median": 0.45, "low": 0.2, "high": 1.5}
    said = capsys.readouterr().out
    assert "ratio to sb3-subproc: 2.00 (1.25-6.00)" in said
    assert "45 % of the limit (20-150)" in said


def test_who_entered_is_closed_where_another_does_not_start() -> None:
    from train_speed import race

    closed: list[str] = []

    def broken() -> Entered:
        raise RuntimeError("no such peer")

    with pytest.raises(RuntimeError, match="no such peer"):
        race("a2c 16x5", {**contenders([], closed), "other": broken}, rounds=4)
    assert closed == list(RATES)[::-1]


def test_a_turn_of_ours_counts_observations_by_its_own_time(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train_speed

    class Training:
        def __init__(self, config: Any) -> None:
            self.config = config

        def update(self) -> None:
            clock.now += 0.5

        def take_row(self) -> None:
            clock.now += 1.5

        close = None

    monkeypatch.setattr(train_speed, "time", clock)
    monkeypatch.setattr(train_speed, "Trainer", Training)
    turn, _ = train_speed.ours("a2c", 4, 5, 3, device="cpu")
    assert turn() == 3 * 4 * 5 / 3.0


def test_all_have_the_same_size_and_updates_and_only_ours_the_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import train_speed

    entered: list[tuple[Any, ...]] = []

    class Contender:
        turn = close = None

    def enter(name: str, algo: str, game: str, folder: Path, size: Any, updates: int, options: Any) -> Any:
        entered.append((algo, name, game, size, updates, options))
        return Contender()

    def race(name: str, contenders: dict[str, Callable[[], Entered]], rounds: int) -> list[Any]:
        for contender in contenders.values():
            contender()
        return [name, *contenders, rounds]

    monkeypatch.setattr(train_speed, "enter", enter)
    monkeypatch.setattr(train_speed, "race", race)
    file = tmp_path / "speed.json"
    command = ["train_speed.py", "--precision", "bf16", "--rounds", "3", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    train_speed.main()
    names = ["ours", "sb3", "sb3-subproc", "limit"]
    bf16 = {"precision": "bf16"}  # `enter` gives it to ours alone
    assert entered == [
        *(("a2c", name, "pong", (16, 5), 40, bf16) for name in names),
        *(("ppo", name, "pong", (8, 128), 12, bf16) for name in names),
    ]
    assert json.loads(file.read_text())["rows"] == [
        ["a2c 16x5 bf16", *names, 3],
        ["ppo 8x128 bf16", *names, 3],
    ]


def test_an_option_races_the_default_and_is_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import options_speed

    file = tmp_path / "options.json"
    file.write_text(json.dumps([{"name": "act, a2c 16x5", "was": "known"}, {"name": "bf16, a2c 16x5"}]))
    monkeypatch.setattr(options_speed, "ours", lambda *size, **options: (size, options))
    monkeypatch.setattr(
        options_speed,
        "race",
        lambda name, contenders, rounds: {
            "name": name,
            "raced": [(key, enter()) for key, enter in contenders.items()],
        },
    )
    command = ["options_speed.py", "--only", "bf16", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    options_speed.main()
    found = {row["name"]: row for row in json.loads(file.read_text())}
    assert set(found) == {"act, a2c 16x5", "bf16, a2c 16x5", "bf16, ppo 8x128"}
    assert found["act, a2c 16x5"]["was"] == "known"
    size, off, on = ["a2c", 16, 5, 12], {"device": "cpu"}, {"device": "cpu", "precision": "bf16"}
    assert found["bf16, a2c 16x5"]["raced"] == [["bf16", [size, on]], ["default", [size, off]]]
