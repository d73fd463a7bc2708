"""First and second moments of a rollout's gradient in a finite Markov chain, by dynamic programming.

Pure NumPy. It knows the chain's tables and that an observation's gradient is affine in its return; not what
policy or loss made it so.

With `over` marking the end of an episode, the return of step t of a rollout of T is, as in A2C,

    R_t = ρ_t + γ (1 - over_t) R_{t+1},      R_T = V(s_T),

and the gradient of the observation (s, a) with return R is g = U(s, a) R + W(s, a). Since ρ_t and s_{t+1}
depend on nothing before (s_t, a_t), two vectors per state carry all that a later gradient has to do with
an earlier return:

    X_t(s) = E[g_t' | s_t = s],      Y_t(s) = E[R_t g_t' | s_t = s],      t <= t'
    X_t(s, a) = E X_{t+1}(s'),       Y_t(s, a) = E[ρ_t X_{t+1}(s') + γ (1 - over_t) Y_{t+1}(s')]
    E[g_t ⊗ g_t'] = E[U ⊗ Y_t(s_t, a_t) + W ⊗ X_t(s_t, a_t)]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.solvable.exact import Array


class Kernel(NamedTuple):
    """One decision of the autoreset chain. S states, A actions; the third axis is over = 0, 1."""

    probability: Array
    """[S, A, 2, S] of (over, state the next action answers to)."""
    reward: Array
    """[S, A, 2, S] mean of ρ given all four, bootstrap of a cut-off episode included."""
    reward_sq: Array
    """[S, A, 2, S] mean of ρ²."""


class RolloutMoments(NamedTuple):
    """Of the gradients g_0 .. g_{T-1} of one rollout."""

    step_gradients: Array
    """[T, P] E g_t."""
    step_covariance: Array
    """[T, T] tr cov(g_t, g_t')."""
    covariance: Array
    """[P, P] covariance of the mean over t."""


def stationary(transition: Array) -> Array:
    """The distribution [S] that `transition` [S, S] (rows sum to 1) leaves as it is.

    Raises ValueError if there is more than one.
    """
    states = len(transition)
    equations = np.vstack([transition.T - np.eye(states), np.ones(states)])
    solution, _, rank, _ = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)
    if rank < states:
        raise ValueError(
            "the chain has more than one stationary distribution: give a start distribution instead"
        )
    return np.clip(solution, 0.0, None) / np.clip(solution, 0.0, None).sum()


def return_moments(
    kernel: Kernel, policy: Array, value: Array, gamma: float, rollout: int
) -> tuple[Array, Array]:
    """E[R | s, a] and E[R² | s, a], each [T, S, A], row i for an observation i + 1 rewards before the end."""
    first, second = [], []
    mean, square = value, value**2
    go = kernel.probability[:, :, 0]
    for _ in range(rollout):
        q = (kernel.probability * kernel.reward).sum((2, 3)) + gamma * go @ mean
        q_sq = (kernel.probability * kernel.reward_sq).sum((2, 3))
        q_sq = q_sq + 2 * gamma * (go * kernel.reward[:, :, 0]) @ mean + gamma**2 * go @ square
        first.append(q)
        second.append(q_sq)
        mean, square = (policy * q).sum(1), (policy * q_sq).sum(1)
    return np.stack(first), np.stack(second)


def rollout_moments(
    kernel: Kernel,
    policy: Array,
    value: Array,
    start: Array,
    *,
    gamma: float,
    rollout: int,
    slope: Array,
    offset: Array,
) -> RolloutMoments:
    """Moments of the gradients g = U R + W of T observations in O(T² S² A P) time and O(T S A P) memory.

    Args:
        kernel: of the world.
        policy: [S, A] probabilities.
        value: V [S], the bootstrap at the rollout's end.
        start: [S], the distribution of s_0.
        gamma: discount.
        rollout: T >= 1.
        slope: U [S, A, P].
        offset: W [S, A, P].
    """
    size = slope.shape[-1]
    q, q_sq = (m[:, :, :, None] for m in return_moments(kernel, policy, value, gamma, rollout))
    pi = policy[:, :, None]
    any_way = kernel.probability.sum(2)
    paid = (kernel.probability * kernel.reward).sum(2)
    go = gamma * kernel.probability[:, :, 0]

    at = [start]  # at[t]: distribution of s_t
    for _ in range(rollout - 1):
        at.append(np.einsum("s,sa,san->n", at[-1], policy, any_way))
    joint = np.stack(at)[:, :, None] * policy  # [T, S, A]

    # Row i is the observation with i + 1 rewards ahead, t' = T - 1 - i; `joint` reversed has the same order.
    ahead = joint[::-1, :, :, None]
    step_gradients = (ahead * (slope * q + offset)).sum((1, 2))[::-1]
    own = np.einsum("isa,isap,sap->i", joint[::-1], q_sq * slope + 2 * q * offset, slope)
    own = own + np.einsum("isa,sap,sap->i", joint[::-1], offset, offset)
    products = np.diag(own[::-1])
    weighted = (ahead * (q_sq * slope + q * offset)).sum(0), (ahead * (q * slope + offset)).sum(0)
    total = _outer(slope, weighted[0]) + _outer(offset, weighted[1])

    x = (pi * (slope * q + offset)).sum(2)  # [i, S, P]
    y = (pi * (slope * q_sq + offset * q)).sum(2)
    for lag in range(1, rollout):
        x, y = x[: rollout - lag], y[: rollout - lag]  # those with a step t = t' - lag >= 0
        x_sa = np.einsum("san,inp->isap", any_way, x)
        y_sa = np.einsum("san,inp->isap", paid, x) + np.einsum("san,inp->isap", go, y)
        reached = ahead[lag:]
        cross = (reached * (slope * y_sa + offset * x_sa)).sum((1, 2, 3))[::-1]  # by t
        t = np.arange(rollout - lag)
        products[t, t + lag] = products[t + lag, t] = cross
        outer = _outer(slope, (reached * y_sa).sum(0)) + _outer(offset, (reached * x_sa).sum(0))
        total += outer + outer.T
        x, y = (pi * x_sa).sum(2), (pi * y_sa).sum(2)

    mean = step_gradients.mean(0)
    return RolloutMoments(
        step_gradients=step_gradients.copy(),
        step_covariance=products - step_gradients @ step_gradients.T,
        covariance=(total / rollout**2 - np.outer(mean, mean)).reshape(size, size),
    )


def _outer(a: Array, b: Array) -> Array:
    """Σ over states and actions of a ⊗ b, both [S, A, P] -> [P, P]."""
    size = a.shape[-1]
    return a.reshape(-1, size).T @ b.reshape(-1, size)
