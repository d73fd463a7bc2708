"""Worlds with exactly known moments for `noise_coverage.py`: `envs.solvable`, stepped with a fixed policy.

It knows nothing of intervals: a problem is `name`, `truth` (B_simple in units) and `sample`.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
import torch
from coverage_problems import Array, signal_and_noise

from envs import solvable

LOSS: dict[str, Any] = {"gamma": 0.99, "value_coef": 0.5, "entropy_coef": 0.01}


class Solvable(abc.ABC):
    """A world of `envs.solvable`, stepped with a fixed policy; the truth is what its `exact` says.

    A unit is the mean of the A2C gradients of `environments` rollouts, which go on from update to update. The
    policy is one met in training: exact gradient descent, from a value far off and thus a small B_simple,
    goes on until K units are `ratio` times B_simple. Where they are less from the start, units get more
    environments.
    """

    def __init__(self, world: Any, start: dict[str, Array], rollout: int, units: int, ratio: float) -> None:
        self.world, self.policy, self.rollout, self.units = world, start, rollout, units
        truth = self.exact()
        self.environments = math.ceil(ratio * truth.b_simple / (units * rollout))
        batch = units * self.environments * rollout
        while ratio * truth.b_simple < batch:
            for name, g in truth.named().items():
                x = self.policy[parameter := name.removesuffix(".weight")]
                # Tables are [S, A] where the network's weights are [A, S].
                g = g.T if parameter == "logits" else g
                self.policy[parameter] = x - 0.1 * g.numpy().reshape(x.shape)
            truth = self.exact()
        self.moments = np.array([truth.signal, truth.trace / self.environments])
        self.truth = self.moments[1] / self.moments[0]
        self.z = math.nan
        at, label = batch / truth.b_simple, world.spec.removeprefix("solvable:")
        self.name = f"{label}, K {units}, {self.environments} x {rollout} a unit, {at:.2g} B"

    def exact(self) -> solvable.Exact:
        """The truth under the present policy."""
        policy = {name: torch.from_numpy(x) for name, x in self.policy.items()}
        truth: solvable.Exact = self.world(1).exact(**policy, rollout=self.rollout, **LOSS)
        return truth

    @abc.abstractmethod
    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """Play one rollout in every environment: gradients of the units, [units, P]."""

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says. Raises ArithmeticError where the samples' means are not the exact ones."""
        env = self.world(repetitions * self.units * self.environments, seed=int(rng.integers(2**31)))
        for _ in range(20 if self.rollout > 1 else 0):
            self.gradients(env, rng)  # until the states are distributed as the policy leaves them
        signal, noise = np.empty((2, updates, repetitions))
        for t in range(updates):
            units = self.gradients(env, rng)
            signal[t], noise[t] = signal_and_noise(units.reshape(repetitions, self.units, -1))
        sampled = np.stack([signal.mean(0), noise.mean(0)])
        off = (sampled.mean(1) - self.moments) / sampled.std(1, ddof=1) * math.sqrt(repetitions)
        self.z = float(np.abs(off).max())
        if self.z > 4.5:
            raise ArithmeticError(f"{self.name}: sampled signal and noise are {off} standard errors off")
        return signal, noise


class Table(Solvable):
    """Softmax policy and value, one number for each state: the chain and the bandit."""

    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """As the base says."""
        logits, value, gamma = self.policy["logits"], self.policy["value"], LOSS["gamma"]
        log_pi = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
        pi = np.exp(log_pi)
        edges = pi.cumsum(1)[:, :-1]
        played, s = [], env.observation().numpy()
        for _ in range(self.rollout):
            a = (rng.random(len(s))[:, None] >= edges[s]).sum(1)
            step = env.step(torch.from_numpy(a))
            r, cut = step.reward.numpy().astype(np.float64), step.truncated.numpy()
            if cut.any():
                r[cut] += gamma * value[step.final_obs.numpy()[cut]]
            played.append((s, a, r, cut | step.terminated.numpy()))
            s = step.obs.numpy()
        # The gradient is a sum over (state, action) of a factor times the advantages met there.
        cells = (len(s) // self.environments, *logits.shape)
        first = np.arange(len(s)) // self.environments * logits.size
        advantage, visits, ret = np.zeros(cells), np.zeros(cells), value[s]
        for s, a, r, over in reversed(played):
            ret = r + gamma * np.where(over, 0.0, ret)
            at = first + s * logits.shape[1] + a
            advantage += np.bincount(at, ret - value[s], advantage.size).reshape(cells)
            visits += np.bincount(at, None, visits.size).reshape(cells)
        total, visits = advantage.sum(2, keepdims=True), visits.sum(2, keepdims=True)
        spread = pi * (log_pi - (pi * log_pi).sum(1, keepdims=True))
        by_logit = pi * total - advantage + LOSS["entropy_coef"] * visits * spread
        g = np.concatenate([by_logit, -2 * LOSS["value_coef"] * total], 2)
        return g.reshape(len(g), -1) / (self.environments * self.rollout)


class Linear(Solvable):
    """Normal policy with mean and value linear in the state: the Gaussian world."""

    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """As the base says; a rollout is one step."""
        x, std = env.observation().numpy().astype(np.float64), np.exp(self.policy["log_std"])
        eps = rng.standard_normal((len(x), len(std)))
        step = env.step(torch.from_numpy(x @ self.policy["mean"].T + std * eps))
        advantage = (step.reward.numpy() - x @ self.policy["value"])[:, None]
        score = advantage * eps / std
        by_log_std = advantage * (1 - eps * eps) - LOSS["entropy_coef"]
        by_value = -2 * LOSS["value_coef"] * advantage * x
        g = np.concatenate([*(-score * x_j[:, None] for x_j in x.T), by_log_std, by_value], 1)
        return g.reshape(-1, self.environments, g.shape[1]).mean(1)
