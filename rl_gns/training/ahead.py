"""Collecting the next rollout while the present one is learnt from (`--overlap learn`).

The policy that acts is then one update older than the one that learns: rollout k + 1 is played by the weights from
before the update on rollout k. What is computed does not depend on who is faster: both sides have a policy, a rollout
and random numbers of their own, and meet between updates.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from agents.rollout import Rollout
from rl_gns.training.collecting import Collector, Game

POLICY_LAG = 1
"""Updates between the policy that acts and the one that learns."""


class Ahead:
    """Two rollouts that change places: one is learnt from while a thread fills the other."""

    def __init__(self, policy: nn.Module, spare: Rollout) -> None:
        """policy: the learner, as yet without hooks. spare: as large as the collector's rollout."""
        self.actor = copy.deepcopy(policy).requires_grad_(False)
        """Acts. Its weights are the learner's when a rollout begins."""
        self._policy, self._spare = policy, spare
        self._games: list[Game] | None = None
        """Of the rollout that waits to be learnt from; None: there is none yet."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="collector")
        self._future: Future[list[Game]] | None = None
        device = next(policy.parameters()).device
        # On a stream of its own, acting need not wait for the learner's kernels.
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    def take(self, collector: Collector, observations: int) -> tuple[Rollout, list[Game]]:
        """The next rollout to learn from, with its games; begins to fill the other one. End it with `wait`.

        observations: taken before the rollout that is returned.
        """
        if self._games is None:
            self._begin(collector, observations)
            self.wait()
        games, self._games = self._games or [], None
        full, collector.rollout = collector.rollout, self._spare
        self._spare = full
        self._begin(collector, observations + full.steps * full.streams)
        return full, games

    def wait(self) -> None:
        """Until the rollout that was begun is full. Raises what went wrong there."""
        if self._future is None:
            return
        try:
            self._games = self._future.result()
        finally:
            self._future = None
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)

    def _begin(self, collector: Collector, observations: int) -> None:
        self.actor.load_state_dict(self._policy.state_dict())
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        self._future = self._thread.submit(self._collect, collector, observations)

    def _collect(self, collector: Collector, observations: int) -> list[Game]:
        side: AbstractContextManager[Any] = nullcontext()
        if self._stream is not None:
            side = torch.cuda.stream(self._stream)
        else:
            torch.set_num_threads(1)  # of this thread alone; the learner has the others
        with side:
            return collector.collect(observations)

    def state_dict(self, collector: Collector) -> dict[str, Any]:
        """The rollout that waits, and its games; its size is that of a rollout."""
        if self._games is None:
            return {}
        return {"rollout": collector.rollout.state_dict(), "games": [list(game) for game in self._games]}

    def load_state_dict(self, state: dict[str, Any], collector: Collector) -> None:
        """Go on from a `state_dict`."""
        self._games = None
        if state:
            collector.rollout.load_state_dict(state["rollout"])
            self._games = [(g[0], g[1], g[2], g[3]) for g in state["games"]]

    def close(self) -> None:
        """End the thread, when it is done with its rollout."""
        self._thread.shutdown()
