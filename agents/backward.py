"""The seam between learning and measuring: how a loss over environments becomes a gradient.

An update hands `backward` a function from a slice of streams to the loss of every observation of that slice,
[T, n]. The plain default takes all streams at once; a measuring one may go through groups of whole environments
and read the noise from the same pass. Either leaves the gradient of the mean loss in `.grad`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LossOf(Protocol):
    """Streams -> loss per observation."""

    def __call__(self, streams: slice) -> Tensor:
        """[T, n] for the n streams of the slice; not reduced. The network's rows are in the order [n, T]."""


class Backward(Protocol):
    """Leaves the gradient of the mean of `loss_of(all streams)` in `.grad`."""

    def __call__(self, loss_of: LossOf) -> None:
        """Gradients are expected to be cleared before."""


def plain_backward(loss_of: LossOf) -> None:
    """One pass over all streams."""
    loss_of(slice(None)).mean().backward()
