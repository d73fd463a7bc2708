"""What is said of a study while it runs: share, time left, best so far, and what its first speed makes of its hours."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as NS

import pytest
from rich.console import Console

from rl_gns.studies import speed, view
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study
from rl_gns.training import checkpoint
from rl_gns.training.metrics import MetricsWriter

FOUR = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 100
[grid]
num_envs = [2, 8]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2]
"""


def shown_after(
    study: Study, monkeypatch: pytest.MonkeyPatch, seconds: float, outcomes: dict[str, Outcome]
) -> str:
    """The plain line of a view that began with nothing done, `seconds` later."""
    now, printed, runs = [1000.0], io.StringIO(), study.plan({})
    monkeypatch.setattr(view, "time", NS(monotonic=lambda: now[0]))
    shown = view.View(Console(file=printed, width=200), study)
    now[0] += 0.001
    shown.show(runs, {}, {})
    now[0] = 1000 + seconds
    shown.show(runs, outcomes, {run.id: run for run in runs if run.id not in outcomes})
    return printed.getvalue().splitlines()[-1]


def test_time_left_is_that_of_the_runs_that_are_not_final(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four runs took 100 seconds, so the other three take 300; what is partial is not done."""
    study = study_of(FOUR)
    first, second, *_ = study.plan({})
    outcomes = {first.id: Outcome("done"), second.id: Outcome("partial", observations=5.0)}
    said = shown_after(study, monkeypatch, 100, outcomes)
    assert "1 of 4 runs done, 2 running" in said
    assert " 25%  0:05:00 left" in said


def test_a_running_run_counts_as_far_as_its_newest_row(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one run of four is an eighth; at 60 seconds for it there are seven minutes left."""
    study = study_of(FOUR)
    folder = study.folder(study.plan({})[0])
    folder.mkdir(parents=True)
    writer = MetricsWriter(folder / "metrics.db")
    for update in (1, 2):
        writer.write(update, {"observations": 250_000.0 * update}, {}, [])
    writer.close()
    runs = study.plan({})
    assert view.progress(folder, 1_000_000) == 0.5
    assert view.View(Console(file=io.StringIO()), study).share(runs, {}, {runs[0].id: 0.5}) == 0.125
    assert " 12%  0:07:00 left" in shown_after(study, monkeypatch, 60, {})


def test_the_best_run_is_that_with_the_fewest_observations_to_the_hardest_goal_reached(
    study_of: Callable[..., Study],
) -> None:
    study = study_of(FOUR)
    a, b, c, d = study.plan({})
    outcomes = {
        a.id: Outcome("done", peak=250.0, crossings={100.0: 10.0, 200.0: 900.0}),
        b.id: Outcome("done", peak=210.0, crossings={100.0: 500.0, 200.0: 700.0}),
        c.id: Outcome("done", peak=300.0, crossings={100.0: 5.0, 200.0: None}),
    }
    runs = [a, b, c, d]
    assert view.best(runs, outcomes, study.spec.goals) == f"best: score 200 in 700 observations ({b.id})"
    early = {a.id: Outcome("partial", peak=31.0), b.id: Outcome("partial", peak=42.0)}
    assert view.best(runs, early, study.spec.goals) == f"best: score 42.0 ({b.id}), no goal reached yet"


def test_status_says_how_far_a_partial_run_is(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = study_of(FOUR)
    run = study.plan({})[0]
    checkpoint.save(write_run(study, run, ramp=30_000_000, until=400_000) / "checkpoints", 400_000, {})
    assert f"partial: {run.id}: 40%" in view.status_text(study)


def test_a_cell_that_was_not_measured_has_the_speed_of_the_nearest_batch(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured are 2 x 5 and 9 x 40, at 50 observations a second for each of a batch: 500 and 18,000.

    16 x 5 is nearer to a batch of 360 than to one of 10, though its rollouts are as long as the latter's.
    """
    monkeypatch.setattr(speed, "MOST_CELLS", 2)
    monkeypatch.setattr(speed, "speed", lambda config, seconds: 50.0 * config.batch)
    text = FOUR.replace("rollout = [5]", "rollout = [5, 40]").replace("[2, 8]", "[2, 9, 16]")
    study = study_of(text.replace("seeds = [1, 2]", "seeds = [1]"))
    rows = [line.split() for line in speed.estimate(study, 1).splitlines()[1:7]]
    found = {row[0].partition("-lr")[0]: row[3] for row in rows}
    slow, fast = dict.fromkeys(("n2-t5", "n9-t5"), "500"), ("n2-t40", "n9-t40", "n16-t5", "n16-t40")
    assert found == slow | dict.fromkeys(fast, "18,000")


def test_hours_of_the_rates_that_follow_are_shared_out_to_the_jobs(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells of one rate each, and two more to follow in each: six runs of 1,000 seconds and a start of a half."""
    monkeypatch.setattr(speed, "speed", lambda config, seconds: 1000.0)
    text = FOUR.replace("learning_rate = [1e-3]\nseeds = [1, 2]", "seeds = [1]")
    study = study_of(text + "[auto]\npoints = 3\nmost = 3\npatience = 2\n")
    said = speed.estimate(study, 2)
    assert "at most 6,000,000 observations and 0.83 hours" in said
