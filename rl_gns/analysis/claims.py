"""A claim, the band it is held against, and the verdict: pass, fail, or can't tell. It reads numbers only.

A verdict needs an interval. It is pass where the whole interval lies within the band, fail where none of it does, and
"can't tell" in between or without an interval. Quantities made of several estimates carry draws: the same seeded
normal deviates pushed through each estimate's own interval, so that any function of them has an interval too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import beta, chi2, norm
from scipy.stats import t as t_distribution

from rl_gns.analysis._profile import Floats
from rl_gns.analysis.aggregate import Interval

DRAWS = 4000
PASS, FAIL, CANT_TELL = "pass", "fail", "can't tell"


@dataclass(frozen=True)
class Band:
    """Where a claim's number must lie; an infinite end is no bound."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"≤ {self._end(self.high)}"
        low = self._end(self.low)
        return f"≥ {low}" if math.isinf(self.high) else f"{low} to {self._end(self.high)}"

    @staticmethod
    def _end(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


WITHIN_THREE = Band(1 / 3, 3)
"""Of a ratio of two things that should be equal."""


def judge(interval: Interval, band: Band) -> str:
    """The verdict on a number known to `interval`; a NaN end is unknown, an infinite one no bound."""
    low, high = interval.low, interval.high
    if math.isnan(low) and math.isnan(high):
        return CANT_TELL
    low, high = (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)
    if low >= band.low and high <= band.high:
        return PASS
    return FAIL if low > band.high or high < band.low else CANT_TELL


@dataclass(frozen=True)
class Claim:
    """One row of the table."""

    code: str
    """As P2 or N5: the letter says of what (P fronts, N noise, L learning rate, F tasks, A adaptive, X new axis)."""
    says: str
    scope: str
    """The study, or many games together."""
    band: str
    measured: Interval
    verdict: str
    why: str = ""
    """Why it can't be told, or what the number rests on."""
    runs: tuple[str, ...] = field(default=(), repr=False)
    """Ids, as STUDY/ID."""
    where: str = ""
    """Of what part of the scope it speaks, as "at goal 300"; empty where it speaks of all."""

    def because(self, why: str) -> Claim:
        """The same, not to be told, for a reason that no interval shows."""
        return replace(self, verdict=CANT_TELL, why=why)


def claim(
    code: str,
    says: str,
    scope: str,
    band: Band,
    measured: Interval,
    why: str = "",
    runs: Iterable[str] = (),
    where: str = "",
) -> Claim:
    """A claim judged by its interval; `why` is said whatever the verdict."""
    verdict = judge(measured, band)
    if verdict == CANT_TELL:
        none = math.isnan(measured.low) and math.isnan(measured.high)
        reason = "there is no interval" if none else "the interval straddles the band"
        why = f"{reason}; {why}" if why else reason
    return Claim(code, says, scope, str(band), measured, verdict, why, tuple(dict.fromkeys(runs)), where)


def unknown(code: str, says: str, scope: str, band: Band | str, why: str, runs: Iterable[str] = ()) -> Claim:
    """A claim without a number."""
    nothing = Interval(math.nan, math.nan, math.nan)
    return Claim(code, says, scope, str(band), nothing, CANT_TELL, why, tuple(dict.fromkeys(runs)))


@dataclass(frozen=True)
class Draws:
    """An estimate and [draws] values it may have."""

    value: float
    replicas: Floats = field(repr=False)

    @property
    def interval(self) -> Interval:
        """With its central 95 %; NaN ends where the replicas are unknown."""
        if np.isnan(self.replicas).any():
            return Interval(self.value, math.nan, math.nan)
        low, high = np.quantile(self.replicas, [0.025, 0.975], method="closest_observation")
        return Interval(self.value, float(low), float(high))


def deviates(seed: int, name: str) -> Floats:
    """[draws] standard normal deviates of one source of chance; `name` keeps the sources apart."""
    return np.random.default_rng([seed, *name.encode()]).standard_normal(DRAWS)


def of_interval(value: float, low: float | None, high: float | None, z: Floats) -> Draws:
    """A positive estimate whose logarithm spreads as its 95 % interval says, each side on its own.

    An end that is None is open: that half of the draws is 0 or ∞. NaN ends make all draws NaN. An estimate of ∞ with a
    lower end, or of 0 with an upper one, has a half of its draws there; in the other 1/x or x spreads as a normal's.
    """
    if value in (0.0, math.inf):
        end = low if value else high
        if end is None or not 0 < end < math.inf:
            return Draws(value, np.full(z.size, math.nan))
        with np.errstate(divide="ignore"):
            far = np.maximum(-z if value else z, 0) / norm.ppf(0.975)
            return Draws(value, end / far if value else end * far)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = math.inf if low is None or low <= 0 else math.log(value / low) / norm.ppf(0.975)
        up = math.inf if high is None or math.isinf(high) else math.log(high / value) / norm.ppf(0.975)
        return Draws(value, np.exp(math.log(value) + np.where(z > 0, z * up, z * down)))


def of_residual(rms: float, points: int, parameters: int, z: Floats) -> Draws:
    """A root-mean-square residual: its square spreads as χ² with points - parameters degrees of freedom."""
    freedom = points - parameters
    if freedom < 1:
        return Draws(rms, np.full(z.size, math.nan))
    return Draws(rms, rms * np.sqrt(freedom / chi2.ppf(norm.cdf(-z), freedom)))


def of_contrast(log_value: float, sd: float, counts: Sequence[int], freedom: int, z: Floats) -> Draws:
    """exp of a difference of means over `counts` points each, of standard deviation `sd` in the logarithm."""
    if freedom < 1:
        return Draws(math.exp(log_value), np.full(z.size, math.nan))
    error = sd * math.sqrt(sum(1 / count for count in counts))
    with np.errstate(over="ignore"):  # a front of hardly more points than unknowns: an infinite draw is right
        return Draws(
            math.exp(log_value), np.exp(log_value + error * t_distribution.ppf(norm.cdf(z), freedom))
        )


def of_slope(x: Floats, y: Floats, z: Floats) -> Draws:
    """exp of the slope of the line through (x, y), by ordinary least squares; NaN draws with two points."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    freedom = x.size - 2
    if freedom < 1:
        return Draws(math.exp(slope), np.full(z.size, math.nan))
    rest = y - y.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / freedom / float(centred @ centred))
    with np.errstate(over="ignore"):  # three points: an infinite draw is right
        return Draws(math.exp(slope), np.exp(slope + error * t_distribution.ppf(norm.cdf(z), freedom)))


def combined(parts: Sequence[Draws], function: Callable[..., Any]) -> Draws:
    """`function(values [parts, …], axis=0)` of several estimates, e.g. np.median."""
    values = np.array([part.value for part in parts])
    return Draws(float(function(values, axis=0)), function(np.stack([p.replicas for p in parts]), axis=0))


def over_tasks(
    tasks: Sequence[Sequence[float]], function: Callable[..., Any], rng: np.random.Generator
) -> Interval:
    """`function` of all tasks' numbers together, and its 95 % interval over tasks.

    By Student's t of the logarithms of each task's own, as numbers of one task share its runs; where one is not
    positive, by whole tasks drawn with replacement, whose percentiles are too narrow with few. What each number is
    known to is not added: it shows in how far the tasks scatter.
    """
    values = function(np.concatenate([np.asarray(task) for task in tasks]), axis=0)
    own = np.array([float(function(np.asarray(task), axis=0)) for task in tasks])
    if len(tasks) > 1 and (own > 0).all() and values > 0:
        far = float(
            t_distribution.ppf(0.975, len(tasks) - 1) * np.log(own).std(ddof=1) / math.sqrt(len(tasks))
        )
        return Interval(float(values), float(values * math.exp(-far)), float(values * math.exp(far)))
    drawn = rng.integers(0, len(tasks), (1000, len(tasks)))
    found = [function(np.concatenate([np.asarray(tasks[i]) for i in row]), axis=0) for row in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(values), float(low), float(high))


def ratio(above: Draws, below: Draws) -> Draws:
    """Quotient of two estimates."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return Draws(above.value / below.value, above.replicas / below.replicas)


def share(hits: int, of: int) -> Interval:
    """A share with Jeffreys' 95 % interval, as Brown, Cai & DasGupta (2001) recommend for small counts."""
    if not of:
        return Interval(math.nan, math.nan, math.nan)
    low = float(beta.ppf(0.025, hits + 0.5, of - hits + 0.5)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 0.5, of - hits + 0.5)) if hits < of else 1.0
    return Interval(hits / of, low, high)
