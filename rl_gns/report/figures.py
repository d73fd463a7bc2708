"""The figures of a study's page, each from `Fits`. They draw what was fitted and fit nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_gns.studies.fits import Fits

GREY = "#8a8a8a"
BLUE, ORANGE, GREEN = "#1f5fa8", "#d9730d", "#3a8a4d"


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0].tolist()
    for axis in axes:
        axis.grid(alpha=0.25, which="both", lw=0.4)
    return figure, axes


def _colours(count: int) -> list[Any]:
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.88, max(count, 1))]


def _legend(axes: Axes, title: str | None = None) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False, title=title, title_fontsize=7)


def fronts(fits: Fits, rollout: int, paper: pd.DataFrame | None = None) -> Figure:
    """Updates against observations (as Figs. 1, 11 and 12 of the paper) and updates against batch size."""
    figure, (by_cost, by_batch) = _figure(2)
    points = fits.points[fits.points["rollout"] == rollout]
    goals = sorted(points["goal"].unique())
    if paper is not None:
        for _, theirs in paper.groupby("goal"):
            cost = theirs["batch_observations"] * theirs["updates"]
            by_cost.plot(theirs["updates"], cost, "-", color=GREY, lw=0.8, alpha=0.5, zorder=0)
            by_batch.plot(
                theirs["batch_observations"], theirs["updates"], "-", color=GREY, lw=0.8, alpha=0.5, zorder=0
            )
    for goal, colour in zip(goals, _colours(len(goals)), strict=True):
        front = fits.front_of[rollout, float(goal)]
        cell = points[points["goal"] == goal]
        met, missed = cell[~cell["censored"]], cell[cell["censored"]]
        by_cost.plot(met["updates"], met["observations"], "o", ms=4, color=colour)
        by_batch.plot(met["batch"], met["updates"], "o", ms=4, color=colour, label=f"{goal:g}")
        by_cost.plot(
            missed["updates"], missed["observations"], ">", ms=4, mfc="none", color=colour, alpha=0.6
        )
        by_batch.plot(missed["batch"], missed["updates"], "^", ms=4, mfc="none", color=colour, alpha=0.6)
        if (front.s_min is None and front.e_min is None) or not len(met):
            continue
        batch = np.geomspace(met["batch"].min() / 1.5, met["batch"].max() * 1.5, 100)
        updates = front.updates(batch)
        style = "-" if front.b_crit is not None else "--"
        by_cost.plot(updates, updates * batch, style, color=colour, lw=1.3)
        by_batch.plot(batch, updates, style, color=colour, lw=1.3)
        if front.b_crit is not None and front.s_min is not None:
            low, high = front.b_crit_low or front.b_crit, front.b_crit_high or front.b_crit
            # The band turns about the middle of the points, where they hold the curve.
            middle = float(np.exp(np.log(met["batch"]).mean()))
            at = front.s_min * (1 + front.b_crit / middle)
            ends = [at * (1 + c / batch) / (1 + c / middle) for c in (low, high)]
            by_batch.fill_between(batch, np.minimum(*ends), np.maximum(*ends), color=colour, alpha=0.15, lw=0)
            if low <= front.b_crit <= high:
                by_batch.axvline(front.b_crit, color=colour, lw=0.7, ls=":")
    by_cost.set(xscale="log", yscale="log", xlabel="updates to the goal", ylabel="observations to the goal")
    by_batch.set(
        xscale="log", yscale="log", xlabel="batch (observations per update)", ylabel="updates to the goal"
    )
    _legend(by_batch, "goal (score)")
    return figure


def critical_batch(fits: Fits) -> Figure:
    """B_crit, B_simple and its step-weighted mean over score, a panel per rollout length (at most four)."""
    lengths = sorted(fits.fronts["rollout"].unique())[:4]
    figure, panels = _figure(len(lengths))
    for axes, rollout in zip(panels, lengths, strict=True):
        rows = fits.fronts[fits.fronts["rollout"] == rollout]
        known = rows[rows["b_crit"].notna()]
        low, high = known["b_crit_low"].fillna(known["b_crit"]), known["b_crit_high"].fillna(known["b_crit"])
        spread = np.maximum([known["b_crit"] - low, high - known["b_crit"]], 0)
        axes.errorbar(
            known["goal"], known["b_crit"], yerr=spread, fmt="o-", ms=4, capsize=2, color=BLUE, label="B_crit"
        )
        axes.plot(
            rows["goal"], rows["noise_scale"], "s--", ms=4, color=ORANGE, lw=0.9, label="B_simple there"
        )
        axes.plot(
            rows["goal"], rows["mean_noise_scale"], "D-", ms=4, color=GREEN, lw=0.9, label="B_simple, mean"
        )
        bound = rows[rows["b_crit"].isna() & rows["b_crit_high"].notna()]
        axes.plot(
            bound["goal"], bound["b_crit_high"], "v", ms=5, mfc="none", color=BLUE, label="B_crit, at most"
        )
        bound = rows[rows["b_crit"].isna() & rows["b_crit_low"].notna() & rows["b_crit_high"].isna()]
        axes.plot(
            bound["goal"], bound["b_crit_low"], "^", ms=5, mfc="none", color=BLUE, label="B_crit, at least"
        )
        axes.set(yscale="log", xlabel="score", title=f"rollouts of {rollout}")
    panels[0].set_ylabel("observations")
    _legend(panels[0])
    return figure


def learning_rates(fits: Fits) -> Figure:
    """Best learning rate against batch, a panel per rollout length (at most four)."""
    lengths = sorted(fits.points["rollout"].unique())[:4]
    figure, panels = _figure(len(lengths))
    for axes, rollout in zip(panels, lengths, strict=True):
        points = fits.points[(fits.points["rollout"] == rollout) & ~fits.points["censored"]]
        goals = sorted(points["goal"].unique())
        for i, (goal, colour) in enumerate(zip(goals, _colours(len(goals)), strict=True)):
            cell = points[points["goal"] == goal]
            shift = 1.05 ** (i - (len(goals) - 1) / 2)  # equal rates of different goals stay visible
            for edge, face in ((False, colour), (True, "none")):
                part = cell[cell["at_edge"] == edge]
                label = f"{goal:g}" if not edge else None
                axes.plot(
                    part["batch"] * shift,
                    part["learning_rate"],
                    "o",
                    ms=4,
                    color=colour,
                    mfc=face,
                    label=label,
                )
            law = fits.rate_law_of.get((int(rollout), float(goal)))
            if law is not None:
                batch = np.geomspace(cell["batch"].min(), cell["batch"].max(), 60)
                axes.plot(batch, law.at(batch), color=colour, lw=1.1)
        axes.set(xscale="log", yscale="log", xlabel="batch (observations)", title=f"rollouts of {rollout}")
    panels[0].set_ylabel("learning rate")
    _legend(panels[0], "goal (score)")
    return figure


def two_axes(fits: Fits) -> Figure:
    """Updates over (environments, rollout) with lines of equal batch and cost; critical environments over rollout."""
    figure, (plane, critical) = _figure(2)
    goal = max(fits.rollout_law_of)
    law = fits.rollout_law_of[goal]
    met = fits.points[(fits.points["goal"] == goal) & ~fits.points["censored"]]
    mean = np.exp(np.log(met["updates"]).groupby([met["num_envs"], met["rollout"]]).mean())
    envs, rollouts = (np.array(mean.index.get_level_values(level), dtype=float) for level in (0, 1))
    updates = mean.to_numpy(dtype=float)
    shown = plane.scatter(envs, rollouts, c=np.log10(updates), s=190, cmap="viridis")
    figure.colorbar(shown, ax=plane, label=f"log10 updates to {goal:g}")
    for n, t, s in zip(envs, rollouts, updates, strict=True):
        plane.annotate(
            f"{s:,.0f}", (n, t), (0, 9), textcoords="offset points", ha="center", va="bottom", fontsize=6
        )
    across = np.geomspace(envs.min(), envs.max(), 60)
    span = rollouts.min() / 1.4, rollouts.max() * 1.4
    for batch in 10.0 ** np.arange(0, 7, 0.5):
        plane.plot(across, batch / across, ":", color=GREY, lw=0.6)
    lengths = sorted(law.s_min)
    if len(lengths) > 1:
        cost = [law.s_min[t] * t * (across + law.n_crit(t).value) for t in lengths]
        plane.contour(
            across, lengths, np.log10(cost), levels=6, colors="k", linewidths=0.6, linestyles="dashed"
        )
    plane.set(xscale="log", yscale="log", ylim=span, xlabel="environments", ylabel="rollout (observations)")
    ends = [law.n_crit(t) for t in lengths]
    critical.plot(lengths, [x.value for x in ends], "-", color=BLUE, label="joint law")
    critical.fill_between(
        lengths, [x.low for x in ends], [x.high for x in ends], color=BLUE, alpha=0.15, lw=0
    )
    for t in lengths:
        front = fits.front_of.get((t, goal))
        if front is not None and front.b_crit is not None:
            low, high = front.b_crit_low or front.b_crit, front.b_crit_high or front.b_crit
            spread = [[max(front.b_crit - low, 0) / t], [max(high - front.b_crit, 0) / t]]
            critical.errorbar([t], [front.b_crit / t], yerr=spread, fmt="o", ms=4, capsize=2, color=ORANGE)
    critical.set(
        xscale="log",
        yscale="log",
        xlabel="rollout (observations)",
        ylabel=f"critical environments to {goal:g}",
    )
    _legend(critical)
    return figure


def noise_scale(curves: list[tuple[str, int, pd.DataFrame]]) -> Figure:
    """Noise scale against observations and against score; `curves` as `report.study.noise_curves` gives them."""
    figure, (along, by_score) = _figure(2)
    for (name, batch, metrics), colour in zip(curves, _colours(len(curves)), strict=True):
        along.plot(
            metrics["observations"],
            metrics["noise_scale"],
            ".-",
            ms=2,
            lw=0.8,
            color=colour,
            label=f"{batch:,}  {name}",
        )
        by_score.plot(metrics["score"], metrics["noise_scale"], ".", ms=3, color=colour)
    along.set(yscale="log", xlabel="observations", ylabel="noise scale (observations)")
    by_score.set(yscale="log", xlabel="score (mean of the last 100 games)")
    _legend(along, "batch, run")
    return figure
