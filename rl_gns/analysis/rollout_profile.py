"""Interval of a critical number of environments, from the law of both axes: a profile, as `_profile` has it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import f as f_distribution

from rl_gns.analysis._profile import Floats, calibrated, freedom, mean_squares, variance
from rl_gns.analysis.rollouts import effect

_STEP = 0.1
_NEAR = np.concatenate([-np.geomspace(1e-3, 1, 25), [0.0], np.geomspace(1e-3, 1, 25)])  # around the fit


class _Law(Protocol):
    @property
    def lengths(self) -> Floats: ...
    @property
    def time_bounds(self) -> tuple[float, float]: ...
    @property
    def level_bounds(self) -> tuple[float, float]: ...
    def shapes(self, at: Floats) -> tuple[Floats, Floats]: ...
    def solve(self, y: Floats, g: Floats, g_bound: Floats) -> tuple[Floats, Floats]: ...
    def objective(self, y: Floats, p: Floats) -> float: ...


class Profile:
    """{ln n_crit(T) : F ≤ q}, F from the best τ at each; q from the same F in resampled values.

    Open towards `limit`, "linear" or "constant", where the law is taken for it.
    """

    def __init__(
        self,
        model: _Law,
        y: Floats,
        best: Floats,
        drawn: Floats,
        replicas: Floats,
        cells: NDArray[np.intp],
        parameters: int,
        confidence: float,
        limit: str | None,
    ) -> None:
        self.model, self.y, self.best, self.drawn = model, y, best, drawn
        self.cells, self.parameters, self.confidence = cells, parameters, confidence
        self.limit = limit
        self.leasts = np.array([model.objective(*each) for each in zip(drawn, replicas, strict=True)])
        times = np.union1d(np.linspace(*model.time_bounds, 61), best[1] + _NEAR)
        self.times = times[(times >= model.time_bounds[0]) & (times <= model.time_bounds[1])]
        self.known: dict[int, tuple[float, float]] = {}

    def __call__(self, rollout: int) -> tuple[float, float]:
        """Ends of ln n_crit at rollout length T; -∞ and ∞ where the points give no bound."""
        if rollout not in self.known:
            self.known[rollout] = self._interval(rollout)
        return self.known[rollout]

    def _interval(self, rollout: int) -> tuple[float, float]:
        shift = np.log(effect(rollout, self.times) / rollout)
        fitted = float(self.best[0] + np.log(effect(rollout, self.best[1]) / rollout))
        low, high = self.model.level_bounds
        x = np.union1d(np.arange(low - np.log(self.model.lengths.max()), high, _STEP), fitted + _NEAR)
        objective = self._least(self.y[None], x, shift)[:, 0]
        least = min(float(objective.min()), self.model.objective(self.y, self.best))
        allowed = least + self._quantile(fitted, shift, least) * self._variance(least)

        def outside(level: float) -> float:
            return float(self._least(self.y[None], np.array([level]), shift)[0, 0]) - allowed

        inside = np.flatnonzero(objective <= allowed)
        first, last = int(inside[0]), int(inside[-1])
        return (
            -np.inf
            if first == 0 or self.limit == "constant"
            else float(brentq(outside, x[first - 1], x[first])),
            np.inf
            if last == x.size - 1 or self.limit == "linear"
            else float(brentq(outside, x[last], x[last + 1])),
        )

    def _quantile(self, fitted: float, shift: Floats, least: float) -> float:
        between, within = mean_squares(least, self.y, self.cells, self.parameters)
        settings = int(self.cells.max()) + 1
        spare = freedom(between, within, self.y.size, settings, self.parameters)
        here = self._least(self.drawn, np.array([fitted]), shift)[0]
        leasts = np.minimum(self.leasts, here)
        spread = variance(*mean_squares(leasts, self.drawn, self.cells, self.parameters))
        table = float(f_distribution.ppf(self.confidence, 1, spare))
        return calibrated((here - leasts) / spread, table, self.y.size - self.parameters, self.confidence)

    def _variance(self, least: float) -> float:
        return float(variance(*mean_squares(least, self.y, self.cells, self.parameters)))

    def _least(self, y: Floats, x: Floats, shift: Floats) -> Floats:
        """[x, sets] objective of values y [sets, points] at the best τ for each ln n_crit of `x`."""
        at = np.stack([(x[:, None] - shift).reshape(-1), np.tile(self.times, x.size)], axis=1)
        objective = self.model.solve(y, *self.model.shapes(at))[0]
        return np.asarray(objective.reshape(len(y), x.size, self.times.size).min(-1).T)
