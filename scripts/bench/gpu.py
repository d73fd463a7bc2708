"""The whole check of a GPU in one command of under ten minutes: right, exact, fast, and does it learn Pong.

    python scripts/bench/gpu.py --json gpu.json
    python scripts/bench/gpu.py --device cpu --tiny       # every part for a moment, without a GPU

1. Correctness against the CPU and exact resume (`gpu_checks.py`), three checks at once where there are processors.
2. Speed: A2C (5 steps) and PPO (128 steps, 4 epochs) at 8, 256 and 1024 environments, by default and with what may be
   switched on, by turns with the emulators alone, their observations on the same device; shares are of that rate.
3. PPO on Pong until the mean of the last 100 games is 19: wall time and observations, or how far it came.

`--parts checks` runs one of the three; what the JSON file holds of the others is kept. Results are written after every
part; a part that fails says so and the others go on. Exit code 1 if any check failed.
Without a GPU it says so, measures nothing and ends with 0.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from gpu_checks import checks

import envs
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

PONG: dict[str, Any] = {
    **{"env": "atari:pong", "algo": "ppo", "num_envs": 64, "rollout": 32, "epochs": 4, "minibatches": 4},
    **{"learning_rate": 4e-4, "clip": 0.2, "overlap": "learn"},
}
"""Settings for few minutes rather than few observations: minibatches of 512, the next rollout played meanwhile."""
LEARN: dict[str, Any] = {"overlap": "learn"}
OPTIONS: dict[str, dict[str, Any]] = {
    **{"default": {}, "act": {"overlap": "act"}, "learn": LEARN, "compile": {"compile": True}},
    **{"learn+bf16": {**LEARN, "precision": "bf16"}, "learn+graph": {**LEARN, "graph_update": True}},
}
ROWS: dict[int, dict[str, tuple[str, ...]]] = {
    8: {"a2c": ("default", "learn"), "ppo": ("default", "act", "learn")},
    256: {"a2c": ("default", "act", "learn"), "ppo": ("default", "act", "learn", "compile", "learn+bf16")},
    1024: {"a2c": ("default", "learn"), "ppo": ("learn",)},
    16: {
        "ppo": ("learn", "learn+graph")
    },  # last: a graph that can't be captured might spoil what comes after
}
"""Options by the number of environments and algorithm: what ten minutes hold."""
TINY: dict[int, dict[str, tuple[str, ...]]] = {
    2: {"a2c": ("default",)},
    4: {"a2c": ("act", "learn"), "ppo": ("default", "act", "learn", "compile", "learn+bf16")},
}
PARTS = ("checks", "speed", "pong")


class Emulation:
    """The environments alone under random actions, observations on the device: what training is a share of."""

    def __init__(self, num_envs: int, device: str) -> None:
        self.env = envs.make("atari:pong", num_envs, device, seed=1)
        self.env.reset()
        self._actions = torch.randint(0, 6, (64, num_envs), device=device)

    def rate(self, seconds: float) -> float:
        """SPS over about so many seconds."""
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds or not steps:
            for _ in range(4):
                self.env.step(self._actions[steps % len(self._actions)])
                steps += 1
            wait_for(self.env.device)
        return steps * self.env.num_envs / (time.perf_counter() - start)


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training(config: TrainConfig, alone: Emulation, seconds: float) -> dict[str, Any]:
    """Training and emulation alone by turns: SPS, shares of the latter, the phases' shares, peak memory in GiB."""
    on_gpu = config.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(resolve(config))
    rates: list[float] = []
    emulated: list[float] = []
    try:
        for _ in range(2 if trainer.config.batch < 50_000 else 1):
            trainer.update()
        trainer.seconds = dict.fromkeys(trainer.seconds, 0.0)
        spent = 0.0
        while spent < seconds or len(rates) < 2:
            start, before = time.perf_counter(), trainer.observations
            while time.perf_counter() - start < seconds / 4:
                trainer.update()
            wait_for(trainer.device)
            rates.append((trainer.observations - before) / (time.perf_counter() - start))
            spent += time.perf_counter() - start
            emulated.append(alone.rate(seconds / 8))
        phases = {name: value / spent for name, value in trainer.seconds.items()}
    finally:
        trainer.close()
        torch.compiler.reset()
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    shares = [mine / other for mine, other in zip(rates, emulated, strict=True)]
    return {
        **{"sps": statistics.median(rates), "low": min(rates), "high": max(rates)},
        **{"emulation": statistics.median(emulated), "share": statistics.median(shares)},
        **{"share_low": min(shares), "share_high": max(shares), "phases": phases, "device_gib": memory},
    }


def speed_rows(device: str, tiny: bool, seconds: float, keep: Callable[[Any], None]) -> list[dict[str, Any]]:
    """One row per environment count, algorithm and options; a row that fails holds its error."""
    rows: list[dict[str, Any]] = []
    for num_envs, by_algo in (TINY if tiny else ROWS).items():
        alone = Emulation(num_envs, device)
        try:
            for algo, names in by_algo.items():
                rollout = 5 if algo == "a2c" else 8 if tiny else 128
                for name in names:
                    size: dict[str, Any] = {"algo": algo, "num_envs": num_envs, "rollout": rollout}
                    config = TrainConfig(**size, **OPTIONS[name], env="atari:pong", device=device)
                    found = attempt(functools.partial(training, config, alone, seconds))
                    rows.append({**size, "options": name, **found})
                    print(
                        f"{algo:4}{num_envs:5d} x {rollout:3d} {name:10}: {said_of_row(rows[-1])}", flush=True
                    )
                    keep(rows)
        finally:
            alone.env.close()
    return rows


def said_of_row(row: dict[str, Any]) -> str:
    """A row of the speed table in a line."""
    if "error" in row:
        return f"failed: {row['error']}"
    phases = ", ".join(f"{name} {share:.0%}" for name, share in row["phases"].items())
    return (
        f"{row['sps']:7,.0f} SPS ({row['low']:,.0f}-{row['high']:,.0f}), {row['share']:.0%} "
        f"({row['share_low']:.0%}-{row['share_high']:.0%}) of {row['emulation']:,.0f}; {phases}"
    )


def pong(device: str, goal: float, seconds: float, tiny: bool) -> dict[str, Any]:
    """Train until the mean of the last 100 games reaches `goal` or the time is over."""
    settings = {**PONG, **({"num_envs": 4, "rollout": 8} if tiny else {})}
    trainer = Trainer(resolve(TrainConfig(**settings, device=device)))
    start, curve, reached, shown = time.perf_counter(), [], False, 0.0
    try:
        while not reached and time.perf_counter() - start < seconds:
            trainer.update()
            trainer.take_row()
            now = time.perf_counter() - start
            reached = len(trainer.tally.recent) == (1 if tiny else 100) and trainer.tally.score >= goal
            if trainer.tally.recent and (now - shown > 10 or reached):
                shown = now
                curve.append(
                    {"seconds": now, "observations": trainer.observations, "score": trainer.tally.score}
                )
                print(
                    f"pong: {now:4.0f} s, {trainer.observations:,} observations, score {trainer.tally.score:.1f}",
                    flush=True,
                )
    finally:
        trainer.close()
    if not trainer.tally.recent:
        raise RuntimeError(f"no game of Pong ended within {seconds:.0f} s")
    return {
        "goal": goal,
        "reached": reached,
        "seconds": time.perf_counter() - start,
        "observations": trainer.observations,
        "score": trainer.tally.score,
        "curve": curve,
        "settings": settings,
    }


def checked(name: str, device: str, tiny: bool) -> dict[str, Any]:
    """What one check finds, and how long it took."""
    start = time.perf_counter()
    row = attempt(checks(device, tiny)[name])
    return {**row, "seconds": time.perf_counter() - start}


def all_checks(device: str, tiny: bool, keep: Callable[[Any], None]) -> dict[str, dict[str, Any]]:
    """Every check by name, up to three at once: a process takes longer to begin with a GPU than most checks take."""
    names = list(checks(device, tiny))
    jobs = max(1, min(3, len(os.sched_getaffinity(0)) // 4))
    found = {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(checked, name, device, tiny): name for name in names}
        for future in as_completed(running):
            row = future.result()
            found[running[future]] = row
            details = ", ".join(
                f"{key} {value}" for key, value in row.items() if key not in ("ok", "seconds")
            )
            verdict = "as it should be" if row["ok"] else "WRONG"
            print(f"{running[future]}: {verdict} ({details}; {row['seconds']:.0f} s)", flush=True)
            keep(found)
    return found


def attempt(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `part` finds, or its error in one line: the other parts are worth having."""
    try:
        return part()
    except Exception as error:
        traceback.print_exc()
        return {"ok": False, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def main() -> None:
    """Run all parts within the time given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="every part for a moment, to see that it runs")
    parser.add_argument("--minutes", type=float, default=9.5, help="the Pong run takes what the others leave")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each row of the speed table")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("no GPU here (torch.cuda.is_available() is False): nothing was measured")
        return
    end = time.perf_counter() + 60 * options.minutes
    machine = {
        "gpu": torch.cuda.get_device_name() if options.device != "cpu" else "none",
        "processors": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "system": platform.platform(),
    }
    result: dict[str, Any] = {}
    if options.json is not None and options.json.exists():
        result = json.loads(options.json.read_text())

    def keep(part: str, found: Any) -> None:
        result[part] = found
        result.setdefault("machine", {})[part] = machine
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")

    failed: list[str] = []
    if "checks" in options.parts:
        all_checks(options.device, options.tiny, lambda rows: keep("checks", rows))
        failed += [name for name, row in result["checks"].items() if not row["ok"]]
    if "speed" in options.parts:
        seconds = 0.2 if options.tiny else options.seconds
        speed_rows(options.device, options.tiny, seconds, lambda rows: keep("speed", rows))
        failed += [f"speed {row['algo']} {row['num_envs']}" for row in result["speed"] if "error" in row]
    if "pong" in options.parts:
        # Also a tiny run plays until a game is over, some 800 decisions.
        left = 60.0 if options.tiny else end - time.perf_counter() - 10
        goal = -30.0 if options.tiny else 19.0
        keep("pong", attempt(lambda: pong(options.device, goal, left, options.tiny)))
        failed += ["pong"] if "error" in result["pong"] else []
        print(said_of(result["pong"]))
    print(f"failed: {', '.join(failed)}" if failed else "every check passed")
    sys.exit(1 if failed else 0)


def said_of(found: dict[str, Any]) -> str:
    """The Pong run in a line."""
    if "error" in found:
        return f"pong failed: {found['error']}"
    goal = f"{found['goal']:g}"
    what = f"reached {goal}" if found["reached"] else f"got to {found['score']:.1f}, not to {goal},"
    return f"pong {what} in {found['seconds']:.0f} s and {found['observations']:,} observations"


if __name__ == "__main__":
    main()
