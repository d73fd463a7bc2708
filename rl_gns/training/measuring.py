"""The backward pass that trains and measures: `agents`' seam filled with `rl_gns.noise`."""

from __future__ import annotations

import torch
from torch import nn

from agents.backward import LossOf, accumulate
from agents.ranks import ALONE, Ranks
from rl_gns.noise import Moments
from rl_gns.noise.distributed import accumulated_moments, distributed_moments
from rl_gns.noise.per_environment import per_environment_moments


class MeasuringBackward:
    """A `Backward` that also reads the moments of ONE environment's gradient, from the pass that trains."""

    def __init__(
        self,
        policy: nn.Module,
        num_envs: int,
        groups: int,
        *,
        streams: int | None = None,
        chunk: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """What is compared, and how much of it is in memory at once.

        Args:
            policy: the parameters to measure.
            num_envs: environments of this rank.
            groups: how many groups of whole environments of this rank are compared; divides num_envs.
            streams: rows that a loss over all of them has; needed where the pass is split.
            chunk: streams taken at once; None: all.
            ranks: those that share the batch.
        """
        self.policy, self.groups, self.size = policy, groups, num_envs // groups
        self.streams, self.chunk, self.ranks = streams or 0, chunk or streams or 0, ranks
        self.moments: Moments | None = None
        self.normalized: Moments | None = None

    def __call__(self, loss_of: LossOf) -> None:
        """Leaves the mean gradient in `.grad` and its moments in `moments`, the same on all ranks.

        `normalized` are those in which every update counts alike, `Moments.normalized` of the groups'.
        """
        if self.ranks.count == 1 and self.chunk >= self.streams:
            # [N, T]: the order of the rows in the network, where a unit's rows lie together.
            found = per_environment_moments(
                lambda: loss_of(slice(None)).transpose(0, 1), self.policy, units=self.groups, dim=0
            )
        else:
            found = self._in_chunks(loss_of)
        self.moments = found.regrouped(self.size)
        self.normalized = found.normalized().regrouped(self.size)

    def _in_chunks(self, loss_of: LossOf) -> Moments:
        """A group's gradient is whole once its last chunk was added; then its norm is taken."""
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        mean = [torch.zeros_like(p) for p in trained]
        width, norms = self.streams // self.groups, []
        for group in range(self.groups):
            for p in trained:
                p.grad = None
            accumulate(loss_of, slice(group * width, (group + 1) * width), self.chunk)
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
            norms.append(torch.stack([g.double().square().sum() for g in grads]).sum())
            for total, g in zip(mean, grads, strict=True):
                total += g / self.groups
        for p, total in zip(trained, mean, strict=True):
            p.grad = total
        gather = accumulated_moments if self.ranks.count == 1 else distributed_moments
        return gather(torch.stack(norms), trained)
