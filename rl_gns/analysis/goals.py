"""When did a run reach a goal: exponential smoothing of finished games, and first crossings.

It reads two columns of numbers; it must not know what the game is or how the run was trained.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BLOCK_HALFLIVES = 500.0  # 2^500 squared still fits a double


def smooth(observations: ArrayLike, score: ArrayLike, halflife: float) -> Floats:
    """Exponentially weighted mean of the games finished so far, with a half-life in observations.

        m_i = Σ_{j≤i} w_ij s_j / Σ_{j≤i} w_ij,   w_ij = 2^(-(x_i - x_j) / halflife)

    The quotient removes the start-up bias. Games that ended at the same count are taken together, so their
    order does not matter.

    Args:
        observations: [n] count at which each game ended, ascending; equal counts are allowed.
        score: [n] its score.
        halflife: observations after which a game counts half, > 0.

    Returns:
        [n] smoothed score at each game.

    Raises:
        ValueError: lengths differ, observations not ascending, a value not finite, halflife not positive.
    """
    x, s = _checked(observations, score, halflife)
    smoothed = np.empty_like(s)
    numerator = denominator = last = 0.0
    for start, stop in _blocks(x, halflife):
        age = (x[start:stop] - x[start]) / halflife
        carried = 2.0 ** (-(x[start] - last) / halflife) if start else 0.0
        weight = 2.0**age
        numerators = (numerator * carried + np.cumsum(weight * s[start:stop])) / weight
        denominators = (denominator * carried + np.cumsum(weight)) / weight
        smoothed[start:stop] = numerators / denominators
        numerator, denominator, last = float(numerators[-1]), float(denominators[-1]), float(x[stop - 1])
    last_of_ties = np.searchsorted(x, x, side="right") - 1
    return smoothed[last_of_ties]


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
