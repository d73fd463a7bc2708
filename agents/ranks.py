"""The processes that share a run, each with worlds of its own. One process alone is a group of one.

It knows tensors and torch.distributed, and neither losses nor worlds. Rank r holds the r-th of R equal runs of the
rows (streams, or observations with a stream's together) that one process would hold. Every rank must make the same
calls in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Ranks:
    """This process among those that an initialised process group holds, or alone where there is none."""

    def __init__(self, alone: bool = False) -> None:
        together = not alone and dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if together else 1
        self.rank = dist.get_rank() if together else 0

    def sum(self, value: Tensor) -> Tensor:
        """`value` added up over all ranks, in place; the same bits on every rank."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any rank says so."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor(float(flag), device=device)) > 0)

    def gather(self, value: Any) -> list[Any]:
        """What every rank has, in their order; for small things of any kind."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def to_first(self, value: Any) -> list[Any]:
        """What every rank has, in their order, on rank 0; nothing on the others."""
        found: list[Any] | None = [None] * self.count if self.rank == 0 else None
        dist.gather_object(value, found)
        return found or []

    def own(self, rows: Tensor, mine: int) -> Tensor:
        """Of row numbers over all ranks, which hold `mine` rows each, this rank's, counted from its first."""
        if self.count == 1:
            return rows
        local = rows - self.rank * mine
        return local[(local >= 0) & (local < mine)]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up `.grad` over all ranks in place; a rank without a gradient adds 0."""
        if self.count == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
        self.sum(flat)
        for p, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            p.grad = part.view_as(p).clone()


ALONE = Ranks(alone=True)
"""What one process is that shares nothing, whatever groups there are."""
