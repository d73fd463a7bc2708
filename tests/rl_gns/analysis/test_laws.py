import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from rl_gns.analysis import fit_learning_rates

B = 5.0 * 2.0 ** np.arange(3, 13)


def law(batch, rate=7e-4, b_star=900.0, a=0.7):
    return rate / (1 + b_star / np.asarray(batch)) ** a


@given(st.floats(1e-5, 1e-1), st.floats(150, 8000), st.floats(0.4, 1.1))
@settings(max_examples=30)
def test_exact_data_are_recovered(rate, b_star, a):
    found = fit_learning_rates(B, law(B, rate, b_star, a), bootstrap=20)
    assert found.rate == pytest.approx(rate, rel=1e-3)
    assert found.batch == pytest.approx(b_star, rel=1e-3)
    assert found.exponent == pytest.approx(a, rel=1e-3)
    assert found.batch_low <= found.batch <= found.batch_high
    assert found.at(B) == pytest.approx(law(B, rate, b_star, a), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_fit_equals_three_parameter_least_squares(seed):
    rng = np.random.default_rng(seed)
    rate = law(B) * np.exp(0.05 * rng.standard_normal(B.size))

    def residual(p):
        return np.log(rate) - p[0] + p[2] * np.log1p(np.exp(p[1]) / B)

    slow = least_squares(residual, [-7, 6.5, 0.7], bounds=([-99, -99, 0.25], [99, 99, 1.25]), xtol=1e-12)
    found = fit_learning_rates(B, rate, bootstrap=0)
    assert found.log_curve == pytest.approx(slow.x, rel=1e-3)
    assert found.rms_log_residual == pytest.approx(np.sqrt(np.mean(slow.fun**2)), rel=1e-6)


def test_exponent_is_bounded_and_can_be_fixed():
    assert fit_learning_rates(B, law(B, a=2.0), bootstrap=0).exponent == pytest.approx(1.25)
    fixed = fit_learning_rates(B, law(B, a=1.0), bootstrap=0, exponent_bounds=(1.0, 1.0))
    assert fixed.exponent == pytest.approx(1.0)
    assert fixed.batch == pytest.approx(900, rel=1e-5)


def test_batches_far_below_b_star_give_a_power_and_a_bound():
    found = fit_learning_rates(B, 1e-5 * B**0.6)
    assert (found.rate, found.batch, found.batch_high) == (None, None, None)
    assert found.exponent == pytest.approx(0.6)
    assert found.batch_low > 1000
    assert "larger" in found.note
    assert found.at(B) == pytest.approx(1e-5 * B**0.6, rel=1e-2)


def test_noise_rarely_passes_for_a_turn():
    rngs = (np.random.default_rng(seed) for seed in range(100))
    rates = (1e-5 * B**0.6 * np.exp(0.1 * rng.standard_normal(B.size)) for rng in rngs)
    told = [found.batch for found in (fit_learning_rates(B, r, bootstrap=0) for r in rates) if found.batch]
    assert sum(b > B.max() for b in told) <= 5
    assert len(told) < 25


def test_flat_rates_give_a_rate_and_a_bound():
    rng = np.random.default_rng(0)
    found = fit_learning_rates(B, 1e-3 * np.exp(0.05 * rng.standard_normal(B.size)))
    assert found.rate == pytest.approx(1e-3, rel=0.05)
    assert (found.batch, found.batch_low, found.exponent) == (None, None, None)
    assert found.batch_high < 5000
    assert "smaller" in found.note


def test_rates_on_a_grid_of_factors_of_two_hold_the_truth():
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        steps = np.log2(law(B) * np.exp(0.1 * rng.standard_normal(B.size)))
        offset = rng.random()
        found = fit_learning_rates(B, 2.0 ** (np.round(steps + offset) - offset), bootstrap=200)
        held.append((found.batch_low or 0) <= 900 <= (found.batch_high or np.inf))
    assert np.mean(held) > 0.85


def test_same_seed_same_bytes():
    rate = law(B) * np.exp(0.1 * np.random.default_rng(0).standard_normal(B.size))
    one = fit_learning_rates(B, rate, seed=4)
    assert dataclasses.asdict(one) == dataclasses.asdict(fit_learning_rates(B[::-1], rate[::-1], seed=4))
    assert one != fit_learning_rates(B, rate, seed=5)


@pytest.mark.parametrize(
    ("batch", "rate", "kwargs", "message"),
    [
        ([], [], {}, "empty"),
        ([1, 2], [1e-3, 1e-3], {}, "3 parameters need"),
        ([1, 2, 4], [1e-3, -1e-3, 1e-3], {}, "rate must be finite and positive; entry 1"),
        ([1, 2, 4], [1e-3, 1e-3], {}, "one length"),
        ([1, 2, 4], [1, 1, 1], {"exponent_bounds": (1.0, 0.5)}, "exponent_bounds"),
        ([1, 2, 4], [1, 1, 1], {"exponent_bounds": (0.0, 0.5)}, "exponent_bounds"),
        ([1, 2, 4], [1, 1, 1], {"confidence": 0.0}, "confidence"),
    ],
)
def test_bad_input_is_one_line(batch, rate, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_learning_rates(batch, rate, **kwargs)
    assert "\n" not in str(caught.value)


def test_rates_of_a_grid_promise_no_exactness() -> None:
    """Three batch sizes, a grid of factor 2, three seeds that agree: the truth, 300, was never in the interval."""
    batch = np.repeat([100.0, 400.0, 1600.0], 3)
    rate = 2.0 ** np.round(np.log2(1e-2 / (1 + 300 / batch) ** 0.7))
    sure, honest = (
        fit_learning_rates(batch, rate, resolution=r) for r in (0.01, math.log(2) / math.sqrt(12))
    )
    assert not (sure.batch_low or 0) <= 300 <= (sure.batch_high or math.inf)
    assert (honest.batch_low or 0) <= 300 <= (honest.batch_high or math.inf)
    with pytest.raises(ValueError, match="resolution"):
        fit_learning_rates(batch, rate, resolution=-1)


def test_an_exact_law_has_an_exponent_to_the_resolution() -> None:
    batch = np.geomspace(10, 3000, 7)
    law = fit_learning_rates(batch, 1e-2 / (1 + 200 / batch) ** 0.7)
    assert law.exponent == pytest.approx(0.7, abs=1e-3)
    assert law.exponent_low is not None
    assert law.exponent_high is not None
    assert 0.005 < law.exponent_high - law.exponent_low < 0.1
