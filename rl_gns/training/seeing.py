"""Whether a policy looks at what it is shown: the information that an observation holds about the action.

I(a; s) = H(E_s π(·|s)) - E_s H(π(·|s)) over the observations s that it meets in play, in nats, from its probabilities
and not from what it drew. 0 where it does the same whatever it sees, which a network with dead units comes to at a
learning rate too large for it, and which can still be enough for a goal just above random play.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.distributions import Categorical, Distribution, Joint
from agents.ranks import ALONE, Ranks
from agents.rollout import Batch

BLIND = 1e-3
"""Nats, below which a policy is said to play blind: a thousandth of a nat tells hardly one action from another."""

MOST = 1024
"""Observations of a rollout that `in_rollout` looks at."""


class Seeing:
    """Adds up, decision by decision, what `information` and `entropy` need."""

    def __init__(self) -> None:
        self.decisions = 0
        self._taken: list[Tensor] = []
        self._entropy = 0.0

    def add(self, distribution: Distribution, rows: Tensor) -> None:
        """Take in the decisions of `rows`, [N] bool, of a distribution over [N]; a Gaussian's are passed over."""
        if not isinstance(distribution, Categorical | Joint):
            return
        tables = [table[rows].double().exp().sum(0) for table in distribution.tables]
        self._taken = [a + b for a, b in zip(self._taken, tables, strict=True)] if self._taken else tables
        self._entropy += float(distribution.entropy()[rows].double().sum())
        self.decisions += int(rows.sum())

    def joined(self, ranks: Ranks) -> Seeing:
        """What all ranks have added up."""
        whole, own = Seeing(), (self.decisions, self._entropy, [taken.cpu() for taken in self._taken])
        every = ranks.gather(own)
        whole.decisions = sum(decisions for decisions, _, _ in every)
        whole._entropy = sum(entropy for _, entropy, _ in every)
        tables = zip(*(taken for _, _, taken in every), strict=True)
        whole._taken = [torch.stack(parts).sum(0) for parts in tables]
        return whole

    @property
    def entropy(self) -> float:
        """Of the actions taken all in all, H(E_s π), in nats; of several parts their sum. NaN before a decision."""
        if not self.decisions:
            return float("nan")
        shares = [taken / taken.sum() for taken in self._taken]
        return float(-sum(torch.xlogy(share, share).sum() for share in shares))

    @property
    def information(self) -> float:
        """I(a; s) in nats, never negative; of several parts the sum of theirs. NaN before a decision."""
        return max(0.0, self.entropy - self._entropy / self.decisions) if self.decisions else float("nan")

    def __str__(self) -> str:
        """One line; empty where nothing can be said."""
        if not self.decisions:
            return ""
        said = f"the actions' entropy is {self.entropy:.3f} nats, of which what is seen takes {self.information:.4f}"
        return said + (": it plays blind" if self.information < BLIND else "")


@torch.no_grad()
def in_rollout(policy: nn.Module, batch: Batch, ranks: Ranks = ALONE) -> float:
    """I(a; s) of `policy` in nats over a rollout's observations; NaN of actions that are real numbers.

    It is the policy's as it is now, not as it was when it acted. A rollout shows little of a game, so that it reads
    low: of n independent observations by about 1/n of itself, of such as follow one another by more.

    Args:
        policy: observations -> (distribution, value).
        batch: this rank's, fields [T, N]; of more than `MOST` observations every few streams are looked at.
        ranks: those that share the rollout.
    """
    steps, streams = batch.advantage.shape
    every = max(1, -(-steps * streams * ranks.count // MOST))
    distribution, _ = policy(batch[:, ::every].flat().observations())
    seeing = Seeing()
    rows = steps * len(range(0, streams, every))
    seeing.add(distribution, batch.advantage.new_ones(rows, dtype=torch.bool))
    return seeing.joined(ranks).information
