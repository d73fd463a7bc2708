"""How figures look: sizes, colours, and ticks of logarithmic axes that read as plain numbers. It knows no data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike

from rl_gns.studies.words import short

GREY = "#8a8a8a"
BLUE, ORANGE, GREEN = "#1f5fa8", "#d9730d", "#3a8a4d"
MOST_TICKS = 8
STEPS = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Ticks within a decade, from many to few."""


def panels(columns: int, height: float = 4.6, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of a laptop page's width with `columns` panels."""
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=share_y)[0].tolist()
    for axis in axes:
        axis.grid(alpha=0.25, which="major", lw=0.5)
    return figure, axes


def colours(count: int) -> list[Any]:
    """From dark to light, told apart also in print."""
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, max(count, 1))]


def legend(
    axes: Axes, title: str | None = None, where: Literal["best", "upper right", "lower right"] = "best"
) -> None:
    """A small legend inside the panel, where there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none", title=title, title_fontsize=8, loc=where)


def legend_below(axes: Axes) -> None:
    """The panel's legend in two columns under it, so that it covers no data."""
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def legend_above(figure: Figure, axes: Iterable[Axes], title: str | None = None) -> None:
    """One legend for all panels in a line of its own, so that it covers no data."""
    named: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        labels = [f"{title} {label}" if title and i == 0 else label for i, label in enumerate(named)]
        figure.legend(
            list(named.values()),
            labels,
            loc="outside upper center",
            ncols=len(named),
            fontsize=8,
            frameon=False,
        )


def with_ends(
    axes: Axes, x: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, **style: Any
) -> None:
    """Points with bars from `low` to `high`, an arrow where one end is open: not above 0, no finite number.

    The arrow reaches over a factor of two, for the logarithmic axes that these figures have. A point of which neither
    end is known has no bar.
    """
    x, value, low, high = (np.asarray(of, dtype=float) for of in (x, value, low, high))
    open_low, open_high = ~(np.isfinite(low) & (low > 0)), ~np.isfinite(high)
    neither = open_low & open_high
    low = np.where(open_low, np.where(neither, value, value / 2), low)
    high = np.where(open_high, np.where(neither, value, value * 2), high)
    axes.errorbar(x, value, yerr=np.maximum([value - low, high - value], 0), capsize=2, **style)
    for which, at, mark in ((open_low & ~neither, low, "v"), (open_high & ~neither, high, "^")):
        axes.plot(x[which], at[which], mark, ms=5, color=style.get("color"))


def log_scale(
    axes: Axes, which: Literal["x", "y"], ticks: Sequence[float] | None = None, most: int = MOST_TICKS
) -> None:
    """Make an axis logarithmic with plain numbers at 1, 2, 5 …, or at `ticks`, thinned until they don't collide.

    Call it when everything has been drawn: the ticks follow from the limits, which are drawn apart where no tick lies
    between them, as around the points of a single batch.
    """
    if which == "x":
        axes.set_xscale("log")
        low, high = axes.get_xlim()
    else:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda x, _: short(float(x))))
    if ticks is not None:
        axis.set_major_locator(FixedLocator(list(ticks)[:: math.ceil(len(ticks) / most)]))
        return
    for subs in STEPS:
        locator = LogLocator(subs=subs, numticks=99)
        seen = sum(low <= tick <= high for tick in locator.tick_values(low, high))
        if seen <= most:
            break
    axis.set_major_locator(locator)
    if not seen:
        axes.set(**{f"{which}lim": (low / 1.5, high * 1.5)})
        log_scale(axes, which, most=most)
