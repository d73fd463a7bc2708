"""This project without one of its gains, for `gains.py`: each entry puts back what was there before it."""

from collections.abc import Callable
from typing import Any

import torch

import agents.networks
import rl_gns.training.collecting
import rl_gns.training.loop
from agents.optimizers import RMSpropTF
from agents.recall import Recall


def recall() -> None:
    """A2C runs every observation through the network twice."""
    rl_gns.training.loop.Recall = lambda policy, steps, streams: Recall(policy, 0, streams)  # type: ignore[misc, assignment]


def memory() -> None:
    """Large blocks go back to the system when they are freed."""
    rl_gns.training.loop.keep_freed_memory = lambda: False  # type: ignore[attr-defined]


def pictures() -> None:
    """Torch converts pictures across layouts."""

    def converted(obs: torch.Tensor) -> torch.Tensor:
        return obs.to(torch.float32, memory_format=torch.channels_last).mul_(1.0 / 255.0)

    agents.networks.pictures = converted


def rmsprop() -> None:
    """RMSProp as six torch operations."""
    RMSpropTF._in_one_pass = lambda *_: False  # type: ignore[method-assign, assignment]


def rest() -> None:
    """Torch's threads spin on beside the emulators."""
    rl_gns.training.collecting.sleeper = lambda: lambda: None  # type: ignore[attr-defined]


WITHOUT: dict[str, Callable[[], Any]] = {
    "recall": recall,
    "memory": memory,
    "pictures": pictures,
    "rmsprop": rmsprop,
    "rest": rest,
}
