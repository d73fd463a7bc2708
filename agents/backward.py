"""The seam between learning and measuring: how a loss over environments becomes a gradient.

An update hands `backward` a function from a slice of streams to the loss of every observation of that slice,
[T, n]. The plain default takes all streams at once, `InChunks` as many as fit into memory; a measuring one may go
through groups of whole environments and read the noise from the same pass. Each leaves the gradient of the mean
loss in `.grad`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from agents.ranks import ALONE, Ranks


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


def accumulate(loss_of: LossOf, streams: slice, chunk: int) -> None:
    """Add the gradient of the mean over a slice of streams to `.grad`, `chunk` streams at a time."""
    count = streams.stop - streams.start
    for begin in range(streams.start, streams.stop, chunk):
        loss = loss_of(slice(begin, min(begin + chunk, streams.stop)))
        (loss.sum() / (loss.shape[0] * count)).backward()


class InChunks:
    """`chunk` streams of each rank's `streams` at a time; equals one pass over all to rounding."""

    def __init__(self, policy: nn.Module, streams: int, chunk: int, ranks: Ranks = ALONE) -> None:
        self.policy, self.streams, self.chunk, self.ranks = policy, streams, chunk, ranks

    def __call__(self, loss_of: LossOf) -> None:
        """Leaves the mean gradient over all ranks' streams in `.grad`."""
        if self.ranks.count == 1 and self.chunk >= self.streams:
            plain_backward(loss_of)
            return
        accumulate(loss_of, slice(0, self.streams), self.chunk)
        self.ranks.sum_gradients(self.policy.parameters())
        for p in self.policy.parameters():
            if p.grad is not None:
                p.grad /= self.ranks.count
