import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_gns.analysis import design_effect, exchange_rate, fit_rollouts
from rl_gns.analysis.rollout_fit import Model
from rl_gns.analysis.rollouts import widest

N = np.array([8, 16, 32, 64, 128, 256] * 4)
T = np.repeat([5, 10, 20, 40], 6)
S_MIN = {5: 1000.0, 10: 900.0, 20: 850.0, 40: 1100.0}


def updates(b_1=640.0, time=8.0, s_min=S_MIN):
    level = np.array([s_min[t] for t in T.tolist()])
    return level * (1 + b_1 * design_effect(T, np.exp(-1 / time)) / (N * T))


@pytest.fixture(scope="module")
def noisy():
    s = updates() * np.exp(0.05 * np.random.default_rng(0).standard_normal(N.size))
    return fit_rollouts(N, T, s, bootstrap=100)


@given(st.integers(1, 60), st.floats(0, 1))
def test_design_effect_equals_the_variance_of_a_mean(t, rho):
    covariance = np.array([[rho ** abs(i - j) for j in range(t)] for i in range(t)])
    assert float(design_effect(t, rho)) == pytest.approx(covariance.mean() * t)


def test_design_effect_limits():
    assert design_effect([1, 5, 40], 0.0).tolist() == [1, 1, 1]
    assert design_effect([1, 5, 40], 1.0) == pytest.approx([1, 5, 40])
    assert float(design_effect(100_000, 0.5)) == pytest.approx(3, rel=1e-3)


def test_exact_data_are_recovered():
    law = fit_rollouts(N, T, updates(), bootstrap=0)
    assert law.b_1 == pytest.approx(640, rel=1e-4)
    assert law.correlation_time == pytest.approx(8, rel=1e-4)
    assert law.s_min == pytest.approx(S_MIN, rel=1e-4)
    assert law.rms_log_residual < 1e-6
    for t in (5, 40):
        assert law.n_crit(t).value == pytest.approx(
            640 * float(design_effect(t, np.exp(-1 / 8))) / t, rel=1e-4
        )
        assert law.updates(64, t).value == pytest.approx(updates()[(t == T) & (N == 64)][0], rel=1e-4)


def test_shared_s_min_reaches_other_rollouts():
    s = updates(s_min=dict.fromkeys(S_MIN, 1000.0))
    law = fit_rollouts(N, T, s, shared=True, bootstrap=0)
    assert law.s_min[5] == law.s_min[40] == pytest.approx(1000, rel=1e-4)
    expected = 1000 * (1 + 640 * float(design_effect(80, np.exp(-1 / 8))) / (64 * 80))
    assert law.updates(64, 80).value == pytest.approx(expected, rel=1e-4)


def test_intervals_hold_the_truth(noisy):
    assert noisy.b_1_low < 640 < noisy.b_1_high
    assert noisy.correlation_time_low < 8 < noisy.correlation_time_high
    for t in S_MIN:
        interval = noisy.n_crit(t)
        assert interval.low < 640 * float(design_effect(t, np.exp(-1 / 8))) / t < interval.high


def test_exchange_rate_at_equal_batch(noisy):
    s = updates()
    exact = fit_rollouts(N, T, s, bootstrap=0)
    truth = s[(T == 40) & (N == 32)][0] / s[(T == 5) & (N == 256)][0]
    assert exchange_rate(exact, 1280, 40, 5).value == pytest.approx(truth, rel=1e-4)
    assert exchange_rate(exact, 1280, 5, 40).value == pytest.approx(1 / truth, rel=1e-4)
    found = exchange_rate(noisy, 1280, 40, 5)
    assert found.low < truth < found.high
    assert exchange_rate(noisy, 1280, 10, 10).low == pytest.approx(1)


def test_correlation_that_outlasts_rollouts_and_none_at_all():
    lasting = fit_rollouts(N, T, updates(time=1e9), bootstrap=0)
    assert lasting.correlation_time is None
    assert "longer" in lasting.note
    assert lasting.n_crit(5).value == pytest.approx(lasting.n_crit(40).value, rel=0.02)
    independent = fit_rollouts(N, T, updates(time=1e-3), bootstrap=0)
    assert independent.correlation_time < 0.3
    assert independent.b_1 == pytest.approx(640, rel=0.05)


def test_far_below_the_critical_number_only_its_bound_is_told():
    s = updates(b_1=5e6) * np.exp(0.1 * np.random.default_rng(2).standard_normal(N.size))
    law = fit_rollouts(N, T, s, bootstrap=50)
    assert law.b_1 is None
    assert law.b_1_high is None
    assert "try more" in law.note
    assert all(np.isnan(x) for x in law.s_min.values())
    for t in S_MIN:
        found, truth = law.n_crit(t), 5e6 * float(design_effect(t, np.exp(-1 / 8))) / t
        assert np.isnan(found.value)
        assert 100 < found.low < truth < found.high == np.inf
        # What lies within the points is told all the same, and what they cost at an equal batch.
        assert law.updates(64, t).value == pytest.approx(s[(t == T) & (N == 64)][0], rel=0.3)
    found = exchange_rate(law, 1280, 40, 5)
    assert found.low < found.value < found.high < np.inf


def test_far_above_the_critical_number_only_its_bound_is_told():
    s = updates(b_1=1.0) * np.exp(0.1 * np.random.default_rng(2).standard_normal(N.size))
    law = fit_rollouts(N, T, s, bootstrap=50)
    assert law.b_1 is None
    assert law.b_1_low is None
    assert "try fewer" in law.note
    assert law.s_min == pytest.approx(S_MIN, rel=0.2)
    assert law.correlation_time is None
    for t in S_MIN:
        found = law.n_crit(t)
        assert found.low == 0 < float(design_effect(t, np.exp(-1 / 8))) / t < found.high < 8


def test_without_noise_in_the_updates_the_limits_are_told_apart():
    """S_min (1 + 0.001/n) is constant, and 1/n to a part in a thousand is 1/n."""
    assert fit_rollouts(N, T, updates(b_1=0.01), bootstrap=0).b_1 is None
    assert fit_rollouts(N, T, updates(b_1=1e7), bootstrap=0).b_1 is None
    assert fit_rollouts(N, T, updates(b_1=1e4), bootstrap=0).b_1 == pytest.approx(1e4, rel=1e-2)


@pytest.mark.parametrize("shared", [False, True])
def test_runs_that_missed_the_goal_are_bounds(shared):
    """Left out, those that would have taken longest pull the law down; as bounds less so."""
    n, t = np.repeat(N, 3), np.repeat(T, 3)
    s_min = dict.fromkeys(S_MIN, 1000.0) if shared else S_MIN
    off = []
    for trial in range(8):
        scatter = np.exp(0.2 * np.random.default_rng(trial).standard_normal(n.size))
        s = np.repeat(updates(s_min=s_min), 3) * scatter
        budget = np.quantile(s, 0.6)
        missed, cut = s > budget, np.minimum(s, budget)
        law = fit_rollouts(n, t, cut, shared, bootstrap=0, censored=missed)
        without = fit_rollouts(n[~missed], t[~missed], cut[~missed], shared, bootstrap=0)
        off.append(np.log([law.n_crit(10).value, without.n_crit(10).value]))
    truth = np.log(640 * float(design_effect(10, np.exp(-1 / 8))) / 10)
    bounds, dropped = np.mean(off, axis=0) - truth
    assert dropped < bounds < 0
    back = fit_rollouts(n[::-1], t[::-1], cut[::-1], shared, bootstrap=0, censored=missed[::-1])
    assert law == back


def test_bounds_below_the_law_change_nothing():
    s = updates()
    with_bounds = fit_rollouts(
        np.append(N, [4, 4]),
        np.append(T, [5, 80]),
        np.append(s, [1.0, 1e9]),
        bootstrap=0,
        censored=np.append(np.zeros(N.size, bool), [True, True]),
    )
    assert with_bounds == fit_rollouts(N, T, s, bootstrap=0)


def test_profile_equals_a_search_over_the_other_parameters(noisy):
    """At each end of an interval the best law with that critical number is as much worse as at the other."""
    s = updates() * np.exp(0.05 * np.random.default_rng(0).standard_normal(N.size))

    def least(log_n_crit):
        def cost(log_time):
            deff = design_effect(T, np.exp(-np.exp(-log_time)))
            b_1 = np.exp(log_n_crit) * 10 / float(design_effect(10, np.exp(-np.exp(-log_time))))
            rest = np.log(s) - np.log1p(b_1 * deff / (N * T))
            return sum(((rest[t == T] - rest[t == T].mean()) ** 2).sum() for t in S_MIN)

        return min(cost(x) for x in np.linspace(-1, 5, 601))

    found = noisy.n_crit(10)
    low, best, high = (least(np.log(x)) for x in (found.low, found.value, found.high))
    assert low > best < high
    assert low == pytest.approx(high, rel=0.02)


def test_same_seed_same_bytes():
    s = updates() * np.exp(0.1 * np.random.default_rng(1).standard_normal(N.size))
    one = fit_rollouts(N, T, s, seed=3, bootstrap=10)
    other = fit_rollouts(N[::-1], T[::-1], s[::-1], seed=3, bootstrap=10)
    assert one.replicas.tobytes() == other.replicas.tobytes()
    assert one == other


@pytest.mark.parametrize(
    ("n", "t", "s", "message"),
    [
        ([], [], [], "empty"),
        ([1, 2, 4], [5, 5, 5], [3, 2, 1], "one rollout length"),
        ([1, 2, 4], [5, 5, 10], [3, 2, 1], "rollout 10 has one number"),
        ([1, 2, 1, 2], [5, 5, 10, 10], [3, 2, 3, 2], "more than 4 settings"),
        ([1, 2], [5, 5.5], [3, 2], "whole numbers"),
        ([1, 2], [5], [3, 2], "one length"),
        ([1, 2], [5, 5], [3, np.nan], "updates must be finite"),
    ],
)
def test_bad_input_is_one_line(n, t, s, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_rollouts(n, t, s)
    assert "\n" not in str(caught.value)


def test_unknown_rollout_and_bad_batch(noisy):
    with pytest.raises(ValueError, match="no S_min for rollout 7"):
        noisy.updates(10, 7)
    with pytest.raises(ValueError, match="batch"):
        exchange_rate(noisy, 0, 5, 10)
    with pytest.raises(ValueError, match="correlation"):
        design_effect(5, 1.5)


def test_a_shape_is_not_told_where_updates_do_not_depend_on_environments():
    """Not with one S_min for all lengths either; where they fall as 1/n, the lengths' levels tell it."""
    n, t = np.tile([4, 8, 16, 32, 64], 3), np.repeat([5, 20, 80], 5)
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal(15))
    law = fit_rollouts(n, t, 1000 * noise, shared=True, bootstrap=20)
    assert law.b_1 is None
    assert np.isnan(law.relative(80, 5)).all()
    falling = fit_rollouts(n, t, 1e9 / n / np.sqrt(t) * noise, shared=True, bootstrap=20)
    assert falling.b_1 is None
    assert 0.2 < falling.relative(80, 5).value < 0.3
    # What the limit tells has the interval of the wider of both fits: the free one bends, so that it lies beside it.
    for replicas in (falling.replicas, falling.at_limit):
        times = np.quantile(replicas[:, 1], [falling.tail, 1 - falling.tail])
        assert falling.correlation_time_low <= np.exp(times[0]) * (1 + 1e-12)
        assert falling.correlation_time_high is None or np.exp(times[1]) <= falling.correlation_time_high * (
            1 + 1e-12
        )
    at_limit = [
        np.exp(falling.log_updates(p, 4, 80) - falling.log_updates(p, 64, 5)) for p in falling.at_limit
    ]
    rate = exchange_rate(falling, 320, 80, 5)
    assert rate.low <= np.quantile(at_limit, falling.tail)
    assert rate.high >= np.quantile(at_limit, 1 - falling.tail)


def test_each_set_of_values_of_a_limit_is_fitted_by_itself():
    """At every row the best of a grid of correlation times, with the level that is best there."""
    n, t = np.tile([4.0, 8.0, 16.0], 2), np.repeat([5.0, 20.0], 3)
    none = np.empty(0)
    model = Model(n, t, none, none, none, np.array([5.0, 20.0]), True)
    y = np.log(1e9 / n / np.sqrt(t)) + 0.1 * np.random.default_rng(0).standard_normal((4, 6))
    found = model.limits(y, "linear")
    for row, values in zip(found, y, strict=True):
        assert row == pytest.approx(model.limit(values, "linear"))
        assert row == pytest.approx(model.with_levels(values, row[:2]))
        best = min(
            model.objective(values, np.array([row[0], x])) for x in np.linspace(*model.time_bounds, 400)
        )
        assert model.objective(values, row) == pytest.approx(best)
    assert np.ptp(found[:, 1]) > 0


def test_the_widest_ends_of_several_sets():
    a, b = np.arange(101.0), np.arange(50.0, 151.0)
    assert widest([a, b, np.empty(0)], 0.1) == pytest.approx((10, 140))
    assert np.isnan(widest([np.empty(0)], 0.1)).all()
