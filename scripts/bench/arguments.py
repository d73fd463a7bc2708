"""What the benchmarks ask of their arguments."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any


def at_least_one(text: str) -> int:
    """For argparse: a number of rounds."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def rollout_by_environments(text: str) -> tuple[int, int]:
    """For argparse: 5x16, both at least 1."""
    steps, cross, num_envs = text.partition("x")
    if not (cross and steps.isdecimal() and num_envs.isdecimal() and int(steps) and int(num_envs)):
        raise argparse.ArgumentTypeError(f"must be as 5x16, rollout x environments, got {text!r}")
    return int(steps), int(num_envs)


def device_here(text: str) -> str:
    """For argparse: a device that torch can use on this machine."""
    from rl_gns.errors import UserError
    from rl_gns.training.device import pick_device

    try:
        return str(pick_device(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def cores_here(text: str) -> int:
    """For argparse: as many cores as this process has, or fewer."""
    number, here = at_least_one(text), len(os.sched_getaffinity(0))
    if number > here:
        raise argparse.ArgumentTypeError(f"there are {here} cores, not {number}")
    return number


def machine() -> dict[str, Any]:
    """What a file of results says of the machine that they were measured on."""
    return {"processors": len(os.sched_getaffinity(0)), "system": platform.platform()}


def same_machine(parser: argparse.ArgumentParser, path: Path, known: dict[str, Any]) -> None:
    """Ends with a line where `path` has `known` results of another machine: rows would lie under a wrong label."""
    if known.get("machine") != machine():
        parser.error(
            f"{path} has rows of another machine, {known.get('machine')}, not {machine()}: use another"
        )
