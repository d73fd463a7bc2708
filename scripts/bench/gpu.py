"""The whole check of a GPU in one command of under ten minutes: right, exact, fast, and does it learn Pong.

    python scripts/bench/gpu.py --json gpu.json
    python scripts/bench/gpu.py --device cpu --tiny       # every part for a moment, without a GPU

1. Correctness against the CPU and exact resume (`gpu_checks.py`), several checks at once where there are processors.
2. Speed: A2C (5 steps) and PPO (128 steps, 4 epochs) at 8, 256 and 1024 environments, by default, with one half of the
   games emulated while the policy acts on the other, with everything that may be switched on, and at 256 with each of
   it, against what the emulators alone bring with observations on the same device. "Share" is of that rate.
3. PPO on Pong until the mean of the last 100 games is 19: wall time and observations, or how far it came.

`--parts checks` runs one of the three; what the JSON file holds of the others is kept. Results are written after every
part; a part that fails says so and the others go on. Exit code 1 if any check failed.
Without a GPU it says so, measures nothing and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from gpu_checks import checks

import envs
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

PONG: dict[str, Any] = {
    **{"env": "atari:pong", "algo": "ppo", "num_envs": 64, "rollout": 128, "epochs": 3, "minibatches": 4},
    **{"learning_rate": 5e-4, "clip": 0.2},
}
"""Settings for few minutes rather than few observations: batch 8192, minibatches of 2048."""
BF16: dict[str, Any] = {"precision": "bf16"}
LEARN: dict[str, Any] = {"overlap": "learn"}
ACT: dict[str, Any] = {"overlap": "act"}
COMPILE: dict[str, Any] = {"compile": True}
OPTIONS: dict[str, dict[str, Any]] = {
    **{"default": {}, "act": ACT, "bf16": BF16, "learn": LEARN, "compile": COMPILE},
    "all": {**BF16, **LEARN, **COMPILE},
}
PARTS = ("checks", "speed", "pong")
FEW = ("default", "act", "all")
"""Options that are measured at every size."""


def emulation(num_envs: int, device: str, seconds: float) -> float:
    """SPS of the environments alone under random actions, observations on the device."""
    with envs.make("atari:pong", num_envs, device, seed=1) as env:
        env.reset()
        actions = torch.randint(0, 6, (64, num_envs), device=device)
        for row in actions[:4]:
            env.step(row)
        rates, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or not rates:
            start = time.perf_counter()
            for row in actions[:16]:
                env.step(row)
            if device != "cpu":
                torch.cuda.synchronize()
            rates.append(16 * num_envs / (time.perf_counter() - start))
    return statistics.median(rates)


def training(config: TrainConfig, seconds: float) -> dict[str, Any]:
    """SPS of updates, the phases' shares of the time, peak memory of the device in GiB."""
    on_gpu = config.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(resolve(config))
    try:
        for _ in range(2):
            trainer.update()
        rates: list[float] = []
        trainer.seconds = dict.fromkeys(trainer.seconds, 0.0)
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds or not rates:
            start, before = time.perf_counter(), trainer.observations
            for _ in range(max(1, 2048 // resolve(config).batch)):
                trainer.update()
            if on_gpu:
                torch.cuda.synchronize()
            rates.append((trainer.observations - before) / (time.perf_counter() - start))
        whole = time.perf_counter() - begin
        shares = {name: value / whole for name, value in trainer.seconds.items()}
    finally:
        trainer.close()
        torch.compiler.reset()  # a graph holds its memory for as long as it may be replayed
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    spread = {"sps": statistics.median(rates), "low": min(rates), "high": max(rates)}
    return {**spread, "phases": shares, "device_gib": memory}


def speed_rows(device: str, tiny: bool, seconds: float) -> list[dict[str, Any]]:
    """One row per environment count, algorithm and options; a row that fails holds its error."""
    rows: list[dict[str, Any]] = []
    for num_envs in (2, 4) if tiny else (8, 256, 1024):
        alone = emulation(num_envs, device, seconds)
        print(f"{'emulation':6} {num_envs:5d}: {alone:9,.0f} SPS", flush=True)
        for algo, rollout in (("a2c", 5), ("ppo", 8 if tiny else 128)):
            for name in OPTIONS if num_envs in (256, 4) else FEW:
                size: dict[str, Any] = {"algo": algo, "num_envs": num_envs, "rollout": rollout}
                config = TrainConfig(**size, **OPTIONS[name], env="atari:pong", device=device)
                found = attempt(lambda config=config: training(config, seconds))  # type: ignore[misc]
                row = {**size, "options": name, "emulation": alone, **found}
                if "sps" in row:
                    row["share"] = row["sps"] / alone
                    phases = ", ".join(f"{name} {share:.0%}" for name, share in row["phases"].items())
                    spread = f"{row['low']:,.0f}-{row['high']:,.0f}"
                    said = f"{row['sps']:9,.0f} SPS ({spread}), {row['share']:.0%}; {phases}"
                else:
                    said = f"failed: {row['error']}"
                print(f"{algo:6} {num_envs:5d} x {rollout} {name:8}: {said}", flush=True)
                rows.append(row)
    return rows


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


def all_checks(device: str, tiny: bool) -> dict[str, dict[str, Any]]:
    """Every check by name; at once in processes of their own where each has three processors."""
    names = list(checks(device, tiny))
    jobs = min(len(names), len(os.sched_getaffinity(0)) // 3)
    found = {}
    with (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext() as pool
    ):
        if pool is None:
            rows = (checked(name, device, tiny) for name in names)
        else:
            rows = pool.map(checked, names, *([value] * len(names) for value in (device, tiny)))
        for name, row in zip(names, rows, strict=True):
            found[name] = row
            details = ", ".join(
                f"{key} {value}" for key, value in row.items() if key not in ("ok", "seconds")
            )
            verdict = "as it should be" if row["ok"] else "WRONG"
            print(f"{name}: {verdict} ({details}; {row['seconds']:.0f} s)", flush=True)
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
    parser.add_argument("--seconds", type=float, default=4.0, help="of each row of the speed table")
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
        keep("checks", all_checks(options.device, options.tiny))
        failed += [name for name, row in result["checks"].items() if not row["ok"]]
    if "speed" in options.parts:
        keep("speed", speed_rows(options.device, options.tiny, 0.2 if options.tiny else options.seconds))
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
