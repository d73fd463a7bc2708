"""One chart and one table over all studies: B_crit and E_min beside the published ones, and B_simple over B_crit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_gns.analysis.claims import ratio
from rl_gns.report.findings import compared, published
from rl_gns.report.style import BLUE, GREY, ORANGE, around, legend_above, log_scale, with_ends
from rl_gns.studies.noise_claims import RATIO
from rl_gns.studies.scope import Scope
from rl_gns.studies.seeds import UNKNOWN
from rl_gns.studies.words import rounded, spread

CAPTION = (
    "A row a front: the goals that the paper has too, and of each study and rollout length T the hardest whose B_crit "
    "can be told. Bars: 95 % intervals, an arrow where one end is open or leaves the panel, hollow where none is "
    "known. Diamonds: the published numbers. Right: where the goal is reached; line: B_simple = B_crit; shaded: the "
    "paper's 3 to 12."
)


def rows(scopes: Sequence[Scope]) -> pd.DataFrame:
    """One row per front of `findings.compared`.

    Returns:
        Columns label; study, rollout, goal, batches (smallest to largest and their number) and seeds; b_crit, e_min and
        ratio with _low and _high; b_crit_published and e_min_published.
    """
    found = []
    for scope in scopes:
        several = len({key[0] for key in scope.keys}) > 1
        for key in compared(scope):
            front, row = scope.fits.front_of[key], dict[str, Any]()
            row["label"] = f"{scope.name}, {key[1]:g}" + (f", T {key[0]}" if several else "")
            points = scope.points(key)
            sizes, seeds = points["batch"].unique(), points.groupby("batch")["seed"].nunique()
            row |= {"study": scope.name, "rollout": key[0], "goal": key[1]}
            row["batches"] = f"{sizes.min():,} to {sizes.max():,} ({sizes.size})"
            row["seeds"] = " to ".join(str(n) for n in sorted({seeds.min(), seeds.max()}))
            for name, theirs in (("b_crit", "critical_batch"), ("e_min", "e_min")):
                for column in (name, f"{name}_low", f"{name}_high"):
                    value = getattr(front, column)
                    row[column] = math.nan if value is None else value
                row[f"{name}_published"] = published(scope, key, theirs)
            noise, b_crit = scope.noise(key, "noise_scale"), scope.b_crit(key)
            interval = UNKNOWN if noise is None or b_crit is None else ratio(noise, b_crit).interval
            found.append(row | dict(zip(("ratio", "ratio_low", "ratio_high"), interval, strict=True)))
    return pd.DataFrame(found)


def texts(table: pd.DataFrame) -> pd.DataFrame:
    """`rows` as text, an interval behind every number; the rollout only where they differ."""
    several = table["rollout"].nunique() > 1
    columns: dict[str, list[str]] = {
        "study": table["study"].tolist(),
        **({"rollout": [str(length) for length in table["rollout"]]} if several else {}),
        "score": [f"{goal:g}" for goal in table["goal"]],
        "batches": table["batches"].tolist(),
        "seeds": table["seeds"].tolist(),
    }
    for name, title in zip(("e_min", "b_crit", "ratio"), ("E_min", "B_crit", TITLES[2]), strict=True):
        columns[title] = [spread(row, name, none="can't tell") for _, row in table.iterrows()]
        if name != "ratio":
            theirs = table[f"{name}_published"]
            columns[f"{title}, published"] = ["–" if math.isnan(x) else rounded(x) for x in theirs]
    return pd.DataFrame(columns)


def overview(table: pd.DataFrame) -> Figure:
    """Dots with intervals on logarithmic axes, the studies from top to bottom as in `rows`."""
    figure = Figure(figsize=(11, 1.6 + 0.28 * len(table)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, name, title in zip(panels, ("b_crit", "e_min", "ratio"), TITLES, strict=True):
        _dots(axes, table, name)
        axes.set_title(title, fontsize=10)
    panels[2].axvline(1, color=GREY, lw=1)
    panels[2].axvspan(RATIO.low, RATIO.high, color=GREY, alpha=0.15, lw=0)
    panels[0].set_yticks(range(len(table)), table["label"], fontsize=8)
    panels[0].set_ylim(len(table) - 0.5, -0.5)
    legend_above(figure, panels)
    return figure


TITLES = ("B_crit (observations)", "E_min (observations)", "B_simple over B_crit")


def _dots(axes: Axes, table: pd.DataFrame, name: str) -> None:
    theirs = table.get(f"{name}_published", pd.Series(math.nan, table.index))
    seen = [table[name], theirs] + ([pd.Series([1.0, RATIO.low, RATIO.high])] if name == "ratio" else [])
    limits = around(*seen, room=4)
    known = table[table[name].notna()]
    ends = (known[name], known[f"{name}_low"], known[f"{name}_high"])
    style: dict[str, Any] = {"fmt": "o", "ms": 5, "color": BLUE, "label": "measured, 95 % interval"}
    with_ends(axes, known.index, *ends, within=(limits[0] * 1.15, limits[1] / 1.15), across=True, **style)
    if theirs.notna().any():
        axes.plot(theirs, table.index, "D", ms=6, mfc="none", mew=1.3, color=ORANGE, label="published")
    axes.set_xlim(limits)
    axes.grid(alpha=0.25, lw=0.5)
    log_scale(axes, "x", most=6)
