"""Worlds: batches of environments as tensors. They know nothing of learning.

`envs.make("atari:pong", num_envs=16, seed=1)`; prefixes `atari:`, `gym:`, `solvable:`.
Names are loaded on first use: emulator workers import this package and must not pay for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.atari_crew import WorkerDied as WorkerDied
    from envs.batched import BatchedEnv as BatchedEnv
    from envs.batched import EnvError as EnvError
    from envs.batched import Step as Step
    from envs.registry import available as available
    from envs.registry import make as make

_HOME = {
    "BatchedEnv": "envs.batched",
    "EnvError": "envs.batched",
    "Step": "envs.batched",
    "WorkerDied": "envs.atari_crew",
    "available": "envs.registry",
    "make": "envs.registry",
}
__all__ = ["BatchedEnv", "EnvError", "Step", "WorkerDied", "available", "make"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'envs' has no attribute {name!r}")
