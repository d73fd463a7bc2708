"""What a ladder is played with: seeds, sampling, whole games, both teams as streams; and what its rows hold."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

import envs
from envs import BatchedEnv
from envs.batched import Step
from envs.moba.opponents import OPPONENTS, Scripted
from rl_gns.training import ladder
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

SHORT: dict[str, Any] = {"game_length": 10, "threads": 1}  # 75 decisions


class Still:
    """Nobody does anything; it notes who was asked, and with which seed."""

    def __init__(self, rows: int, asked: list[Any]) -> None:
        self.rows, self.asked = rows, asked

    def mode(self) -> Tensor:
        self.asked.append("mode")
        return torch.zeros(self.rows, 3, dtype=torch.int64)

    def sample(self, generator: Generator) -> Tensor:
        self.asked.append(generator.initial_seed())
        return torch.zeros(self.rows, 3, dtype=torch.int64)


class Stander(nn.Module):
    """A policy that stands still and notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []
        self.asked: list[Any] = []

    def forward(self, obs: Tensor) -> tuple[Still, Tensor]:
        self.seen.append(obs.clone())
        return Still(len(obs), self.asked), torch.zeros(len(obs))


@pytest.mark.parametrize("settings", [{}, {"opponents": "bully"}, {"start_spread": 75}])
def test_its_games_are_whole_ones_of_its_own_seed_whatever_the_run_plays_against(
    settings: dict[str, Any],
) -> None:
    """A run's first games are cut short, and its other side may be a script's; the ladder's are neither."""
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo", seed=5, env_options=SHORT, **settings))
    policy = Stander()
    ladder.climb(policy, config, 3, seed=7, opponents=("idle", "laner"))
    with envs.make("moba:1v1", 3, "cpu", 7, **SHORT) as env:
        start = env.observation().view(3, 2, -1)
    assert len(policy.seen) == 2 * 75
    for first in (policy.seen[0], policy.seen[75]):  # the first player's side alternates from world to world
        assert torch.equal(first, torch.stack([start[0, 0], start[1, 1], start[2, 0]]))
    assert policy.asked == [7] * 150


def test_scripts_meet_one_another_in_the_games_that_the_policy_meets_them_in() -> None:
    options = {"game_length": 60, "threads": 1}
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo", env_options=options))
    among: ladder.Results = {}
    found = ladder.climb(Stander(), config, 2, seed=7, opponents=("idle", "laner"), among=among)
    with envs.make("moba:1v1", 2, "cpu", 0, **options) as env:
        idle, laner = (Scripted(name, env.layout) for name in ("idle", "laner"))
        scores, alike = (ladder.play(env, idle, other, seed=7) for other in (laner, idle))
    assert max(scores) < 0
    assert among == {("idle", "laner"): scores}
    # Who stands still plays as idle does.
    assert found.standings == [ladder.standing("idle", alike), ladder.standing("laner", scores)]
    assert found.ratings["laner"].mean > found.ratings["idle"].mean


def test_the_likeliest_action_is_taken_where_that_is_asked_for() -> None:
    config, policy = resolve(TrainConfig(env="moba:1v1", algo="ppo", env_options=SHORT)), Stander()
    ladder.climb(policy, config, 1, deterministic=True, opponents=("idle",))
    assert policy.asked == ["mode"] * 75


class Numbered(BatchedEnv):
    """Two teams of one; world i's games last i + 1 decisions, and its n-th game's score is n for team 0."""

    def __init__(self, num_envs: int) -> None:
        self.spec, self.num_envs, self.agents_per_env = "numbered", num_envs, 2
        self.device = torch.device("cpu")

    def reset(self, seed: int | None = None) -> Tensor:
        self.clock, self.game = torch.zeros(self.num_envs), torch.zeros(self.num_envs)
        return torch.zeros(self.num_streams, 1)

    def step(self, actions: Tensor) -> Step:
        self.clock += 1
        over = self.clock > torch.arange(self.num_envs)
        self.game[over] += 1
        self.clock[over] = 0
        score = self.game.masked_fill(~over, float("nan"))
        each, ended = torch.stack([score, -score], 1).flatten(), over.repeat_interleave(2)
        obs = torch.zeros(self.num_streams, 1)
        return Step(obs, obs[:, 0], ended, torch.zeros_like(ended), obs, each, each)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_worlds_first_game_counts_though_others_last_longer() -> None:
    def stand(obs: Tensor) -> Tensor:
        return torch.zeros(len(obs), dtype=torch.int64)

    assert ladder.play(Numbered(5), stand, stand) == [1.0, -1.0, 1.0, -1.0, 1.0]


def test_a_runs_rows_hold_its_own_rating_and_each_scripts() -> None:
    settings: dict[str, Any] = {"num_envs": 8, "rollout": 4, "ladder_every": 50, "ladder_games": 2}
    config = TrainConfig(env="moba:1v1", algo="ppo", env_options=SHORT, threads=1, **settings)
    trainer = Trainer(resolve(config))
    try:
        climber, among = ladder.Climber(trainer), {}
        for number, pair in enumerate(itertools.combinations(OPPONENTS, 2)):  # known, so not played
            among[pair] = [-1.0, 1.0 if number == 0 else -1.0]
        climber._among.update(among)
        assert not climber.due
        trainer.update()
        assert climber.due
        rows = climber.rows()
        assert not climber.due
        wanted = ladder.climb(trainer.policy, trainer.config, 2, among=among)
    finally:
        trainer.close()
    own = wanted.ratings[ladder.POLICY]
    assert rows == [
        (s.opponent, 2, s.wins, s.score, own.mean, own.deviation, wanted.ratings[s.opponent].mean)
        for s in wanted.standings
    ]
    assert len({row[-1] for row in rows} | {own.mean}) == 5


def test_a_run_that_goes_on_climbs_at_the_next_multiple_as_if_it_had_never_stopped() -> None:
    trainer: Any = SimpleNamespace(observations=750, config=TrainConfig(ladder_every=700))
    climber = ladder.Climber(trainer)
    assert not climber.due
    trainer.observations = 1399
    assert not climber.due
    trainer.observations = 1400
    assert climber.due
