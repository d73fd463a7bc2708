"""The rules as plain Python, as machine code for the CPU, and as device functions for a GPU: one source, three builds.

The rule modules hold undecorated functions that call each other by name. `build` copies them into one namespace in
which every name is the wrapped function instead, so nothing in the rules speaks of compilers. The plain build is the
slow twin of the others in the tests.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

MODULES = (
    "settings",
    "layout",
    "state",
    "chance",
    "geometry",
    "vision",
    "reward",
    "economy",
    "combat",
    "orders",
    "lanes",
    "masks",
    "observe",
    "world",
    "opponents",
)
"""A module's functions are used only by those after it."""
FAST: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Options for Numba: no exceptions (the rules never divide by zero) and no reference counts (they only ever borrow
arrays), which is 1.5 to 2 times faster."""


def build(wrap: Callable[[Callable[..., Any]], Any], table: Callable[[Any], Any]) -> dict[str, Any]:
    """All rules in one namespace, every function wrapped by `wrap`, every array of constants by `table`."""
    namespace: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(f"envs.moba.{name}")
        for key, value in vars(module).items():
            if isinstance(value, int):
                namespace[key] = value
            elif isinstance(value, np.ndarray):
                namespace[key] = table(value)
            elif inspect.isfunction(value) and value.__module__ == module.__name__ and _is_rule(value):
                namespace[key] = wrap(FunctionType(value.__code__, namespace, key))
    return namespace


def _is_rule(function: Callable[..., Any]) -> bool:
    """Rules take and give integers and arrays of them; the few other functions of those modules do not."""
    return not set(function.__annotations__.values()) - {"Grid", "Line", "int", "bool", "None"}


@functools.cache
def plain() -> SimpleNamespace:
    """The rules as plain Python. They take memoryviews, whose elements are Python's own integers: nothing overflows
    unseen, since a number that does not fit its array raises.
    """
    return SimpleNamespace(**build(lambda rule: rule, memoryview))


@functools.cache
def compiled() -> SimpleNamespace:
    """The rules for the CPU: `step_worlds`, `start_worlds` and `play` over a range of worlds, without the GIL.

    Machine code is kept in a folder named after the sources, so that a change of any rule, not only of the function
    that is called, compiles anew. The folder lies in the user's cache, which the installation need not own.
    """
    numba: Any = importlib.import_module("numba")
    namespace = build(numba.njit(**FAST), lambda table: table)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        return loops(namespace, numba.njit(cache=True, **FAST))
    finally:
        numba.config.CACHE_DIR = before


def loops(namespace: dict[str, Any], wrap: Callable[[Callable[..., Any]], Any]) -> SimpleNamespace:
    """The three loops over worlds, on the rules of `namespace`."""
    found = {}
    for loop in (step_worlds, start_worlds, play):
        clone = FunctionType(loop.__code__, namespace, loop.__name__)
        clone.__module__ = __name__
        clone.__qualname__ = loop.__name__
        found[loop.__name__] = wrap(clone)
    return SimpleNamespace(**found)


def cache_folder() -> Path:
    """Where machine code of exactly these sources is kept: the user's cache, or else a folder of this process."""
    digest = hashlib.sha256()
    for name in (*MODULES, "compile"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    name = f"moba-{digest.hexdigest()[:16]}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl-gns" / name
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    # A shared temporary folder would let others put code there; so each process gets its own.
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="rl-gns-"))


# The three loops over worlds. They run as written in plain Python too, on lists of memoryviews.
# mypy and readers see the rules' own names; `loops` gives them the namespace they are looked up in.


def step_worlds(units, heroes, game, knobs, rows, actions, obs, reward, begin, end):  # type: ignore[no-untyped-def]
    """One decision of worlds begin … end - 1; arrays as in `state`, with the world in front."""
    for world in range(begin, end):
        step_world(  # noqa: F821
            units[world],
            heroes[world],
            game[world],
            knobs,
            rows[world],
            actions[world],
            obs[world],
            reward[world],
        )


def start_worlds(units, heroes, game, knobs, rows, obs, which, begin, end):  # type: ignore[no-untyped-def]
    """Start the worlds which[begin] … which[end - 1] anew."""
    for i in range(begin, end):
        world = which[i]
        start_world(units[world], heroes[world], game[world], knobs, rows[world], obs[world])  # noqa: F821


def play(script, knobs, obs, actions, begin, end):  # type: ignore[no-untyped-def]
    """Actions of a script (its number) for observations begin … end - 1."""
    for i in range(begin, end):
        decide(script, knobs, obs, i, actions)  # noqa: F821
