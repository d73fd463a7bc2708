"""Pooled moments give the ratio of sums; ratios outside a factor of three are said to part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_gns.analysis import Interval, Parting, design_effect, fit_rollouts, parting, predict_axis

LENGTHS = (5, 10, 40)


def moments(
    level: float, correlation: float, seeds: int = 4, spread: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds whose n_crit(T) is `level` deff(T)/T on average."""
    rng = np.random.default_rng(7)
    signal = np.exp(spread * rng.normal(size=(seeds, 1))) * np.ones(len(LENGTHS))
    effect = np.array([float(design_effect(t, correlation)) / t for t in LENGTHS])
    return signal, level * effect * np.exp(spread * rng.normal(size=(seeds, len(LENGTHS))))


def test_ratio_of_sums_not_mean_of_ratios() -> None:
    axis = predict_axis([5], [[1.0], [3.0], [-0.5]], [[10.0], [20.0], [5.0]])
    assert axis.n_crit(5).value == pytest.approx(35 / 3.5)
    # The mean signal is not known to be above 0: nothing bounds the critical number from above.
    assert axis.n_crit(5).high == math.inf
    assert axis.n_crit(5).low < 10


def test_three_seeds_hold_the_truth_in_95_of_100() -> None:
    rng, held, ranges = np.random.default_rng(5), 0, 0
    for trial in range(400):
        signal, noise = rng.normal(1, 0.1, (3, 1)), rng.normal(40, 3, (3, 1))
        found = predict_axis([5], signal, noise, seed=trial, bootstrap=400).n_crit(5)
        held += found.low <= 40 <= found.high
        ranges += (noise / signal).min() <= 40 <= (noise / signal).max()
    assert 0.92 <= held / 400 <= 0.99
    assert ranges / 400 < 0.85


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    axis = predict_axis([5], [[1.0]], [[10.0]])
    assert math.isnan(axis.n_crit(5).low)
    assert Parting(Interval(10, 9, 11), axis.n_crit(5)).verdict == "can't tell"


def test_order_of_seeds_does_not_matter() -> None:
    signal, noise = moments(50, 0.5)
    one, two = predict_axis(LENGTHS, signal, noise), predict_axis(LENGTHS, signal[::-1], noise[::-1])
    assert one == two
    np.testing.assert_array_equal(one.replicas, two.replicas)


def measured(correlation: float) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    n, t = (x.ravel() for x in np.meshgrid([1, 4, 16, 64, 256] * 3, LENGTHS))
    n_crit = 50 * design_effect(t, correlation) / t
    return n, t, 100 * (1 + n_crit / n) * np.exp(0.03 * rng.normal(size=n.size))


def test_same_truth_agrees_and_another_parts() -> None:
    law = fit_rollouts(*measured(0.95), bootstrap=200)
    same, level, shape = (predict_axis(LENGTHS, *moments(*of)) for of in ((50, 0.95), (200, 0.95), (50, 0.0)))
    for length in LENGTHS:
        assert parting(law, same, length).verdict == "agree"
        assert parting(law, level, length).verdict == "part"
        assert parting(law, level, length).ratio.value == pytest.approx(4, rel=0.15)
        assert parting(law, level, length, 40).verdict == "agree"
    assert parting(law, shape, 5, 40).verdict == "part"
    truth = (float(design_effect(5, 0.95)) / 5) / (float(design_effect(40, 0.95)) / 40)
    assert law.relative(5, 40).value == pytest.approx(truth, rel=0.1)
    assert law.relative(5, 40).low < truth < law.relative(5, 40).high
    assert same.relative(5, 40).value == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(
    ("measured", "predicted", "says"),
    [
        ((10, 9, 11), (9, 8, 12), "agree"),
        ((10, 9, 11), (38, 0, 90), "can't tell"),  # the intervals meet, and say next to nothing
        ((10, 9, 11), (15, 12, 17), "agree"),  # they don't meet, at a factor that is none to speak of
        ((10, 9, 11), (60, 45, 80), "part"),
        ((math.nan, 0, 11), (60, 45, 80), "part"),
        ((math.nan, 9, 11), (10, 9, 11), "can't tell"),
        ((10, 9, 11), (math.inf, 9, math.inf), "can't tell"),
    ],
)
def test_the_verdict_is_the_band_of_the_claims(
    measured: tuple[float, ...], predicted: tuple[float, ...], says: str
) -> None:
    assert Parting(Interval(*measured), Interval(*predicted)).verdict == says


def test_ratio_takes_the_outer_ends() -> None:
    ratio = Parting(Interval(10, 5, 20), Interval(30, 25, 50)).ratio
    assert ratio == (3.0, 1.25, 10.0)


@pytest.mark.parametrize(
    ("signal", "noise", "says"),
    [
        ([1.0], [1.0], "must be"),
        ([[1.0, 2.0]], [[1.0]], "must be"),
        ([[math.nan]], [[1.0]], "must be finite"),
        (np.empty((0, 1)), np.empty((0, 1)), "must be"),
    ],
)
def test_bad_moments(signal: object, noise: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        predict_axis([5], signal, noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("rollouts", [[1.5, 2], [-1, 2], [5, 5], [20, 5]])
def test_lengths_that_are_none_are_refused(rollouts: list[float]) -> None:
    with pytest.raises(ValueError, match="ascending whole numbers"):
        predict_axis(rollouts, [[1.0, 1.0]], [[1.0, 1.0]])


def test_a_relative_number_without_an_upper_bound_has_an_infinite_end() -> None:
    axis = predict_axis([1, 5], [[1.0, 1.0], [3.0, 1.1], [-0.5, 0.9]], [[10.0, 5.0], [20.0, 5.0], [5.0, 5.0]])
    assert axis.n_crit(1).high == math.inf
    assert axis.relative(1, 5).high == math.inf
