"""What is read from a run, planned and priced, of tables written by hand: every number can be worked out."""

from __future__ import annotations

import math
from types import SimpleNamespace as NS

import numpy as np
import pandas as pd
import pytest

from rl_gns.report.sentences import critical_batch
from rl_gns.studies import speed
from rl_gns.studies.plan import best_rate, edges, kept_rates
from rl_gns.studies.predicted import _parts
from rl_gns.studies.predictors import _moments
from rl_gns.studies.results import Outcome, noise_until, smoothed_scores
from rl_gns.studies.spec import parse
from rl_gns.studies.study import load_study
from rl_gns.studies.transient import spikes

NAN = math.nan


METRICS = pd.DataFrame(
    {
        "observations": [100.0, 200.0, 300.0, 400.0],
        "update": [10.0, 20.0, 30.0, 40.0],
        "noise_scale": [1e6, 100.0, 400.0, NAN],
    }
)


def test_noise_until_leaves_out_the_transient_counts_the_goals_row_and_interpolates_logarithms():
    assert noise_until(METRICS, 250.0, 100.0, 100.0) == pytest.approx((200.0, 250.0, 1.0))
    assert noise_until(METRICS, 350.0, 100.0, 100.0)[1:] == pytest.approx((250.0, 2 / 3))


def test_a_score_is_read_from_the_twentieth_game_on():
    x = np.arange(1.0, 31.0)
    assert smoothed_scores(pd.DataFrame({"observations": x, "score": x}), 5.0)[0][0] == 20
    tied = pd.DataFrame({"observations": [5.0] * 20, "score": [1.0] * 20})
    assert smoothed_scores(tied, 5.0)[0].size == 20


def test_spikes_by_hand():
    tables = {
        "a": pd.DataFrame(
            {
                "observations": [1.0, 2.0, 3.0, 4.0, 6.0],
                "noise_scale": [50.0, 900.0, 30.0, 60.0, 90.0],
                "noise_scale_low": [5.0, 90.0, 3.0, 6.0, 9.0],
            }
        ),
        "b": pd.DataFrame(
            {
                "observations": [1.0, 2.0, 3.0],
                "noise_scale": [50.0, NAN, 10.0],
                "noise_scale_low": [5.0, 400.0, 1.0],
            }
        ),
    }
    runs = [NS(id=name, batch=b, seed=1) for name, b in (("a", 10), ("b", 20), ("c", 10))]
    points = pd.DataFrame(
        [
            dict(
                id="c", rollout=5, num_envs=2, seed=1, goal=1.0, censored=False
            ),  # another rate serves the easy goal
            dict(id="a", rollout=5, num_envs=2, seed=1, goal=2.0, censored=False),
            dict(id="b", rollout=5, num_envs=4, seed=1, goal=1.0, censored=False),
        ]
    )
    study = NS(
        spec=NS(start_score=1.0, budget=lambda batch: 5.0),
        plan=lambda o: runs,
        read=lambda run, t, o: tables[run.id],
    )
    found = spikes(study, {name: NS(start=2.0) for name in "abc"}, NS(points=points)).set_index("id")
    assert sorted(found.index) == ["a", "b"]
    assert found.loc["a", ["spike", "floor", "ratio", "is_bound"]].tolist() == [900.0, 30.0, 30.0, False]
    assert found.loc["b", ["spike", "floor", "ratio", "is_bound"]].tolist() == [400.0, 10.0, 40.0, True]


def cell(**rates):
    return {
        float(rate[1:]): [Outcome("done", crossings=each) for each in some] for rate, some in rates.items()
    }


def test_an_easy_goal_at_the_edge_widens_the_ladder_too():
    found = cell(
        r1=[{50.0: 10.0, 100.0: 90.0}], r2=[{50.0: 20.0, 100.0: 30.0}], r4=[{50.0: 30.0, 100.0: 40.0}]
    )
    assert edges(found, (50.0, 100.0)) == (True, False)


def test_a_rate_at_which_more_seeds_reach_the_goal_is_the_better_one():
    found = cell(
        r1=[{50.0: 10.0}, {50.0: None}], r2=[{50.0: 30.0}, {50.0: 30.0}], r4=[{50.0: 40.0}, {50.0: 50.0}]
    )
    assert best_rate(found, (50.0,)) == 2
    assert edges(found, (50.0,)) == (False, False)


def test_rates_beyond_keep_are_dropped():
    found = cell(r1=[{50.0: 100.0}], r2=[{50.0: 124.0}], r4=[{50.0: 130.0}])
    assert kept_rates(found, (50.0,), 1.25) == [1, 2]


def test_what_a_file_leaves_open():
    raw = {
        "env": "gym:CartPole-v1",
        "goals": [50],
        "observations": 100_000,
        "halflife": 2_000,
        "grid": {"num_envs": [4, 64], "rollout": [5], "seeds": [1]},
    }
    small, large = (parse(raw).config(n, 5, 1e-3, 1) for n in (4, 64))
    assert (small.noise_halflife, large.noise_halflife) == (2_000, 16 * 320)
    assert (small.log_every, large.log_every) == (500, 1_000)
    assert small.checkpoint_every == 10_000


def test_parts_are_the_last_readings():
    read = pd.DataFrame(
        {"part": ["value", "value"], "noise_scale": [10.0, 40.0], "noise_scale_low": [1.0, 4.0]}
    )
    runs = [NS(id="a"), NS(id="b")]
    (row,) = _parts(NS(read=lambda run, table, o: read), runs, {"a": None, "b": None}, 0)
    assert row["noise_scale"] == pytest.approx(40.0)


def test_hours_are_those_of_the_jobs_and_no_less_than_the_longest_runs(tmp_path, monkeypatch):
    (tmp_path / "study.toml").write_text(
        'env = "gym:CartPole-v1"\ngoals = [100]\nobservations = 3_600_000\nhalflife = 4_000\n'
        "[grid]\nnum_envs = [2]\nrollout = [5]\nseeds = [1, 2, 3, 4]\nlearning_rate = [1e-3]\n"
    )
    monkeypatch.setattr(speed, "speed", lambda config, seconds=0.4: 1000.0)
    study = load_study(tmp_path)
    assert "at most 2.00 hours with 2 jobs" in speed.estimate(study, 2)
    assert "at most 1.00 hours with 8 jobs" in speed.estimate(study, 8)


def test_the_sentence_of_the_critical_batch():
    said = critical_batch(NS(fronts=pd.DataFrame({"ratio": [0.05, 1.0, 2.0, 20.0, 200.0, NAN]})))
    assert "median 2, from 0.05 to 200 over 5 fronts; 2 of them within" in said


def test_moments_are_the_last_before_the_goal():
    table = pd.DataFrame(
        {"observations": [1.0, 2.0, 3.0, 4.0], "signal": [1.0, 2.0, NAN, 4.0], "noise": [5.0, 6.0, 7.0, 8.0]}
    )
    assert _moments(table, 3.5) == (2.0, 6.0)
