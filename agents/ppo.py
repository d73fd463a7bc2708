"""Proximal policy optimization (Schulman et al. 2017) with a clipped objective.

Settings, loss, update, in the order of `a2c.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from agents.backward import Backward
from agents.optimizers import clipped_step
from agents.ranks import ALONE, Ranks
from agents.rollout import Batch, by_time


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published ones for Atari."""

    learning_rate: float = 2.5e-4
    """Step size of Adam."""
    gamma: float = 0.99
    """Discount per decision."""
    gae_lambda: float = 0.95
    """GAE's λ: 1 is unbiased and noisy, 0 trusts the value function."""
    value_coef: float = 0.5
    """Weight of the squared value error."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Global norm the gradient is clipped to; 0 switches clipping off."""
    clip: float = 0.1
    """How far the probability ratio may leave 1 before its gradient is cut; 0.1-0.3."""
    epochs: int = 4
    """Passes over a rollout; 1-10, more reuses data harder and drifts further from it."""
    minibatches: int = 4
    """Parts each pass is split into; must divide the rollout's observations."""
    normalize_advantage: bool = True
    """Normalise advantages within each minibatch."""
    adam_eps: float = 1e-5
    """Adam's epsilon."""


class Parts(NamedTuple):
    """Loss per observation, [...] each, before weighting; `ratio` is π/π_old."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    ratio: Tensor

    def total(self, value_coef: float, entropy_coef: float) -> Tensor:
        """Policy + value_coef · value - entropy_coef · entropy."""
        return self.policy + value_coef * self.value - entropy_coef * self.entropy


def loss(policy: Callable[[Tensor], Any], batch: Batch, clip: float) -> Parts:
    """-min(ρ A, clip(ρ, 1±clip) A), (R - V(s))² and entropy of every observation, ρ = π(a|s)/π_old(a|s).

    Source: Schulman et al. 2017, eq. 7 and 9.

    Args:
        policy: obs [rows, ...] -> (distribution, value [rows]).
        batch: fields [T, N, ...] or [rows, ...].
        clip: half-width of the trust interval.

    Returns:
        Parts of the batch's leading shape.
        The network sees their rows in the order [N, T] (`Batch.flat`): norms of units that are taken inside a
        backward pass want the loss transposed, and `dim=0`.
    """
    shape = batch.advantage.shape
    flat = batch.flat() if len(shape) == 2 else batch
    distribution, value = policy(flat.observations())
    ratio = (distribution.log_prob(flat.actions) - flat.log_prob).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return Parts(
        policy=by_time(-torch.minimum(flat.advantage * ratio, flat.advantage * clipped), shape),
        value=by_time((flat.returns - value).square(), shape),
        entropy=by_time(distribution.entropy(), shape),
        ratio=by_time(ratio, shape),
    )


def normalized(advantage: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Zero mean, unit (sample) standard deviation over all ranks' entries; one entry alone is left as it is."""
    if ranks.count > 1:
        sums = ranks.sum(torch.stack([advantage.new_tensor(advantage.numel()), advantage.sum()]).double())
        mean = (sums[1] / sums[0]).to(advantage.dtype)
        spread = ranks.sum((advantage - mean).double().square().sum()) / (sums[0] - 1)
        return advantage if sums[0] < 2 else (advantage - mean) / (spread.sqrt().to(advantage.dtype) + 1e-8)
    if advantage.numel() < 2:
        return advantage
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)


def make_optimizer(policy: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Adam, in one pass over the weights where the device has that: a seventh of the time on a CPU."""
    fused = all(p.device.type in ("cpu", "cuda") for p in policy.parameters())
    return torch.optim.Adam(
        policy.parameters(),
        lr=settings.learning_rate,
        eps=settings.adam_eps,
        fused=fused,
        foreach=not fused,
    )


def measure(
    policy: nn.Module, batch: Batch, settings: Settings, *, backward: Backward, ranks: Ranks = ALONE
) -> None:
    """The gradient of the first epoch, on the fresh rollout, through `backward`; no step is taken.

    Advantages are normalised over the whole rollout, so that every environment's gradient is scaled alike and
    environments stay independent but for that one common scale.
    """
    if settings.normalize_advantage:
        batch = dataclasses.replace(batch, advantage=normalized(batch.advantage, ranks))

    def loss_of(streams: slice) -> Tensor:
        return loss(policy, batch[:, streams], settings.clip).total(
            settings.value_coef, settings.entropy_coef
        )

    backward(loss_of)


def gradient(policy: nn.Module, part: Batch, settings: Settings, count: int) -> Tensor:
    """Add to `.grad` that of the losses of `part`, [rows], over `count`. Returns their sums, see `_sums`."""
    parts = loss(policy, part, settings.clip)
    (parts.total(settings.value_coef, settings.entropy_coef).sum() / count).backward()
    return _sums(parts, settings.clip)


class Gradient(Protocol):
    """`gradient`, or what gives the same."""

    def __call__(self, policy: nn.Module, part: Batch, settings: Settings, count: int) -> Tensor:
        """See `gradient`."""


def update(
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    settings: Settings,
    *,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    ranks: Ranks = ALONE,
    take_gradient: Gradient | None = None,
) -> dict[str, float]:
    """`epochs` passes in random minibatches. Returns means of loss parts, gradient norm, clip fraction, KL.

    Args:
        policy: what is trained.
        optimizer: of its parameters.
        batch: this rank's observations; a network with memory keeps each sequence of them in one minibatch.
        settings: hyperparameters; minibatches are of all ranks' observations together.
        generator: of the order of observations, in the same state on all ranks.
        chunk: observations whose gradient is taken at once; None: a whole minibatch. Changes only rounding.
        ranks: those that share the batch.
        take_gradient: what computes the gradient of a minibatch, or of a chunk; None: `gradient`.

    Raises:
        FloatingPointError: a gradient is not finite; the step that would have used it is not taken.
    """
    take_gradient = take_gradient or gradient
    flat = batch.flat()
    rows, length = flat.advantage.shape[0], flat.sequence
    everyone = rows * ranks.count
    size = everyone // settings.minibatches
    at_once = max(1, (chunk or size) // length) * length
    within = torch.arange(length)
    seen: list[Tensor] = []
    norms: list[float] = []
    for _ in range(settings.epochs):
        device = generator.device if generator else "cpu"
        order = torch.randperm(everyone // length, generator=generator, device=device)
        order = (order[:, None] * length + within.to(order.device)).flatten()
        for drawn in order.to(flat.advantage.device).split(size):
            mine = ranks.own(drawn, rows)
            advantage = flat.advantage[mine]
            if settings.normalize_advantage:
                advantage = normalized(advantage, ranks)
            optimizer.zero_grad(set_to_none=True)
            sums = advantage.new_zeros(5)
            for at, own in zip(advantage.split(at_once), mine.split(at_once), strict=True):
                part = dataclasses.replace(flat[own], advantage=at)
                sums += take_gradient(policy, part, settings, len(drawn))
            ranks.sum_gradients(policy.parameters())
            norms.append(clipped_step(policy, optimizer, settings.max_grad_norm))
            seen.append(sums / len(drawn))
    means = ranks.sum(torch.stack(seen).mean(0)).tolist()
    names = ("policy_loss", "value_loss", "entropy", "clip_fraction", "approx_kl")
    return {**dict(zip(names, means, strict=True)), "grad_norm": sum(norms) / len(norms)}


@torch.no_grad()
def _sums(parts: Parts, clip: float) -> Tensor:
    """[5] sums over observations of policy loss, value loss, entropy, clipped ones, KL (Schulman's estimate)."""
    return torch.stack(
        [
            parts.policy.sum(),
            parts.value.sum(),
            parts.entropy.sum(),
            ((parts.ratio - 1).abs() > clip).float().sum(),
            (parts.ratio - 1 - parts.ratio.log()).sum(),
        ]
    )
