"""The race against ourselves without a gain: what is taken out is out, and a turn says what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

PEERS = Path(__file__).parents[2] / "scripts" / "bench" / "peers"
TAKEN_OUT = """
import sys, numpy as np, torch
sys.path.insert(0, sys.argv[1])
from gymnasium import spaces
from rl_gns.training import allocation, collecting, loop, threads
from rl_gns.training.config import TrainConfig, resolve
import agents.networks, agents.optimizers, agents.recall
from without import WITHOUT
before = agents.networks.pictures
for take_out in WITHOUT.values():
    take_out()
policy = agents.networks.make_policy("mlp", spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
assert loop.Recall(policy, 5, 2)._steps == 0
assert loop.keep_freed_memory() is False
obs = torch.randint(0, 256, (2, 4, 5, 5), dtype=torch.uint8)
assert agents.networks.pictures is not before and torch.equal(agents.networks.pictures(obs), before(obs))
assert agents.optimizers.RMSpropTF(policy.parameters())._in_one_pass(None, 0, 0, 0) is False
assert collecting.sleeper()() is None and collecting.sleeper is not threads.sleeper
"""


def test_every_gain_can_be_taken_out() -> None:
    subprocess.run([sys.executable, "-c", TAKEN_OUT, str(PEERS)], check=True, timeout=120)


def test_cases_are_of_gains_there_are_and_a_turn_says_what_it_took() -> None:
    from gains import CASES
    from side_by_side import Contender

    sys.path.insert(0, str(PEERS))
    from without import WITHOUT

    assert {gain for gain, *_ in CASES.values()} == set(WITHOUT)
    one = Contender(
        sys.executable,
        "run_ours.py",
        algo="a2c",
        num_envs=2,
        rollout=2,
        game="pong",
        updates=1,
        without=["memory"],
    )
    try:
        assert one.turn() > 0
        assert set(one.said) == {"learn", "faults"}
        assert one.said["learn"] > 0
    finally:
        one.close()


class Scripted:
    """In the place of a contender: rates, learning and faults as given, turn by turn."""

    entered: ClassVar[list[dict[str, Any]]] = []
    order: ClassVar[list[str]] = []

    def __init__(self, python: str, program: str, without: tuple[str, ...] = (), **arguments: Any) -> None:
        self.name = "without" if without else "with"
        self.entered.append({"program": program, "without": list(without), **arguments})
        rates = [7e9, 10.0, 20.0, 60.0] if without else [7e9, 50.0, 30.0, 60.0]
        self.left, self.said = iter(rates), {"learn": 0.2 if without else 0.1, "faults": 9.0}

    def turn(self) -> float:
        self.order.append(self.name)
        return next(self.left)

    def close(self) -> None:
        self.order.append("closed")


def test_a_race_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    import gains

    monkeypatch.setattr(gains, "Contender", Scripted)
    monkeypatch.setattr(Scripted, "entered", [])
    monkeypatch.setattr(Scripted, "order", [])
    row = gains.race("memory, a2c 256x5", 3)
    one, other = Scripted.entered
    assert (one.pop("without"), other.pop("without")) == ([], ["memory"])
    size = {"algo": "a2c", "num_envs": 256, "rollout": 5, "game": "pong", "updates": 3}
    assert one == other == {"program": "run_ours.py", **size}
    both = ["with", "without"]
    assert Scripted.order == [*both[::-1], *both, *both[::-1], *both, "closed", "closed"]
    assert [each["rate"] for each in row["rounds"]["with"]] == [50.0, 30.0, 60.0]  # no warm-up
    # Round by round 5, 1.5 and 1 times: not 50 / 20, and no means.
    assert gains.text("memory, a2c 256x5", row) == (
        "memory, a2c 256x5          20 ->     50 SPS, 1.50 times (1.00-5.00); an update's learning "
        "200 -> 100 ms, page faults 9 -> 9"
    )


def test_a_case_that_is_raced_again_replaces_what_the_file_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import gains

    file = tmp_path / "gains.json"
    file.write_text(json.dumps({"recall, a2c 16x5": "known", "rest, a2c 16x5": "old"}))
    monkeypatch.setattr(gains, "race", lambda case, rounds: f"{rounds} rounds of {case}")
    monkeypatch.setattr(gains, "text", lambda case, row: row)
    command = ["gains.py", "--only", "rest", "--rounds", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    gains.main()
    found = {"recall, a2c 16x5": "known", "rest, a2c 16x5": "2 rounds of rest, a2c 16x5"}
    assert json.loads(file.read_text()) == found
