"""Verdicts follow from intervals alone, and intervals hold what they say."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from rl_gns.analysis import Interval
from rl_gns.analysis.claims import (
    Band,
    claim,
    combined,
    deviates,
    judge,
    of_contrast,
    of_interval,
    of_residual,
    of_slope,
    over_tasks,
    ratio,
    share,
    unknown,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("interval", "band", "verdict"),
    [
        (Interval(2, 1.5, 2.5), Band(1, 3), "pass"),
        (Interval(2, 1, 3), Band(1, 3), "pass"),
        (Interval(2, 0.5, 2.5), Band(1, 3), "can't tell"),
        (Interval(4, 3.5, 5), Band(1, 3), "fail"),
        (Interval(0.5, 0.1, 0.9), Band(1, 3), "fail"),
        (Interval(2, NAN, NAN), Band(1, 3), "can't tell"),
        (Interval(2, 1.5, INF), Band(low=1), "pass"),
        (Interval(2, 1.5, NAN), Band(low=1), "pass"),
        (Interval(2, 1.5, INF), Band(1, 3), "can't tell"),
        (Interval(NAN, 0.0, 0.5), Band(1, 3), "fail"),
        (Interval(NAN, 5, INF), Band(high=3), "fail"),
    ],
)
def test_the_verdict_follows_from_the_interval(interval: Interval, band: Band, verdict: str) -> None:
    assert judge(interval, band) == verdict
    assert claim("P2", "", "s", band, interval).verdict == verdict


def test_a_reason_is_said_where_it_cant_be_told() -> None:
    assert claim("P2", "", "s", Band(1, 3), Interval(2, 0, 4), "3 fronts").why == (
        "the interval straddles the band; 3 fronts"
    )
    assert claim("P2", "", "s", Band(1, 3), Interval(2, NAN, NAN)).why == "there is no interval"
    assert unknown("P2", "", "s", Band(high=3), "one batch size").verdict == "can't tell"
    assert str(Band(high=0.12)) == "≤ 0.12"
    assert str(Band(50, 2000)) == "50 to 2,000"


def test_draws_give_back_the_interval_they_came_from() -> None:
    draws = of_interval(100.0, 50.0, 400.0, deviates(0, "a"))
    assert draws.interval == pytest.approx((100, 50, 400), rel=0.08)
    assert of_interval(100.0, 50.0, None, deviates(0, "a")).interval.high == INF
    for z in (deviates(0, "a"), deviates(7, "b")):
        assert of_interval(INF, 50.0, INF, z).interval == pytest.approx((INF, 50, INF), rel=0.05)
        assert of_interval(0.0, 0.0, 20.0, z).interval == pytest.approx((0, 0, 20), rel=0.05)
        assert math.isnan(of_interval(INF, NAN, NAN, z).interval.low)
    assert of_interval(100.0, None, 200.0, deviates(0, "a")).interval.low == 0
    assert math.isnan(of_interval(100.0, NAN, NAN, deviates(0, "a")).interval.low)
    assert np.array_equal(deviates(1, "x"), deviates(1, "x"))
    assert not np.array_equal(deviates(1, "x"), deviates(1, "y"))


def test_a_ratio_of_independent_estimates_spreads_in_quadrature() -> None:
    one = of_interval(4.0, 4 / 1.5, 6.0, deviates(0, "one"))
    two = of_interval(2.0, 2 / 1.5, 3.0, deviates(0, "two"))
    value, low, high = ratio(one, two).interval
    half = math.log(1.5) * math.sqrt(2)
    assert value == 2
    assert math.log(high / 2) == pytest.approx(half, rel=0.08)
    assert math.log(2 / low) == pytest.approx(half, rel=0.08)
    assert ratio(one, one).interval == pytest.approx((1, 1, 1))
    assert combined([one, two], np.median).value == 3


def test_residual_interval_holds_the_truth_in_95_of_100() -> None:
    rng, held = np.random.default_rng(0), 0
    z = deviates(0, "r")[:1000]
    for _ in range(300):
        x = rng.normal(size=8)
        rest = x - np.polyval(np.polyfit(np.arange(8), x, 1), np.arange(8))
        rms = float(np.sqrt(np.mean(rest**2)))
        low, high = of_residual(rms, 8, 2, z).interval[1:]
        held += low <= math.sqrt(6 / 8) <= high  # sigma 1, in the paper's normalisation
    assert 0.90 <= held / 300 <= 0.99
    assert math.isnan(of_residual(0.1, 2, 2, z).interval.low)


def test_contrast_and_slope_intervals_hold_the_truth() -> None:
    rng, z, hits = np.random.default_rng(1), deviates(0, "c")[:1000], [0, 0]
    x = np.linspace(0, 1, 6)
    for _ in range(300):
        y = 0.7 * x + rng.normal(0, 0.1, 6)
        value, low, high = of_slope(x, y, z).interval
        assert low <= value <= high
        hits[0] += low <= math.exp(0.7) <= high
        sd = float(rng.normal(0, 0.1, 5).std(ddof=1))
        low, high = of_contrast(float(rng.normal(0, 0.1 * math.sqrt(1.5))), sd, (1, 2), 4, z).interval[1:]
        hits[1] += low <= 1 <= high
    assert all(0.90 <= hit / 300 <= 0.99 for hit in hits)
    assert math.isnan(of_slope(x[:2], x[:2], z).interval.low)


def test_a_slope_through_three_scattered_points_is_wide_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, low, high = of_slope(
            np.array([0.0, 0.1, 0.2]), np.array([0.0, 9.0, 1.0]), deviates(0, "s")
        ).interval
    assert low < value < high


def test_share_and_tasks() -> None:
    assert share(0, 0)[0] != share(0, 0)[0]
    assert share(5, 5).high == 1
    assert share(0, 5).low == 0
    low, high = share(31, 31)[1:]
    assert 0.9 < low < 0.95
    assert high == 1
    tasks = [[1.0, 1.1], [2.0], [3.0, 3.1, 2.9]]
    one = over_tasks(tasks, np.median, np.random.default_rng(0))
    assert one == over_tasks(tasks, np.median, np.random.default_rng(0))
    assert one.value == pytest.approx(2.45)
    assert one.low <= 1.1
    assert one.high >= 2.9
