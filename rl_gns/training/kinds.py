"""What kind of value each field of a settings dataclass takes, by its annotation: so none is told twice."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rl_gns.errors import UserError

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    dict: "a table",
    tuple: "a list",
}


def check(settings: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Raises UserError, one line, where a value is not what its field of `settings` takes.

    Args:
        settings: a dataclass.
        values: by field; every one of them is a field of `settings`.
        prefix: of the names in messages.
    """
    hints = _hints(settings)
    for name, value in values.items():
        kinds = _kinds(hints[name])
        if not any(_is(value, kind) for kind in kinds):
            words = " or ".join(dict.fromkeys(_word(kind) for kind in kinds if kind is not types.NoneType))
            raise UserError(f"{prefix}{name} must be {words}, got {value!r}")


@functools.cache
def _hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kind = get_origin(kind) or kind
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return _WORDS[get_origin(kind) or kind]
