"""What an update's own spread would do for the interval: two other estimates of its variance, against the present one.

    python scripts/noise_within.py --units 4 --repetitions 1000

A trial, whose outcome docs/coverage.md tells: the meter has nothing of it. K units of one update have K(K - 1)/2
inner products gᵢ·gⱼ, and these show the variance of the update's signal without comparing it with other updates:

    z = mean over i<j of h_ij      h_ij = (1 + σ) gᵢ·gⱼ - σ (|gᵢ|² + |gⱼ|²) / 2      σ the true signal / noise
    V = z² - mean over disjoint pairs of h_ij h_kl                                  E V = Var(z)

(a U-statistic; z is what Fieller's limits ask about). The differences of successive updates, D = (z' - z)²/2, are
nearly free of a moving signal, and E D = Var(z) (1 - φ) where errors are correlated by φ. Columns, each how often
|average of z| <= 1.96 standard errors, and the median of that standard error over the true one:

present      the meter's own interval; its half-width in per cent of the truth
differences  D alone, independent updates taken for granted
within       V for the variance, φ = 1 - D/V
V known      the same with V averaged over all repetitions: what perfect knowledge of the variance would give
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rl_gns.noise.history import History
from rl_gns.noise.interval import BLOCKS_PER_HALFLIFE, ratio_interval

Array = NDArray[np.float64]
DIMENSIONS = 100
MOST_CORRELATED = 0.95


def paths(repetitions: int, rng: np.random.Generator) -> dict[str, Callable[[int, float], Array]]:
    """Name -> (updates, half-life) -> |G|² up to a factor, [updates, repetitions]."""

    def same(x: Array) -> Array:
        return np.repeat(x[:, None], repetitions, 1)

    def drift(factor: float) -> Callable[[int, float], Array]:
        return lambda updates, halflife: same(factor ** (np.arange(updates) / halflife))

    def wander(updates: int, halflife: float) -> Array:
        u = np.empty((updates, repetitions))
        u[0] = rng.standard_normal(repetitions)
        for t in range(1, updates):
            u[t] = 0.9 * u[t - 1] + np.sqrt(1 - 0.9**2) * rng.standard_normal(repetitions)
        return np.exp(0.5 * u)

    return {
        "still": drift(1.0),
        "x 3 a half-life": drift(3.0),
        "x 0.33 a half-life": drift(1 / 3),
        "x 10 at once": lambda n, halflife: same(np.where(np.arange(n) > n - halflife, 10.0, 1.0)),
        "wandering by e^±0.5": wander,
    }


def sample(true_signal: Array, units: int, phi: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inner products of all pairs [updates, repetitions, pairs] and squared norms [updates, repetitions, units].

    Isotropic Gaussian units of unit variance, whose errors are an AR(1) process.
    """
    updates, repetitions = true_signal.shape
    i, j = np.triu_indices(units, 1)
    products = np.empty((updates, repetitions, len(i)))
    squares = np.empty((updates, repetitions, units))
    shape = (repetitions, units, DIMENSIONS)
    error = rng.standard_normal(shape, dtype=np.float32)
    for t in range(updates):
        g = error.copy()
        g[:, :, 0] += np.sqrt(true_signal[t])[:, None]
        gram = g @ g.transpose(0, 2, 1)
        products[t], squares[t] = gram[:, i, j], np.einsum("rii->ri", gram)
        error = phi * error + np.sqrt(1 - phi**2) * rng.standard_normal(shape, dtype=np.float32)
    return products, squares


def variance_within(h: Array, units: int) -> Array:
    """Unbiased Var(mean of h) from the pairs' [..., pairs] kernels of one update."""
    i, j = np.triu_indices(units, 1)
    total, squares = h.sum(-1), (h * h).sum(-1)
    at_unit = np.stack([h[..., (i == k) | (j == k)].sum(-1) for k in range(units)], -1)
    adjacent = ((at_unit**2).sum(-1) - 2 * squares) / 2
    disjoint = (total**2 - squares - 2 * adjacent) / 2
    return np.asarray(h.mean(-1) ** 2 - disjoint / (len(i) * (units - 2) * (units - 3) / 4))


def compare(
    true_signal: Array, units: int, phi: float, halflife: float, rng: np.random.Generator
) -> list[str]:
    """The table's cells."""
    updates, repetitions = true_signal.shape
    products, squares = sample(true_signal, units, phi, rng)
    signal = products.mean(-1)
    noise = squares.mean(-1) - signal
    a = 2.0 ** -(np.arange(updates)[::-1] / halflife)
    a /= a.sum()
    sigma = (a @ true_signal) / DIMENSIONS
    history = History(halflife, BLOCKS_PER_HALFLIFE)
    for s, n in zip(signal, noise, strict=True):
        history.append(s, n, 1.0)
    interval = ratio_interval(history.read(), 0.95)
    held = float(((interval.low <= sigma) & (sigma <= interval.high)).mean())
    cells = [f"{100 * held:.1f} ±{50 * float(np.median((interval.high - interval.low) / sigma)):.2g}"]

    i, j = np.triu_indices(units, 1)
    h = (1 + sigma)[None, :, None] * products
    h -= sigma[None, :, None] / 2 * (squares[..., i] + squares[..., j])
    z = h.mean(-1)
    average, b = a @ z, a**2
    v = b @ variance_within(h, units) / b.sum()
    between = a[1:] * a[:-1]
    d = between @ np.diff(z, axis=0) ** 2 / between.sum() / 2
    overlap = np.array([(a[: updates - k] * a[k:]).sum() * (2 if k else 1) for k in range(updates)])

    def cell(variance: Array, correlation: Array) -> str:
        phi_k = np.clip(correlation, 0, MOST_CORRELATED) ** np.arange(updates)[:, None]
        error = np.sqrt(np.maximum(variance, 0) * (overlap @ phi_k))
        held = float((np.abs(average) <= 1.96 * error).mean())
        return f"{100 * held:.1f} x{float(np.median(error)) / average.std():.2f}"

    with np.errstate(divide="ignore", invalid="ignore"):
        cells.append(cell(d, np.zeros(repetitions)))
        cells.append(cell(v, np.where(v > 0, 1 - d / v, 0)))
    cells.append(cell(np.full(repetitions, v.mean()), 1 - d / v.mean()))
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=4, help="K, at least 4")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--halflife", type=float, default=32, help="in updates; read after two of them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    updates = int(2 * options.halflife)
    print(f"| K {options.units}, half-life {options.halflife:g} | present | differences | within | V known |")
    print("|---|---|---|---|---|")
    for ratio in (0.3, 3.0):
        for name, path in paths(options.repetitions, rng).items():
            for phi in (0.0, 0.5, 0.8):
                true_signal = path(updates, options.halflife)
                true_signal *= ratio * DIMENSIONS / options.units / true_signal.mean()
                cells = compare(true_signal, options.units, phi, options.halflife, rng)
                print(f"| {ratio:g} B, {name}, φ {phi:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
