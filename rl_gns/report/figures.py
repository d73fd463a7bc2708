"""The figures of a study's fronts, each from `Fits`. They draw what was fitted and fit nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_gns.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    around,
    colours,
    legend,
    legend_above,
    log_scale,
    panels,
    with_ends,
)
from rl_gns.studies.fits import Fits

MOST_PANELS = 4
ROOM, ROOM_BESIDE = 1.6, 2.5
"""By how much the axes of a front go beyond its points, alone and beside the paper's."""
INSIDE = 1.06
"""How far within a panel's edge a bar that leaves it ends, so that its arrow is seen."""


def fronts(fits: Fits, rollout: int, paper: pd.DataFrame | None = None) -> Figure:
    """Updates against observations (as Figs. 1, 11 and 12 of the paper) and updates against batch size."""
    figure, (by_cost, by_batch) = panels(2)
    points = fits.points[fits.points["rollout"] == rollout]
    goals = sorted(points["goal"].unique())
    # The paper's own reach decades beyond: near ours is what there is to compare.
    room = ROOM if paper is None else ROOM_BESIDE
    batches, updates = around(points["batch"], room=room), around(points["updates"], room=room)
    by_batch.set(xlim=batches, ylim=updates)
    by_cost.set(xlim=updates, ylim=around(points["observations"], room=room))
    for goal, colour in zip(goals, colours(len(goals)), strict=True):
        front = fits.front_of[rollout, float(goal)]
        cell = points[points["goal"] == goal]
        met, missed = cell[~cell["censored"]], cell[cell["censored"]]
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4, "color": colour, "alpha": 0.75, "mew": 0}
        hollow: dict[str, Any] = {"ls": "", "ms": 5, "color": colour, "mfc": "none", "alpha": 0.7}
        by_cost.plot(met["updates"], met["observations"], **dots)
        by_batch.plot(met["batch"], met["updates"], **dots, label=f"{goal:g}")
        by_cost.plot(missed["updates"], missed["observations"], marker=">", **hollow)
        by_batch.plot(missed["batch"], missed["updates"], marker="^", **hollow)
        if (front.s_min is None and front.e_min is None) or not len(met):
            continue
        batch = np.geomspace(met["batch"].min() / 1.5, met["batch"].max() * 1.5, 100)
        curve = front.updates(batch)
        style = "-" if front.b_crit is not None else "--"
        by_cost.plot(curve, curve * batch, style, color=colour, lw=1.3)
        by_batch.plot(batch, curve, style, color=colour, lw=1.3)
        if front.b_crit is not None and front.s_min is not None and batches[0] < front.b_crit < batches[1]:
            low, high = front.b_crit_low or 0.0, front.b_crit_high or math.inf
            mark: dict[str, Any] = {"mfc": "w", "mec": colour, "mew": 1.5, "zorder": 4}
            bar: dict[str, Any] = {"fmt": "D", "ms": 7, "lw": 1.8, "color": colour, **mark}
            edges = batches[0] * INSIDE, batches[1] / INSIDE
            level = [2 * front.s_min]
            with_ends(by_batch, level, [front.b_crit], [low], [high], within=edges, across=True, **bar)
            by_cost.plot([2 * front.s_min], [2 * front.s_min * front.b_crit], "D", ms=7, **mark)
    by_cost.set(xlabel="updates to the goal", ylabel="observations to the goal")
    by_batch.set(xlabel="batch (observations per update)", ylabel="updates to the goal")
    for axes in (by_cost, by_batch):
        log_scale(axes, "x")
        log_scale(axes, "y")
    if paper is not None:
        _papers_fronts(by_cost, by_batch, paper)
    legend_above(figure, [by_batch], "goal (score)")
    return figure


def _papers_fronts(by_cost: Axes, by_batch: Axes, paper: pd.DataFrame) -> None:
    """Lines with their goals at the last point within each panel."""
    style: dict[str, Any] = {"color": GREY, "lw": 0.8, "marker": ".", "ms": 2.5, "alpha": 0.55, "zorder": 0}
    named = False
    for goal, theirs in paper.groupby("goal"):
        batch, updates = (theirs[name].to_numpy(dtype=float) for name in ("batch_observations", "updates"))
        for axes, x, y in ((by_cost, updates, batch * updates), (by_batch, batch, updates)):
            label = "the paper's, one line a goal" if axes is by_batch and not named else None
            axes.plot(x, y, **style, label=label)
            (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
            (inside,) = np.nonzero((x > left) & (x < right / 1.2) & (y > bottom) & (y < top / 1.2))
            if len(inside):
                at = x[inside[-1]], y[inside[-1]]
                axes.annotate(f"{goal:g}", at, fontsize=7, color=GREY, va="bottom", ha="right")
        named = True


def critical_batch(fits: Fits) -> Figure:
    """B_crit, B_simple and its step-weighted mean over score, a panel per rollout length (at most four)."""
    lengths = sorted(fits.fronts["rollout"].unique())[:MOST_PANELS]
    figure, axes = panels(len(lengths), share_y=True)
    names = ("b_crit", "noise_scale", "mean_noise_scale")
    within = around(*(fits.fronts[name] for name in names), room=5)
    for panel, rollout in zip(axes, lengths, strict=True):
        rows = fits.fronts[fits.fronts["rollout"] == rollout]
        _with_interval(panel, rows, "b_crit", "o-", BLUE, "B_crit", within)
        unknown = rows[rows["b_crit"].isna()]
        most = unknown[unknown["b_crit_high"].notna()]
        least = unknown[unknown["b_crit_low"].notna() & unknown["b_crit_high"].isna()]
        for bound, end, mark, label in (
            (most, "b_crit_high", "v", "B_crit, at most"),
            (least, "b_crit_low", "^", "B_crit, at least"),
        ):
            if len(bound):
                panel.plot(bound["goal"], bound[end], mark, ms=6, mfc="none", color=BLUE, label=label)
        _with_interval(panel, rows, "noise_scale", "s--", ORANGE, "B_simple at that score", within, 0.012)
        _with_interval(
            panel, rows, "mean_noise_scale", "D-", GREEN, "B_simple, mean over updates", within, -0.012
        )
        panel.set(xlabel="goal (score)", title=f"rollouts of {rollout}")
        if not panel.has_data():
            panel.annotate("can't tell", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY)
    log_scale(axes[0], "y")
    axes[0].set_ylabel("observations")
    legend_above(figure, axes)
    return figure


def _with_interval(
    panel: Axes,
    rows: pd.DataFrame,
    name: str,
    style: str,
    colour: str,
    label: str,
    within: tuple[float, float],
    shift: float = 0.0,
) -> None:
    """Values with their intervals; `shift`, a share of the scores' range, keeps neighbours apart."""
    known = rows[rows[name].notna()]
    value = known[name]
    low, high = known[f"{name}_low"], known[f"{name}_high"]
    width = float(rows["goal"].max() - rows["goal"].min())
    if len(known):
        at = known["goal"] + shift * width
        with_ends(
            panel, at, value, low, high, within=within, fmt=style, ms=4, lw=1, color=colour, label=label
        )


def learning_rates(fits: Fits) -> Figure:
    """Best learning rate against batch, a panel per rollout length (at most four)."""
    lengths = sorted(fits.points["rollout"].unique())[:MOST_PANELS]
    figure, axes = panels(len(lengths), share_y=True)
    for panel, rollout in zip(axes, lengths, strict=True):
        points = fits.points[(fits.points["rollout"] == rollout) & ~fits.points["censored"]]
        goals = sorted(fits.points["goal"].unique())
        for i, (goal, colour) in enumerate(zip(goals, colours(len(goals)), strict=True)):
            cell = points[points["goal"] == goal]
            if cell.empty:
                continue
            shift = 1.06 ** (i - (len(goals) - 1) / 2)  # equal rates of different goals stay visible
            panel.plot([], [], "o", ms=4, color=colour, label=f"{goal:g}")
            for (size, rate, edge), same in cell.groupby(["batch", "learning_rate", "at_edge"]):
                face = "none" if edge else colour
                panel.plot(
                    size * shift, rate * shift**0.5, "o", ms=4 * len(same) ** 0.5, color=colour, mfc=face
                )
            law = fits.rate_law_of.get((int(rollout), float(goal)))
            if law is not None:
                batch = np.geomspace(cell["batch"].min(), cell["batch"].max(), 60)
                panel.plot(batch, law.at(batch), "-" if law.batch else "--", color=colour, lw=1.1)
        panel.set(xlabel="batch (observations)", title=f"rollouts of {rollout}")
        log_scale(panel, "x", most=20 // (len(lengths) + 1))
    log_scale(axes[0], "y")
    axes[0].set_ylabel("best learning rate")
    legend_above(figure, axes, "goal")
    return figure


def noise_scale(fits: Fits, curves: list[tuple[int, list[pd.DataFrame]]]) -> Figure:
    """Noise scale along the runs, and at equal score against batch.

    Args:
        fits: of the study.
        curves: (batch, metric rows of each seed at that batch's best learning rate), ascending.
    """
    figure, (along, at_score) = panels(2)
    for (batch, seeds), colour in zip(curves, colours(len(curves)), strict=True):
        for i, metrics in enumerate(seeds):
            label = f"{batch:,}" if i == 0 else None
            x, y = metrics["observations"], metrics["noise_scale"]
            along.plot(x, y, ".-", ms=3, lw=0.8, alpha=0.8, color=colour, label=label)
    goals = sorted(fits.cells["goal"].unique())
    lengths = sorted(fits.cells["rollout"].unique())
    met = fits.points[~fits.points["censored"] & (fits.points["rollout"] == lengths[0])]
    cells = fits.cells[(fits.cells["rollout"] == lengths[0]) & fits.cells["noise_scale"].notna()]
    # Student's t of two seeds may span seven decades, which would make one height of all points.
    limits = around(met["noise_scale"], cells["noise_scale"], room=2)
    within = limits[0] * INSIDE, limits[1] / INSIDE
    for i, (goal, colour) in enumerate(zip(goals, colours(len(goals)), strict=True)):
        shift = 1.05 ** (i - (len(goals) - 1) / 2)
        seeds, rows = met[met["goal"] == goal], cells[cells["goal"] == goal]
        at_score.plot(seeds["batch"] * shift, seeds["noise_scale"], ".", ms=3, color=colour, alpha=0.5)
        if len(rows):
            ends = (rows["noise_scale"], rows["noise_scale_low"], rows["noise_scale_high"])
            style: dict[str, Any] = {"fmt": "o-", "ms": 4, "lw": 0.9, "color": colour, "label": f"{goal:g}"}
            with_ends(at_score, rows["batch"] * shift, *ends, within=within, **style)
    at_score.set_ylim(limits)
    if not (met["noise_scale"].notna().any() or len(cells)):  # an axis without a point can't be logarithmic
        at_score.set_xlim(around(fits.points["batch"]))
    along.set(xlabel="observations", ylabel="noise scale (observations)", title="along the runs")
    at_score.set(
        xlabel="batch (observations)",
        ylabel="noise scale (observations)",
        title=f"where each goal is reached, rollouts of {lengths[0]}",
    )
    for panel in (along, at_score):
        log_scale(panel, "x")
        log_scale(panel, "y")
    legend(along, "batch")
    legend(at_score, "goal (score)")
    return figure
