"""bfloat16 in a policy's torso: 8 bits of mantissa for half the memory traffic and faster products.

Weights, optimizer, heads, log-probabilities and losses stay float32: only the torso's layers round their inputs and
outputs (torch's autocast). What measures switches it off for its own passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from agents.networks import Shared


def use_bfloat16(policy: nn.Module) -> None:
    """Let the torso of `policy` compute in bfloat16 from now on.

    Raises:
        ValueError: it has no torso apart from its heads.
    """
    if not isinstance(policy, Shared):
        raise ValueError(
            "precision bf16 is for the networks nature and impala: the others are too small to gain"
        )
    policy.torso_bfloat16 = True


@contextmanager
def plainly(policy: nn.Module) -> Iterator[None]:
    """Float32 throughout and layer by layer, for a while."""
    if not isinstance(policy, Shared):
        yield
        return
    before = policy.torso_bfloat16, policy.compiled_sizes
    policy.torso_bfloat16, policy.compiled_sizes = False, frozenset()
    try:
        yield
    finally:
        policy.torso_bfloat16, policy.compiled_sizes = before
