"""The meter against plain recursions, brute-force intervals and processes of known noise scale."""

import io
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rl_gns.noise import Moments, NoiseScale, NoiseScaleMeter
from rl_gns.noise.history import History
from rl_gns.noise.interval import (
    BLOCKS_PER_HALFLIFE,
    CORRELATION_MARGIN,
    FEWEST_BLOCKS,
    drift_degree,
    effective_number,
    expected_cubes,
    expected_scatter,
    most_correlated,
    ratio_interval,
    residual_projection,
    unskewed,
)


def gaussian(
    d: int, units: int, ratio: float, shape: tuple[int, int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Signal and noise, [updates, repetitions], of isotropic units of tr(Σ) = d; `ratio` is B / B_simple."""
    rng = np.random.default_rng(seed)
    noise = rng.chisquare(d * (units - 1), shape) / (units - 1)
    mean_sq_norm = rng.noncentral_chisquare(d, ratio * d, shape) / units
    return mean_sq_norm - noise / units, noise


def fed(meter: NoiseScaleMeter, updates: int, ratio: float = 3.0, seed: int = 0) -> NoiseScaleMeter:
    signal, noise = gaussian(100, 8, ratio, (updates, 1), seed)
    for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
        meter.update(Moments(float(s), float(n), 8))
    return meter


@pytest.mark.parametrize("halflife", [3.0, 40.0, 1e6])
@pytest.mark.parametrize("even", [True, False])
def test_averages_are_the_debiased_moving_averages_of_the_last_six_halflives(halflife, even):
    rng = np.random.default_rng(0)
    meter = NoiseScaleMeter(unit_observations=1, halflife=halflife)
    rows, now = [], 0.0
    for t in range(700):
        s, n, duration = rng.normal(), rng.gamma(3.0), 1.0 if even else float(rng.integers(1, 9))
        meter.update(Moments(s, n, 2), observations=duration)
        now += duration
        rows.append((now, 1 - 0.5 ** (duration / halflife), s, n))
        if t % 10:
            continue
        kept = sum(block.span for block in meter._history.blocks)
        assert kept >= min(now, 6 * halflife) - 1e-9
        assert len(meter._history.blocks) <= 192
        weights, signal, noise = np.zeros(3)
        for end, weight, s, n in rows:
            if end > now - kept:
                w = weight * 0.5 ** ((now - end) / halflife)
                weights, signal, noise = weights + w, signal + w * s, noise + w * n
        reading = meter.read()
        assert reading.signal == pytest.approx(signal / weights, rel=1e-8, abs=1e-8)
        assert reading.noise == pytest.approx(noise / weights, rel=1e-8)


@pytest.mark.parametrize("burst", [100.0, 1e4, 1e8])
def test_one_update_that_all_but_diverges_is_never_taken_for_the_noise_scale(burst):
    """Units of 5 observations; 8 of them are three times the noise scale, but all agree in the burst."""
    halflife, truth = 20, 5 * 8 / 3
    meter = NoiseScaleMeter(unit_observations=5, halflife=halflife * 8 * 5)
    signal, noise = (moment[:, 0] for moment in gaussian(100, 8, 3.0, (600, 1), 0))
    signal[300], noise[300] = burst * (signal[300] + noise[300]), burst * noise[300]
    known = set()
    for t in range(600):
        meter.update(Moments(float(signal[t]), float(noise[t]), 8))
        reading = meter.read()
        if t >= 300 and reading.value is not None:
            known.add(t)
            assert 0.9 * reading.low <= truth <= 1.1 * reading.high, f"{t - 300} updates after: {reading}"
    assert set(range(300 + 6 * halflife + 3, 600)) <= known


def test_value_is_the_ratio_in_observations():
    reading = fed(NoiseScaleMeter(unit_observations=5, halflife=1e9), 400).read()
    assert reading.value == pytest.approx(5 * reading.noise / reading.signal)
    assert reading.low < reading.value < reading.high
    assert reading.observations == 400 * 8 * 5
    # A batch of 8 units of 5 is three times the noise scale.
    assert reading.low < 40 / 3 < reading.high


def test_time_between_readings_may_be_longer_than_what_was_measured():
    measured, elapsed = NoiseScaleMeter(5, 1000), NoiseScaleMeter(5, 4000)
    for s in (1.0, 2.0, -3.0):
        measured.update(Moments(s, 1.0, 8))
        elapsed.update(Moments(s, 1.0, 8), observations=160)
    assert elapsed.read().signal == pytest.approx(measured.read().signal)
    assert elapsed.read().observations == 4 * measured.read().observations


def test_ratio_of_averages_is_right_where_the_average_of_ratios_is_not():
    """The paper's T7: with the batch a tenth of the noise scale, single ratios blow up."""
    updates, repetitions, units = 2000, 20, 8
    signal, noise = gaussian(200, units, 0.1, (updates, repetitions), seed=0)
    truth = units / 0.1
    ratio_of_averages = noise.mean(0) / signal.mean(0)
    average_of_ratios = (noise / signal).mean(0)
    assert np.abs(ratio_of_averages / truth - 1).max() < 0.2
    assert np.median(np.abs(average_of_ratios / truth - 1)) > 0.4
    assert average_of_ratios.std() > 10 * ratio_of_averages.std()
    meter = NoiseScaleMeter(1, 1e9)
    for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
        meter.update(Moments(float(s), float(n), units))
    assert meter.read().value == pytest.approx(ratio_of_averages[0], rel=1e-3)


@pytest.mark.parametrize("mean", [-0.05, -3.0])
def test_negative_signal_is_unknown_with_a_lower_bound(mean):
    rng = np.random.default_rng(3)
    meter = NoiseScaleMeter(unit_observations=5, halflife=1e9)
    for _ in range(200):
        meter.update(Moments(rng.normal(mean), 100.0 + rng.normal(), 8))
    reading = meter.read()
    assert reading.value is None
    assert 0 < reading.low < math.inf
    assert reading.high == math.inf
    assert reading.signal < 0
    assert str(reading).startswith("unknown, at least ")


def test_too_few_updates_give_no_interval():
    meter = NoiseScaleMeter(1, 1e6)
    assert meter.read()[:3] == (None, 0.0, math.inf)
    assert math.isnan(meter.read().signal)
    for _ in range(FEWEST_BLOCKS - 1):
        meter.update(Moments(1.0, 1.0, 4))
    assert meter.read()[:3] == (None, 0.0, math.inf)
    meter.update(Moments(1.0, 1.0, 4))
    assert meter.read()[:3] == pytest.approx((1.0, 1.0, 1.0))


def test_equal_units_have_no_noise():
    meter = NoiseScaleMeter(5, 1e6)
    for i in range(10):
        meter.update(Moments(1.0 + i, -1e-17, 4))
    assert meter.read()[:3] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("save", ["json", "torch", "plain"])
@pytest.mark.parametrize("before", [0, 5, 96, 97, 700])
def test_resuming_changes_no_bit(save, before):
    whole, first = (fed(NoiseScaleMeter(5, 4000), before) for _ in range(2))
    state = first.state_dict()
    if save == "json":
        state = json.loads(json.dumps(state))
    elif save == "torch":
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    resumed = NoiseScaleMeter(5, 4000)
    resumed.load_state_dict(state)
    fed(first, 10, seed=2)  # what is saved is a copy
    for meter in (whole, resumed):
        fed(meter, 130, seed=1)
    assert resumed.read() == whole.read()
    assert resumed.state_dict() == whole.state_dict()


def test_state_stays_small():
    meter = fed(NoiseScaleMeter(5, 4000), 3000)
    assert len(meter.state_dict()["blocks"]) <= 12 * BLOCKS_PER_HALFLIFE == 192


@given(st.integers(-30, 30), st.integers(-30, 30))
@settings(max_examples=20, deadline=None)
def test_units_of_gradients_and_of_observations(gradient_power, observation_power):
    c, t = 2.0**gradient_power, 2.0**observation_power
    plain, scaled = NoiseScaleMeter(1, 500), NoiseScaleMeter(t, 500 * t)
    signal, noise = gaussian(50, 4, 0.3, (80, 1), seed=0)
    for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
        plain.update(Moments(s, n, 4))
        scaled.update(Moments(c * s, c * n, 4))
    assert scaled.read()[:3] == pytest.approx([t * x for x in plain.read()[:3]], rel=1e-6)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("halflife", [4.0, 30.0, 1e6])
@pytest.mark.parametrize("rho", [-0.2, 0.0, 0.6])
def test_expected_scatter_against_explicit_matrices(halflife, rho, degree):
    history = History(halflife)
    for t in range(130):
        history.append(float(t), 1.0, 1.0)
    a, n, time, _, _ = history.read()
    b = len(a)
    c = np.array([[rho ** abs(i - j) / math.sqrt(n[i] * n[j]) for j in range(b)] for i in range(b)])
    powers = np.stack([((time - 100) / 30) ** p for p in range(degree + 1)], axis=1)
    fit = powers @ np.linalg.solve(powers.T @ np.diag(a) @ powers, powers.T @ np.diag(a))
    residual = np.eye(b) - fit
    np.testing.assert_allclose(residual_projection(a, time, degree), residual, atol=1e-6)
    e = np.diag(a) @ residual @ c @ residual.T @ np.diag(a)
    v, squares, ratio, dof = (m[0] for m in expected_scatter(a, n, residual, np.array([rho])))
    assert v == pytest.approx(a @ c @ a)
    assert squares == pytest.approx(sum(e[i, i] for i in range(b)))
    assert ratio == pytest.approx(sum(e[i, i + 1] for i in range(b - 1)) / np.trace(e))
    assert dof == pytest.approx(np.trace(e) ** 2 / np.trace(e @ e))


@pytest.mark.parametrize("m", [1, 2, 8, 40])
def test_blocks_of_more_updates_may_be_less_correlated(m):
    c = 0.9 ** np.abs(np.arange(2 * m)[:, None] - np.arange(2 * m))
    explicit = c[:m, m:].sum() / c[:m, :m].sum()
    assert most_correlated(m) == pytest.approx(min(0.8, explicit))


def test_of_equal_uncorrelated_blocks_the_scatter_is_that_about_a_fitted_line():
    a = np.full(20, 0.05)
    detrend = residual_projection(a, np.arange(20.0), 1)
    v, squares, _, dof = (m[0] for m in expected_scatter(a, np.ones(20), detrend, np.zeros(1)))
    assert (v, squares, dof) == pytest.approx((1 / 20, 18 / 400, 18))


@given(st.floats(-8, 8), st.floats(-0.5, 0.5))
def test_unskewed_inverts_halls_transformation(t, skew):
    back = unskewed(np.array(t), np.array(skew))
    assert back + skew / 6 + skew * back**2 / 3 + skew**2 * back**3 / 27 == pytest.approx(t, abs=1e-3)


def test_skewness_of_the_average_is_that_of_skewed_readings():
    """A standard exponential has a third cumulant of 2, so the mean of n has 2 / n²."""
    readings = np.random.default_rng(0).exponential(size=(30, 20_000))
    a, detrend = np.full(30, 1 / 30), residual_projection(np.full(30, 1 / 30), np.arange(30.0), 5)
    cubes = ((a[:, None] * (detrend @ readings)) ** 3).sum(0).mean()
    assert cubes * expected_cubes(a, np.ones(30), detrend) == pytest.approx(2 / 30**2, rel=0.05)


@pytest.mark.parametrize("updates", [40, 100])
def test_coverage_where_a_few_updates_hold_most_of_the_signal(updates):
    """Errors as skewed as those of the chain world, where the plain t is missed nine times in ten on one side."""
    rng = np.random.default_rng(1)
    lump = rng.gamma(0.15, 1 / 0.15, (updates, 1000))  # mean 1, skewness 5
    history = History(1e6, BLOCKS_PER_HALFLIFE)
    for t in range(updates):
        history.append(lump[t], 1.0 + 0.1 * rng.standard_normal(1000), 1.0)
    interval = ratio_interval(history.read(), 0.95)
    assert 0.91 <= np.mean((interval.low <= 1) & (interval.high >= 1)) <= 0.97
    assert np.mean(interval.high < 1) < 0.08


@pytest.mark.parametrize(("blocks", "degree"), [(8, 1), (15.9, 1), (16, 2), (39, 4), (40, 5), (96, 5)])
def test_more_blocks_allow_a_more_winding_drift(blocks, degree):
    assert drift_degree(blocks) == degree


def test_squares_all_alike_count_in_full_and_one_burst_for_its_neighbourhood():
    assert effective_number(np.ones((90, 1))) == pytest.approx(90, rel=0.02)
    assert effective_number(np.eye(90)[:, 45]) == pytest.approx(9)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.5, 30.0])
def test_limits_against_testing_every_ratio(ratio):
    """A brute-force twin: σ belongs to the interval when its own test accepts it."""
    signal, noise = gaussian(40, 4, ratio, (30, 12), seed=5)
    history = History(1e9)
    for s, n in zip(signal, noise, strict=True):
        history.append(s, n, 1.0)
    blocks = history.read()
    interval = ratio_interval(blocks, 0.95)
    grid = np.linspace(0, 4, 2001) * max(ratio, 0.3) / 4
    rhos = np.linspace(-0.2, 0.8, 11)
    detrend = residual_projection(blocks.share, blocks.time, 3)
    model = expected_scatter(blocks.share, blocks.readings, detrend, rhos)
    for k in range(12):
        x, y = blocks.x[:, k], blocks.y[:, k]
        dz = detrend @ (x - max(x.mean(), 0) / y.mean() * y)
        rho = min(np.interp(dz[1:] @ dz[:-1] / (dz @ dz), model.lag, rhos) + CORRELATION_MARGIN, 0.8)
        exact = expected_scatter(blocks.share, blocks.readings, detrend, np.array([rho]))
        factor = exact.mean_variance[0] / exact.squares[0] / 900
        fewer = effective_number(dz**2) / effective_number((detrend**2).sum(1))
        dof = max(exact.dof[0] * min(1, fewer), 2)
        s = np.array([math.sqrt(factor * np.sum((detrend @ (x - g * y)) ** 2)) for g in grid])
        # The third cumulant of the mean of 30, of residuals whose cubes sum to so much less than the errors'.
        cumulant = np.sum(dz**3) / np.sum(detrend**3) / 30**2
        skew = np.clip(cumulant / (factor * np.sum(dz**2)) ** 1.5, -0.5, 0.5)
        t = (x.mean() - grid * y.mean()) / s
        statistic = t + skew / 6 + skew * t**2 / 3 + skew**2 * t**3 / 27
        distance = grid * y.mean() / s
        below = 0.025 * np.minimum(distance / stats.t.ppf(0.975, dof), 1)
        accepted = grid[(stats.t.cdf(statistic, dof) >= below) & (stats.t.sf(statistic, dof) >= 0.05 - below)]
        step = 0.03 * max(ratio, 0.3) / 4
        assert interval.low[k] == pytest.approx(accepted.min(), abs=step)
        assert interval.high[k] == pytest.approx(accepted.max(), abs=step)


@pytest.mark.parametrize(("ratio", "updates", "halflife"), [(0.03, 24, 1e6), (3.0, 24, 1e6), (0.3, 150, 20)])
def test_coverage(ratio, updates, halflife):
    """1,000 repetitions; scripts/noise_coverage.py measures many more cases."""
    signal, noise = gaussian(200, 4, ratio, (updates, 1000), seed=11)
    history = History(halflife, BLOCKS_PER_HALFLIFE)
    for s, n in zip(signal, noise, strict=True):
        history.append(s, n, 1.0)
    interval = ratio_interval(history.read(), 0.95)
    sigma = ratio / 4
    covered = np.mean((interval.low <= sigma) & (sigma <= interval.high))
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("factor", [0.1, 1 / 3, 3.0, 10.0])
@pytest.mark.parametrize("noise_too", [False, True])
def test_coverage_while_the_signal_drifts(factor, noise_too):
    """|G|² grows by `factor` a half-life; the truth is the ratio of the averages, and it is always given."""
    rng, halflife, d, k, shape = np.random.default_rng(4), 64.0, 100, 8, (128, 1000)
    signal_path = 30.0 * factor ** (np.arange(128) / halflife)
    noise_path = factor ** (np.arange(128) / halflife) if noise_too else np.ones(128)
    noise = noise_path[:, None] * rng.chisquare(d * (k - 1), shape) / (k - 1)
    q = noise_path[:, None] * rng.noncentral_chisquare(d, (k * signal_path / noise_path)[:, None], shape) / k
    history, truth = History(halflife, BLOCKS_PER_HALFLIFE), History(halflife, BLOCKS_PER_HALFLIFE)
    for t in range(128):
        history.append(q[t] - noise[t] / k, noise[t], 1.0)
        truth.append(signal_path[t], d * noise_path[t], 1.0)
    window = truth.read()
    sigma = (window.share @ window.x) / (window.share @ window.y)
    interval = ratio_interval(history.read(), 0.95)
    assert 0.93 <= np.mean((interval.low <= sigma) & (sigma <= interval.high)) <= 0.98
    assert (interval.low > 0).all()
    assert np.median(interval.high - interval.low) < 0.4 * sigma


def test_how_large_a_noise_scale_can_be_seen():
    """docs/noise_scale.md: M updates tell B_simple from infinity half the time at batch · √(d_eff M / 2) / 1.8."""
    d, k, updates = 50, 16, 200
    limit = math.sqrt(d * updates / 2) / 1.8  # in batches
    signal, noise = gaussian(d, k, 1 / limit, (updates, 1000), seed=3)
    history = History(1e9, BLOCKS_PER_HALFLIFE)
    for s, n in zip(signal, noise, strict=True):
        history.append(s, n, 1.0)
    known = (ratio_interval(history.read(), 0.95).low > 0).mean()
    assert 0.4 <= known <= 0.6


def test_a_sudden_change_widens_the_interval_but_is_no_reason_to_know_nothing():
    rng = np.random.default_rng(0)
    meter = NoiseScaleMeter(1, 50.0)
    for t in range(200):
        meter.update(Moments((10.0 if t < 150 else 1.0) + rng.normal(0, 0.1), 10.0, 8), observations=1.0)
    reading = meter.read()
    assert reading.value == pytest.approx(10 / 5.5, rel=0.1)
    assert reading.low < 10 / 5.5 < reading.high < 2 * reading.value


def test_meter_reads_what_the_arrays_read():
    signal, noise = gaussian(20, 4, 0.2, (90, 3), seed=1)
    history = History(100.0, BLOCKS_PER_HALFLIFE)
    meters = [NoiseScaleMeter(1, 100.0) for _ in range(3)]
    for s, n in zip(signal, noise, strict=True):
        history.append(s, n, 4.0)
        for k, meter in enumerate(meters):
            meter.update(Moments(s[k], n[k], 4))
    interval = ratio_interval(history.read(), 0.95)
    for k, meter in enumerate(meters):
        assert meter.read().low == pytest.approx(1 / interval.high[k], rel=1e-12)


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        (NoiseScale(1234.0, 912.0, 1.8e6, 1.0, 1.0, 1.0), "1.23k (912-1.8M)"),
        (NoiseScale(None, 3400.0, math.inf, 1.0, 1.0, 1.0), "unknown, at least 3.4k"),
        (NoiseScale(None, 0.0, math.inf, 1.0, 1.0, 1.0), "unknown"),
        (NoiseScale(999.7, 99.96, 999_600.0, 1.0, 1.0, 1.0), "1k (100-1M)"),
        (NoiseScale(0.01, 0.0, 2e9, 1.0, 1.0, 1.0), "0.01 (0-2G)"),
    ],
)
def test_reading_for_people(reading, text):
    assert str(reading) == text


@pytest.mark.parametrize(
    "bad", [{"unit_observations": 0}, {"halflife": -1.0}, {"halflife": math.inf}, {"confidence": 1}]
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        NoiseScaleMeter(**{"unit_observations": 5, "halflife": 100.0, **bad})


@pytest.mark.parametrize("bad", [Moments(math.nan, 1.0, 4), Moments(1.0, math.inf, 4)])
def test_moments_that_are_no_numbers_leave_the_meter_as_it_was(bad):
    meter = fed(NoiseScaleMeter(5, 4000), 20)
    before = meter.read()
    with pytest.raises(ValueError, match="finite"):
        meter.update(bad)
    with pytest.raises(ValueError, match="number of observations"):
        meter.update(Moments(1.0, 1.0, 4), observations=0)
    assert meter.read() == before


def test_state_of_another_meter_is_refused():
    state = NoiseScaleMeter(5, 4000).state_dict()
    with pytest.raises(ValueError, match=r"halflife 4000.0, this one 100.0"):
        NoiseScaleMeter(5, 100).load_state_dict(state)
    del state["blocks"]
    with pytest.raises(ValueError, match="lacks blocks"):
        NoiseScaleMeter(5, 4000).load_state_dict(state)
