"""Returns and advantages of a rollout: n-step (Mnih et al. 2016) and GAE (Schulman et al. 2016).

A terminated step expects nothing after it. A truncated step expects the value of the observation it was cut off
at. Letters: t is the time of the decision, r_t its reward, v_t = V(s_t), v_tp1 = V(s_{t+1}).
"""

from __future__ import annotations

import torch
from torch import Tensor


def next_values(
    v_t: Tensor, last_value: Tensor, terminated: Tensor, truncated: Tensor, bootstrap: Tensor
) -> Tensor:
    """v_tp1 [T, N]: the value expected after each decision, 0 after a termination, V(final) after a truncation."""
    v_tp1 = torch.cat([v_t[1:], last_value.unsqueeze(0)])
    v_tp1 = torch.where(truncated, bootstrap, v_tp1)
    return v_tp1.masked_fill(terminated, 0.0)


def n_step_returns(
    r_t: Tensor,
    last_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    bootstrap: Tensor,
    gamma: float,
) -> Tensor:
    """R_t = r_t + γ R_{t+1} up to the rollout's end, with R_T = last_value.

    Where terminated, R_t = r_t; where truncated, R_t = r_t + γ · bootstrap.

    Args:
        r_t, terminated, truncated, bootstrap: [T, N].
        last_value: [N].
        gamma: discount in [0, 1].

    Returns:
        [T, N].
    """
    _check(r_t, last_value, terminated, truncated, bootstrap)
    returns = torch.empty_like(r_t)
    after = last_value
    for t in reversed(range(r_t.shape[0])):
        after = torch.where(truncated[t], bootstrap[t], after).masked_fill(terminated[t], 0.0)
        after = r_t[t] + gamma * after
        returns[t] = after
    return returns


def gae(
    r_t: Tensor,
    v_t: Tensor,
    last_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    bootstrap: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """A_t = δ_t + γ λ A_{t+1} with δ_t = r_t + γ v_tp1 - v_t, cut at every end of an episode.

    Source: Schulman et al. 2016, eq. 16. λ = 1 gives n-step returns minus v_t.

    Args:
        r_t, v_t, terminated, truncated, bootstrap: [T, N].
        last_value: [N].
        gamma, gae_lambda: in [0, 1].

    Returns:
        [T, N].
    """
    _check(r_t, last_value, terminated, truncated, bootstrap)
    delta_t = r_t + gamma * next_values(v_t, last_value, terminated, truncated, bootstrap) - v_t
    goes_on = gamma * gae_lambda * (~(terminated | truncated)).to(r_t.dtype)
    advantage = torch.empty_like(r_t)
    after = torch.zeros_like(last_value)
    for t in reversed(range(r_t.shape[0])):
        after = delta_t[t] + goes_on[t] * after
        advantage[t] = after
    return advantage


def _check(r_t: Tensor, last_value: Tensor, terminated: Tensor, truncated: Tensor, bootstrap: Tensor) -> None:
    shapes = {tuple(x.shape) for x in (r_t, terminated, truncated, bootstrap)}
    if len(shapes) != 1 or r_t.ndim != 2 or last_value.shape != r_t.shape[1:]:
        raise ValueError(
            f"returns want [T, N] tensors and last_value [N], got {shapes} and {tuple(last_value.shape)}"
        )
