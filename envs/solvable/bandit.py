"""`solvable:bandit`: k arms, one pull an episode, one constant observation.

The simplest policy gradient there is: a softmax over k logits and one number as baseline. Every observation
is independent of every other, so the design effect is 1 and the noise scale is one sum over the arms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import EnvError
from envs.solvable.base import Outcome, SolvableEnv
from envs.solvable.exact import Exact, as_array, exact_of_independent


class Bandit(SolvableEnv):
    """Pull arm a, get a reward drawn from N(rewards[a], reward_std²), and the episode is over.

    Args:
        num_envs: environments.
        rewards: [k] mean reward of each arm, k >= 2.
        reward_std: standard deviation of the reward's noise, the same for all arms; 0 for none.
        device: where the tensors live.
        seed: of all random numbers.

    Observations [N] int64, always 0; actions [N], 0 to k - 1.
    """

    spec = "solvable:bandit"

    def __init__(
        self,
        num_envs: int,
        *,
        rewards: Sequence[float] = (1.0, 0.5, 0.0, -0.5),
        reward_std: float = 0.5,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if len(rewards) < 2 or reward_std < 0:
            raise EnvError(
                f"{self.spec} needs at least two rewards and reward_std >= 0, got {rewards}, {reward_std}"
            )
        self.rewards = np.array(rewards, dtype=np.float64)
        self.reward_std = float(reward_std)
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(len(rewards))
        super().__init__(num_envs, device=device, seed=seed)

    def _start(self) -> NDArray[np.int64]:
        return np.zeros(self.num_envs, dtype=np.int64)

    def _checked(self, actions: Tensor) -> NDArray[np.int64]:
        return self._checked_choice(actions, len(self.rewards))

    def _advance(self, actions: NDArray[np.int64]) -> Outcome:
        reward = self.rewards[actions] + self.reward_std * self._streams.normal(1)[:, 0]
        ended = np.ones(self.num_envs, dtype=np.bool_)
        return Outcome(reward, ended, ~ended, self._obs)

    def exact(
        self,
        logits: Tensor,
        value: Tensor,
        *,
        rollout: int = 1,
        gamma: float = 1.0,
        value_coef: float = 0.5,
        entropy_coef: float = 0.01,
    ) -> Exact:
        """Mean and covariance of the gradient, a sum over the arms.

        Args:
            logits: [1, k], the policy's logit of each arm (row: the one observation).
            value: [1], the baseline.
            rollout: observations of one environment in the mean, >= 1.
            gamma: without effect, for every pull ends its episode; all worlds are called alike.
            value_coef: weight of the squared error of the value.
            entropy_coef: weight of the entropy.

        Returns:
            `Exact` over the parameters logits.weight [k, 1] and value.weight [1, 1].
        """
        k = len(self.rewards)
        z = as_array(logits, (1, k), "logits")[0]
        v = as_array(value, (1,), "value")[0]
        log_p = z - np.logaddexp.reduce(z)
        p = np.exp(log_p)
        entropy = -(p * log_p).sum()

        # g is linear in r, so noise of ±reward_std with equal chance gives g's first two moments.
        noise = np.array([-self.reward_std, self.reward_std])
        advantage = (self.rewards[:, None] + noise - v).reshape(-1)
        arm = np.repeat(np.arange(k), 2)
        weights = np.repeat(p, 2) / 2

        zeros = np.zeros((2 * k, k + 1))
        policy, worth, spread = zeros.copy(), zeros.copy(), zeros.copy()
        policy[:, :k] = -(np.eye(k)[arm] - p) * advantage[:, None]
        worth[:, k] = -2.0 * value_coef * advantage
        spread[:, :k] = entropy_coef * p * (log_p + entropy)

        shapes: dict[str, tuple[int, ...]] = {"logits.weight": (k, 1), "value.weight": (1, 1)}
        parts = {
            name: exact_of_independent(g, weights, rollout, shapes, {})
            for name, g in (("policy", policy), ("value", worth), ("entropy", spread))
        }
        return exact_of_independent(policy + worth + spread, weights, rollout, shapes, parts)
