"""The noisy quadratic: one step against all batches, equilibrium against the recursion and its limits."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_gns.noise.quadratic import NoisyQuadratic

HESSIAN = torch.tensor([[3.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
SHIFTS = torch.tensor([[2.0, 1.0], [-1.0, 3.0], [-2.0, -1.0], [1.0, -2.0], [0.0, -1.0]], dtype=torch.float64)
THETA = torch.tensor([1.0, -2.0], dtype=torch.float64)


def random_problem(seed, size=3, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, size, size, dtype=torch.float64, generator=generator)
    return NoisyQuadratic(a @ a.T + 0.3 * torch.eye(size), scale * (b @ b.T))


def batch_gradients(batch):
    """Every mean gradient at THETA of `batch` of the examples, drawn with replacement."""
    g = (THETA - SHIFTS) @ HESSIAN
    return torch.stack([g[list(rows)].mean(0) for rows in itertools.product(range(len(g)), repeat=batch)])


def brute_change(batch, step):
    after = THETA - step * batch_gradients(batch)
    return float(((after @ HESSIAN) * after).sum(1).mean() / 2 - THETA @ HESSIAN @ THETA / 2)


def brute_best(batch):
    """The best step and its gain: the parabola through three values of the loss averaged over all batches."""
    at = 0.1
    plus, twice = brute_change(batch, at), brute_change(batch, 2 * at)
    bend, slope = (twice - 2 * plus) / (2 * at**2), (4 * plus - twice) / (2 * at)
    return -slope / (2 * bend), slope**2 / (4 * bend)


def test_one_step_equals_the_mean_over_all_batches():
    q = NoisyQuadratic.from_examples(HESSIAN, SHIFTS)
    for batch in (1, 2, 4):
        g = batch_gradients(batch)
        torch.testing.assert_close(g.mean(0), q.gradient(THETA))
        torch.testing.assert_close((g - g.mean(0)).T @ (g - g.mean(0)) / len(g), q.noise / batch)
        for step in (0.05, 0.3, 1.0):
            assert math.isclose(
                q.expected_change(THETA, step, batch), brute_change(batch, step), rel_tol=1e-9
            )
        best, gain = brute_best(batch)
        assert math.isclose(q.best_step(THETA, batch), best, rel_tol=1e-9)
        assert math.isclose(q.best_improvement(THETA, batch), gain, rel_tol=1e-9)


def test_gain_over_batches_gives_back_the_noise_scale():
    """1/ΔL = 1/ΔL_max (1 + B_noise/B) is a line in 1/B; the same for 1/ε_opt. Points from all batches."""
    q = NoisyQuadratic.from_examples(HESSIAN, SHIFTS)
    batches = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    for column in (0, 1):
        y = torch.tensor([1 / brute_best(int(b))[column] for b in batches], dtype=torch.float64)
        x = torch.stack([torch.ones_like(batches), 1 / batches], 1)
        fit = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
        residual = (y - x @ fit).square().sum() / (y - y.mean()).square().sum()
        assert 1 - residual > 0.99
        assert math.isclose(float(fit[1] / fit[0]), q.b_noise(THETA), rel_tol=1e-6)


def test_at_the_noise_scale_step_and_gain_are_half_and_twice_the_best_step_gains_nothing():
    q = NoisyQuadratic.from_examples(HESSIAN, SHIFTS)
    b = q.b_noise(THETA)
    assert math.isclose(q.best_step(THETA, b), q.best_step(THETA, math.inf) / 2)
    assert math.isclose(q.best_improvement(THETA, b), q.best_improvement(THETA, math.inf) / 2)
    for batch in (1, 3):
        step = q.best_step(THETA, batch)
        assert brute_change(batch, 1.99 * step) < 0 < brute_change(batch, 2.01 * step)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_the_two_noise_scales_differ_by_less_than_the_condition_number(seed):
    q = random_problem(seed)
    theta = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    condition = float(torch.linalg.cond(q.hessian))
    assert 1 / condition - 1e-9 <= q.b_noise(theta) / q.b_simple(theta) <= condition + 1e-9
    isotropic = NoisyQuadratic(2.0 * torch.eye(3), q.noise)
    assert math.isclose(isotropic.b_noise(theta), isotropic.b_simple(theta), rel_tol=1e-9)


def test_sampled_gradients_have_the_mean_and_covariance_asked_for():
    q, generator, theta = (
        random_problem(7),
        torch.Generator().manual_seed(0),
        torch.ones(3, dtype=torch.float64),
    )
    g = torch.stack([q.sample_gradient(theta, 4, generator) for _ in range(8_000)])
    assert ((g.mean(0) - q.gradient(theta)).abs() < 4 * g.std(0) / math.sqrt(len(g))).all()
    torch.testing.assert_close(g.T.cov(), q.noise / 4, rtol=0.1, atol=0.05 * float(q.noise.trace()) / 4)


# --- temperature ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.95), st.integers(1, 64))
def test_covariance_of_sgd_equals_its_recursion_and_settles(seed, share, batch):
    q = random_problem(seed)
    step = share * 2 / float(torch.linalg.eigvalsh(q.hessian)[-1])
    keep = torch.eye(3, dtype=torch.float64) - step * q.hessian
    m = start = torch.eye(3, dtype=torch.float64)
    for _ in range(20):
        m = keep @ m @ keep + step**2 / batch * q.noise
    torch.testing.assert_close(q.covariance_after(start, step, batch, 20), m)
    stay = q.stationary_covariance(step, batch)
    torch.testing.assert_close(keep @ stay @ keep + step**2 / batch * q.noise, stay)
    torch.testing.assert_close(q.covariance_after(start, step, batch, 10**7), stay)


def equilibrium(q, step, batch):
    return q.b_simple_of(q.stationary_covariance(step, batch))


@pytest.mark.parametrize("seed", range(5))
def test_a_sixteenth_of_the_temperature_is_sixteen_times_the_noise_scale(seed):
    """App. C and Fig. 15: by the step, by the batch, or by both; the noise scale depends on ε/B alone."""
    q = random_problem(seed)
    step, batch = 0.05 / float(torch.linalg.eigvalsh(q.hessian)[-1]), 32
    before = equilibrium(q, step, batch)
    for new_step, new_batch in ((step / 16, batch), (step, 16 * batch), (step / 4, 4 * batch)):
        assert math.isclose(equilibrium(q, new_step, new_batch) / before, 16, rel_tol=0.2)
    for k in (0.25, 2):
        assert math.isclose(equilibrium(q, k * step, k * batch), before, rel_tol=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_equilibrium_is_the_corrected_law_and_not_the_printed_one(seed):
    q = random_problem(seed)
    largest = float(torch.linalg.eigvalsh(q.hessian)[-1])
    for share, tolerance in ((0.1, 0.1), (1e-5, 1e-4)):
        step, batch = share / largest, 8
        m = q.stationary_covariance(step, batch)
        assert math.isclose(q.b_simple_of(m), q.b_simple_at_equilibrium(step, batch), rel_tol=tolerance)
        assert math.isclose(q.b_noise_of(m), q.b_noise_at_equilibrium(step, batch), rel_tol=tolerance)
        expected_loss = float((q.hessian @ m).trace()) / 2
        assert math.isclose(expected_loss, step / batch * float(q.noise.trace()) / 4, rel_tol=tolerance)
    h_noise = q.hessian @ q.noise
    printed = batch / step * float(q.noise.trace() / (q.hessian @ h_noise).trace())
    assert not math.isclose(printed, q.b_simple_of(m), rel_tol=0.2)


def test_the_noise_scale_rises_while_the_step_is_small_and_comes_back():
    q = random_problem(2)
    step, batch = 0.05 / float(torch.linalg.eigvalsh(q.hessian)[-1]), 32
    slowest = float(torch.linalg.eigvalsh(q.hessian)[0])
    m = q.stationary_covariance(step, batch)
    before = q.b_simple_of(m)
    m = q.covariance_after(m, step / 16, batch, math.ceil(5 * 16 / (step * slowest)))
    assert math.isclose(q.b_simple_of(m) / before, 16, rel_tol=0.2)
    m = q.covariance_after(m, step, batch, math.ceil(5 / (step * slowest)))
    assert math.isclose(q.b_simple_of(m), before, rel_tol=0.01)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (
            lambda: NoisyQuadratic(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.eye(2)),
            "Hessian must be a symmetric",
        ),
        (lambda: NoisyQuadratic(-torch.eye(2), torch.eye(2)), "positive definite"),
        (lambda: NoisyQuadratic(torch.eye(2), torch.eye(3)), r"Σ is \[3, 3\]"),
        (lambda: NoisyQuadratic.from_examples(torch.eye(2), torch.ones(3, 2)), "mean 0"),
        (lambda: NoisyQuadratic(torch.eye(2), torch.eye(2)).stationary_covariance(2.5, 1), "2/λ_max = 2"),
    ],
)
def test_bad_input_is_one_clear_line(bad, says):
    with pytest.raises(ValueError, match=says):
        bad()


def test_a_negative_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="negative variances"):
        NoisyQuadratic(torch.eye(2), -torch.eye(2))
