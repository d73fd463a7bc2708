"""The two axes of a batch: environments and rollout length. One law for the fronts of several rollout
lengths.

A batch of n environments with rollouts of T observations has B = n T observations, but observations of one
rollout are correlated, so its gradient noise is that of n T / deff(T) independent ones. It reads numbers
only; `rollout_fit` fits the law.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import Floats
from rl_gns.analysis.aggregate import Interval


def design_effect(rollout: ArrayLike, correlation: float) -> Floats:
    """deff(T) = 1 + 2 Σ_{k=1}^{T-1} (1 - k/T) ρ^k: variance of a mean over that of independent terms.

    For a stationary series whose autocorrelation decays as ρ^k; the name is Kish's (1965). 1 at ρ = 0 and T
    at ρ = 1.

    Args:
        rollout: T, integers >= 1, any shape.
        correlation: ρ in [0, 1], of neighbouring observations' gradients.

    Returns:
        deff, same shape.

    Raises:
        ValueError: a value out of range.
    """
    t = np.asarray(rollout)
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation must be in [0, 1], got {correlation}")
    if t.size and (not np.isfinite(t).all() or (t < 1).any() or (t != np.floor(t)).any()):
        raise ValueError("rollout must hold whole numbers >= 1")
    k = np.arange(1, int(t.max(initial=1)))
    weight = np.maximum(1 - k / t[..., None], 0.0)
    return np.asarray(1 + 2 * (weight * float(correlation) ** k).sum(-1))


@dataclass(frozen=True)
class RolloutLaw:
    """S(n, T) = S_min(T) (1 + n_crit(T)/n), n_crit(T) = B_1 deff(T)/T. None: the points can't tell.

    `note` then says why.
    """

    s_min: dict[int, float]
    """Updates at unlimited environments for each rollout length; equal when shared. NaN: can't tell."""
    shared: bool
    """Whether one S_min serves all rollout lengths."""
    b_1: float | None
    """Critical batch if observations were independent; the critical number of environments at T = 1."""
    b_1_low: float | None
    """Kept when `b_1` is None, where there is one. None: no lower bound."""
    b_1_high: float | None
    """None: no upper bound."""
    correlation_time: float | None
    """τ in observations, ρ = e^(-1/τ). None: it outlasts every rollout; deff(T) = T is all that is known."""
    correlation_time_low: float | None
    """None: no correlation at all is possible too."""
    correlation_time_high: float | None
    """None: no upper bound."""
    rms_log_residual: float
    """Over the points that met the goal."""
    confidence: float
    note: str = ""
    replicas: Floats = field(default_factory=lambda: np.empty((0, 2)), repr=False, compare=False)
    """[bootstrap, 2 + rollout lengths]: ln B_1, ln τ, ln S_min of each resampled fit."""
    log_parameters: tuple[float, ...] = ()
    """The same of the fit itself: finite, at the end of the search, where the law is one of its limits."""
    tail: float = 0.025
    """Share of replicas left out at each end of an interval, widened for the few degrees of freedom."""
    profile: Callable[[int], tuple[float, float]] | None = field(default=None, repr=False, compare=False)
    """Ends of the interval of ln n_crit at a rollout length, -∞ and ∞ where open; None without a bootstrap."""
    at_limit: Floats = field(default_factory=lambda: np.empty((0, 2)), repr=False, compare=False)
    """As `replicas`, of resampled fits of the limit, where the law is taken for it."""

    def n_crit(self, rollout: int) -> Interval:
        """Critical number of environments at rollout length T.

        NaN with the bound that is known where `b_1` is None; ends 0 and ∞ where there is no bound.
        """
        log_n_crit = self.log_parameters[0] + float(
            np.log(effect(rollout, np.asarray(self.log_parameters[1])) / rollout)
        )
        value = math.nan if self.b_1 is None else math.exp(log_n_crit)
        if self.profile is None:
            return Interval(value, math.nan, math.nan)
        low, high = self.profile(rollout)
        return Interval(value, math.exp(low), math.exp(high))

    def relative(self, rollout: int, to: int) -> Interval:
        """n_crit(T) / n_crit(`to`): the shape of the law, whatever its level; NaN where the points tell neither."""
        falling = any(map(math.isnan, self.s_min.values()))  # as 1/n, which tells a shared law's shape
        if self.b_1 is None and not (self.shared and falling):
            return Interval(math.nan, math.nan, math.nan)
        return self._interval(lambda p: (effect(rollout, p[..., 1]) / rollout) / (effect(to, p[..., 1]) / to))

    def updates(self, num_envs: float, rollout: int) -> Interval:
        """Updates to the goal with n environments and rollouts of T.

        Raises:
            ValueError: S_min is fitted per rollout length and T was not among them.
        """
        return self._interval(lambda p: np.exp(self.log_updates(p, num_envs, rollout)))

    def between(self, num_envs: ArrayLike, rollout: int) -> Floats:
        """Updates with environments [n] at a T within the fitted ones: ln S_min is interpolated in ln T."""
        p = np.asarray(self.log_parameters)
        lengths = sorted(self.s_min)
        levels = p[2:] if len(p) > 3 else np.repeat(p[2:], len(lengths))
        level = np.interp(np.log(rollout), np.log(lengths), levels)
        log_n_crit = p[0] + np.log(effect(rollout, p[1]) / rollout)
        return np.asarray(np.exp(level + np.logaddexp(0.0, log_n_crit - np.log(np.asarray(num_envs)))))

    def log_updates(self, p: Floats, num_envs: float, rollout: int) -> Floats:
        """ln S of parameters [..., 2 + lengths]; raises as `updates`."""
        lengths = list(self.s_min)
        if not self.shared and rollout not in lengths:
            raise ValueError(
                f"no S_min for rollout {rollout}: fitted are {lengths}; use shared=True to interpolate"
            )
        column = 2 + (0 if self.shared else lengths.index(rollout))
        log_n_crit = p[..., 0] + np.log(effect(rollout, p[..., 1]) / rollout)
        return np.asarray(p[..., column] + np.logaddexp(0.0, log_n_crit - math.log(num_envs)))

    def _interval(self, quantity: Callable[[Floats], Floats]) -> Interval:
        value = float(quantity(np.asarray(self.log_parameters)))
        if not len(self.replicas):
            return Interval(value, math.nan, math.nan)
        return Interval(value, *widest([quantity(self.replicas), quantity(self.at_limit)], self.tail))


def widest(values: Sequence[Floats], tail: float) -> tuple[float, float]:
    """Percentiles, the farther ones of several sets of values; empty ones say nothing, NaN where all are.

    A law taken for its limit has two sets, of the free fit and of the limit's: the free one bends where its limit
    can't, so that the value, which is the limit's, may lie at the edge of it.
    """
    ends = [np.quantile(each, [tail, 1 - tail]) for each in values if len(each)]
    low, high = np.transpose(ends) if ends else np.full((2, 1), np.nan)
    return float(low.min()), float(high.max())


def exchange_rate(law: RolloutLaw, batch: float, rollout: int, than: int) -> Interval:
    """S(`rollout`) / S(`than`): updates with one rollout length over updates with another, at an equal batch.

    The rest of the batch is environments: n = batch / T. Above 1, for a longer `rollout`: more
    environments are worth more than longer rollouts.

    Args:
        law: fitted by `fit_rollouts`.
        batch: observations per update, > 0.
        rollout: T of the numerator.
        than: T of the denominator.

    Raises:
        ValueError: batch not positive; a rollout length that was not fitted (unless S_min is shared).
    """
    if not batch > 0:
        raise ValueError(f"batch must be positive, got {batch}")
    return law._interval(
        lambda p: np.exp(
            law.log_updates(p, batch / rollout, rollout) - law.log_updates(p, batch / than, than)
        )
    )


def effect(rollout: ArrayLike, log_time: Floats) -> Floats:
    """deff of one ln τ over rollouts [T], or of one rollout over ln τ [replicas]."""
    if log_time.ndim == 0:
        return design_effect(rollout, float(np.exp(-np.exp(-log_time))))
    return np.array([float(design_effect(rollout, float(np.exp(-np.exp(-x))))) for x in log_time])
