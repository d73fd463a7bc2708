"""From a study on disk to its fits: the table, the prediction beside it, and where what follows is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rl_gns.analysis import Front
from rl_gns.errors import UserError
from rl_gns.studies.against import compare
from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.own_tables import AT_FIRST
from rl_gns.studies.predicted import predict
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study
from rl_gns.studies.words import counted
from rl_gns.training.config import TrainConfig
from rl_gns.training.optimizer_start import WORTH_TELLING, lost_at_start
from rl_gns.training.stopping import FEWEST_GAMES


def fit_study(
    study: Study, seed: int = 0, bootstrap: int = 1000, outcomes: Mapping[str, Outcome] | None = None
) -> Fits:
    """Fit all that the finished runs allow, see `fits.fit`; without `outcomes` they are read from disk.

    Raises:
        UserError: no run has finished, none that has can be counted, or `against` names a study of another env.
    """
    outcomes = study.outcomes() if outcomes is None else outcomes
    said = left_out(study, outcomes)
    try:
        found = fit(study.table(outcomes), seed, bootstrap, predict(study, outcomes, seed, bootstrap))
    except UserError as error:
        raise UserError(said or str(error)) from None
    doubts = (*at_first(found.points, outcomes), *waits(study.plan(outcomes)[0].config, found.front_of))
    return dataclasses.replace(found, left_out=said, against=compare(study, found.points), doubts=doubts)


def at_first(points: pd.DataFrame, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Goals that the runs behind a front had as soon as a score counted at all, a line per goal and rollout length.

    Such a run's updates say when its twentieth game ended: a number of the environments and of the length of games,
    which falls on a fine hyperbola of the batch.
    """
    lines = []
    for (goal, rollout), met in points[~points["censored"]].groupby(["goal", "rollout"]):
        early = sum(
            outcomes[name].first == at for name, at in zip(met["id"], met["observations"], strict=True)
        )
        if early:
            lines.append(
                f"careful: score {goal:g}, rollouts of {rollout}: {early} of {counted(len(met), 'best run')} reached "
                f"it {AT_FIRST}, of {FEWEST_GAMES} games, perhaps long before: it takes a harder "
                "goal"
            )
    return lines


def waits(config: TrainConfig, front_of: Mapping[tuple[int, float], Front]) -> list[str]:
    """Fronts of whose S_min the optimizer's start makes up a share `WORTH_TELLING`, a line each.

    Each run loses the same updates at any batch, which add to S_min and leave a hyperbola a hyperbola. Where S_min is
    smaller than that they can't have been lost: gradients were not small.
    """
    lost, lines = lost_at_start(config), []
    for (rollout, goal), front in front_of.items():
        if front.s_min is not None and 0 < WORTH_TELLING * front.s_min <= lost < front.s_min:
            lines.append(
                f"careful: score {goal:g}, rollouts of {rollout}: of S_min, {front.s_min:,.0f} updates, up to "
                f"{lost:,.0f} are lost at RMSProp's start, at any batch (rmsprop_start {config.rmsprop_start:g}): "
                f"without them B_crit is up to {front.s_min / (front.s_min - lost):.2g} times as large"
            )
    return lines


def unfinished(study: Study, outcomes: Mapping[str, Outcome]) -> str:
    """How many planned runs have still to finish, and that they don't count; empty where all have."""
    runs = study.plan(outcomes)
    missing = sum(not outcomes[run.id].final for run in runs)
    return (
        f"Not finished: {missing} of {counted(len(runs), 'run')} known to be needed. What follows counts finished runs "
        "only and will move."
        if missing
        else ""
    )


def left_out(study: Study, outcomes: Mapping[str, Outcome]) -> str:
    """Which planned runs are on disk and can't be counted, with the first one's reason; empty without any."""
    runs = study.plan(outcomes)
    bad = [(run.id, outcomes[run.id].reason) for run in runs if outcomes[run.id].status == "damaged"]
    if not bad:
        return ""
    name, reason = bad[0]
    return f"{len(bad)} of {len(runs)} planned runs are on disk and left out, the first: {name} {reason}"


def report_folder(study: Study) -> Path:
    """Where page, figures and tables go unless told otherwise; small enough to be kept with the study's file."""
    return study.results / "report"
