"""What measuring the noise costs a whole training run: default settings against the same run that never measures.

    python scripts/bench/noise_overhead.py --only "a2c 16x5" --seconds 150 --json scripts/results/noise_overhead.json
    python scripts/bench/noise_overhead.py --summary --json scripts/results/noise_overhead.json

Pong, A2C 16 x 5 and 256 x 5, PPO 8 x 128. Both trainers live in one process and take turns, rollout by rollout, each
going first as often: the machine's speed wanders by a fifth within seconds. Metric rows are taken as often as in a
run. Rounds are added to those already in the file. The cost is the median over rounds of the ratio of the two turns'
times less 1, with its 95 % interval from the order statistics; in wall time, and in processor time of the learner's
process, which leaves out the emulators' processes and so is a share of less.

A default run measures once in so many rollouts, its cadence. Here it measures at every one, and the cost is divided by
that number. `--at-cadence` measures as a default run does, and a turn is that many rollouts: nothing is divided, but
where the cadence is long few turns fit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from scipy.stats import binom

from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer


class Case(NamedTuple):
    """Algorithm and batch."""

    algo: Literal["a2c", "ppo"]
    num_envs: int
    rollout: int


CASES = {"a2c 16x5": Case("a2c", 16, 5), "a2c 256x5": Case("a2c", 256, 5), "ppo 8x128": Case("ppo", 8, 128)}
WARM_UP = 800  # observations
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def race(case: Case, seconds: float, at_cadence: bool) -> dict[str, list[list[float]]]:
    """Clock -> [measuring, not measuring] seconds of each round, for as many rounds as fit."""
    budgets = (None if at_cadence else 1.0, 0.0)
    turn = every(case) if at_cadence else 1
    configs = [resolve(TrainConfig("atari:pong", *case, noise_budget=budget)) for budget in budgets]
    trainers = [Trainer(config) for config in configs]
    every_row = max(1, round(configs[0].log_every / configs[0].batch))
    rounds: dict[str, list[list[float]]] = {name: [] for name in CLOCKS}
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        taken: dict[int, list[float]] = {}
        for i in (0, 1) if number % 2 else (1, 0):
            start = [clock() for clock in CLOCKS.values()]
            for _ in range(turn):
                trainers[i].update()
                if trainers[i].updates % every_row == 0:
                    trainers[i].take_row()
            taken[i] = [clock() - s for clock, s in zip(CLOCKS.values(), start, strict=True)]
        for k, name in enumerate(CLOCKS):
            if number * turn * configs[0].batch >= WARM_UP:
                rounds[name].append([taken[0][k], taken[1][k]])
        number += 1
    for trainer in trainers:
        trainer.close()
    return rounds


def every(case: Case) -> int:
    """Rollouts between measurements in a default run."""
    return resolve(TrainConfig("atari:pong", *case)).noise_cadence


def summary(rounds: list[list[float]], measured_in: int) -> dict[str, float]:
    """Median cost and its 95 % interval, of a run that measures once in so many rollouts."""
    costs = sorted((a / b - 1) / measured_in for a, b in rounds)
    n = len(costs)
    k = max(int(binom.ppf(0.025, n, 0.5)) - 1, 0)
    return {"cost": statistics.median(costs), "low": costs[k], "high": costs[n - 1 - k], "rounds": n}


def main() -> None:
    """Run the cases asked for, and say what all rounds so far amount to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=150, help="per case")
    parser.add_argument("--only", choices=list(CASES), default=None)
    parser.add_argument("--at-cadence", action="store_true", help="measure as often as a default run")
    parser.add_argument("--summary", action="store_true", help="run nothing, only read --json")
    parser.add_argument("--json", type=Path, default=None, help="rounds are added to this file")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    processors = len(os.sched_getaffinity(0))
    if arguments.json is not None and arguments.json.exists():
        found = json.loads(arguments.json.read_text())
    for name, case in CASES.items():
        if arguments.only not in (None, name):
            continue
        key = f"{name} at its cadence" if arguments.at_cadence else name
        row = found.setdefault(key, {"processors": processors, **{c: [] for c in CLOCKS}})
        if not arguments.summary:
            if row["processors"] != processors:
                parser.error(
                    f"{arguments.json} has rounds on {row['processors']} processors, not {processors}"
                )
            for clock, rounds in race(case, arguments.seconds, arguments.at_cadence).items():
                row[clock] += [[round(x, 4) for x in pair] for pair in rounds]
        if row["wall"]:
            row["summary"] = {
                clock: summary(row[clock], 1 if arguments.at_cadence else every(case)) for clock in CLOCKS
            }
            text = [
                f"{s['cost']:.1%} of {clock} time ({s['low']:.1%} to {s['high']:.1%})"
                for clock, s in row["summary"].items()
            ]
            print(f"{key}: {', '.join(text)}, {len(row['wall'])} rounds", flush=True)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
