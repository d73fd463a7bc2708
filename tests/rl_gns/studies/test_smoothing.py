"""A smoothed score crosses late by half-life / ln 2, which is in E_min and in no residual."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from rl_gns.report.sentences import smoothing
from rl_gns.studies.fitting import fit_study
from rl_gns.studies.results import smoothed_scores
from rl_gns.studies.smoothing import reread, smoothing_table
from rl_gns.studies.study import Study

S_MIN, B_CRIT = 400.0, 100.0
GRID = """
env = "gym:CartPole-v1"
goals = [200]
observations = 10_000_000
halflife = 2_000

[grid]
num_envs = [2, 8, 32, 128, 512]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2]
"""


def finished(study: Study, write_run: Callable[..., Path], until: float | None = None) -> Study:
    """Every run rises steadily and meets the last goal after E = S_MIN (B + B_CRIT) observations, exactly."""
    for run in study.plan({}):
        write_run(study, run, ramp=1.5 * S_MIN * (run.batch + B_CRIT), until=until)
    return study


def test_the_lag_is_half_life_over_ln_2_and_only_e_min_has_it(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = finished(study_of(GRID), write_run)
    found = smoothing_table(study, study.outcomes())
    assert found["average"].tolist() == ["trailing"] * 3 + ["centred"] * 3
    assert found["halflife"].tolist() == [2_000, 1_000, 500] * 2
    for row in found.to_dict("records"):
        assert row["lag"] == (row["average"] == "trailing") * row["halflife"] / math.log(2)
        assert row["s_min"] == pytest.approx(S_MIN, rel=0.02)
        assert row["e_min"] == pytest.approx(S_MIN * B_CRIT + row["lag"], rel=0.01)
        assert row["rms_log_residual"] < 0.01


def test_the_studys_own_half_life_gives_its_own_fronts(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = finished(study_of(), write_run)
    outcomes = study.outcomes()
    fronts = fit_study(study, outcomes=outcomes).fronts
    found = smoothing_table(study, outcomes)
    own = found[(found["halflife"] == study.spec.halflife) & (found["average"] == "trailing")]
    own = own.reset_index(drop=True)
    names = ["rollout", "goal", "s_min", "e_min", "b_crit", "b_crit_low", "b_crit_high", "points"]
    names += ["e_min_low", "e_min_high", "rms_log_residual"]
    assert own[names].equals(fronts[names])


def test_runs_that_met_no_goal_stay_censored_where_they_ended(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = finished(study_of(), write_run, until=60_000)
    run = next(run for run in study.plan({}) if run.num_envs == 32)
    outcomes = {run.id: study.outcome(run)}
    table = study.table(study.outcomes())
    rows = table[table["id"] == run.id].assign(status="done")
    games = study.read(run, "episodes", outcomes[run.id])
    near, far = reread(rows, {run.id: smoothed_scores(games, 50)}).to_dict("records")
    assert not near["censored"]
    assert near["observations"] == pytest.approx(
        S_MIN * (run.batch + B_CRIT) / 2 + 50 / math.log(2), rel=0.01
    )
    assert near["updates"] == near["observations"] / run.batch
    assert far["censored"]
    assert far["observations"] == 60_000


def test_runs_that_end_where_they_met_the_last_goal_keep_a_ninth_of_the_lag(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    """Half of it is what a trailing average of half the half-life would keep."""
    study = study_of(GRID)
    for run in study.plan({}):
        ramp = 1.5 * S_MIN * (run.batch + B_CRIT)
        write_run(
            study,
            run,
            ramp,
            until=study.spec.goals[-1] * ramp / 300 + 1.1 * study.spec.halflife / math.log(2),
        )
    found = smoothing_table(study, study.outcomes(), bootstrap=0)
    own = found[(found["halflife"] == study.spec.halflife) & (found["goal"] == found["goal"].max())]
    late = own.set_index("average")["e_min"] - S_MIN * B_CRIT
    assert late["trailing"] == pytest.approx(study.spec.halflife / math.log(2), rel=0.1)
    assert late["centred"] == pytest.approx(late["trailing"] / 9, rel=0.25)


def test_a_sentence_says_the_hardest_goals_front_without_the_lag(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = finished(study_of(), write_run)
    found = smoothing_table(study, study.outcomes())
    said = smoothing(found, study.spec.halflife)
    assert said.startswith(f"To score {study.spec.goals[-1]:g} read by centred averages of as many games")
    assert "B_crit is 100 (" in said
    unknown = found.assign(b_crit=math.nan)
    assert smoothing(unknown, study.spec.halflife).endswith(": B_crit can't be told.")


def test_nothing_finished(study_of: Callable[..., Study]) -> None:
    study = study_of()
    found = smoothing_table(study, study.outcomes())
    assert found.empty
    assert smoothing(found, study.spec.halflife) == ""


def test_games_beyond_a_lowered_budget_are_not_read(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    """Also of runs counted from another study, whose budget was larger."""
    wide = finished(study_of(), write_run)
    study = study_of(wide.path.read_text().replace("1_000_000", "60_000"))
    outcomes = study.outcomes()
    fronts = fit_study(study, outcomes=outcomes, bootstrap=0).fronts
    assert fronts["censored"].any()
    found = smoothing_table(study, outcomes, bootstrap=0)
    own = found[(found["halflife"] == study.spec.halflife) & (found["average"] == "trailing")]
    own = own.reset_index(drop=True)
    assert own[["goal", "points", "e_min"]].equals(fronts[["goal", "points", "e_min"]])
