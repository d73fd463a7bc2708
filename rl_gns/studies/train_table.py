"""The [train] table of a study's file, checked against the settings of a run and their types, so none is told twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rl_gns.errors import UserError
from rl_gns.training import kinds
from rl_gns.training.config import TrainConfig

OWN = (
    "env",
    "algo",
    "num_envs",
    "rollout",
    "observations",
    "learning_rate",
    "seed",
    "stop_score",
    "stop_halflife",
    "threads",
)
"""Settings of a run that the study itself decides."""


def check(
    table: Mapping[str, Any], known: Callable[[Mapping[str, Any], list[str], str], None]
) -> dict[str, Any]:
    """The table as a dict.

    Args:
        table: what TOML gave.
        known: called with the table, the names allowed and their prefix; raises on another name.

    Raises:
        UserError: a setting that is the study's own, unknown, or of another type.
    """
    for key in table:
        if key in OWN:
            raise UserError(f"train.{key} is the study's own: leave it out of [train]")
    known(table, [field.name for field in dataclasses.fields(TrainConfig) if field.name not in OWN], "train.")
    kinds.check(TrainConfig, table, "train.")
    return dict(table)
