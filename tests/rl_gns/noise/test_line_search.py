"""The line search against the noisy quadratic, where ΔL(B) is known in closed form."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from rl_gns.noise.line_search import (
    STEPS,
    LineSearchMeter,
    best_improvements,
    fit_improvement,
    improvement_table,
)
from rl_gns.noise.quadratic import NoisyQuadratic

Q = NoisyQuadratic(torch.diag(torch.tensor([1.0, 4.0, 9.0])), torch.diag(torch.tensor([3.0, 1.0, 0.2])))
THETA = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
BATCHES = [1, 2, 4, 8]


def expected_table(batches=BATCHES, scale=0.3):
    return np.array([[-Q.expected_change(THETA, scale * s, b) for s in STEPS] for b in batches])


def test_parabolas_recover_the_best_improvement_of_a_quadratic_exactly():
    found = best_improvements(expected_table())
    np.testing.assert_allclose(found, [Q.best_improvement(THETA, b) for b in BATCHES], rtol=1e-9)


def test_no_step_is_better_than_a_bad_one():
    assert best_improvements(np.full((1, len(STEPS)), -1.0)).tolist() == [0.0]


def test_the_fit_recovers_b_noise_and_the_largest_improvement():
    fit = fit_improvement(BATCHES, [Q.best_improvement(THETA, b) for b in BATCHES])
    assert fit.b_noise == pytest.approx(Q.b_noise(THETA), rel=1e-4)
    assert fit.largest == pytest.approx(Q.best_improvement(THETA, float("inf")), rel=1e-4)


def test_improvement_in_proportion_to_the_batch_gives_no_noise_scale():
    assert fit_improvement(BATCHES, BATCHES).b_noise is None
    assert fit_improvement(BATCHES, [0.0] * 4) == (0.0, None)
    with pytest.raises(ValueError, match="two or more batch sizes"):
        fit_improvement([3, 3], [1.0, 1.0])


def test_the_table_is_the_mean_over_disjoint_groups():
    generator = torch.Generator().manual_seed(0)
    gradients = [Q.sample_gradient(THETA, 1, generator) for _ in range(5)]

    def loss_at(d):
        return Q.loss(THETA if d is None else THETA - d[0])

    found = improvement_table([[g] for g in gradients], loss_at, [1, 2], 0.3)
    for row, groups in enumerate([[[0], [1], [2], [3], [4]], [[0, 1], [2, 3]]]):
        for j, step in enumerate(STEPS):
            gains = []
            for group in groups:
                mean = torch.stack([gradients[i] for i in group]).mean(0)
                gains.append(Q.loss(THETA) - Q.loss(THETA - 0.3 * step * mean))
            assert found[row, j] == pytest.approx(np.mean(gains), rel=1e-9, abs=1e-15)


def run_meter(updates, seed):
    generator = torch.Generator().manual_seed(seed)
    meter = LineSearchMeter([5.0 * b for b in BATCHES], 5.0, 1e9)
    for _ in range(updates):
        gradients = [[Q.sample_gradient(THETA, 1, generator)] for _ in range(8)]
        table = improvement_table(
            gradients, lambda d: Q.loss(THETA if d is None else THETA - d[0]), BATCHES, 0.3
        )
        meter.update(table, 100)
    return meter


def test_the_meter_finds_b_noise_in_observations_within_its_interval():
    reading = run_meter(120, 3).read()
    truth = 5 * Q.b_noise(THETA)
    assert reading.value == pytest.approx(truth, rel=0.2)
    assert reading.low < truth < reading.high < 2 * reading.value
    assert 5 * reading.noise / reading.signal == pytest.approx(reading.value)
    assert reading.observations == 12_000


def test_few_updates_are_unknown_and_state_survives_json():
    assert run_meter(0, 0).read().value is None
    assert run_meter(5, 0).read().value is None
    meter = run_meter(60, 1)
    meter.scale = 0.1 + 0.2
    again = LineSearchMeter([5.0 * b for b in BATCHES], 5.0, 1e9)
    again.load_state_dict(json.loads(json.dumps(meter.state_dict())))
    for m in (meter, again):
        m.update(expected_table(), 100)
    assert again.read() == meter.read()
    assert again.scale == meter.scale
    with pytest.raises(ValueError, match="halflife"):
        LineSearchMeter([5.0 * b for b in BATCHES], 5.0, 1e8).load_state_dict(meter.state_dict())


def test_refuses_tables_that_do_not_fit():
    with pytest.raises(ValueError, match="finite"):
        run_meter(0, 0).update(np.full((4, len(STEPS)), np.nan), 1)


def scattered(confidence: float = 0.95) -> LineSearchMeter:
    """Fed with tables of B_noise = 3 units whose improvements scatter by a tenth."""
    rng, steps = np.random.default_rng(0), np.array(STEPS)
    meter = LineSearchMeter([5.0 * b for b in BATCHES], 5.0, 1e9, confidence)
    for _ in range(60):
        gains = 1 + 0.1 * rng.normal(size=len(BATCHES))
        tops = [gain * steps - (1 + 3 / b) * steps**2 for gain, b in zip(gains, BATCHES, strict=True)]
        meter.update(np.stack(tops), 100)
    return meter


def test_the_interval_is_students_at_the_confidence_asked_for():
    wide, narrow = scattered(0.95), scattered(0.5)
    freedom = len(wide._history.blocks) - 1
    widths = [math.log(meter.read().high / meter.read().low) for meter in (wide, narrow)]
    assert widths[0] / widths[1] == pytest.approx(stats.t.ppf(0.975, freedom) / stats.t.ppf(0.75, freedom))


def test_a_restored_meter_forms_the_same_blocks():
    meter, again = scattered(), LineSearchMeter([5.0 * b for b in BATCHES], 5.0, 1e9)
    again.load_state_dict(json.loads(json.dumps(meter.state_dict())))
    for _ in range(7):
        for m in (meter, again):
            m.update(expected_table(), 100)
    assert again.state_dict() == meter.state_dict()


def test_a_parabolas_top_is_not_sought_beyond_the_next_step():
    assert best_improvements(np.array([[1.0, 3.99, -5.0]]), (1.0, 4.0, 16.0))[0] < 16
