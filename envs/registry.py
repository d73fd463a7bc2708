"""Worlds by name: "prefix:name" -> a BatchedEnv."""

from __future__ import annotations

import difflib
from typing import Any

import torch

from envs.batched import BatchedEnv, EnvError

NOT_SERVED = {"Blackjack-v1", "GymV21Environment-v0", "GymV26Environment-v0"}
"""Gymnasium's own whose observations are tuples, and that are no tasks."""
PREFIXES = ("atari", "gym", "moba", "solvable")


def make(
    spec: str, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any
) -> BatchedEnv:
    """Build `num_envs` environments of `spec`, e.g. "atari:pong", "gym:CartPole-v1", "moba:1v1".

    Environment i of seed s is the same stream of randomness whatever `num_envs`.

    Raises:
        EnvError: unknown prefix, name or option, with the nearest names.
    """
    prefix, _, name = spec.partition(":")
    if not name or prefix not in PREFIXES:
        near = difflib.get_close_matches(prefix, PREFIXES, n=1)
        hint = f"; did you mean {near[0]}:{name or '…'}?" if near else ""
        raise EnvError(
            f"{spec!r} names no environment: write PREFIX:NAME with PREFIX one of {', '.join(PREFIXES)}{hint}"
        )
    if prefix == "atari":
        from envs.atari import AtariEnv

        return AtariEnv(name, num_envs, device, seed, **options)
    if prefix == "gym":
        from envs.gym import GymEnv

        return GymEnv(name, num_envs, device, seed, **options)
    if prefix == "moba":
        from envs.moba.env import MobaEnv

        return MobaEnv(name, num_envs, device, seed, **options)
    from envs import solvable

    return solvable.make(name, num_envs, device, seed, **options)


def available() -> list[str]:
    """Every name that `make` takes; those of `gym:` as far as the packages that they are in are installed."""
    import gymnasium

    # `gym:` has its own Atari games only once ale-py is loaded: they are `atari:` here.
    plain = [
        name
        for name, spec in sorted(gymnasium.registry.items())
        if spec.namespace is None and name not in NOT_SERVED and not _gone(spec.entry_point)
    ]
    from envs.atari_game import atari_games
    from envs.moba.options import names as moba_names
    from envs.solvable import WORLDS

    return (
        [f"atari:{name}" for name in atari_games()]
        + [f"moba:{name}" for name in moba_names()]
        + [f"solvable:{name}" for name in WORLDS]
        + [f"gym:{name}" for name in plain]
    )


def _gone(entry_point: Any) -> bool:
    """Whether it is another suite's, or a stub that only says that the task was removed (MuJoCo's v2 and v3)."""
    return not (isinstance(entry_point, str) and entry_point.startswith("gymnasium."))
