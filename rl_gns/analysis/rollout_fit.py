"""Least squares of the law that joins the fronts of several rollout lengths, with its limits and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from rl_gns.analysis._profile import Floats, Points, aic, mean_squares, rejects, resample, widened_tail
from rl_gns.analysis.fronts import checked_points
from rl_gns.analysis.rollout_profile import Profile
from rl_gns.analysis.rollouts import RolloutLaw, design_effect, effect, widest

_LEAST_TIME = 0.05  # correlation e^-20: independent
_LONGEST = 100.0  # times the longest rollout: never decays
_MARGIN = 7.0  # in ln: that far beyond the environments S differs from its limit by a thousandth
_GRID = (41, 25)  # ln B_1, ln τ

_WHY = {
    "linear": "updates fall as 1/environments: all are below the critical number; try more",
    "constant": "updates do not depend on the environments: all are above the critical number; try fewer",
}


def fit_rollouts(
    num_envs: ArrayLike,
    rollout: ArrayLike,
    updates: ArrayLike,
    shared: bool = False,
    seed: int = 0,
    bootstrap: int = 400,
    confidence: float = 0.95,
    censored: ArrayLike | None = None,
) -> RolloutLaw:
    """Fit ln S = ln S_min(T) + ln(1 + B_1 deff(T; τ)/(n T)) to one goal's fronts at several rollout lengths.

    Unweighted least squares on ln S over B_1, τ and one S_min per rollout length (one for all when `shared`:
    then longer rollouts are taken to change the noise alone, not what an update is worth). A run that missed
    the goal adds the squared shortfall where the law lies below it, as in `fit_front`.

    Intervals of B_1 and of critical numbers are profiles, calibrated as in `fit_front`, and open towards a
    limit that can't be told from the law; all others are percentiles of the same seeded two-level residual
    bootstrap, at tails widened from normal to Student's t.

    Can't tell (`b_1` None), as in `fit_front`: S that falls as 1/n at every rollout length, or does not
    depend on n at any, explains the points as well by Akaike's criterion, or can't be rejected by an F test
    while n_crit would lie beyond the environments at every length.

    Args:
        num_envs: [points] n, > 0.
        rollout: [points] T, whole numbers >= 1, at least two lengths with two n each that met the goal.
        updates: [points] S to the goal, > 0; several entries of one (n, T) are seeds. For a censored run the
            updates it made.
        shared: one S_min for all T.
        seed: of the bootstrap.
        bootstrap: replicas; 0 skips them and leaves the ends NaN.
        confidence: of the intervals.
        censored: [points] bool, True where the goal was not met. None: all met. At a rollout length where no
            run met the goal they are left out.

    Raises:
        ValueError: lists of different length, a value out of range, or too few settings for the parameters.
    """
    n, s, t, missed = _checked(num_envs, rollout, updates, censored)
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap must be >= 0 and confidence in (0, 1), got {bootstrap} and {confidence}")
    usable = ~missed | np.isin(t, t[~missed])
    n, s, t, missed = n[usable], s[usable], t[usable], missed[usable]
    met, lengths = ~missed, np.unique(t)
    _enough(n[met], t[met], lengths, shared)
    model = Model(n[met], t[met], n[missed], t[missed], np.log(s[missed]), lengths, shared)
    y = np.log(s[met])
    cells = np.unique(np.stack([t[met], n[met]]), axis=1, return_inverse=True)[1].reshape(-1)
    settings, parameters = int(cells.max()) + 1, 2 + model.levels

    free = model.fit(y, model.starts(y[None])[0])
    limit = _limit(model, y, free, cells, parameters, confidence)
    best = free if limit is None else model.limit(y, limit)
    fitted = model.predict(free)
    residual = y - fitted
    between, within = map(float, mean_squares(float((residual**2).sum()), y, cells, parameters))
    rng = np.random.default_rng(seed)
    drawn = resample(rng, fitted, residual, cells, between, within, parameters, bootstrap)
    starts = model.starts(drawn) if bootstrap else np.empty((0, 2))
    replicas = np.array([model.fit(*each) for each in zip(drawn, starts, strict=True)])
    replicas = replicas.reshape(bootstrap, best.size)
    tail = widened_tail(confidence, settings - parameters)
    profile = (
        Profile(model, y, free, drawn, replicas, cells, parameters, confidence, limit) if bootstrap else None
    )

    at_limit = model.limits(drawn, limit) if limit else np.empty((0, best.size))

    times = widest([replicas[:, 1], at_limit[:, 1]], tail)
    b_low, b_high = profile(1) if profile else (-np.inf, np.inf)
    free_low, free_high = model.time_bounds[0] + 0.1, model.time_bounds[1] - 0.1
    untold = limit is not None and not (shared and limit == "linear")
    lasting = bool(best[1] > free_high)
    notes = [] if limit is None else [_WHY[limit]]
    if lasting and not untold:
        notes.append("correlation outlasts every rollout: try longer ones")
    s_min = {int(length): float(np.exp(x)) for length, x in zip(lengths, model.level_of(best), strict=True)}
    return RolloutLaw(
        s_min if limit != "linear" else dict.fromkeys(s_min, float("nan")),
        shared,
        float(np.exp(best[0])) if limit is None else None,
        float(np.exp(b_low)) if np.isfinite(b_low) else None,
        float(np.exp(b_high)) if np.isfinite(b_high) else None,
        None if untold or lasting else float(np.exp(best[1])) if best[1] > free_low else 0.0,
        float(np.exp(times[0])) if not untold and times[0] > free_low else None,
        float(np.exp(times[1])) if not untold and times[1] < free_high else None,
        float(np.sqrt(np.mean((y - model.predict(best)) ** 2))),
        confidence,
        "; ".join(notes),
        replicas,
        tuple(best.tolist()),
        tail,
        profile,
        at_limit,
    )


def _limit(
    model: Model, y: Floats, best: Floats, cells: NDArray[np.intp], parameters: int, confidence: float
) -> str | None:
    """The limit law that explains the points as well as the law does, or None."""
    least = model.objective(y, best)
    of = {name: model.objective(y, model.limit(y, name)) for name in _WHY}
    count = {"constant": model.levels, "linear": model.levels + model.shared}
    score = {name: aic(of[name], y.size, count[name]) for name in of}
    name = min(score, key=lambda each: score[each])
    n_crit = np.exp(best[0]) * effect(model.lengths, best[1]) / model.lengths
    beyond = bool((n_crit < model.n.min()).all() or (n_crit > model.n.max()).all())
    dropped = parameters - count[name]
    as_well = score[name] <= aic(least, y.size, parameters)
    if as_well or (beyond and not rejects(y, cells, parameters, least, of[name], dropped, confidence)):
        return name
    return None


@dataclass(frozen=True)
class Model:
    """ln S over the points; the ln S_min drop out as the best levels of what is left."""

    n: Floats
    t: Floats
    bound_n: Floats
    bound_t: Floats
    log_bound: Floats
    lengths: Floats
    shared: bool

    @property
    def levels(self) -> int:
        """How many S_min are fitted."""
        return 1 if self.shared else self.lengths.size

    @property
    def time_bounds(self) -> tuple[float, float]:
        """Of ln τ: from independent to lasting longer than every rollout."""
        return float(np.log(_LEAST_TIME)), float(np.log(_LONGEST * self.lengths.max()))

    @property
    def level_bounds(self) -> tuple[float, float]:
        """Of ln B_1: n_crit at every length far below the least and far beyond the most environments."""
        most = self.n.max() * self.lengths.max()
        return float(np.log(self.n.min()) - _MARGIN), float(np.log(most) + _MARGIN)

    @cached_property
    def columns(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_], Points]]:
        """Per level its points, its bounds, and the kernel that finds the level."""
        found = []
        for length in [None] if self.shared else self.lengths:
            mine = np.full(self.t.shape, True) if length is None else self.t == length
            bounds = np.full(self.bound_t.shape, True) if length is None else self.bound_t == length
            kernel = Points(
                self.n[mine], np.zeros(mine.sum()), (1.0, 1.0), self.bound_n[bounds], self.log_bound[bounds]
            )
            found.append((mine, bounds, kernel))
        return found

    @cached_property
    def at_points(self) -> NDArray[np.intp]:
        """Index of each point's rollout length."""
        return np.searchsorted(self.lengths, self.t)

    @cached_property
    def at_bounds(self) -> NDArray[np.intp]:
        """The same of the bounds."""
        return np.searchsorted(self.lengths, self.bound_t)

    def shapes(self, at: Floats) -> tuple[Floats, Floats]:
        """ln(1 + n_crit(T)/n) [G, points] and [G, bounds] for each (ln B_1, ln τ) of `at` [G, 2]."""
        times, inverse = np.unique(at[:, 1], return_inverse=True)
        ratio = np.array([np.log(effect(self.lengths, x) / self.lengths) for x in times])
        log_n_crit = at[:, :1] + ratio[inverse]
        return (
            np.logaddexp(0.0, log_n_crit[:, self.at_points] - np.log(self.n)),
            np.logaddexp(0.0, log_n_crit[:, self.at_bounds] - np.log(self.bound_n)),
        )

    def solve(self, y: Floats, g: Floats, g_bound: Floats) -> tuple[Floats, Floats]:
        """Objective [..., G] and levels [levels, ..., G] of values y [..., points] at shapes g [G, points]."""
        found = [
            kernel.given(g[:, mine], g_bound[:, bounds], y[..., mine])
            for mine, bounds, kernel in self.columns
        ]
        return np.sum([each.objective for each in found], axis=0), np.array(
            [each.intercept for each in found]
        )

    def objective(self, y: Floats, p: Floats) -> float:
        """Least objective of values y at (ln B_1, ln τ)."""
        return float(self.solve(y, *self.shapes(p[None, :2]))[0][0])

    def level_of(self, p: Floats) -> Floats:
        """ln S_min of each rollout length."""
        return np.repeat(p[2:], self.lengths.size) if self.shared else p[2:]

    def predict(self, p: Floats) -> Floats:
        """ln S at the points."""
        return self.shapes(p[None, :2])[0][0] + self.level_of(p)[self.at_points]

    def fit(self, y: Floats, start: Floats) -> Floats:
        """ln B_1, ln τ and the ln S_min, from `start` = (ln B_1, ln τ)."""

        def residual(p: Floats) -> Floats:
            g, g_bound = self.shapes(p[None])
            levels = self.level_of(np.concatenate([p, self.solve(y, g, g_bound)[1][:, 0]]))
            short = self.log_bound - levels[self.at_bounds] - g_bound[0]
            return np.concatenate([y - levels[self.at_points] - g[0], np.maximum(short, 0.0)])

        low, high = np.array([self.level_bounds, self.time_bounds]).T
        found = least_squares(
            residual, np.clip(start, low, high), bounds=(low, high), x_scale=1.0, xtol=1e-10, ftol=1e-12
        ).x
        return self.with_levels(y, found)

    def with_levels(self, y: Floats, p: Floats) -> Floats:
        """(ln B_1, ln τ) and the best ln S_min there."""
        return np.concatenate([p, self.solve(y, *self.shapes(p[None]))[1][:, 0]])

    def limit(self, y: Floats, name: str) -> Floats:
        """The parameters at one end of ln B_1, with the best τ there, which is its least where none is told."""
        return np.asarray(self.limits(y[None], name)[0])

    def limits(self, y: Floats, name: str) -> Floats:
        """The same [sets, 2 + levels] of sets of values [sets, points]."""
        log_b, times = self.level_bounds[name == "linear"], np.array(self.time_bounds[:1])
        if self.shared and name == "linear":
            times = np.linspace(*self.time_bounds, 400)
        at = np.stack([np.full(times.size, log_b), times], axis=1)
        objective, levels = self.solve(y, *self.shapes(at))
        best = objective.argmin(-1)
        return np.concatenate([at[best], levels[:, np.arange(len(y)), best].T], axis=1)

    @cached_property
    def grid(self) -> tuple[Floats, Floats, Floats]:
        """(ln B_1, ln τ) [G, 2] to look at first, and the shapes there."""
        levels, times = np.linspace(*self.level_bounds, _GRID[0]), np.linspace(*self.time_bounds, _GRID[1])
        at = np.stack(np.meshgrid(levels, times, indexing="ij"), -1).reshape(-1, 2)
        return (at, *self.shapes(at))

    def starts(self, y: Floats) -> Floats:
        """Best (ln B_1, ln τ) of the grid for each set of values [sets, points]."""
        at, g, g_bound = self.grid
        return np.asarray(at[self.solve(y, g, g_bound)[0].argmin(-1)])


def _enough(n: Floats, t: Floats, lengths: Floats, shared: bool) -> None:
    if lengths.size < 2:
        raise ValueError(
            "one rollout length says nothing of correlation: sweep at least two, or use fit_front"
        )
    for length in lengths:
        if np.unique(n[t == length]).size < 2:
            raise ValueError(f"rollout {int(length)} has one number of environments: sweep at least two")
    settings, parameters = np.unique(np.stack([t, n]), axis=1).shape[1], 2 + (1 if shared else lengths.size)
    if settings <= parameters:
        raise ValueError(f"{parameters} parameters need more than {settings} settings: sweep more of them")


def _checked(
    num_envs: ArrayLike, rollout: ArrayLike, updates: ArrayLike, censored: ArrayLike | None
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    n, t = np.asarray(num_envs, dtype=np.float64), np.asarray(rollout, dtype=np.float64)
    s = np.asarray(updates, dtype=np.float64)
    if t.shape != n.shape:
        raise ValueError(
            f"num_envs and rollout must be lists of one length, got shapes {n.shape} and {t.shape}"
        )
    checked_points(n, s, censored)
    design_effect(t, 0.0)
    c = np.zeros(n.shape, dtype=bool) if censored is None else np.asarray(censored).astype(bool)
    order = np.lexsort((s, c, n, t))
    return n[order], s[order], t[order], c[order]
