import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_gns.analysis import adaptive_batch, fit_front, fixed_batch, gamma, local_noise_scale, turning_point

S = (np.arange(20_000) + 0.5) / 20_000 * 400.0
DS = np.full(S.size, 400.0 / S.size)

noise_scales = st.lists(st.tuples(st.floats(1, 1e6), st.floats(0.1, 100)), min_size=1, max_size=8)


def run(noise_scale, goal, batch_of):
    """Update after update: each makes 1 / (1 + N/B) noise-free steps."""
    s = updates = observations = 0.0
    while s < goal:
        n = noise_scale(s)
        batch = batch_of(n)
        step = 1 / (1 + n / batch)
        share = min(1.0, (goal - s) / step)
        s, updates, observations = s + step, updates + share, observations + share * batch
    return updates, observations


def growing(s):
    return 10 + 5 * s


def test_simulated_runs_at_fixed_batch_lie_on_the_hyperbola():
    e_min = 10 * 400 + 2.5 * 400**2
    batches = [100, 300, 1000, 3000, 10_000]
    updates = [run(growing, 400, lambda n, b=b: b)[0] for b in batches]
    for b, s in zip(batches, updates, strict=True):
        assert (s / 400 - 1) * (s * b / e_min - 1) == pytest.approx(1, rel=0.01)
        assert s == pytest.approx(fixed_batch(growing(S), DS, b).updates, rel=0.01)
    front = fit_front(batches, updates, bootstrap=0)
    assert front.s_min == pytest.approx(400, rel=0.01)
    assert front.b_crit == pytest.approx(e_min / 400, rel=0.01)


def test_simulated_adaptive_run():
    r = 700.0
    updates, observations = run(growing, 400, lambda n: np.sqrt(r * n))
    expected = adaptive_batch(growing(S), DS, r)
    assert updates == pytest.approx(expected.updates, rel=0.01)
    assert observations == pytest.approx(expected.observations, rel=0.01)


@given(noise_scales, st.floats(0.01, 1e6))
def test_both_kinds_of_run_lie_on_their_hyperbolas(pieces, setting):
    n, ds = np.array(pieces).T
    s_min, e_min = ds.sum(), (n * ds).sum()
    fixed, adaptive = fixed_batch(n, ds, setting), adaptive_batch(n, ds, setting)
    assert fixed.observations == pytest.approx(fixed.updates * setting)
    g = gamma(n, ds)
    for cost, product in ((fixed, 1.0), (adaptive, g)):
        excess = (cost.updates - s_min) * (cost.observations - e_min) / (s_min * e_min)
        assert excess == pytest.approx(product, rel=1e-3)
    assert 0 < g <= 1 + 1e-12


@given(noise_scales)
def test_gamma_is_the_spread_of_the_root(pieces):
    n, ds = np.array(pieces).T
    mean = np.average(np.sqrt(n), weights=ds)
    variance = np.average((np.sqrt(n) - mean) ** 2, weights=ds)
    assert gamma(n, ds) == pytest.approx(1 / (1 + variance / mean**2))


def test_gamma_of_the_papers_example():
    assert gamma(10 * np.sqrt(S), DS) == pytest.approx(0.96, abs=1e-3)
    assert gamma([7.0, 7.0], [1.0, 3.0]) == pytest.approx(1)


def test_natural_exchange_rate_gives_the_turning_point():
    n = 10 * np.sqrt(S)
    s_min, e_min = DS.sum(), (n * DS).sum()
    cost = adaptive_batch(n, DS, e_min / s_min)
    assert cost.updates / s_min == pytest.approx(turning_point(gamma(n, DS)), abs=1e-9)
    assert cost.observations / e_min == pytest.approx(1 + np.sqrt(0.96), abs=1e-3)
    assert turning_point(1.0) == 2


def test_local_noise_scale_is_recovered_from_fronts_at_goals():
    goals = np.array([0, 50, 100, 200, 400])
    e_min = np.array([(growing(S) * DS)[goal >= S].sum() for goal in goals[1:]])
    noise_scale, steps = local_noise_scale(goals[1:], e_min)
    assert steps.tolist() == [50, 50, 100, 200]
    assert noise_scale == pytest.approx([growing(25), growing(75), growing(150), growing(300)], rel=1e-6)
    assert gamma(noise_scale, steps) >= gamma(growing(S), DS)


def test_goals_that_go_back():
    with pytest.raises(ValueError, match="entry 1 does not"):
        local_noise_scale([10, 9, 20], [100, 110, 400])
    noise_scale, steps = local_noise_scale([10, 9, 20], [100, 110, 400], skip=True)
    assert (noise_scale.tolist(), steps.tolist()) == ([10, 30], [10, 10])


@pytest.mark.parametrize(
    "call",
    [
        lambda: fixed_batch([1, 2], [1], 5),
        lambda: fixed_batch([], [], 5),
        lambda: fixed_batch([1, -2], [1, 1], 5),
        lambda: fixed_batch([1, 2], [1, 0], 5),
        lambda: fixed_batch([1, 2], [1, 1], 0),
        lambda: adaptive_batch([1, 2], [1, 1], np.nan),
        lambda: gamma([0, 0], [1, 1]),
        lambda: turning_point(0.0),
        lambda: turning_point(1.5),
        lambda: local_noise_scale([], []),
        lambda: local_noise_scale([1, np.nan], [1, 2]),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
