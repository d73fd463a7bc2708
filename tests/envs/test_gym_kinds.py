"""Spaces that don't count from 0, whole numbers, pictures of floats, and tasks that fail: served right or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import envs
from agents.networks import MLP, make_policy
from rl_gns.errors import RunStopped, UserError
from rl_gns.training.config import TrainConfig
from rl_gns.training.run import train

SEEN: list[Any] = []


class Any2(gymnasium.Env[Any, Any]):
    """Observes whatever its space has, and keeps the actions that it is given."""

    def __init__(
        self,
        action: spaces.Space[Any],
        observation: spaces.Space[Any],
        fails: bool = False,
        gives: Callable[[int], Any] | None = None,
    ) -> None:
        self.action_space, self.observation_space, self.fails, self.gives = action, observation, fails, gives
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.seen(), {}

    def seen(self) -> Any:
        return self.observation_space.sample() if self.gives is None else self.gives(self.steps)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        assert not (self.fails and self.steps == 3), "the task is broken"
        SEEN.append(np.asarray(action).copy())
        self.steps += 1
        return self.seen(), 1.0, self.steps == 10, False, {}


@pytest.fixture
def task() -> Iterator[Any]:
    names: list[str] = []

    def make(action: spaces.Space[Any], observation: spaces.Space[Any], **kw: Any) -> str:
        name = f"Kinds-v{len(names)}"
        gymnasium.register(name, partial(Any2, action, observation, **kw))
        names.append(name)
        return f"gym:{name}"

    SEEN.clear()
    yield make
    for name in names:
        del gymnasium.registry[name]


VECTOR = spaces.Box(-1, 1, (3,), np.float32)


@pytest.mark.parametrize(
    ("space", "told", "seen"),
    [
        (spaces.Discrete(3, start=1), [0, 2], [1, 3]),
        (spaces.MultiDiscrete([3, 2], start=[1, 5]), [[0, 0], [2, 1]], [[1, 5], [3, 6]]),
        (spaces.Box(0, 5, (2,), np.int64), [[0.4, 9.0], [-3.0, 1.6]], [[0, 5], [0, 2]]),
    ],
)
def test_actions_lie_in_the_tasks_space(task: Any, space: Any, told: Any, seen: Any) -> None:
    env = envs.make(task(space, VECTOR), 2, seed=0)
    env.reset()
    env.step(torch.tensor(told))
    assert [action.tolist() for action in SEEN] == seen
    if isinstance(space, spaces.Discrete):
        assert env.action_space == spaces.Discrete(3)


@pytest.mark.parametrize("start", [-1, 2])
def test_observations_are_counted_from_0(task: Any, start: int, tmp_path: Any) -> None:
    name = task(spaces.Discrete(2), spaces.Discrete(4, start=start))
    env = envs.make(name, 3, seed=0)
    seen = [env.reset()]
    assert env.observation_space == spaces.Discrete(4)
    for _ in range(12):
        step = env.step(torch.zeros(3, dtype=torch.int64))
        seen += [step.obs] if step.final_obs is None else [step.obs, step.final_obs]
    assert set(torch.cat(seen).tolist()) == {0, 1, 2, 3}
    config = TrainConfig(env=name, algo="a2c", num_envs=2, observations=40, tensorboard=False)
    assert len(train(config, tmp_path / "run", quiet=True).metrics())


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_whole_numbers_that_torch_cannot_index_with(task: Any, dtype: Any, tmp_path: Any) -> None:
    name = task(spaces.Discrete(2), spaces.Box(0, 60_000, (3,), dtype))
    assert envs.make(name, 2, seed=0).reset().dtype == torch.int64
    config = TrainConfig(env=name, algo="ppo", num_envs=2, rollout=16, observations=64, tensorboard=False)
    assert len(train(config, tmp_path / "run", quiet=True).metrics())


@pytest.mark.parametrize(
    ("space", "gives"),
    [
        (spaces.Box(0, 99, (2,), np.float32), lambda steps: np.array([steps, steps])),
        (spaces.Box(0, 99, (2,), np.float32), lambda steps: [steps, steps]),
        (spaces.Box(0, 99, (2,), np.int32), lambda steps: np.array([steps, steps], np.int64)),
        (spaces.Discrete(99, start=-1), lambda steps: np.int32(steps - 1)),
    ],
)
def test_a_last_observation_of_another_dtype_is_as_the_others_are(task: Any, space: Any, gives: Any) -> None:
    env = envs.make(task(spaces.Discrete(2), space, gives=gives), 2, seed=0)
    env.reset()
    for _ in range(10):
        step = env.step(torch.zeros(2, dtype=torch.int64))
    assert step.final_obs is not None
    assert step.final_obs.dtype == step.obs.dtype
    assert step.final_obs.unique().tolist() == [10]
    assert step.obs.unique().tolist() == [0]


def test_a_task_that_fails_to_draw_is_one_line(task: Any) -> None:
    class Blank(Any2):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it
        render_mode = "rgb_array"

        def render(self) -> Any:
            raise NotImplementedError

    name = task(spaces.Discrete(2), VECTOR)
    gymnasium.registry[name.removeprefix("gym:")].entry_point = partial(Blank, spaces.Discrete(2), VECTOR)
    env = envs.make(name, 1, seed=0)
    env.reset()
    with pytest.raises(envs.EnvError, match="can't be shown: NotImplementedError"):
        env.render()


def test_pictures_of_floats_are_not_taken_for_bytes(task: Any) -> None:
    floats, actions = spaces.Box(0, 1, (3, 64, 64), np.float32), spaces.Discrete(2)
    assert isinstance(make_policy("auto", floats, actions), MLP)
    with pytest.raises(ValueError, match=r"wants pictures .* of bytes"):
        make_policy("nature", floats, actions)


def test_what_cannot_be_served_is_one_line(task: Any, tmp_path: Any) -> None:
    with pytest.raises(envs.EnvError, match="not a single number"):
        envs.make(task(spaces.Discrete(2), spaces.Box(0, 1, ())), 2)
    grid = spaces.MultiDiscrete(np.array([[2, 3], [2, 3]]))
    with pytest.raises(ValueError, match="a flat MultiDiscrete"):
        make_policy("mlp", VECTOR, grid)
    name = task(spaces.Discrete(2), VECTOR, fails=True)
    config = TrainConfig(env=name, algo="a2c", num_envs=2, observations=100, tensorboard=False)
    with pytest.raises(RunStopped, match=r"failed in a step \(AssertionError: the task is broken"):
        train(config, tmp_path / "run", quiet=True)
    for options, said in (({"seed": 3}, "seed is no option"), ({"num_envs": 3}, "num_envs is no option")):
        with pytest.raises(UserError, match=said):
            train(TrainConfig(env="solvable:chain", env_options=options), tmp_path / "other", quiet=True)
    with pytest.raises(UserError, match="solvable:chain can't be made with"):
        train(TrainConfig(env="solvable:chain", env_options={"states": 2.5}), tmp_path / "other", quiet=True)
