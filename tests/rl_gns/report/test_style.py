"""Ticks of logarithmic axes."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rl_gns.report.style import MOST_TICKS, around, log_scale, with_ends


@settings(max_examples=40, deadline=None)
@example(at=320.0, which="x", span=1.06)  # one batch, a point for each of two goals
@given(
    at=st.floats(1e-6, 1e9),
    which=st.sampled_from(["x", "y"]),
    span=st.one_of(st.floats(1, 2), st.floats(1, 1e7)),
)
def test_every_axis_has_ticks_to_read_however_little_it_spans(at: float, which: str, span: float) -> None:
    axes = Figure().subplots()
    axes.plot([at, at * span], [at, at * span], "o")
    log_scale(axes, which)  # type: ignore[arg-type]
    axis, limits = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    assert limits[0] <= at <= at * span <= limits[1]
    assert 1 <= sum(limits[0] <= tick <= limits[1] for tick in axis.get_majorticklocs()) <= MOST_TICKS


def test_an_open_end_is_an_arrow_and_no_interval_no_bar() -> None:
    axes = Figure().subplots()
    x, low, high = [1, 2, 3, 4], [5, np.nan, 0, np.nan], [20, 30, np.inf, 20]
    with_ends(axes, x, [10] * 4, low, high, fmt="o", color="k")
    (bars,) = axes.collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]  # type: ignore[attr-defined]
    assert ends == [[5, 20], [5, 30], [10, 10], [5, 20]]
    arrows = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata())}
    assert arrows["v"] == [[2, 5], [4, 5]]
    assert "^" not in arrows
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "w"]
    assert [line.get_xydata().tolist() for line in hollow] == [[[3, 10]]]


def test_a_bar_that_leaves_the_limits_is_cut_with_an_arrow_and_may_lie() -> None:
    axes = Figure().subplots()
    with_ends(
        axes, [1, 2], [10, 10], [1e-3, 8], [20, np.inf], within=(2, 50), across=True, fmt="o", color="k"
    )
    (bars,) = axes.collections
    ends = [segment[:, 0].tolist() for segment in bars.get_segments()]  # type: ignore[attr-defined]
    assert ends == [[2, 20], [8, 50]]
    arrows = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata())}
    assert (arrows["<"], arrows[">"]) == ([[2, 1]], [[50, 2]])
    assert around([np.nan, 0, 4], [9], room=2) == (2, 18)
