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
# Blocks that seem more correlated than 0.8 are a signal on the move: taken for noise, it would hide itself.
CORRELATIONS = np.linspace(-0.2, 0.8, 11)
# The variance of a mean is convex in the correlation, so an estimate too low costs more than one too high.
# The amount was found by measuring coverage.
CORRELATION_MARGIN = 0.05


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
    """Expected weighted sum of squares of the residuals."""
    lag: Array
    """Expected weighted sum of products of neighbours, over that of squares."""
    dof: Array
    """Degrees of freedom of the sum of squares (Satterthwaite)."""


def ratio_interval(blocks: Blocks, confidence: float) -> Interval:
    """Limits of σ = E x / E y, known to be >= 0, with y > 0.

    Fieller's: σ is in the interval when the average of z = x - σ y does not differ from 0 significantly,

        |x̄ - σ ȳ| <= t · s(σ)      s²(σ) = s_xx - 2 σ s_xy + σ² s_yy

    with the covariance s of the averages from the scatter of the block means about a straight line in time: a
    steady drift is no noise. Blocks may be correlated as ρ^|i-j|: ρ is the one under which the expected
    product of neighbouring residuals, over the expected square, is the observed one (which accounts for
    the small-sample bias of both). It sets s and, after Satterthwaite, the degrees of freedom of
    Student's t.

    σ has an edge at 0, beyond which nothing can be missed. So the share of the error left to each side
    depends on how far σ is from the edge, in the manner of Feldman & Cousins: all to one side at 0, even
    from the two-sided quantile on. Coverage is the same whether σ can be told from 0 or not, and no
    interval is empty.

    Sources: Fieller 1954, J. R. Stat. Soc. B 16:175; Satterthwaite 1946, Biometrics 2:110; Feldman & Cousins
    1998, Phys. Rev. D 57:3873. Coverage as measured: docs/coverage.md.

    Args:
        blocks: at least 8 of them for an interval; with fewer, low = 0 and high = inf.
        confidence: nominal coverage, in (0, 1).
    """
    a = blocks.share
    x, y = np.tensordot(a, blocks.x, 1), np.tensordot(a, blocks.y, 1)
    if len(a) < FEWEST_BLOCKS:
        return Interval(x, y, np.zeros_like(x), np.full_like(x, np.inf))
    across = (-1,) + (1,) * (blocks.x.ndim - 1)
    detrend = residual_projection(a, blocks.time)
    dx, dy = np.tensordot(detrend, blocks.x, 1), np.tensordot(detrend, blocks.y, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        dz = dx - np.nan_to_num(np.maximum(x, 0) / y) * dy
        products = (np.sqrt(a[1:] * a[:-1]).reshape(across) * dz[1:] * dz[:-1]).sum(0)
        lag = np.nan_to_num(products / (a.reshape(across) * dz * dz).sum(0))
    model = expected_scatter(a, blocks.readings, detrend, CORRELATIONS)
    rho = np.interp(lag, model.lag, CORRELATIONS) + CORRELATION_MARGIN
    v, squares, dof = (
        np.interp(rho, CORRELATIONS, m) for m in (model.mean_variance, model.squares, model.dof)
    )
    scale = a.reshape(across) * (v / squares)
    xx, xy, yy = (scale * dx * dx).sum(0), (scale * dx * dy).sum(0), (scale * dy * dy).sum(0)
    return _limits(x, y, xx, xy, yy, dof, 1 - confidence)


def residual_projection(share: Array, time: Array) -> Array:
    """[b, b] what takes the weighted least-squares line in time away from b block means."""
    centred = time - share @ time
    line = np.outer(centred, share * centred) / (share @ centred**2)
    return np.eye(len(share)) - share - line


def expected_scatter(share: Array, readings: Array, detrend: Array, rho: Array) -> Scatter:
    """Expectations for block means of variance 1/readings and correlation ρ^|i-j|, one for each ρ given.

    Args:
        share: [b] weights of the blocks in the average.
        readings: [b] independent readings a block is worth.
        detrend: [b, b] what makes residuals of the block means.
        rho: [r] correlations of neighbours.
    """
    i = np.arange(len(share))
    size = 1 / np.sqrt(readings)
    c = rho[:, None, None] ** np.abs(i[:, None] - i) * size[:, None] * size
    e = detrend @ c @ detrend.T
    squares = np.einsum("b,rbb->r", share, e)
    products = np.einsum("b,rbb->r", np.sqrt(share[1:] * share[:-1]), e[:, 1:, :-1])
    v = c @ share @ share
    return Scatter(v, squares, products / squares, squares**2 / np.einsum("b,c,rbc->r", share, share, e * e))


def _limits(x: Array, y: Array, xx: Array, xy: Array, yy: Array, dof: Array, alpha: float) -> Interval:
    """Fieller's limits from averages and their covariance, the error shared out by the distance from 0."""
    even: Array = np.asarray(stdtrit(dof, 1 - alpha / 2), np.float64)
    one_sided: Array = np.asarray(stdtrit(dof, 1 - alpha), np.float64)

    def root(t: Array, side: int) -> Array:
        """The σ at which |x - σ y| is t standard errors, above (+1) or below (-1) x / y."""
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

    with np.errstate(divide="ignore", invalid="ignore"):
        upper, lower = root(even, +1), root(even, -1)
        independent = np.maximum(xx - np.nan_to_num(xy * xy / yy), np.finfo(float).tiny)
        far = 2 * even + np.maximum(-x, 0) / np.sqrt(independent)
        high = solve(+1, even, far, evenness(upper) >= 1)
        seen = root(one_sided, -1) > 0
        low = np.where(seen, solve(-1, one_sided, even, (evenness(lower) >= 1) | ~seen), 0.0)
    return Interval(x, y, np.maximum(low, 0), np.maximum(high, 0))
