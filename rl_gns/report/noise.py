"""What `rl-gns noise RUN` shows: the noise scale along a run as a table and as a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_gns.analysis import tradeoff
from rl_gns.errors import UserError
from rl_gns.report import noise_parts
from rl_gns.training.config import TrainConfig
from rl_gns.training.saved import Run
from rl_gns.training.seeing import BLIND

BLUE, ORANGE, GREY, GREEN = "#1f5fa8", "#d9730d", "#8a8a8a", "#009e73"


def table(run: Run, rows: int = 12) -> pd.DataFrame:
    """Up to `rows` evenly spaced metric rows: observations, score, noise scale, its interval, signal, noise."""
    metrics = run.metrics()
    columns = [
        "observations",
        "score",
        "noise_scale",
        "noise_scale_low",
        "noise_scale_high",
        "signal",
        "noise",
    ]
    metrics = metrics.dropna(subset=["noise_scale_low"])[columns]
    if len(metrics) > rows:  # a single one is the last
        metrics = metrics.iloc[np.unique(np.linspace(len(metrics) - 1, 0, rows).round().astype(int))]
    return metrics.reset_index(drop=True)


def step_batch(config: TrainConfig) -> int:
    """Observations whose mean gradient one step of the optimizer follows: PPO's minibatch, A2C's whole rollout."""
    return max(1, config.batch // (config.minibatches or 1)) if config.algo == "ppo" else config.batch


def heading(run: Run) -> str:
    """What the tables' columns are, and in which units."""
    percent, batch = 100 * run.config.confidence, step_batch(run.config)
    has = f"a batch has {batch:,}" if batch == run.config.batch else f"a minibatch has {batch:,}"
    return (
        f"noise scale B_simple with its {percent:g} % interval, in observations ({has}); where it is\n"
        "unknown, it is at least `low`. signal |G|^2; noise tr(S) of one environment's rollout"
    )


def text(frame: pd.DataFrame) -> str:
    """The table for people; an unknown noise scale reads `unknown` with its lower bound beside it."""
    shown = pd.DataFrame(
        {
            "observations": [f"{x:,.0f}" for x in frame["observations"]],
            "score": ["-" if math.isnan(x) else f"{x:.1f}" for x in frame["score"]],
            "noise scale": ["unknown" if math.isnan(x) else f"{x:,.0f}" for x in frame["noise_scale"]],
            "low": [f"{x:,.0f}" for x in frame["noise_scale_low"]],
            "high": ["-" if not math.isfinite(x) else f"{x:,.0f}" for x in frame["noise_scale_high"]],
            "signal |G|^2": [f"{x:.3g}" for x in frame["signal"]],
            "noise tr(S)": [f"{x:.3g}" for x in frame["noise"]],
        }
    )
    return shown.to_string(index=False)


FACTORS = (0.25, 0.5, 2, 4, 16)


def worth(run: Run) -> str:
    """What other batches would be worth by the last reading that is known; empty where none is."""
    known = run.metrics().dropna(subset=["noise_scale"])
    if known.empty:
        return ""
    last, batch = known.iloc[-1], step_batch(run.config)
    value, low, high = (float(last[name]) for name in ("noise_scale", "noise_scale_low", "noise_scale_high"))
    rows = []
    for factor in FACTORS:
        if batch * factor < 1:
            continue
        at, ends = tradeoff(batch, batch * factor, value), []
        for end in (low, high):
            ends.append(tradeoff(batch, batch * factor, math.inf if math.isnan(end) else max(end, 0.0)))
        cells = [
            f"{at[k]:.2f} ({min(end[k] for end in ends):.2f} to {max(end[k] for end in ends):.2f})"
            for k in (0, 1)
        ]
        rows.append([f"{batch * factor:,.0f}", *cells])
    name = "batch" if batch == run.config.batch else "minibatch"
    shown = pd.DataFrame(rows, columns=[name, "times the updates", "times the observations"])
    return (
        f"another {name}, to the same score, if B_crit were B_simple at {last['observations']:,.0f} observations:\n"
        "S ~ 1 + B_crit/B, E = B S; in the paper B_simple is mostly 3 to 12 times B_crit on Atari\n"
        + shown.to_string(index=False)
    )


def seen(run: Run) -> str:
    """How far actions depended on what was seen, by the last tenth of the rows that say it; empty where none does.

    The information is of a row's last policy, the entropy a mean over all of the row's: they have no sum.
    """
    rows = run.metrics()
    rows = rows.dropna(subset=["information"]) if "information" in rows else rows.iloc[:0]
    rows = rows.tail(max(1, len(rows) // 10))
    if rows.empty:
        return ""
    information, left = rows["information"].mean(), rows["entropy"].mean()
    return (
        f"from {rows['observations'].iloc[0]:,.0f} observations on, what a rollout shows decides {information:.2g} "
        f"nats of its actions; a mean entropy of {left:.3f} is left to chance"
    )


def figure(run: Run, path: Path) -> None:
    """Draw score and noise scale against observations, and noise scale against score, to `path` (PNG, SVG, PDF)."""
    metrics = run.metrics()
    config = run.config
    parts = run.noise_parts()
    panels = noise_parts.panels(parts)
    fig = Figure(figsize=(16.5 if panels else 11, 4.6), dpi=130, layout="constrained")
    halves: Any = fig.subfigures(1, 2, width_ratios=[2, 1]) if panels else [fig]
    upper, right = (
        halves[0].subplot_mosaic([["score", "by_score"], ["noise", "by_score"]], width_ratios=[1.45, 1]),
        None,
    )
    fig.suptitle(
        f"{config.env}  {config.algo.upper()}  {config.num_envs} environments x {config.rollout}  seed {config.seed}",
        fontsize=11,
    )
    millions = metrics["observations"] / 1e6
    _draw_score(upper["score"], millions, metrics, run.episodes())
    _draw_seen(upper["score"], millions, metrics)
    _draw_noise(upper["noise"], millions, metrics, f"{100 * config.confidence:g} % interval")
    alike = parts[parts["part"] == noise_parts.ALIKE] if len(parts) else parts
    if len(alike):
        _draw_alike(upper["noise"], alike["observations"] / 1e6, alike, metrics, band=True)
    upper["noise"].set_xlabel("observations (millions)")
    upper["noise"].set_xlim(upper["score"].get_xlim())  # the games' and the rows' first observations differ
    bottom, top = upper["noise"].get_ylim()
    batch = step_batch(config)
    upper["noise"].set_ylim(min(bottom, batch / 1.3), max(top, batch * 1.6))
    upper["noise"].axhline(batch, color=GREY, lw=0.8, ls=":")
    upper["noise"].annotate(
        f"{'batch' if batch == config.batch else 'minibatch'} {batch:,}",
        (1, batch),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=7,
        color=GREY,
    )
    right = upper["by_score"]
    order = metrics.dropna(subset=["score", "noise_scale_low"]).sort_values("score")
    _draw_noise(right, order["score"], order)
    if len(alike):
        scores = alike.merge(metrics[["observations", "score"]], on="observations").dropna(subset=["score"])
        _draw_alike(right, scores["score"], scores, order)
    right.set_xlabel("score (mean of the last 100 games)")
    right.set_title("against score", fontsize=9)
    if order.empty:
        noise_parts.say(
            right, "no reading yet" if metrics["score"].notna().any() else "no game has ended yet"
        )
    if panels:
        axes = halves[1].subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (title, names) in zip(axes, panels.items(), strict=True):
            noise_parts.draw(panel, parts, names, title)
        axes[-1].set_xlabel("observations (millions)")
    try:
        fig.savefig(path)
    except OSError as error:
        raise UserError(f"the figure {path} can't be written: {error.strerror or error}") from None


def _draw_score(axes: Axes, x: pd.Series, metrics: pd.DataFrame, episodes: pd.DataFrame) -> None:
    if len(episodes):
        axes.plot(
            episodes["observations"] / 1e6,
            episodes["score"],
            ".",
            ms=2,
            color=GREY,
            alpha=0.35,
            label="one game",
        )
    axes.plot(x, metrics["score"], color=BLUE, lw=1.6, label="mean of the last 100 games")
    axes.set_ylabel("score")
    axes.set_xlim(0, 1.02 * x.max())
    axes.tick_params(labelbottom=False)
    axes.grid(alpha=0.25)
    if metrics["score"].notna().any():
        axes.legend(loc="best", fontsize=7, frameon=False)
    else:
        noise_parts.say(axes, "no game has ended yet")


def _draw_seen(axes: Axes, x: pd.Series, metrics: pd.DataFrame) -> None:
    """I(a; s) on an axis of its own to the right, where the run measured it: a score may rise without it."""
    if "information" not in metrics or metrics["information"].isna().all():
        return
    right = axes.twinx()
    right.plot(x, metrics["information"], color=GREEN, lw=0.9, alpha=0.8)
    right.set_ylim(0, max(1.05 * metrics["information"].max(), BLIND))
    right.set_ylabel("information I(a; s), nats", color=GREEN, fontsize=7)
    right.tick_params(axis="y", colors=GREEN, labelsize=7)


def _draw_alike(
    axes: Axes, x: pd.Series, alike: pd.DataFrame, metrics: pd.DataFrame, band: bool = False
) -> None:
    """The noise scale with every update counted alike, onto the panel of the main measurement."""
    value = alike["noise_scale"]
    if band:
        noise_parts.band(axes, x, alike, BLUE, 0.12)
        axes.plot(x, value, color=BLUE, lw=1.4, marker=".", ms=3, label="every update counted alike")
    else:
        axes.plot(x, value, ".", color=BLUE, ms=4, alpha=0.7, label="every update counted alike")
    noise_parts.limit(axes, pd.concat([alike, metrics]))
    axes.legend(loc="best", fontsize=7, frameon=False)


def _draw_noise(axes: Axes, x: pd.Series, metrics: pd.DataFrame, interval: str = "") -> None:
    """Where the value is unknown an arrow up from its lower bound.

    interval: its name in the legend, with value and interval as a line and a band; points with bars without.
    """
    known = metrics["noise_scale"].notna()
    low, high, value = metrics["noise_scale_low"], metrics["noise_scale_high"], metrics["noise_scale"]
    axes.set_yscale("log")
    if interval:
        noise_parts.band(axes, x, metrics, ORANGE, 0.25, interval)
        axes.plot(x, value, color=ORANGE, lw=1.6, marker=".", ms=3, label="simple noise scale")
    else:
        spread = np.stack([(value - low)[known], (high - value)[known]])
        axes.errorbar(x[known], value[known], yerr=spread, fmt=".", ms=4, lw=0.6, color=ORANGE, alpha=0.7)
    unknown = ~known & low.gt(0)
    if unknown.any():
        axes.plot(x[unknown], low[unknown], "^", ms=3, color=GREY, label="unknown, at least")
    axes.set_ylabel("noise scale (observations)")
    axes.grid(alpha=0.25, which="both", lw=0.4)
    noise_parts.limit(axes, metrics)
    if interval or unknown.any():
        axes.legend(loc="best", fontsize=7, frameon=False)
