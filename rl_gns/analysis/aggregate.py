"""Scores over seeds and tasks: interquartile mean and stratified bootstrap intervals.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". It reads
final scores; normalise them first when tasks of different scale are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import Floats


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def iqm(scores: ArrayLike, axis: int | None = None) -> Floats | float:
    """Interquartile mean: the mean without the lowest and the highest ⌊n/4⌋ scores.

    Args:
        scores: any shape, not empty; all entries are pooled unless `axis` is given.
        axis: the axis to average over.

    Raises:
        ValueError: empty, or a score not finite.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError("scores must be finite and not empty")
    x = np.sort(x.reshape(-1), axis=0) if axis is None else np.moveaxis(np.sort(x, axis=axis), axis, 0)
    cut = x.shape[0] // 4
    middle = x[cut : x.shape[0] - cut].mean(0)
    return float(middle) if middle.ndim == 0 else np.asarray(middle)


def bootstrap_interval(
    scores: Mapping[str, ArrayLike] | ArrayLike,
    seed: int = 0,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    statistic: Callable[..., Floats | float] = iqm,
) -> Interval:
    """Percentile interval of a statistic over runs, resampling seeds within each task.

    Args:
        scores: task -> [seeds] scores, tasks may have different numbers of seeds; or [seeds] of a single
            task.
        seed: same scores and seed give the same bytes; the order of tasks and of seeds does not matter.
        bootstrap: replicas, >= 1.
        confidence: of the interval.
        statistic: of pooled scores; called as statistic(x) and statistic(x, axis=1).

    Raises:
        ValueError: no task, a task without a score, a score not finite, bad settings. One seed per task gives
            an interval of no width: that is what one seed knows of other seeds, so it is refused too.
    """
    tasks = scores if isinstance(scores, Mapping) else {"": scores}
    if bootstrap < 1 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 1 and confidence in (0, 1), got {bootstrap} and {confidence}")
    if not tasks:
        raise ValueError("no task to aggregate")
    rng = np.random.default_rng(seed)
    pooled, drawn = [], []
    for name in sorted(tasks):
        x = np.sort(np.asarray(tasks[name], dtype=np.float64))
        if x.ndim != 1 or not np.isfinite(x).all():
            raise ValueError(f"scores of task '{name}' must be a list of finite numbers")
        if x.size < 2:
            raise ValueError(f"task '{name}' has {x.size} score(s): an interval over seeds needs at least 2")
        pooled.append(x)
        drawn.append(x[rng.integers(0, x.size, (bootstrap, x.size))])
    values = np.asarray(statistic(np.concatenate(drawn, axis=1), axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(statistic(np.concatenate(pooled))), float(low), float(high))
