"""The whole pipeline - world, agent, loss, measuring backward, meter - against exactly known G and Σ.

The policy is held still by a vanishing learning rate, so every update measures the same gradient.
"""

import dataclasses

import numpy as np
import pytest
import torch

from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

CASES = [
    ("bandit", 16, 1, 16, "a2c", {}),
    ("gaussian", 16, 1, 8, "a2c", {}),
    ("chain", 16, 5, 16, "a2c", {}),
    ("chain", 12, 5, 4, "a2c", {"truncation": 0.1}),
    ("chain", 16, 5, 16, "ppo", {}),
]


@pytest.mark.parametrize(("world", "num_envs", "rollout", "groups", "algo", "options"), CASES)
def test_measured_moments_equal_the_exact_ones(
    still_trainer, truth, world, num_envs, rollout, groups, algo, options
) -> None:
    trainer = still_trainer(world, num_envs, rollout, groups, algo, **options)
    exact = truth(trainer, rollout)
    signals, noises = [], []
    for update in range(1500):
        trainer.update()
        if update >= 100:  # the chain has forgotten its start by then
            assert trainer.backward.moments is not None
            signals.append(trainer.backward.moments.signal)
            noises.append(trainer.backward.moments.noise)

    def z(values: list[float], expected: float) -> float:
        blocks = np.array(values).reshape(50, -1).mean(1)  # successive rollouts are correlated
        return abs(blocks.mean() - expected) / (blocks.std(ddof=1) / np.sqrt(50))

    assert z(signals, exact.signal) < 4
    assert z(noises, exact.trace) < 4
    assert np.std(noises) / np.sqrt(1400) < 0.1 * exact.trace  # the check above has teeth
    reading = trainer.meter.read()
    assert reading.low < exact.b_simple < reading.high
    trainer.close()


def test_ppo_weights_are_the_same_bits_with_and_without_measuring() -> None:
    final = []
    for budget in (0.0, 1.0):
        config = resolve(
            TrainConfig(
                env="gym:CartPole-v1", algo="ppo", num_envs=4, rollout=16, noise_budget=budget, seed=1
            )
        )
        trainer = Trainer(config)
        for _ in range(12):
            trainer.update()
        assert (trainer.meter.read().observations > 0) == (budget > 0)
        final.append([p.detach().clone() for p in trainer.policy.parameters()])
        trainer.close()
    assert all(torch.equal(a, b) for a, b in zip(*final, strict=True))


def test_a2c_moments_equal_a_loop_over_environments() -> None:
    """The slow twin of the measuring backward on a real game: one backward pass per environment."""
    from agents import a2c

    config = resolve(TrainConfig(env="atari:breakout", num_envs=4, rollout=5, seed=1))
    trainer = Trainer(config)
    for _ in range(3):
        trainer.update()
    assert isinstance(trainer.settings, a2c.Settings)
    batch = trainer.rollout.batch(trainer.settings.gamma, trainer.settings.gae_lambda)
    parameters = list(trainer.policy.parameters())

    def gradient(streams: slice) -> torch.Tensor:
        loss = a2c.loss(trainer.policy, batch[:, streams]).total(0.5, 0.01).mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double()

    units = torch.stack([gradient(slice(i, i + 1)) for i in range(4)])
    mean = units.mean(0)
    trainer.optimizer.zero_grad()
    trainer.backward(lambda s: a2c.loss(trainer.policy, batch[:, s]).total(0.5, 0.01))
    found = trainer.backward.moments
    noise = float((units - mean).square().sum() / 3)
    assert found.noise == pytest.approx(noise, rel=1e-4)
    assert found.signal == pytest.approx(float(mean.square().sum()) - noise / 4, rel=1e-3, abs=1e-4 * noise)
    got = torch.cat([p.grad.flatten() for p in parameters]).double()
    torch.testing.assert_close(got, mean, rtol=1e-4, atol=1e-6)
    trainer.close()


def test_grouping_does_not_change_the_expected_noise_of_one_environment(still_trainer) -> None:
    """Groups of 4 environments read the same noise per environment as single ones, within sampling error."""
    found = {}
    for groups in (16, 4):
        trainer = still_trainer("chain", 16, 5, groups)
        noises = []
        for _ in range(800):
            trainer.update()
            noises.append(trainer.backward.moments.noise)
        found[groups] = (np.mean(noises), np.std(noises) / np.sqrt(800))
        trainer.close()
    (a, sa), (b, sb) = found.values()
    assert abs(a - b) < 4 * np.hypot(sa, sb)


def test_noise_cadence_keeps_its_budget() -> None:
    for epochs in (1, 4, 10):
        for budget in (0.01, 0.02, 0.1):
            config = resolve(TrainConfig(algo="ppo", epochs=epochs, noise_budget=budget))
            assert 3 / (1 + 3 * epochs) / config.noise_cadence <= budget
    for num_envs, cadence in ((4, 6), (16, 2), (32, 1), (256, 1)):
        assert resolve(TrainConfig(algo="a2c", num_envs=num_envs)).noise_cadence == cadence
    assert resolve(TrainConfig(algo="a2c", num_envs=4, noise_budget=1)).noise_cadence == 1
    assert resolve(TrainConfig(algo="a2c", noise_budget=0)).noise_cadence == 0
    assert resolve(TrainConfig(algo="a2c", num_envs=1)).noise_cadence == 0
    assert dataclasses.asdict(resolve(TrainConfig(num_envs=48)))["noise_groups"] is None
