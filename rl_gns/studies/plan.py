"""Which runs a study needs, given what its finished runs say. A pure function: the same results, the same plan.

It must not know who executes the runs. Each cell of the grid (environments x rollout) decides its learning rates
alone, in rounds, so the order in which runs finish does not matter and a killed study goes on the same way.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rl_gns.errors import UserError
from rl_gns.studies.results import Outcome
from rl_gns.studies.spec import Auto, StudySpec
from rl_gns.training.config import TrainConfig

PARTS = "policy,value,total"
"""Terms of the loss whose noise scale is measured apart with the correlation: they may be far apart."""


SEEDS_DIFFER = 4.0
"""A seed that needs more than so many times what the first one did is a bound there: at the rate that was best for one
seed another can be stuck, and would use up the whole budget."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    id: str
    num_envs: int
    rollout: int
    learning_rate: float
    seed: int
    config: TrainConfig
    """Its observations are less than the study's budget where other rates have shown that less will do."""
    in_grid: bool = True
    """False: it repeats a run of the grid to measure the correlation within its rollouts."""

    @property
    def batch(self) -> int:
        """Observations per update."""
        return self.config.batch


def rounded(rate: float) -> float:
    """A learning rate to three digits, so that it can stand in an id."""
    return float(f"{rate:.2e}")


def run_id(num_envs: int, rollout: int, learning_rate: float, seed: int) -> str:
    """E.g. n64-t5-lr7e-4-s1."""
    mantissa, exponent = f"{learning_rate:.2e}".split("e")
    return f"n{num_envs}-t{rollout}-lr{float(mantissa):g}e{int(exponent)}-s{seed}"


def plan(spec: StudySpec, outcomes: Mapping[str, Outcome]) -> list[PlannedRun]:
    """Every run known to be needed so far, smallest environment counts (the slowest runs) first.

    With `auto.keep` the first seed's come before all others': a front of one seed is early, and the rest narrows it.
    With `auto.seeds_first` each cell's first rate comes before all others: a front of all seeds is early.

    Args:
        outcomes: id -> what that run came to; missing ids are taken as not yet run.

    Raises:
        UserError: two learning rates of the file agree in three digits.
    """
    runs = []
    for num_envs, rollout in spec.cells:
        for (rate, seed), limit in cell_runs(spec, num_envs, rollout, outcomes).items():
            config = spec.config(num_envs, rollout, rate, seed)
            config = dataclasses.replace(config, observations=min(config.observations, limit))
            name = run_id(num_envs, rollout, rate, seed)
            runs.append(PlannedRun(name, num_envs, rollout, rate, seed, config))

    def later(run: PlannedRun) -> tuple[bool, bool]:
        after = spec.auto.seeds_first and run.learning_rate != first_rate(spec, run.num_envs, run.rollout)
        return after, run.seed not in scouts(spec)

    runs.sort(key=later)
    return runs + correlation_runs(spec, outcomes)


def correlation_cell(spec: StudySpec) -> tuple[int, int]:
    """(environments, rollout) of the cell whose correlation within rollouts is measured.

    The longest rollout, from which all shorter ones can be read without extrapolating, and the median count of
    environments of those above 1 (the lower of two), or 1. The rule looks at no result.
    """
    counts = [count for count, rollout in spec.cells if rollout == spec.rollout[-1] and count > 1]
    return counts[(len(counts) - 1) // 2] if counts else 1, spec.rollout[-1]


def correlation_runs(spec: StudySpec, outcomes: Mapping[str, Outcome]) -> list[PlannedRun]:
    """The measured cell's best learning rate once more, for every seed; empty until that cell is finished.

    Measuring changes nothing of the training, so these runs are those of the grid over again.
    """
    if spec.correlation is None:
        return []
    num_envs, rollout = correlation_cell(spec)
    cell = cell_found(spec, num_envs, rollout, outcomes)
    if not all(outcome.final for found in cell.values() for outcome in found):
        return []
    best = best_rate(cell, spec.goals)
    runs = []
    for seed in spec.seeds:
        config = spec.config(num_envs, rollout, best, seed)
        config = dataclasses.replace(
            config,
            correlation_every=spec.correlation.every,
            correlation_envs=min(spec.correlation.envs, num_envs),
            noise_parts=config.noise_parts or PARTS,
            noise_parts_every=spec.correlation.every,
        )
        name = run_id(num_envs, rollout, best, seed) + "-corr"
        runs.append(PlannedRun(name, num_envs, rollout, best, seed, config, in_grid=False))
    return runs


def best_rate(cell: Mapping[float, list[Outcome]], goals: tuple[float, ...]) -> float:
    """The rate at which most seeds reached the hardest goal that any reached, fastest of equals; else the best peak."""
    rates = sorted(cell)
    for goal in reversed(goals):
        quality = [_speed(cell[rate], goal) for rate in rates]
        if max(quality)[0] > 0:
            return rates[quality.index(max(quality))]
    peaks = [sum(outcome.peak for outcome in cell[rate]) for rate in rates]
    return rates[peaks.index(max(peaks))]


def cell_runs(
    spec: StudySpec, num_envs: int, rollout: int, outcomes: Mapping[str, Outcome]
) -> dict[tuple[float, int], float]:
    """(learning rate, seed) of one cell -> observations after which that run is given up (inf: never).

    Every seed runs the whole ladder, or, with `auto.keep`, the first seed alone: once it is through, the others run
    the rates that `kept_rates` leaves, and with `auto.seeds_first` the ladder's first rate as soon as the first seed
    has reached the last goal there. With `auto.patience` each seed gives up the first of them at `SEEDS_DIFFER`
    times what the first seed needed, and the rest at `patience` times what that one took.
    """
    ladder = cell_rates(spec, num_envs, rollout, outcomes)
    runs = {(rate, seed): limit for (rate, limit), seed in itertools.product(ladder.items(), scouts(spec))}
    if spec.auto.keep is None or scouts(spec) == spec.seeds:
        return runs
    goal = spec.goals[-1]
    if spec.auto.seeds_first:
        centre = first_rate(spec, num_envs, rollout)
        begun = cell_outcomes(spec, num_envs, rollout, [centre], outcomes)
        if begun is not None and needed(begun, goal) < math.inf:
            limit = SEEDS_DIFFER * needed(begun, goal)
            runs |= {(centre, seed): limit for seed in spec.seeds if seed not in scouts(spec)}
    cell = cell_outcomes(spec, num_envs, rollout, ladder, outcomes)
    if cell is None:
        return runs
    first, *others = kept_rates(cell, spec.goals, spec.auto.keep)
    most = math.inf if spec.auto.patience is None else SEEDS_DIFFER * needed(cell, goal)
    for seed in (seed for seed in spec.seeds if seed not in scouts(spec)):
        limit = runs.setdefault((first, seed), most)
        if spec.auto.patience is not None:
            found = outcomes.get(run_id(num_envs, rollout, first, seed))
            if found is None or not found.final:
                continue
            limit = min(most, spec.auto.patience * needed({first: [found]}, goal))
        for rate in others:
            runs.setdefault((rate, seed), limit)
    return runs


def cell_found(
    spec: StudySpec, num_envs: int, rollout: int, outcomes: Mapping[str, Outcome]
) -> dict[float, list[Outcome]]:
    """Learning rate -> what its runs planned so far came to, those not begun as pending."""
    cell: dict[float, list[Outcome]] = {}
    for rate, seed in cell_runs(spec, num_envs, rollout, outcomes):
        found = outcomes.get(run_id(num_envs, rollout, rate, seed), Outcome("pending"))
        cell.setdefault(rate, []).append(found)
    return cell


def scouts(spec: StudySpec) -> tuple[int, ...]:
    """The seeds that decide which learning rates a cell needs."""
    return spec.seeds if spec.auto.keep is None or spec.learning_rates is not None else spec.seeds[:1]


def kept_rates(cell: Mapping[float, list[Outcome]], goals: tuple[float, ...], keep: float) -> list[float]:
    """The rates worth another seed: the best first, then those within `keep` of the best at some goal, ascending."""
    best = best_rate(cell, goals)
    kept = set()
    for goal in goals:
        quality = {rate: _speed(found, goal) for rate, found in cell.items()}
        most, least = max(quality.values())
        if most > 0:
            kept |= {
                rate for rate, (n, speed) in quality.items() if n == most and least - speed <= math.log(keep)
            }
    return [best, *sorted(kept - {best})]


def cell_rates(
    spec: StudySpec, num_envs: int, rollout: int, outcomes: Mapping[str, Outcome]
) -> dict[float, float]:
    """Learning rates of one cell, ascending, each with the observations after which it is given up (inf: never).

    The file's list, or the ladder as far as it had to be widened. With `auto.patience` the ladder begins with one
    rate, and a rate tried after it is given up at so many times what the best of those before it took. With
    `auto.keep` this is the ladder of the first seed.
    """
    if spec.learning_rates is not None:
        rates = sorted({rounded(rate) for rate in spec.learning_rates})
        if len(rates) < len(spec.learning_rates):
            raise UserError(
                f"grid.learning_rate: two of {list(spec.learning_rates)} agree in three digits; drop one"
            )
        return dict.fromkeys(rates, math.inf)
    auto, centre = spec.auto, _centre(spec.auto, num_envs * rollout)
    low = centre - (auto.points - 1) // 2
    high = low + auto.points - 1
    limits: dict[float, float] = {}
    limit = math.inf
    if auto.patience is not None:
        limits = {rung(auto, centre): math.inf}
        first = cell_outcomes(spec, num_envs, rollout, limits, outcomes)
        if first is None:
            return limits
        limit = auto.patience * needed(first, spec.goals[-1])
    while True:
        rates = [rung(auto, step) for step in range(low, high + 1)]
        limits = {rate: limits.get(rate, limit) for rate in rates}
        complete = cell_outcomes(spec, num_envs, rollout, rates, outcomes)
        if complete is None:
            return limits
        if auto.patience is not None:
            limit = auto.patience * needed(complete, spec.goals[-1])
        down, up = edges(complete, spec.goals)
        room = auto.most - len(rates)
        if room <= 0 or not (down or up):
            return limits
        high += up
        low -= down and (room > 1 or not up)


def _centre(auto: Auto, batch: int) -> int:
    """The step of the ladder nearest to ε*/(1 + B*/B)^a."""
    return round(-auto.exponent * math.log1p(auto.batch / batch) / math.log(auto.factor))


def first_rate(spec: StudySpec, num_envs: int, rollout: int) -> float:
    """The rate in the middle of a cell's ladder, with which it begins under `auto.patience`."""
    return rung(spec.auto, _centre(spec.auto, num_envs * rollout))


def rung(auto: Auto, step: int) -> float:
    """Learning rate number `step` of the ladder; 0 is `auto.rate`."""
    return rounded(auto.rate * auto.factor**step)


def cell_outcomes(
    spec: StudySpec, num_envs: int, rollout: int, rates: Iterable[float], outcomes: Mapping[str, Outcome]
) -> dict[float, list[Outcome]] | None:
    """Rate -> what the seeds that decide came to; None while one of them has still to run."""
    found: dict[float, list[Outcome]] = {}
    for rate in rates:
        cell = [outcomes.get(run_id(num_envs, rollout, rate, seed)) for seed in scouts(spec)]
        found[rate] = [outcome for outcome in cell if outcome is not None and outcome.final]
        if len(found[rate]) < len(cell):
            return None
    return found


def needed(cell: Mapping[float, list[Outcome]], goal: float) -> float:
    """Observations after which, at the best rate, every seed had reached the goal; inf where at none all did."""
    return min(max(outcome.crossings.get(goal) or math.inf for outcome in found) for found in cell.values())


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
        best = rates.index(best_rate(cell, goals))
        return best == 0, best == len(rates) - 1
    return down, up


def _speed(outcomes: list[Outcome], goal: float) -> tuple[int, float]:
    reached = [math.log(at) for outcome in outcomes if (at := outcome.crossings.get(goal)) is not None]
    return len(reached), -sum(reached) / max(len(reached), 1)
