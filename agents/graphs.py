"""A PPO minibatch's gradient as one CUDA graph: a few hundred launches of microseconds become one.

The kernels and their order are those of `ppo.gradient`, so the numbers are to be the same; `scripts/bench/gpu.py`
compares them. Its one try on a GPU failed in the capture ("would make the legacy stream depend on a capturing one").
Autograd keeps, for each weight, the stream on which it was first used for as long as any graph holds it, and
`training.memory.pass_bytes` left one for ever. It no longer does; the capture has not been tried since.
"""

from __future__ import annotations

import dataclasses
import gc
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
        gc.collect()  # graphs of earlier passes, see above
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


def graphed_gradient(policy: nn.Module, settings: ppo.Settings, blank: Any, rows: int) -> GraphedGradient:
    """For minibatches of so many rows. Raises ValueError where there can be none, and why."""
    if not isinstance(blank, Tensor) or not blank.is_cuda:
        raise ValueError("graph_update is for a GPU and a network without memory")
    if not isinstance(policy, Shared):
        raise ValueError(
            "graph_update is for the networks nature and impala: the others choose by what they see"
        )
    if rows > MOST_ROWS:
        raise ValueError(
            f"graph_update takes minibatches of up to {MOST_ROWS:,} observations, got {rows:,}: it gains nothing there"
        )
    return GraphedGradient(policy, settings, blank, rows)
