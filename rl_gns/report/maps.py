"""The figure of the two axes: updates over environments and rollout length, and the critical number of environments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_gns.analysis import RolloutLaw
from rl_gns.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    around,
    colours,
    legend_above,
    legend_below,
    log_scale,
    panels,
    with_ends,
)
from rl_gns.studies.fits import Fits
from rl_gns.studies.words import short

MARGIN = 1.6
MOST_GOALS = 2
"""Panels of `equal_batch`: of the hardest goals."""


def two_axes(fits: Fits) -> Figure:
    """Left: updates with lines of equal batch and of equal cost. Right: critical environments over rollout length."""
    figure, (plane, critical) = panels(2, height=5.0)
    goal = max(fits.rollout_law_of)
    law = fits.rollout_law_of[goal]
    cells = fits.cells[(fits.cells["goal"] == goal) & fits.cells["updates"].notna()]
    envs, rollouts, updates = (
        cells[name].to_numpy(dtype=float) for name in ("num_envs", "rollout", "updates")
    )
    plane.set(
        xlim=(envs.min() / MARGIN, envs.max() * MARGIN),
        ylim=(rollouts.min() / MARGIN, rollouts.max() * MARGIN),
        xlabel="environments",
        ylabel="rollout (observations)",
        title=f"updates to score {goal:g}",
    )
    shown = plane.scatter(envs, rollouts, c=updates, norm="log", s=430, cmap="viridis", zorder=3)
    bright = np.log(updates) > np.log(updates).mean()
    for n, t, s, light in zip(envs, rollouts, updates, bright, strict=True):
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "zorder": 4}
        plane.annotate(short(round(s)), (n, t), **text, color="k" if light else "w")
    bar = figure.colorbar(shown, ax=plane, pad=0.01)
    log_scale(bar.ax, "y")
    bar.ax.set_ylabel("updates")
    _equal_batch(plane, sorted({float(n * t) for n, t in zip(envs, rollouts, strict=True)}), rollouts.max())
    _equal_cost(plane, law, np.geomspace(envs.min(), envs.max(), 60))
    log_scale(plane, "x", sorted(set(envs.tolist())))
    log_scale(plane, "y", sorted(set(rollouts.tolist())))
    _critical(critical, fits, law, goal)
    return figure


def equal_batch(fits: Fits) -> Figure:
    """A panel per goal: observations to it over rollout length, batch by batch, every seed and their mean."""
    shared = fits.equal_batch[["goal", "batch"]].drop_duplicates()
    goals = sorted(shared["goal"].unique())[-MOST_GOALS:]
    figure, axes = panels(len(goals), height=4.2)
    for plane, goal in zip(axes, goals, strict=True):
        batches = sorted(shared["batch"][shared["goal"] == goal])
        cells = fits.cells[(fits.cells["goal"] == goal) & fits.cells["batch"].isin(batches)]
        points = fits.points[(fits.points["goal"] == goal) & fits.points["batch"].isin(batches)]
        limits = around(points["observations"], room=2)
        for k, batch in enumerate(batches):
            shift = 1.06 ** (k - (len(batches) - 1) / 2)
            colour = colours(len(batches))[k]
            seeds = points[points["batch"] == batch]
            for missed, face in ((False, colour), (True, "none")):
                some = seeds[seeds["censored"] == missed]
                at = some["rollout"] * shift
                plane.plot(at, some["observations"], "o", ms=4, mfc=face, mec=colour, alpha=0.5)
            rows = cells[(cells["batch"] == batch) & cells["observations"].notna()].sort_values("rollout")
            with_ends(
                plane,
                rows["rollout"] * shift,
                rows["observations"],
                rows["observations_low"],
                rows["observations_high"],
                within=(limits[0] * 1.1, limits[1] / 1.1),
                fmt="s-",
                ms=6,
                color=colour,
                label=short(batch),
            )
        plane.set(xlabel="rollout (observations)", ylabel="observations to the goal", title=f"score {goal:g}")
        plane.set_ylim(limits)
        log_scale(plane, "x", sorted(points["rollout"].unique().tolist()))
        log_scale(plane, "y")
    legend_above(figure, axes, "batch")
    return figure


def _equal_batch(plane: Axes, batches: list[float], top: float) -> None:
    x_low, x_high = plane.get_xlim()
    across = np.geomspace(x_low, x_high, 20)
    box = {"fc": "w", "ec": "none", "pad": 0.6}
    for batch in batches[:: max(1, len(batches) // 6)]:
        plane.plot(across, batch / across, ":", color=GREY, lw=0.9, zorder=1)
        end = batch / (top * MARGIN * 0.93)
        if x_low * 1.1 < end < x_high / 1.2:
            plane.annotate(
                f"B {short(batch)}", (end, top * MARGIN * 0.9), fontsize=7, color="#666", va="top", bbox=box
            )


def _equal_cost(plane: Axes, law: RolloutLaw, across: np.ndarray) -> None:
    lengths = np.array(sorted(law.s_min), dtype=float)
    down = np.unique(np.round(np.geomspace(lengths[0], lengths[-1], 40)).astype(int))
    cost = [law.between(across, int(t)) * t * across for t in down]
    low, high = float(np.min(cost)), float(np.max(cost))
    levels = np.geomspace(low, high, 9)[1:-1]
    rounded = np.unique([float(f"{level:.1g}") for level in levels])
    lines = plane.contour(
        across, down, cost, levels=rounded, colors="k", linewidths=0.7, linestyles="dashed", zorder=2
    )
    plane.clabel(lines, fmt=short, fontsize=7)


def _critical(axes: Axes, fits: Fits, law: RolloutLaw, goal: float) -> None:
    lengths = sorted(law.s_min)
    measured = [law.n_crit(t) for t in lengths]
    axes.plot(
        lengths, [x.value for x in measured], "-", color=BLUE, label="measured: law that joins the fronts"
    )
    lows, highs = np.array([x.low for x in measured]), np.array([x.high for x in measured])
    rows = fits.predicted[fits.predicted["goal"] == goal] if len(fits.predicted) else fits.predicted
    named = [f"predicted{end}" for end in ("", "_low", "_high")] if len(rows) else []
    # An open end is drawn to the edge, a factor beyond all that is known.
    within = around([x.value for x in measured], lows, highs, *(rows[name] for name in named), room=2)
    if any(math.isfinite(x.value) for x in measured) or np.isfinite([lows, highs]).any():
        down = np.where(lows > 0, lows, within[0])
        up = np.where(np.isfinite(highs), highs, within[1])
        axes.fill_between(lengths, down, up, color=BLUE, alpha=0.15, lw=0)
    style: dict[str, Any] = {"fmt": "o", "ms": 5, "color": ORANGE, "within": within}
    label: str | None = "measured: each front's own"
    for t in lengths:
        front = fits.front_of.get((t, goal))
        if front is not None and front.b_crit is not None:
            low, high = front.b_crit_low or 0.0, front.b_crit_high or math.inf
            with_ends(axes, [t * 1.02], [front.b_crit / t], [low / t], [high / t], **style, label=label)
            label = None
    if fits.prediction is not None and len(rows):
        known = rows[np.isfinite(rows["predicted"])]
        ends = (known["predicted"], known["predicted_low"], known["predicted_high"])
        green: dict[str, Any] = {"fmt": "s-", "ms": 4, "color": GREEN, "within": within}
        with_ends(axes, known["rollout"] / 1.02, *ends, **green, label="predicted from one cell's runs")
        last = known[known["rollout"] == fits.prediction.rollout]
        if len(last) and fits.prediction.rollout in law.s_min and law.b_1 is not None:
            scale = law.n_crit(fits.prediction.rollout).value / float(last["predicted"].iloc[0])
            label = f"predicted shape, set equal at {fits.prediction.rollout}"
            axes.plot(known["rollout"], known["predicted"] * scale, "--", lw=1, color=GREEN, label=label)
    axes.set(
        xlabel="rollout (observations)", ylabel="critical number of environments", title=f"to score {goal:g}"
    )
    log_scale(axes, "x", lengths)
    log_scale(axes, "y")
    legend_below(axes)
