"""A confidence interval for the ratio of two averages of noisy readings, the numerator perhaps unseen.

It knows nothing of gradients. Arrays with trailing dimensions are so many independent repetitions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from rl_gns.noise.history import Blocks

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST_BLOCKS = 8
BLOCKS_PER_HALFLIFE = 16
# A polynomial of degree 5 follows a tenfold change per half-life to a few parts in a thousand of the average.
DRIFT_DEGREE = 5
# Errors of successive updates are taken to be correlated by at most 0.9 and blocks by at most 0.8. What seems more
# correlated than this allows is a signal on the move: taken for noise, it would hide itself.
UPDATES_CORRELATED = 0.9
BLOCKS_CORRELATED = 0.8
# The variance of a mean is convex in the correlation, so an estimate too low costs more than one too high.
# The amount was found by measuring coverage.
CORRELATION_MARGIN = 0.05
# A short record shows too little of the skewness, having missed the rare large readings: it is multiplied by 1 + 8/dof.
# The amount was found by measuring coverage, which is about the same from 6 to 12.
SKEWNESS_MISSED = 8
# Hall's transformation runs away where averages are more skewed than a short record can show.
MOST_SKEWED = 0.5
# One block that makes up more of an average than all others together leaves nothing to judge it by: where it is the
# oldest, the fitted polynomial passes through it and sees no error at all.
MOST_OF_AVERAGE = 0.5


class Interval(NamedTuple):
    """Averages of x and y, and the limits of σ = E x / E y >= 0: low is 0 where x can't be told from 0."""

    x: Array
    y: Array
    low: Array
    high: Array


class Scatter(NamedTuple):
    """What the scatter of blocks would be, were readings of variance 1 and blocks correlated by a given ρ."""

    mean_variance: Array
    """Variance of the average."""
    squares: Array
    """Expected sum of squares of the residuals times their shares."""
    lag: Array
    """Expected sum of products of neighbours, over that of squares."""
    dof: Array
    """Degrees of freedom of the sum of squares (Satterthwaite)."""


def ratio_interval(blocks: Blocks, confidence: float) -> Interval:
    """Limits of σ = E x / E y, known to be >= 0, with y > 0.

    Fieller's: σ is in the interval when the average of z = x - σ y does not differ from 0 significantly,

        |x̄ - σ ȳ| <= t · s(σ)      s²(σ) = s_xx - 2 σ s_xy + σ² s_yy

    with the covariance s of the averages from the block means' residuals r about a polynomial in time, fitted
    by weighted least squares: what moves smoothly over the window is no noise. Residuals count with the
    squared share a² that their block has in the variance of the average,

        s_xy ∝ Σ a² rx ry

    so that noise may grow or fade within the window. Blocks may be correlated as ρ^|i-j|: ρ is the one under
    which the expected product of neighbouring residuals, over the expected square, is the observed one
    (which accounts for what the fit took away from both), up to `most_correlated`. It sets s and, after
    Satterthwaite, the degrees of freedom of Student's t; where a part of the window holds most of the squares,
    they are that many fewer.

    Gradients are skewed, and so is their average, by γ, the third cumulant over the variance's 3/2: t is then
    larger on one side than on the other (`unskewed`). A short record's γ is made larger, for what it has missed.

    Where one block rules an average, nothing is known: low = 0 and high = inf.

    σ has an edge at 0, beyond which nothing can be missed. So the share of the error left to each side
    depends on how far σ is from the edge, in the manner of Feldman & Cousins: all to one side at 0, even
    from the two-sided quantile on. Coverage is the same whether σ can be told from 0 or not, and no
    interval is empty.

    Sources: Fieller 1954, J. R. Stat. Soc. B 16:175; White 1980, Econometrica 48:817, for the squared shares;
    Satterthwaite 1946, Biometrics 2:110; Hall 1992, J. R. Stat. Soc. B 54:221; Feldman & Cousins 1998, Phys.
    Rev. D 57:3873. Coverage as measured: docs/coverage.md.

    Args:
        blocks: at least 8 of them for an interval; with fewer, low = 0 and high = inf.
        confidence: nominal coverage, in (0, 1).
    """
    a = blocks.share
    x, y = np.tensordot(a, blocks.x, 1), np.tensordot(a, blocks.y, 1)
    if len(a) < FEWEST_BLOCKS:
        return Interval(x, y, np.zeros_like(x), np.full_like(x, np.inf))
    detrend = residual_projection(a, blocks.time, drift_degree(1 / float(a @ a)))
    # Residuals of the blocks' contributions to the averages.
    across = (-1,) + (1,) * (blocks.x.ndim - 1)
    rx, ry = (a.reshape(across) * np.tensordot(detrend, of, 1) for of in (blocks.x, blocks.y))
    with np.errstate(divide="ignore", invalid="ignore"):
        rz = rx - np.nan_to_num(np.maximum(x, 0) / y) * ry
        lag = np.nan_to_num((rz[1:] * rz[:-1]).sum(0) / (rz * rz).sum(0))
    grid = np.linspace(-0.2, most_correlated(float(a @ blocks.readings)), 11)
    model = expected_scatter(a, blocks.readings, detrend, grid)
    rho = np.interp(lag, model.lag, grid) + CORRELATION_MARGIN
    v, squares, dof = (np.interp(rho, grid, m) for m in (model.mean_variance, model.squares, model.dof))
    even = effective_number((a[:, None] * detrend) ** 2 @ (1 / blocks.readings))
    with np.errstate(divide="ignore", invalid="ignore"):
        dof = np.maximum(dof * np.fmin(1, effective_number(rz * rz) / even), 2)
    xx, xy, yy = (v / squares * (r * s).sum(0) for r, s in ((rx, rx), (rx, ry), (ry, ry)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sigma = np.nan_to_num(np.maximum(x, 0) / y)
        variance = np.maximum(xx - 2 * sigma * xy + sigma * sigma * yy, 0)
        cubes = (rz**3).sum(0) * expected_cubes(a, blocks.readings, detrend)
        skew = np.nan_to_num(cubes / variance**1.5) * (1 + SKEWNESS_MISSED / dof)
        skew = np.clip(skew, -MOST_SKEWED, MOST_SKEWED)
    found = _limits(x, y, xx, xy, yy, dof, skew, 1 - confidence)
    ruled = ruled_by_one(a, blocks.x) | ruled_by_one(a, blocks.y)
    return found._replace(low=np.where(ruled, 0.0, found.low), high=np.where(ruled, np.inf, found.high))


def ruled_by_one(share: Array, means: Array) -> Mask:
    """[...] whether one of the block means [b, ...] makes up more than half of what the average is made of."""
    parts = np.abs(share.reshape((-1,) + (1,) * (means.ndim - 1)) * means)
    return np.asarray(parts.max(0) > MOST_OF_AVERAGE * parts.sum(0))


def drift_degree(blocks: float) -> int:
    """Degree of the polynomial taken for drift, one for every eight equal blocks: 1 to 5."""
    return min(DRIFT_DEGREE, max(1, int(blocks / 8)))


def effective_number(squares: Array) -> Array:
    """[...] how many equal ones the [b, ...] squares amount to, (Σs)²/Σs² of running sums over nine blocks."""
    i = np.arange(len(squares))
    near = np.tensordot((np.abs(i[:, None] - i) <= 4) * 1.0, squares, 1)
    return np.asarray(near.sum(0) ** 2 / (near * near).sum(0))


def most_correlated(readings: float) -> float:
    """Correlation of neighbouring means of m readings whose errors are an AR(1) process of φ = 0.9; at most 0.8.

    With h = 1 - φ^m it is φ h² / (m (1 - φ²) - 2 φ h).
    """
    phi, m = UPDATES_CORRELATED, max(readings, 1.0)
    h = 1 - phi**m
    return min(BLOCKS_CORRELATED, phi * h**2 / (m * (1 - phi**2) - 2 * phi * h))


def residual_projection(share: Array, time: Array, degree: int) -> Array:
    """[b, b] what takes the weighted least-squares polynomial in time away from b block means."""
    centred = time - share @ time
    # Legendre polynomials over three standard deviations: powers would be all but linearly dependent.
    powers = np.polynomial.legendre.legvander(centred / (3 * np.sqrt(share @ centred**2)), degree)
    root = np.sqrt(share)[:, None]
    q, _ = np.linalg.qr(root * powers)
    return np.asarray(np.eye(len(share)) - (q / root) @ (q * root).T, np.float64)


def expected_scatter(share: Array, readings: Array, detrend: Array, rho: Array) -> Scatter:
    """Expectations for block means of variance 1/readings and correlation ρ^|i-j|, one for each ρ given.

    Args:
        share: [b] weights of the blocks in the average.
        readings: [b] independent readings a block is worth.
        detrend: [b, b] what makes residuals of the block means.
        rho: [r] correlations of neighbours, rising.
    """
    i = np.arange(len(share))
    size = 1 / np.sqrt(readings)
    c = (rho[:, None] ** i)[:, np.abs(i[:, None] - i)] * (size[:, None] * size)
    contribution = share[:, None] * detrend
    e = contribution @ c @ contribution.T
    squares = np.einsum("rbb->r", e)
    lag = np.einsum("rbb->r", e[:, 1:, :-1]) / squares
    # Rising but for rounding where a fit takes nearly all: interpolation needs it so.
    return Scatter(c @ share @ share, squares, np.maximum.accumulate(lag), squares**2 / (e * e).sum((1, 2)))


def expected_cubes(share: Array, readings: Array, detrend: Array) -> float:
    """Third cumulant of the average over the expected sum of cubes of the residuals times their shares."""
    cumulant = share**3 / readings**2
    return float(cumulant.sum() / (share**3 @ detrend**3 @ (1 / readings**2)))


def unskewed(t: Array, skew: Array) -> Array:
    """The t of an average of skewness γ that is exceeded as often as t of a normal one: Hall's inverse.

        t + γ/6 + γ t²/3 + γ² t³/27 is normal     ->     3/γ (∛(1 + γ (t - γ/6)) - 1)

    Source: Hall 1992, J. R. Stat. Soc. B 54:221 (the cubic transformation).
    """
    g = np.where(np.abs(skew) < 1e-7, 1e-7, skew)
    return np.asarray(3 / g * (np.cbrt(1 + g * (t - g / 6)) - 1), np.float64)


def _limits(
    x: Array, y: Array, xx: Array, xy: Array, yy: Array, dof: Array, skew: Array, alpha: float
) -> Interval:
    """Fieller's limits from averages and their covariance, the error shared out by the distance from 0."""
    even: Array = np.asarray(stdtrit(dof, 1 - alpha / 2), np.float64)
    one_sided: Array = np.asarray(stdtrit(dof, 1 - alpha), np.float64)

    def root(t: Array, side: int) -> Array:
        """The σ at which |x - σ y| is unlikely as t standard errors, above (+1) or below (-1) x / y."""
        t = np.maximum(-side * unskewed(-side * t, skew), 0)
        a, b, c = y * y - t * t * yy, x * y - t * t * xy, x * x - t * t * xx
        return np.where(a > 0, (b + side * np.sqrt(np.maximum(b * b - a * c, 0))) / a, side * np.inf)

    def evenness(sigma: Array) -> Array:
        """From 0 at the edge to 1 where both sides can be missed alike."""
        s = np.sqrt(np.maximum(xx - 2 * sigma * xy + sigma * sigma * yy, 0))
        return np.where(np.isfinite(sigma), np.clip(sigma * y / s / even, 0, 1), sigma > 0)

    def solve(side: int, least: Array, most: Array, settled: Mask) -> Array:
        """The limit whose quantile and whose share of the error agree; both are monotone in the quantile."""
        if np.all(settled):
            return root(even, side)
        for _ in range(30):
            t = (least + most) / 2
            missed = alpha / 2 * (evenness(root(t, side)) if side > 0 else 2 - evenness(root(t, side)))
            wide_enough = stdtr(dof, -t) <= missed
            least, most = np.where(wide_enough, least, t), np.where(wide_enough, t, most)
        return np.where(settled, root(even, side), root(most, side))

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        upper, lower = root(even, +1), root(even, -1)
        # The least s² at any σ >= 0. Where x + y is constant, as in normalized moments, x has no error apart from y's.
        least_variance = np.maximum(xx - np.nan_to_num(np.maximum(xy, 0) ** 2 / yy), np.finfo(float).tiny)
        far = 2 * even + np.maximum(-x, 0) / np.sqrt(least_variance)
        far = far + np.abs(skew) * (far**2 + 1) / 3 + skew**2 * far**3 / 27  # what `unskewed` takes to far
        high = solve(+1, even, far, evenness(upper) >= 1)
        seen = root(one_sided, -1) > 0
        low = np.where(seen, solve(-1, one_sided, even, (evenness(lower) >= 1) | ~seen), 0.0)
    return Interval(x, y, np.maximum(low, 0), np.maximum(high, 0))
