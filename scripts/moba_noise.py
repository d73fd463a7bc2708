"""Is the useful batch of the lane-battle world as large, and does it move as, its knobs say? B_simple, measured.

    rl-gns train moba:1v1 --algo ppo --num-envs 320 --observations 24e6 --schedule linear --threads 1 \\
        --env-options threads 1 --keep-every 4e6 --out runs/moba-half-hour
    rl-gns train atari:pong --algo ppo --num-envs 16 --rollout 64 --epochs 3 --learning-rate 5e-4 --schedule linear \\
        --observations 2.4e6 --precision bf16 --keep-every 4e5 --out runs/pong-ppo
    python scripts/moba_noise.py --along runs/moba-half-hour [--pong runs/pong-ppo] [--seeds 1 2 3]
        [--only heroes reward] [--seconds 270]

Measures the noise scale of a policy in a pass of its own: 32 worlds, all rollouts of whole games, nothing learnt
(`rl_gns.training.frozen`); a run's own meter would have few readings. First along a long run, at its first weights and
its kept checkpoints, with a rating each. Then of short runs of moba:1v1 and its variants, which it trains, seed after
seed. Pong is measured alike in 64 games, with rollouts of the same length, at its kept checkpoints too. About
40 minutes of one core a seed beside the long run. It can be stopped at any time, or stops itself after `--seconds`;
called again it goes on. Every row lands in scripts/results/moba_noise/noise.csv as it is found, with the number of the
rules it was found under, the figure beside it at the end.
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
from envs.moba import settings as moba_settings
from rl_gns.report import style
from rl_gns.studies import store
from rl_gns.training import checkpoint, frozen, ladder
from rl_gns.training import config as configs

RESULTS = Path(__file__).parent / "results" / "moba_noise"
ROLLOUT = 128
GROUPS, WORLDS = 16, 2
STEP, SHORT = 500_000, 2_000_000
ALONG = "along"
GAMES = 16
PONG_ROUNDS = 5
MEASURING_SEED = 977
PONG = "pong"


class Variant(NamedTuple):
    """A run and where it is measured."""

    name: str
    config: rl_gns.TrainConfig
    stages: tuple[int, ...] = (0, SHORT)


def moba(name: str, seed: int, env: str = "moba:1v1", **settings: Any) -> Variant:
    """A variant of the defaults, but for OpenAI Five's value weight of 1; nothing is measured while it trains."""
    options = {"threads": 1, **settings.pop("options", {})}
    config = rl_gns.TrainConfig(
        env=env,
        algo="ppo",
        observations=SHORT,
        seed=seed,
        noise_budget=0.0,
        checkpoint_every=500_000,
        tensorboard=False,
        threads=1,
        value_coef=1.0,
        env_options=options,
        **settings,
    )
    return Variant(name, config)


def variants(seed: int) -> list[Variant]:
    """What is trained, the most telling first. Runs of other team sizes have about as many learnt streams."""
    short = {"lanes": 3, "game_length": 150}
    return [
        moba("1v1", seed),
        moba("heroes=1", seed, options=short),
        moba("heroes=5", seed, "moba:5v5", num_envs=32, options=short),
        moba("heroes=3", seed, "moba:3v3", num_envs=56, options=short),
        moba("reward=objectives", seed, options={"reward": "objectives"}),
        moba("reward=win", seed, options={"reward": "win"}),
        moba("game_length=300", seed, options={"game_length": 300}),
        moba("game_length=150", seed, options={"game_length": 150}),
        moba("gamma=0.98", seed, gamma=0.98),
        moba("gamma=0.996", seed, gamma=0.996),
    ]


def main() -> None:
    """Train, measure, draw; stop in time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/moba-noise"))
    parser.add_argument("--along", type=Path)
    parser.add_argument("--pong", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", default=[""], help="variants whose names hold one of these")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for what in work(arguments):
        print(f"{time.monotonic() - start:6.0f} s  {what}", flush=True)
        if time.monotonic() - start > arguments.seconds:
            print("stopped; call again to go on")
            sys.exit(3)
    figure(pd.read_csv(table()), RESULTS / "noise.png")


def table() -> Path:
    """Where the rows are."""
    return RESULTS / "noise.csv"


def rules(variant: str) -> int:
    """Of the worlds it was measured in; Pong's do not change."""
    return 0 if variant == PONG else moba_settings.RULES


def known(variant: str, observations: int, seed: int) -> bool:
    """Whether that row was found before, under today's rules."""
    if not table().exists():
        return False
    rows = pd.read_csv(table())
    same = (rows["variant"] == variant) & (rows["rules"] == rules(variant)) & (rows["seed"] == seed)
    return bool((same & (rows["asked"] == observations)).any())


def work(arguments: argparse.Namespace) -> Iterator[str]:
    """Everything that is not known yet, piece by piece."""
    if arguments.along:
        yield from measure_along(arguments.along)
    for variant in (one for seed in arguments.seeds for one in variants(seed)):
        if any(part in variant.name for part in arguments.only):
            yield from measure_variant(variant, arguments.out)
    if arguments.pong:
        yield from measure_pong(arguments.pong)


def measure_variant(variant: Variant, out: Path) -> Iterator[str]:
    """Its first weights, and those it has been trained to."""
    config = configs.resolve(variant.config)
    path, state = out / f"{variant.name}-s{config.seed}-rules{moba_settings.RULES}", None
    for stage in variant.stages:
        if known(variant.name, stage, config.seed):
            continue
        if stage:
            yield from train(variant, stage, path)
            state = rl_gns.load_run(path).checkpoint()
        yield note(variant.name, config, stage, state, rounds(config), {})


def rounds(config: rl_gns.TrainConfig) -> int:
    """Rollouts of a whole game."""
    length = float(config.env_options.get("game_length", configs.GAME_LENGTH))
    return round(length * configs.DECISIONS_PER_SECOND / ROLLOUT)


def measure_pong(path: Path) -> Iterator[str]:
    """A run's first weights, its kept checkpoints and its last, with the score at each."""
    run = rl_gns.load_run(path)
    config = dataclasses.replace(run.config, rollout=ROLLOUT, threads=1, precision="float32")
    kept = {int(file.stem): file for file in checkpoint.files(path / "kept")}
    last = run.checkpoint()
    for stage in sorted({0, *kept, int(last["counts"][0])}):
        if known(PONG, stage, config.seed):
            continue
        state = None if stage == 0 else run.checkpoint(kept[stage]) if stage in kept else last
        scores = state["recent"] if state is not None else []
        row = {"score": sum(scores) / len(scores)} if scores else {}
        yield note(PONG, config, stage, state, PONG_ROUNDS, row)


def measure_along(path: Path) -> Iterator[str]:
    """A run's first weights and its kept checkpoints, with a rating each."""
    run, among = rl_gns.load_run(path), {}
    config = dataclasses.replace(run.config, rollout=ROLLOUT, threads=1)
    for file in (None, *checkpoint.files(path / "kept")):
        stage = 0 if file is None else int(file.stem)
        if known(ALONG, stage, config.seed):
            continue
        state = None if file is None else run.checkpoint(file)
        policy = ladder.load_policy(config, state or {"policy": start_of(config)})
        found = ladder.climb(policy, config, GAMES, seed=MEASURING_SEED, among=among)
        row = {"rating": found.ratings[ladder.POLICY].mean}
        row |= {f"wins_{s.opponent}": s.wins / s.games for s in found.standings}
        yield note(ALONG, config, stage, state, rounds(config), row)


def train(variant: Variant, stage: int, path: Path) -> Iterator[str]:
    """Train on to `stage`, in pieces of a minute or less. Ctrl-C, which a run takes for itself, ends the script too."""
    begun = bool(checkpoint.files(path / "checkpoints"))
    done = int(rl_gns.load_run(path).checkpoint()["counts"][0]) if begun else 0
    while done < stage:
        upto = min(stage, (done // STEP + 1) * STEP)
        config = dataclasses.replace(variant.config, observations=upto)
        run = rl_gns.train(config, path, resume=(path / "config.toml").exists(), quiet=True)
        done = int(run.checkpoint()["counts"][0])
        if done < upto:
            sys.exit("stopped; call again to go on")
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
    worlds = WORLDS if name != PONG else 4
    weights = start_of(config) if state is None else state["policy"]
    seed = MEASURING_SEED + config.seed - 1
    found = frozen.measure(config, weights, groups=GROUPS, worlds=worlds, rounds=rounds, seed=seed)
    values = {
        "variant": name,
        "rules": rules(name),
        "seed": config.seed,
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
    rows = pd.concat([old, pd.DataFrame([values])])
    store.put(table(), rows.to_csv(index=False, float_format="%.6g").encode())
    return f"{name} of seed {config.seed} at {stage:,}: {found.value:,.0f} ({found.low:,.0f} to {found.high:,.0f})"


KNOBS = {
    "heroes per side\n(3 lanes, games of 150 s)": ["heroes=1", "heroes=3", "heroes=5"],
    "reward, ever sparser": ["1v1", "reward=objectives", "reward=win"],
    "length of a game, s": ["game_length=150", "game_length=300", "1v1"],
    "γ": ["gamma=0.98", "gamma=0.996", "1v1"],
}
BASE = {"reward, ever sparser": "shaped", "length of a game, s": "600", "γ": "0.9993"}


def figure(rows: pd.DataFrame, path: Path) -> None:
    """One panel for the long run and Pong, one for each knob of which two levels are known; bars are 95 % intervals.

    Of each the newest rules it was measured under. Several seeds stand side by side, a line goes through the medians.
    """
    rows = rows[rows["rules"] == rows.groupby("variant")["rules"].transform("max")]
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
    pong = rows[rows["variant"] == PONG].sort_values("observations")
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
            _levels(panel, rows[rows["asked"] == stage], names, colour, label)
        labels = [BASE.get(title, "") if name == "1v1" else name.split("=")[1] for name in names]
        panel.set_xticks(range(len(names)), labels, fontsize=8)
        panel.set(xlim=(-0.5, len(names) - 0.5), xlabel=title)
        style.legend(panel)
    drawing.savefig(path, dpi=120)


def _levels(panel: Axes, rows: pd.DataFrame, names: list[str], colour: str, label: str) -> None:
    """A knob's levels at one stage: each seed with its interval, and a line through the medians."""
    rows = rows[rows["variant"].isin(names)].sort_values("seed")
    if rows.empty:
        return
    level = rows["variant"].map(names.index)
    rank = rows.groupby("variant").cumcount()
    spread = 0.12 * (rank - (rows.groupby("variant")["seed"].transform("size") - 1) / 2)
    _points(panel, level + spread, rows, colour, label, line=False)
    middle = rows.groupby(level)["noise_scale"].median()
    panel.plot(middle.index, middle, color=colour, lw=1)


def _points(
    axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str, label: str, *, line: bool = True
) -> None:
    """B_simple with its interval; an arrow where it has no upper end."""
    value, low, high = (
        rows[name].to_numpy(float) for name in ("noise_scale", "noise_scale_low", "noise_scale_high")
    )
    open_end = ~np.isfinite(high)
    shown = np.where(np.isfinite(value), value, low)
    above = np.where(open_end, shown, high - shown)
    form = "o-" if line else "o"
    axes.errorbar(
        x, shown, [shown - low, above], fmt=form, ms=4, lw=1, color=colour, label=label, lolims=open_end
    )


if __name__ == "__main__":
    main()
