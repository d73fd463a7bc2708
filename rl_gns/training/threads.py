"""Who uses the processors when: torch's threads and the emulators of an environment.

After an operation GNU OpenMP's threads spin, waiting for the next one: right while learning, where operations follow
one another, and wrong while emulators run beside them. OpenMP 5.0 can end the threads; the next operation starts
them again, in some tens of microseconds.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agents.ranks import ALONE, Ranks
from envs import BatchedEnv
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig
from rl_gns.training.sharing import processes_here

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


def emulator_options(config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """Options for an environment of emulators: as many processes as the run may use processors.

    Where this process acts or learns while games are emulated, its workers emulate; where a GPU does that work, this
    process does little but wait for it, and its processor gets a worker too.
    """
    if not config.env.startswith("atari:"):
        return {}
    processes = config.threads
    if processes is None:
        processes = max(1, len(os.sched_getaffinity(0)) // processes_here())
    if config.overlap == "none":
        return {"workers": processes}
    return {"own_share": 0.0, "workers": processes + (device.type != "cpu")}


def check_overlap(config: TrainConfig, env: BatchedEnv, ranks: Ranks = ALONE) -> None:
    """Raises UserError where nothing could be overlapped."""
    if config.overlap == "none":
        return
    if config.overlap == "learn":
        if ranks.count > 1:  # both threads would talk to the other processes, in no order
            raise UserError("overlap=learn is for one process: start it without torchrun")
        return
    if not env.steps_elsewhere:
        raise UserError(f"overlap={config.overlap} is for environments that other processes step, as atari:")
    if env.num_envs < 2:
        raise UserError(f"overlap={config.overlap} needs at least 2 environments, got {env.num_envs}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes on one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
