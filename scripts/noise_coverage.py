"""Measures how often the meter's 95 % interval holds the true noise scale, and writes docs/coverage.md.

    python scripts/noise_coverage.py --repetitions 4000 --out docs/coverage.md
    python scripts/noise_coverage.py --only "Solvable world" --out docs/coverage.md

A problem is one class: `name`, `truth` (B_simple in units) and `sample(rng, repetitions, updates)`, two
arrays [updates, repetitions] of the signal and the noise that each update would give. All repetitions go
through the meter's own History and ratio_interval at once. Every row has the same seed, whatever rows come
with it.
"""

from __future__ import annotations

import abc
import argparse
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from envs import solvable
from rl_gns.noise.history import History
from rl_gns.noise.interval import ratio_interval

Array = NDArray[np.float64]
LOSS: dict[str, Any] = {"gamma": 0.99, "value_coef": 0.5, "entropy_coef": 0.01}


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


class Solvable(abc.ABC):
    """A world of `envs.solvable`, stepped with a fixed policy; the truth is what its `exact` says.

    A unit is the mean of the A2C gradients of `environments` rollouts, which go on from update to update. The
    policy is one met in training: exact gradient descent, from a value far off and thus a small B_simple,
    goes on until K units are `ratio` times B_simple. Where they are less from the start, units get more
    environments.
    """

    def __init__(self, world: Any, start: dict[str, Array], rollout: int, units: int, ratio: float) -> None:
        self.world, self.policy, self.rollout, self.units = world, start, rollout, units
        truth = self.exact()
        self.environments = math.ceil(ratio * truth.b_simple / (units * rollout))
        batch = units * self.environments * rollout
        while ratio * truth.b_simple < batch:
            for name, g in truth.named().items():
                x = self.policy[parameter := name.removesuffix(".weight")]
                # Tables are [S, A] where the network's weights are [A, S].
                g = g.T if parameter == "logits" else g
                self.policy[parameter] = x - 0.1 * g.numpy().reshape(x.shape)
            truth = self.exact()
        self.moments = np.array([truth.signal, truth.trace / self.environments])
        self.truth = self.moments[1] / self.moments[0]
        self.z = math.nan
        at, label = batch / truth.b_simple, world.spec.removeprefix("solvable:")
        self.name = f"{label}, K {units}, {self.environments} x {rollout} a unit, {at:.2g} B"

    def exact(self) -> solvable.Exact:
        """The truth under the present policy."""
        policy = {name: torch.from_numpy(x) for name, x in self.policy.items()}
        truth: solvable.Exact = self.world(1).exact(**policy, rollout=self.rollout, **LOSS)
        return truth

    @abc.abstractmethod
    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """Play one rollout in every environment: gradients of the units, [units, P]."""

    def sample(self, rng: np.random.Generator, repetitions: int, updates: int) -> tuple[Array, Array]:
        """As the protocol says. Raises ArithmeticError where the samples' means are not the exact ones."""
        env = self.world(repetitions * self.units * self.environments, seed=int(rng.integers(2**31)))
        for _ in range(20 if self.rollout > 1 else 0):
            self.gradients(env, rng)  # until the states are distributed as the policy leaves them
        signal, noise = np.empty((2, updates, repetitions))
        for t in range(updates):
            units = self.gradients(env, rng)
            signal[t], noise[t] = signal_and_noise(units.reshape(repetitions, self.units, -1))
        sampled = np.stack([signal.mean(0), noise.mean(0)])
        off = (sampled.mean(1) - self.moments) / sampled.std(1, ddof=1) * math.sqrt(repetitions)
        self.z = float(np.abs(off).max())
        if self.z > 4.5:
            raise ArithmeticError(f"{self.name}: sampled signal and noise are {off} standard errors off")
        return signal, noise


class Table(Solvable):
    """Softmax policy and value, one number for each state: the chain and the bandit."""

    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """As the base says."""
        logits, value, gamma = self.policy["logits"], self.policy["value"], LOSS["gamma"]
        log_pi = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
        pi = np.exp(log_pi)
        edges = pi.cumsum(1)[:, :-1]
        played, s = [], env.observation().numpy()
        for _ in range(self.rollout):
            a = (rng.random(len(s))[:, None] >= edges[s]).sum(1)
            step = env.step(torch.from_numpy(a))
            r, cut = step.reward.numpy().astype(np.float64), step.truncated.numpy()
            if cut.any():
                r[cut] += gamma * value[step.final_obs.numpy()[cut]]
            played.append((s, a, r, cut | step.terminated.numpy()))
            s = step.obs.numpy()
        # The gradient is a sum over (state, action) of a factor times the advantages met there.
        cells = (len(s) // self.environments, *logits.shape)
        first = np.arange(len(s)) // self.environments * logits.size
        advantage, visits, ret = np.zeros(cells), np.zeros(cells), value[s]
        for s, a, r, over in reversed(played):
            ret = r + gamma * np.where(over, 0.0, ret)
            at = first + s * logits.shape[1] + a
            advantage += np.bincount(at, ret - value[s], advantage.size).reshape(cells)
            visits += np.bincount(at, None, visits.size).reshape(cells)
        total, visits = advantage.sum(2, keepdims=True), visits.sum(2, keepdims=True)
        spread = pi * (log_pi - (pi * log_pi).sum(1, keepdims=True))
        by_logit = pi * total - advantage + LOSS["entropy_coef"] * visits * spread
        g = np.concatenate([by_logit, -2 * LOSS["value_coef"] * total], 2)
        return g.reshape(len(g), -1) / (self.environments * self.rollout)


class Linear(Solvable):
    """Normal policy with mean and value linear in the state: the Gaussian world."""

    def gradients(self, env: Any, rng: np.random.Generator) -> Array:
        """As the base says; a rollout is one step."""
        x, std = env.observation().numpy().astype(np.float64), np.exp(self.policy["log_std"])
        eps = rng.standard_normal((len(x), len(std)))
        step = env.step(torch.from_numpy(x @ self.policy["mean"].T + std * eps))
        advantage = (step.reward.numpy() - x @ self.policy["value"])[:, None]
        score = advantage * eps / std
        by_log_std = advantage * (1 - eps * eps) - LOSS["entropy_coef"]
        by_value = -2 * LOSS["value_coef"] * advantage * x
        g = np.concatenate([*(-score * x_j[:, None] for x_j in x.T), by_log_std, by_value], 1)
        return g.reshape(-1, self.environments, g.shape[1]).mean(1)


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


class Section(NamedTuple):
    """A table; `problems` may be made while they are read."""

    title: str
    problems: Iterable[Problem]


def sections(quick: bool) -> Iterator[Section]:
    """All tables, those of the solvable worlds last."""
    ratios = (0.03, 0.3, 3, 30)
    grid = [(d, k, r) for d in (20, 200, 2000) for k in (4, 16) for r in ratios]
    if quick:
        grid = [(20, 4, 0.03), (200, 16, 3)]
    yield Section("Independent updates, Gaussian gradients", [Gaussian(*g) for g in grid])
    bandits = [(8, w, k, r) for w in (0.5, 0.05) for k in (4, 16) for r in ratios]
    pulls = [Bandit(*b) for b in (bandits[:1] if quick else bandits)]
    yield Section("Independent updates, softmax bandit", pulls)
    few = [g for g in grid if g[0] != 200]
    for phi in (0.5, 0.8):
        tau = (1 + phi) / (1 - phi)
        title = f"Errors correlated over updates, φ = {phi} ({tau:.0f} updates tell as much as one alone)"
        yield Section(title, [Gaussian(*g, memory=phi) for g in few])
    rest = [Gaussian(200, 4, r) for r in ratios]
    changes = [(0.0, 1.0), (0.5, 0.0)]
    yield Section(
        "A noise scale that changes: the truth is that of the average |G|² over the window",
        [Changing(g, *c) for c in changes for g in (rest[:1] if quick else rest)],
    )
    sizes = [(k, r) for k in (4, 16) for r in ratios][: 1 if quick else None]
    chain = {"logits": np.tile([0.0, 2.0], (5, 1)), "value": np.full(5, 5.0)}
    chains = (Table(solvable.Chain, dict(chain), 5, *size) for size in sizes)
    yield Section("Solvable world: chain", chains)
    linear = {"mean": np.zeros((2, 2)), "log_std": np.full(2, 0.5), "value": np.array([10.0, 0.0])}
    aims = (Linear(solvable.Gaussian, dict(linear), 1, *size) for size in sizes)
    yield Section("Solvable world: Gaussian", aims)
    arms = {"logits": np.zeros((1, 4)), "value": np.array([5.0])}
    yield Section("Solvable world: bandit", (Table(solvable.Bandit, dict(arms), 1, *size) for size in sizes))


INTRODUCTION = """# Coverage of the noise scale's interval

How often the 95 % interval of `NoiseScaleMeter` held the true B_simple, in per cent, and in brackets how
often the reading was *unknown, at least X* (which counts as covering where X <= truth). {repetitions}
repetitions in the tables of made-up gradients, {world_repetitions} in those of solvable worlds. Bold:
outside 93-97.

K units per update; "0.3 B" is a batch of 0.3 times B_simple. The first three columns read the meter after
that many updates, all of equal weight; the last two after 64 and 200 updates with a half-life of 8 and 32
updates. Gaussian gradients have d_eff = tr(Σ)²/tr(Σ²) equal dimensions; the bandit's units are means
of one to some thousand pulls, skewed and discrete.

Solvable worlds are those of `envs/solvable`: gradients of the A2C loss (value 0.5, entropy 0.01) from real
steps, the truth from `exact`. "14 x 5 a unit" is the mean of 14 environments' rollouts of 5 steps. The
policy is fixed, at the point of an exact gradient descent at which the batch is that many times B_simple.
The chain's rollouts bootstrap at their end, and each starts in the state in which the one before it ended.

Written by

    python scripts/noise_coverage.py --repetitions {repetitions} --world-repetitions {world_repetitions} --seed {seed}
"""

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


def table(section: Section, repetitions: int, seed: int) -> str:
    """Measure one section: its text below the title."""
    error = 100 * (0.05 * 0.95 / repetitions) ** 0.5
    lines = [f"{repetitions} repetitions: one standard error is about {error:.1f} points.", ""]
    lines.append("| problem | " + " | ".join(r.title for r in REGIMES) + " |")
    lines.append("|---|" + "---|" * len(REGIMES))
    z = []
    for problem in section.problems:
        row = coverage(problem, REGIMES, repetitions, seed)
        lines.append(f"| {problem.name} | " + " | ".join(map(str, row)) + " |")
        print(lines[-1], flush=True)
        z += [problem.z] if isinstance(problem, Solvable) else []
    if z:
        lines += ["", f"Sampled signal and noise average the exact ones within {max(z):.1f} standard errors."]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--world-repetitions", type=int, default=2000, help="in solvable worlds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few rows of each table")
    parser.add_argument("--only", default="", help="measure tables so titled; keep the others of --out")
    parser.add_argument("--out", type=Path, help="write the page there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    kept = {}
    if options.only and options.out:
        for part in options.out.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            kept[title] = text.strip()
    page = [INTRODUCTION.format(**vars(options))]
    for section in sections(options.quick):
        text = kept.get(section.title, "")
        if options.only in section.title:
            made_up = not section.title.startswith("Solvable")
            repetitions = options.repetitions if made_up else options.world_repetitions
            text = table(section, repetitions, options.seed)
        page.append(f"## {section.title}\n\n{text}\n")
    page.append(CLOSING.strip() + "\n")
    if options.out:
        options.out.write_text("\n".join(page), encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
