"""B_simple of a policy that stands still: the estimator against known moments, the whole pass against exact ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from agents import ppo
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.frozen import GroupSums, group_gradients, measure
from rl_gns.training.loop import Trainer

K, UNITS, ROUNDS, P = 16, 2, 5, 60


def readings(signal: float, count: int):
    """Readings of groups of 2 worlds over 5 rollouts, a world's own part staying with it: tr(Σ) = 60 of a unit."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(P)
    mean[0] = math.sqrt(signal)
    for _ in range(count):
        own = torch.randn(K, UNITS, 1, P, generator=generator) * 0.5**0.5
        units = mean + own + torch.randn(K, UNITS, ROUNDS, P, generator=generator) * 0.5**0.5
        sums = GroupSums(K)
        for t in range(ROUNDS):
            sums.add(units[:, :, t].mean(1), units[:, :, t].square().sum(-1).mean(1).double().numpy())
        yield sums.read(10.0, K * UNITS * ROUNDS)


@pytest.mark.parametrize("signal", [0.3, 2.0, 20.0])
def test_estimates_are_unbiased_and_intervals_cover(signal: float) -> None:
    """Worlds that repeat themselves from rollout to rollout must not be taken for signal."""
    found = list(readings(signal, 400))
    truth = 10.0 * P / signal
    signals, noises = np.array([f.signal for f in found]), np.array([f.noise for f in found])
    assert abs(signals.mean() - signal) < 4 * signals.std() / 20
    assert abs(noises.mean() - P) < 4 * noises.std() / 20
    assert np.mean([f.low <= truth <= f.high for f in found]) > 0.9
    if signal > 1:
        assert np.mean([math.isfinite(f.high) for f in found]) > 0.95


def test_nothing_there_is_seldom_seen() -> None:
    assert np.mean([math.isinf(f.high) for f in readings(0.0, 300)]) > 0.9


def test_in_step_counts_what_worlds_share_at_one_time() -> None:
    """A part of the gradient that comes and goes with the clock is signal in step, and noise at all times."""
    sums, generator = GroupSums(K), torch.Generator().manual_seed(1)
    for t in range(50):
        shared = torch.zeros(P)
        shared[1] = 3.0 * (-1) ** t
        units = shared + torch.randn(K, P, generator=generator) * 0.1
        sums.add(units, units.square().sum(-1).double().numpy())
    found = sums.read(1.0, K * 50)
    assert found.in_step == pytest.approx(P * 0.01 / 9, rel=0.05)
    assert found.value > 1000 * found.in_step


def test_a_frozen_policy_against_exact_moments(still_trainer, truth) -> None:
    trainer = still_trainer("chain", 16, 5, 16)
    exact = truth(trainer, 5)
    found = measure(trainer.config, trainer.policy.state_dict(), groups=8, worlds=8, rounds=250)
    assert found.low < exact.b_simple < found.high
    assert found.high < 1.5 * found.low  # the check above has teeth
    assert found.noise == pytest.approx(exact.trace, rel=0.05)
    assert (found.units, found.unit_observations) == (16_000, 5)


def test_too_little_to_compare(still_trainer) -> None:
    trainer = still_trainer("chain", 16, 5, 16)
    with pytest.raises(UserError, match="2 worlds a group"):
        measure(trainer.config, trainer.policy.state_dict(), groups=8, worlds=1, rounds=1)
    with pytest.raises(ValueError, match="at least 3 groups"):
        GroupSums(2)


def test_limits_are_where_the_jackknifed_difference_is_students_quantile_away() -> None:
    k = 8
    gradients = torch.randn(k, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    squares = gradients.square().sum(1).numpy()
    sums = GroupSums(k)
    sums.add(gradients, squares)
    found, gram = sums.read(10.0, k), (gradients @ gradients.T).numpy()

    def without(i: int) -> float:
        left = [a for a in range(k) if a != i]
        return sum(gram[a, b] for a in left for b in left if a != b) / ((k - 1) * (k - 2))

    signals = np.array([without(i) for i in range(k)])
    units = np.array([np.delete(squares, i).mean() for i in range(k)])
    for limit in (found.low, found.high):
        share = 10 / (10 + limit)
        apart = signals - share * units
        error = math.sqrt((k - 1) / k * np.square(apart - apart.mean()).sum())
        distance = abs(found.signal - share * (found.signal + found.noise))
        assert distance / error == pytest.approx(stats.t.ppf(0.975, k - 1))


def test_ppos_gradient_is_the_one_that_its_run_measures() -> None:
    config = TrainConfig(
        env="gym:CartPole-v1", algo="ppo", num_envs=4, rollout=8, noise_budget=1.0, threads=1
    )
    trainer = Trainer(resolve(config))
    trainer.begin()
    trainer._collect()
    found, _ = group_gradients(trainer, 2)
    batch = trainer.rollout.batch(trainer.settings.gamma, trainer.settings.gae_lambda)
    trainer.optimizer.zero_grad()
    ppo.measure(trainer.policy, batch, trainer.settings, backward=trainer.backward)
    wanted = torch.cat([p.grad.flatten() for p in trainer.policy.parameters()])
    torch.testing.assert_close(found.mean(0), wanted, rtol=1e-3, atol=1e-6)
    trainer.close()
