"""The race against ourselves without a gain: what is taken out is out, and a turn says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
