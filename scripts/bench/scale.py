"""Observations per second and memory against the number of environments and of cores, and what measuring costs there.

    python scripts/bench/scale.py --json scale.json --figure scale.png          # all cases; cases known are kept
    python scripts/bench/scale.py --json scale.json --algo a2c --cores 2 --envs 1 16 256
    python scripts/bench/scale.py --json scale.json --figure scale.png --draw   # the figure alone

Each case is a process of its own, kept to `cores` cores, that trains Pong in place of a study: A2C with 5 steps or PPO
with 128. Updates with and without a measurement of the noise alternate. Memory is the proportional share (PSS) of the
process and its workers, sampled four times a second: its peak, and what is held between updates.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from arguments import at_least_one, cores_here, machine, same_machine

ROLLOUT = {"a2c": 5, "ppo": 128}
ENVS = {"a2c": [1, 4, 16, 64, 256, 1024, 4096], "ppo": [1, 8, 64]}
SECONDS = 10.0


def tree_of(root: int) -> list[int]:
    """`root` and all processes below it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry))
    found = [root]
    for number in found:
        found += parents.get(number, [])
    return found


def memory_of(numbers: list[int]) -> int:
    """Bytes that these processes take together, shared pages counted once."""
    total = 0
    for number in numbers:
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


class Watch:
    """Samples the memory of this process's tree until closed."""

    def __init__(self) -> None:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            self.peak = max(self.peak, memory_of(tree_of(os.getpid())))

    def close(self) -> int:
        """The peak in bytes."""
        self._stop.set()
        self._thread.join()
        return max(self.peak, memory_of(tree_of(os.getpid())))


def amounts(
    batch: int, cadence: int, without: list[float], with_noise: list[float]
) -> dict[str, float | None]:
    """SPS and what measuring adds, as a share, from seconds of updates that do not measure and that do.

    A run measures once in `cadence` updates, so that is how often it pays the difference.
    """
    plain = statistics.median(without)
    extra = (statistics.median(with_noise) - plain) / max(cadence, 1) if with_noise else None
    return {
        "sps": batch / (plain + (extra or 0.0)),
        "sps_without_noise": batch / plain,
        "noise_cost": None if extra is None else extra / plain,
    }


def case(algo: str, num_envs: int, cores: int, seconds: float, rollout: int | None = None) -> dict[str, Any]:
    """One case, in this process. SPS with and without measuring, its cost, bytes."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import torch

    from rl_gns.training.config import TrainConfig, resolve
    from rl_gns.training.loop import Trainer

    torch.set_num_threads(cores)
    watch = Watch()
    before = memory_of(tree_of(os.getpid()))
    config = resolve(
        TrainConfig(
            env="atari:pong",
            algo=algo,  # type: ignore[arg-type]
            num_envs=num_envs,
            rollout=rollout or ROLLOUT[algo],
            device="cpu",
        )
    )
    start = time.perf_counter()
    trainer = Trainer(config)
    loaded = time.perf_counter() - start
    silent = dataclasses.replace(config, noise_budget=0.0)
    with_noise: list[float] = []
    without: list[float] = []
    try:
        for first in (silent, config):  # allocates, compiles; updates = 0 is one that measures
            trainer.config, trainer.updates = first, 0
            trainer.update()
        end = time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < end or not without or not (with_noise or config.groups < 2):
            measured = number % 2 == 0 and config.groups >= 2
            trainer.config = config if measured else silent
            if measured and config.noise_cadence > 1:
                trainer.updates = 0  # one that is due
            began = time.perf_counter()
            trainer.update()
            (with_noise if measured else without).append(time.perf_counter() - began)
            number += 1
        held = memory_of(tree_of(os.getpid()))
    finally:
        peak = watch.close()
        trainer.close()
    return {
        "algo": algo,
        "num_envs": num_envs,
        "rollout": config.rollout,
        "cores": cores,
        **amounts(config.batch, config.noise_cadence, without, with_noise),
        "noise_cadence": config.noise_cadence if config.groups >= 2 else None,
        "updates": len(without) + len(with_noise),
        "seconds_to_load": loaded,
        "bytes_before": before,
        "bytes_held": held,
        "bytes_peak": max(peak, held),  # the watch looks now and then only
        "bytes_per_env": (held - before) / num_envs,
    }


def text(row: dict[str, Any]) -> str:
    """One line."""
    cost = "" if row["noise_cost"] is None else f"measuring costs {row['noise_cost']:6.1%}"
    what = f"{row['algo']} {row['num_envs']:5d} x {row['rollout']:3d}, {row['cores']} cores"
    return (
        f"{what}: {row['sps']:7,.0f} SPS  {cost:22}"
        f"  {row['bytes_per_env'] / 2**20:7.1f} MiB an environment, peak {row['bytes_peak'] / 2**30:5.2f} GiB, "
        f"{row['seconds_to_load']:.0f} s to load, {row['updates']} updates"
    )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Three panels over the number of environments: rate, cost of measuring, memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), constrained_layout=True)
    lines = sorted({(row["algo"], row["rollout"], row["cores"]) for row in rows})
    for algo, rollout, cores in lines:
        mine = sorted(
            (row for row in rows if (row["algo"], row["rollout"], row["cores"]) == (algo, rollout, cores)),
            key=lambda row: row["num_envs"],
        )
        style: dict[str, Any] = {
            "label": f"{algo.upper()} x {rollout}, {cores} core{'s' if cores > 1 else ''}",
            "marker": "o" if algo == "a2c" else "s",
            "ms": 4,
            "ls": "-" if cores > 1 else "--",
            "color": "#1f5fa8" if algo == "a2c" else "#b5541c",
        }
        # A cost from fewer updates is the machine's mood.
        known = [row for row in mine if row["noise_cost"] is not None and row["updates"] >= 30]
        panels[0].plot([r["num_envs"] for r in mine], [r["sps"] for r in mine], **style)
        panels[1].plot([r["num_envs"] for r in known], [100 * r["noise_cost"] for r in known], **style)
        panels[2].plot([r["num_envs"] for r in mine], [r["bytes_peak"] / 2**30 for r in mine], **style)
    labels = ("observations per second", "cost of measuring the noise, %", "peak memory, GiB")
    for panel, label in zip(panels, labels, strict=True):
        panel.set_xscale("log", base=2)
        panel.set_xlim(min(row["num_envs"] for row in rows) / 1.2, max(row["num_envs"] for row in rows) * 1.2)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel("environments")
        panel.set_title(label, fontsize=10, loc="left")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)
    panels[1].axhline(0, color="0.5", lw=0.8)
    panels[2].set_yscale("log", base=2)
    panels[2].yaxis.set_major_formatter("{x:g}")
    panels[0].legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the cases that the file lacks, one process each; draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algo", nargs="+", choices=list(ROLLOUT), default=list(ROLLOUT))
    parser.add_argument("--envs", nargs="+", type=at_least_one, default=None)
    parser.add_argument("--cores", nargs="+", type=cores_here, default=None)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training a case")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--figure", type=Path, default=None)
    parser.add_argument("--draw", action="store_true", help="run nothing")
    parser.add_argument("--case", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(case(**json.loads(options.case))))
        return
    result: dict[str, Any] = {"rows": []}
    if options.json is not None and options.json.exists():
        result = json.loads(options.json.read_text())
        if result["rows"] and not options.draw:
            same_machine(parser, options.json, result)
    result |= {} if options.draw else {"machine": machine()}
    wanted = [
        (algo, num_envs, cores)
        for cores in options.cores or sorted({1, machine()["processors"]})
        for algo in options.algo
        for num_envs in options.envs or ENVS[algo]
    ]
    for algo, num_envs, cores in [] if options.draw else wanted:
        if any(
            (row["algo"], row["num_envs"], row["cores"]) == (algo, num_envs, cores) for row in result["rows"]
        ):
            continue
        asked = {"algo": algo, "num_envs": num_envs, "cores": cores, "seconds": options.seconds}
        done = subprocess.run(
            [sys.executable, __file__, "--case", json.dumps(asked)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{algo} {num_envs}, {cores} cores: failed with exit code {done.returncode}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        result["rows"].append(row)
        print(text(row), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.figure is not None and result["rows"]:
        draw(result["rows"], options.figure)


if __name__ == "__main__":
    main()
