"""How fast training could be on this machine at best, from its parts, each measured alone.

    python scripts/bench/limits.py                      # a table
    python scripts/bench/limits.py --json limits.json   # and the numbers

**The formula.** With C cores and, per observation, the core-seconds e (four `act` calls of the emulator), p (rules and
the picture), c (one copy of the newest frame), a (forward passes over all N environments: one a decision, and one for
the value of what is seen last, without which a return can't be had), l (passes that learn) and s (clipping and
optimizer step, over the observations of an update):

    CPU:  best SPS = C / (e + p + c + a + l + s)

All parts are measured on one thread while every core does the same, the network's passes also on one thread per core
together, of which the cheaper counts (`bare_work.py`). So the limit supposes that all of it spreads over the cores
without loss and nobody ever waits. Nothing can be overlapped to get past it: the cores are busy all the time, and
overlap only decides which part is done when. For A2C l is the backward pass alone, since
the forward pass is the one it acted with; for PPO it is `epochs` forward and backward passes. "Strict" leaves out p
and c, as if a picture cost nothing. Measuring the noise is in neither.

    GPU:  best SPS = 1 / (max((e + p + c) / C, a + h) + l + s)      the exact algorithm
          best SPS = 1 / max((e + p + c) / C, a + h + l + s)        learning while the next rollout is played

There a, l and s are the device's seconds per observation and h those of copying a frame to it. Acting on one half of
the environments may overlap with emulating the other half; learning may not, but with a policy lag of one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from arguments import at_least_one, device_here, machine
from bare_work import PARTS, Arithmetic, BareWork, Size

SIZES = {
    "a2c-16x5": Size("a2c", 16, 5),
    "a2c-256x5": Size("a2c", 256, 5),
    "ppo-8x128": Size("ppo", 8, 128),
}


def best(parts: dict[str, float], cores: int, strict: bool = False, on_device: bool = False) -> float:
    """SPS at best, from seconds per observation by part; see the module's formula. `on_device`: the exact algorithm."""
    playing = parts["emulate"] + (0.0 if strict else parts["pictures"] + parts["copy"])
    learning = parts["learn"] + parts["step"]
    if on_device:
        return 1 / (max(playing / cores, parts["act"] + parts.get("to_device", 0.0)) + learning)
    return cores / (playing + parts["act"] + learning)


def contender(
    algo: str, num_envs: int, rollout: int, updates: int = 1, game: str = "pong"
) -> tuple[Callable[[], float], Callable[[], None]]:
    """A turn for a race on the CPU, which returns the limit in SPS as it is now; and how to end it.

    algo: a2c, ppo, or emulation for the environments alone. A turn is `updates` updates' work for every core.
    """
    alone = algo == "emulation"
    work = BareWork(Size("a2c" if alone else algo, num_envs, rollout), game, arithmetic=not alone)
    return (lambda: best(work.turn(updates), work.cores)), work.close


def share(rates: list[float], limits: list[float]) -> dict[str, float]:
    """Median over rounds of rate / limit, with its range: what a benchmark prints beside its rate."""
    shares = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    return {"median": statistics.median(shares), "low": min(shares), "high": max(shares)}


def said(found: dict[str, float]) -> str:
    """E.g. "71 % of the limit (69-74)"."""
    return f"{found['median']:.0%} of the limit ({100 * found['low']:.0f}-{100 * found['high']:.0f})".replace(
        "%", " %", 1
    )


def arithmetic_rates(size: Size, threads: int, device: str = "cpu", rounds: int = 5) -> dict[str, float]:
    """Observations per second through the network's passes at a size, on so many threads, and their GFLOP/s."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(threads)
    passes = Arithmetic(size, device)
    learning = passes.obs.shape[0]
    work: dict[str, tuple[int, Callable[[], Any]]] = {
        "forward, acting": (size.num_envs, passes.act),
        "forward and backward": (learning, lambda: passes.loss(learning).backward()),
    }
    found = {}
    for name, (rows, run) in work.items():
        with FlopCounterMode(display=False) as counter:
            run()
        times = []
        for _ in range(rounds):
            repeats = max(1, 256 // rows)
            passes.finish()
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            passes.finish()
            times.append((time.perf_counter() - start) / (repeats * rows))
        seconds = statistics.median(times)
        found[name] = 1 / seconds
        found[f"{name}, GFLOP/s"] = counter.get_total_flops() / rows / seconds / 1e9
    return found


def copy_rates(device: str = "cpu", megabytes: int = 64) -> dict[str, float]:
    """GB/s of copies: within memory, and to and from a GPU from ordinary and from page-locked memory."""
    import torch

    size = megabytes * 2**20
    here = torch.zeros(size, dtype=torch.uint8)
    pairs = {"host to host": (here, torch.zeros_like(here))}
    if device != "cpu":
        there, locked = torch.zeros(size, dtype=torch.uint8, device=device), here.pin_memory()
        pairs |= {
            "host to device": (here, there),
            "page-locked to device": (locked, there),
            "device to page-locked": (there, locked),
        }
    found = {}
    for name, (source, target) in pairs.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            target.copy_(source)
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        found[name] = size / min(times) / 1e9
    return found


def multiply_rate(threads: int, rows: int = 1024) -> float:
    """GFLOP/s of a product of square float32 matrices: what a core's arithmetic units give at best."""
    import torch

    torch.set_num_threads(threads)
    a = torch.rand(rows, rows)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * rows**3 / min(times) / 1e9


def device_parts(size: Size, device: str, rounds: int) -> dict[str, float]:
    """Seconds per observation of the passes on a GPU, and of a frame's copy there from page-locked memory."""
    import torch

    passes = Arithmetic(size, device)
    rows: list[dict[str, float]] = []
    for number in range(rounds + 2):
        seconds: dict[str, float] = {}
        passes.update(seconds)
        if number > 1:
            rows.append({part: value / size.batch for part, value in seconds.items()})
    found = {part: statistics.median(row[part] for row in rows) for part in ("act", "learn", "step")}
    frames = torch.zeros(size.num_envs, 84, 84, dtype=torch.uint8).pin_memory()
    there = frames.to(device)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(100):
        there.copy_(frames, non_blocking=True)
    torch.cuda.synchronize()
    return {**found, "to_device": (time.perf_counter() - start) / 100 / size.num_envs}


def measure(size: Size, game: str, device: str, rounds: int) -> dict[str, Any]:
    """Parts (medians over rounds, core-seconds per observation), their spread, and the limits in SPS."""
    on_device = device != "cpu"
    work = BareWork(size, game, arithmetic=not on_device)
    try:
        updates = max(1, 320 // size.batch)
        work.turn(1)  # warm
        rows = [work.turn(updates) for _ in range(rounds)]
    finally:
        work.close()
    parts = {part: statistics.median(row[part] for row in rows) for part in PARTS}
    if on_device:
        parts |= device_parts(size, device, rounds)
        spread = [
            best({**parts, **{k: row[k] for k in PARTS[:3]}}, work.cores, on_device=True) for row in rows
        ]
    else:
        spread = [best(row, work.cores) for row in rows]
    return {
        "size": str(size),
        "cores": work.cores,
        "seconds": parts,
        "limit": statistics.median(spread),
        "limit_low": min(spread),
        "limit_high": max(spread),
        "limit_strict": best(parts, work.cores, strict=True, on_device=on_device),
        "emulation": work.cores / (parts["emulate"] + parts["pictures"] + parts["copy"]),
        "emulation_strict": work.cores / parts["emulate"],
    }


def main() -> None:
    """Print the tables; write the numbers to --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--game", default="pong")
    parser.add_argument("--device", type=device_here, default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    threads = sorted({1, cores}) if options.device == "cpu" else [cores]
    result: dict[str, Any] = {
        "machine": machine(),
        "game": options.game,
        "device": options.device,
        "sizes": [],
        "arithmetic": {},
        "copies": copy_rates(options.device),
        "matrix product, GFLOP/s": {str(k): multiply_rate(k) for k in threads},
    }
    names = [*PARTS, *(["to_device"] if options.device != "cpu" else [])]
    print(f"microseconds of one core per observation, {options.game}, {cores} cores; limits in SPS")
    heads = "".join(f"{name:>10}" for name in names)
    print(f"{'':14}{heads}{'limit':>8} {'range':>13}{'strict':>8}{'emulation':>11}")
    for key in options.sizes:
        row = measure(SIZES[key], options.game, options.device, options.rounds)
        result["sizes"].append(row)
        cells = "".join(f"{1e6 * row['seconds'][name]:10.1f}" for name in names)
        spread = f"{row['limit_low']:,.0f}-{row['limit_high']:,.0f}"
        limits = f"{row['limit']:8,.0f} {spread:>13}{row['limit_strict']:8,.0f}{row['emulation']:11,.0f}"
        print(f"{row['size']:14}{cells}{limits}", flush=True)
    for key in options.sizes:
        for k in threads:
            rates = arithmetic_rates(SIZES[key], k, options.device)
            result["arithmetic"][f"{key}, {k} threads"] = rates
            cells = "   ".join(f"{name} {value:,.0f}" for name, value in rates.items())
            print(f"{key}, {k} threads: {cells}", flush=True)
    print(
        "copies, GB/s: "
        + "   ".join(f"{name} {value:.1f}" for name, value in result["copies"].items())
        + "; matrix product, GFLOP/s: "
        + ", ".join(f"{value:.0f} on {k} threads" for k, value in result["matrix product, GFLOP/s"].items())
    )
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
