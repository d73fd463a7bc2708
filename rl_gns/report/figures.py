"""The figures of a study's fronts, each from `Fits`. They draw what was fitted and fit nothing."""

from __future__ import annotations

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
    colours,
    legend,
    legend_above,
    log_scale,
    panels,
    with_ends,
)
from rl_gns.studies.fits import Fits

MOST_PANELS = 4
OPEN = 1e12
"""Observations: where the upper end of a critical batch is drawn that has none, beyond every batch."""


def fronts(fits: Fits, rollout: int, paper: pd.DataFrame | None = None) -> Figure:
    """Updates against observations (as Figs. 1, 11 and 12 of the paper) and updates against batch size."""
    figure, (by_cost, by_batch) = panels(2)
    points = fits.points[fits.points["rollout"] == rollout]
    goals = sorted(points["goal"].unique())
    if paper is not None:
        _papers_fronts(by_cost, by_batch, paper)
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
        updates = front.updates(batch)
        style = "-" if front.b_crit is not None else "--"
        by_cost.plot(updates, updates * batch, style, color=colour, lw=1.3)
        by_batch.plot(batch, updates, style, color=colour, lw=1.3)
        if front.b_crit is not None and front.s_min is not None:
            low, high = front.b_crit_low or 0.0, front.b_crit_high or OPEN
            # The band turns about the middle of the points, where they hold the curve.
            middle = float(np.exp(np.log(met["batch"]).mean()))
            at = front.s_min * (1 + front.b_crit / middle)
            ends = [at * (1 + c / batch) / (1 + c / middle) for c in (low, high)]
            by_batch.fill_between(batch, np.minimum(*ends), np.maximum(*ends), color=colour, alpha=0.13, lw=0)
            if batch[0] <= front.b_crit <= batch[-1]:
                mark: dict[str, Any] = {
                    "marker": "D",
                    "ms": 7,
                    "mfc": "w",
                    "mec": colour,
                    "mew": 1.5,
                    "zorder": 4,
                }
                by_batch.plot([front.b_crit], [2 * front.s_min], **mark)
                by_cost.plot([2 * front.s_min], [2 * front.s_min * front.b_crit], **mark)
    by_cost.set(xlabel="updates to the goal", ylabel="observations to the goal")
    by_batch.set(xlabel="batch (observations per update)", ylabel="updates to the goal")
    for axes in (by_cost, by_batch):
        log_scale(axes, "x")
        log_scale(axes, "y")
    legend(by_batch, "goal (score)", "upper right")
    return figure


def _papers_fronts(by_cost: Axes, by_batch: Axes, paper: pd.DataFrame) -> None:
    for i, (goal, theirs) in enumerate(paper.groupby("goal")):
        cost = theirs["batch_observations"] * theirs["updates"]
        style: dict[str, Any] = {
            "color": GREY,
            "lw": 0.8,
            "marker": ".",
            "ms": 2.5,
            "alpha": 0.55,
            "zorder": 0,
        }
        by_cost.plot(theirs["updates"], cost, **style)
        label = "the paper's, one line a goal" if i == 0 else None
        by_batch.plot(theirs["batch_observations"], theirs["updates"], **style, label=label)
        last = theirs.iloc[-1]
        by_batch.annotate(
            f"{goal:g}", (last["batch_observations"], last["updates"]), fontsize=6, color=GREY, va="center"
        )


def critical_batch(fits: Fits) -> Figure:
    """B_crit, B_simple and its step-weighted mean over score, a panel per rollout length (at most four)."""
    lengths = sorted(fits.fronts["rollout"].unique())[:MOST_PANELS]
    figure, axes = panels(len(lengths), share_y=True)
    for panel, rollout in zip(axes, lengths, strict=True):
        rows = fits.fronts[fits.fronts["rollout"] == rollout]
        _with_interval(panel, rows, "b_crit", "o-", BLUE, "B_crit")
        unknown = rows[rows["b_crit"].isna()]
        most = unknown[unknown["b_crit_high"].notna()]
        least = unknown[unknown["b_crit_low"].notna() & unknown["b_crit_high"].isna()]
        for bound, end, mark, label in (
            (most, "b_crit_high", "v", "B_crit, at most"),
            (least, "b_crit_low", "^", "B_crit, at least"),
        ):
            if len(bound):
                panel.plot(bound["goal"], bound[end], mark, ms=6, mfc="none", color=BLUE, label=label)
        _with_interval(panel, rows, "noise_scale", "s--", ORANGE, "B_simple at that score", 0.012)
        _with_interval(panel, rows, "mean_noise_scale", "D-", GREEN, "B_simple, mean over updates", -0.012)
        panel.set(xlabel="goal (score)", title=f"rollouts of {rollout}")
        if not panel.has_data():
            panel.annotate("can't tell", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY)
    log_scale(axes[0], "y")
    axes[0].set_ylabel("observations")
    legend_above(figure, axes)
    return figure


def _with_interval(
    panel: Axes, rows: pd.DataFrame, name: str, style: str, colour: str, label: str, shift: float = 0.0
) -> None:
    """Values with their intervals; `shift`, a share of the scores' range, keeps neighbours apart."""
    known = rows[rows[name].notna()]
    value = known[name]
    low, high = known[f"{name}_low"], known[f"{name}_high"]
    width = float(rows["goal"].max() - rows["goal"].min())
    if len(known):
        at = known["goal"] + shift * width
        with_ends(panel, at, value, low, high, fmt=style, ms=4, lw=1, color=colour, label=label)


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
            for edge, face in ((False, colour), (True, "none")):
                part = cell[cell["at_edge"] == edge]
                x, y = part["batch"] * shift, part["learning_rate"] * shift**0.5
                panel.plot(x, y, "o", ms=4, color=colour, mfc=face, label=None if edge else f"{goal:g}")
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
    for i, (goal, colour) in enumerate(zip(goals, colours(len(goals)), strict=True)):
        rows = fits.cells[(fits.cells["goal"] == goal) & (fits.cells["rollout"] == lengths[0])]
        rows = rows[rows["noise_scale"].notna()]
        shift = 1.05 ** (i - (len(goals) - 1) / 2)
        value = rows["noise_scale"]
        low, high = rows["noise_scale_low"].fillna(value), rows["noise_scale_high"].fillna(value)
        spread = np.maximum([value - low, high - value], 0)
        if len(rows):
            at_score.errorbar(
                rows["batch"] * shift,
                value,
                yerr=spread,
                fmt="o-",
                ms=4,
                lw=0.9,
                capsize=2,
                color=colour,
                label=f"{goal:g}",
            )
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
