"""The learning-rate law of a batch-size sweep: best learning rate against batch size.

It reads the best rate per batch size; it must not know how the rates were searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rl_gns.analysis._profile import (
    RESOLUTION,
    Floats,
    Points,
    aic,
    interval,
    minimise,
    rejects,
    widened_tail,
)
from rl_gns.analysis.fronts import check_resolution, checked_points

EXPONENT_BOUNDS = (0.25, 1.25)
"""Least and greatest a that are searched."""


@dataclass(frozen=True)
class LearningRateLaw:
    """ε(B) = ε* / (1 + B*/B)^a (McCandlish et al. 2018, A.2 and E.2). None: the points can't tell."""

    rate: float | None
    """ε*, the learning rate at unlimited batch."""
    batch: float | None
    """B*, in observations: where the best rate stops growing."""
    batch_low: float | None
    """Lower end of its interval; None: no lower bound. Kept when `batch` is None, where there is one."""
    batch_high: float | None
    """Upper end of its interval; None: no upper bound."""
    exponent: float | None
    """a; at an end of its bounds when the points ask for more."""
    exponent_low: float | None
    """Lower end of its interval; None without bootstrap."""
    exponent_high: float | None
    """Upper end of its interval; None without bootstrap."""
    rms_log_residual: float
    """Root of the mean squared residual of ln ε."""
    log_curve: tuple[float, float, float]
    """(ln ε*, ln B*, a) of the least-squares curve, given even where the three can't be told apart."""
    note: str = ""
    """Why something is None; empty when nothing is."""

    def at(self, batch: ArrayLike) -> Floats:
        """Learning rate of the least-squares curve at `batch` observations, same shape.

        Beyond the batch sizes fitted it is an extrapolation, and an arbitrary one where `batch` is None.
        """
        log_rate, log_batch, exponent = self.log_curve
        log_b = np.log(np.asarray(batch, dtype=np.float64))
        return np.asarray(np.exp(log_rate - exponent * np.logaddexp(0.0, log_batch - log_b)))


def fit_learning_rates(
    batch: ArrayLike,
    rate: ArrayLike,
    seed: int = 0,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    exponent_bounds: tuple[float, float] = EXPONENT_BOUNDS,
    resolution: float = RESOLUTION,
) -> LearningRateLaw:
    """Fit ln ε = ln ε* - a ln(1 + B*/B) by least squares over the best rate of each batch size.

    The paper expects a = 1 for SGD and 0.5 < a < 1 for Adam and RMSProp; B* a little below the noise scale.
    B* is not determined (None, with the bound there is) when a constant rate or a plain power of B explains
    the points as well, by the rule of `fit_front`. The interval of B* is that of `fit_front`; the interval of
    a is percentiles of the resampled fits at tails widened from normal to Student's t.

    Args:
        batch: [n] observations per update, > 0; several entries of one batch size are seeds.
        rate: [n] best learning rate, > 0.
        seed: of the bootstrap. Same points in any order and same seed give the same bytes.
        bootstrap: replicas; 0 skips them.
        confidence: of the intervals.
        exponent_bounds: least and greatest a; equal values fix it.
        resolution: least standard deviation of ln ε, > 0. Of rates from a grid of factor f give ln f / √12: equal
            rates of all seeds promise no exactness there.

    Raises:
        ValueError: bad points as in `fit_front`; fewer batch sizes than parameters; bounds not 0 < low <=
            high; resolution not positive.
    """
    check_resolution(resolution)
    low, high = exponent_bounds
    if not 0 < low <= high < math.inf:
        raise ValueError(f"exponent_bounds must be 0 < low <= high, got {low} and {high}")
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 0 and confidence in (0, 1), got {bootstrap} and {confidence}")
    b, r, _ = checked_points(batch, rate, name="rate")
    points = Points(b, np.log(r), (-high, -low), resolution=resolution)
    sizes = np.unique(b).size
    if sizes < points.parameters:
        raise ValueError(
            f"{points.parameters} parameters need as many batch sizes, got {sizes}: sweep more of them"
        )

    log_b = minimise(points)
    best = points.at(log_b)
    log_rate, a = float(best.intercept[0]), -float(best.slope[0])
    rng = np.random.default_rng(seed)
    log_low, log_high, slopes = interval(points, log_b, rng, bootstrap, confidence)
    tail = widened_tail(confidence, b.size - points.parameters)
    a_low, a_high = _ends(-slopes, tail, a)

    least, power = float(best.objective[0]), float(points.steep().objective[0])
    flat = float(np.square(points.log_y - points.log_y.mean()).sum())
    aic_law, aic_power = (
        aic(value, b.size, count, resolution)
        for value, count in ((least, points.parameters), (power, points.parameters - 1))
    )
    aic_flat = aic(flat, b.size, 1, resolution)
    is_flat = aic_flat <= aic_power
    limit, dropped = (flat, points.parameters - 1) if is_flat else (power, 1)
    tested = (points.log_y, points.cells, points.parameters)
    beyond = not b[0] <= math.exp(log_b) <= b[-1]
    rate_out: float | None = math.exp(log_rate)
    batch_out: float | None = math.exp(log_b)
    exponent_out: float | None = a
    note = ""
    if min(aic_flat, aic_power) <= aic_law or (
        beyond and not rejects(*tested, least, limit, dropped, confidence, resolution)
    ):
        batch_out = None
        if is_flat:
            rate_out, exponent_out = math.exp(float(points.log_y.mean())), None
            log_low = a_low = a_high = None
            note = (
                "the best rate does not depend on the batch: B* is below all of them; try smaller ones"
                if log_high is not None and log_high < math.log(b[0])
                else "the best rate can't be told from one that does not depend on the batch"
            )
        else:
            rate_out, log_high, exponent_out = None, None, -float(points.steep().slope[0])
            a_low, a_high = _ends(-slopes, tail, exponent_out)
            note = (
                "the best rate is a plain power of the batch size: B* is above the batches; try larger ones"
                if log_low is not None and log_low > math.log(b[-1])
                else "the best rate can't be told from a plain power of the batch size"
            )
    elif log_low is None or log_high is None:
        side = "lower" if log_high is not None else "upper" if log_low is not None else "lower or upper"
        note = f"the points give no {side} bound of B*"
    return LearningRateLaw(
        rate_out,
        batch_out,
        None if log_low is None else math.exp(log_low),
        None if log_high is None else math.exp(log_high),
        exponent_out,
        a_low,
        a_high,
        math.sqrt(float(best.objective[0]) / b.size),
        (log_rate, log_b, a),
        note,
    )


def _ends(values: Floats, tail: float, estimate: float) -> tuple[float | None, float | None]:
    if not values.size:
        return None, None
    low, high = np.quantile(values, [tail, 1 - tail])
    return min(float(low), estimate), max(float(high), estimate)
