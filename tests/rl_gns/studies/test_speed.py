"""What a study is said to cost before it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rl_gns.studies import speed
from rl_gns.studies.speed import estimate
from rl_gns.studies.study import Study
from rl_gns.training import loop
from rl_gns.training.config import TrainConfig

PATIENT = """
env = "gym:CartPole-v1"
goals = [100]
observations = 1_000_000
halflife = 4_000
[grid]
num_envs = [2, 8]
rollout = [5]
seeds = [1, 2]
[auto]
points = 3
most = 5
patience = 1.5
keep = 1.25
"""


FAILS = (
    PATIENT.partition("[grid]")[0]
    + """
[grid]
num_envs = [2]
rollout = [5]
seeds = [1]
learning_rate = [1e-3]
"""
)


def test_a_speed_is_that_of_later_updates_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first update that takes 10 s, and updates of 40 observations in 0.125 s: the fourth ends what is timed."""
    clock, made = [0.0], []

    class Clocked:
        def __init__(self, config: TrainConfig) -> None:
            made.append((config.threads, config.start_spread))
            self.observations = 0

        def update(self) -> None:
            clock[0] += 0.125 if self.observations else 10.0
            self.observations += 40

        def close(self) -> None:
            made.append("closed")

    monkeypatch.setattr(loop, "Trainer", Clocked)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    assert speed.speed(TrainConfig(threads=8, start_spread=4500), 0.4) == 320
    assert speed.speed(TrainConfig(start_spread=None), 0.4) == 320
    assert made == [(1, 0), "closed", (1, None), "closed"]


def test_rates_that_follow_are_priced_too(
    study_of: Callable[..., Study], write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(PATIENT)
    said = estimate(study, jobs=1, seconds=0.01)
    assert "measuring the speed of 2 cells" in capsys.readouterr().err
    assert re.search(r"^2 runs, at most 2,000,000 observations", said, re.M)
    assert "with those that may follow in these cells 20 runs, at most 20,000,000 observations" in said
    first = study.plan({})[0]
    write_run(study, first, ramp=60_000)  # 100 at 25,000: seed 1 gives up the others of its cell at 38,000
    said = estimate(study, jobs=1, seconds=0.01)
    most = int(re.search(r"may follow in these cells 19 runs, at most ([\d,]+)", said)[1].replace(",", ""))
    assert most == pytest.approx(
        10_000_000 + 4 * 38_000 + 5 * 101_400, rel=1e-3
    )  # seed 2: at four times that


def test_without_patience_the_ladder_is_all_there_from_the_start(study_of: Callable[..., Study]) -> None:
    plain = PATIENT.replace("patience = 1.5\nkeep = 1.25\n", "")
    said = estimate(study_of(plain), jobs=2, seconds=0.01)
    assert re.search(r"^12 runs, at most 12,000,000 observations", said, re.M)
    assert "with those that may follow in these cells 20 runs, at most 20,000,000 observations" in said


def test_seeds_that_wait_for_the_first_are_priced_without_patience_too(
    study_of: Callable[..., Study],
) -> None:
    """Of two seeds the first has three rates of up to five in each of two cells; the second may run all five."""
    said = estimate(study_of(PATIENT.replace("patience = 1.5\n", "")), jobs=2, seconds=0.01)
    assert re.search(r"^6 runs, at most 6,000,000 observations", said, re.M)
    assert "with those that may follow in these cells 20 runs, at most 20,000,000 observations" in said


def test_rates_that_follow_one_another_take_their_time_whatever_the_jobs(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's first rate takes 1,000 s, then four wait for one another, then the other seed has one at least."""
    monkeypatch.setattr(speed, "speed", lambda config, seconds: 1000.0)
    study = study_of(PATIENT.replace("num_envs = [2, 8]", "num_envs = [2]"))
    said = estimate(study, jobs=64)
    assert "at most 0.28 hours with 64 jobs" in said
    assert "10 runs, at most 10,000,000 observations and 1.67 hours" in said
    assert "and 2.78 hours" in estimate(study, jobs=1)


def test_what_retry_failed_would_run_is_priced(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "speed", lambda config, seconds: 1000.0)
    study = study_of(FAILS)
    (run,) = study.plan()
    study.failures(run).parent.mkdir(parents=True)
    study.failures(run).write_text('"it fell"\n"it fell again"\n')
    assert estimate(study, jobs=1).startswith("0 runs")
    assert "1 runs, at most 1,000,000 observations" in estimate(study, jobs=1, retry_failed=True)


def test_other_seeds_are_priced_at_what_they_are_allowed(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    """Four times what the first seed needed; not the first seed's own patience."""
    study = study_of(PATIENT.replace("num_envs = [2, 8]", "num_envs = [2]").replace("most = 5", "most = 3"))
    write_run(study, study.plan({})[0], ramp=60_000)
    said = estimate(study, jobs=1, seconds=0.01)
    most = int(re.search(r"may follow in these cells 5 runs, at most ([\d,]+)", said)[1].replace(",", ""))
    for run in [run for run in study.plan() if study.outcome(run).status == "pending"]:
        write_run(study, run, ramp=66_000)
    allowed = [run.config.observations for run in study.plan() if run.seed == 2]
    assert allowed[0] > 80_000
    assert most == pytest.approx(2 * 30_000 + 3 * allowed[0], rel=0.05)
