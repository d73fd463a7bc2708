"""What the figures of a study draw of fits whose numbers are known: which column on which axis, and what marks it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace as NS

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from rl_gns.report import figures, maps, overview
from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.study import COLUMNS

NAN = math.nan
Make = Callable[..., Fits]


def drawn(axes: Axes, marker: str) -> list[Line2D]:
    """Lines of this marker that hold a point, in the order in which they were drawn."""
    return [line for line in axes.lines if line.get_marker() == marker and len(line.get_xydata())]


def curves(axes: Axes) -> list[Line2D]:
    """Lines without markers."""
    return [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xydata()) > 50]


def labelled(axes: Axes) -> dict[str, list[list[float]]]:
    """Label of every series with bars -> its points."""
    return {bars.get_label(): bars[0].get_xydata().tolist() for bars in axes.containers}  # type: ignore[union-attr]


def points(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def test_a_front_is_drawn_against_cost_and_against_the_batch(make_fits: Make) -> None:
    """S = 100 (1 + 50/B) to score 10, so that S is 350 at B = 20, and E = S B is 7,000."""
    fits = make_fits(seeds=(1,), scatter=0.0)
    by_cost, by_batch = figures.fronts(fits, 5).axes
    assert points(drawn(by_cost, "o")[0])[0] == pytest.approx([350, 7_000])
    assert points(drawn(by_batch, "o")[0])[0] == pytest.approx([20, 350])
    updates, made = np.asarray(curves(by_cost)[0].get_xydata()).T
    assert (updates / 100 - 1) * (made / 5_000 - 1) == pytest.approx(np.ones(100), rel=1e-3)
    batch, updates = np.asarray(curves(by_batch)[0].get_xydata()).T
    assert updates == pytest.approx(100 * (1 + 50 / batch), rel=1e-3)


def test_a_seed_that_missed_the_goal_is_a_hollow_arrow_where_it_stopped(make_fits: Make) -> None:
    fits = make_fits(seeds=(1,), scatter=0.0)
    cut = fits.points.assign(censored=(fits.points["goal"] == 10) & (fits.points["batch"] == 20))
    by_cost, by_batch = figures.fronts(dataclasses.replace(fits, points=cut), 5).axes
    for axes, marker, at in ((by_cost, ">", [350, 7_000]), (by_batch, "^", [20, 350])):
        (missed,) = drawn(axes, marker)
        assert missed.get_markerfacecolor() == "none"
        assert points(missed) == [pytest.approx(at)]
        assert len(points(drawn(axes, "o")[0])) == 3


def test_a_front_whose_critical_batch_cant_be_told_is_dashed(make_fits: Make) -> None:
    fits = make_fits()
    unknown = dataclasses.replace(fits.front_of[5, 10.0], b_crit=None)
    fits = dataclasses.replace(fits, front_of={**fits.front_of, (5, 10.0): unknown})
    for axes in figures.fronts(fits, 5).axes:
        assert [line.get_linestyle() for line in curves(axes)] == ["--", "-"]


def test_critical_batch_and_both_noise_scales_are_drawn_under_their_names(make_fits: Make) -> None:
    """The bound of a critical batch that can't be told is an arrow away from it, under its own name."""
    bounds = {
        f"{name}_{end}": NAN
        for name in ("b_crit", "noise_scale", "mean_noise_scale")
        for end in ("low", "high")
    }
    rows = pd.DataFrame(
        {
            "rollout": 5,
            "goal": [1.0, 2.0, 3.0],
            "b_crit": [50.0, NAN, NAN],
            "noise_scale": [300.0, NAN, NAN],
            "mean_noise_scale": [100.0, NAN, NAN],
            **bounds,
        }
    )
    rows["b_crit_high"], rows["b_crit_low"] = [70.0, 80.0, NAN], [40.0, NAN, 90.0]
    panel = figures.critical_batch(dataclasses.replace(make_fits(), fronts=rows)).axes[0]
    at = {label: [y for _, y in where] for label, where in labelled(panel).items()}
    assert at == {"B_crit": [50], "B_simple at that score": [300], "B_simple, mean over updates": [100]}
    marked = {line.get_label(): (line.get_marker(), points(line)) for line in panel.lines}
    assert marked["B_crit, at most"] == ("v", [[2, 80]])
    assert marked["B_crit, at least"] == ("^", [[3, 90]])


def test_best_rates_lie_over_the_batch_and_are_hollow_at_an_edge(make_fits: Make) -> None:
    fits = make_fits(sizes=(4, 16))
    edge = fits.points.assign(at_edge=fits.points["batch"] == 20)
    (panel,) = figures.learning_rates(dataclasses.replace(fits, points=edge)).axes
    dots = [(points(line)[0], line.get_markerfacecolor() == "none") for line in drawn(panel, "o")]
    # Two goals, shifted by a twentieth against one another.
    assert [(x, hollow) for (x, _), hollow in dots] == [
        (pytest.approx(20, rel=0.05), True),
        (pytest.approx(80, rel=0.05), False),
    ] * 2
    assert [y for (_, y), _ in dots] == pytest.approx([1e-3] * 4, rel=0.02)


def test_noise_scales_run_over_observations_on_logarithmic_axes(make_fits: Make) -> None:
    rows = pd.DataFrame({"observations": [1e4, 1e5], "update": [500.0, 5000.0], "noise_scale": [30.0, 300.0]})
    panels = figures.noise_scale(make_fits(), [(20, [rows])]).axes
    assert points(panels[0].lines[0]) == [[1e4, 30], [1e5, 300]]
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in panels} == {("log", "log")}


def two_lengths() -> Fits:
    """S = 200 (1 + 100/B) at rollouts of 5 and 20: 20 critical environments at 5, and 5 at 20."""
    rows = []
    for rollout in (5, 20):
        for n in (1, 4, 16, 64, 256):
            for seed in (1, 2):
                batch = n * rollout
                updates = 200 * (1 + 100 / batch) * (1.01 if seed == 1 else 1 / 1.01)
                row = [
                    f"n{n}-t{rollout}-lr1e-3-s{seed}",
                    n,
                    rollout,
                    batch,
                    1e-3,
                    seed,
                    9.0,
                    updates * batch,
                    updates,
                ]
                rows.append([*row, False, 100.0, 80.0, 1.0, "done", "", 9.0, math.nan])
    return fit(pd.DataFrame(rows, columns=COLUMNS), bootstrap=20)


@pytest.fixture(scope="module")
def lengths() -> Fits:
    return two_lengths()


def test_the_plane_says_updates_and_the_critical_panel_environments(lengths: Fits) -> None:
    plane, critical, bar = maps.two_axes(lengths).axes
    said = {tuple(text.xy): text.get_text() for text in plane.texts if isinstance(text, Annotation)}
    assert said[4, 5] == "1,200"  # 200 (1 + 100/20)
    assert said[256, 20] == "204"
    assert bar.get_ylabel() == "updates"
    fronts = [bars[0].get_xydata().tolist()[0] for bars in critical.containers]  # type: ignore[union-attr]
    assert fronts == [pytest.approx([5 * 1.02, 20], rel=0.03), pytest.approx([20 * 1.02, 5], rel=0.03)]


def test_lines_of_equal_cost_are_of_updates_times_the_batch(lengths: Fits) -> None:
    """E = 200 (B + 100), wherever on the plane a line of so many observations runs."""
    (lines,) = [
        part for part in maps.two_axes(lengths).axes[0].collections if isinstance(part, QuadContourSet)
    ]
    pieces = [(level, path.vertices) for level, path in zip(lines.levels, lines.get_paths(), strict=True)]
    assert sum(len(at) > 0 for _, at in pieces) >= 3
    for level, at in pieces:
        if len(at):
            assert 200 * (at[:, 0] * at[:, 1] + 100) == pytest.approx(np.full(len(at), level), rel=0.05)


def test_the_predicted_shape_meets_the_law_at_the_rollout_it_was_measured_at(lengths: Fits) -> None:
    """The law has 20 and 5 critical environments; a prediction of 60 and 10 is halved to meet it at 20."""
    ends = {"predicted_low": [50.0, 8.0], "predicted_high": [70.0, 12.0]}
    rows = pd.DataFrame({"goal": 9.0, "rollout": [5, 20], "predicted": [60.0, 10.0], **ends})
    with_it = dataclasses.replace(lengths, predicted=rows, prediction=NS(rollout=20))  # type: ignore[arg-type]
    critical = maps.two_axes(with_it).axes[1]
    (shape,) = [line for line in critical.lines if str(line.get_label()).startswith("predicted shape")]
    assert shape.get_ydata() == pytest.approx([30, 5], rel=0.03)


def test_at_an_equal_batch_seeds_are_filled_where_they_reached_the_goal(lengths: Fits) -> None:
    """A batch of 80 at rollouts of 5 took 200 (1 + 100/80) = 450 updates, 36,000 observations."""
    cut = lengths.points.assign(censored=(lengths.points["rollout"] == 20) & (lengths.points["seed"] == 2))
    (plane,) = maps.equal_batch(dataclasses.replace(lengths, points=cut)).axes
    dots = [(line.get_markerfacecolor() == "none", points(line)) for line in drawn(plane, "o")]
    at_80 = [(hollow, [y for _, y in where]) for hollow, where in dots if 30_000 < where[0][1] < 40_000]
    assert at_80 == [
        (False, pytest.approx([36_360, 35_644, 36_360], rel=1e-3)),
        (True, pytest.approx([35_644], rel=1e-3)),
    ]


def test_published_numbers_and_the_papers_band_are_in_their_own_panels() -> None:
    row = {
        "label": "a",
        "b_crit": 100.0,
        "e_min": 4e4,
        "ratio": 5.0,
        "b_crit_published": 74.0,
        "e_min_published": 9e4,
    }
    table = pd.DataFrame(
        [row | {f"{n}_{e}": NAN for n in ("b_crit", "e_min", "ratio") for e in ("low", "high")}]
    )
    panels = overview.overview(table).axes
    assert [[points(line) for line in drawn(axes, "D")] for axes in panels] == [[[[74, 0]]], [[[9e4, 0]]], []]
    (band,) = panels[2].patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((3, 12))  # type: ignore[attr-defined]
    assert not panels[0].patches
    assert not panels[1].patches
