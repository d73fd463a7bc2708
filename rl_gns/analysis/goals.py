"""When did a run reach a goal: exponential smoothing of finished games, and first crossings.

It reads two columns of numbers; it must not know what the game is or how the run was trained.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BLOCK_HALFLIVES = 500.0  # 2^500 squared still fits a double


def smooth(observations: ArrayLike, score: ArrayLike, halflife: float, centred: bool = False) -> Floats:
    """Exponentially weighted mean of finished games, with a half-life in observations.

        trailing   m_i = Σ_{j≤i} w_ij s_j / Σ_{j≤i} w_ij,   w_ij = 2^(-(x_i - x_j) / halflife)
        centred    m_i = Σ_j w_ij s_j / Σ_j w_ij,           w_ij = 2^(-2 |x_i - x_j| / halflife)

    The quotient removes the start-up bias. Games that ended at the same count are taken together, so their
    order does not matter. A trailing mean is of games half-life / ln 2 old, and late by as much where the score
    rises steadily. A centred one is not late, and as smooth: half the half-life to both sides leaves Σ w² / (Σ w)²,
    hence its variance, what it was. It needs what came after, so no run can be stopped by it; at either end it is
    cut in half, and mirrored in time it is the same.

    Args:
        observations: [n] count at which each game ended, ascending; equal counts are allowed.
        score: [n] its score.
        halflife: observations after which a game counts half in a trailing mean, > 0.
        centred: whether to average over both sides.

    Returns:
        [n] smoothed score at each game.

    Raises:
        ValueError: lengths differ, observations not ascending, a value not finite, halflife not positive.
    """
    x, s = _checked(observations, score, halflife)
    if not centred:
        numerators, denominators = _sums(x, s, halflife)
        return numerators / denominators
    until, after = _sums(x, s, halflife / 2), _sums(-x[::-1], s[::-1], halflife / 2)
    _, group = np.unique(x, return_inverse=True)
    twice = np.bincount(group, s)[group], np.bincount(group)[group]  # games of the same count, of both
    numerators, denominators = (a + b[::-1] - both for a, b, both in zip(until, after, twice, strict=True))
    return np.asarray(numerators / denominators)


def _sums(x: Floats, s: Floats, halflife: float) -> tuple[Floats, Floats]:
    """Σ w_ij s_j and Σ w_ij over x_j ≤ x_i with w_ij = 2^(-(x_i - x_j) / halflife), two arrays [n]; x ascending."""
    numerators, denominators = np.empty_like(s), np.empty_like(s)
    numerator = denominator = last = 0.0
    for start, stop in _blocks(x, halflife):
        age = (x[start:stop] - x[start]) / halflife
        carried = 2.0 ** (-(x[start] - last) / halflife) if start else 0.0
        weight = 2.0**age
        numerators[start:stop] = (numerator * carried + np.cumsum(weight * s[start:stop])) / weight
        denominators[start:stop] = (denominator * carried + np.cumsum(weight)) / weight
        numerator, denominator, last = (
            float(numerators[stop - 1]),
            float(denominators[stop - 1]),
            float(x[stop - 1]),
        )
    last_of_ties = np.searchsorted(x, x, side="right") - 1
    return numerators[last_of_ties], denominators[last_of_ties]


def first_crossing(observations: ArrayLike, score: ArrayLike, goal: float, halflife: float) -> float | None:
    """Observation count at which the smoothed score first reaches `goal`.

    Linear interpolation between the game that reaches it and the one before (McCandlish et al. 2018, A.3:
    reaching a goal is the smoothed metric crossing it). Smoothing runs in observations, never in updates, so
    that runs at different batch sizes compare.

    Args:
        observations: [n] count at which each game ended, ascending; n = 0 means no game finished yet.
        score: [n] its score.
        goal: score to reach.
        halflife: smoothing half-life in observations, > 0.

    Returns:
        Observations, or None when the goal was not reached.

    Raises:
        ValueError: as `smooth`; goal not finite.
    """
    smoothed = smooth(observations, score, halflife)
    return crossing_of(np.asarray(observations, dtype=np.float64), smoothed, goal)


def crossing_of(x: Floats, smoothed: Floats, goal: float) -> float | None:
    """First x at which `smoothed` reaches `goal`, both [n] as `smooth` takes and gives them."""
    if not np.isfinite(goal):
        raise ValueError(f"goal must be a finite score, got {goal}")
    reached = np.flatnonzero(smoothed >= goal)
    if reached.size == 0:
        return None
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    share = (goal - smoothed[i - 1]) / (smoothed[i] - smoothed[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


def _blocks(x: Floats, halflife: float) -> list[tuple[int, int]]:
    """Slices short enough for 2^(x / halflife) to be written down."""
    if x.size == 0:
        return []
    block = np.floor((x - x[0]) / (halflife * _BLOCK_HALFLIVES))
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), x.size]
    return list(pairwise(edges))


def _checked(observations: ArrayLike, score: ArrayLike, halflife: float) -> tuple[Floats, Floats]:
    x = np.asarray(observations, dtype=np.float64)
    s = np.asarray(score, dtype=np.float64)
    if x.ndim != 1 or x.shape != s.shape:
        raise ValueError(
            f"observations and score must be two lists of one length, got shapes {x.shape} and {s.shape}"
        )
    if not (np.isfinite(halflife) and halflife > 0):
        raise ValueError(f"halflife must be a positive number of observations, got {halflife}")
    if not np.isfinite(x).all():
        raise ValueError(f"observations must be finite; entry {int(np.argmin(np.isfinite(x)))} is not")
    if not np.isfinite(s).all():
        raise ValueError(
            f"score must be finite; entry {int(np.argmin(np.isfinite(s)))} is not: drop unfinished games"
        )
    if (np.diff(x) < 0).any():
        raise ValueError(
            f"observations must ascend; entry {int(np.argmax(np.diff(x) < 0)) + 1} is below the one before"
        )
    return x, s
