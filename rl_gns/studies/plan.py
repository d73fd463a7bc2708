"""Which runs a study needs, given what its finished runs say. A pure function: the same results, the same plan.

It must not know who executes the runs. Each cell of the grid (environments x rollout) decides its learning rates
alone, in rounds, so the order in which runs finish does not matter and a killed study goes on the same way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from rl_gns.errors import UserError
from rl_gns.studies.results import Outcome
from rl_gns.studies.spec import StudySpec
from rl_gns.training.config import TrainConfig


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    id: str
    num_envs: int
    rollout: int
    learning_rate: float
    seed: int
    config: TrainConfig

    @property
    def batch(self) -> int:
        """Observations per update."""
        return self.num_envs * self.rollout


def rounded(rate: float) -> float:
    """A learning rate to three digits, so that it can stand in an id."""
    return float(f"{rate:.2e}")


def run_id(num_envs: int, rollout: int, learning_rate: float, seed: int) -> str:
    """E.g. n64-t5-lr7e-4-s1."""
    mantissa, exponent = f"{learning_rate:.2e}".split("e")
    return f"n{num_envs}-t{rollout}-lr{float(mantissa):g}e{int(exponent)}-s{seed}"


def plan(spec: StudySpec, outcomes: Mapping[str, Outcome]) -> list[PlannedRun]:
    """Every run known to be needed so far, smallest environment counts (the slowest runs) first.

    Args:
        outcomes: id -> what that run came to; missing ids are taken as not yet run.

    Raises:
        UserError: two learning rates of the file agree in three digits.
    """
    runs = []
    for num_envs, rollout in itertools.product(spec.num_envs, spec.rollout):
        for rate, seed in itertools.product(cell_rates(spec, num_envs, rollout, outcomes), spec.seeds):
            config = spec.config(num_envs, rollout, rate, seed)
            runs.append(
                PlannedRun(run_id(num_envs, rollout, rate, seed), num_envs, rollout, rate, seed, config)
            )
    return runs


def cell_rates(spec: StudySpec, num_envs: int, rollout: int, outcomes: Mapping[str, Outcome]) -> list[float]:
    """Learning rates of one cell, ascending: the file's list, or the ladder as far as it had to be widened."""
    if spec.learning_rates is not None:
        rates = sorted({rounded(rate) for rate in spec.learning_rates})
        if len(rates) < len(spec.learning_rates):
            raise UserError(
                f"grid.learning_rate: two of {list(spec.learning_rates)} agree in three digits; drop one"
            )
        return rates
    auto = spec.auto
    centre = -auto.exponent * math.log1p(auto.batch / (num_envs * rollout)) / math.log(auto.factor)
    low = round(centre) - (auto.points - 1) // 2
    high = low + auto.points - 1

    def rate_of(step: int) -> float:
        return rounded(auto.rate * auto.factor**step)

    while True:
        rates = [rate_of(step) for step in range(low, high + 1)]
        found = {
            rate: [outcomes.get(run_id(num_envs, rollout, rate, seed)) for seed in spec.seeds]
            for rate in rates
        }
        if any(outcome is None or not outcome.final for cell in found.values() for outcome in cell):
            return rates
        complete = {
            rate: [outcome for outcome in cell if outcome is not None] for rate, cell in found.items()
        }
        down, up = edges(complete, spec.goals)
        room = auto.most - len(rates)
        if room <= 0 or not (down or up):
            return rates
        high += up
        low -= down and (room > 1 or not up)


def edges(cell: Mapping[float, list[Outcome]], goals: tuple[float, ...]) -> tuple[bool, bool]:
    """Whether the best rate is the lowest or the highest tried, for any goal that a run of the cell reached.

    Best is: most seeds reach the goal, then the least geometric mean of their updates. When no run reached any goal,
    the best smoothed score decides.
    """
    rates = sorted(cell)
    down = up = False
    for goal in goals:
        quality = [_speed(cell[rate], goal) for rate in rates]
        if max(quality)[0] > 0:
            best = quality.index(max(quality))
            down, up = down or best == 0, up or best == len(rates) - 1
    if not any(_speed(cell[rate], goal)[0] for rate in rates for goal in goals):
        peaks = [sum(outcome.peak for outcome in cell[rate]) for rate in rates]
        best = peaks.index(max(peaks))
        return best == 0, best == len(rates) - 1
    return down, up


def _speed(outcomes: list[Outcome], goal: float) -> tuple[int, float]:
    reached = [math.log(at) for outcome in outcomes if (at := outcome.crossings.get(goal)) is not None]
    return len(reached), -sum(reached) / max(len(reached), 1)
