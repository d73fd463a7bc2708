"""Worlds whose policy gradient is known: mean G and covariance Σ are computed, not sampled.

They train through the same pipeline as any other world, and `env.exact(...)` tells what a measurement of the
gradient noise scale must find. They know nothing of learning: the truth takes tables of plain numbers.

The policies they speak of have no torso: x -> logits.weight x (or mean.weight x with `log_std`) and
value.weight x, where x is the observation, one-hot if it is an index.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from envs.batched import EnvError
from envs.solvable.bandit import Bandit
from envs.solvable.base import SolvableEnv
from envs.solvable.chain import Chain, Tables, walk
from envs.solvable.exact import Exact
from envs.solvable.gaussian import Gaussian

__all__ = ["WORLDS", "Bandit", "Chain", "Exact", "Gaussian", "SolvableEnv", "Tables", "make", "walk"]

WORLDS: dict[str, type[SolvableEnv]] = {"bandit": Bandit, "gaussian": Gaussian, "chain": Chain}


def make(
    name: str, num_envs: int, device: torch.device | str = "cpu", seed: int = 0, **options: Any
) -> SolvableEnv:
    """Build `solvable:<name>`; options are the world's keyword arguments.

    Raises EnvError for an unknown world or option.
    """
    if name not in WORLDS:
        raise EnvError(
            f"unknown world 'solvable:{name}'; there are {', '.join('solvable:' + w for w in WORLDS)}"
        )
    known = set(inspect.signature(WORLDS[name]).parameters) - {"num_envs", "device", "seed"}
    if unknown := sorted(set(options) - known):
        raise EnvError(
            f"solvable:{name} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return WORLDS[name](num_envs, device=device, seed=seed, **options)
