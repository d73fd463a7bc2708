"""Gymnasium tasks behind the contract, against Gymnasium itself."""

import re
import sys

import gymnasium
import numpy as np
import pytest
import torch

import envs
from envs.batched import EnvError
from envs.gym import _seeds


def test_equals_gymnasium_stepped_by_hand() -> None:
    with envs.make("gym:CartPole-v1", 3, seed=11) as env:
        obs = env.reset()
        twins = [gymnasium.make("CartPole-v1") for _ in range(3)]
        for i, (twin, seed) in enumerate(zip(twins, _seeds(11, range(3)), strict=True)):
            np.testing.assert_array_equal(twin.reset(seed=seed)[0], obs[i].numpy())
        generator = torch.Generator().manual_seed(0)
        returns, lengths = np.zeros(3), np.zeros(3)
        ends = 0
        for _ in range(300):
            actions = torch.randint(0, 2, (3,), generator=generator)
            step = env.step(actions)
            for i, twin in enumerate(twins):
                seen, reward, terminated, truncated, _ = twin.step(int(actions[i]))
                returns[i] += reward
                lengths[i] += 1
                assert bool(step.terminated[i]) == terminated
                assert bool(step.truncated[i]) == (truncated and not terminated)
                if terminated or truncated:
                    ends += 1
                    assert step.final_obs is not None
                    np.testing.assert_array_equal(step.final_obs[i].numpy(), seen)
                    assert (float(step.score[i]), float(step.length[i])) == (returns[i], lengths[i])
                    returns[i] = lengths[i] = 0
                    seen, _ = twin.reset()
                else:
                    assert step.score[i].isnan()
                np.testing.assert_array_equal(step.obs[i].numpy(), seen)
        assert ends >= 10


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "FrozenLake-v1"])
def test_snapshot_round_trip(name: str) -> None:
    def actions(env: envs.BatchedEnv, steps: int) -> list[torch.Tensor]:
        env.action_space.seed(1)
        return [
            torch.from_numpy(np.stack([env.action_space.sample() for _ in range(2)])) for _ in range(steps)
        ]

    with envs.make(f"gym:{name}", 2, seed=1) as env, envs.make(f"gym:{name}", 2, seed=5) as other:
        env.reset()
        for a in actions(env, 120):
            env.step(a)
        other.load_state_dict(env.state_dict())
        assert torch.equal(env.observation(), other.observation())
        for a in actions(env, 250):
            p, q = env.step(a), other.step(a)
            assert torch.equal(p.obs, q.obs)
            assert torch.equal(p.reward, q.reward)
            assert torch.equal(p.score.nan_to_num(-1), q.score.nan_to_num(-1))


def test_a_time_limit_truncates_and_keeps_the_final_observation() -> None:
    with envs.make("gym:Pendulum-v1", 1, seed=1) as env:
        env.reset()
        steps = [env.step(torch.zeros(1, 1)) for _ in range(200)]
        assert bool(steps[-1].truncated[0])
        assert not bool(steps[-1].terminated[0])
        assert not torch.equal(steps[-1].final_obs, steps[-1].obs)


def test_continuous_actions_are_clipped_to_the_bounds() -> None:
    with envs.make("gym:Pendulum-v1", 1, seed=1) as a, envs.make("gym:Pendulum-v1", 1, seed=1) as b:
        a.reset()
        b.reset()
        assert torch.equal(a.step(torch.tensor([[2.0]])).obs, b.step(torch.tensor([[99.0]])).obs)


def test_environment_i_is_the_same_whatever_the_batch() -> None:
    with envs.make("gym:CartPole-v1", 8, seed=3) as many, envs.make("gym:CartPole-v1", 2, seed=3) as few:
        assert torch.equal(many.reset()[:2], few.reset())
        with envs.make("gym:CartPole-v1", 3, seed=3, first_env=5) as last:
            assert torch.equal(many.reset()[5:], last.reset())


@pytest.mark.parametrize("name", ["gym:CartPole-v1", "atari:pong"])
@pytest.mark.parametrize("number", [-1, 1.0, True])
def test_a_first_environment_is_a_number(name: str, number: object) -> None:
    with pytest.raises(EnvError, match=r"^first_env must be a whole number of at least 0, got"):
        envs.make(name, 2, first_env=number)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPole-v7x", "did you mean CartPole-v"),
        ("MyOwn-v0", "; a task that a module of yours registers is gym:MODULE:MyOwn-v0"),
        ("gymnasium:CartPoole-v1", "; did you mean gymnasium:CartPole-v1"),
    ],
)
def test_an_unknown_id_comes_with_near_ones_and_with_how_an_own_task_is_named(name: str, says: str) -> None:
    with pytest.raises(EnvError, match=re.escape(says)) as refused:
        envs.make(f"gym:{name}", 1)
    assert ("MODULE" in str(refused.value)) == (":" not in name)


def test_wrong_action_shape_is_refused() -> None:
    with envs.make("gym:CartPole-v1", 2) as env:
        env.reset()
        with pytest.raises(EnvError, match="shape"):
            env.step(torch.zeros(3, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:.*out of date")
def test_every_name_listed_is_made_or_says_what_is_missing() -> None:
    names = [name for name in envs.available() if name.startswith("gym:")]
    assert "gym:CartPole-v1" in names
    said = {}
    for name in names:
        try:
            envs.make(name, 1).close()
        except EnvError as error:
            said[name] = str(error)
    assert len(names) - len(said) >= 10
    assert [line for line in said.values() if "install" not in line] == []


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Ant-v2", {}, "can't be made: .*mujoco"),
        ("nosuch:Foo-v0", {}, "can't be made: .*nosuch"),
        ("FrozenLake-v1", {"map_name": "9x9"}, "can't be made with .*9x9"),
    ],
)
def test_a_task_that_cannot_be_made_says_so(name: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(EnvError, match=words):
        envs.make(f"gym:{name}", 1, **options)


def test_a_picture_that_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with envs.make("gym:CartPole-v1", 1, render_mode="rgb_array") as env:
        env.reset()
        monkeypatch.setitem(sys.modules, "pygame", None)
        with pytest.raises(EnvError, match=r"can't be shown: .*pygame"):
            env.render()


def test_environments_of_one_batch_begin_differently() -> None:
    with envs.make("gym:CartPole-v1", 8, seed=3) as env:
        assert len(env.reset().unique(dim=0)) == 8


def test_a_reset_with_a_seed_is_that_of_an_environment_of_the_seed() -> None:
    with envs.make("gym:CartPole-v1", 2, seed=3) as env, envs.make("gym:CartPole-v1", 2, seed=5) as other:
        wanted = other.reset()
        assert torch.equal(env.reset(5), wanted)
        assert torch.equal(env.reset(), wanted)
