"""This project against Stable-Baselines3: same game, network, protocol, settings.

    python scripts/bench/train_speed.py                    # a table
    python scripts/bench/train_speed.py --json speed.json  # and the numbers
    python scripts/bench/train_speed.py --only ppo --precision bf16   # ours with a bfloat16 torso

All contenders live in one process tree and take turns, round after round, so that a machine whose speed drifts slows
them alike; who trains does so in a process of its own, since a run changes how its process keeps memory. Printed: the
median observations per second, its range, and the median of the ratios round by round. Our runs measure the noise scale
as they do by default; SB3 measures nothing. SB3 runs both with its games in one process and with a process for each;
the ratio is to the faster of the two. "limit" is what the machine allows at
that moment (`limits.py`), raced with the others.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as `import rl_gns` does, for all contenders

import torch
from arguments import at_least_one, machine
from limits import said, share
from side_by_side import enter

from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

GAME = "pong"
Turn = Callable[[], float]
"""Returns the observations per second."""
Entered = tuple[Turn, Callable[[], None]]
"""A contender's turn, and what closes it."""


def rated(turn: Callable[[], int]) -> Turn:
    """Of a turn that returns the observations it took."""

    def timed() -> float:
        start = time.perf_counter()
        return turn() / (time.perf_counter() - start)

    return timed


def ours(algo: str, num_envs: int, rollout: int, updates: int, **options: Any) -> Entered:
    """A turn of `updates` rollouts with our trainer, in this process."""
    config = TrainConfig(env="atari:pong", algo=algo, num_envs=num_envs, rollout=rollout, **options)  # type: ignore[arg-type]
    trainer = Trainer(resolve(config))

    def turn() -> int:
        for _ in range(updates):
            trainer.update()
        trainer.take_row()
        return updates * num_envs * rollout

    return rated(turn), trainer.close


def one_of(name: str, *of: Any) -> Entered:
    """Of contenders in processes of their own (`side_by_side.enter`)."""
    contender = enter(name, *of)
    return contender.turn, contender.close


def race(name: str, contenders: Mapping[str, Callable[[], Entered]], rounds: int) -> dict[str, Any]:
    """Let them enter and alternate `rounds` turns after one warm-up each; the first contender is ours."""
    rates: dict[str, list[float]] = {key: [] for key in contenders}
    turns: dict[str, Turn] = {}
    with contextlib.ExitStack() as entered:
        for key, contender in contenders.items():
            turns[key], close = contender()
            entered.callback(close)
        for number in range(rounds + 1):
            for key in list(turns)[:: 1 if number % 2 else -1]:  # nobody always goes first
                rate = turns[key]()
                if number:
                    rates[key].append(rate)
    us, *peers = (key for key in contenders if key != "limit")
    medians = {key: statistics.median(values) for key, values in rates.items()}
    best = max(peers, key=lambda key: medians[key])
    ratios = [a / b for a, b in zip(rates[us], rates[best], strict=True)]
    row = {
        "name": name,
        "rates": rates,
        "medians": medians,
        "best_peer": best,
        "ratio": statistics.median(ratios),
    }
    spread = {key: f"{medians[key]:6,.0f} ({min(v):,.0f}-{max(v):,.0f})" for key, v in rates.items()}
    cells = "  ".join(f"{key} {cell}" for key, cell in spread.items())
    print(
        f"{name:22s} {cells}  ratio to {best}: {row['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )
    if "limit" in rates:
        row["share_of_limit"] = share(rates[us], rates["limit"])
        print(f"{'':22s} {us}: {said(row['share_of_limit'])}", flush=True)
    return row


def main() -> None:
    """Run the races asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--only", choices=["a2c", "ppo"], default=None)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="of ours")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rows, ours_alone = [], {"precision": arguments.precision}
    for algo, num_envs, rollout, updates in (("a2c", 16, 5, 40), ("ppo", 8, 128, 12)):
        if arguments.only in (None, algo):
            title = f"{algo} {num_envs}x{rollout}" + " bf16" * (arguments.precision == "bf16")
            of = (algo, GAME, Path(), (num_envs, rollout), updates, ours_alone)
            contenders = {
                name: functools.partial(one_of, name, *of) for name in ("ours", "sb3", "sb3-subproc", "limit")
            }
            rows.append(race(title, contenders, arguments.rounds))
    if arguments.json is not None:
        facts = {**machine(), "torch": torch.__version__}
        arguments.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
