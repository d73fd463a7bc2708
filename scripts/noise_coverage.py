"""Measures how often the meter's 95 % interval holds the true noise scale, and writes docs/coverage.md.

    python scripts/noise_coverage.py --repetitions 4000 --out docs/coverage.md

A problem is one class: `name`, `truth` (B_simple in units) and `sample(rng, repetitions, updates)`, two
arrays [updates, repetitions] of the signal and the noise that each update would give. All repetitions go
through the meter's own History and ratio_interval at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rl_gns.noise.history import History
from rl_gns.noise.interval import ratio_interval

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
        return self.sample_about(rng, np.full((updates, repetitions), self.signal))

    def sample_about(self, rng: np.random.Generator, true_signal: Array) -> tuple[Array, Array]:
        """The same with |G|² given, [updates, repetitions]."""
        k, phi = self.units, self.memory
        signal, noise = np.empty((2, *true_signal.shape))
        repetitions = len(true_signal[0])
        along = rng.standard_normal(repetitions)
        across = rng.chisquare(self.d - 1, repetitions)
        spread = rng.chisquare(self.d * (k - 1), repetitions)
        for t, square in enumerate(true_signal):
            noise[t] = spread / (k - 1)
            signal[t] = (np.sqrt(square) + along / np.sqrt(k)) ** 2 + across / k - noise[t] / k
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
        k = self.units
        signal, noise = np.empty((2, updates, repetitions))
        for t in range(updates):
            counts = rng.multinomial(self.pulls, self.probability, size=(repetitions, k))
            units = counts @ self.gradient / self.pulls
            q = (units.mean(1) ** 2).sum(-1)
            mean_q_i = (units**2).sum(-1).mean(1)
            noise[t] = k / (k - 1) * (mean_q_i - q)
            signal[t] = (k * q - mean_q_i) / (k - 1)
        return signal, noise


class Changing:
    """A Gaussian problem whose |G|² changes; the truth is the noise scale of its average over the window.

    It falls by `drift` e-folds in a hundred updates and wanders by a log-normal factor e^±wander, whose
    logarithm is an AR(1) process of φ = 0.9. The interval counts such changes as noise, so it is wider
    than need be.
    """

    def __init__(self, at_rest: Gaussian, wander: float, drift: float) -> None:
        self.at_rest, self.wander, self.drift = at_rest, wander, drift
        self.truth = at_rest.truth
        self.true_signal = np.empty((0, 0))
        what = f"wandering e^±{wander:g}" if wander else f"falling by e^{drift:g}"
        self.name = f"{at_rest.name}, {what}"

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says; leaves the |G|² it used in `true_signal`."""
        u = np.empty((updates, repetitions))
        u[0] = rng.standard_normal(repetitions)
        for t in range(1, updates):
            u[t] = 0.9 * u[t - 1] + np.sqrt(1 - 0.9**2) * rng.standard_normal(repetitions)
        trend = -self.drift * np.arange(updates)[:, None] / 100
        self.true_signal = self.at_rest.signal * np.exp(self.wander * u + trend)
        return self.at_rest.sample_about(rng, self.true_signal)


class Regime(NamedTuple):
    """When the meter is read, in updates."""

    title: str
    updates: int
    halflife: float


class Coverage(NamedTuple):
    """Shares of the repetitions."""

    covered: float
    unknown: float

    def __str__(self) -> str:
        text = f"{100 * self.covered:.1f}"
        if not 0.93 <= self.covered <= 0.97:
            text = f"**{text}**"
        return f"{text} ({100 * self.unknown:.0f})"


REGIMES = (
    Regime("12 updates", 12, 1e6),
    Regime("24 updates", 24, 1e6),
    Regime("100 updates", 100, 1e6),
    Regime("half-life 8", 64, 8),
    Regime("half-life 32", 200, 32),
)


def coverage(
    problem: Problem, regimes: tuple[Regime, ...], repetitions: int, seed: int, confidence: float = 0.95
) -> list[Coverage]:
    """Coverage in each regime, from one set of samples."""
    rng = np.random.default_rng(seed)
    signal, noise = problem.sample(rng, repetitions, max(r.updates for r in regimes))
    truth = np.broadcast_to(1 / problem.truth, signal.shape)
    if isinstance(problem, Changing):
        truth = problem.true_signal / problem.at_rest.d
    result = []
    for _, updates, halflife in regimes:
        history, true_history = History(halflife), History(halflife)
        for t in range(updates):
            history.append(signal[t], noise[t], 1.0)
            true_history.append(truth[t], 1.0, 1.0)
        interval = ratio_interval(history.read(), confidence)
        window = true_history.read()
        sigma = np.tensordot(window.share, window.x, 1)
        covered = (interval.low <= sigma) & (sigma <= interval.high)
        result.append(Coverage(float(covered.mean()), float((interval.low == 0).mean())))
    return result


def sections(quick: bool) -> Iterator[tuple[str, list[Problem]]]:
    """The tables: a title with a list of problems each."""
    ratios = (0.03, 0.3, 3, 30)
    grid = [(d, k, r) for d in (20, 200, 2000) for k in (4, 16) for r in ratios]
    if quick:
        grid = [(20, 4, 0.03), (200, 16, 3)]
    yield "Independent updates, Gaussian gradients", [Gaussian(*g) for g in grid]
    bandits = [(8, w, k, r) for w in (0.5, 0.05) for k in (4, 16) for r in ratios]
    yield "Independent updates, softmax bandit", [Bandit(*b) for b in (bandits[:1] if quick else bandits)]
    few = [g for g in grid if g[0] != 200]
    for phi in (0.5, 0.8):
        tau = (1 + phi) / (1 - phi)
        title = f"Errors correlated over updates, φ = {phi} ({tau:.0f} updates tell as much as one alone)"
        yield title, [Gaussian(*g, memory=phi) for g in few]
    rest = [Gaussian(200, 4, r) for r in ratios]
    changes = [(0.0, 1.0), (0.5, 0.0)]
    yield (
        "A noise scale that changes: the truth is that of the average |G|² over the window",
        [Changing(g, *c) for c in changes for g in (rest[:1] if quick else rest)],
    )


INTRODUCTION = """# Coverage of the noise scale's interval

How often the 95 % interval of `NoiseScaleMeter` held the true B_simple, in per cent, and in brackets how
often the reading was *unknown, at least X* (which counts as covering where X <= truth). {repetitions}
repetitions each, so one standard error is about {error:.1f} points. Bold: outside 93-97.

K units per update; "0.3 B" is a batch of 0.3 times B_simple. The first three columns read the meter after
that many updates, all of equal weight; the last two after 64 and 200 updates with a half-life of 8 and 32
updates. {sources}

Written by `python scripts/noise_coverage.py --repetitions {repetitions} --seed {seed}`.
"""

SOURCES = """Gaussian gradients have d_eff = tr(Σ)²/tr(Σ²) equal dimensions; the bandit's units are means
of one to some thousand pulls, skewed and discrete."""

CLOSING = """
## Where it fails, and why

* **Short and correlated.** A window worth fewer than about ten independent updates can't show its own
  correlation, and its intervals are too short: 12 and 24 updates, or a half-life of 8 at φ = 0.8 (a window of
  some 23, worth less than three). They hold from about 40 updates on at φ = 0.5 and from 70 on at φ = 0.8.
  Rule: choose a half-life of at least ten times as many updates as the correlation lasts.
* **Half-lives of one or two updates** (not in the tables) give intervals that are too wide: 97-99.
* **A noise scale that changes.** A steady drift over the window is taken out. What else changes within it
  can't be told from correlated noise, and makes intervals wider, not shorter, than the window's own
  average asks for. They are no intervals for the average of all time.
* Fewer than eight updates give no interval.
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few rows of each table")
    parser.add_argument("--out", type=Path, help="write the page there too")
    options = parser.parse_args()
    start = time.perf_counter()
    error = 100 * (0.05 * 0.95 / options.repetitions) ** 0.5
    lines = [
        INTRODUCTION.format(repetitions=options.repetitions, error=error, seed=options.seed, sources=SOURCES)
    ]
    for title, problems in sections(options.quick):
        lines += [f"## {title}\n", "| problem | " + " | ".join(r.title for r in REGIMES) + " |"]
        lines += ["|---|" + "---|" * len(REGIMES)]
        for problem in problems:
            row = coverage(problem, REGIMES, options.repetitions, options.seed)
            lines.append(f"| {problem.name} | " + " | ".join(map(str, row)) + " |")
            print(lines[-1], flush=True)
        lines.append("")
    lines.append(CLOSING.strip())
    page = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
