"""`solvable:gaussian`: aim at a target that is linear in a Gaussian state; reward quadratic in the action.

One decision an episode. Everything the gradient is made of is a polynomial in standard normal numbers, so its
first two moments are exact sums (Gauss-Hermite quadrature, which is exact for polynomials).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import EnvError
from envs.solvable.base import Outcome, SolvableEnv
from envs.solvable.exact import Array, Exact, as_array, exact_of_independent

# The squared gradient has degree 8 in each normal number; n nodes are exact up to degree 2n - 1.
NODES = 5
MOST_NUMBERS = 6


def normal_grid(numbers: int) -> tuple[Array, Array]:
    """Nodes [5ⁿ, n], weights [5ⁿ]: exact means of polynomials of degree <= 9 in each of n normals."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    grid = np.array(list(itertools.product(nodes, repeat=numbers))).reshape(-1, numbers)
    return grid, np.array([np.prod(w) for w in itertools.product(weights, repeat=numbers)])


class Gaussian(SolvableEnv):
    """See x = (1, z) with z ~ N(0, I); answer with a in R^d; get r = -½ (a - Kx)ᵀ Q (a - Kx) + reward_std η.

    Args:
        num_envs: environments.
        target: K, d rows of m numbers, m >= 1; the first column is what the constant 1 is multiplied with.
        curvature: the diagonal of Q, d numbers > 0; None for ones.
        reward_std: standard deviation of the reward's noise; 0 for none.
        device: where the tensors live.
        seed: of all random numbers.

    Observations [N, m] float32; actions [N, d] float. d + m - 1 <= 6, so that the truth stays cheap.
    """

    spec = "solvable:gaussian"

    def __init__(
        self,
        num_envs: int,
        *,
        target: Sequence[Sequence[float]] = ((0.5, 1.0), (-0.5, 0.3)),
        curvature: Sequence[float] | None = None,
        reward_std: float = 0.1,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if len({len(row) for row in target}) != 1 or len(target[0]) < 1:
            raise EnvError(f"{self.spec}: target must be rows of one length, got {target}")
        self.target = np.array(target, dtype=np.float64)
        d, m = self.target.shape
        self.curvature = np.ones(d) if curvature is None else np.array(curvature, dtype=np.float64)
        self.reward_std = float(reward_std)
        if self.curvature.shape != (d,) or (self.curvature <= 0).any() or reward_std < 0:
            raise EnvError(f"{self.spec}: curvature must be {d} numbers > 0 and reward_std >= 0")
        if d + m - 1 > MOST_NUMBERS:
            raise EnvError(
                f"{self.spec}: action and state together have <= {MOST_NUMBERS} dimensions, got {d + m - 1}"
            )
        self.observation_space = spaces.Box(-np.inf, np.inf, (m,), np.float32)
        self.action_space = spaces.Box(-np.inf, np.inf, (d,), np.float32)
        super().__init__(num_envs, device=device, seed=seed)

    def _start(self) -> NDArray[np.float32]:
        z = self._streams.normal(self.target.shape[1] - 1)
        return np.concatenate([np.ones((self.num_envs, 1)), z], axis=1).astype(np.float32)

    def _checked(self, actions: Tensor) -> Array:
        if tuple(actions.shape) != (self.num_envs, len(self.target)):
            raise EnvError(
                f"{self.spec} wants actions [{self.num_envs}, {len(self.target)}], got {list(actions.shape)}"
            )
        return actions.numpy(force=True).astype(np.float64)

    def _advance(self, actions: Array) -> Outcome:
        miss = actions - self._obs @ self.target.T
        reward = -0.5 * (miss * miss) @ self.curvature + self.reward_std * self._streams.normal(1)[:, 0]
        final = self._obs
        self._obs = self._start()
        ended = np.ones(self.num_envs, dtype=np.bool_)
        return Outcome(reward, ended, ~ended, final)

    def exact(
        self,
        mean: Tensor,
        log_std: Tensor,
        value: Tensor,
        *,
        rollout: int = 1,
        gamma: float = 1.0,
        value_coef: float = 0.5,
        entropy_coef: float = 0.01,
        learned_std: bool = True,
    ) -> Exact:
        """Mean and covariance of the gradient of the policy a ~ N(Wx, diag(σ²)) with the value w·x.

        Args:
            mean: W [d, m].
            log_std: ln σ [d].
            value: w [m].
            rollout: observations of one environment in the mean, >= 1.
            gamma: without effect, for every decision ends its episode; all worlds are called alike.
            value_coef: weight of the squared error of the value.
            entropy_coef: weight of the entropy.
            learned_std: False leaves `log_std` out of the parameters.

        Returns:
            `Exact` over the parameters mean.weight [d, m], log_std [d] (if learned) and value.weight [1, m].
        """
        d, m = self.target.shape
        w_mean, s = as_array(mean, (d, m), "mean"), np.exp(as_array(log_std, (d,), "log_std"))
        w_value = as_array(value, (m,), "value")

        grid, weights = normal_grid(m - 1 + d)
        x = np.concatenate([np.ones((len(grid), 1)), grid[:, : m - 1]], axis=1)
        eps = grid[:, m - 1 :]
        miss = x @ (w_mean - self.target).T + s * eps
        advantage = -0.5 * (miss * miss) @ self.curvature - x @ w_value
        # As in the bandit: ±reward_std stands for the noise, in which the gradient is linear.
        x, eps, weights = np.tile(x, (2, 1)), np.tile(eps, (2, 1)), np.tile(weights, 2) / 2
        advantage = np.concatenate([advantage - self.reward_std, advantage + self.reward_std])

        n = len(weights)
        score = ((eps / s)[:, :, None] * x[:, None, :]).reshape(n, d * m)
        blocks = {
            "policy": [
                -score * advantage[:, None],
                -(eps * eps - 1.0) * advantage[:, None],
                np.zeros((n, m)),
            ],
            "value": [np.zeros((n, d * m)), np.zeros((n, d)), -2.0 * value_coef * advantage[:, None] * x],
            "entropy": [np.zeros((n, d * m)), np.full((n, d), -entropy_coef), np.zeros((n, m))],
        }
        shapes: dict[str, tuple[int, ...]] = {"mean.weight": (d, m), "log_std": (d,), "value.weight": (1, m)}
        if not learned_std:
            del shapes["log_std"]
            blocks = {name: [first, last] for name, (first, _, last) in blocks.items()}
        g = {name: np.concatenate(block, axis=1) for name, block in blocks.items()}
        parts = {name: exact_of_independent(part, weights, rollout, shapes, {}) for name, part in g.items()}
        return exact_of_independent(sum(g.values(), np.zeros(())), weights, rollout, shapes, parts)
