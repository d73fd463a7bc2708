"""Fronts with and without the updates that the optimizer's start takes from every run, whatever its batch.

    python scripts/optimizer_wait.py scripts/studies/atari_breakout --paper --to scripts/results/optimizer_wait.csv
    python scripts/optimizer_wait.py --run runs/breakout      # how large its gradients are, beside epsilon

TensorFlow's RMSProp, which the paper's A2C had, begins with a mean square of 1. Where gradients are far smaller than
its epsilon, steps are all but nil until that has decayed: `agents.optimizers.updates_lost`, 1,008 updates with the
published settings. A front S = S_min (1 + B_crit/B) of runs that each lose W updates is again such a front, with W
in its S_min, so that no residual shows it: without it S_min is W smaller, E_min is the same and B_crit larger by
S_min / (S_min - W). Here W is taken off every run's updates and the front is fitted anew. Points that don't leave a
twentieth of their updates are left out and counted: there steps were not nil. B_simple is as measured at the goal.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from agents.optimizers import updates_lost
from rl_gns.analysis import Front, fit_front
from rl_gns.errors import UserError
from rl_gns.report.style import GREY, ORANGE
from rl_gns.studies.scope import Scope, of_paper, of_study
from rl_gns.studies.study import load_study
from rl_gns.training import checkpoint
from rl_gns.training.optimizer_start import lost_at_start
from rl_gns.training.saved import load_run

LEFT = 0.05
"""Share of a point's updates that must be left, else it is not fitted without the wait."""
NONE = "{} has no wait: only TensorFlow's RMSProp that begins above 0 has one"
NEAR = 2.5
"""Waits: fronts of a smaller S_min are told of apart."""
GAMES = ("alien", "beam_rider", "breakout", "pong", "space_invaders")
"""The paper's that were trained by A2C."""


def squares(run: Path) -> str:
    """Mean squares of a run's newest checkpoint beside epsilon, in words. Raises UserError: it has none."""
    config = load_run(run).config
    if not lost_at_start(config):
        raise UserError(NONE.format(run))
    if not checkpoint.files(run / "checkpoints"):
        raise UserError(f"{run} has no checkpoint")
    path, state, _ = checkpoint.newest(run / "checkpoints")
    found = torch.cat([one["square_avg"].flatten() for one in state["optimizer"]["state"].values()])
    below, above = (
        (found < config.rmsprop_eps / 100).double().mean(),
        (found > config.rmsprop_eps).double().mean(),
    )
    left = config.rmsprop_start * config.rmsprop_decay ** (int(path.stem) // config.batch)
    return (
        f"{path}: {len(found):,} weights, mean square below epsilon / 100 of {below:.2%}, "
        f"above epsilon of {above:.3%}; the start's own share is {left:.1e}"
    )


def fitted(points: pd.DataFrame, wait: float, bootstrap: int) -> tuple[Front | None, int]:
    """The front of `points` (batch, updates, censored) with `wait` taken off their updates; points left out.

    None where fewer than three batch sizes are left.
    """
    left = points[points["updates"] - wait > LEFT * points["updates"]]
    if left["batch"].nunique() < 3:
        return None, len(points) - len(left)
    front = fit_front(
        left["batch"], left["updates"] - wait, left["censored"].to_numpy(bool), bootstrap=bootstrap
    )
    return front, len(points) - len(left)


def cells(front: Front | None, after: str) -> dict[str, float | None]:
    """A front's numbers, named with `after`."""
    names = ("b_crit", "b_crit_low", "b_crit_high", "s_min", "e_min")
    return {f"{name}{after}": getattr(front, name, None) for name in names}


def table(scope: Scope, wait: float, bootstrap: int = 1000) -> pd.DataFrame:
    """A row a front: b_crit and its ends, s_min, e_min, as run and `_without` the wait; b_simple at the goal, its ratio
    to each; points and how many of them were left out."""
    rows: list[dict[str, Any]] = []
    for rollout, goal in scope.keys:
        points = scope.points((rollout, goal))
        (as_run, _), (without, left_out) = fitted(points, 0.0, bootstrap), fitted(points, wait, bootstrap)
        noise = scope.noise((rollout, goal), "noise_scale")
        row = {
            "of": scope.name,
            "rollout": rollout,
            "goal": goal,
            "points": len(points),
            "left_out": left_out,
        }
        row |= {"wait": wait, **cells(as_run, ""), **cells(without, "_without")}
        row["b_simple"] = math.nan if noise is None else noise.value
        rows.append(row)
    found = pd.DataFrame(rows)
    for after in ("", "_without"):
        found[f"ratio{after}"] = found["b_simple"] / found[f"b_crit{after}"].astype(float)
    return found


def text(rows: pd.DataFrame) -> str:
    """For people: a line a front, then medians of fronts that have both, those near the wait and the others."""
    lines = [
        f"{'':28}{'S_min':>7}{'B_crit':>8}{'B_simple /':>12}   without the wait of "
        f"{'S_min':>13}{'B_crit':>8}{'B_simple /':>12}{'left out':>10}"
    ]

    def said(value: float | None, digits: str = ",.0f") -> str:
        return "-" if value is None or math.isnan(value) else format(value, digits)

    for row in rows.to_dict("records"):
        what = f"{row['of']}, {row['goal']:g}" + (f", T = {row['rollout']}" if row["rollout"] != 5 else "")
        one, two = (
            f"{said(row[f's_min{after}']):>7}{said(row[f'b_crit{after}']):>8}{said(row[f'ratio{after}'], '.2f'):>12}"
            for after in ("", "_without")
        )
        lines.append(f"{what:28}{one}{row['wait']:22,.0f}:{two:>36}{row['left_out']:>10}")
    both = rows.dropna(subset=["ratio", "ratio_without"])
    near = both["s_min"] < NEAR * both["wait"]
    for what, some in (
        ("", both),
        (f" of S_min below {NEAR} waits", both[near]),
        (", the others", both[~near]),
    ):
        if len(some):
            spread = [some[name].quantile([0.0, 0.5, 1.0]).tolist() for name in ("ratio", "ratio_without")]
            words = [f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in spread]
            lines.append(
                f"B_simple / B_crit, median and range of {len(some)} fronts{what}: {words[0]}; without {words[1]}"
            )
    return "\n".join(lines)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """B_simple / B_crit over S_min, as run (grey) and without the wait (coloured), an arrow a front."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    both = rows.dropna(subset=["ratio", "ratio_without"])
    for row in both.to_dict("records"):
        start, end = (row["s_min"], row["ratio"]), (row["s_min"], row["ratio_without"])
        axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": GREY, "lw": 0.9})
    papers = both["of"].str.startswith("paper")
    for some, marker, whose in ((both[papers], "o", "the paper's"), (both[~papers], "s", "ours")):
        for name, colour, how in (("ratio", GREY, "as run"), ("ratio_without", ORANGE, "without the wait")):
            if len(some):
                axes.plot(some["s_min"], some[name], marker, color=colour, ms=5, label=f"{whose}, {how}")
    axes.axhline(1, color="0.5", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="S_min as run, updates", ylabel="B_simple / B_crit")
    for wait in rows["wait"].unique():
        axes.axvline(wait, color="0.5", lw=0.8, ls=":")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150)


def main(words: list[str] | None = None) -> None:
    """Fit, print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", nargs="*", help="studies trained by A2C with TensorFlow's RMSProp")
    parser.add_argument("--paper", action="store_true", help="the paper's own Atari fronts too")
    parser.add_argument(
        "--run", type=Path, help="of a run, say how large gradients are beside epsilon, and stop"
    )
    parser.add_argument("--to", type=Path, help="write the rows here, as CSV")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args(words)
    found = []
    try:
        if given.run is not None:
            print(squares(given.run))
            return
        if given.paper:
            published = updates_lost()
            found += [
                table(dataclasses.replace(of_paper(game), name=f"paper: {game}"), published) for game in GAMES
            ]
        for name in given.study:
            study = load_study(name)
            wait = lost_at_start(study.plan({})[0].config)
            if not wait:
                raise UserError(NONE.format(name))
            found.append(table(of_study(study), wait))
    except UserError as error:
        parser.error(str(error))
    if not found:
        parser.error("name a study, or --paper")
    rows = pd.concat(found, ignore_index=True)
    print(text(rows))
    if given.to is not None:
        rows.to_csv(given.to, index=False, float_format="%.6g")
    if given.figure is not None:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()
