"""RMSProp as TensorFlow has it, which OpenAI Baselines' A2C and so the paper used; and the step that clips first.

This RMSProp differs from torch's in two ways that change the first thousand updates: the mean square starts at 1
instead of 0, and epsilon sits inside the square root. What that costs is `updates_lost`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn


def updates_lost(alpha: float = 0.99, eps: float = 1e-5, start: float = 1.0, square: float = 0.0) -> float:
    """Updates' worth of steps that a mean square which begins at `start` takes from a run of RMSpropTF.

    Where g² stays at `square`, m_t = square + (start - square) αᵗ, and each of the first steps is
    √((square + eps) / (m_t + eps)) of a later one. The sum of what they lack is about ln(start / 4 eps) / (1 - α)
    where square is far below eps far below start: 1,008 with what the paper used, whatever the batch.

    Args:
        alpha: decay in [0, 1).
        eps: added under the root, > 0.
        start: m₀, >= 0; below `square` steps begin too long and the sum is negative.
        square: mean square of the gradient, >= 0.
    """
    if not 0 <= alpha < 1 or eps <= 0 or min(start, square) < 0 or not math.isfinite(start + square):
        raise ValueError(
            f"0 <= alpha < 1, eps > 0, start and square >= 0; got {alpha}, {eps}, {start}, {square}"
        )
    lost, left = 0.0, (start - square) * alpha
    while abs(left) > 1e-9 * (square + eps):
        lost += 1 - math.sqrt((square + eps) / (square + left + eps))
        left *= alpha
    return lost


class RMSpropTF(torch.optim.Optimizer):
    """m ← α m + (1 - α) g², θ ← θ - ε g / √(m + eps), with m₀ = 1 unless told otherwise."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 7e-4,
        alpha: float = 0.99,
        eps: float = 1e-5,
        start: float = 1.0,
    ) -> None:
        """Lr: step size; alpha: decay of the mean square in [0, 1); eps: added under the root, > 0; start: m₀, >= 0."""
        if lr < 0 or not 0 <= alpha < 1 or eps <= 0 or start < 0:
            raise ValueError(
                f"RMSProp wants lr >= 0, 0 <= alpha < 1, eps > 0, start >= 0; got {lr}, {alpha}, {eps}, {start}"
            )
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})
        self.start = start
        """m₀, what the mean square of a parameter is before its first step."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("RMSpropTF takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p]["square_avg"] = torch.full_like(p, self.start)
            alpha, eps, lr = (group[name] for name in ("alpha", "eps", "lr"))
            params = [p for p in params if not self._in_one_pass(p, alpha, eps, lr)]
            if not params:
                continue
            grads: list[Any] = [p.grad for p in params]
            squares = [self.state[p]["square_avg"] for p in params]
            torch._foreach_mul_(squares, alpha)
            torch._foreach_addcmul_(squares, grads, grads, 1 - alpha)
            root = torch._foreach_add(squares, eps)
            torch._foreach_sqrt_(root)
            torch._foreach_addcdiv_(params, grads, root, -lr)

    def _in_one_pass(self, p: Tensor, alpha: float, eps: float, lr: float) -> bool:
        """Update one parameter in a third of the time, where it lies in a CPU's memory; whether it was."""
        theta, g, m = (_flat(x, p) for x in (p, p.grad, self.state[p]["square_avg"]))
        if theta is None or g is None or m is None:
            return False
        _rmsprop(theta, g, m, *(np.float32(x) for x in (alpha, 1 - alpha, eps, lr)))
        return True


def _flat(x: Tensor | None, like: Tensor) -> np.ndarray | None:
    """The memory of a float32 tensor on the CPU, without gaps and in the order of `like`'s; None of any other."""
    if x is None or x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    if x.stride() != like.stride() or not _dense(x):
        return None
    return x.detach().as_strided((x.numel(),), (1,)).numpy()


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code, kept for the next process where numba finds a folder it can write.

    As in `envs/atari_picture.py`: neither package may know of the other.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this one nor the user's cache: it is made anew
        return numba.njit(**options)(function)


@_compiled
def _rmsprop(
    theta: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    alpha: np.float32,
    rest: np.float32,
    eps: np.float32,
    lr: np.float32,
) -> None:
    """All float32; one pass where torch's operations would make six over memory larger than a cache."""
    for i in range(theta.size):
        m[i] = alpha * m[i] + rest * (g[i] * g[i])
        theta[i] -= lr * (g[i] / math.sqrt(m[i] + eps))


def clipped_step(policy: nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Clip, check, step. Returns the global gradient norm before clipping; raises FloatingPointError if not finite."""
    norm_tensor = nn.utils.clip_grad_norm_(
        policy.parameters(), max_grad_norm if max_grad_norm > 0 else float("inf"), foreach=True
    )
    norm = float(norm_tensor)
    if not (norm < float("inf")):
        raise FloatingPointError(f"the gradient norm is {norm}")
    optimizer.step()
    return norm
