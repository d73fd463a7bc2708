"""What figures draw of intervals: at the right place, and without flattening the points."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.axes import Axes

from rl_gns.analysis import paper_fronts
from rl_gns.report.figures import fronts, learning_rates, noise_scale
from rl_gns.studies.fits import Fits, fit


def segments(axes: Axes) -> list[list[list[float]]]:
    """The ends of every bar: [[x, y], [x, y]]."""
    return [part.tolist() for bars in axes.collections for part in bars.get_segments()]  # type: ignore[attr-defined]


def test_a_fronts_bar_is_the_interval_of_its_critical_batch(make_fits: Callable[..., Fits]) -> None:
    fits = make_fits()
    _, by_batch = fronts(fits, 5).axes
    bars = segments(by_batch)
    assert len(bars) == 2
    for ((low, level), (high, other)), goal in zip(bars, (10.0, 20.0), strict=True):
        front = fits.front_of[5, goal]
        assert front.s_min is not None
        assert (low, high) == pytest.approx((front.b_crit_low, front.b_crit_high))
        assert level == other == pytest.approx(2 * front.s_min)


def test_the_papers_fronts_leave_ours_their_room_and_are_named(make_fits: Callable[..., Fits]) -> None:
    paper = paper_fronts()
    figure = fronts(make_fits(), 5, paper[paper["task"] == "alien"])
    by_cost, by_batch = figure.axes
    assert by_batch.get_xlim() == pytest.approx((20 / 2.5, 1280 * 2.5))
    for axes in (by_cost, by_batch):
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        for text in axes.texts:
            assert left < text.xy[0] < right  # type: ignore[attr-defined]
            assert bottom < text.xy[1] < top  # type: ignore[attr-defined]
    assert by_batch.texts


def test_two_seeds_interval_does_not_flatten_the_noise_scales(make_fits: Callable[..., Fits]) -> None:
    fits = make_fits()
    cells = fits.cells.copy()
    cells.loc[0, ["noise_scale_low", "noise_scale_high"]] = [1e-4, 1e7]
    panel = noise_scale(dataclasses.replace(fits, cells=cells), [(20, [])]).axes[1]
    seen = fits.points["noise_scale"]
    assert panel.get_ylim() == pytest.approx((seen.min() / 2, seen.max() * 2))
    bottom, top = panel.get_ylim()
    assert all(bottom < low[1] and high[1] < top for low, high in segments(panel))
    dots = [line for line in panel.lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in dots) == len(fits.points)  # type: ignore[arg-type]


def test_seeds_with_the_same_best_rate_make_a_larger_point(make_fits: Callable[..., Fits]) -> None:
    (panel,) = learning_rates(make_fits(sizes=(4, 16), seeds=(1, 2, 3, 4))).axes
    drawn = [line for line in panel.lines if line.get_marker() == "o" and len(line.get_xdata())]  # type: ignore[arg-type]
    assert {line.get_markersize() for line in drawn} == {8.0}
    assert len(drawn) == 4


def test_a_noise_scale_that_is_known_at_no_goal_is_drawn_along_the_runs(
    make_fits: Callable[..., Fits],
) -> None:
    """The other panel is empty, and its axes can be logarithmic all the same."""
    table = make_fits().table.assign(noise_scale=math.nan, mean_noise_scale=math.nan)
    metrics = pd.DataFrame({"observations": [1e5, 2e5], "noise_scale": [50.0, 80.0]})
    along, at_score = noise_scale(fit(table, bootstrap=20), [(20, [metrics])]).axes
    assert along.lines[0].get_ydata().tolist() == [50, 80]
    assert at_score.get_xlim()[0] > 0
