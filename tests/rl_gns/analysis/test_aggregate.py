import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from rl_gns.analysis import bootstrap_interval, iqm


def iqm_slowly(scores):
    ordered = sorted(scores)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_iqm_equals_slow_twin_and_scipy(scores):
    assert iqm(scores) == pytest.approx(iqm_slowly(scores), rel=1e-9, abs=1e-6)
    assert iqm(scores) == pytest.approx(trim_mean(scores, 0.25), rel=1e-9, abs=1e-6)


def test_iqm_by_hand_and_along_an_axis():
    assert iqm([1, 2, 3, 100]) == 2.5
    assert iqm([[1, 2, 3, 100], [4, 4, 4, 4]], axis=1).tolist() == [2.5, 4]
    assert iqm([[1, 2], [3, 100]]) == 2.5


def test_interval_is_seeded_and_blind_to_order():
    scores = {"pong": [1.0, 2.0, 3.5], "breakout": [5.0, 4.0, 9.0, 1.0]}
    again = {"breakout": [9.0, 1.0, 4.0, 5.0], "pong": [3.5, 1.0, 2.0]}
    assert bootstrap_interval(scores, seed=1) == bootstrap_interval(again, seed=1)
    assert bootstrap_interval(scores, seed=1) != bootstrap_interval(scores, seed=2)


def test_no_global_random_numbers_are_used():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    bootstrap_interval([1.0, 2.0, 3.0])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_tasks_are_strata():
    """Seeds that agree within tasks leave no doubt, however far apart the tasks are."""
    interval = bootstrap_interval({"a": [0.0, 0.0, 0.0], "b": [100.0, 100.0, 100.0]})
    assert interval == (50, 50, 50)


def test_interval_of_a_mean_has_the_textbook_width():
    x = np.random.default_rng(0).standard_normal(200)
    interval = bootstrap_interval(x, statistic=np.mean)
    assert interval.value == pytest.approx(x.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * x.std() / np.sqrt(200), rel=0.1)


@pytest.mark.parametrize(
    ("scores", "kwargs", "message"),
    [
        ({}, {}, "no task"),
        ({"pong": [1.0]}, {}, "task 'pong' has 1 score"),
        ({"pong": []}, {}, "task 'pong' has 0 score"),
        ({"pong": [1.0, np.nan]}, {}, "finite"),
        ([1.0, 2.0], {"bootstrap": 0}, "bootstrap"),
        ([1.0, 2.0], {"confidence": 1.5}, "confidence"),
    ],
)
def test_bad_input_is_one_line(scores, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        bootstrap_interval(scores, **kwargs)
    assert "\n" not in str(caught.value)


def test_empty_iqm():
    with pytest.raises(ValueError, match="not empty"):
        iqm([])
