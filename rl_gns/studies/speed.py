"""What a study will cost: a short speed measurement of its cells, multiplied out. It starts no run."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from rl_gns.errors import UserError
from rl_gns.studies.local import processors
from rl_gns.studies.plan import SEEDS_DIFFER, PlannedRun, correlation_cell, scouts
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study
from rl_gns.studies.view import clock
from rl_gns.training.config import TrainConfig

MOST_CELLS = 32
START_SECONDS = 0.5
"""A run's own start, from the pool's prepared server."""


def speed(config: TrainConfig, seconds: float = 0.4) -> float:
    """Observations per second of one run with one thread, after an update to warm up."""
    from rl_gns.training.loop import Trainer

    # Random steps before the first rollout are no part of the pace, and with many games they take minutes.
    spread = 0 if config.start_spread else config.start_spread
    trainer = Trainer(dataclasses.replace(config, threads=1, start_spread=spread))
    try:
        trainer.update()
        began, before = time.perf_counter(), trainer.observations
        while time.perf_counter() - began < seconds:
            trainer.update()
        return (trainer.observations - before) / (time.perf_counter() - began)
    finally:
        trainer.close()


def estimate(study: Study, jobs: int | None = None, seconds: float = 0.4, retry_failed: bool = False) -> str:
    """What `--dry-run` prints: every run, and the observations and hours they take at most.

    Speeds are measured for up to 32 cells, one at a time; other cells take that of the nearest batch size. Jobs that
    share caches and memory run somewhat slower than that.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs must be at least 1, got {jobs}")
    jobs = jobs or processors()
    outcomes = study.outcomes()
    over = ("done",) if retry_failed else ("done", "failed")
    runs = [run for run in study.plan(outcomes) if outcomes[run.id].status not in over]
    cells: dict[tuple[int, int], PlannedRun] = {}
    for run in runs:
        cells.setdefault((run.num_envs, run.rollout), run)
    chosen = list(cells)[:: max(1, math.ceil(len(cells) / MOST_CELLS))]
    print(f"measuring the speed of {len(chosen)} cells", file=sys.stderr)
    measured = {cell: speed(cells[cell].config, seconds) for cell in chosen}

    def speed_of(run: PlannedRun) -> float:
        near = min(
            measured,
            key=lambda c: (abs(math.log(c[0] * c[1] / run.batch)), abs(math.log(c[1] / run.rollout))),
        )
        return measured[near]

    left = {run.id: run.config.observations - outcomes[run.id].observations for run in runs}
    cost = sum(left[run.id] / speed_of(run) + START_SECONDS for run in runs)
    longest = max((left[run.id] / speed_of(run) for run in runs), default=0.0)
    table = pd.DataFrame(
        {
            "run": [run.id for run in runs],
            "batch": [run.batch for run in runs],
            "observations": [f"{left[run.id]:,.0f}" for run in runs],
            "SPS": [f"{speed_of(run):,.0f}" for run in runs],
            "time": [clock(left[run.id] / speed_of(run)) for run in runs],
        }
    )
    lines = [table.to_string(index=False)] if runs else []
    lines.append(
        f"{len(runs)} runs, at most {sum(left.values()):,.0f} observations, "
        f"at most {max(cost / jobs, longest) / 3600:.2f} hours with {jobs} job{'s' * (jobs > 1)} (runs stop early at "
        f"score {study.spec.goals[-1]:g})"
    )
    if study.spec.correlation is not None and all(run.in_grid for run in study.plan(outcomes)):
        num_envs, rollout = correlation_cell(study.spec)
        lines.append(
            f"then {len(study.spec.seeds)} runs of {num_envs} environments x {rollout} over again, to measure the "
            "correlation within their rollouts"
        )
    if study.spec.learning_rates is None:
        auto = study.spec.auto
        if auto.patience is None:
            lines.append(
                f"learning rates are widened from {auto.points} to up to {auto.most} per cell where the best is at "
                "an edge"
            )
        else:
            lines.append(
                f"each cell begins with one rate; {auto.points - 1} to {auto.most - 1} more follow, each given "
                f"up at {auto.patience:g} times what the best before it took to score {study.spec.goals[-1]:g}"
            )
        own = {run.id: left[run.id] / speed_of(run) + START_SECONDS for run in runs}
        more = _to_follow(study, outcomes, cells, speed_of, own)
        hours = max((cost + more.seconds) / jobs, more.chain, longest) / 3600
        lines.append(
            f"with those that may follow in these cells {len(runs) + more.runs} runs, at most "
            f"{sum(left.values()) + more.observations:,.0f} observations and {hours:.2f} hours"
        )
        if auto.keep is not None and len(study.spec.seeds) > 1:
            lines.append(
                f"seed {study.spec.seeds[0]} tries them all; each of the other {len(study.spec.seeds) - 1} runs those "
                f"within {auto.keep:g} times its best's updates, once it is through with a cell"
                + (", and a cell's first rate before that" if auto.seeds_first else "")
            )
    return "\n".join(lines)


class Following(NamedTuple):
    """Runs that a study's learning rates may still add, at most."""

    runs: int
    observations: float
    seconds: float
    """Of them all, one after the other."""
    chain: float
    """Seconds of the longest cell, however many jobs there are: its rates follow one another."""


def _to_follow(
    study: Study,
    outcomes: Mapping[str, Outcome],
    cells: Mapping[tuple[int, int], PlannedRun],
    speed_of: Callable[[PlannedRun], float],
    own: Mapping[str, float],
) -> Following:
    """Runs that unfinished cells may still add to the plan; `own` are the seconds of those that are in it, by id."""
    plan, goal = study.plan(outcomes), study.spec.goals[-1]
    planned = Counter((run.num_envs, run.rollout, run.seed) for run in plan if run.in_grid)
    count, observations, seconds, longest = 0, 0.0, 0.0, 0.0
    for (num_envs, rollout), run in cells.items():
        budget = study.spec.budget(run.batch)
        cell = [other for other in plan if (other.num_envs, other.rollout) == (num_envs, rollout)]
        known = [other.config.observations for other in cell]
        first = [outcomes[other.id] for other in cell if other.seed in scouts(study.spec)]
        reached = [outcome.crossings.get(goal) or math.inf for outcome in first]
        patient = study.spec.auto.patience is not None
        chain, others = 0.0, 0.0
        later = min(budget, SEEDS_DIFFER * min(reached, default=math.inf)) if patient else budget
        for seed in study.spec.seeds:
            more = max(0, study.spec.auto.most - planned[num_envs, rollout, seed])
            most = min(budget, *known) if seed in scouts(study.spec) else later
            count += more
            observations += more * most
            each = most / speed_of(run) + START_SECONDS
            seconds += more * each
            there = [own[other.id] for other in cell if other.seed == seed and other.id in own]
            if seed in scouts(study.spec):
                # A rate's patience is what the one before took, and a wider one waits for the edge to be known.
                chain = max(chain, (sum(there) if patient else max(there, default=0.0)) + more * each)
            elif more or there:
                others = max(others, each, *there)
        longest = max(longest, chain + others)
    return Following(count, observations, seconds, longest)
