"""What each gain of speed gains: this project against itself without it, turn about.

    python scripts/bench/gains.py [--only memory recall] [--rounds 7] [--json gains.json]

recall: A2C keeps the forward pass it acted with. memory: freed memory stays in the process. pictures: planes are
converted channel by channel. rmsprop: one pass over the weights. rest: torch's threads sleep while games are emulated.
Each contender is a process of its own on Pong with default settings (PPO's turns are one update each, so only
its warm-up measures the noise); learning alone is timed too, and page faults are counted. Results are merged
into --json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from arguments import at_least_one
from side_by_side import Contender

CASES = {
    "recall, a2c 16x5": ("recall", "a2c", 16, 5, 30),
    "pictures, a2c 16x5": ("pictures", "a2c", 16, 5, 30),
    "rmsprop, a2c 16x5": ("rmsprop", "a2c", 16, 5, 30),
    "rest, a2c 16x5": ("rest", "a2c", 16, 5, 30),
    "memory, a2c 16x5": ("memory", "a2c", 16, 5, 30),
    "memory, a2c 256x5": ("memory", "a2c", 256, 5, 3),
    "memory, ppo 8x128": ("memory", "ppo", 8, 128, 1),
    "memory, ppo 64x32": ("memory", "ppo", 64, 32, 1),
    "pictures, ppo 8x128": ("pictures", "ppo", 8, 128, 1),
}


def race(case: str, rounds: int) -> dict[str, Any]:
    """Rates, learning seconds and page faults of an update, with and without, round by round after a warm-up."""
    gain, algo, num_envs, rollout, updates = CASES[case]
    common = {"algo": algo, "num_envs": num_envs, "rollout": rollout, "game": "pong", "updates": updates}
    found: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    entered: dict[str, Contender] = {}
    try:
        for name, without in (("with", []), ("without", [gain])):
            entered[name] = Contender(sys.executable, "run_ours.py", without=without, **common)
        for number in range(rounds + 1):
            for name in list(entered)[:: 1 if number % 2 else -1]:
                rate = entered[name].turn()
                if number:
                    found[name].append({"rate": rate, **entered[name].said})
    finally:
        for one in entered.values():
            one.close()
    return {"gain": gain, "size": f"{algo} {num_envs}x{rollout}", "rounds": found}


def text(case: str, row: dict[str, Any]) -> str:
    """One line for people."""
    with_, without = row["rounds"]["with"], row["rounds"]["without"]
    ratios = [a["rate"] / b["rate"] for a, b in zip(with_, without, strict=True)]

    def middle(rows: list[dict[str, float]], name: str) -> float:
        return statistics.median(one[name] for one in rows)

    return (
        f"{case:22} {middle(without, 'rate'):6,.0f} -> {middle(with_, 'rate'):6,.0f} SPS, "
        f"{statistics.median(ratios):.2f} times ({min(ratios):.2f}-{max(ratios):.2f}); an update's learning "
        f"{1e3 * middle(without, 'learn'):,.0f} -> {1e3 * middle(with_, 'learn'):,.0f} ms, page faults "
        f"{middle(without, 'faults'):,.0f} -> {middle(with_, 'faults'):,.0f}"
    )


def main() -> None:
    """Race every gain that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted({gain for gain, *_ in CASES.values()})
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    if options.json is not None and options.json.exists():
        rows = json.loads(options.json.read_text())
    for case, (gain, *_) in CASES.items():
        if gain in options.only:
            rows[case] = race(case, options.rounds)
            print(text(case, rows[case]), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
