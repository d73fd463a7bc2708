"""Whether a policy looks at what it is shown: the information that an observation holds about the action.

I(a; s) = H(E_s π(·|s)) - E_s H(π(·|s)) over the observations s that it meets in play, in nats, from its probabilities
and not from what it drew. 0 where it does the same whatever it sees, which a network with dead units comes to at a
learning rate too large for it, and which can still be enough for a goal just above random play.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.distributions import Categorical, Distribution, Joint
from agents.ranks import ALONE, Ranks
from agents.rollout import Batch

BLIND = 1e-3
"""Nats, below which a policy is said to play blind: a thousandth of a nat tells hardly one action from another."""

ROUNDING = 1e-6
"""Of 1, or of the greatest value where that is larger: outputs no further apart are the same."""

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


class Look(NamedTuple):
    """What a rollout says of whether its policy looks."""

    information: float
    """I(a; s) in nats; NaN of actions that are real numbers."""
    same: bool
    """Whether its observations differ, and what the network makes of them does not, neither actions nor values."""


@torch.no_grad()
def in_rollout(policy: nn.Module, batch: Batch, ranks: Ranks = ALONE) -> Look:
    """I(a; s) of `policy` over a rollout's observations, and whether it is told them apart at all.

    It is the policy's as it is now, not as it was when it acted. A rollout shows little of a game, so that it reads
    low: of n independent observations by about 1/n of itself, of such as follow one another by more.

    Args:
        policy: observations -> (distribution, value).
        batch: this rank's, fields [T, N]; of more than `MOST` observations every few streams are looked at.
        ranks: those that share the rollout.
    """
    steps, streams = batch.advantage.shape
    every = max(1, -(-steps * streams * ranks.count // MOST))
    obs = batch[:, ::every].flat().observations()
    distribution, value = policy(obs)
    seeing = Seeing()
    rows = steps * len(range(0, streams, every))
    seeing.add(distribution, batch.advantage.new_ones(rows, dtype=torch.bool))
    same = _same(distribution, value.reshape(rows, -1), obs, ranks)
    return Look(seeing.joined(ranks).information, same)


def _same(distribution: Distribution, value: Tensor, obs: Any, ranks: Ranks) -> bool:
    """`Look.same`: to rounding, which depends on where in a batch a row is."""
    tables = distribution.tables if isinstance(distribution, Categorical | Joint) else []
    made = torch.cat([value, *(table.exp() for table in tables)], 1).double().cpu()
    # What is remembered beside what is seen differs by itself.
    differ = not isinstance(obs, Tensor) or bool((obs != obs[:1]).any())
    every = ranks.gather((made.amin(0), made.amax(0), differ))
    low = torch.stack([low for low, _, _ in every]).amin(0)
    high = torch.stack([high for _, high, _ in every]).amax(0)
    most = torch.maximum(low.abs(), high.abs()).clamp_min(1)
    return bool((high - low <= ROUNDING * most).all()) and any(differ for _, _, differ in every)
