"""The backward pass that trains and measures: `agents`' seam filled with `rl_gns.noise`."""

from __future__ import annotations

from torch import nn

from agents.backward import LossOf
from rl_gns.noise import Moments
from rl_gns.noise.per_environment import per_environment_moments


class MeasuringBackward:
    """A `Backward` that also reads the moments of ONE environment's gradient, from the pass that trains."""

    def __init__(self, policy: nn.Module, num_envs: int, groups: int) -> None:
        """groups: how many groups of whole environments are compared; divides num_envs."""
        self.policy, self.groups, self.size = policy, groups, num_envs // groups
        self.moments: Moments | None = None

    def __call__(self, loss_of: LossOf) -> None:
        """Leaves the mean gradient in `.grad` and its moments in `moments`."""
        # [N, T]: the order of the rows in the network, where a unit's rows lie together.
        found = per_environment_moments(
            lambda: loss_of(slice(None)).transpose(0, 1), self.policy, units=self.groups, dim=0
        )
        self.moments = found.regrouped(self.size)
