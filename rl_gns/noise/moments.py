"""Unbiased moments of a gradient from the squared norms of independent units (McCandlish et al. 2018, A.1).

Pure arithmetic on two kinds of numbers; it does not know where the gradients came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class Moments(NamedTuple):
    """What one update said of the gradient's mean and of the spread between units."""

    signal: float
    """Unbiased estimate of |G|²; may be negative, which is a fact and not an error."""
    noise: float
    """Unbiased estimate of tr(Σ) of ONE unit's gradient."""
    units: int
    """How many units the estimate rests on."""

    def regrouped(self, size: int) -> Moments:
        """Turn moments over groups of `size` environments each into moments of one environment.

        The covariance of a mean of m independent environments is Σ/m, so noise of one is m times the groups'.
        """
        return Moments(self.signal, self.noise * size, self.units * size)

    def normalized(self) -> Moments:
        """Divided by the mean square of a unit's gradient, of which signal and noise are the shares.

            mean qᵢ = signal + noise      signal / mean qᵢ + noise / mean qᵢ = 1

        Averaged over updates, signal over noise then has every update count alike, where sums of |G|² and tr(Σ) count
        it by the square of its gradient and a single one can rule them. Flipping the sign of single units' gradients
        leaves mean qᵢ as it is, so where there is no signal and noise is symmetric, the expectation is exactly 0. A
        small signal reads n d / (n d + 2) of what it is, with n units and normal noise that is alike in d directions
        and in no other: two thirds for n = 4 and d = 1, all of it where d is large.

        It is B_simple where gradients differ in length from update to update. Where they differ within one, as with
        rare rewards, updates without any count for more than they should, the fewer environments the more: the reading
        is that of the usual update, and depends on the batch. To be taken before `regrouped`.
        """
        square = self.signal + self.noise
        return Moments(self.signal / square, self.noise / square, self.units) if square > 0 else self


def moments(unit_sq_norms: Tensor | Iterable[float], mean_sq_norm: Tensor | float) -> Moments:
    """Signal and noise from n units' squared gradient norms and the squared norm of their mean gradient.

    With qᵢ = |gᵢ|², q = |Σ gᵢ / n|²:

        signal = (n q - mean qᵢ) / (n - 1)        E signal = |G|²
        noise  = n / (n - 1) · (mean qᵢ - q)      E noise  = tr(Σ)

    Source: McCandlish et al. 2018, A.1, with b = one unit and B = n units.

    Args:
        unit_sq_norms: [n] squared norms, n >= 2, each unit's gradient a mean over the same number of observations.
        mean_sq_norm: squared norm of the mean gradient.

    Raises:
        ValueError: fewer than two units: one gradient says nothing about spread.
    """
    q_i = (
        unit_sq_norms.detach().double().tolist() if isinstance(unit_sq_norms, Tensor) else list(unit_sq_norms)
    )
    n = len(q_i)
    if n < 2:
        raise ValueError(f"the noise needs at least two units to compare, got {n}")
    mean_q_i = math.fsum(q_i) / n
    q = float(mean_sq_norm)
    return Moments((n * q - mean_q_i) / (n - 1), n / (n - 1) * (mean_q_i - q), n)
