"""What acts and what computes minibatches, on the CPU; that graphs give the same is `scripts/bench/gpu_checks.py`'s."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents import ppo
from agents.acting import Actor, act, make_actor
from agents.graphs import graphed_gradient
from agents.networks import make_policy
from agents.rollout import Batch

PICTURES, ACTIONS = spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6)


def test_an_actor_draws_acts_and_says_how_likely() -> None:
    policy = make_policy("nature", PICTURES, ACTIONS, seed=1)
    obs = torch.randint(0, 256, (7, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    actor = make_actor(policy, generators[0], obs[:1], [7])
    assert type(actor) is Actor  # a graph is for a GPU
    with torch.no_grad():
        distribution, value = policy(obs)
        actions = distribution.sample(generators[1])
        for found in (actor(obs, generators[0]), act(policy, obs, torch.Generator().manual_seed(5))):
            assert torch.equal(found.actions, actions)
            assert torch.equal(found.log_prob, distribution.log_prob(actions))
            assert torch.equal(found.value, value)
    assert torch.equal(*(generator.get_state() for generator in generators))


def test_gradient_is_that_of_the_losses_over_the_count() -> None:
    policy, settings = make_policy("nature", PICTURES, ACTIONS, seed=1), ppo.Settings()
    generator = torch.Generator().manual_seed(0)
    numbers = [torch.randn(6, generator=generator) for _ in range(4)]
    obs = torch.randint(0, 256, (6, 4, 84, 84), dtype=torch.uint8, generator=generator)
    part = Batch(obs, torch.randint(0, 6, (6,), generator=generator), numbers[0] - 2, *numbers[1:])
    sums = ppo.gradient(policy, part, settings, 24)
    found = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
    policy.zero_grad()
    parts = ppo.loss(policy, part, settings.clip)
    (parts.total(settings.value_coef, settings.entropy_coef).mean() / 4).backward()
    for grad, p in zip(found, policy.parameters(), strict=True):
        torch.testing.assert_close(grad, p.grad)
    torch.testing.assert_close(sums[:2], torch.stack([parts.policy.sum(), parts.value.sum()]).detach())


def test_no_graph_without_a_gpu() -> None:
    policy, blank = make_policy("nature", PICTURES, ACTIONS), torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    with pytest.raises(ValueError, match="for a GPU"):
        graphed_gradient(policy, ppo.Settings(), blank, 8)
