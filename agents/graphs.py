"""A PPO minibatch's gradient as one CUDA graph: a few hundred launches of microseconds become one.

The kernels and their order are those of `ppo.gradient`, so the numbers are the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from agents import ppo
from agents.acting import WARM_UP
from agents.networks import Shared
from agents.rollout import Batch

MOST_ROWS = 4096
"""Of a minibatch that is captured: a larger one keeps a GPU busy for longer than launching takes."""


class GraphedGradient:
    """`ppo.gradient` for minibatches of one size; others are computed as written."""

    def __init__(self, policy: nn.Module, settings: ppo.Settings, blank: Tensor, rows: int) -> None:
        """Capture; weights and `.grad` are left as they were. After a call the policy's `.grad` are the graph's.

        Args:
            policy: on a GPU; its weights may change, their places may not.
            settings: of the loss.
            blank: [1, ...] an observation like those to come.
            rows: of a minibatch.
        """
        self._parameters = [p for p in policy.parameters() if p.requires_grad]
        before = [p.grad for p in self._parameters]
        numbers = torch.zeros(rows, device=blank.device)
        obs = blank.expand(rows, *blank.shape[1:]).contiguous()
        self._seen = Batch(obs, numbers.long(), *(numbers.clone() for _ in range(4)))
        aside, here = torch.cuda.Stream(blank.device), torch.cuda.current_stream(blank.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._clear()
                ppo.gradient(policy, self._seen, settings, rows)
        here.wait_stream(aside)
        self._clear()
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._sums = ppo.gradient(policy, self._seen, settings, rows)
        self._grads = [p.grad for p in self._parameters]
        for p, grad in zip(self._parameters, before, strict=True):
            p.grad = grad

    def _clear(self) -> None:
        for p in self._parameters:
            p.grad = None

    def __call__(self, policy: nn.Module, part: Batch, settings: ppo.Settings, count: int) -> Tensor:
        """See `ppo.gradient`; `.grad` must be cleared."""
        rows = len(part.advantage)
        if (
            rows != len(self._seen.advantage)
            or count != rows
            or any(p.grad is not None for p in self._parameters)
        ):
            return ppo.gradient(policy, part, settings, count)
        for field in dataclasses.fields(Batch):
            if field.name != "obs":
                getattr(self._seen, field.name).copy_(getattr(part, field.name))
        self._seen.obs.copy_(part.observations())  # type: ignore[union-attr]
        self._graph.replay()
        for p, grad in zip(self._parameters, self._grads, strict=True):
            p.grad = grad
        return self._sums.clone()


def make_gradient(policy: nn.Module, settings: ppo.Settings, blank: Any, rows: int) -> ppo.Gradient:
    """The faster of the two that can compute minibatches of so many rows."""
    if isinstance(policy, Shared) and isinstance(blank, Tensor) and blank.is_cuda and rows <= MOST_ROWS:
        return GraphedGradient(policy, settings, blank, rows)
    return ppo.gradient
