"""Measures, at a cadence and on a few environments, how much the observations of one rollout repeat one another.

The glue between a run and `rl_gns.noise.RolloutGram`: it takes gradients of single observations under the run's own
loss, one environment at a time, and leaves weights, random numbers and the training gradient alone.
Memory: a rollout's T gradients, their sum over environments and two more, (2 T + 2) · P · 4 bytes for P weights,
however many environments, and what one observation's passes take: for `nature` 0.12 GB at T = 5, 1.1 GB at T = 64
(measured).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call

from agents import a2c, ppo
from agents.rollout import Batch
from rl_gns.noise import RolloutGram, per_observation_gradients
from rl_gns.training.config import TrainConfig


class CorrelationProbe:
    """Collects per-observation gradients of the first `correlation_envs` environments every `correlation_every`."""

    def __init__(
        self, config: TrainConfig, settings: a2c.Settings | ppo.Settings, policy: nn.Module, streams: int
    ) -> None:
        """streams: rows of the rollout; an environment's are adjacent."""
        self.every, self.settings, self.policy = config.correlation_every, settings, policy
        num_envs = config.num_envs or 1
        self.envs, self.width = min(config.correlation_envs, num_envs), streams // num_envs
        self.gram = RolloutGram(config.rollout or 1)

    def due(self, updates: int) -> bool:
        """Whether the next update is to be measured."""
        return self.every > 0 and updates % self.every == 0

    def measure(self, batch: Batch) -> None:
        """Take in one fresh rollout, fields [T, N, ...]."""
        s = self.settings
        if isinstance(s, ppo.Settings) and s.normalize_advantage:
            batch = dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
        self.gram.update(self._gradients(batch, i)[:, None] for i in range(self.envs))

    def _gradients(self, batch: Batch, environment: int) -> Tensor:
        """[T, P]: the gradient of each step's loss in one environment, the mean over its streams."""
        rows = slice(environment * self.width, (environment + 1) * self.width)

        def loss(weights: dict[str, Tensor], t: Tensor) -> Tensor:
            step = batch[int(t) : int(t) + 1, rows]

            def policy(obs: Tensor) -> Any:
                return functional_call(self.policy, weights, (obs,))

            s = self.settings
            if isinstance(s, a2c.Settings):
                return a2c.loss(policy, step).total(s.value_coef, s.entropy_coef).mean()
            return ppo.loss(policy, step, s.clip).total(s.value_coef, s.entropy_coef).mean()

        steps = torch.arange(self.gram.rollout)
        return per_observation_gradients(loss, dict(self.policy.named_parameters()), (steps,))

    def state_dict(self) -> dict[str, Any]:
        """The inner products so far, and how many streams an environment has."""
        return {**self.gram.state_dict(), "width": self.width}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        if state:
            self.gram.load_state_dict(state)


def gram_of(state: Mapping[str, Any]) -> RolloutGram | None:
    """Of a probe's state; None where nothing was measured."""
    if not state or not state["weight"]:
        return None
    gram = RolloutGram(len(state["products"]))
    gram.load_state_dict(state)
    return gram


def autocorrelation(state: dict[str, Any]) -> tuple[pd.Series, float]:
    """Of a probe's state: the gradient's autocorrelation by lag, 0 … T - 1, and its integrated time in steps.

    Empty and nan where nothing was measured.
    """
    gram = gram_of(state)
    values = [] if gram is None else gram.correlation().autocorrelation.tolist()
    found = pd.Series(values, name="autocorrelation", dtype=float).rename_axis("lag")
    return found, float("nan") if gram is None else gram.correlation_time()


def predictions(state: dict[str, Any], factor: int = 4) -> pd.DataFrame:
    """What a probe's state says of rollouts of 1, 2, 4 … up to `factor` times the measured length.

    Columns: rollout, design_effect, noise_scale (predicted, observations), num_envs (critical number of environments),
    signal, noise, extrapolated. Empty where nothing was measured.
    """
    gram = gram_of(state)
    if gram is None:
        return pd.DataFrame(
            columns=["rollout", "design_effect", "noise_scale", "num_envs", "signal", "noise", "extrapolated"]
        )
    length = gram.rollout
    lengths = sorted({2**k for k in range(20) if 2**k <= factor * length} | {length})
    found = pd.DataFrame([gram.predict(t)._asdict() for t in lengths])
    found["b_simple"] *= state.get(
        "width", 1
    )  # the gram counts a step of an environment once, with all its streams
    return found.rename(columns={"b_simple": "noise_scale"})
