"""The noise scales of a run's parts as a table and as panels of the noise figure."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

ALIKE = "normalized"
TITLES = {ALIKE: "parts, every update counted alike"}
# Okabe & Ito's colours, told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")


def band(axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str, alpha: float, label: str = "") -> None:
    """Shade the intervals of known readings; one between unknown readings gets a bar, a band of it has no width."""
    known = rows["noise_scale"].notna()
    low, high = rows["noise_scale_low"].where(known), rows["noise_scale_high"].where(known)
    axes.fill_between(x, low, high, color=colour, alpha=alpha, lw=0, label=label or None)
    alone = known & ~known.shift(1, fill_value=False) & ~known.shift(-1, fill_value=False)
    axes.vlines(x[alone], low[alone], high[alone], color=colour, alpha=min(1.0, 2 * alpha), lw=2)


def limit(axes: Axes, rows: pd.DataFrame) -> None:
    """Keep intervals that reach up to where the signal is lost from flattening all the rest."""
    seen = pd.concat([rows["noise_scale"], rows["noise_scale_low"]])
    seen = seen[seen > 0]
    highest = rows["noise_scale_high"].where(rows["noise_scale"].notna()).max()
    if len(seen):
        axes.set_ylim(seen.min() / 1.5, max(seen.max() * 1.5, min(seen.max() * 10, highest * 1.2)))


def text(parts: pd.DataFrame) -> str:
    """The newest reading of every part, for people.

    Args:
        parts: `Run.noise_parts()`, not empty.
    """
    latest = parts.groupby("part", sort=False).tail(1)
    shown = pd.DataFrame(
        {
            "part": latest["part"],
            "noise scale": ["unknown" if math.isnan(x) else f"{x:,.0f}" for x in latest["noise_scale"]],
            "low": [f"{x:,.0f}" for x in latest["noise_scale_low"]],
            "high": ["-" if not math.isfinite(x) else f"{x:,.0f}" for x in latest["noise_scale_high"]],
            "signal": [f"{x:.3g}" for x in latest["signal"]],
            "noise": [f"{x:.3g}" for x in latest["noise"]],
        }
    )
    observations = latest["observations"].max()
    return f"noise scales of parts at {observations:,.0f} observations\n{shown.to_string(index=False)}"


def panels(parts: pd.DataFrame) -> dict[str, list[str]]:
    """Title of each panel -> parts drawn in it; families (`layers/…`, `epochs/…`) have one of their own.

    The whole loss with every update counted alike is none of them: it is drawn beside the main measurement.
    """
    found: dict[str, list[str]] = {}
    for part in parts["part"].unique():
        family, _, member = str(part).partition("/")
        if part != ALIKE:
            found.setdefault(TITLES.get(family, family) if member else "parts of the loss", []).append(part)
    return found


def say(axes: Axes, text: str) -> None:
    """In the place of points that there are none of: the axes mean nothing then."""
    axes.annotate(text, (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=8)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False, which="both")


def draw(axes: Axes, parts: pd.DataFrame, names: list[str], title: str) -> None:
    """Noise scale of `names` against observations: lines with their intervals, an arrow up where unknown.

    All have the whole batch's unit, observations, and compare with one another and with the main measurement.

    Where more than four parts share the panel, the intervals are left out.
    """
    axes.set_yscale("log")
    axes.set_title(title, fontsize=9)
    drawn = False
    for i, name in enumerate(names):
        colour = COLOURS[i % len(COLOURS)]
        rows = parts[parts["part"] == name]
        x, value, low = rows["observations"] / 1e6, rows["noise_scale"], rows["noise_scale_low"]
        known = value.notna()
        unknown = ~known & low.gt(0)
        if known.any():
            dashes = "--" if i >= len(COLOURS) else "-"
            marker = "." if known.sum() < 20 else ""
            label = name.partition("/")[2] or name
            axes.plot(x, value, color=colour, ls=dashes, lw=1.5, marker=marker, label=label)
            if len(names) <= 4:
                band(axes, x, rows, colour, 0.15)
        if unknown.any():
            label = f"{name.partition('/')[2] or name}: unknown, at least"
            axes.plot(x[unknown], low[unknown], "^", ms=3, color=colour, alpha=0.7, label=label)
        drawn = drawn or bool(known.any() or unknown.any())
    axes.set_ylabel("noise scale (observations)")
    axes.grid(alpha=0.25, which="both", lw=0.4)
    limit(axes, parts[parts["part"].isin(names)])
    if drawn:
        axes.legend(loc="best", fontsize=7, frameon=False, ncols=2 if len(names) > 4 else 1)
    else:
        say(axes, "no reading yet")
