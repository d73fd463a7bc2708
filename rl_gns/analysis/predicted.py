"""The critical number of environments expected from moments measured in a few runs, beside a measured law.

A rollout of T observations has, as a unit, a signal |G|² and a noise tr(Σ); their ratio is the critical number of
environments at that rollout length, if the simple noise scale is the critical batch. It reads numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import Floats
from rl_gns.analysis.aggregate import Interval
from rl_gns.analysis.claims import CANT_TELL, FAIL, PASS, WITHIN_THREE, judge
from rl_gns.analysis.rollouts import RolloutLaw


@dataclass(frozen=True)
class PredictedAxis:
    """n_crit(T) = Σ noise / Σ signal over seeds, at each rollout length, with draws of what the sums may be."""

    rollouts: tuple[int, ...]
    values: tuple[float, ...]
    """One per rollout length; ∞ where the summed signal is not above 0."""
    tail: float
    replicas: Floats = field(repr=False, compare=False)
    """[bootstrap, lengths]."""

    def n_crit(self, rollout: int) -> Interval:
        """Critical number of environments at rollout length T."""
        at = self.rollouts.index(rollout)
        return self._interval(self.values[at], self.replicas[:, at])

    def relative(self, rollout: int, to: int) -> Interval:
        """n_crit(T) / n_crit(`to`): what one run's design effect says of the shape, whatever the level."""
        a, b = self.rollouts.index(rollout), self.rollouts.index(to)
        with np.errstate(invalid="ignore"):  # ∞/∞: no signal, nothing known
            replicas = self.replicas[:, a] / self.replicas[:, b]
        replicas = np.where(np.isnan(replicas), math.inf, replicas)
        return self._interval(_ratio(self.values[a], self.values[b]), replicas)

    def _interval(self, value: float, replicas: Floats) -> Interval:
        if not len(replicas):
            return Interval(value, math.nan, math.nan)
        low, high = np.quantile(replicas, [self.tail, 1 - self.tail], method="closest_observation")
        return Interval(value, float(low), float(high))


def predict_axis(
    rollouts: ArrayLike,
    signal: ArrayLike,
    noise: ArrayLike,
    seed: int = 0,
    bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PredictedAxis:
    """Pool the moments of a few runs that differ in their seed.

    Signals and noises are summed over seeds before they are divided: single signals may be negative, and the mean of
    their ratios would not be the ratio of their means (McCandlish et al. 2018, A.1). The interval is Student's t: the
    mean moments of all lengths are drawn together from a multivariate t with the seeds' covariance and one degree of
    freedom fewer than seeds, then divided, as in Fieller's theorem; a signal drawn not above 0 is ∞. With three seeds
    it is ±4.3 standard errors. (Resampling three seeds gives their range, which holds the truth in 75 % of cases.)
    Seeds differ in everything that is drawn: environments, weights and updates. One seed gives no interval (NaN).

    Args:
        rollouts: [lengths] T, whole numbers, ascending.
        signal: [seeds, lengths] |G|² of a rollout's mean gradient, may be negative.
        noise: [seeds, lengths] tr(Σ) of one rollout's mean gradient.
        seed: of the draws; the same runs in any order give the same bytes.
        bootstrap: draws; 0 skips them.
        confidence: of the intervals.

    Raises:
        ValueError: shapes don't agree, nothing given, a value not finite, or lengths that are not ascending whole
            numbers.
    """
    t = np.asarray(rollouts)
    g, v = np.asarray(signal, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    if g.ndim != 2 or g.shape != v.shape or g.shape[1:] != t.shape or not g.size:
        raise ValueError(f"signal and noise must be [seeds, {t.size}], got shapes {g.shape} and {v.shape}")
    if (t != np.round(t)).any() or (t < 1).any() or (np.diff(t) <= 0).any():
        raise ValueError(f"rollouts must be ascending whole numbers, got {t.tolist()}")
    if not (np.isfinite(g).all() and np.isfinite(v).all()):
        raise ValueError("signal and noise must be finite: leave out seeds without a measurement")
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 0 and confidence in (0, 1), got {bootstrap} and {confidence}")
    order = np.lexsort(np.concatenate([g, v], axis=1).T[::-1])
    g, v = g[order], v[order]
    replicas = np.empty((0, t.size))
    if len(g) > 1 and bootstrap:
        replicas = _drawn(np.random.default_rng(seed), v, g, bootstrap)
    values = _ratios(v.sum(0), g.sum(0))
    tail = (1 - confidence) / 2
    return PredictedAxis(tuple(int(x) for x in t), tuple(values.tolist()), tail, replicas)


@dataclass(frozen=True)
class Parting:
    """One comparison of a prediction with a measurement."""

    measured: Interval
    predicted: Interval

    @property
    def ratio(self) -> Interval:
        """Predicted over measured, with the ends that the two intervals allow."""
        m, p = self.measured, self.predicted
        return Interval(_ratio(p.value, m.value), _ratio(p.low, m.high), _ratio(p.high, m.low))

    @property
    def verdict(self) -> str:
        """ "agree" where the ratio's whole interval lies within a factor of three, "part" where none of it does.

        "can't tell" else, or where an interval is missing: the band and the rule of claims X1 and X2. Where no number
        was measured, only a bound, the two may part and can't agree.
        """
        ends = (*self.measured[1:], *self.predicted[1:])
        if any(math.isnan(end) for end in ends) or not math.isfinite(self.predicted.value):
            return CANT_TELL
        found = {PASS: "agree", FAIL: "part"}.get(judge(self.ratio, WITHIN_THREE), CANT_TELL)
        return found if found == "part" or math.isfinite(self.measured.value) else CANT_TELL


def parting(law: RolloutLaw, axis: PredictedAxis, rollout: int, to: int | None = None) -> Parting:
    """Measured and predicted critical number of environments at T, or, with `to`, each relative to that length."""
    if to is None:
        return Parting(law.n_crit(rollout), axis.n_crit(rollout))
    return Parting(law.relative(rollout, to), axis.relative(rollout, to))


def _drawn(rng: np.random.Generator, noise: Floats, signal: Floats, count: int) -> Floats:
    """[count, lengths] ratios of mean moments drawn from a multivariate t around those of the seeds."""
    both = np.concatenate([noise, signal], axis=1)
    seeds, freedom = len(both), len(both) - 1
    apart = (both - both.mean(0)) / math.sqrt(seeds * freedom)
    wide = np.sqrt(freedom / rng.chisquare(freedom, (count, 1)))
    means = both.mean(0) + wide * (rng.standard_normal((count, seeds)) @ apart)
    return _ratios(np.maximum(means[:, : noise.shape[1]], 0.0), means[:, noise.shape[1] :])


def _ratios(noise: Floats, signal: Floats) -> Floats:
    return np.where(signal > 0, noise / np.where(signal > 0, signal, 1.0), math.inf)


def _ratio(above: float, below: float) -> float:
    if math.isnan(above) or math.isnan(below) or (math.isinf(above) and math.isinf(below)):
        return math.nan
    return above / below if below else math.inf
