"""A network for observations made of entity rows: one encoder per kind of entity, pooling, a branching action.

    rows of a kind -> encoder (shared by all its rows) -> maximum over the visible rows of each block
    -> joined, two dense layers -> kind, direction, value; a query per targeted kind, whose dot product with every
    entity's encoding scores it as the target.

Every layer runs once, on all rows of its kind together, as [B, rows, features]: what tells an entity's block is
part of its features, so that gradient norms per environment come out of the same pass.

It knows no world: where the blocks lie is told by a `Layout`, by structure and not by import. With `lstm` a memory
stands between the dense layers and what is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from agents.distributions import Branching, Categorical
from agents.initialization import orthogonal
from agents.memory import LSTM, Seen

WIDTH, TRUNK, KEY = 48, 128, 32


class Block(Protocol):
    """`rows` x `width` numbers of an observation from `start` on, row by row."""

    @property
    def name(self) -> str:
        """The block's name."""

    @property
    def entity(self) -> str:
        """Blocks of one entity have the same features; "global" and "mask" are no entities."""

    @property
    def start(self) -> int:
        """Where it begins."""

    @property
    def rows(self) -> int:
        """Rows; may be 0."""

    @property
    def width(self) -> int:
        """Numbers of a row; an entity's first is 1 where the row shows something."""

    @property
    def names(self) -> Sequence[str]:
        """[width] names of the features."""

    @property
    def scale(self) -> Sequence[float]:
        """[width] divisors that bring the features to about [-1, 1]."""


class Layout(Protocol):
    """Blocks by name, in the order in which they lie, blocks of one entity adjacent.

    Needed among them: "global" [1 row], and the masks "kind" [1 row, named "attack", "move", …], "direction" [1 row],
    "kind_target" [a row for each kind from "attack" on that takes a target, over all entity rows].
    """

    @property
    def blocks(self) -> Mapping[str, Block]:
        """The blocks."""


class Kind(nn.Module):
    """The encoder of one kind of entity, over all its blocks: [B, numbers] -> encodings [B, rows, WIDTH]."""

    scale: Tensor
    origin: Tensor

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        blocks = [block for block in blocks if block.rows]
        first, last = blocks[0], blocks[-1]
        self.start, self.stop = first.start, last.start + last.rows * last.width
        self.sizes = [block.rows for block in blocks]
        self.features = first.width
        if sum(self.sizes) * self.features != self.stop - self.start:
            raise ValueError(f"the blocks of entity {first.entity!r} are not adjacent in the observation")
        origin = torch.eye(len(blocks)).repeat_interleave(torch.tensor(self.sizes), 0)
        self.register_buffer("scale", 1 / torch.tensor(first.scale, dtype=torch.float32), persistent=False)
        self.register_buffer("origin", origin, persistent=False)  # [rows, blocks], one-hot
        self.dense1 = orthogonal(nn.Linear(self.features + len(blocks), WIDTH))
        self.dense2 = orthogonal(nn.Linear(WIDTH, WIDTH))

    def forward(self, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """obs [B, D] -> encodings [B, rows, WIDTH] and each block's maximum [B, WIDTH] over visible rows, else 0."""
        rows = obs[:, self.start : self.stop].unflatten(1, (-1, self.features))
        x = torch.cat([rows * self.scale, self.origin.expand(len(obs), -1, -1)], -1)
        encodings = F.relu(self.dense2(F.relu(self.dense1(x))))
        # Encodings are not negative, so an unseen row at 0 never exceeds a seen one.
        seen = encodings * (rows[..., :1] > 0)
        return encodings, [part.amax(1) for part in seen.split(self.sizes, 1)]


class Entities(nn.Module):
    """`policy(obs) -> (distribution, value [B])` with a `Branching` distribution over (kind, target, direction)."""

    scale: Tensor
    target_of: Tensor
    direction_of: Tensor

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        layout: Layout,
        lstm: bool = False,
    ) -> None:
        """Raises ValueError if the layout does not fit the spaces. lstm: remember, and be called with `Seen`."""
        super().__init__()
        blocks = layout.blocks
        entities = dict.fromkeys(b.entity for b in blocks.values() if b.entity not in ("global", "mask"))
        self.kinds = nn.ModuleDict(
            {name: Kind([b for b in blocks.values() if b.entity == name]) for name in entities}
        )
        self.masks = {name: slice(b.start, b.start + b.rows * b.width) for name, b in blocks.items()}
        names, targets = list(blocks["kind"].names), blocks["kind_target"]
        sizes = [len(names), targets.width, blocks["direction"].width]
        if not isinstance(action_space, spaces.MultiDiscrete) or list(action_space.nvec) != sizes:
            raise ValueError(
                f"network 'entities' wants actions MultiDiscrete({sizes}) by its layout, got {action_space}"
            )
        size = max(part.stop for part in self.masks.values())
        if observation_space.shape != (size,):
            raise ValueError(f"the layout describes observations of {size} numbers, got {observation_space}")
        self.variants, self.numbers = targets.rows, blocks["global"].width
        attack = names.index("attack")
        target_of = torch.full((len(names),), -1)
        target_of[attack : attack + self.variants] = torch.arange(self.variants)
        direction_of = torch.full((len(names),), -1)
        direction_of[names.index("move")] = 0
        self.register_buffer("target_of", target_of, persistent=False)
        self.register_buffer("direction_of", direction_of, persistent=False)
        scale = 1 / torch.tensor(blocks["global"].scale, dtype=torch.float32)
        self.register_buffer("scale", scale, persistent=False)

        pools = sum(len(kind.sizes) for kind in self.kinds.values())  # type: ignore[arg-type, misc]
        self.globals = orthogonal(nn.Linear(self.numbers, WIDTH))
        self.dense1 = orthogonal(nn.Linear((pools + 1) * WIDTH, TRUNK))
        self.dense2 = orthogonal(nn.Linear(TRUNK, TRUNK))
        self.key = orthogonal(nn.Linear(WIDTH, KEY), 1.0)
        self.query = orthogonal(nn.Linear(TRUNK, self.variants * KEY), 0.1)
        self.choice = orthogonal(nn.Linear(TRUNK, len(names) + sizes[2]), 0.01)
        self.value = orthogonal(nn.Linear(TRUNK, 1), 1.0)
        self.split = [len(names), sizes[2]]
        self.lstm = LSTM(TRUNK, TRUNK) if lstm else None
        self.memory_size = self.lstm.memory_size if self.lstm is not None else 0

    def forward(self, inputs: Tensor | Seen) -> tuple[Branching, Tensor]:
        """inputs: observations [B, D], integers or floats."""
        obs = inputs.obs if isinstance(inputs, Seen) else inputs
        numbers = obs[:, : self.masks["kind"].start].to(self.value.weight.dtype)
        encodings, pools = [], []
        for kind in self.kinds.values():
            rows, pooled = kind(numbers)
            encodings.append(rows)
            pools += pooled
        pools.append(F.relu(self.globals(numbers[:, self.masks["global"]] * self.scale)))
        x = F.relu(self.dense1(torch.cat(pools, -1)))
        x = F.relu(self.dense2(x))
        if self.lstm is not None:
            if not isinstance(inputs, Seen):
                raise TypeError("a network with memory is called with what it saw and remembers: `Seen`")
            x = self.lstm(x, inputs)
        kinds, directions = self.choice(x).split(self.split, -1)
        keys = self.key(torch.cat(encodings, 1))  # [B, R, KEY]
        queries = self.query(x).unflatten(1, (self.variants, KEY))
        targets = queries @ keys.mT * KEY**-0.5  # [B, variants, R]
        distribution = Branching(
            Categorical(kinds, self._legal(obs, "kind")),
            [
                Categorical(targets, _any(self._legal(obs, "kind_target").unflatten(1, targets.shape[1:]))),
                Categorical(directions[:, None], _any(self._legal(obs, "direction")[:, None])),
            ],
            [self.target_of, self.direction_of],
        )
        return distribution, self.value(x).squeeze(-1)

    def _legal(self, obs: Tensor, mask: str) -> Tensor:
        return obs[:, self.masks[mask]] > 0


def _any(mask: Tensor) -> Tensor:
    """A choice with nothing legal is open to all: its kind is masked out, and probabilities must stay numbers."""
    return mask | ~mask.any(-1, keepdim=True)
