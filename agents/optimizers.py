"""RMSProp as TensorFlow has it, which OpenAI Baselines' A2C and so the paper used; and the step that clips first.

This RMSProp differs from torch's in two ways that change the first thousand updates: the mean square starts at 1
instead of 0, and epsilon sits inside the square root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class RMSpropTF(torch.optim.Optimizer):
    """m ← α m + (1 - α) g², θ ← θ - ε g / √(m + eps), with m₀ = 1."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 7e-4, alpha: float = 0.99, eps: float = 1e-5
    ) -> None:
        """Lr: step size; alpha: decay of the mean square in [0, 1); eps: added under the root, > 0."""
        if lr < 0 or not 0 <= alpha < 1 or eps <= 0:
            raise ValueError(f"RMSProp wants lr >= 0, 0 <= alpha < 1, eps > 0; got {lr}, {alpha}, {eps}")
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("RMSpropTF takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Any] = [p.grad for p in params]
            squares = []
            for p in params:
                if not self.state[p]:
                    self.state[p]["square_avg"] = torch.ones_like(p)
                squares.append(self.state[p]["square_avg"])
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, grads, grads, 1 - group["alpha"])
            root = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(root)
            torch._foreach_addcdiv_(params, grads, root, -group["lr"])


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
