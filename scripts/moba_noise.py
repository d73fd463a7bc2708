"""Is the useful batch of the lane-battle world as large, and does it move as, its knobs say? B_simple, measured.

    rl-gns train moba:1v1 --algo ppo --num-envs 320 --observations 24e6 --schedule linear --threads 1 \\
        --env-options threads 1 --keep-every 4e6 --out runs/moba-half-hour
    python scripts/moba_noise.py --along runs/moba-half-hour [--pong runs/pong-ppo] [--seconds 270] [--only heroes]

Measures the noise scale of a policy in a pass of its own: 32 worlds, all rollouts of whole games, nothing learnt
(`rl_gns.training.frozen`); a run's own meter would have few readings. First along a long run, at its first weights and
its kept checkpoints, with a rating each. Then of short runs of moba:1v1 and its variants, which it trains. Pong is
measured alike in 64 games, from a run of `scripts/pong_ppo.py`, with rollouts of the same length. About an hour of one
core beside the long run. It can be stopped at any time, or stops itself after `--seconds`; called again it goes on.
Every row lands in scripts/results/moba_noise/noise.csv as it is found, the figure beside it at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

import rl_gns
from rl_gns.report import style
from rl_gns.training import config as configs
from rl_gns.training import frozen, ladder

RESULTS = Path(__file__).parent / "results" / "moba_noise"
ROLLOUT = 128
GROUPS, WORLDS = 16, 2
STEP, SHORT = 500_000, 2_000_000
ALONG = "along"
GAMES = 16
PONG_ROUNDS = 5
MEASURING_SEED = 977


class Variant(NamedTuple):
    """A run and where it is measured."""

    name: str
    config: rl_gns.TrainConfig
    stages: tuple[int, ...] = (0, SHORT)


def moba(name: str, env: str = "moba:1v1", **settings: Any) -> Variant:
    """A variant of the defaults, but for OpenAI Five's value weight of 1; nothing is measured while it trains."""
    options = {"threads": 1, **settings.pop("options", {})}
    config = rl_gns.TrainConfig(
        env=env,
        algo="ppo",
        observations=SHORT,
        noise_budget=0.0,
        checkpoint_every=500_000,
        tensorboard=False,
        threads=1,
        value_coef=1.0,
        env_options=options,
        **settings,
    )
    return Variant(name, config)


def variants() -> list[Variant]:
    """What is trained, the most telling first. Runs of other team sizes have about as many learnt streams."""
    short = {"lanes": 3, "game_length": 150}
    return [
        moba("1v1"),
        moba("heroes=1", options=short),
        moba("heroes=5", "moba:5v5", num_envs=32, options=short),
        moba("heroes=3", "moba:3v3", num_envs=56, options=short),
        moba("reward=objectives", options={"reward": "objectives"}),
        moba("reward=win", options={"reward": "win"}),
        moba("game_length=300", options={"game_length": 300}),
        moba("game_length=150", options={"game_length": 150}),
        moba("gamma=0.98", gamma=0.98),
        moba("gamma=0.996", gamma=0.996),
    ]


def main() -> None:
    """Train, measure, draw; stop in time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/moba-noise"))
    parser.add_argument("--along", type=Path, nargs="*", default=[])
    parser.add_argument("--pong", type=Path, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for what in work(arguments.out, arguments.along, arguments.pong, arguments.only):
        print(f"{time.monotonic() - start:6.0f} s  {what}", flush=True)
        if time.monotonic() - start > arguments.seconds:
            print("stopped; call again to go on")
            sys.exit(3)
    figure(pd.read_csv(table()), RESULTS / "noise.png")


def table() -> Path:
    """Where the rows are."""
    return RESULTS / "noise.csv"


def known(variant: str, observations: int) -> bool:
    """Whether that row was found before."""
    if not table().exists():
        return False
    rows = pd.read_csv(table())
    return bool(((rows["variant"] == variant) & (rows["asked"] == observations)).any())


def work(out: Path, along: list[Path], pong: list[Path], only: str) -> Iterator[str]:
    """Everything that is not known yet, piece by piece."""
    for path in along:
        yield from measure_along(path)
    for variant in variants():
        for stage in variant.stages if only in variant.name else ():
            if known(variant.name, stage):
                continue
            path, state = out / variant.name, None
            if stage:
                yield from train(variant, stage, path)
                state = rl_gns.load_run(path).checkpoint()
            config = configs.resolve(variant.config)
            yield note(variant.name, config, stage, state, rounds(config), {})
    for path in pong:
        run = rl_gns.load_run(path)
        state, config = run.checkpoint(), dataclasses.replace(run.config, rollout=ROLLOUT, threads=1)
        for stage, at in ((0, None), (int(state["counts"][0]), state)):
            if not known("pong", stage):
                scores = [] if at is None else at["recent"]
                row = {"score": sum(scores) / len(scores)} if scores else {}
                yield note("pong", config, stage, at, PONG_ROUNDS, row)


def rounds(config: rl_gns.TrainConfig) -> int:
    """Rollouts of a whole game."""
    length = float(config.env_options.get("game_length", configs.GAME_LENGTH))
    return round(length * configs.DECISIONS_PER_SECOND / ROLLOUT)


def measure_along(path: Path) -> Iterator[str]:
    """A run's first weights and its kept checkpoints, with a rating each."""
    run, among = rl_gns.load_run(path), {}
    config = dataclasses.replace(run.config, rollout=ROLLOUT, threads=1)
    for file in (None, *sorted((path / "kept").glob("*.ckpt"))):
        stage = 0 if file is None else int(file.stem)
        if known(ALONG, stage):
            continue
        state = None if file is None else run.checkpoint(file)
        policy = ladder.load_policy(config, state or {"policy": start_of(config)})
        found = ladder.climb(policy, config, GAMES, seed=MEASURING_SEED, among=among)
        row = {"rating": found.ratings[ladder.POLICY].mean}
        row |= {f"wins_{s.opponent}": s.wins / s.games for s in found.standings}
        yield note(ALONG, config, stage, state, rounds(config), row)


def train(variant: Variant, stage: int, path: Path) -> Iterator[str]:
    """Train on to `stage`, in pieces of a minute or less."""
    resume = (path / "config.toml").exists()
    done = int(rl_gns.load_run(path).checkpoint()["counts"][0]) if resume else 0
    while done < stage:
        upto = min(stage, (done // STEP + 1) * STEP)
        config = dataclasses.replace(variant.config, observations=upto)
        run = rl_gns.train(config, path, resume=(path / "config.toml").exists(), quiet=True)
        done = int(run.checkpoint()["counts"][0])
        yield f"{variant.name} trained to {done:,}"


def start_of(config: rl_gns.TrainConfig) -> dict[str, torch.Tensor]:
    """The weights a run starts with."""
    trainer = frozen.Trainer(config)
    trainer.close()
    return trainer.policy.state_dict()


def note(
    name: str,
    config: rl_gns.TrainConfig,
    stage: int,
    state: dict[str, Any] | None,
    rounds: int,
    row: dict[str, Any],
) -> str:
    """Measure, and append a row to the table."""
    begin = time.monotonic()
    worlds = WORLDS if name != "pong" else 4
    weights = start_of(config) if state is None else state["policy"]
    found = frozen.measure(config, weights, groups=GROUPS, worlds=worlds, rounds=rounds, seed=MEASURING_SEED)
    values = {
        "variant": name,
        "asked": stage,
        "observations": 0 if state is None else int(state["counts"][0]),
        "noise_scale": found.value,
        "noise_scale_low": found.low,
        "noise_scale_high": found.high,
        "in_step": found.in_step,
        "signal": found.signal,
        "noise": found.noise,
        "unit_observations": found.unit_observations,
        "units": found.units,
        "seconds": time.monotonic() - begin,
        **row,
    }
    old = pd.read_csv(table()) if table().exists() else pd.DataFrame()
    pd.concat([old, pd.DataFrame([values])]).to_csv(table(), index=False, float_format="%.6g")
    return f"{name} at {stage:,}: {found.value:,.0f} ({found.low:,.0f} to {found.high:,.0f})"


KNOBS = {
    "heroes per side\n(3 lanes, games of 150 s)": ["heroes=1", "heroes=3", "heroes=5"],
    "reward, ever sparser": ["1v1", "reward=objectives", "reward=win"],
    "length of a game, s": ["game_length=150", "game_length=300", "1v1"],
    "γ": ["gamma=0.98", "gamma=0.996", "1v1"],
}
BASE = {"reward, ever sparser": "shaped", "length of a game, s": "600", "γ": "0.9993"}


def figure(rows: pd.DataFrame, path: Path) -> None:
    """One panel for the long run and Pong, one for each knob of which two levels are known; bars are 95 % intervals."""
    seen = set(rows["variant"])
    knobs = {title: names for title, names in KNOBS.items() if len(seen.intersection(names)) > 1}
    drawing, axes = style.panels(1 + len(knobs), 4.2, share_y=True)
    run = rows[rows["variant"] == ALONG].sort_values("observations")
    first, others = axes[0], axes[1:]
    _points(first, run["observations"] / 1e6, run, style.BLUE, "moba:1v1")
    for _, row in run.iterrows():
        first.annotate(
            f"{row['rating']:.0f}",
            (row["observations"] / 1e6, row["noise_scale"]),
            fontsize=7,
            xytext=(4, -9),
            textcoords="offset points",
        )
    pong = rows[rows["variant"] == "pong"].sort_values("observations")
    if len(pong):
        _points(first, pong["observations"] / 1e6, pong, style.ORANGE, "Pong")
    first.set(yscale="log", xlabel="million observations\n(numbers: rating)", ylabel="B_simple, observations")
    first.margins(y=0.2)
    style.legend(first, where="lower right")
    for panel, (title, names) in zip(others, knobs.items(), strict=True):
        for stage, colour, label in (
            (0, style.GREY, "first weights"),
            (SHORT, style.BLUE, "after 2 million"),
        ):
            found = rows[(rows["asked"] == stage) & rows["variant"].isin(names)].set_index("variant")
            present = [name for name in names if name in found.index]
            _points(panel, [names.index(name) for name in present], found.loc[present], colour, label)
        labels = [BASE.get(title, "") if name == "1v1" else name.split("=")[1] for name in names]
        panel.set_xticks(range(len(names)), labels, fontsize=8)
        panel.set(xlim=(-0.5, len(names) - 0.5), xlabel=title)
        style.legend(panel)
    drawing.savefig(path, dpi=120)


def _points(axes: Axes, x: Any, rows: pd.DataFrame, colour: str, label: str) -> None:
    """B_simple with its interval; an arrow where it has no upper end."""
    value, low, high = (
        rows[name].to_numpy(float) for name in ("noise_scale", "noise_scale_low", "noise_scale_high")
    )
    open_end = ~np.isfinite(high)
    shown = np.where(np.isfinite(value), value, low)
    above = np.where(open_end, shown, high - shown)
    axes.errorbar(
        x, shown, [shown - low, above], fmt="o-", ms=4, lw=1, color=colour, label=label, lolims=open_end
    )


if __name__ == "__main__":
    main()
