"""Put the noise scale of one run beside its goals: at equal score, and averaged over the steps up to it.

It reads one run's metrics table; it must not know where the table is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import Floats
from rl_gns.analysis.goals import crossing_of, smooth


def noise_scale_at_goals(
    metrics: pd.DataFrame, goals: Sequence[float], halflife: float, start_score: float | None = None
) -> pd.DataFrame:
    """Noise scale of a run where its smoothed score first reaches each goal, and its mean over the steps
    until then.

    The local value is interpolated in ln B_simple between the known rows on both sides; it is NaN when no
    known row lies within `halflife` of the goal. Theory compares B_crit with the mean, not with the local
    value: B_crit is a running average over steps (McCandlish et al. 2018, D.1 and A.3).

    Args:
        metrics: columns observations (ascending), score (NaN where no game finished), noise_scale
            (observations; NaN where unknown) and, if there, update. Without it observations weigh the rows:
            the same at a fixed batch.
        goals: scores.
        halflife: of the score's smoothing, in observations.
        start_score: leave out everything before the smoothed score first reaches this one, such as a random
            policy's: before any reward is found the noise scale is huge and means nothing.

    Returns:
        One row per goal: goal, observations (NaN when not reached), noise_scale, mean_noise_scale (NaN when
        nothing is known) and known_share, the share of steps in that mean whose noise scale was known.
        Unknown stretches are mostly those of large noise scale, so a low share means that the mean is too
        low.

    Raises:
        ValueError: a column is missing, observations do not ascend, halflife not positive.
    """
    x = _column(metrics, "observations")
    score, noise_scale = _column(metrics, "score"), _column(metrics, "noise_scale")
    counter = _column(metrics, "update") if "update" in metrics.columns else x
    if not np.isfinite(x).all() or (np.diff(x) < 0).any():
        raise ValueError("metrics column 'observations' must be finite and ascend")
    played = np.isfinite(score)
    games, smoothed = x[played], smooth(x[played], score[played], halflife)
    steps = np.diff(counter, prepend=0.0)
    known = np.isfinite(noise_scale) & (noise_scale > 0)
    start = -np.inf if start_score is None else crossing_of(games, smoothed, start_score)
    rows = []
    for goal in goals:
        at = crossing_of(games, smoothed, goal)
        row = dict.fromkeys(("observations", "noise_scale", "mean_noise_scale", "known_share"), np.nan)
        if at is not None:
            row["observations"] = at
            if known.any() and np.abs(x[known] - at).min() <= halflife:
                row["noise_scale"] = float(np.exp(np.interp(at, x[known], np.log(noise_scale[known]))))
            span = np.zeros(x.size, dtype=bool) if start is None else (x > start) & (x <= at)
            total, seen = steps[span].sum(), span & known & (steps > 0)
            if total > 0:
                row["known_share"] = float(steps[seen].sum() / total)
            if seen.any():
                row["mean_noise_scale"] = step_weighted_mean(noise_scale[seen], steps[seen])
        rows.append({"goal": float(goal), **row})
    return pd.DataFrame(
        rows, columns=["goal", "observations", "noise_scale", "mean_noise_scale", "known_share"]
    )


def step_weighted_mean(noise_scale: ArrayLike, updates: ArrayLike, batch: float | None = None) -> float:
    """Mean of the noise scale over optimization steps.

    Σ N du / Σ du, the paper's average; with `batch`, Σ N ds / Σ ds over noise-free steps ds = du / (1 + N/B),
    which is what B_crit averages when N is the true noise scale (McCandlish et al. 2018, D.1).

    Args:
        noise_scale: [n] N in observations, > 0.
        updates: [n] updates each value stands for, > 0.
        batch: batch size of the run in observations, > 0.

    Raises:
        ValueError: lengths differ, empty, or a value not positive.
    """
    n, du = np.asarray(noise_scale, dtype=np.float64), np.asarray(updates, dtype=np.float64)
    if n.ndim != 1 or n.shape != du.shape or n.size == 0:
        raise ValueError(
            f"noise_scale and updates must be lists of one length, got shapes {n.shape} and {du.shape}"
        )
    if not all(
        np.isfinite(v).all() and (v > 0).all() for v in (n, du, np.asarray(1.0 if batch is None else batch))
    ):
        raise ValueError("noise_scale, updates and batch must be finite and positive: drop the unknown rows")
    weight = du if batch is None else du / (1 + n / batch)
    return float((weight * n).sum() / weight.sum())


def smoothed_noise_scale(metrics: pd.DataFrame, halflife: float, unit_observations: float) -> Floats:
    """B_simple = T · (smoothed noise) / (smoothed signal) from a run's raw moments, with another half-life.

    The parts are smoothed and then divided, never the other way round (McCandlish et al. 2018, A.1).

    Args:
        metrics: columns observations (ascending), signal, noise (of one unit; NaN where not measured).
        halflife: in observations.
        unit_observations: T, observations of one unit.

    Returns:
        [rows] observations; NaN where the smoothed signal or noise is not positive (unknown) and where nothing was
        measured.

    Raises:
        ValueError: a column is missing, observations do not ascend, halflife or unit_observations not
            positive.
    """
    if not (np.isfinite(unit_observations) and unit_observations > 0):
        raise ValueError(f"unit_observations must be positive, got {unit_observations}")
    x, signal, noise = (_column(metrics, name) for name in ("observations", "signal", "noise"))
    measured = np.isfinite(signal) & np.isfinite(noise)
    s, n = (smooth(x[measured], part[measured], halflife) for part in (signal, noise))
    result = np.full(x.size, np.nan)
    known = (s > 0) & (n > 0)
    result[measured] = np.where(known, unit_observations * n / np.where(known, s, 1.0), np.nan)
    return result


def _column(metrics: pd.DataFrame, name: str) -> Floats:
    if name not in metrics.columns:
        raise ValueError(f"metrics have no column '{name}': they have {', '.join(map(str, metrics.columns))}")
    return np.asarray(metrics[name], dtype=np.float64)
