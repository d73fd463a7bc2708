"""How much memory a rollout takes, said before any is taken."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import torch

from agents.rollout import Rollout
from envs.moba.memory import available
from rl_gns.errors import UserError


def rollout_bytes(
    steps: int, streams: int, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
) -> int:
    """Bytes of the storage for [steps, streams]."""
    nowhere = Rollout.empty(steps, streams, observation_space, action_space, torch.device("meta"))
    return sum(getattr(nowhere, field.name).nbytes for field in dataclasses.fields(nowhere))


def refuse_if_too_big(
    steps: int,
    streams: int,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    device: torch.device,
    free: int | None = None,
) -> None:
    """Raises UserError, with the length that fits, if the rollout does not fit into `free` bytes (None: ask)."""
    need = rollout_bytes(steps, streams, observation_space, action_space)
    if free is None:
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()
    if need > free:
        fits = int(steps * free / need)
        raise UserError(
            f"a rollout of {steps} decisions of {streams} streams takes {need / 2**30:.1f} GiB, {free / 2**30:.1f} "
            f"GiB are free on {device}: use rollout {max(fits, 1)} or less, or fewer environments"
        )
