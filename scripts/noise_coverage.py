"""Measures how often the meter's interval, of 95 % mostly, holds the true noise scale, and writes docs/coverage.md.

    python scripts/noise_coverage.py --repetitions 4000 --out docs/coverage.md
    python scripts/noise_coverage.py --only "Solvable world: chain" --out docs/coverage.md

`coverage_problems.py` has the made-up gradients, `coverage_worlds.py` the worlds. All repetitions go through the
meter's own History and ratio_interval at once. Every row has the same seed, whatever rows come with it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from coverage_problems import Array, Bandit, Gaussian, Moving, Problem, Spiky
from coverage_worlds import Linear, Solvable, Table
from scipy.special import stdtrit

from envs import solvable
from rl_gns.noise.history import History
from rl_gns.noise.interval import BLOCKS_PER_HALFLIFE, ratio_interval


class Regime(NamedTuple):
    """When the meter is read, in updates."""

    title: str
    updates: int
    halflife: float


STILL = (
    Regime("12 updates", 12, 1e6),
    Regime("24 updates", 24, 1e6),
    Regime("100 updates", 100, 1e6),
    Regime("half-life 8", 64, 8),
    Regime("half-life 32", 200, 32),
)
MOVING = (
    Regime("half-life 16 at 32", 32, 16),
    Regime("half-life 32 at 64", 64, 32),
    Regime("half-life 128 at 256", 256, 128),
    Regime("half-life 32 at 160", 160, 32),
)


ALIKE = "One update of fifty thirty times as long, counted by its square or like every other"


class Coverage(NamedTuple):
    """Shares of the repetitions, and the interval's usual width."""

    covered: float
    unknown: float
    needs_be: float
    """How often who knew the variance of the averages would have called the signal unknown."""
    width: float
    """Median of high - low of signal/noise, over the truth."""
    nominal: float = 0.95

    def text(self, with_width: bool) -> str:
        """The table's cell."""
        text = f"{100 * self.covered:.1f}"
        if abs(self.covered - self.nominal) > band(self.nominal):
            text = f"**{text}**"
        text += f" ({100 * self.unknown:.0f}, {100 * self.needs_be:.0f})"
        return f"{text} ±{50 * self.width:.2g}" if with_width else text


def band(nominal: float) -> float:
    """How far coverage may lie from the nominal: 2 points, and in the tails 0.7 times what there is to miss."""
    return min(0.02, 0.7 * (1 - nominal))


def coverage(
    problem: Problem | Moving,
    regimes: tuple[Regime, ...],
    repetitions: int,
    seed: int,
    confidence: float = 0.95,
) -> list[Coverage]:
    """Coverage in each regime; of a problem at rest, from one set of samples."""
    rng = np.random.default_rng(seed)
    result = []
    if not isinstance(problem, Moving):
        signal, noise = problem.sample(rng, repetitions, max(r.updates for r in regimes))
        true_signal, true_noise = np.ones_like(signal), np.full_like(signal, problem.truth)
    for _, updates, halflife in regimes:
        if isinstance(problem, Moving):
            signal, noise = problem.sample_over(rng, repetitions, updates, halflife)
            true_signal, true_noise = problem.true_signal, problem.true_noise
        history, truth = History(halflife, BLOCKS_PER_HALFLIFE), History(halflife, BLOCKS_PER_HALFLIFE)
        for t in range(updates):
            history.append(signal[t], noise[t], 1.0)
            truth.append(true_signal[t], true_noise[t], 1.0)
        window = truth.read()
        sigma = np.tensordot(window.share, window.x, 1) / np.tensordot(window.share, window.y, 1)
        interval = ratio_interval(history.read(), confidence)
        result.append(
            Coverage(
                covered=float(((interval.low <= sigma) & (sigma <= interval.high)).mean()),
                unknown=float((interval.low == 0).mean()),
                needs_be=_unknown_to_all(interval.x - sigma * interval.y, interval.x),
                width=float(np.median((interval.high - interval.low) / sigma)),
                nominal=confidence,
            )
        )
    return result


def _unknown_to_all(error: Array, x: Array) -> float:
    """Share of signals x within 1.64 standard deviations of 0, that deviation being the repetitions' own."""
    return float((x < stdtrit(1e6, 0.95) * error.std()).mean())


class Section(NamedTuple):
    """A table; `problems` may be made while they are read."""

    title: str
    problems: Iterable[Problem | Moving]
    regimes: tuple[Regime, ...] = STILL
    confidence: float = 0.95


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
    for confidence in (0.5, 0.8, 0.9, 0.99):
        few = [Gaussian(*g) for g in grid if g[0] == 200][: 1 if quick else None]
        title = f"Independent updates, intervals of {confidence:.0%}".replace("%", " %")
        yield Section(title, few + (pulls[-4:] if not quick else []), confidence=confidence)
    few = [g for g in grid if g[0] != 200]
    for phi in (0.5, 0.8):
        tau = (1 + phi) / (1 - phi)
        title = f"Errors correlated over updates, φ = {phi} ({tau:.0f} updates tell as much as one alone)"
        yield Section(title, [Gaussian(*g, memory=phi) for g in few])
    rest = [Gaussian(200, 8, r) for r in (ratios[1:2] if quick else ratios[1:])]
    drifts = [
        (1 / 3, 1.0),
        (3.0, 1.0),
        (0.1, 1.0),
        (10.0, 1.0),
        (1 / 3, 3.0),
        (3.0, 1 / 3),
        (0.1, 0.1),
        (10.0, 10.0),
    ]
    moving = [Moving(g, *d) for d in (drifts[:1] if quick else drifts) for g in rest]
    yield Section("A steady drift", moving, MOVING)
    remembering = [Gaussian(200, 8, r, memory=phi) for phi in (0.5, 0.8) for r in (0.3, 3)]
    drifting = [Moving(g, d) for g in remembering for d in (1 / 3, 3.0)]
    for problem in drifting:
        problem.name += f", φ = {problem.at_rest.memory:g}"
    yield Section("A steady drift and correlated errors", drifting[: 1 if quick else None], MOVING)
    jumps = [Moving(g, factor, step=True) for factor in (0.1, 10.0) for g in rest]
    jumps += [Moving(g, wander=0.5) for g in rest]
    yield Section("A sudden change and a restless signal", jumps[: 1 if quick else None], MOVING)
    spiky: list[Problem] = [Gaussian(d, k, r) for d in (2, 20, 200) for k in (4, 16) for r in ratios[:3]]
    spiky = [*spiky[: 1 if quick else None], *(pulls[-8:-5] if not quick else [])]
    yield Section(ALIKE, [Spiky(problem, alike) for problem in spiky for alike in (False, True)])
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

How often the 95 % interval of `NoiseScaleMeter` held the true B_simple, in per cent. In brackets how often the
reading was *unknown, at least X* (which counts as covering where X <= truth), and how often it had to be: the signal
was less than 1.64 true standard deviations above 0. {repetitions} repetitions in the tables of made-up gradients,
{world_repetitions} in those of solvable worlds. Bold: outside 93-97; in tables of another confidence, more than
2 points off (at 99 %: 0.7).

K units per update; "0.3 B" is a batch of 0.3 times B_simple. Gaussian gradients have d_eff = tr(Σ)²/tr(Σ²) equal
dimensions; the bandit's units are means of one to some thousand pulls, skewed and discrete.

*At rest* (first tables and solvable worlds): three columns read the meter after that many updates, all of equal
weight; two after 64 and 200 updates with a half-life of 8 and 32 updates.

*On the move*: the half-life and the update at which the meter is read, both in updates. The truth is the ratio of
the weighted averages over the window. After ± the usual half-width of the interval in per cent of the truth.

Solvable worlds are those of `envs/solvable`: gradients of the A2C loss (value 0.5, entropy 0.01) from real
steps, the truth from `exact`. "14 x 5 a unit" is the mean of 14 environments' rollouts of 5 steps. The
policy is fixed, at the point of an exact gradient descent at which the batch is that many times B_simple.
The chain's rollouts bootstrap at their end, and each starts in the state in which the one before it ended.

Written by

    python scripts/noise_coverage.py --repetitions {repetitions} --world-repetitions {world_repetitions} \\
        --seed {seed} --out docs/coverage.md
"""

CLOSING = """
## Where it fails, and why

* **Short and correlated: too narrow.** A window worth fewer than about ten independent updates can't show its own
  correlation: 12 and 24 updates, or a half-life of 8 or 16, in the tables with φ = 0.5 and 0.8. A hundred updates, or a
  half-life of 32, suffice there; where the signal drifts meanwhile it takes a half-life of 128.
  Rule: choose a half-life of at least ten times as many updates as the correlation lasts.
* **Very short and skewed: too narrow.** The chain's moments are far from normal (with 4 units an update, z has a
  skewness of 5.5): a few updates hold most of the signal. A dozen of them can't show how skewed they are, even though
  what they show is taken for 1 + 8/dof times as much: two points low at 0.3 B. From 24 updates on, every cell of the
  solvable worlds and of the independent updates lies within 93-97.
* **Noise that grows tenfold a half-life: slightly narrow.** The few latest updates then hold nearly all the error.
* **Jumps, and a signal that wanders within the window: too wide.** They can't be told from correlated errors. The
  interval then reaches tens of per cent to either side where a few would have done, but there is a value. A fall of
  several orders of magnitude over the window ("half-life 32 at 160", x 0.1) counts as a jump.
* **Near the border of what can be seen** short windows call the signal unknown more often than it had to be.
* **One update that rules an average: no interval.** Where one block of updates makes up more than half of what
  signal or noise is averaged from, the reading is *unknown*. An A2C run on Breakout at too high a rate once had an
  update with some 10^4 times the usual |G|²; without this rule it read as a narrow interval around that one update
  for many half-lives. What is older than six half-lives is forgotten, so the reading comes back after six.
* **Updates of very different lengths: wide, or no interval.** Where one update of fifty has a gradient thirty times
  as long (rows named *plain*), the reading is unknown for instance 84 % of the time where the signal asks for 5. With
  every update counted alike (*alike*; `--noise-parts normalized`) it covers as at rest, but for few directions of
  noise and few units: the noise scale then reads too large, by 16 % at d_eff 2, K 4, 3 B and by 4 % at the bandit's,
  and a hundred updates are enough to see that.
* Fewer than eight updates give no interval.
* **Another confidence: cautious below 95 %.** Intervals of 99 % cover 98.2 to 99.1 %, of 90 % 89.8 to 92.7, of 80 %
  79.6 to 84.9 and of 50 % 47.8 to 58.7, mostly above. Half of it is the margin for correlation: without it one row
  (d_eff 200, K 4, 3 B) reads 55.7, 53.1, 50.2 where it reads 57.9, 55.5, 52.9, and at 95 % 94.5, 94.3, 95.0.

## Tried, and left

An update's own units show the variance of its signal without a comparison with other updates, and successive
differences hardly see a drift; together they give the correlation of errors (`scripts/noise_within.py`, which has the
formulas). For 4 units, a half-life of 32 updates read after 64, and 300 repetitions (one standard error 1.3 points):

| | meter | from within updates |
|---|---|---|
| independent errors, still or drifting, 0.3 and 3 B | 94-97 | 93-97 |
| independent errors, signal x 10 at once or wandering, 3 B | 100 | 93-94 |
| φ = 0.5, still or drifting | 91-94 | 86-93 |
| φ = 0.8, still or drifting | 87-91 | 80-89 |

It would cure the intervals that are too wide where the signal jumps, and make worse those that are too narrow where
errors are correlated: with four units, the variance of one update is so badly known that the correlation found from it
is too (with the variance known, the last row would read 90-96). So the meter keeps to what it has. More units an
update would tell more; that has not been measured.
"""


def table(section: Section, repetitions: int, seed: int) -> str:
    """Measure one section: its text below the title."""
    error = 100 * (section.confidence * (1 - section.confidence) / repetitions) ** 0.5
    lines = [f"{repetitions} repetitions: one standard error is about {error:.1f} points.", ""]
    lines.append("| problem | " + " | ".join(r.title for r in section.regimes) + " |")
    lines.append("|---|" + "---|" * len(section.regimes))
    z = []
    for problem in section.problems:
        row = coverage(problem, section.regimes, repetitions, seed, section.confidence)
        cells = [c.text(with_width=isinstance(problem, Moving)) for c in row]
        lines.append(f"| {problem.name} | " + " | ".join(cells) + " |")
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
    parser.add_argument("--only", default="", help="measure tables so titled; keep the rest of --out")
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
