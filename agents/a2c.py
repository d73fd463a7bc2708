"""Advantage actor-critic (A2C, the synchronous form of Mnih et al. 2016), as in OpenAI Baselines.

Settings, loss, update: read top to bottom; `ppo.py` has the same three in the same order, so that their diff
shows what differs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.backward import Backward, plain_backward
from agents.optimizers import RMSpropTF, clipped_step
from agents.rollout import Batch, by_time


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are Baselines' of 2018 with the paper's constant rate."""

    learning_rate: float = 7e-4
    """Step size. Grows with the batch up to about B*; too high and the score collapses to that of one action."""
    gamma: float = 0.99
    """Discount per decision."""
    gae_lambda: float = 1.0
    """1 gives n-step returns (the published A2C); smaller trades variance for bias."""
    value_coef: float = 0.5
    """Weight of the squared value error."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus; 0 lets the policy freeze early."""
    max_grad_norm: float = 0.5
    """Global norm the gradient is clipped to; 0 switches clipping off."""
    rmsprop: str = "tensorflow"
    """"tensorflow" (mean square starts at 1, epsilon under the root) or "torch"."""
    rmsprop_decay: float = 0.99
    """Decay of the mean square per update."""
    rmsprop_eps: float = 1e-5
    """Keeps the step finite where gradients vanish."""
    rmsprop_start: float = 1.0
    """Mean square that TensorFlow's form begins with; torch's begins with 0."""


class Parts(NamedTuple):
    """Loss per observation, [...] each, before weighting."""

    policy: Tensor
    value: Tensor
    entropy: Tensor

    def total(self, value_coef: float, entropy_coef: float) -> Tensor:
        """Policy + value_coef · value - entropy_coef · entropy."""
        return self.policy + value_coef * self.value - entropy_coef * self.entropy


def loss(policy: Callable[[Tensor], Any], batch: Batch) -> Parts:
    """-log π(a|s) A, (R - V(s))² and H[π(·|s)] of every observation.

    Source: Mnih et al. 2016, section 4. The advantage carries no gradient.

    Args:
        policy: obs [rows, ...] -> (distribution, value [rows]).
        batch: fields [T, N, ...].

    Returns:
        Parts of shape [T, N].
        The network sees their rows in the order [N, T] (`Batch.flat`): norms of units that are taken inside a
        backward pass want the loss transposed, and `dim=0`.
    """
    flat = batch.flat()
    distribution, value = policy(flat.observations())
    shape = batch.advantage.shape
    return Parts(
        policy=by_time(-(distribution.log_prob(flat.actions) * flat.advantage), shape),
        value=by_time((flat.returns - value).square(), shape),
        entropy=by_time(distribution.entropy(), shape),
    )


def make_optimizer(policy: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """RMSProp in TensorFlow's or torch's form."""
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "alpha": settings.rmsprop_decay,
        "eps": settings.rmsprop_eps,
    }
    if settings.rmsprop == "torch":
        return torch.optim.RMSprop(policy.parameters(), foreach=True, **options)
    if settings.rmsprop != "tensorflow":
        raise ValueError(f"rmsprop is 'tensorflow' or 'torch', got {settings.rmsprop!r}")
    return RMSpropTF(policy.parameters(), start=settings.rmsprop_start, **options)


def update(
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    settings: Settings,
    *,
    backward: Backward = plain_backward,
) -> dict[str, float]:
    """One optimizer step on the whole rollout. Returns means of the loss parts and the unclipped gradient norm.

    Raises:
        FloatingPointError: the gradient is not finite; the weights are left as they were.
    """
    parts_seen: list[Parts] = []

    def loss_of(streams: slice) -> Tensor:
        parts = loss(policy, batch[:, streams])
        share = parts.policy.numel() / batch.advantage.numel()
        parts_seen.append(Parts(*(part.detach().mean() * share for part in parts)))
        return parts.total(settings.value_coef, settings.entropy_coef)

    optimizer.zero_grad(set_to_none=True)
    backward(loss_of)
    norm = clipped_step(policy, optimizer, settings.max_grad_norm)
    means = {
        name: torch.stack([getattr(p, name) for p in parts_seen]).sum()
        for name in ("policy", "value", "entropy")
    }
    return {
        "policy_loss": float(means["policy"]),
        "value_loss": float(means["value"]),
        "entropy": float(means["entropy"]),
        "grad_norm": norm,
    }
