"""`solvable:chain`: a walk along a few states with slips, endings and cut-offs; tabular policy and value.

The one solvable world in which the observations of a rollout depend on one another, as they do in a game.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import EnvError
from envs.solvable.base import Outcome, SolvableEnv
from envs.solvable.exact import Array, Exact, as_array
from envs.solvable.rollout_moments import Kernel, rollout_moments, stationary

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Tables:
    """A finite decision process. S states, A actions."""

    move: Array
    """[S, A, S] probability of the next state; rows sum to 1."""
    end: Array
    """[S, A, S] probability that this move terminates the episode."""
    reward: Array
    """[S, A, S] mean reward of the move."""
    start: Array
    """[S] distribution of an episode's first state."""
    reward_std: float = 0.0
    """Standard deviation of the Gaussian noise on every reward."""
    truncation: float = 0.0
    """Probability that a move which does not terminate the episode cuts it off."""

    def __post_init__(self) -> None:
        """Raises EnvError for tables that are no probabilities or do not fit each other."""
        shape = self.move.shape
        fits = len(shape) == 3 and shape[0] == shape[2] and self.end.shape == self.reward.shape == shape
        if not (fits and self.start.shape == shape[:1]):
            raise EnvError("chain tables: move, end and reward must be [S, A, S] and start [S]")
        sums = [self.move.sum(-1), self.start.sum()]
        chances = [self.move, self.end, self.start, np.array(self.truncation)]
        if not all(np.allclose(s, 1.0) for s in sums) or not all(
            ((p >= 0) & (p <= 1)).all() for p in chances
        ):
            raise EnvError("chain tables: move and start must sum to 1, and every probability lie in [0, 1]")
        if not self.reward_std >= 0:
            raise EnvError(f"chain tables: reward_std must be >= 0, got {self.reward_std}")


def walk(
    states: int, slip: float = 0.1, hazard: float = 0.05, truncation: float = 0.0, reward_std: float = 0.0
) -> Tables:
    """From the left end of a line to the right: stepping out of the last state pays 1 and ends the episode.

    A move goes the other way with probability `slip`; the left end is a wall. Every other move ends the
    episode for nothing with probability `hazard`.
    """
    move, end, reward = (np.zeros((states, 2, states)) for _ in range(3))
    end[...] = hazard
    last = states - 1
    for s in range(states):
        left, right = max(s - 1, 0), min(s + 1, last)
        for action, (there, back) in ((LEFT, (left, right)), (RIGHT, (right, left))):
            move[s, action, there] += 1.0 - slip
            move[s, action, back] += slip
    # Only stepping right "stays" in the last state, so this entry is the step out of it.
    end[last, :, last] = reward[last, :, last] = 1.0
    return Tables(move, end, reward, np.eye(states)[0], reward_std, truncation)


class Chain(SolvableEnv):
    """Walk a chain: action 0 goes left, 1 goes right; out at the right end pays 1.

    Args:
        num_envs: environments.
        states: S >= 2.
        slip: probability that a move goes the other way, 0 to 1.
        hazard: probability that a move ends the episode without pay, 0 to 1.
        truncation: probability that a move cuts the episode off, 0 to 1.
        reward_std: standard deviation of noise on every reward.
        tables: a decision process of one's own; the five options before it are then not used.
        device: where the tensors live.
        seed: of all random numbers.

    Observations [N] int64, the state; actions [N]. `final_obs` of a terminated episode is the state
    its last action was taken in (nothing is to be expected of it), of a truncated one the state it lost.
    """

    spec = "solvable:chain"

    def __init__(
        self,
        num_envs: int,
        *,
        states: int = 5,
        slip: float = 0.1,
        hazard: float = 0.05,
        truncation: float = 0.0,
        reward_std: float = 0.0,
        tables: Tables | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if states < 2:
            raise EnvError(f"{self.spec} needs at least two states, got {states}")
        self.tables = walk(states, slip, hazard, truncation, reward_std) if tables is None else tables
        self._move_cdf = self.tables.move.cumsum(-1)
        self._start_cdf = self.tables.start.cumsum()
        self.observation_space = spaces.Discrete(self.tables.move.shape[0])
        self.action_space = spaces.Discrete(self.tables.move.shape[1])
        super().__init__(num_envs, device=device, seed=seed)

    def _start(self) -> NDArray[np.int64]:
        return _draw(self._start_cdf, self._streams.uniform(1)[:, 0])

    def _checked(self, actions: Tensor) -> NDArray[np.int64]:
        return self._checked_choice(actions, self.tables.move.shape[1])

    def _advance(self, actions: NDArray[np.int64]) -> Outcome:
        tables, s = self.tables, self._obs
        u = self._streams.uniform(3)
        after = _draw(self._move_cdf[s, actions], u[:, 0])
        reward = tables.reward[s, actions, after] + tables.reward_std * self._streams.normal(1)[:, 0]
        terminated = u[:, 1] < tables.end[s, actions, after]
        truncated = ~terminated & (u[:, 2] < tables.truncation)
        self._obs = np.where(terminated | truncated, self._start(), after)
        return Outcome(reward, terminated, truncated, np.where(terminated, s, after))

    def exact(
        self,
        logits: Tensor,
        value: Tensor,
        *,
        rollout: int,
        gamma: float = 0.99,
        value_coef: float = 0.5,
        entropy_coef: float = 0.01,
        start: Tensor | None = None,
    ) -> Exact:
        """Mean and covariance of the gradient of a whole rollout, by dynamic programming over the states.

        Returns run to the rollout's end and bootstrap there: R_t = Σ γᵏ r_{t+k} + γ^{T-t} V(s_T), cut at
        an episode's end, with γ V of the final state added where it was a truncation.

        Args:
            logits: [S, A], the policy is their softmax over A.
            value: V [S].
            rollout: T >= 1.
            gamma: discount.
            value_coef: weight of the squared error of the value.
            entropy_coef: weight of the entropy.
            start: [S] distribution of the rollout's first state; None for the one that the policy leaves
                as it is, which is where rollouts that follow one another start.

        Returns:
            `Exact` over the parameters logits.weight [A, S] and value.weight [1, S].
        """
        if rollout < 1:
            raise ValueError(f"a rollout has at least one observation, got {rollout}")
        states, actions, _ = self.tables.move.shape
        z = as_array(logits, (states, actions), "logits")
        v = as_array(value, (states,), "value")
        log_pi = z - np.logaddexp.reduce(z, 1, keepdims=True)
        pi = np.exp(log_pi)
        kernel = _kernel(self.tables, v, gamma)
        if start is None:
            first = stationary(np.einsum("sa,sadn->sn", pi, kernel.probability))
        else:
            first = as_array(start, (states,), "start")

        terms = _loss_terms(log_pi, v, value_coef, entropy_coef)
        terms["total"] = tuple(np.sum(part, axis=0) for part in zip(*terms.values(), strict=True))
        shapes: dict[str, tuple[int, ...]] = {"logits.weight": (actions, states), "value.weight": (1, states)}
        done: dict[str, Exact] = {}
        for name, (slope, offset) in terms.items():
            m = rollout_moments(
                kernel, pi, v, first, gamma=gamma, rollout=rollout, slope=slope, offset=offset
            )
            done[name] = Exact(
                shapes=shapes,
                gradient=torch.from_numpy(m.step_gradients.mean(0)),
                covariance=torch.from_numpy(m.covariance),
                step_gradients=torch.from_numpy(m.step_gradients),
                step_covariance=torch.from_numpy(m.step_covariance),
                parts=dict(done) if name == "total" else {},
            )
        return done["total"]


def _draw(cdf: Array, u: Array) -> NDArray[np.int64]:
    """Index of the first entry of `cdf` [..., S] above `u` [N]; rounding at the top end can't run past it."""
    return np.minimum((u[:, None] >= cdf).sum(-1), cdf.shape[-1] - 1)


def _kernel(tables: Tables, value: Array, gamma: float) -> Kernel:
    """The autoreset chain: an end leads to a fresh start, and a cut-off pays γ V of the state it lost."""
    ends = tables.move * tables.end
    cuts = tables.move * (1 - tables.end) * tables.truncation
    goes = tables.move * (1 - tables.end) * (1 - tables.truncation)
    over = (ends + cuts).sum(-1)
    cut_reward = tables.reward + gamma * value
    paid = (ends * tables.reward + cuts * cut_reward).sum(-1)
    paid_sq = (ends * tables.reward**2 + cuts * cut_reward**2).sum(-1)
    given_over = np.where(over > 0, over, 1.0)

    probability = np.stack([goes, over[:, :, None] * tables.start], axis=2)
    reward = np.stack([tables.reward, np.broadcast_to((paid / given_over)[:, :, None], goes.shape)], axis=2)
    square = np.stack(
        [tables.reward**2, np.broadcast_to((paid_sq / given_over)[:, :, None], goes.shape)], axis=2
    )
    return Kernel(probability, reward, square + tables.reward_std**2)


def _loss_terms(
    log_pi: Array, value: Array, value_coef: float, entropy_coef: float
) -> dict[str, tuple[Array, ...]]:
    """U and W [S, A, P] of g = U R + W for each term; P: logits.weight [A, S], then value.weight [1, S]."""
    states, actions = log_pi.shape
    pi = np.exp(log_pi)
    entropy = -(pi * log_pi).sum(1, keepdims=True)
    size = actions * states + states
    names = ("policy", "value", "entropy")
    terms = {name: (np.zeros((states, actions, size)), np.zeros((states, actions, size))) for name in names}
    for s in range(states):
        row = np.arange(actions) * states + s
        score = np.eye(actions) - pi[s]
        terms["policy"][0][s][:, row] = -score
        terms["policy"][1][s][:, row] = score * value[s]
        terms["value"][0][s, :, actions * states + s] = -2.0 * value_coef
        terms["value"][1][s, :, actions * states + s] = 2.0 * value_coef * value[s]
        terms["entropy"][1][s][:, row] = entropy_coef * pi[s] * (log_pi[s] + entropy[s])
    return dict(terms)
