"""Acting: observations -> actions, their log-probabilities, values; on a GPU replayed as one CUDA graph.

A forward pass for a few observations is a few dozen kernels of microseconds, which a processor takes a millisecond to
launch. A graph launches them at once; they are the same kernels in the same order, so the numbers are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from agents.distributions import Source
from agents.memory import Seen
from agents.networks import Shared

WARM_UP = 3
"""Passes before the one that is captured: libraries choose their kernels and take their memory in the first."""


class Acted(NamedTuple):
    """What a policy did about n observations."""

    actions: Tensor
    """[n] or [n, parts]"""
    log_prob: Tensor
    """[n]"""
    value: Tensor
    """[n]"""


def act(policy: nn.Module, obs: Tensor | Seen, source: Source) -> Acted:
    """One forward pass and one draw per row."""
    distribution, value = policy(obs)
    actions: Tensor = distribution.sample(source)
    return Acted(actions, distribution.log_prob(actions), value)


class Actor:
    """`act` of one policy, as it is written."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy

    def __call__(self, obs: Tensor | Seen, source: Source) -> Acted:
        """See `act`."""
        return act(self.policy, obs, source)


class GraphedActor(Actor):
    """`act` on a GPU as a CUDA graph, for pictures; what it returns is overwritten by its next call of that size."""

    def __init__(self, policy: nn.Module, generator: Generator, blank: Tensor, sizes: list[int]) -> None:
        """Capture the graphs; `generator` is left as it was.

        Args:
            policy: a `Shared`, on a GPU; its weights may change, their places may not.
            generator: the only source of draws that the graphs serve.
            blank: [1, ...] an observation like those to come.
            sizes: rows of the batches to come.
        """
        super().__init__(policy)
        self._generator = generator
        self._graphs = {size: self._captured(blank.expand(size, *blank.shape[1:])) for size in set(sizes)}

    @torch.no_grad()
    def _captured(self, blank: Tensor) -> tuple[Any, Tensor, Acted]:
        before, seen = self._generator.get_state(), blank.contiguous()
        aside, here = torch.cuda.Stream(seen.device), torch.cuda.current_stream(seen.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                act(self.policy, seen, self._generator)
        here.wait_stream(aside)
        graph: Any = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph):
            acted = act(self.policy, seen, self._generator)
        self._generator.set_state(before)
        return graph, seen, acted

    def __call__(self, obs: Tensor | Seen, source: Source) -> Acted:
        """See `act`; rows of another number, or drawn from another source, are acted on without a graph."""
        if not isinstance(obs, Tensor) or source is not self._generator or len(obs) not in self._graphs:
            return act(self.policy, obs, source)
        graph, seen, acted = self._graphs[len(obs)]
        seen.copy_(obs)
        graph.replay()
        return acted


def make_actor(policy: nn.Module, generator: Generator, blank: Tensor | Seen, sizes: list[int]) -> Actor:
    """The faster of the two that can act for `policy`."""
    if isinstance(policy, Shared) and isinstance(blank, Tensor) and blank.is_cuda:
        return GraphedActor(policy, generator, blank, sizes)
    return Actor(policy)
