"""Whether a bfloat16 torso learns as float32 does: the same runs in both, seed by seed.

    python scripts/bench/precision_curves.py --out runs/precision --observations 2e6 --seeds 1 2 3 --json curves.json

Trains `--env` with `--algo` in float32 and in bf16 for every seed, resuming what is there, and compares over tenths of
the run: score (all games finished in that tenth), entropy, explained variance of the value, noise scale. Printed: means
over seeds in both precisions, and their difference over its standard error from the seeds (|t| below 2 is what chance
gives). One seed gives no standard error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

import rl_gns

PRECISIONS = ("float32", "bf16")
COLUMNS = ("entropy", "explained_variance", "noise_scale")


def tenths(run: rl_gns.Run, observations: float) -> dict[str, list[float]]:
    """Column -> its mean in each tenth of the run, NaN where there is none."""
    rows, games = run.metrics(), run.episodes()
    edges = np.linspace(0, observations, 11)
    found: dict[str, list[float]] = {"score": []}
    for low, high in itertools.pairwise(edges):
        played = games[(games["observations"] > low) & (games["observations"] <= high)]
        found["score"].append(float(played["score"].mean()))
        part = rows[(rows["observations"] > low) & (rows["observations"] <= high)]
        for name in COLUMNS:
            found.setdefault(name, []).append(float(part[name].mean()))
    return found


def compare(exact: np.ndarray, rough: np.ndarray) -> dict[str, list[float | None]]:
    """[seeds, tenths] in both precisions: means and t = difference / standard error (None: one seed or no value)."""
    seeds = exact.shape[0]
    means, others = exact.mean(0), rough.mean(0)
    t: list[float | None] = [None] * exact.shape[1]
    if seeds > 1:
        error = np.sqrt((exact.var(0, ddof=1) + rough.var(0, ddof=1)) / seeds)
        t = [
            None if math.isnan(a) or math.isnan(b) or e == 0 else float((b - a) / e)
            for a, b, e in zip(means, others, error, strict=True)
        ]
    known = [[None if math.isnan(x) else float(x) for x in row] for row in (means, others)]
    return {"float32": known[0], "bf16": known[1], "t": t}


def main() -> None:
    """Train what is missing, print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the runs' folder")
    parser.add_argument("--env", default="atari:pong")
    parser.add_argument("--algo", choices=["a2c", "ppo"], default="ppo")
    parser.add_argument("--observations", type=float, default=2e6)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--num-envs", type=int, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    curves: dict[str, list[dict[str, list[float]]]] = {precision: [] for precision in PRECISIONS}
    for seed in options.seeds:
        for precision in PRECISIONS:
            out = options.out / f"{precision}-s{seed}"
            config = rl_gns.TrainConfig(
                env=options.env,
                algo=options.algo,
                num_envs=options.num_envs,
                observations=options.observations,
                seed=seed,
                precision=precision,  # type: ignore[arg-type]
                device=options.device,
                threads=options.threads,
                log_every=options.observations / 50,
                tensorboard=False,
            )
            run = rl_gns.train(config, out, resume=(out / "config.toml").exists(), quiet=True)
            curves[precision].append(tenths(run, options.observations))
    result: dict[str, Any] = {"seeds": options.seeds, "observations": options.observations, "columns": {}}
    for name in ("score", *COLUMNS):
        exact, rough = (np.array([curve[name] for curve in curves[p]]) for p in PRECISIONS)
        found = result["columns"][name] = compare(exact, rough)
        print(name)
        for key, values in found.items():
            print(f"  {key:8}" + "".join("        -" if v is None else f"{v:9.3g}" for v in values))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
