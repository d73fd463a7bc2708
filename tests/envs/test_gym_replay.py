"""Tasks whose pickle begins anew are restored all the same, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils import EzPickle

import envs
from envs.batched import EnvError
from envs.gym_replay import Replayed, Snapshot


class Walk(gymnasium.Env[np.ndarray, int], EzPickle):
    """A random walk that a pickle forgets; where it `carries`, the steps of all games before go into the next."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self, carries: bool = False) -> None:
        EzPickle.__init__(self, carries)
        self.carries, self.carried, self.at = carries, 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = float(self.np_random.normal()) + self.carries * self.carried
        return np.array([self.at]), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.carried += 1
        self.at += float(self.np_random.normal()) + action - 1
        return np.array([self.at]), self.at, abs(self.at) > 6, False, {}


@pytest.fixture(autouse=True)
def walks() -> Iterator[None]:
    gymnasium.register("Walk-v0", Walk, max_episode_steps=40)
    yield
    del gymnasium.registry["Walk-v0"]


def played(env: envs.BatchedEnv, steps: int, seed: int) -> list[envs.Step]:
    generator = torch.Generator().manual_seed(seed)
    return [env.step(torch.randint(0, 3, (env.num_envs,), generator=generator)) for _ in range(steps)]


@pytest.mark.parametrize("before", [0, 1, 25, 130])
def test_a_restored_task_goes_on_as_if_never_left(before: int) -> None:
    with envs.make("gym:Walk-v0", 3, seed=1) as env, envs.make("gym:Walk-v0", 3, seed=9) as other:
        env.reset()
        played(env, before, seed=2)
        other.load_state_dict(env.state_dict())
        assert torch.equal(env.observation(), other.observation())
        ended = 0
        for here, there in zip(played(env, 150, seed=3), played(other, 150, seed=3), strict=True):
            assert torch.equal(here.obs, there.obs)
            assert torch.equal(here.reward, there.reward)
            assert torch.equal(here.score.nan_to_num(-1), there.score.nan_to_num(-1))
            ended += int((here.terminated | here.truncated).sum())
        assert ended > 5
        other.load_state_dict(env.state_dict())  # and a task restored is one that can be saved
        assert torch.equal(played(env, 1, seed=4)[0].obs, played(other, 1, seed=4)[0].obs)


def test_a_task_that_carries_something_from_game_to_game_is_refused_when_it_is_saved() -> None:
    with envs.make("gym:Walk-v0", 1, seed=1, carries=True) as env:
        env.reset()
        played(env, 100, seed=2)
        with pytest.raises(EnvError, match="can't be snapshotted: played again from the same randomness"):
            env.state_dict()


def test_so_are_games_whose_randomness_is_their_own() -> None:
    with envs.make("gym:ale_py:ALE/Pong-v5", 1, seed=1) as env:
        env.reset()
        for _ in range(40):
            env.step(torch.tensor([2]))
        with pytest.raises(EnvError, match="can't be snapshotted: played again from the same randomness"):
            env.state_dict()


def test_a_restored_game_that_went_another_way_is_told() -> None:
    with (
        envs.make("gym:Walk-v0", 1, seed=1) as env,
        envs.make("gym:Walk-v0", 1, seed=1, carries=True) as other,
    ):
        other.reset()
        played(other, 50, seed=2)
        env.reset()
        played(env, 50, seed=2)
        with pytest.raises(EnvError, match="can't be restored: played again"):
            other.load_state_dict(env.state_dict())


def test_each_snapshot_proves_the_next_task(monkeypatch: pytest.MonkeyPatch) -> None:
    proven: list[bytes] = []
    restore = Replayed.restore

    def noted(task: Replayed, snapshot: Snapshot) -> bool:
        proven.append(snapshot[-1].tobytes())
        return restore(task, snapshot)

    monkeypatch.setattr(Replayed, "restore", noted)
    with envs.make("gym:Walk-v0", 3, seed=1) as env:
        obs = env.reset().double()
        for _ in range(4):
            env.state_dict()
    shown = [np.frombuffer(each, np.float64)[0] for each in proven]
    np.testing.assert_allclose(shown, obs.flatten()[[0, 1, 2, 0]], rtol=1e-6)
