"""PPO's minibatches, what it reports, and that a rollout's batch uses the λ it is given."""

from __future__ import annotations

import itertools

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents import ppo
from agents.memory import Seen
from agents.returns import gae
from agents.rollout import Batch, Rollout

STEPS, STREAMS = 12, 4


def numbered(sequence: int) -> Batch:
    """Actions that number the observations, stream after stream; advantages far from normal."""
    numbers, blank = torch.arange(STEPS * STREAMS).view(STREAMS, STEPS).T, torch.zeros(STEPS, STREAMS)
    obs: Tensor | Seen = torch.zeros(STEPS, STREAMS, 2)
    if sequence > 1:
        obs = Seen(
            obs, torch.zeros(STEPS, STREAMS, 2), torch.zeros(STEPS, STREAMS, dtype=torch.bool), sequence
        )
    noise = torch.randn(STEPS, STREAMS, generator=torch.Generator().manual_seed(0))
    return Batch(obs, numbers, blank, 5 * noise + numbers, blank, blank)


@pytest.mark.parametrize("sequence", [1, 3])
def test_every_epoch_cuts_the_rollout_anew_and_tears_no_sequence(sequence: int) -> None:
    seen: list[tuple[list[int], Tensor]] = []

    def note(policy: nn.Module, part: Batch, settings: ppo.Settings, count: int) -> Tensor:
        seen.append((part.actions.tolist(), part.advantage.clone()))
        for p in policy.parameters():
            p.grad = torch.zeros_like(p)
        return torch.zeros(5)

    net, settings = nn.Linear(2, 1), ppo.Settings(epochs=3, minibatches=2)
    optimizer, generator = ppo.make_optimizer(net, settings), torch.Generator().manual_seed(1)
    ppo.update(net, optimizer, numbered(sequence), settings, generator=generator, take_gradient=note)  # type: ignore[arg-type]
    assert len(seen) == 6
    for k in (0, 2, 4):
        assert sorted(seen[k][0] + seen[k + 1][0]) == list(range(STEPS * STREAMS))
    assert len({tuple(sorted(rows)) for rows, _ in seen}) == 6
    for rows, normal in seen:
        assert all(b == a + 1 for i, (a, b) in enumerate(itertools.pairwise(rows)) if (i + 1) % sequence)
        assert float(normal.mean()) == pytest.approx(0, abs=1e-5)
        assert float(normal.std()) == pytest.approx(1, abs=1e-4)


def test_what_is_reported_of_a_minibatch() -> None:
    ratio = torch.tensor([1.0, 1.3, 0.8, 1.05])
    parts = ppo.Parts(torch.ones(4), 2 * torch.ones(4), 3 * torch.ones(4), ratio)
    divergence = float((ratio - 1 - ratio.log()).sum())  # Schulman's k3
    assert ppo._sums(parts, 0.1).tolist() == pytest.approx([4, 8, 12, 2, divergence])


def test_a_rollouts_batch_uses_the_discounts_it_is_given() -> None:
    rollout = Rollout.empty(6, 3, spaces.Box(-1, 1, (2,)), spaces.Discrete(2), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for name in ("value", "reward", "bootstrap", "last_value"):
        getattr(rollout, name).normal_(generator=generator)
    rollout.terminated[2, 0] = rollout.truncated[3, 1] = True
    ends = (rollout.last_value, rollout.terminated, rollout.truncated, rollout.bootstrap)
    for gamma, lam in ((0.9, 0.5), (0.5, 1.0)):
        found, wanted = rollout.batch(gamma, lam), gae(rollout.reward, rollout.value, *ends, gamma, lam)
        assert torch.equal(found.advantage, wanted)
        assert torch.equal(found.returns, wanted + rollout.value)
