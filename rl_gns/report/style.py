"""How figures look: sizes, colours, and ticks of logarithmic axes that read as plain numbers. It knows no data."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps, rc_context
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
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    within: tuple[float, float] = (0.0, math.inf),
    across: bool = False,
    **style: Any,
) -> None:
    """Points with bars from `low` to `high`, an arrow where one end is open (not above 0, no finite number) or beyond.

    The arrow of an open end reaches to the end of `within`, without one over a factor of two, for the logarithmic axes
    that these figures have; a bar that leaves `within` is cut there. A point of which neither end is known has no bar
    and is hollow. across: values are on the other axis, and bars lie.
    """
    x, value, low, high = (np.asarray(of, dtype=float) for of in (x, value, low, high))
    open_low, open_high = ~(np.isfinite(low) & (low > 0)), ~np.isfinite(high)
    neither = open_low & open_high
    bottom = value / 2 if within[0] <= 0 else np.minimum(within[0], value)
    top = value * 2 if math.isinf(within[1]) else np.maximum(within[1], value)
    low = np.where(open_low, np.where(neither, value, bottom), low)
    high = np.where(open_high, np.where(neither, value, top), high)
    open_low, open_high = open_low | (low < within[0]), open_high | (high > within[1])
    low, high = np.maximum(low, within[0]), np.minimum(high, within[1])
    bars = np.maximum([value - low, high - value], 0)
    if across:
        axes.errorbar(value, x, xerr=bars, capsize=2, **style)
    else:
        axes.errorbar(x, value, yerr=bars, capsize=2, **style)
    colour = style.get("color")
    for which, at, mark in (
        (open_low, low, "<" if across else "v"),
        (open_high, high, ">" if across else "^"),
    ):
        which = which & ~neither
        axes.plot(*((at[which], x[which]) if across else (x[which], at[which])), mark, ms=5, color=colour)
    if neither.any():
        hollow: dict[str, Any] = {"ls": "", "marker": str(style.get("fmt", "o"))[0], "ms": style.get("ms", 5)}
        where = (value[neither], x[neither]) if across else (x[neither], value[neither])
        axes.plot(*where, **hollow, mfc="w", mec=colour, zorder=3)


def around(*values: ArrayLike, room: float = 1.6) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds the positive ones of `values` and a factor of `room` beyond."""
    seen = np.concatenate([np.ravel(np.asarray(some, dtype=float)) for some in values])
    seen = seen[np.isfinite(seen) & (seen > 0)]
    return (float(seen.min()) / room, float(seen.max()) * room) if seen.size else (1.0, 10.0)


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a PNG or SVG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "rl-gns"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


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
