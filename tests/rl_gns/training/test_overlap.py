"""Acting on one half while the other is emulated: the same run as doing one after the other."""

import copy
import types
from collections.abc import Iterator

import pytest
import torch

from envs import BatchedEnv
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def config(**settings: object) -> TrainConfig:
    return resolve(
        TrainConfig(
            **{
                **{"env": "atari:breakout", "num_envs": 5, "rollout": 8, "minibatches": 1, "overlap": "act"},
                **{"threads": 2, "start_spread": 40, **settings},
            }
        )
    )


def played(settings: TrainConfig, one_after_the_other: bool) -> tuple:
    trainer = Trainer(settings)
    try:
        if one_after_the_other:
            for name in ("step_begin", "step_end"):  # the contract's default: both halves in one step
                setattr(trainer.env, name, types.MethodType(getattr(BatchedEnv, name), trainer.env))
        for _ in range(10):
            trainer.update()
        row, episodes = trainer.take_row()
        return trainer.policy.state_dict(), row, episodes, trainer.env.observation()
    finally:
        trainer.close()


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_equals_its_slow_twin_bit_for_bit(algo: str) -> None:
    (policy, row, episodes, obs), (other, row2, episodes2, obs2) = (
        played(config(algo=algo, epochs=1), twin) for twin in (False, True)
    )
    assert all(torch.equal(policy[name], other[name]) for name in policy)
    assert repr(row) == repr(row2)  # NaN equals NaN
    assert episodes == episodes2
    assert torch.equal(obs, obs2)


def test_the_same_algorithm_as_whole_batches() -> None:
    """With one action to choose from, only the last bits of a layer's output depend on the rows beside it."""
    both = []
    for overlap in ("act", "none"):
        trainer = Trainer(config(overlap=overlap, num_envs=4, rollout=3))
        try:
            policy = trainer.policy
            with torch.no_grad():
                policy.action.linear.bias[1] = 1e4
            trainer.update()
            r = trainer.rollout
            obs = r.batch(0.99, 1.0).observations()
            both.append((obs, r.actions, r.reward, r.terminated, r.value, r.last_value, r.bootstrap))
            both[-1] += tuple(policy.state_dict().values())
        finally:
            trainer.close()
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=1e-4, atol=1e-5)


def test_a_snapshot_goes_on_bit_for_bit() -> None:
    trainer = Trainer(config())
    other = Trainer(config(seed=5))
    try:
        for _ in range(3):
            trainer.update()
        other.load_state_dict(copy.deepcopy(trainer.state_dict()))  # else both step one optimizer's averages
        for _ in range(5):
            trainer.update()
            other.update()
        for a, b in zip(trainer.policy.parameters(), other.policy.parameters(), strict=True):
            assert torch.equal(a, b)
    finally:
        trainer.close()
        other.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"env": "gym:CartPole-v1", "start_spread": None},
            "overlap=act is for environments that other processes",
        ),
        ({"num_envs": 1}, "needs at least 2 environments"),
        ({"overlap": "both"}, "overlap must be one of none, act, learn, got 'both'"),
    ],
)
def test_bad_settings_get_one_line(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Trainer(config(**settings)).close()
    assert "\n" not in str(caught.value)


def test_a_run_told_to_use_one_processor_starts_no_process() -> None:
    trainer = Trainer(config(threads=1, overlap="none"))
    try:
        assert not trainer.env._crew.workers
    finally:
        trainer.close()
