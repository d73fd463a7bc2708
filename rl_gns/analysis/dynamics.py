"""A run as the theory sees it: the noise scale along noise-free steps, and what fixed and adaptive batches
cost.

Source: McCandlish et al. 2018, D.1. A run is cut into pieces; piece i takes Δs_i steps at unlimited batch and
has noise scale N_i. Pure arithmetic; it knows no table and no run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import Floats


class Cost(NamedTuple):
    """What a run takes to its goal."""

    updates: float
    observations: float


def fixed_batch(noise_scale: ArrayLike, steps: ArrayLike, batch: float) -> Cost:
    """S = ∫ (1 + N/B) ds, E = ∫ (N + B) ds at one batch size B.

    So S_min = ∫ ds and E_min = ∫ N ds, and the hyperbola (S/S_min - 1)(E/E_min - 1) = 1 holds whatever N(s)
    is.

    Args:
        noise_scale: [n] N in observations, >= 0.
        steps: [n] Δs, > 0.
        batch: B in observations, > 0.

    Raises:
        ValueError: lengths differ, empty, or a value out of range.
    """
    n, ds = _pieces(noise_scale, steps)
    _positive(batch, "batch")
    return Cost(float(((1 + n / batch) * ds).sum()), float(((n + batch) * ds).sum()))


def adaptive_batch(noise_scale: ArrayLike, steps: ArrayLike, exchange: float) -> Cost:
    """S = S_min + ∫ √N ds / √r, E = E_min + √r ∫ √N ds with the batch B(s) = √(r N(s)).

    r is the exchange rate: observations spent per update saved, the same all along the run.

    Args:
        noise_scale: [n] N in observations, >= 0.
        steps: [n] Δs, > 0.
        exchange: r in observations per update, > 0.

    Raises:
        ValueError: lengths differ, empty, or a value out of range.
    """
    n, ds = _pieces(noise_scale, steps)
    _positive(exchange, "exchange")
    root = float((np.sqrt(n) * ds).sum())
    return Cost(
        float(ds.sum()) + root / math.sqrt(exchange), float((n * ds).sum()) + root * math.sqrt(exchange)
    )


def gamma(noise_scale: ArrayLike, steps: ArrayLike) -> float:
    """γ = (∫ √N ds)² / (S_min E_min) = 1 / (1 + var √N / mean(√N)²), in (0, 1].

    Adaptive batches lie on (S/S_min - 1)(E/E_min - 1) = γ: at equal observations they save the share 1 - γ of
    the updates above S_min. 1 when the noise scale never changes; N = 10 √s gives 24/25.

    Args:
        noise_scale: [n] N in observations, >= 0, not all 0.
        steps: [n] Δs, > 0.

    Raises:
        ValueError: lengths differ, empty, or a value out of range.
    """
    n, ds = _pieces(noise_scale, steps)
    e_min = float((n * ds).sum())
    if e_min == 0:
        raise ValueError("noise_scale is 0 everywhere: gamma is not defined")
    return float((np.sqrt(n) * ds).sum()) ** 2 / (float(ds.sum()) * e_min)


def turning_point(gamma: float) -> float:
    """1 + √γ: S/S_min and E/E_min of the adaptive run at the natural exchange rate r = E_min/S_min.

    2 when γ = 1, the fixed batch B = B_crit.

    Raises:
        ValueError: gamma outside (0, 1].
    """
    if not 0 < gamma <= 1 + 1e-12:
        raise ValueError(f"gamma must be in (0, 1], got {gamma}")
    return 1 + math.sqrt(gamma)


def local_noise_scale(s_min: ArrayLike, e_min: ArrayLike, skip: bool = False) -> tuple[Floats, Floats]:
    """Noise scale between successive goals of one task, N = ΔE_min/ΔS_min, from the goals' fronts.

    The run starts at S = E = 0, so the first value is B_crit of the first goal.
    `gamma(*local_noise_scale(...))` is an upper bound of the run's γ: finer goals can only lower it.

    Args:
        s_min: [goals] updates, > 0, ascending with the goal.
        e_min: [goals] observations, > 0, ascending with the goal.
        skip: leave out goals that do not take longer than the last one kept, as noisy fronts may have.

    Returns:
        N in observations and ΔS_min in updates, one per goal kept, ready for the other functions here.

    Raises:
        ValueError: lengths differ, empty, not finite and positive, or, unless `skip`, a goal that does not
            take longer than the one before.
    """
    s, e = np.asarray(s_min, dtype=np.float64), np.asarray(e_min, dtype=np.float64)
    if s.ndim != 1 or s.shape != e.shape or s.size == 0:
        raise ValueError(
            f"s_min and e_min must be lists of one length, not empty, got shapes {s.shape} and {e.shape}"
        )
    if not all(np.isfinite(v).all() and (v > 0).all() for v in (s, e)):
        raise ValueError("s_min and e_min must be finite and positive: leave out goals without a front")
    kept = [(0.0, 0.0)]
    for goal, (updates, observations) in enumerate(zip(s.tolist(), e.tolist(), strict=True)):
        if updates > kept[-1][0] and observations > kept[-1][1]:
            kept.append((updates, observations))
        elif not skip:
            raise ValueError(f"s_min and e_min must grow with the goal; entry {goal} does not: use skip=True")
    ds, de = np.diff(np.array(kept), axis=0).T
    return de / ds, ds


def _pieces(noise_scale: ArrayLike, steps: ArrayLike) -> tuple[Floats, Floats]:
    n, ds = np.asarray(noise_scale, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    if n.ndim != 1 or n.shape != ds.shape or n.size == 0:
        raise ValueError(
            f"noise_scale and steps must be lists of one length, got shapes {n.shape} and {ds.shape}"
        )
    if not (np.isfinite(n).all() and (n >= 0).all()):
        raise ValueError("noise_scale must be finite and not negative")
    if not (np.isfinite(ds).all() and (ds > 0).all()):
        raise ValueError("steps must be finite and positive")
    return n, ds


def _positive(value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and positive, got {value}")
