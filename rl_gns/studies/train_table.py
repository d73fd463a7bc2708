"""The [train] table of a study's file, checked against the settings of a run and their types, so none is told twice."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rl_gns.errors import UserError
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
ALGORITHMS: tuple[str, ...] = get_args(get_type_hints(TrainConfig)["algo"])
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a table"}


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
    hints = get_type_hints(TrainConfig)
    for key, value in table.items():
        kinds = _kinds(hints[key])
        if not any(_is(value, kind) for kind in kinds):
            words = " or ".join(dict.fromkeys(_word(kind) for kind in kinds if kind is not types.NoneType))
            raise UserError(f"train.{key} must be {words}, got {value!r}")
    return dict(table)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kind = get_origin(kind) or kind
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return _WORDS[get_origin(kind) or kind]
