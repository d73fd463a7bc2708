"""The noise scale of a policy that stands still: many whole games, none of them learnt from.

A training run measures in passing, on few worlds. Here G groups of worlds play on from their start under one policy,
and every rollout of every world is a unit: what one world adds to a batch that holds worlds at all times of their
games. It knows a run's trainer, and no particular world.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from agents import a2c, ppo
from agents.precision import plainly
from agents.rollout import Batch
from rl_gns.errors import UserError
from rl_gns.noise.per_environment import per_environment_backward
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

Array = NDArray[np.float64]


class FrozenNoise(NamedTuple):
    """B_simple of one policy, in observations."""

    value: float
    """inf where the signal came out negative."""
    low: float
    """95 % limits; high is inf where the signal can't be told from 0."""
    high: float
    in_step: float
    """The same for batches whose worlds are all at the same time of their games."""
    signal: float
    noise: float
    """Of one unit."""
    unit_observations: float
    units: int


class GroupSums:
    """Each group's mean gradient and mean squared norm of a unit's, over rollouts that are taken in turn.

    Units of one group may depend on one another, as a world's rollouts do; groups may not. So |G|² is estimated
    from pairs of different groups alone, and tr(Σ) of a unit is E|g|² - |G|²:

        signal = (|Σ s|² - Σ|s|²) / (K (K - 1))     noise = mean q - signal
    """

    def __init__(self, groups: int) -> None:
        if groups < 3:
            raise ValueError(f"an interval needs at least 3 groups, got {groups}")
        self.groups, self.rounds = groups, 0
        self.total: Tensor | None = None
        self.unit_sq = np.zeros(groups)
        self.in_step = 0.0

    def add(self, gradients: Tensor, unit_sq: Array) -> None:
        """One rollout: gradients [K, P] of the groups, and [K] means of their units' squared norms."""
        self.total = gradients.clone() if self.total is None else self.total.add_(gradients)
        self.unit_sq += unit_sq
        gram = _gram(gradients)
        self.in_step += float(_signal(gram))
        self.rounds += 1

    def read(self, unit_observations: float, units: int, confidence: float = 0.95) -> FrozenNoise:
        """The noise scale, with Fieller's interval on the groups' jackknife (Tukey 1958; Fieller 1954)."""
        assert self.total is not None, "nothing was added"
        k = self.groups
        gram, q = _gram(self.total / self.rounds), self.unit_sq / self.rounds
        signal, square = float(_signal(gram)), float(q.mean())
        without = [np.delete(np.arange(k), i) for i in range(k)]
        x = np.array([_signal(gram[np.ix_(rest, rest)]) for rest in without])
        y = np.array([q[rest].mean() for rest in without])
        (xx, xy), (_, yy) = (np.cov(x, y) * (k - 1) ** 2 / k).tolist()
        low, high = _fieller(signal, square, xx, xy, yy, float(stdtrit(k - 1, (1 + confidence) / 2)))
        in_step = self.in_step / self.rounds

        def scale(share: float) -> float:
            return max(0.0, unit_observations * (1 / share - 1)) if share > 0 else math.inf

        return FrozenNoise(
            value=scale(signal / square),
            low=scale(high),
            high=scale(low),
            in_step=scale(in_step / square),
            signal=signal,
            noise=square - signal,
            unit_observations=unit_observations,
            units=units,
        )


def measure(
    config: TrainConfig,
    weights: Mapping[str, Tensor],
    *,
    groups: int,
    worlds: int,
    rounds: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> FrozenNoise:
    """B_simple of the loss that trains, at fixed weights.

    Args:
        config: the run's; its number of environments does not matter. Where it plays itself it does so in all worlds.
        weights: of the policy.
        groups: K >= 3 groups of independent worlds.
        worlds: per group, >= 2.
        rounds: rollouts in turn, from the start of the games; a multiple of a game's length covers games evenly.
        seed: of the worlds and of action sampling, another than the run's.
        progress: told after each rollout how many are done.

    Raises:
        UserError: fewer worlds or rounds than that.
    """
    if worlds < 2 or rounds < 1:
        raise UserError(f"measuring needs 2 worlds a group and 1 round, got {worlds} and {rounds}")
    count = groups * worlds
    changes: dict[str, Any] = {"num_envs": count, "noise_groups": groups, "past_share": 0.0, "seed": seed}
    changes |= {
        "minibatches": None,
        "chunk": None,
        "noise_parts": "",
        "stop_score": None,
        "correlation_every": 0,
    }  # not used here
    if config.sequence is not None and (config.rollout or 1) % config.sequence:
        changes["sequence"] = None
    if config.sparring:
        changes["sparring"] = ""  # of past selves, who are left out
    if config.overlap == "learn":
        changes["overlap"] = "none"
    if config.env.startswith("moba:"):
        changes["start_spread"] = 0
    trainer = Trainer(resolve(dataclasses.replace(config, **changes)))
    try:
        trainer.policy.load_state_dict(dict(weights))
        trainer.env.reset()
        sums = GroupSums(groups)
        for done in range(rounds):
            trainer._collect()
            sums.add(*group_gradients(trainer, worlds))
            progress(done + 1)
        return sums.read(trainer.unit_observations, count * rounds)
    finally:
        trainer.close()


def group_gradients(trainer: Trainer, worlds: int) -> tuple[Tensor, Array]:
    """[K, P] gradients of groups of so many worlds on the trainer's rollout; [K] mean squared norms of a world's."""
    settings, policy = trainer.settings, trainer.policy
    batch = trainer.rollout.batch(settings.gamma, settings.gae_lambda)
    if isinstance(settings, ppo.Settings) and settings.normalize_advantage:
        batch = dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
    parameters = [p for p in policy.parameters() if p.requires_grad]
    streams = batch.advantage.shape[1] * worlds // trainer.env.num_envs
    gradients, squares = [], []
    for begin in range(0, batch.advantage.shape[1], streams):
        part = batch[:, begin : begin + streams]
        for p in parameters:
            p.grad = None
        with plainly(policy):
            unit_sq, _ = per_environment_backward(
                functools.partial(_unit_losses, trainer, part), policy, units=worlds, dim=0
            )
        squares.append(float(unit_sq.mean()))
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    return torch.stack(gradients), np.array(squares)


def _unit_losses(trainer: Trainer, batch: Batch) -> Tensor:
    """[streams, T], the order in which the network has their rows."""
    s = trainer.settings
    if isinstance(s, a2c.Settings):
        parts: a2c.Parts | ppo.Parts = a2c.loss(trainer.policy, batch)
    else:
        parts = ppo.loss(trainer.policy, batch, s.clip)
    return parts.total(s.value_coef, s.entropy_coef).transpose(0, 1)


def _gram(gradients: Tensor) -> Array:
    wide = gradients.double()
    return np.asarray((wide @ wide.T).cpu().numpy(), np.float64)


def _signal(gram: Array) -> float:
    """|G|² from the inner products [K, K] of K independent gradients."""
    k = len(gram)
    return float((gram.sum() - np.trace(gram)) / (k * (k - 1)))


def _fieller(x: float, y: float, xx: float, xy: float, yy: float, t: float) -> tuple[float, float]:
    """Limits of E x / E y >= 0, y > 0: where (x - σ y)² = t² var(x - σ y)."""
    a, b, c = y * y - t * t * yy, x * y - t * t * xy, x * x - t * t * xx
    if a <= 0:
        return 0.0, math.inf
    root = math.sqrt(max(b * b - a * c, 0.0))
    return max((b - root) / a, 0.0), max((b + root) / a, 0.0)
