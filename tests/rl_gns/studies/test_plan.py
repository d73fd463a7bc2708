"""The plan is a function of results alone: readable ids, and rates widened until the best is inside."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rl_gns.errors import UserError
from rl_gns.studies.plan import (
    PlannedRun,
    best_rate,
    cell_found,
    cell_rates,
    first_rate,
    plan,
    rounded,
    run_id,
)
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study

AUTO = """
env = "gym:CartPole-v1"
goals = [50, 100]
observations = 10_000
[grid]
num_envs = [4, 64]
rollout = [5]
seeds = [1, 2]
[auto]
rate = 1e-2
batch = 100
most = 6
"""


def outcome(run: PlannedRun, best: float, reach: bool = True) -> Outcome:
    """A run that is the faster the nearer its rate is to `best`."""
    distance = abs(math.log2(run.learning_rate / best))
    at = 1_000.0 * (1 + distance) + run.seed
    return Outcome(
        "done", peak=-distance, crossings={50.0: at if reach else None, 100.0: 2 * at if reach else None}
    )


def played_out(study: Study, answer: Callable[[PlannedRun], Outcome], seed: int) -> dict[str, Outcome]:
    """Finish runs in a random order until nothing more is planned."""
    outcomes: dict[str, Outcome] = {}
    rng = random.Random(seed)
    while missing := [run for run in plan(study.spec, outcomes) if run.id not in outcomes]:
        run = rng.choice(missing)
        outcomes[run.id] = answer(run)
    return outcomes


@pytest.mark.parametrize(
    ("rate", "name"), [(7e-4, "7e-4"), (1.4e-3, "1.4e-3"), (0.0112, "1.12e-2"), (1.0, "1e0"), (3, "3e0")]
)
def test_ids(rate: float, name: str) -> None:
    assert run_id(64, 5, rate, 1) == f"n64-t5-lr{name}-s1"


def test_listed_rates(study_of: Callable[..., Study]) -> None:
    study = study_of()
    runs = plan(study.spec, {})
    assert len(runs) == 5 * 2
    assert len({run.id for run in runs}) == 10
    assert {run.batch for run in runs} == {10, 40, 160, 640, 2560}


def test_rates_that_would_share_an_id_are_refused(study_of: Callable[..., Study]) -> None:
    text = AUTO.replace("seeds", "learning_rate = [1e-3, 1.0001e-3]\nseeds")
    with pytest.raises(UserError, match="agree in three digits"):
        study_of(text).plan({})


def test_first_rates_surround_the_law(study_of: Callable[..., Study]) -> None:
    spec = study_of(AUTO).spec
    for num_envs in spec.num_envs:
        centre = 1e-2 / (1 + 100 / (5 * num_envs)) ** 0.5
        rates = list(cell_rates(spec, num_envs, 5, {}))
        assert len(rates) == 3
        assert rates[0] < centre < rates[2]
        assert rates[1] / centre == pytest.approx(1, rel=0.42)


@pytest.mark.parametrize("best", [1e-2 * 2.0**k for k in (-3, -2, -1, 0, 1, 2)])
def test_widened_until_the_best_is_inside(study_of: Callable[..., Study], best: float) -> None:
    study = study_of(AUTO)
    outcomes = played_out(study, lambda run: outcome(run, best), 0)
    rates = list(cell_rates(study.spec, 64, 5, outcomes))
    assert rates[0] < rounded(best) < rates[-1]
    assert len(rates) <= 6


def test_never_more_than_most(study_of: Callable[..., Study]) -> None:
    study = study_of(AUTO)
    outcomes = played_out(study, lambda run: outcome(run, 1e3), 0)
    assert len(cell_rates(study.spec, 4, 5, outcomes)) == 6


def test_scores_decide_where_no_goal_was_reached(study_of: Callable[..., Study]) -> None:
    study = study_of(AUTO)
    outcomes = played_out(study, lambda run: outcome(run, 2e-2, reach=False), 0)
    rates = list(cell_rates(study.spec, 64, 5, outcomes))
    assert rates[0] < 2e-2 < rates[-1]


def test_order_of_finishing_does_not_matter(study_of: Callable[..., Study]) -> None:
    study = study_of(AUTO)
    ends = [played_out(study, lambda run: outcome(run, 4e-2), seed) for seed in range(5)]
    assert all(end == ends[0] for end in ends)


def test_failed_rates_are_no_answer_but_end_the_wait(study_of: Callable[..., Study]) -> None:
    study = study_of(AUTO)

    def answer(run: PlannedRun) -> Outcome:
        return Outcome("failed", "loss is NaN") if run.learning_rate > 1e-2 else outcome(run, 1e-2)

    rates = list(cell_rates(study.spec, 64, 5, played_out(study, answer, 0)))
    assert rates[-1] > 1e-2


def test_no_new_rates_while_a_run_of_the_cell_is_open(study_of: Callable[..., Study]) -> None:
    spec = study_of(AUTO).spec
    first = plan(spec, {})
    outcomes: Mapping[str, Outcome] = {run.id: outcome(run, 1.0) for run in first}
    for run in first:
        some = {name: found for name, found in outcomes.items() if name != run.id}
        assert len(cell_rates(spec, run.num_envs, 5, some)) == 3
        open_ = {**some, run.id: Outcome("partial")}
        assert len(cell_rates(spec, run.num_envs, 5, open_)) == 3
    assert all(len(cell_rates(spec, n, t, outcomes)) == 4 for n, t in itertools.product(spec.num_envs, [5]))


PATIENT = AUTO + "patience = 1.5\n"


@pytest.mark.parametrize("best", [1e-2 * 2.0**k for k in (-3, -1, 0, 1, 2)])
def test_patience_finds_the_same_best_rate_for_less(study_of: Callable[..., Study], best: float) -> None:
    """Runs cut at their budget, as the driver would, give the same best rate as runs that are not."""

    def cut(run: PlannedRun) -> Outcome:
        whole, budget = outcome(run, best), run.config.observations
        met = {goal: at if at is not None and at <= budget else None for goal, at in whole.crossings.items()}
        made = min(budget, whole.crossings[100.0] or math.inf)
        return Outcome("done", observations=made, peak=whole.peak, crossings=met)

    plain, patient = study_of(AUTO), study_of(PATIENT)
    spent = {}
    for study in (plain, patient):
        outcomes = played_out(study, cut, 0)
        spent[study is patient] = sum(found.observations for found in outcomes.values())
        for num_envs in study.spec.num_envs:
            rates = cell_rates(study.spec, num_envs, 5, outcomes)
            cell = {
                rate: [outcomes[run_id(num_envs, 5, rate, seed)] for seed in study.spec.seeds]
                for rate in rates
            }
            assert best_rate(cell, study.spec.goals) == rounded(best)
    assert spent[True] <= spent[False]


def test_patience_begins_with_one_rate_and_limits_the_rest(study_of: Callable[..., Study]) -> None:
    spec = study_of(PATIENT).spec
    first = plan(spec, {})
    assert len(first) == 2 * 2
    assert all(run.config.observations == 10_000 for run in first)
    answers = {run.id: Outcome("done", crossings={50.0: 900.0, 100.0: 2_000.0 + run.seed}) for run in first}
    later = [run for run in plan(spec, answers) if run.id not in answers]
    assert len(later) == 2 * 2 * 2
    assert {run.config.observations for run in later} == {1.5 * 2_002}
    missed = {run.id: Outcome("done", crossings={50.0: 900.0, 100.0: None}) for run in first}
    assert all(run.config.observations == 10_000 for run in plan(spec, missed))


def test_patience_never_shortens_a_run_that_has_begun(study_of: Callable[..., Study]) -> None:
    """A run's limit comes from the rates before it alone, whatever came after."""
    study = study_of(PATIENT)
    outcomes: dict[str, Outcome] = {}
    limits: dict[str, float] = {}
    while missing := [run for run in plan(study.spec, outcomes) if run.id not in outcomes]:
        for run in plan(study.spec, outcomes):
            assert limits.setdefault(run.id, run.config.observations) == run.config.observations
        outcomes[missing[-1].id] = outcome(missing[-1], 4e-2)


def test_a_run_made_with_more_patience_counts(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    study = study_of(PATIENT)
    for run in study.plan({}):
        write_run(study, run, ramp=6_000)
    runs = [run for run in study.plan() if study.outcome(run).status == "pending"]
    whole = dataclasses.replace(runs[0], config=dataclasses.replace(runs[0].config, observations=10_000))
    write_run(study, whole, ramp=3_000)
    assert runs[0].config.observations < 10_000
    assert study.outcome(runs[0]).status == "done"


KEEPING = PATIENT.replace("seeds = [1, 2]", "seeds = [1, 2, 3]") + "keep = 1.25\n"


def noisy(run: PlannedRun, best: float, spread: float = 0.3) -> Outcome:
    """As `outcome`, with luck of its own for every run and goal, cut at the run's budget as the driver would."""
    rng = random.Random(run.id)
    distance = abs(math.log2(run.learning_rate / best))
    luck = [math.exp(rng.gauss(0, spread)) for _ in range(2)]
    at = {50.0: 900 * (1 + distance) * luck[0], 100.0: 900 * (1 + distance) * (luck[0] + luck[1])}
    met = {goal: when if when <= run.config.observations else None for goal, when in at.items()}
    made = min(run.config.observations, at[100.0])
    return Outcome("done", observations=made, peak=-distance, crossings=met)


@pytest.mark.parametrize("best", [1e-2 * 2.0**k for k in (-3, -1, 0, 2)])
def test_keeping_leaves_the_first_seed_what_it_would_have_done_alone(
    study_of: Callable[..., Study], best: float
) -> None:
    """So a study begun with one seed goes on with three, and no run of the first is repeated."""
    alone = study_of(KEEPING.replace("seeds = [1, 2, 3]", "seeds = [1]")).spec
    three = study_of(KEEPING)
    outcomes = played_out(three, lambda run: noisy(run, best), 0)
    runs, first = plan(three.spec, outcomes), plan(alone, outcomes)
    assert runs[: len(first)] == first
    assert {run.seed for run in runs[len(first) :]} == {2, 3}


@pytest.mark.parametrize("best", [1e-2 * 2.0**k for k in (-3, -1, 0, 2)])
def test_other_seeds_run_the_rates_near_the_first_ones_best(
    study_of: Callable[..., Study], best: float
) -> None:
    study = study_of(KEEPING)
    outcomes = played_out(study, lambda run: noisy(run, best), 0)
    runs = plan(study.spec, outcomes)
    for num_envs in study.spec.num_envs:
        cell = [run for run in runs if run.num_envs == num_envs]
        rates = {seed: {run.learning_rate for run in cell if run.seed == seed} for seed in (1, 2, 3)}
        assert rates[2] == rates[3]
        assert rates[2] <= rates[1]
        for goal in study.spec.goals:
            took = {
                run.learning_rate: outcomes[run.id].crossings[goal] or math.inf
                for run in cell
                if run.seed == 1
            }
            near = {rate for rate, at in took.items() if at <= 1.25 * min(took.values())}
            assert near <= rates[2]
        needs, leading = min((at, rate) for rate, at in took.items())
        for seed in (2, 3):
            mine = [run for run in cell if run.seed == seed]
            first = next(run for run in mine if run.learning_rate == leading)
            assert first.config.observations == min(10_000, 4 * needs)
            limit = min(4 * needs, 1.5 * (outcomes[first.id].crossings[100.0] or math.inf))
            assert all(run.config.observations == min(10_000, limit) for run in mine if run is not first)


def test_keeping_costs_less_and_order_does_not_matter(study_of: Callable[..., Study]) -> None:
    keeping = study_of(KEEPING)
    ends = [played_out(keeping, lambda run: noisy(run, 4e-2), seed) for seed in range(4)]
    assert all(end == ends[0] for end in ends)
    whole = played_out(study_of(KEEPING.replace("keep = 1.25\n", "")), lambda run: noisy(run, 4e-2), 0)
    spent = [sum(found.observations for found in end.values()) for end in (ends[0], whole)]
    assert spent[0] < 0.75 * spent[1]


FIRST = KEEPING + "seeds_first = true\n"


@pytest.mark.parametrize("best", [1e-2 * 2.0**k for k in (-3, -1, 0, 2)])
def test_all_seeds_run_the_first_rate_before_others_are_tried(
    study_of: Callable[..., Study], best: float
) -> None:
    """And in the end what they would have run without, besides the first rate."""
    spec = study_of(FIRST).spec
    outcomes: dict[str, Outcome] = {}
    order: list[PlannedRun] = []
    limits: dict[str, float] = {}
    while missing := [run for run in plan(spec, outcomes) if run.id not in outcomes]:
        for run in plan(spec, outcomes):
            assert limits.setdefault(run.id, run.config.observations) == run.config.observations
        order.append(missing[0])
        outcomes[missing[0].id] = noisy(missing[0], best)
    first = {num_envs: first_rate(spec, num_envs, 5) for num_envs in spec.num_envs}
    begun = [run for run in order if run.learning_rate == first[run.num_envs]]
    reached = [n for n in spec.num_envs if outcomes[run_id(n, 5, first[n], 1)].crossings[100.0]]
    assert reached
    assert {(run.num_envs, run.seed) for run in begun} >= set(itertools.product(reached, spec.seeds))
    if len(reached) == len(spec.num_envs):
        assert order[: len(begun)] == begun
        assert [run.seed for run in begun[:2]] == [1, 1]
    without = played_out(study_of(KEEPING), lambda run: noisy(run, best), 0)
    assert set(without) <= set(outcomes)
    for name in set(outcomes) - set(without):
        run = next(run for run in order if run.id == name)
        assert run.learning_rate == first[run.num_envs]
        assert run.seed > 1


def test_where_the_first_seed_reached_nothing_its_best_score_alone_is_kept(
    study_of: Callable[..., Study],
) -> None:
    study = study_of(KEEPING)
    outcomes = played_out(study, lambda run: outcome(run, 1e-2, reach=False), 0)
    runs = [run for run in plan(study.spec, outcomes) if run.seed > 1]
    assert [(run.num_envs, run.learning_rate, run.seed) for run in runs] == [
        (n, 1e-2, seed) for n in (4, 64) for seed in (2, 3)
    ]


def test_the_cell_that_is_measured_waits_for_every_seed_it_planned(study_of: Callable[..., Study]) -> None:
    study = study_of(KEEPING + "[correlation]\nenvs = 4\n")
    outcomes = played_out(study, lambda run: noisy(run, 1e-2), 0)
    repeats = [run for run in plan(study.spec, outcomes) if not run.in_grid]
    assert [run.seed for run in repeats] == [1, 2, 3]
    cell = cell_found(study.spec, 4, 5, outcomes)
    assert {run.learning_rate for run in repeats} == {best_rate(cell, study.spec.goals)}
    open_ = [run for run in plan(study.spec, outcomes) if run.num_envs == 4 and run.seed == 3 and run.in_grid]
    del outcomes[open_[-1].id]
    assert all(run.in_grid for run in plan(study.spec, outcomes))
