"""Action distributions of a policy: sample, log-probability, entropy; masks and multi-part actions.

Randomness is an argument: `sample` takes the generator, so a run owns its random stream and can save it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor


class Share(NamedTuple):
    """Some rows' share of the numbers that are drawn for `total` rows.

    Processes that hold some rows each, and generators in the same state, so draw what one would that holds all.
    """

    generator: Generator
    total: int
    rows: Tensor
    """[r] int64, which of them, on the generator's device."""


Source = Generator | Share | None


def _draw(like: Tensor, source: Source, law: Callable[..., Tensor]) -> Tensor:
    """Random numbers shaped [rows, ...] as `like`, of an in-place `law` of torch's."""
    if not isinstance(source, Share):
        return law(torch.empty_like(like), generator=source)
    return law(like.new_empty(source.total, *like.shape[1:]), generator=source.generator)[source.rows]


class Distribution(Protocol):
    """What a policy returns: one distribution per row of the batch."""

    def sample(self, generator: Source = None) -> Tensor:
        """Draw one action per row."""

    def mode(self) -> Tensor:
        """The most likely action per row."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability of `actions`, shape [rows]."""

    def entropy(self) -> Tensor:
        """Entropy in nats, shape [rows]."""


class Discrete(Distribution, Protocol):
    """A distribution that is nothing but tables of log-probabilities, rows first."""

    @property
    def tables(self) -> list[Tensor]:
        """[rows, ...] each."""

    def with_tables(self, tables: Sequence[Tensor]) -> Discrete:
        """The same choices with other tables, of other rows perhaps."""


class Categorical:
    """One choice out of n. logits: [..., n] unnormalised; mask: [..., n] bool, False forbids.

    A row whose mask forbids everything is a bug of the world and raises ValueError when sampled.
    """

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        if mask is not None:
            logits = logits.masked_fill(~mask, -math.inf)
        self.mask = mask
        self.log_probs = logits.log_softmax(-1)

    @property
    def tables(self) -> list[Tensor]:
        """[..., n]."""
        return [self.log_probs]

    def with_tables(self, tables: Sequence[Tensor]) -> Categorical:
        """The choice of `tables[0]`."""
        found = Categorical.__new__(Categorical)
        found.mask, found.log_probs = tables[0] > -math.inf, tables[0]
        return found

    def sample(self, generator: Source = None) -> Tensor:
        """[...] int64. Draws by the exponential race: argmax(p_i / e_i) with e_i standard exponential."""
        if self.mask is not None and not bool(self.mask.any(-1).all()):
            raise ValueError("an action mask forbids every action of a row")
        p = self.log_probs.detach().exp()
        return (p / _draw(p, generator, Tensor.exponential_)).argmax(-1)

    def mode(self) -> Tensor:
        """[...] int64."""
        return self.log_probs.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """actions [...] integer -> [...]."""
        return self.log_probs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """[...]; a forbidden action adds nothing."""
        finite = self.log_probs if self.mask is None else self.log_probs.masked_fill(~self.mask, 0.0)
        return -(self.log_probs.exp() * finite).sum(-1)


class Gaussian:
    """Independent normals over a vector of real actions. mean, log_std: [..., d]."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean, self.log_std = mean, log_std.expand_as(mean)

    def sample(self, generator: Source = None) -> Tensor:
        """[..., d] float."""
        noise = _draw(self.mean, generator, Tensor.normal_)
        return (self.mean + self.log_std.exp() * noise).detach()

    def mode(self) -> Tensor:
        """[..., d], the mean."""
        return self.mean.detach()

    def log_prob(self, actions: Tensor) -> Tensor:
        """actions [..., d] -> [...], summed over d."""
        z = (actions - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """[...], summed over d."""
        return (self.log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(-1)


class Joint:
    """Several independent choices taken together: actions [..., parts], one column a part."""

    def __init__(self, parts: Sequence[Categorical]) -> None:
        self.parts = parts

    @property
    def tables(self) -> list[Tensor]:
        """One a part."""
        return [part.log_probs for part in self.parts]

    def with_tables(self, tables: Sequence[Tensor]) -> Joint:
        """The parts of `tables`."""
        return Joint([part.with_tables([table]) for part, table in zip(self.parts, tables, strict=True)])

    def sample(self, generator: Source = None) -> Tensor:
        """[..., parts] int64."""
        return torch.stack([part.sample(generator) for part in self.parts], -1)

    def mode(self) -> Tensor:
        """[..., parts] int64."""
        return torch.stack([part.mode() for part in self.parts], -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Sum over parts, [...]."""
        return torch.stack([part.log_prob(actions[..., i]) for i, part in enumerate(self.parts)]).sum(0)

    def entropy(self) -> Tensor:
        """Sum over parts, [...]."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)


class Branching:
    """A choice of kind, then of those parts that the chosen kind uses: actions [..., 1 + parts].

    log π(a) = log π(k) + Σ_parts [k uses it] log π(a_part | k)
    H = H(k) + Σ_parts Σ_k π(k) [k uses it] H(part | k)

    A part that the kind does not use is 0 in a sample and counts nowhere, so that log_prob is that of what was done.
    """

    def __init__(self, kind: Categorical, parts: Sequence[Categorical], variants: Sequence[Tensor]) -> None:
        """Kinds and, for each part, its conditional choices.

        Args:
            kind: over [..., kinds].
            parts: over [..., v, n] each: v variants of a choice out of n.
            variants: [kinds] int64 for each part: the variant that a kind uses, -1 if it does not use the part.
        """
        self.kind, self.parts, self.variants = kind, parts, variants

    @property
    def tables(self) -> list[Tensor]:
        """Of the kind, then of every part."""
        return [self.kind.log_probs, *(part.log_probs for part in self.parts)]

    def with_tables(self, tables: Sequence[Tensor]) -> Branching:
        """The kinds and parts of `tables`."""
        kind, *parts = (
            choice.with_tables([table])
            for choice, table in zip([self.kind, *self.parts], tables, strict=True)
        )
        return Branching(kind, parts, self.variants)

    def _chosen(self, i: int, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Part i's log-probabilities [..., n] given `kinds` [...], and whether the kind uses it [...]."""
        variant = self.variants[i][kinds]
        log_probs = self.parts[i].log_probs
        index = variant.clamp(min=0)[..., None, None].expand(*kinds.shape, 1, log_probs.shape[-1])
        return log_probs.gather(-2, index).squeeze(-2), variant >= 0

    def sample(self, generator: Source = None) -> Tensor:
        """[..., 1 + parts] int64."""
        kinds = self.kind.sample(generator)
        actions = [kinds]
        for i in range(len(self.parts)):
            log_probs, used = self._chosen(i, kinds)
            p = log_probs.detach().exp()
            choice = (p / _draw(p, generator, Tensor.exponential_)).argmax(-1)
            actions.append(choice.masked_fill(~used, 0))
        return torch.stack(actions, -1)

    def mode(self) -> Tensor:
        """[..., 1 + parts] int64: the likeliest kind, then the likeliest of each part it uses."""
        kinds = self.kind.mode()
        actions = [kinds]
        for i in range(len(self.parts)):
            log_probs, used = self._chosen(i, kinds)
            actions.append(log_probs.argmax(-1).masked_fill(~used, 0))
        return torch.stack(actions, -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """actions [..., 1 + parts] -> [...]."""
        actions = actions.long()
        kinds = actions[..., 0]
        total = self.kind.log_prob(kinds)
        for i in range(len(self.parts)):
            log_probs, used = self._chosen(i, kinds)
            part = log_probs.gather(-1, actions[..., i + 1 : i + 2]).squeeze(-1)
            total = total + part.masked_fill(~used, 0.0)
        return total

    def entropy(self) -> Tensor:
        """[...] of the whole action."""
        p = self.kind.log_probs.exp()
        total = self.kind.entropy()
        for part, variant in zip(self.parts, self.variants, strict=True):
            uses = variant[:, None] == torch.arange(part.log_probs.shape[-2], device=variant.device)
            total = total + ((p @ uses.to(p.dtype)) * part.entropy()).sum(-1)
        return total
