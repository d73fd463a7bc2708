"""The known truth about one rollout's gradient: its mean, its covariance and its correlation over time.

A plain record in NumPy's float64, handed out as tensors. It does not know which world it came from.

The loss of the observation (s_t, a_t) is that of A2C (Mnih et al. 2016; OpenAI Baselines):

    -log π(a_t|s_t) (R_t - V(s_t))  +  value_coef (R_t - V(s_t))²  -  entropy_coef H(π(·|s_t))

with the advantage of the first term and R_t of the second held constant. A rollout's gradient is the mean
over its T observations; one rollout of one environment is one unit of noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def as_array(x: Tensor | Array | list[Any] | float, shape: tuple[int, ...], name: str) -> Array:
    """`x` as float64 of exactly this shape. Raises ValueError naming it otherwise."""
    out = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(out.shape)}")
    return out


@dataclass(frozen=True)
class Exact:
    """Mean and covariance of one rollout's mean gradient; P parameters, T observations."""

    shapes: dict[str, tuple[int, ...]]
    """The policy's parameters in order: name -> shape, flattened and joined into the axis P."""
    gradient: Tensor
    """[P] float64, G = E of the loss's gradient (descent goes along -G)."""
    covariance: Tensor
    """[P, P] float64, Σ of the rollout's mean gradient."""
    step_gradients: Tensor
    """[T, P] float64, E g_t: it depends on t, for a return has fewer rewards near the rollout's end."""
    step_covariance: Tensor
    """[T, T] float64, tr cov(g_t, g_t')."""
    parts: dict[str, Exact] = field(default_factory=dict)
    """The same for the terms "policy", "value" and "entropy" alone, with their weights; empty in a part."""

    @property
    def rollout(self) -> int:
        """T."""
        return len(self.step_covariance)

    @property
    def trace(self) -> float:
        """tr(Σ), the noise of one unit."""
        return float(self.covariance.trace())

    @property
    def signal(self) -> float:
        """|G|²."""
        return float(self.gradient.square().sum())

    @property
    def b_simple(self) -> float:
        """T tr(Σ) / |G|², in observations; infinite where G = 0, NaN where Σ = 0 too."""
        if self.signal == 0.0:
            return math.inf if self.trace > 0 else math.nan
        return self.rollout * self.trace / self.signal

    @property
    def autocorrelation(self) -> Tensor:
        """[T], lag k: the mean of `step_covariance` over t - t' = k, divided by that of lag 0."""
        lags = torch.stack([self.step_covariance.diagonal(k).mean() for k in range(self.rollout)])
        return lags / lags[0]

    @property
    def design_effect(self) -> float:
        """tr(Σ) over what T independent observations would give, tr cov averaged over t and divided by T."""
        return float(self.step_covariance.sum() / self.step_covariance.trace())

    def named(self) -> dict[str, Tensor]:
        """`gradient` cut into the policy's parameters."""
        flat = self.gradient.split([math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), flat, strict=True)}


def exact_of_independent(
    gradients: Array,
    weights: Array,
    rollout: int,
    shapes: dict[str, tuple[int, ...]],
    parts: dict[str, Exact],
) -> Exact:
    """Truth for T independent observations, each g = gradients[n] with probability weights[n].

    Args:
        gradients: [n, P].
        weights: [n], >= 0, summing to 1 (a quadrature's weights do as well as probabilities).
        rollout: T >= 1.
        shapes: as in `Exact`.
        parts: as in `Exact`.
    """
    if rollout < 1:
        raise ValueError(f"a rollout has at least one observation, got {rollout}")
    mean = weights @ gradients
    centred = gradients - mean
    covariance = torch.from_numpy((centred * weights[:, None]).T @ centred)
    return Exact(
        shapes=shapes,
        gradient=torch.from_numpy(mean),
        covariance=covariance / rollout,
        step_gradients=torch.from_numpy(mean).expand(rollout, -1),
        step_covariance=torch.eye(rollout, dtype=torch.float64) * covariance.trace(),
        parts=parts,
    )
