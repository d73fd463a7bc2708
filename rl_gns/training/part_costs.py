"""Which parts of the noise can be asked for, what each costs, and how often that allows measuring them.

Costs are in forward passes over one rollout and follow from the settings alone, never from the clock: a
resumed run measures at the same updates. Imports no torch, so that settings can be checked without it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from rl_gns.errors import UserError

LOSSES = ("policy", "value", "entropy")
OF_TOTAL = ("total", "layers", "optimizer")
CURVATURES = ("hessian", "fisher")
FREE = ("normalized",)
"""Taken from the main measurement, whenever that is made."""
NORMALIZED = (*LOSSES, "total", "optimizer", "fisher")
"""Parts that are also told with every update counted alike where `normalized` is asked for: forms never negative, so no
hessian."""
PARTS = (*LOSSES, *OF_TOTAL, *FREE, *CURVATURES, "line-search", "epochs")

BACKWARD = 2
DERIVATIVE = 6  # a backward pass through a forward and a backward pass
LINE_SEARCH_STEPS = 10
LINE_SEARCH_PASS = 2 / 3  # half the rollout, in smaller pieces
ROWS_PER_VECTOR = 24
"""Observations whose forward pass takes as long as handling one vector of all weights (nature, a CPU)."""
DERIVATIVE_VECTORS = 4


def parse(names: str, algo: str) -> tuple[str, ...]:
    """Turn "policy,value" into ("policy", "value"), each once, in the order of PARTS.

    Raises:
        UserError: an unknown part, or one the algorithm does not have.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"unknown part {name!r} in noise_parts; {hint}there are {', '.join(PARTS)}")
    if "epochs" in asked and algo != "ppo":
        raise UserError(f"noise_parts 'epochs' is for ppo: {algo} passes over a rollout once; leave it out")
    return tuple(name for name in PARTS if name in asked)


def check(parts: Sequence[str], groups: int, every: int | None, budget: float) -> None:
    """See that the parts can be measured.

    Raises:
        UserError: too few groups of environments, a cadence that is no count, no budget.
    """
    if every is not None and every < 1:
        raise UserError(f"noise_parts_every must be at least 1 update, got {every}")
    if not parts:
        return
    if groups < 2:
        raise UserError(
            "noise_parts needs at least two groups of environments that can be compared: raise num_envs"
        )
    needy = [name for name in (*CURVATURES, "line-search") if name in parts]
    if needy and groups < 4:
        raise UserError(f"noise_parts {needy[0]!r} needs at least 4 groups of environments, got {groups}")
    free = [name for name in FREE if name in parts]
    if free and budget <= 0:
        raise UserError(
            f"noise_parts {free[0]!r} is of the main measurement, which noise_budget 0 switches off"
        )
    if every is None and budget <= 0:
        raise UserError("noise_parts with noise_budget 0 would never be measured: set noise_parts_every")


def cost(parts: Sequence[str], groups: int, epochs: int, batch: int) -> float:
    """Forward passes over one rollout of `batch` observations that measuring `parts` once takes.

    A gradient is 1 + 2, every further loss 2 more, and a vector of all weights for each group on top: where
    groups are small, as a2c's are, that is most of it. A Hessian or Fisher matrix takes a graph of forward
    and backward pass and groups / 2 + 1 derivatives of it; both share the groups' gradients with the line
    search, which makes groups - 1 directions, judged on half the rollout.
    """
    vectors = groups * ROWS_PER_VECTOR / batch
    losses = sum(name in parts for name in LOSSES) + any(name in parts for name in OF_TOTAL)
    curvatures = sum(name in parts for name in CURVATURES)
    gradient = 1 + BACKWARD + vectors
    total = 1 + (BACKWARD + vectors) * losses if losses else 0.0
    if curvatures or "line-search" in parts:
        total += gradient
    products = (groups / 2 + 1) * (DERIVATIVE + DERIVATIVE_VECTORS * vectors)
    total += curvatures * (gradient + products)
    if "line-search" in parts:
        total += (groups - 1) * LINE_SEARCH_STEPS * (LINE_SEARCH_PASS + vectors / groups)
    if "epochs" in parts:
        total += epochs * gradient
    return total


def cadence(parts: Sequence[str], groups: int, epochs: int, batch: int, budget: float) -> int:
    """Updates between measurements for which the parts take at most `budget` of the run; 0 without parts.

    An update costs 1 for acting and 3 an epoch for learning; emulation, which only lowers the share, is left
    out.
    """
    if not parts or budget <= 0:
        return 0
    return math.ceil(cost(parts, groups, epochs, batch) / (1 + (1 + BACKWARD) * epochs) / budget)
