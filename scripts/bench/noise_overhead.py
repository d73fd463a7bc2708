"""What measuring the noise costs a whole training run: default settings against the same run that never measures.

    python scripts/bench/noise_overhead.py [--rounds 15] [--json overhead.json]

Pong, A2C 16 x 5 and 256 x 5, PPO 8 x 128 over whole measuring cycles. Both trainers live in one process and take
turns; printed are medians and the median of the cost round by round, with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from train_speed import ours, race

from rl_gns.training.config import TrainConfig, resolve

CASES = {"a2c 16x5": ("a2c", 16, 5, 40), "a2c 256x5": ("a2c", 256, 5, 3), "ppo 8x128": ("ppo", 8, 128, None)}


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=list(CASES), default=None)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, (algo, num_envs, rollout, updates) in CASES.items():
        if arguments.only not in (None, name):
            continue
        # A whole cycle of PPO's cadence a turn, so that every turn of the measuring run measures exactly once.
        cycle = updates or resolve(TrainConfig(algo=algo)).noise_cadence  # type: ignore[arg-type]
        rounds = arguments.rounds if updates else max(3, arguments.rounds // 3)
        contenders = {
            "measuring": ours(algo, num_envs, rollout, cycle),
            "not measuring": ours(algo, num_envs, rollout, cycle, noise_budget=0.0),
        }
        row = race(name, contenders, rounds)
        costs = [
            b / a - 1 for a, b in zip(row["rates"]["measuring"], row["rates"]["not measuring"], strict=True)
        ]
        quartiles = statistics.quantiles(costs, n=4)
        row["cost"] = statistics.median(costs)
        print(
            f"{name}: measuring costs {row['cost']:.1%} (quartiles {quartiles[0]:.1%} to {quartiles[2]:.1%})"
        )
        rows.append(row)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
