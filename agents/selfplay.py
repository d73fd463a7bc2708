"""The pool of a policy's past selves: who is in it, who is drawn, who is forgotten.

Each member has a quality; opponents are drawn from their softmax, so that selves who are always beaten are met
seldom (OpenAI Five, arXiv 1912.06680, appendix N). It knows nothing of worlds or of who plays where.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

QUALITY_STEP = 0.01
"""η: how fast the quality of a beaten self falls."""


class PastSelves:
    """Up to `size` snapshots of a policy by number, the number counting all that were ever taken."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a pool of past selves holds at least 1, got {size}")
        self.size, self.taken = size, 0
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.quality: dict[int, float] = {}

    def add(self, policy: nn.Module) -> None:
        """Take a snapshot, with the best quality so far. When the pool is full, the member of least quality goes."""
        best = max(self.quality.values(), default=0.0)
        if len(self.weights) == self.size:
            worst = min(self.quality, key=lambda member: (self.quality[member], member))
            del self.weights[worst], self.quality[worst]
        self.weights[self.taken] = {name: w.detach().clone() for name, w in policy.state_dict().items()}
        self.quality[self.taken] = best
        self.taken += 1

    def probabilities(self) -> dict[int, float]:
        """p_i = exp(q_i) / Σ_j exp(q_j) of every member."""
        top = max(self.quality.values())
        weights = {member: math.exp(q - top) for member, q in self.quality.items()}
        total = sum(weights.values())
        return {member: weight / total for member, weight in weights.items()}

    def draw(self, count: int, generator: Generator | None = None) -> list[int]:
        """`count` members, independent of one another. Raises ValueError while the pool is empty."""
        if not self.weights:
            raise ValueError("the pool of past selves is empty: add a snapshot first")
        if count == 0:
            return []
        members = self.probabilities()
        p = torch.tensor(list(members.values()), dtype=torch.float64)
        drawn = torch.multinomial(p, count, replacement=True, generator=generator).tolist()
        numbers = list(members)
        return [numbers[i] for i in drawn]

    def beaten(self, member: int, p: float) -> None:
        """The present policy has won a game against `member`: q_i ← q_i - η / (N p_i).

        Args:
            member: who was beaten.
            p: the probability that it was drawn with, when it was drawn. 1/p_i weighs for how seldom one is met; the
                probability now would let every game still under way against one that falls take a larger step.
        """
        self.quality[member] -= QUALITY_STEP / (len(self.quality) * p)

    def state_dict(self) -> dict[str, Any]:
        """Numbers, weights and qualities."""
        return {
            "taken": self.taken,
            "members": list(self.weights),
            "weights": list(self.weights.values()),
            "quality": list(self.quality.values()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.taken = state["taken"]
        self.weights = dict(zip(state["members"], state["weights"], strict=True))
        self.quality = dict(zip(state["members"], state["quality"], strict=True))
