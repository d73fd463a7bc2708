"""Self-play worked out by hand: what wins against past selves take from them, and which games that are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import envs
from agents.networks import make_policy
from envs.batched import Step
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.frozen import measure
from rl_gns.training.loop import Trainer
from rl_gns.training.selfplay import SelfPlay

SHORT: dict[str, Any] = {"game_length": 10, "threads": 1}  # 75 decisions


@pytest.fixture
def play() -> SelfPlay:
    """Of 8 worlds, the last two of each four with a past self; a snapshot every 100 observations."""
    worlds: dict[str, Any] = {"num_envs": 8, "past_share": 0.5, "noise_groups": 2, "snapshot_every": 100}
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo", env_options=SHORT, **worlds))
    with envs.make("moba:1v1", 8, **SHORT) as env:
        policy = make_policy("auto", env.observation_space, env.action_space, seed=0, layout=env.layout)
        return SelfPlay(config, env, policy, seed=0)


def test_a_win_takes_what_the_odds_at_the_draw_make_it_worth_and_an_heirs_nothing(play: SelfPlay) -> None:
    """η / (N p) = 0.01 / (2 p) with p as it was when the game's opponent was drawn."""
    play.pool.add(nn.Linear(1, 1))
    play.pool.quality = {0: -3.0, 1: 0.0}
    play.playing, play.odds = [0, 0, 1, 1], [0.25, 0.5, 0.5, 0.0]
    obs, won = torch.zeros(16, 1), torch.ones(16)
    won[4:6] = float("nan")  # world 2, the first with a past self, goes on
    play.take(Step(obs, obs[:, 0], ~won.isnan(), torch.zeros(16, dtype=torch.bool), None, won, won))
    assert play.past == [2, 3, 6, 7]
    assert play.pool.quality == {0: pytest.approx(-3.0 - 0.01), 1: pytest.approx(-0.01)}
    assert (play.playing[0], play.odds[0]) == (0, 0.25)
    present = play.pool.probabilities()
    for member, p in zip(play.playing[1:], play.odds[1:], strict=True):
        assert p == pytest.approx(present[member])


def test_half_of_the_games_are_the_scripts_in_equal_parts(play: SelfPlay) -> None:
    play.scripts = [None, None]  # type: ignore[list-item]
    drawn = [play._draw() for _ in range(2000)]
    counts = [sum(member == who for member, _ in drawn) for who in (0, -1, -2)]
    assert counts == pytest.approx([1000, 500, 500], abs=90)
    assert {odds for member, odds in drawn if member < 0} == {0.0}
    assert {odds for member, odds in drawn if member == 0} == {1.0}


def test_several_multiples_passed_at_once_are_one_snapshot(play: SelfPlay) -> None:
    policy, taken = nn.Linear(1, 1), []
    for observations in (99, 100, 150, 420, 430, 499, 500):
        play.snapshot_if_due(policy, observations)
        taken.append(play.pool.taken)
    assert taken == [1, 2, 2, 3, 3, 3, 4]


def test_who_goes_on_takes_the_next_snapshot_when_it_is_due_and_no_sooner(play: SelfPlay) -> None:
    play.snapshot_if_due(nn.Linear(1, 1), 250)
    state = play.state_dict()
    play.snapshots = 0  # as of a run that begins
    play.load_state_dict(state)
    for observations, taken in ((299, 2), (300, 3)):
        play.snapshot_if_due(nn.Linear(1, 1), observations)
        assert play.pool.taken == taken


def test_a_frozen_policys_noise_is_that_of_whole_games_against_itself_whatever_its_run_did() -> None:
    """Neither cut first games nor past selves, scripts or the run's seed and size have a part in it."""
    base: dict[str, Any] = {"num_envs": 12, "rollout": 25, "env_options": SHORT, "threads": 1, "seed": 3}
    plain = resolve(TrainConfig(env="moba:1v1", algo="ppo", past_share=0.0, start_spread=0, **base))
    trainer = Trainer(plain)
    weights = trainer.policy.state_dict()
    trainer.close()
    asked = {"groups": 3, "worlds": 2, "rounds": 2}
    found = measure(plain, weights, seed=11, **asked)
    assert found.unit_observations == 2 * 25  # both heroes of a world
    changes: dict[str, Any] = {
        "seed": 4,
        "past_share": 0.34,
        "sparring": "laner",
        "noise_groups": 2,
        "stop_score": 0.5,
    }
    other = resolve(TrainConfig(env="moba:1v1", algo="ppo", **{**base, **changes}))
    assert other.start_spread == 75
    assert measure(other, weights, seed=11, **asked) == found
    assert measure(plain, weights, seed=12, **asked) != found
