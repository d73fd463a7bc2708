import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_gns.analysis import first_crossing, smooth

games = st.lists(st.tuples(st.integers(0, 100_000), st.floats(-50, 50)), min_size=1, max_size=40).map(
    lambda rows: sorted(rows, key=lambda row: row[0])
)
halflives = st.floats(1.0, 1e5)


def smooth_slowly(x, s, halflife):
    """Every game against every game, ties taken together."""
    out = []
    for x_i in x:
        weights = [2.0 ** (-(x_i - x_j) / halflife) if x_j <= x_i else 0.0 for x_j in x]
        out.append(sum(w * s_j for w, s_j in zip(weights, s, strict=True)) / sum(weights))
    return out


def cross_slowly(x, s, goal, halflife):
    m = smooth_slowly(x, s, halflife)
    for i, value in enumerate(m):
        if value >= goal:
            if i == 0:
                return x[0]
            return x[i - 1] + (goal - m[i - 1]) / (value - m[i - 1]) * (x[i] - x[i - 1])
    return None


@given(games, halflives)
def test_smooth_equals_slow_twin(rows, halflife):
    x, s = [r[0] for r in rows], [r[1] for r in rows]
    assert smooth(x, s, halflife) == pytest.approx(smooth_slowly(x, s, halflife), rel=1e-9, abs=1e-9)


@given(games, halflives)
def test_a_centred_average_equals_its_slow_twin(rows, halflife):
    x, s = [r[0] for r in rows], [r[1] for r in rows]
    weights = [[2.0 ** (-2 * abs(x_i - x_j) / halflife) for x_j in x] for x_i in x]
    slow = [sum(w * s_j for w, s_j in zip(row, s, strict=True)) / sum(row) for row in weights]
    assert smooth(x, s, halflife, centred=True) == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_a_centred_average_is_not_late_and_as_smooth():
    x = np.arange(20_000.0)
    inner, late = slice(5_000, 15_000), 100 / np.log(2)
    ramp = smooth(x, x, 100, centred=True)[inner]
    assert ramp == pytest.approx(x[inner], abs=1e-6)
    assert smooth(x, x, 100)[inner] == pytest.approx(x[inner] - late, abs=1)
    noise = np.random.default_rng(0).normal(size=x.size)
    both = [smooth(x, noise, 100, centred)[inner].std() for centred in (False, True)]
    assert both[1] / both[0] == pytest.approx(1, abs=0.15)
    impulse = (x == 10_000).astype(float)
    squares = [(smooth(x, impulse, 100, centred) ** 2).sum() for centred in (False, True)]
    assert squares[1] == pytest.approx(squares[0], rel=0.01)


def test_no_games_have_no_average():
    assert smooth([], [], 10, centred=True).shape == (0,)


@given(games, halflives, st.floats(-60, 60))
def test_crossing_equals_slow_twin(rows, halflife, goal):
    x, s = [r[0] for r in rows], [r[1] for r in rows]
    smoothed = np.array(smooth_slowly(x, s, halflife))
    if np.abs(smoothed - goal).min() < 1e-9:
        return
    expected = cross_slowly(x, s, goal, halflife)
    assert first_crossing(x, s, goal, halflife) == (
        expected if expected is None else pytest.approx(expected, abs=0.1)
    )


@given(games, halflives, st.floats(-60, 60), st.floats(0, 20))
def test_a_higher_goal_is_never_reached_earlier(rows, halflife, goal, more):
    x, s = [r[0] for r in rows], [r[1] for r in rows]
    low, high = first_crossing(x, s, goal, halflife), first_crossing(x, s, goal + more, halflife)
    if high is not None:
        assert low is not None
        assert low <= high


@given(games, halflives, st.floats(-60, 60), st.randoms())
def test_order_of_games_that_ended_together_does_not_matter(rows, halflife, goal, random):
    rows = [(x // 10_000, s) for x, s in rows]
    shuffled = rows.copy()
    random.shuffle(shuffled)
    shuffled.sort(key=lambda row: row[0])
    a, b = (smooth(*zip(*r, strict=True), halflife) for r in (rows, shuffled))
    assert a == pytest.approx(b, abs=1e-9)


def test_by_hand():
    # m = 0, then (0/2 + 3)/(1/2 + 1) = 2: the goal 1 lies half way
    assert first_crossing([100, 200], [0, 3], 1.0, 100) == pytest.approx(150)
    assert first_crossing([100, 200], [0, 3], 2.5, 100) is None
    assert first_crossing([100, 200], [5, 3], 1.0, 100) == 100


def test_a_gap_of_thousands_of_halflives():
    x = [0, 10, 1_000_000, 1_000_010]
    assert smooth(x, [1, 1, 7, 7], 10) == pytest.approx([1, 1, 7, 7])


def test_no_finished_game_is_no_crossing():
    assert first_crossing([], [], 1.0, 100) is None


@pytest.mark.parametrize(
    ("x", "s", "goal", "halflife", "message"),
    [
        ([2, 1], [0, 0], 1, 10, "ascend"),
        ([1, 2], [0, np.nan], 1, 10, "score must be finite; entry 1"),
        ([1, np.inf], [0, 0], 1, 10, "observations must be finite"),
        ([1, 2], [0], 1, 10, "one length"),
        ([1, 2], [0, 0], 1, 0, "halflife"),
        ([1, 2], [0, 0], 1, -5, "halflife"),
        ([1, 2], [0, 0], 1, np.nan, "halflife"),
        ([1, 2], [0, 0], np.nan, 10, "goal"),
    ],
)
def test_bad_input_is_one_clear_line(x, s, goal, halflife, message):
    with pytest.raises(ValueError, match=message) as caught:
        first_crossing(x, s, goal, halflife)
    assert "\n" not in str(caught.value)
