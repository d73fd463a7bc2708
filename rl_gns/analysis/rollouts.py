"""The two axes of a batch: environments and rollout length. One law for the fronts of several rollout
lengths.

A batch of n environments with rollouts of T observations has B = n T observations, but observations of one
rollout are correlated, so its gradient noise is that of n T / deff(T) independent ones. It reads numbers
only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from rl_gns.analysis._profile import Floats, mean_squares, resample, widened_tail
from rl_gns.analysis.aggregate import Interval
from rl_gns.analysis.fronts import checked_points

_LEAST_TIME = 0.05  # correlation e^-20: independent
_LONGEST = 100.0  # times the longest rollout: never decays


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
    """S(n, T) = S_min(T) (1 + n_crit(T)/n), n_crit(T) = B_1 deff(T)/T. None: the points can't tell."""

    s_min: dict[int, float]
    """Updates at unlimited environments for each rollout length; equal when shared."""
    shared: bool
    """Whether one S_min serves all rollout lengths."""
    b_1: float
    """Critical batch if observations were independent; the critical number of environments at T = 1."""
    b_1_low: float | None
    b_1_high: float | None
    correlation_time: float | None
    """τ in observations, ρ = e^(-1/τ). None: it outlasts every rollout; deff(T) = T is all that is known."""
    correlation_time_low: float | None
    """None: no correlation at all is possible too."""
    correlation_time_high: float | None
    """None: no upper bound."""
    rms_log_residual: float
    confidence: float
    note: str = ""
    replicas: Floats = field(default_factory=lambda: np.empty((0, 2)), repr=False, compare=False)
    """[bootstrap, 2 + rollout lengths]: ln B_1, ln τ, ln S_min of each resampled fit."""
    log_parameters: tuple[float, ...] = ()
    """The same of the fit itself."""
    tail: float = 0.025
    """Share of replicas left out at each end of an interval, widened for the few degrees of freedom."""

    def n_crit(self, rollout: int) -> Interval:
        """Critical number of environments at rollout length T."""
        return self._interval(lambda p: np.exp(p[..., 0]) * _effect(rollout, p[..., 1]) / rollout)

    def relative(self, rollout: int, to: int) -> Interval:
        """n_crit(T) / n_crit(`to`): the shape of the law, whatever its level."""
        return self._interval(
            lambda p: (_effect(rollout, p[..., 1]) / rollout) / (_effect(to, p[..., 1]) / to)
        )

    def updates(self, num_envs: float, rollout: int) -> Interval:
        """Updates to the goal with n environments and rollouts of T.

        Raises:
            ValueError: S_min is fitted per rollout length and T was not among them.
        """
        return self._interval(lambda p: np.exp(self._log_updates(p, num_envs, rollout)))

    def _log_updates(self, p: Floats, num_envs: float, rollout: int) -> Floats:
        lengths = list(self.s_min)
        if not self.shared and rollout not in lengths:
            raise ValueError(
                f"no S_min for rollout {rollout}: fitted are {lengths}; use shared=True to interpolate"
            )
        column = 2 + (0 if self.shared else lengths.index(rollout))
        n_crit = np.exp(p[..., 0]) * _effect(rollout, p[..., 1]) / rollout
        return np.asarray(p[..., column] + np.log1p(n_crit / num_envs))

    def _interval(self, quantity: Callable[[Floats], Floats]) -> Interval:
        value = float(quantity(np.asarray(self.log_parameters)))
        if not len(self.replicas):
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(quantity(self.replicas), [self.tail, 1 - self.tail])
        return Interval(value, float(low), float(high))


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
            law._log_updates(p, batch / rollout, rollout) - law._log_updates(p, batch / than, than)
        )
    )


def fit_rollouts(
    num_envs: ArrayLike,
    rollout: ArrayLike,
    updates: ArrayLike,
    shared: bool = False,
    seed: int = 0,
    bootstrap: int = 400,
    confidence: float = 0.95,
) -> RolloutLaw:
    """Fit ln S = ln S_min(T) + ln(1 + B_1 deff(T; τ)/(n T)) to one goal's fronts at several rollout lengths.

    Unweighted least squares on ln S over B_1, τ and one S_min per rollout length (one for all when `shared`:
    then longer rollouts are taken to change the noise alone, not what an update is worth). Intervals are
    percentiles of a seeded two-level residual bootstrap, as in `fit_front`, at tails widened from normal to
    Student's t.

    Args:
        num_envs: [points] n, > 0.
        rollout: [points] T, whole numbers >= 1, at least two lengths with two n each.
        updates: [points] S to the goal, > 0; several entries of one (n, T) are seeds.
        shared: one S_min for all T.
        seed: of the bootstrap.
        bootstrap: replicas; 0 skips them and leaves the ends NaN.
        confidence: of the intervals.

    Raises:
        ValueError: lists of different length, a value out of range, or too few settings for the parameters.
    """
    n, s, t = _checked(num_envs, rollout, updates)
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 0 and confidence in (0, 1), got {bootstrap} and {confidence}")
    lengths, column = np.unique(t, return_inverse=True)
    cells = np.unique(np.stack([t, n]), axis=1, return_inverse=True)[1].reshape(-1)
    settings, parameters = int(cells.max()) + 1, 2 + (1 if shared else lengths.size)
    if lengths.size < 2:
        raise ValueError(
            "one rollout length says nothing of correlation: sweep at least two, or use fit_front"
        )
    for length in lengths:
        if np.unique(n[t == length]).size < 2:
            raise ValueError(f"rollout {int(length)} has one number of environments: sweep at least two")
    if settings <= parameters:
        raise ValueError(f"{parameters} parameters need more than {settings} settings: sweep more of them")

    model = _Model(n, lengths, column, shared)
    y = np.log(s)
    best = model.fit(y, model.start(y))
    fitted = model.predict(best)
    residual = y - fitted
    between, within = mean_squares(float((residual**2).sum()), y, cells, parameters)
    rng = np.random.default_rng(seed)
    replicas = np.array(
        [
            model.fit(drawn, best[:2])
            for drawn in resample(
                rng, fitted, residual, cells, float(between), float(within), parameters, bootstrap
            )
        ]
    ).reshape(bootstrap, best.size)
    tail = widened_tail(confidence, settings - parameters)
    ends = np.quantile(replicas[:, :2], [tail, 1 - tail], axis=0) if bootstrap else np.full((2, 2), np.nan)
    free_low, free_high = model.time_bounds[0] + 0.1, model.time_bounds[1] - 0.1
    unknown = bool(best[1] > free_high)
    return RolloutLaw(
        {int(length): float(np.exp(best[2 + (0 if shared else i)])) for i, length in enumerate(lengths)},
        shared,
        float(np.exp(best[0])),
        float(np.exp(ends[0, 0])) if bootstrap else None,
        float(np.exp(ends[1, 0])) if bootstrap else None,
        None if unknown else float(np.exp(best[1])) if best[1] > free_low else 0.0,
        float(np.exp(ends[0, 1])) if ends[0, 1] > free_low else None,
        float(np.exp(ends[1, 1])) if ends[1, 1] < free_high else None,
        float(np.sqrt(np.mean(residual**2))),
        confidence,
        "correlation outlasts every rollout: try longer ones" if unknown else "",
        replicas,
        tuple(best.tolist()),
        tail,
    )


@dataclass(frozen=True)
class _Model:
    """ln S over the points; the S_min drop out as means of what is left."""

    n: Floats
    lengths: Floats
    column: NDArray[np.intp]
    shared: bool

    @property
    def time_bounds(self) -> tuple[float, float]:
        return float(np.log(_LEAST_TIME)), float(np.log(_LONGEST * self.lengths.max()))

    def shape(self, log_b: float, log_time: float) -> Floats:
        effect = _effect(self.lengths, np.asarray(log_time)) / self.lengths
        return np.logaddexp(0.0, log_b + np.log(effect)[self.column] - np.log(self.n))

    def log_s_min(self, rest: Floats) -> Floats:
        if self.shared:
            return np.array([rest.mean()])
        return np.bincount(self.column, rest) / np.bincount(self.column)

    def predict(self, p: Floats) -> Floats:
        return self.shape(p[0], p[1]) + (p[2] if self.shared else p[2:][self.column])

    def fit(self, y: Floats, start: Floats) -> Floats:
        """ln B_1, ln τ and the ln S_min, from `start` = (ln B_1, ln τ)."""

        def residual(p: Floats) -> Floats:
            rest = y - self.shape(p[0], p[1])
            level = self.log_s_min(rest)
            return rest - (level[0] if self.shared else level[self.column])

        low, high = self.time_bounds
        limits = ([-np.inf, low], [np.inf, high])
        found = least_squares(
            residual, np.clip(start, *limits), bounds=limits, x_scale=1.0, xtol=1e-10, ftol=1e-12
        )
        return np.concatenate([found.x, self.log_s_min(y - self.shape(*found.x))])

    def start(self, y: Floats) -> Floats:
        low, high = self.time_bounds
        log_n = np.log(self.n)
        best, start = np.inf, np.zeros(2)
        for log_time in np.linspace(low, high, 25):
            for log_b in np.linspace(log_n.min() - 2, log_n.max() + np.log(self.lengths.max()) + 2, 25):
                rest = y - self.shape(log_b, log_time)
                level = self.log_s_min(rest)
                cost = float(((rest - (level[0] if self.shared else level[self.column])) ** 2).sum())
                if cost < best:
                    best, start = cost, np.array([log_b, log_time])
        return start


def _effect(rollout: ArrayLike, log_time: Floats) -> Floats:
    """deff of one ln τ over rollouts [T], or of one rollout over ln τ [replicas]."""
    if log_time.ndim == 0:
        return design_effect(rollout, float(np.exp(-np.exp(-log_time))))
    return np.array([float(design_effect(rollout, float(np.exp(-np.exp(-x))))) for x in log_time])


def _checked(num_envs: ArrayLike, rollout: ArrayLike, updates: ArrayLike) -> tuple[Floats, Floats, Floats]:
    n, t = np.asarray(num_envs, dtype=np.float64), np.asarray(rollout, dtype=np.float64)
    s = np.asarray(updates, dtype=np.float64)
    if t.shape != n.shape:
        raise ValueError(
            f"num_envs and rollout must be lists of one length, got shapes {n.shape} and {t.shape}"
        )
    checked_points(n, s)
    design_effect(t, 0.0)
    order = np.lexsort((s, n, t))
    return n[order], s[order], t[order]
