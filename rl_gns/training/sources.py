"""Random states that go on where they stopped, also where a run changes between a CPU and a GPU."""

from __future__ import annotations

import numpy as np
from torch import Generator, Tensor


def of_another_kind(generator: Generator, saved: Tensor) -> bool:
    """Whether `saved` is the state of another kind of device's generator: those have other sizes."""
    return saved.numel() != generator.get_state().numel()


def put_back(generator: Generator, saved: Tensor, *anew: int) -> None:
    """Let `generator` go on from `saved`; one of another kind of device, which can't, begins anew.

    Args:
        generator: of the device that draws from now on.
        saved: what its `get_state` said, or that of another device's generator.
        anew: numbers that make the seed to begin with there; they must follow from the run and how far it is, so that
            a run which changes its device at the same place draws the same.
    """
    if of_another_kind(generator, saved):
        generator.manual_seed(int(np.random.SeedSequence(anew).generate_state(1, np.uint64)[0] >> 1))
    else:
        generator.set_state(saved.cpu())
