"""The noise scale from how far gradients of several batch sizes can improve a loss, the paper's own way.

    ΔL(B) = ΔL_max / (1 + B_noise / B)          (McCandlish et al. 2018, equation 2.7)

Improvements along gradients of several batch sizes are averaged over updates on a grid of step sizes; the
best average of each batch size is its ΔL(B), and the fit of equation 2.7 gives B_noise. Averages come first
and the best afterwards: the best of a single noisy curve would mostly be its noise. No curvature is computed
and the loss need not be quadratic. It knows gradients and a function of them; not losses or policies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import stdtrit
from torch import Tensor

from rl_gns.noise.history import Block, History
from rl_gns.noise.interval import FEWEST_BLOCKS
from rl_gns.noise.meter import NoiseScale
from rl_gns.noise.parts import Gradient

Array = NDArray[np.float64]

STEPS = tuple(4.0**k for k in range(-7, 3))
"""The grid of step sizes, in units of one over the norm of the first gradient: lengths in weight space."""
REACH = 1e3
"""The noise scale is looked for from the smallest batch / REACH to the largest batch · REACH."""


class Fit(NamedTuple):
    """What `fit_improvement` returns."""

    largest: float
    """ΔL_max, the improvement of a batch without noise."""
    b_noise: float | None
    """In the unit of the batches; None where the improvement is proportional to B or there is none."""


def best_improvements(table: Array, steps: Sequence[float] = STEPS) -> Array:
    """[batches, steps] average improvement at each step size -> [batches], the best over step sizes, >= 0.

    Between grid points the curve is the parabola through 0, the best point and the smaller step before it,
    which is exact for a quadratic loss; it may not leave the interval up to the next grid point.
    """
    table, e = np.asarray(table, np.float64), np.asarray(steps, np.float64)
    best = np.zeros(len(table))
    for i, row in enumerate(table):
        j = int(np.argmax(row))
        best[i] = max(float(row[j]), 0.0)
        if j == 0 or best[i] == 0:
            continue
        # row = a ε - c ε² through both points
        low, high = row[j - 1] / e[j - 1], row[j] / e[j]
        c = (low - high) / (e[j] - e[j - 1])
        a = low + c * e[j - 1]
        if c > 0 and a > 0:
            step = min(a / (2 * c), e[j + 1] if j + 1 < len(e) else e[j])
            best[i] = max(best[i], a * step - c * step**2)
    return best


def fit_improvement(batches: Sequence[float], improvements: Sequence[float] | Array) -> Fit:
    """Least squares of ΔL_max / (1 + B_noise/B) to the improvement at each batch size.

    ΔL_max is linear and eliminated; B_noise is searched on a log scale within REACH of the batches.

    Raises:
        ValueError: fewer than two different batch sizes, one that isn't positive, an improvement that isn't finite.
    """
    b, d = np.asarray(batches, np.float64), np.asarray(improvements, np.float64)
    if len(set(b.tolist())) < 2 or len(b) != len(d) or not (b > 0).all() or not np.isfinite(d).all():
        raise ValueError(
            f"the fit wants a finite improvement for each of two or more batch sizes > 0, got {batches}"
        )
    if not (d > 0).any():
        return Fit(0.0, None)

    def solve(log_noise: float) -> tuple[float, float]:
        f = 1 / (1 + math.exp(log_noise) / b)
        scale = float(f @ d / (f @ f))
        return scale, float(np.square(d - scale * f).sum())

    low, high = math.log(b.min() / REACH), math.log(b.max() * REACH)
    grid = np.linspace(low, high, 61)
    k = int(np.argmin([solve(x)[1] for x in grid]))
    inside = (grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)])
    found = float(
        minimize_scalar(lambda x: solve(x)[1], bounds=inside, method="bounded", options={"xatol": 1e-9}).x
    )
    if found > high - math.log(10):
        return Fit(solve(found)[0], None)
    return Fit(solve(found)[0], math.exp(found))


def improvement_table(
    gradients: Sequence[Gradient],
    loss_at: Callable[[list[Tensor] | None], float],
    sizes: Sequence[int],
    scale: float,
) -> Array:
    """Average improvement [sizes, STEPS] along gradients of `sizes` units, at steps of scale · STEPS.

    For every size k the units are cut into disjoint groups of k; each group's mean gradient is one direction.
    The loss must come from other data than the gradients, or noise that both share looks like improvement.

    Args:
        gradients: one per unit, at the same weights.
        loss_at: displacement d -> loss at θ - d; None for the loss at θ.
        sizes: units per direction, each at most len(gradients).
        scale: length of a step of 1.
    """
    start = loss_at(None)
    table = np.zeros((len(sizes), len(STEPS)))
    for row, k in enumerate(sizes):
        groups = [gradients[i : i + k] for i in range(0, len(gradients) - k + 1, k)]
        for group in groups:
            direction = [torch.stack(tensors).mean(0) for tensors in zip(*group, strict=True)]
            for j, step in enumerate(STEPS):
                ends = loss_at(list(torch._foreach_mul(direction, step * scale)))
                table[row, j] += (start - ends) / len(groups)
    return table


class LineSearchMeter:
    """Smooths tables of improvements as `NoiseScaleMeter` smooths moments, and reads B_noise off them.

    The interval is that of a delete-one-block jackknife of log B_noise with blocks of unequal size (Busing,
    Meijer & van der Leeden 1999, Statistics and Computing 9:3); eight updates are the fewest that give one.

    Args:
        batches: the batch sizes of the table's rows, in observations.
        unit_observations: observations in one unit, in which the reading's `noise` is expressed.
        halflife: observations after which a table weighs half.
        confidence: nominal coverage of the interval.
    """

    def __init__(
        self, batches: Sequence[float], unit_observations: float, halflife: float, confidence: float = 0.95
    ) -> None:
        self.batches = [float(b) for b in batches]
        self._settings = {
            "batches": self.batches,
            "unit_observations": float(unit_observations),
            "halflife": float(halflife),
            "confidence": float(confidence),
        }
        self.scale: float | None = None
        """Length of a step of 1: one over the norm of the first gradient; set by whoever fills the tables."""
        self._history = History(float(halflife))

    def update(self, table: Array, observations: float) -> None:
        """Take in one update's improvements [batches, STEPS], which stands for `observations`.

        Raises:
            ValueError: a table of another shape or that isn't finite.
        """
        if table.shape != (len(self.batches), len(STEPS)) or not np.isfinite(table).all():
            wanted = f"[{len(self.batches)}, {len(STEPS)}]"
            raise ValueError(f"improvements must be finite and {wanted}, got {list(table.shape)}")
        self._history.append(table.astype(np.float64), 0.0, float(observations))

    def table(self) -> Array:
        """[batches, STEPS] smoothed improvements; needs an update."""
        blocks = self._history.read()
        return np.tensordot(blocks.share, blocks.x, 1)

    def read(self) -> NoiseScale:
        """B_noise now; `signal` is ΔL_max, `noise` that times B_noise / unit: their ratio is in units."""
        if not self._history.blocks:
            return NoiseScale(None, 0.0, math.inf, math.nan, math.nan, 0.0)
        blocks, now = self._history.read(), self._history.now
        fit = self._fit(np.tensordot(blocks.share, blocks.x, 1))
        if fit.b_noise is None or len(blocks.share) < FEWEST_BLOCKS:
            return NoiseScale(None, 0.0, math.inf, fit.largest, math.nan, now)
        low, high = self._interval(math.log(fit.b_noise), blocks.share, blocks.x)
        unit = self._settings["unit_observations"]
        assert isinstance(unit, float)
        noise = fit.largest * fit.b_noise / unit
        if not math.isfinite(high):
            return NoiseScale(None, low, math.inf, fit.largest, noise, now)
        return NoiseScale(fit.b_noise, low, high, fit.largest, noise, now)

    def state_dict(self) -> dict[str, Any]:
        """All state as plain numbers and lists."""
        h = self._history
        blocks = [list(b._replace(x=np.asarray(b.x).tolist())) for b in h.blocks]
        return {
            **self._settings,
            "batches": list(self.batches),
            "scale": self.scale,
            "now": h.now,
            "block_span": h.block_span,
            "blocks": blocks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: the state is of a meter with other settings.
        """
        for name, value in self._settings.items():
            if state.get(name) != value:
                raise ValueError(
                    f"the saved line search has {name} {state.get(name)}, this one {value}: make them agree"
                )
        self.scale = state["scale"]
        history = History(state["halflife"])
        history.now, history.block_span = state["now"], state["block_span"]
        history.blocks = [Block(*b)._replace(x=np.asarray(b[5], np.float64)) for b in state["blocks"]]
        self._history = history

    def _fit(self, table: Array) -> Fit:
        return fit_improvement(self.batches, best_improvements(table))

    def _interval(self, log_noise: float, share: Array, x: Array) -> tuple[float, float]:
        count = len(share)
        whole = np.tensordot(share, x, 1)
        pseudo = np.empty(count)
        h = 1 / share
        for i in range(count):
            without = (whole - share[i] * x[i]) / (1 - share[i])
            noise = self._fit(without).b_noise
            if noise is None:
                return 0.0, math.inf
            pseudo[i] = h[i] * log_noise - (h[i] - 1) * math.log(noise)
        centre = float((share * pseudo).sum())
        variance = float((np.square(pseudo - centre) / (h - 1)).mean())
        confidence = self._settings["confidence"]
        assert isinstance(confidence, float)
        width = float(stdtrit(count - 1, (1 + confidence) / 2)) * math.sqrt(variance)
        high = log_noise + width
        return math.exp(log_noise - width), math.exp(high) if high < 700 else math.inf
