"""A study's runs beside another's of the same task, cell by cell: e.g. a policy that sees against one that does not."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from rl_gns.errors import UserError
from rl_gns.studies.fits import best_points
from rl_gns.studies.results import MAY_DIFFER
from rl_gns.studies.seeds import UNKNOWN, over_seeds, ratio_of
from rl_gns.studies.study import Study, load_study
from rl_gns.studies.words import counted

NAMES = (
    "other",
    "rollout",
    "goal",
    "batch",
    "observations",
    "other_observations",
    "ratio",
    "ratio_low",
    "ratio_high",
    "seeds",
    "other_seeds",
    "note",
    "ids",
    "other_ids",
)


def compare(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """The studies that `against` names, at every goal, rollout and batch that both have.

    Args:
        study: this one.
        points: `fits.best_points` of it, whose best run stands for a seed, as it does in the other study.

    Returns:
        A row per study, rollout, goal and batch: other, what it is called; observations and other_observations to the
        goal, geometric means over seeds; ratio = other_observations / observations with its 95 % interval (Welch's t of
        the logarithms); seeds and other_seeds; ids and other_ids, the runs. Where none of the other's seeds reached the
        goal ratio_low is what they had made by then, a bound without an interval, and note says so; where some seeds
        of either reached it and some did not there is no ratio. Empty without `against`, or where nothing is shared.

    Raises:
        UserError: a study that is named has another env.
    """
    rows: list[dict[str, Any]] = []
    for path in study.spec.against:
        other = load_study(study.path.parent / path)
        if other.spec.env != study.spec.env:
            raise UserError(f"{study.path}: against names {path}, which is of {other.spec.env}")
        theirs = best_points(other.table())
        for (rollout, goal, batch), ours in points.groupby(["rollout", "goal", "batch"]):
            same = (theirs["rollout"] == rollout) & (theirs["goal"] == goal) & (theirs["batch"] == batch)
            if same.any():
                row = {"other": label(study, other), "rollout": rollout, "goal": goal, "batch": batch}
                rows.append(row | _row(ours, theirs[same]))
    return pd.DataFrame(rows, columns=list(NAMES) if rows else None)


def label(study: Study, other: Study) -> str:
    """Its name, and the settings in which it differs: "blind_seaquest (network = blind)"."""
    ours, theirs = ({"algo": str(each.spec.algo), **each.spec.train} for each in (study, other))
    keys = [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key) and key not in MAY_DIFFER]
    said = [f"{key} = {theirs.get(key, 'default')}" for key in keys]
    return f"{other.name} ({', '.join(said)})" if said else other.name


def _row(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Any]:
    missed, missed_there = int(ours["censored"].sum()), int(theirs["censored"].sum())
    geometric, geometric_there = (over_seeds(each["observations"]).value for each in (ours, theirs))
    ratio, note = UNKNOWN, ""
    if not missed and not missed_there:
        ratio = ratio_of(theirs["observations"], ours["observations"])
    elif not missed and missed_there == len(theirs):
        ratio = UNKNOWN._replace(low=geometric_there / geometric)
        note = f"0 of {counted(len(theirs), 'seed')} there reached it"
    else:
        note = (
            f"{missed} of {len(ours)} seeds here and {missed_there} of {len(theirs)} there did not reach it"
        )
    return {
        "observations": math.nan if missed else geometric,
        "other_observations": math.nan if missed_there else geometric_there,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "seeds": len(ours),
        "other_seeds": len(theirs),
        "note": note,
        "ids": " ".join(ours["id"]),
        "other_ids": " ".join(theirs["id"]),
    }
