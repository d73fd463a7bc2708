"""The meter against plain recursions, brute-force intervals and processes of known noise scale."""

import io
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_gns.noise import Moments, NoiseScale, NoiseScaleMeter, moments
from rl_gns.noise.history import History
from rl_gns.noise.interval import (
    BLOCKS_PER_HALFLIFE,
    FEWEST_BLOCKS,
    ratio_interval,
)


@pytest.fixture
def fed(gaussian):
    """fed(meter, updates) -> the meter, fed with readings."""

    def feed(meter: NoiseScaleMeter, updates: int, ratio: float = 3.0, seed: int = 0) -> NoiseScaleMeter:
        signal, noise = gaussian(100, 8, ratio, (updates, 1), seed)
        for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
            meter.update(Moments(float(s), float(n), 8))
        return meter

    return feed


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
def test_one_update_that_all_but_diverges_is_never_taken_for_the_noise_scale(gaussian, burst):
    """Units of 5 observations; 8 of them are three times the noise scale, but all agree in the burst."""
    halflife, truth = 20, 5 * 8 / 3
    meter = NoiseScaleMeter(unit_observations=5, halflife=halflife * 8 * 5)
    signal, noise = (moment[:, 0] for moment in gaussian(100, 8, 3.0, (600, 1), 0))
    signal[300], noise[300] = burst * (signal[300] + noise[300]), burst * noise[300]
    known = []
    for t in range(600):
        meter.update(Moments(float(signal[t]), float(noise[t]), 8))
        if t < 300 or (t > 330 and t % 5):
            continue
        reading = meter.read()
        if reading.value is not None:
            assert 0.9 * reading.low <= truth <= 1.1 * reading.high, f"{t - 300} updates after: {reading}"
        if t >= 300 + 6 * halflife + 3:
            known.append(reading.value is not None)
    assert len(known) == 35
    assert all(known)


def test_value_is_the_ratio_in_observations(fed):
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


def test_ratio_of_averages_is_right_where_the_average_of_ratios_is_not(gaussian):
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


def test_noise_below_0_by_more_than_rounding_is_no_certainty_that_there_is_none():
    """Of a Hessian-weighted gradient tr(HΣ) may come out below 0, whatever it is."""
    meter, rng = NoiseScaleMeter(5, 1e6), np.random.default_rng(0)
    for _ in range(40):
        meter.update(Moments(1.0, -0.2 + 0.1 * rng.normal(), 4))
    assert meter.read()[:3] == (None, 0.0, math.inf)


@pytest.mark.parametrize("save", ["json", "torch", "plain"])
@pytest.mark.parametrize("before", [0, 5, 96, 97, 700])
def test_resuming_changes_no_bit(fed, save, before):
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


def test_state_stays_small(fed):
    meter = fed(NoiseScaleMeter(5, 4000), 3000)
    assert len(meter.state_dict()["blocks"]) <= 12 * BLOCKS_PER_HALFLIFE == 192


@given(st.integers(-30, 30), st.integers(-30, 30))
@settings(max_examples=20, deadline=None)
def test_units_of_gradients_and_of_observations(gaussian, gradient_power, observation_power):
    c, t = 2.0**gradient_power, 2.0**observation_power
    plain, scaled = NoiseScaleMeter(1, 500), NoiseScaleMeter(t, 500 * t)
    signal, noise = gaussian(50, 4, 0.3, (80, 1), seed=0)
    for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
        plain.update(Moments(s, n, 4))
        scaled.update(Moments(c * s, c * n, 4))
    assert scaled.read()[:3] == pytest.approx([t * x for x in plain.read()[:3]], rel=1e-6)


def test_a_sudden_change_widens_the_interval_but_is_no_reason_to_know_nothing():
    rng = np.random.default_rng(0)
    meter = NoiseScaleMeter(1, 50.0)
    for t in range(200):
        meter.update(Moments((10.0 if t < 150 else 1.0) + rng.normal(0, 0.1), 10.0, 8), observations=1.0)
    reading = meter.read()
    assert reading.value == pytest.approx(10 / 5.5, rel=0.1)
    assert reading.low < 10 / 5.5 < reading.high < 2 * reading.value


def test_meter_reads_what_the_arrays_read(gaussian):
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
def test_moments_that_are_no_numbers_leave_the_meter_as_it_was(fed, bad):
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


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_shares_without_a_signal_have_a_bound_all_the_same():
    """Normalized signal and noise add up to a constant: what x leaves unknown y doesn't, and no error is left over."""
    rng = np.random.default_rng(0)
    meter = NoiseScaleMeter(5, 1e6)
    unknown = 0
    for _ in range(200):
        g = rng.normal(size=(4, 30))
        of_mean = float((g.mean(0) ** 2).sum())
        meter.update(moments((g**2).sum(1).tolist(), of_mean).normalized())
        reading = meter.read()
        if reading.observations >= 20 * 40 and reading.signal < 0:
            unknown += 1
            assert reading.value is None
            assert 0 < reading.low < math.inf
    assert unknown > 10


@pytest.mark.parametrize(("signal", "noise"), [(-1.0, -3.0), (1.0, -3.0), (0.0, -3.0)])
def test_a_noise_below_0_is_unknown_whatever_the_signal(signal: float, noise: float) -> None:
    """Hessian-weighted moments have either sign; two negative ones are no known noise scale."""
    meter, rng = NoiseScaleMeter(1.0, 100.0), np.random.default_rng(0)
    for _ in range(400):
        meter.update(Moments(signal + 0.1 * rng.standard_normal(), noise + 0.1 * rng.standard_normal(), 1))
    reading = meter.read()
    assert (reading.value, reading.low, reading.high) == (None, 0.0, math.inf)


def test_a_meter_reads_at_its_own_confidence(gaussian):
    signal, noise = gaussian(100, 8, 3.0, (60, 1), 0)
    history, meter = History(1e9, BLOCKS_PER_HALFLIFE), NoiseScaleMeter(5, 1e9, 0.8)
    for s, n in zip(signal[:, 0], noise[:, 0], strict=True):
        history.append(s, n, 40.0)
        meter.update(Moments(s, n, 8))
    wanted = ratio_interval(history.read(), 0.8)
    found = meter.read()
    assert (found.low, found.high) == pytest.approx((5 / float(wanted.high), 5 / float(wanted.low)))


def test_what_was_read_before_a_restore_is_forgotten(fed):
    meter, again = fed(NoiseScaleMeter(5, 4000), 9), NoiseScaleMeter(5, 4000)
    again.read()
    again.load_state_dict(meter.state_dict())
    assert again.read() == meter.read()


def test_blocks_hold_their_readings_as_they_weigh():
    """Of each block the share, Kish's number of readings, and the means of time, x and y, by hand."""
    history, rng, rows = History(24.0, 2), np.random.default_rng(0), []
    for _ in range(300):
        x, y, duration = rng.normal(), rng.normal(), float(rng.integers(1, 4))
        history.append(x, y, duration)
        now = history.now
        rows.append([now, -math.expm1(-math.log(2) * duration / 24), x, y])
    read, table = history.read(), np.array(rows)
    table[:, 1] *= 0.5 ** ((now - table[:, 0]) / 24)
    begin = now - sum(block.span for block in history.blocks)
    total = table[table[:, 0] > begin, 1].sum()
    for block, *found in zip(history.blocks, *read, strict=True):
        at, w, x, y = table[(table[:, 0] > begin) & (table[:, 0] <= block.end)].T
        means = [(w @ each) / w.sum() for each in (at, x, y)]
        assert found == pytest.approx([w.sum() / total, w.sum() ** 2 / (w @ w), *means])
        assert begin + block.span == block.end
        begin = block.end
    assert max(read.readings) > 3
    assert max(block.span for block in history.blocks) <= 24 / 2
