"""Fit a front: how many updates a goal takes at each batch size, and the critical batch that follows.

It reads numbers; it must not know how the runs were trained or which learning rate won.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from rl_gns.analysis._profile import (
    RESOLUTION,
    Fit,
    Floats,
    Points,
    aic,
    interval,
    interval_at_small_batch,
    minimise,
    rejects,
)

TOLD = 2.0
"""Of AIC: by how much less one law's must be for it to be told to be the better one (Burnham & Anderson 2002)."""


@dataclass(frozen=True)
class Front:
    """S = S_min (1 + B_crit/B), E = B S = E_min (1 + B/B_crit), B_crit = E_min/S_min.

    Source: McCandlish et al. 2018, 2.3. None means that the points can't tell; `note` then says why.
    """

    s_min: float | None
    """Updates to the goal at unlimited batch."""
    e_min: float | None
    """Observations to the goal at the smallest batch."""
    b_crit: float | None
    """Critical batch in observations."""
    b_crit_low: float | None
    """Lower end of its interval; None: no lower bound. Kept when `b_crit` is None, where there is one."""
    b_crit_high: float | None
    """Upper end of its interval; None: no upper bound."""
    rms_log_residual: float | None
    """Root of the mean squared residual of ln S over the runs that met the goal, dividing by their number."""
    points: int = 0
    """Runs that met the goal."""
    censored: int = 0
    """Runs that did not."""
    aic: dict[str, float] = field(default_factory=dict, hash=False)
    """Akaike's criterion, lower is better, of hyperbola, power_law (a + b ln B), linear (c/B), constant."""
    determined: bool = False
    """True when `b_crit` is given and its interval is closed on both sides."""
    note: str = ""
    """Why something is None; empty when nothing is."""
    e_min_low: float | None = None
    """Lower end of E_min's interval; None: no lower bound."""
    e_min_high: float | None = None
    """Upper end; None: no upper bound."""

    def updates(self, batch: ArrayLike) -> Floats:
        """Updates S at `batch` observations, same shape; the limit law where `b_crit` is None.

        Raises:
            ValueError: the front has no curve, or a batch is not positive.
        """
        b = np.asarray(batch, dtype=np.float64)
        if not (b > 0).all():
            raise ValueError(f"a batch must be positive, got {b}")
        if self.s_min is not None:
            return self.s_min * (1 + (self.b_crit or 0.0) / b)
        if self.e_min is not None:
            return self.e_min / b
        raise ValueError(f"this front has no curve: {self.note}")


def fit_front(
    batch: ArrayLike,
    updates: ArrayLike,
    censored: ArrayLike | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    resolution: float = RESOLUTION,
) -> Front:
    """Fit ln S = ln S_min + ln(1 + B_crit/B) by unweighted least squares on ln S, one term per run.

    Because E = B S, residuals of ln E are the same; this is the fit that returns the published values of
    McCandlish et al. 2018, A.3. A run that did not meet the goal within its budget is a bound on ln S: it
    adds the squared shortfall where the curve lies below it and nothing where the curve lies above. That is
    what the Tobit likelihood tends to far from the bound, needs no scale to be known beforehand, and never
    lowers the curve at the bound's own batch size.

    The interval is a profile calibrated by a seeded two-level residual bootstrap over batch sizes and seeds,
    see `_profile`; that of E_min is a profile at the table of F; several runs at one batch size count as
    seeds. No count is taken to be known better than to `resolution`, so that equal counts promise no exactness.

    Can't tell (`b_crit` None):
      - no run met the goal, or those that did have fewer than 3 batch sizes;
      - S constant or S = E_min/B explains the points as well by Akaike's criterion, or can't be rejected by
        an F test while B_crit would lie beyond the batch sizes: all of them are far above or far below it.
        `b_crit_high` or `b_crit_low` is then the bound, and the limit's S_min or E_min is given.

    Args:
        batch: [n] observations per update, > 0.
        updates: [n] updates to the goal, > 0; for a censored run the updates it made.
        censored: [n] bool, True where the goal was not met. None: all met.
        seed: of the bootstrap. Same points in any order and same seed give the same bytes.
        bootstrap: replicas; 0 skips them and takes the interval from the table of F.
        confidence: of the interval.
        resolution: least standard deviation of ln S, > 0. Where progress is looked at every k updates only, give
            k / (√12 S) of the smallest S (and half of k taken off every count).

    Raises:
        ValueError: empty, lengths differ, a value not finite or not positive, bootstrap < 0, confidence not
            in (0, 1), resolution not positive.
    """
    b, s, c = checked_points(batch, updates, censored)
    check_resolution(resolution)
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 0 and confidence in (0, 1), got {bootstrap} and {confidence}")
    met, sizes = int((~c).sum()), np.unique(b[~c]).size
    bounds = int(c.sum())
    if met == 0:
        note = "no run met the goal: give a larger budget"
        return Front(None, None, None, None, None, None, met, bounds, note=note)

    points = Points(b[~c], np.log(s[~c]), (1.0, 1.0), b[c], np.log(s[c]), resolution)
    log_c = minimise(points)
    best, flat, steep = points.at(log_c), points.flat(), points.steep()
    rng = np.random.default_rng(seed)
    log_low, log_high, _ = interval(points, log_c, rng, bootstrap, confidence)
    if sizes < 3:
        low, high = _exp(log_low), _exp(log_high)
        note = f"runs that met the goal have {sizes} batch size(s): a front needs at least 3"
        return Front(None, None, None, low, high, None, met, bounds, note=note)

    e_low, e_high = interval_at_small_batch(points, log_c, confidence)
    score = {
        "hyperbola": aic(_value(best), met, 2, resolution),
        "power_law": aic(_power_law(points), met, 2, resolution),
        "linear": aic(_value(steep), met, 1, resolution),
        "constant": aic(_value(flat), met, 1, resolution),
    }
    log_s = float(best.intercept[0])
    s_min: float | None = float(np.exp(log_s))
    e_min: float | None = float(np.exp(log_s + log_c))
    b_crit: float | None = float(np.exp(log_c))
    fitted = log_s + np.log1p(np.exp(log_c) / points.batch)
    note = ""
    limit = "constant" if score["constant"] <= score["linear"] else "linear"
    least, other = _value(best), _value(flat if limit == "constant" else steep)
    tested = (points.log_y, points.cells, points.parameters)
    beyond = not points.batch[0] <= b_crit <= points.batch[-1]
    if score[limit] <= score["hyperbola"] or (
        beyond and not rejects(*tested, least, other, 1, confidence, resolution)
    ):
        b_crit = None
        if limit == "constant":
            s_min, e_min, log_low = float(np.exp(flat.intercept[0])), None, None
            fitted = np.full(met, float(flat.intercept[0]))
            sure = log_high is not None and log_high < np.log(points.batch[0])
            note = "updates do not depend on the batch: all are above the critical one; try smaller ones"
        else:
            s_min, e_min, log_high = None, float(np.exp(steep.intercept[0])), None
            fitted = float(steep.intercept[0]) - np.log(points.batch)
            sure = log_low is not None and log_low > np.log(points.batch[-1])
            note = "updates fall as 1/batch: all are below the critical one; try larger ones"
        if not sure:
            which = "a constant" if limit == "constant" else "1/batch"
            note = f"the points can't be told from {which}, nor from a critical batch among theirs: run more of them"
        if score["power_law"] + TOLD < min(score["hyperbola"], score["linear"], score["constant"]):
            note = "no law of a critical batch fits: another power of the batch does, steeper than 1/batch or rising"
    elif log_low is None or log_high is None:
        side = "lower" if log_high is not None else "upper" if log_low is not None else "lower or upper"
        note = f"the points give no {side} bound of the critical batch"
    return Front(
        s_min,
        e_min,
        b_crit,
        _exp(log_low),
        _exp(log_high),
        float(np.sqrt(np.mean((points.log_y - fitted) ** 2))),
        met,
        bounds,
        aic=score,
        determined=b_crit is not None and log_low is not None and log_high is not None,
        note=note,
        e_min_low=None if e_min is None or e_low is None else min(math.exp(e_low), e_min),
        e_min_high=None if e_min is None or e_high is None else max(math.exp(e_high), e_min),
    )


def check_resolution(resolution: float) -> None:
    """Raises ValueError unless it is a positive number."""
    if not 0 < resolution < math.inf:
        raise ValueError(f"resolution must be a positive number, got {resolution}")


def checked_points(
    batch: ArrayLike, values: ArrayLike, censored: ArrayLike | None = None, name: str = "updates"
) -> tuple[Floats, Floats, np.ndarray]:
    """Batch sizes, values and censoring flags as sorted arrays, or ValueError."""
    b, s = np.asarray(batch, dtype=np.float64), np.asarray(values, dtype=np.float64)
    c = np.zeros(b.shape, dtype=bool) if censored is None else np.asarray(censored)
    if b.ndim != 1 or b.shape != s.shape or b.shape != c.shape:
        shapes = f"{b.shape}, {s.shape} and {c.shape}"
        raise ValueError(f"batch, {name} and censored must be lists of one length, got shapes {shapes}")
    if b.size == 0:
        raise ValueError(f"no points: batch and {name} are empty")
    if c.dtype != bool and not np.isin(c, (0, 1)).all():
        raise ValueError("censored must hold True or False")
    for label, x in (("batch", b), (name, s)):
        bad = ~(np.isfinite(x) & (x > 0))
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"{label} must be finite and positive; entry {i} is {x[i]}")
    c = c.astype(bool)
    order = np.lexsort((s, c, b))
    return b[order], s[order], c[order]


def _power_law(points: Points) -> float:
    """Least objective of ln S = a + b ln B, with the same one-sided terms."""
    x, y = np.log(points.batch), points.log_y
    b, a = np.polyfit(x, y, 1)
    x_bound, bound = np.log(points.bound_batch), points.log_bound

    def residuals(t: Floats) -> Floats:
        return np.concatenate([y - t[0] - t[1] * x, np.maximum(bound - t[0] - t[1] * x_bound, 0.0)])

    if (bound <= a + b * x_bound).all():
        return float((residuals(np.array([a, b])) ** 2).sum())
    return float(2 * least_squares(residuals, [a, b]).cost)


def _value(fit: Fit) -> float:
    return float(fit.objective[0])


def _exp(log_value: float | None) -> float | None:
    return None if log_value is None else float(np.exp(log_value))
