"""Averages over seeds: the mean of logarithms with Student's t interval. It reads numbers only."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import ttest_ind

from rl_gns.analysis import Interval

UNKNOWN = Interval(math.nan, math.nan, math.nan)
LEAST = 3
"""Degrees of freedom; Student's t of one or two is a factor of 12.7 or 4.3."""


def over_seeds(values: pd.Series, strata: pd.Series | None = None, confidence: float = 0.95) -> Interval:
    """exp of the mean of ln `values`, and its interval by Student's t: geometric mean, and how far seeds may move it.

        mean ± t(freedom) √(D / n)

    D is the larger of two mean squares, of seeds within their stratum and of strata around the mean, with the degrees
    of freedom of the one taken. Where either has fewer than three, as one pair of seeds would be all that is known, it
    is the variance of all values. Percentiles of a bootstrap, of
    two or three seeds, hold the truth in 50 and 74 % of cases instead of 95.

    Args:
        values: positive numbers; what is NaN or not positive is unknown and left out.
        strata: what each value's seed is a seed of, e.g. its environment count; None: all are seeds of one thing.
        confidence: of the interval.

    Returns:
        NaN ends with one known value.
    """
    known = values[values > 0]
    if known.empty:
        return UNKNOWN
    logs = np.log(known.to_numpy(dtype=float))
    mean, n = float(logs.mean()), logs.size
    if n == 1:
        return Interval(math.exp(mean), math.nan, math.nan)
    groups = np.zeros(n, dtype=int) if strata is None else pd.factorize(strata.loc[known.index])[0]
    spread, freedom = _spread(logs, groups)
    far = float(stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(spread / n)
    return Interval(math.exp(mean), math.exp(mean - far), math.exp(mean + far))


def ratio_of(values: pd.Series, others: pd.Series, confidence: float = 0.95) -> Interval:
    """Geometric mean of `values` over that of `others`, independent seeds of two things, with Welch's t interval.

    Args:
        values: positive numbers, at least one.
        others: the same.
        confidence: of the interval.

    Returns:
        NaN ends where either has one value only.
    """
    one, other = (np.log(some.to_numpy(dtype=float)) for some in (values, others))
    ratio = math.exp(one.mean() - other.mean())
    if min(one.size, other.size) < 2:
        return Interval(ratio, math.nan, math.nan)
    if one.std() == 0 and other.std() == 0:  # seeds that agree to the digit: Welch's t divides by nothing
        return Interval(ratio, ratio, ratio)
    ends = ttest_ind(one, other, equal_var=False).confidence_interval(confidence)
    return Interval(ratio, math.exp(ends.low), math.exp(ends.high))


def _spread(logs: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Variance of one value, and its degrees of freedom."""
    counts = np.bincount(groups)
    n, k = logs.size, counts.size
    if n - k < LEAST or k - 1 < LEAST:
        return float(logs.var(ddof=1)), n - 1
    means = np.bincount(groups, logs) / counts
    within = float(((logs - means[groups]) ** 2).sum()) / (n - k)
    between = float((counts * (means - logs.mean()) ** 2).sum()) / (k - 1)
    return (between, k - 1) if between > within else (within, n - k)
