"""The moments against explicit vectors, the paper's own formula, and gradients of known G and Σ."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl_gns.noise import Moments, moments

REPETITIONS = 2000
WITHIN = 3.0


def of_vectors(g: np.ndarray) -> Moments:
    return moments((g**2).sum(1).tolist(), float((g.mean(0) ** 2).sum()))


def vectors(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, (n, d))


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 7), (5, 3), (64, 10)])
def test_signal_is_the_mean_product_of_different_units_and_noise_the_trace_of_their_covariance(n, d):
    g = vectors(n, d, seed=n)
    products = g @ g.T
    signal, noise, units = of_vectors(g)
    assert signal == pytest.approx((products.sum() - np.trace(products)) / (n * (n - 1)))
    assert noise == pytest.approx(np.trace(np.atleast_2d(np.cov(g.T))))
    assert units == n


@pytest.mark.parametrize(("unit_observations", "n"), [(1, 2), (5, 16), (128, 3)])
def test_equals_the_papers_formula_for_two_batch_sizes(unit_observations, n):
    g = vectors(n, 6, seed=n)
    b, batch = unit_observations, unit_observations * n
    at_b, at_batch = (g**2).sum(1).mean(), (g.mean(0) ** 2).sum()
    signal, noise, _ = of_vectors(g)
    assert signal == pytest.approx((batch * at_batch - b * at_b) / (batch - b))
    assert noise * unit_observations == pytest.approx((at_b - at_batch) / (1 / b - 1 / batch))


def problem(d: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, a factor of the covariance of one observation's gradient, and the covariance of a unit's mean.

    A unit is 5 observations whose errors are correlated as 0.7^|t-s|.
    """
    rng = np.random.default_rng(7)
    factor = rng.normal(size=(d, d)) * np.geomspace(1, 0.1, d)
    g = rng.normal(size=d) * 0.8
    t = np.arange(5)
    rows = 0.7 ** np.abs(t[:, None] - t)
    return g, factor, factor @ factor.T * rows.mean()


def sampled_units(shape: tuple[int, ...], seed: int) -> np.ndarray:
    g, factor, _ = problem()
    t = np.arange(5)
    rows = np.linalg.cholesky(0.7 ** np.abs(t[:, None] - t))
    z = np.random.default_rng(seed).normal(size=(*shape, 5, len(g)))
    return g + (rows @ z).mean(-2) @ factor.T


@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize("environments", [1, 3])
def test_unbiased_with_the_predicted_variance(n, environments):
    g, _, sigma = problem()
    groups = sampled_units((REPETITIONS, n, environments), seed=n).mean(2)
    readings = [of_vectors(u).regrouped(environments) for u in groups]
    signal = np.array([r.signal for r in readings])
    noise = np.array([r.noise for r in readings])
    for estimates, truth in ((signal, g @ g), (noise, np.trace(sigma))):
        assert abs(estimates.mean() - truth) < WITHIN * estimates.std() / math.sqrt(REPETITIONS)
    s = sigma / environments
    predicted = 4 * g @ s @ g / n + 2 * np.trace(s @ s) / (n * (n - 1))
    assert signal.var(ddof=1) == pytest.approx(predicted, rel=0.1)
    assert {r.units for r in readings} == {n * environments}


def test_observations_of_one_unit_are_no_units():
    """Rows of one environment taken for independent would give another number: that of independent rows."""
    _, factor, sigma = problem()
    assert np.trace(sigma) > 2 * np.trace(factor @ factor.T) / 5


norms = st.lists(st.floats(0, 1e6), min_size=2, max_size=30)


# Scaled down, the smallest floats lose digits, and with them what they decide where a sum lies between two numbers.
scalable = st.just(0.0) | st.floats(1e-200, 1e6)


@given(st.lists(scalable, min_size=2, max_size=30), scalable, st.integers(-40, 40))
def test_scales_with_the_squared_norms(q_i, q, power):
    c = 2.0**power
    plain = moments(q_i, q)
    assert moments([c * x for x in q_i], c * q) == (c * plain.signal, c * plain.noise, plain.units)


@given(norms.flatmap(lambda q_i: st.tuples(st.just(q_i), st.permutations(q_i))), st.floats(0, 1e6))
def test_order_of_units_does_not_matter(pair, q):
    assert moments(pair[0], q) == moments(pair[1], q)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_two_units_of_one_dimension(a, b):
    signal, noise, _ = moments([a * a, b * b], ((a + b) / 2) ** 2)
    assert signal == pytest.approx(a * b, abs=1e-9)
    assert noise == pytest.approx((a - b) ** 2 / 2, abs=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.floats(0, 1e6))
def test_signal_and_noise_add_up_to_the_mean_squared_norm(q_i, q):
    signal, noise, n = moments(q_i, q)
    assert signal + noise == pytest.approx(math.fsum(q_i) / n, abs=1e-6)


def test_tensor_of_norms():
    q_i = torch.tensor([4.0, 16.0])
    assert moments(q_i, torch.tensor(9.0)) == moments([4.0, 16.0], 9.0) == (8.0, 2.0, 2)


@pytest.mark.parametrize("q_i", [[], [1.0], torch.ones(1)])
def test_one_unit_says_nothing_of_spread(q_i):
    with pytest.raises(ValueError, match="at least two units"):
        moments(q_i, 1.0)


# --- every update counted alike -------------------------------------------------------------------


@given(n=st.integers(2, 8), d=st.integers(1, 6), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_normalized_moments_are_shares_of_a_units_mean_square_whatever_the_gradients_length(
    n, d, seed, scale
):
    g = vectors(n, d, seed)
    plain, found = of_vectors(g), of_vectors(scale * g).normalized()
    square = (g**2).sum(1).mean()
    assert found.signal == pytest.approx(plain.signal / square, rel=1e-6, abs=1e-9)
    assert found.noise == pytest.approx(plain.noise / square, rel=1e-6)
    assert found.signal + found.noise == pytest.approx(1)
    assert -1 / (n - 1) - 1e-9 <= found.signal <= 1 + 1e-9
    assert found.units == n


@given(n=st.integers(2, 8), d=st.integers(1, 5), seed=st.integers(0, 1000), tail=st.floats(0, 3))
def test_without_a_signal_the_normalized_one_is_0_on_average_however_heavy_the_tails(n, d, seed, tail):
    """Exactly: the mean over all ways to flip the units' signs, which symmetric noise makes equally likely."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(n, d)) * np.exp(tail * rng.normal(size=(n, 1)))
    flips = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1).T
    assert len(flips) == 2**n
    signals = [of_vectors(g * signs[:, None]).normalized().signal for signs in flips]
    assert np.mean(signals) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (4, 1), (4, 16), (16, 2)])
def test_a_small_signal_reads_short_by_the_stated_share(n, d):
    rng = np.random.default_rng(n * d)
    mean = np.zeros(d)
    mean[0] = 0.3 * math.sqrt(d)  # 0.09 of the noise
    g = mean + rng.normal(size=(60_000, n, d))
    square = (g**2).sum(2).mean(1)
    signal = (n * (g.mean(1) ** 2).sum(1) - square) / (n - 1) / square
    first = of_vectors(g[0]).normalized()
    assert first.signal == pytest.approx(signal[0])
    share = 0.09 / 1.09
    error = signal.std() / math.sqrt(len(signal))
    assert abs(signal.mean() - share * n * d / (n * d + 2)) < WITHIN * error + 0.06 * share


def test_an_update_a_thousand_times_the_others_does_not_rule_the_normalized_moments():
    rng = np.random.default_rng(5)
    g = 0.3 + rng.normal(size=(400, 4, 12))
    scale = np.where(rng.random(400) < 0.02, 30.0, 1.0)
    still, spiky = ([of_vectors(s * u) for s, u in zip(sizes, g, strict=True)] for sizes in (scale**0, scale))
    for name in ("signal", "noise"):
        before, after = (
            sum(getattr(m.normalized(), name) for m in some) / len(some) for some in (still, spiky)
        )
        assert after == pytest.approx(before, rel=1e-9)
    plain = sum(m.noise for m, s in zip(spiky, scale, strict=True) if s > 1)
    assert plain > 0.9 * sum(m.noise for m in spiky)


def test_rare_large_gradients_are_told_the_better_the_more_environments_there_are():
    """What shares can't do: environments with an event in a thirtieth of their rollouts, all along one direction."""
    rng, p, length, d = np.random.default_rng(2), 0.03, 10.0, 50
    truth = (1 + p * (1 - p) * length**2) / (0.1**2 + (p * length) ** 2)  # 39 environments
    found = {}
    for n in (4, 64):
        g = rng.normal(size=(4000, n, d)) / math.sqrt(d)
        g[:, :, 0] += 0.1
        g[:, :, 1] += length * (rng.random((4000, n)) < p)
        groups = g.reshape(4000, 4, n // 4, d).mean(2)
        made = [of_vectors(units) for units in groups]
        for kind in ("plain", "alike"):
            some = [m.normalized() if kind == "alike" else m for m in made]
            some = [m.regrouped(n // 4) for m in some]
            found[kind, n] = sum(m.noise for m in some) / sum(m.signal for m in some)
    assert found["plain", 64] == pytest.approx(truth, rel=0.05)
    assert found["plain", 4] == pytest.approx(truth, rel=0.35)  # four units know little
    assert 2 * truth < found["alike", 4] < 3.5 * truth
    assert found["alike", 64] == pytest.approx(1.45 * truth, rel=0.1)


def test_gradients_of_0_have_no_shares():
    assert Moments(0.0, 0.0, 4).normalized() == Moments(0.0, 0.0, 4)
