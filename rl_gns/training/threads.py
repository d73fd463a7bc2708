"""Puts torch's idle CPU threads to sleep while others want the processors.

After an operation GNU OpenMP's threads spin, waiting for the next one: right while learning, where operations follow
one another, and wrong while emulators run beside them. OpenMP 5.0 can end the threads; the next operation starts
them again, in some tens of microseconds.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path

_SOFT = 1  # omp_pause_soft


def openmp_library() -> Path | None:
    """The GNU OpenMP library that comes with torch, None where torch uses another. Does not load torch."""
    spec = importlib.util.find_spec("torch")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((path for folder in folders for path in Path(folder, "lib").glob("libgomp*.so*")), None)


def sleeper() -> Callable[[], None]:
    """A function that ends torch's idle threads; one that does nothing where that can't be done."""
    path = openmp_library()
    try:
        pause = ctypes.CDLL(str(path)).omp_pause_resource_all if path is not None else None
    except (OSError, AttributeError):
        pause = None
    if pause is None:
        return lambda: None
    return lambda: pause(_SOFT)
