import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rl_gns.analysis import fit_front
from rl_gns.analysis._profile import Points

B = 40.0 * 2.0 ** np.arange(8)


def law(batch, s_min=1000.0, b_crit=600.0):
    return s_min * (1 + b_crit / np.asarray(batch))


def noisy(rng, batch=B, sigma=0.1, **kwargs):
    return law(batch, **kwargs) * np.exp(sigma * rng.standard_normal(len(batch)))


def objective(p, batch, log_s, censored):
    """The definition, point by point."""
    total = 0.0
    for b, y, c in zip(batch, log_s, censored, strict=True):
        gap = y - (p[0] + np.log1p(np.exp(p[1]) / b))
        total += max(gap, 0.0) ** 2 if c else gap**2
    return total


def fit_slowly(batch, updates, censored):
    """Two-parameter simplex from several starts."""
    y = np.log(updates)
    starts = [(y.min() - a, np.log(b)) for a in (0, 2) for b in (batch.min(), np.median(batch), batch.max())]
    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000}
    found = [minimize(objective, s, (batch, y, censored), "Nelder-Mead", options=options) for s in starts]
    return min(found, key=lambda f: f.fun)


@given(st.floats(0, 6), st.floats(-2, 12), st.integers(4, 9))
def test_exact_data_are_recovered(position, log_s, sizes):
    batch = 5.0 * 2.0 ** np.arange(sizes)
    b_crit = batch[0] * 2 ** (position / 6 * (sizes - 1))
    front = fit_front(batch, law(batch, np.exp(log_s), b_crit), bootstrap=50)
    assert front.b_crit == pytest.approx(b_crit, rel=1e-5)
    assert front.s_min == pytest.approx(np.exp(log_s), rel=1e-5)
    assert front.e_min == pytest.approx(np.exp(log_s) * b_crit, rel=1e-5)
    assert front.rms_log_residual == pytest.approx(0, abs=1e-6)
    assert front.b_crit_low <= front.b_crit <= front.b_crit_high
    assert front.determined
    assert front.updates(batch) == pytest.approx(law(batch, np.exp(log_s), b_crit), rel=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_fit_equals_slow_twin(seed):
    rng = np.random.default_rng(seed)
    s, censored = noisy(rng, sigma=0.2), rng.random(8) < 0.3
    s[censored] *= rng.uniform(0.5, 1.5, censored.sum())
    slow = fit_slowly(B, s, censored)
    front = fit_front(B, s, censored, bootstrap=0)
    assert front.b_crit == pytest.approx(np.exp(slow.x[1]), rel=1e-4)
    assert front.s_min == pytest.approx(np.exp(slow.x[0]), rel=1e-4)


@given(st.integers(0, 50), st.floats(0.01, 100), st.floats(0.01, 100))
@settings(max_examples=20)
def test_units_scale_through(seed, b_scale, s_scale):
    s = noisy(np.random.default_rng(seed))
    one, other = fit_front(B, s, bootstrap=50), fit_front(B * b_scale, s * s_scale, bootstrap=50)
    assert other.b_crit == pytest.approx(one.b_crit * b_scale, rel=1e-5)
    assert other.b_crit_low == pytest.approx(one.b_crit_low * b_scale, rel=1e-3)
    assert other.b_crit_high == pytest.approx(one.b_crit_high * b_scale, rel=1e-3)
    assert other.s_min == pytest.approx(one.s_min * s_scale, rel=1e-5)
    assert other.e_min == pytest.approx(one.e_min * s_scale * b_scale, rel=1e-5)
    assert other.rms_log_residual == pytest.approx(one.rms_log_residual, rel=1e-5)


@given(st.integers(0, 50), st.permutations(range(16)))
@settings(max_examples=20)
def test_order_of_points_changes_no_byte(seed, order):
    rng = np.random.default_rng(seed)
    batch, censored = np.repeat(B, 2), rng.random(16) < 0.2
    s = noisy(rng, batch)
    assert fit_front(batch, s, censored, bootstrap=50) == fit_front(
        batch[order], s[order], censored[order], bootstrap=50
    )


def test_same_seed_same_bytes_other_seed_other_interval():
    s = noisy(np.random.default_rng(0))
    one = fit_front(B, s, seed=1)
    assert dataclasses.asdict(one) == dataclasses.asdict(fit_front(B, s, seed=1))
    other = fit_front(B, s, seed=2)
    assert one.b_crit == other.b_crit
    assert one.b_crit_low != other.b_crit_low


@given(st.integers(0, 200), st.floats(0.2, 5.0), st.integers(0, 7))
@settings(max_examples=50)
def test_a_censored_point_never_lowers_the_curve_at_its_batch(seed, factor, i):
    s = noisy(np.random.default_rng(seed))
    bound = law(B[i]) * factor
    before = fit_front(B, s, bootstrap=0)
    after = fit_front(
        np.append(B, B[i]), np.append(s, bound), np.append(np.zeros(8, bool), True), bootstrap=0
    )
    assert after.points == 8
    assert after.censored == 1
    if before.b_crit is None or after.b_crit is None:
        return
    assert after.updates(B[i]) >= before.updates(B[i]) * (1 - 1e-6)
    if before.updates(B[i]) > bound:
        assert after.b_crit == pytest.approx(before.b_crit, rel=1e-6)


def test_censored_small_batches_raise_b_crit():
    s = law(B)
    s[:2] = 500.0
    censored = np.arange(8) < 2
    assert fit_front(B, s, censored, bootstrap=0).b_crit == pytest.approx(600, rel=1e-6)
    s[:2] = law(B[:2]) * 2
    assert fit_front(B, s, censored, bootstrap=0).b_crit > 700


@pytest.mark.parametrize("bootstrap", [0, 300])
def test_seeds_that_differ_widen_the_interval_though_their_means_lie_on_the_curve(bootstrap):
    batch, seeds = np.repeat(B, 3), np.tile([-0.2, 0.0, 0.2], 8)
    calm, wild = (fit_front(batch, law(batch) * np.exp(k * seeds), bootstrap=bootstrap) for k in (0.1, 1.0))
    assert calm.b_crit == pytest.approx(wild.b_crit)
    widths = [np.log(f.b_crit_high / f.b_crit_low) for f in (calm, wild)]
    assert widths[1] > 5 * widths[0]


def test_fit_is_fast():
    s = noisy(np.random.default_rng(0))
    fit_front(B, s, bootstrap=0)
    start = time.perf_counter()
    for _ in range(5):
        fit_front(B, s, bootstrap=0)
    assert (time.perf_counter() - start) / 5 < 0.05


def test_all_batches_far_above_leave_an_upper_bound():
    front = fit_front(1e6 * B, noisy(np.random.default_rng(0), sigma=0.05, b_crit=0) * np.ones(8))
    assert front.b_crit is None
    assert front.b_crit_low is None
    assert 0 < front.b_crit_high < 1e8
    assert front.s_min == pytest.approx(1000, rel=0.05)
    assert front.e_min is None
    assert not front.determined
    assert "smaller" in front.note
    assert front.updates([1e8]) == pytest.approx(front.s_min)


def test_all_batches_far_below_leave_a_lower_bound():
    front = fit_front(B, noisy(np.random.default_rng(0), sigma=0.05, b_crit=1e9))
    assert front.b_crit is None
    assert front.b_crit_high is None
    assert front.b_crit_low > 2000
    assert front.s_min is None
    assert front.e_min == pytest.approx(1e12, rel=0.05)
    assert "larger" in front.note
    assert front.updates(1e3) == pytest.approx(front.e_min / 1e3)


@pytest.mark.parametrize("b_crit", [1e-3, 1e9])
def test_noise_rarely_passes_for_a_critical_batch(b_crit):
    rngs = (np.random.default_rng(seed) for seed in range(100))
    told = [
        fit_front(B, noisy(rng, sigma=0.05, b_crit=b_crit), bootstrap=0).b_crit is not None for rng in rngs
    ]
    assert np.mean(told) < 0.12


def test_a_critical_batch_beyond_the_batches_is_told_when_the_points_are_good():
    front = fit_front(B, noisy(np.random.default_rng(0), sigma=0.02, b_crit=10_000))
    assert front.b_crit == pytest.approx(10_000, rel=0.2)
    assert front.determined


@pytest.mark.parametrize("b_crit", [1e-3, 1e9])
def test_exact_data_far_from_the_critical_batch_cannot_tell_either(b_crit):
    assert fit_front(B, law(B, b_crit=b_crit)).b_crit is None


def test_one_and_two_batch_sizes_cannot_tell():
    one = fit_front([100, 100, 100], [10, 11, 12])
    assert (one.b_crit, one.b_crit_low, one.b_crit_high) == (None, None, None)
    two = fit_front([100, 100, 200, 200], [20, 21, 15, 15.5])
    assert two.b_crit is None
    assert "at least 3" in two.note
    assert two.b_crit_low is not None
    single = fit_front([100, 200], [20, 15])
    assert (single.b_crit_low, single.b_crit_high) == (None, None)


def test_all_censored_cannot_tell():
    front = fit_front(B, law(B), np.ones(8, bool))
    assert (front.s_min, front.b_crit, front.rms_log_residual) == (None, None, None)
    assert front.censored == 8
    with pytest.raises(ValueError, match="no curve"):
        front.updates(10)


def test_three_noisy_points_have_a_wide_interval():
    front = fit_front([50, 500, 5000], law([50, 500, 5000]) * [1.1, 0.9, 1.05])
    assert front.b_crit is not None
    assert not front.determined


@pytest.mark.parametrize(
    ("truth", "best"), [(lambda b: law(b), "hyperbola"), (lambda b: 1e4 * b**-0.5, "power_law")]
)
def test_aic_tells_laws_apart(truth, best):
    rng = np.random.default_rng(3)
    aic = fit_front(B, truth(B) * np.exp(0.03 * rng.standard_normal(8)), bootstrap=0).aic
    assert min(aic, key=aic.get) == best


def test_aic_by_hand():
    s = noisy(np.random.default_rng(1))
    front = fit_front(B, s, bootstrap=0)
    assert front.aic["hyperbola"] == pytest.approx(16 * np.log(front.rms_log_residual) + 6)
    assert front.aic["constant"] == pytest.approx(8 * np.log(np.var(np.log(s))) + 4)
    assert front.aic["linear"] == pytest.approx(8 * np.log(np.var(np.log(s * B))) + 4)
    rest = np.log(s) - np.polyval(np.polyfit(np.log(B), np.log(s), 1), np.log(B))
    assert front.aic["power_law"] == pytest.approx(8 * np.log(np.mean(rest**2)) + 6)


@given(st.integers(0, 30), st.floats(-3, 12))
@settings(max_examples=30)
def test_one_sided_intercept_equals_slow_twin(seed, log_c):
    rng = np.random.default_rng(seed)
    k = 5
    points = Points(B, rng.normal(5, 1, 8), (1.0, 1.0), rng.choice(B, k), rng.normal(5, 2, k))
    fit = points.at(log_c)
    y, b = np.concatenate([points.log_y, points.log_bound]), np.concatenate([B, points.bound_batch])
    flags = np.arange(8 + k) >= 8
    slow = minimize(
        lambda a: objective((a[0], log_c), b, y, flags),
        [0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-14},
    )
    assert fit.objective[0] == pytest.approx(slow.fun, rel=1e-8, abs=1e-10)
    assert fit.intercept[0] == pytest.approx(slow.x[0], abs=1e-4)


@pytest.mark.parametrize(
    ("batch", "updates", "kwargs", "message"),
    [
        ([], [], {}, "empty"),
        ([1, 2], [1], {}, "one length"),
        ([1, 2], [1, 2], {"censored": [True]}, "one length"),
        ([1, 2], [1, np.nan], {}, "updates must be finite and positive; entry 1"),
        ([1, 0], [1, 1], {}, "batch must be finite and positive; entry 1"),
        ([1, 2], [1, -3], {}, "entry 1 is -3"),
        ([1, 2], [1, 3], {"censored": [0, 2]}, "True or False"),
        ([1, 2], [1, 3], {"bootstrap": -1}, "bootstrap"),
        ([1, 2], [1, 3], {"confidence": 1.0}, "confidence"),
        ([[1, 2]], [[1, 3]], {}, "one length"),
    ],
)
def test_bad_input_is_one_clear_line(batch, updates, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_front(batch, updates, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [1, 2])
def test_equal_counts_at_too_few_sizes_cant_tell(sizes: int) -> None:
    """As where progress is looked at seldom; F has no degrees of freedom of sizes there."""
    batch, updates = [100.0, 100.0, 200.0, 200.0][: 2 * sizes], [10.0, 10.0, 8.0, 8.0][: 2 * sizes]
    front = fit_front(batch, updates)
    assert (front.b_crit, front.determined) == (None, False)
    assert front.note.startswith(f"runs that met the goal have {sizes} batch size")
    assert fit_front([*batch, 400, 400], [*updates, 100, 100], [False] * 2 * sizes + [True] * 2).censored == 2


def test_coarse_counts_have_the_interval_of_their_resolution() -> None:
    """Looked at seldom, three seeds agree to the digit, and happen to lie on a law."""
    batch = np.repeat([100.0, 300.0, 900.0, 2700.0], 3)
    updates = 1000 * (1 + 500 / batch)
    sure, honest = (fit_front(batch, updates, bootstrap=200, resolution=r) for r in (0.01, 0.08))
    assert sure.b_crit_low is not None
    assert sure.b_crit_high is not None
    assert honest.b_crit_low is not None
    assert honest.b_crit_low < 0.8 * sure.b_crit_low
    assert honest.b_crit_high is None or honest.b_crit_high > 1.3 * sure.b_crit_high
    with pytest.raises(ValueError, match="resolution must be a positive number, got 0"):
        fit_front(batch, updates, resolution=0)


@pytest.mark.parametrize("power", [0.5, -1.6])
def test_a_law_that_is_neither_is_said(power: float) -> None:
    """Updates that rise with the batch, or fall faster than it grows."""
    batch = np.array([10.0, 20, 40, 80, 160, 320])
    assert "no law of a critical batch fits" in fit_front(batch, 1e4 * batch**power).note


def test_a_limit_lies_within_the_interval_that_is_given_for_it() -> None:
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(60):
        batch = np.repeat(np.geomspace(10, 100, 4), 2)
        front = fit_front(
            batch, 1e6 / batch * np.exp(0.1 * rng.standard_normal(8)), bootstrap=0, confidence=0.5
        )
        if front.e_min is not None and front.e_min_low is not None and front.e_min_high is not None:
            told += 1
            assert front.e_min_low <= front.e_min <= front.e_min_high
    assert told > 5
