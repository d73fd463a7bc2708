"""The stopping rule's smoothed score is the analysis' one, and a stopped run resumes exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rl_gns
from rl_gns.analysis import first_crossing, smooth
from rl_gns.training.stopping import FEWEST_GAMES, SmoothedScore

GAMES = st.lists(st.tuples(st.integers(0, 500), st.floats(-1e3, 1e3)), min_size=1, max_size=40)


@given(GAMES, st.floats(1, 1e4))
def test_smoothed_score_is_the_slow_twin(gaps: list[tuple[int, float]], halflife: float) -> None:
    x = np.cumsum([gap for gap, _ in gaps])
    scores = np.array([score for _, score in gaps])
    running = SmoothedScore(halflife)
    twin = smooth(x, scores, halflife)
    for at in np.unique(x):
        running.add(int(at), scores[x == at].tolist())
        assert running.value == pytest.approx(twin[x == at][-1], rel=1e-9, abs=1e-9)
    believed = twin[np.searchsorted(x, x, side="right") >= FEWEST_GAMES]
    assert running.peak == pytest.approx(max(believed, default=-np.inf), rel=1e-9, abs=1e-9)


def test_a_lucky_first_game_is_no_goal() -> None:
    running = SmoothedScore(100)
    running.add(10, [1000.0])
    assert not running.has_reached(500)
    running.add(20, [1000.0] * (FEWEST_GAMES - 1))
    assert running.has_reached(500)
    assert not running.has_reached(None)


def test_state_goes_on_bit_for_bit() -> None:
    one, two = SmoothedScore(100), SmoothedScore(100)
    one.add(10, [1.0, 3.0])
    two.restore(one.state())
    for score in (one, two):
        score.add(77, [8.0])
    assert one.state() == two.state()


def test_a_run_stops_at_the_score_and_its_table_shows_the_crossing(tmp_path: Path) -> None:
    config = rl_gns.TrainConfig(
        env="gym:CartPole-v1",
        num_envs=8,
        observations=20_000,
        learning_rate=4e-3,
        rmsprop="torch",
        stop_score=25.0,
        stop_halflife=500,
        threads=1,
        tensorboard=False,
        checkpoint_every=400,
    )
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    made = run.metrics()["observations"].iloc[-1]
    games = run.episodes()
    crossing = first_crossing(games["observations"], games["score"], 25.0, 500)
    assert crossing is not None
    assert made - 8 * 5 <= crossing <= made < 20_000
