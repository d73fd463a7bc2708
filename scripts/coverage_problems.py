"""Made-up gradients of known noise scale for `noise_coverage.py`: Gaussian units, a bandit, signals on the move.

It knows nothing of intervals: a problem is `name`, `truth` (B_simple in units) and `sample`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Problem(Protocol):
    """A stream of moments with a known noise scale."""

    name: str
    truth: float

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """Signal and noise, [updates, repetitions] each."""


class Gaussian:
    """K isotropic Gaussian units in d dimensions, drawn as norms: no vector is ever made.

    `memory` φ makes each unit's error an AR(1) process, e' = φ e + √(1-φ²) z: squared lengths are then Markov
    chains with non-central chi-square transitions.
    """

    def __init__(self, d: int, units: int, ratio: float, memory: float = 0.0) -> None:
        self.d, self.units, self.memory = d, units, memory
        self.signal = ratio * d / units
        self.truth = d / self.signal
        self.name = f"Gaussian, d_eff {d}, K {units}, {ratio:g} B"

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says."""
        return self.sample_about(rng, np.full((updates, repetitions), self.signal), np.ones(updates))

    def sample_about(self, rng: np.random.Generator, true_signal: Array, level: Array) -> tuple[Array, Array]:
        """The same with |G|² given, [updates, repetitions], and tr(Σ) as [updates] multiples of d."""
        k, phi = self.units, self.memory
        signal, noise = np.empty((2, *true_signal.shape))
        repetitions = len(true_signal[0])
        along = rng.standard_normal(repetitions)
        across = rng.chisquare(self.d - 1, repetitions)
        spread = rng.chisquare(self.d * (k - 1), repetitions)
        for t, (square, c) in enumerate(zip(true_signal, level, strict=True)):
            noise[t] = c * spread / (k - 1)
            signal[t] = (np.sqrt(square) + np.sqrt(c / k) * along) ** 2 + c * across / k - noise[t] / k
            along = phi * along + np.sqrt(1 - phi**2) * rng.standard_normal(repetitions)
            across = self._next(rng, across, self.d - 1)
            spread = self._next(rng, spread, self.d * (k - 1))
        return signal, noise

    def _next(self, rng: np.random.Generator, sq_length: Array, dimensions: int) -> Array:
        c = 1 - self.memory**2
        if c == 1:
            return rng.chisquare(dimensions, len(sq_length))
        return c * rng.noncentral_chisquare(dimensions, self.memory**2 * sq_length / c)


class Bandit:
    """REINFORCE on a softmax bandit with rewards 0 and 1; G and Σ are sums over the 2 A outcomes of one pull.

    The batch, K units of T pulls, is brought to `ratio` times B_simple by the choice of T.
    """

    def __init__(self, arms: int, win: float, units: int, ratio: float) -> None:
        policy = np.exp(np.linspace(0, 1, arms))
        policy /= policy.sum()
        mean = win * (1 + 0.3 * np.linspace(-1, 1, arms))
        outcomes = [(a, r) for a in range(arms) for r in (0, 1)]
        self.probability = np.array([policy[a] * (mean[a] if r else 1 - mean[a]) for a, r in outcomes])
        self.gradient = np.array([(r - policy @ mean) * (np.eye(arms)[a] - policy) for a, r in outcomes])
        g = self.probability @ self.gradient
        sigma = (self.probability * self.gradient.T) @ self.gradient - np.outer(g, g)
        b_simple = float(np.trace(sigma) / (g @ g))
        self.units, self.pulls = units, max(1, round(ratio * b_simple / units))
        self.truth = b_simple / self.pulls
        d_eff = np.trace(sigma) ** 2 / np.trace(sigma @ sigma)
        at = units * self.pulls / b_simple
        self.name = f"bandit, {arms} arms, win {win:g}, d_eff {d_eff:.1f}, K {units}, {at:.2g} B"

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says."""
        signal, noise = np.empty((2, updates, repetitions))
        for t in range(updates):
            counts = rng.multinomial(self.pulls, self.probability, size=(repetitions, self.units))
            signal[t], noise[t] = signal_and_noise(counts @ self.gradient / self.pulls)
        return signal, noise


def signal_and_noise(units: Array) -> tuple[Array, Array]:
    """Unbiased |G|² and tr(Σ) of one unit, [repetitions] each, from units' gradients [repetitions, K, P]."""
    k = units.shape[1]
    q = (units.mean(1) ** 2).sum(-1)
    mean_q_i = (units**2).sum(-1).mean(1)
    return (k * q - mean_q_i) / (k - 1), k / (k - 1) * (mean_q_i - q)


class Spiky:
    """A problem at rest whose gradients are `times` as long in one update of `every`; B_simple is as it was.

    With `alike` every update counts alike, as in `Moments.normalized`: signal and noise are shares of their sum.
    """

    def __init__(self, at_rest: Problem, alike: bool, times: float = 30.0, every: float = 50.0) -> None:
        self.at_rest, self.alike, self.times, self.every = at_rest, alike, times, every
        self.truth = at_rest.truth
        self.name = f"{at_rest.name}, {'alike' if alike else 'plain'}"

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says."""
        signal, noise = self.at_rest.sample(rng, repetitions, updates)
        if self.alike:  # the length of its gradients then drops out of an update
            return signal / (signal + noise), noise / (signal + noise)
        square = np.where(rng.random(signal.shape) < 1 / self.every, self.times**2, 1.0)
        return signal * square, noise * square


class Moving:
    """A Gaussian problem whose |G|² and tr(Σ) change; B_simple is their weighted averages' ratio over the window.

    Over a half-life |G|² is multiplied by `signal` and tr(Σ) by `noise`, evenly; with `step` at once, one
    half-life ago. It wanders by a log-normal factor e^±wander whose logarithm is an AR(1) process, φ = 0.9.
    The average over the window has the ratio of `at_rest`.
    """

    def __init__(
        self, at_rest: Gaussian, signal: float = 1, noise: float = 1, step: bool = False, wander: float = 0
    ) -> None:
        self.at_rest, self.signal, self.noise = at_rest, signal, noise
        self.step, self.wander, self.truth = step, wander, at_rest.truth
        self.true_signal = self.true_noise = np.empty((0, 0))
        moves = [f"signal x {signal:.2g}"] * (signal != 1) + [f"noise x {noise:.2g}"] * (noise != 1)
        how = "at once" if step else "a half-life"
        what = f"signal wandering by e^±{wander:g}" if wander else f"{', '.join(moves)} {how}"
        self.name = f"{at_rest.name}: {what}"

    def sample_over(
        self, rng: np.random.Generator, repetitions: int, updates: int, halflife: float
    ) -> tuple[Array, Array]:
        """Signal and noise; leaves the |G|² and tr(Σ) it used in `true_signal` and `true_noise`."""
        age = np.arange(updates)[::-1] / halflife
        share = 2.0**-age / (2.0**-age).sum()
        elapsed = (age < 1) * 1.0 if self.step else updates / halflife - age
        level, path = self.noise**elapsed, self.signal**elapsed
        path = path * self.at_rest.signal * (share @ level) / (share @ path)
        u = np.empty((updates, repetitions))
        u[0] = rng.standard_normal(repetitions)
        for t in range(1, updates):
            u[t] = 0.9 * u[t - 1] + np.sqrt(1 - 0.9**2) * rng.standard_normal(repetitions)
        self.true_signal = path[:, None] * np.exp(self.wander * u - self.wander**2 / 2)
        self.true_noise = np.broadcast_to((self.at_rest.d * level)[:, None], self.true_signal.shape)
        return self.at_rest.sample_about(rng, self.true_signal, level)
