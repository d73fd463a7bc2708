"""Where everything lies in an observation: blocks of rows x features, then the action masks.

An observation is one int16 vector. Entity blocks come first, one row an entity; a row that shows nothing (no such
creep, an enemy in the fog) has `visible` 0 and zeros in every feature that is not public. Positions are in the
frame of the own team: its base lies at (0, 0), the enemy's at (MAP_SIZE, MAP_SIZE). Values are plain integers in
the units given here; `scale` is a divisor that brings them to about [-1, 1].

It knows nothing of how the numbers come about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.moba import settings as s

NEAR_CREEPS = 8
"""Rows for the nearest creeps of each side."""
MAX_HEROES = 5
"""Most heroes per side."""

Array = TypeVar("Array", bound=Any)
# A feature: (name, unit, scale).
Feature = tuple[str, str, int]

_PLACE: tuple[Feature, ...] = (
    ("dx", "map units from the own hero", 2000),
    ("dy", "map units from the own hero", 2000),
    ("x", "map units", s.MAP_SIZE),
    ("y", "map units", s.MAP_SIZE),
)
HERO: tuple[Feature, ...] = (
    ("visible", "0/1; the team sees it", 1),
    ("alive", "0/1; public", 1),
    ("respawn", "decisions until it is back; public", 100),
    *((f"is_{name}", "0/1; public", 1) for name in s.HERO_NAMES),
    *_PLACE,
    ("health", "points", 1000),
    ("max_health", "points", 1000),
    ("mana", "points", 500),
    ("max_mana", "points", 500),
    ("level", "1 to 12", 12),
    ("damage", "mean points per attack", 100),
    ("range", "map units", 600),
    ("speed", "map units per second", 350),
    ("attack_wait", "ticks until it can attack again", 45),
    ("stun", "ticks left", 45),
    ("slow", "ticks left", 90),
    ("shield", "points left", 300),
    ("recalling", "0/1", 1),
    ("in_reach", "0/1; the own hero's attack reaches it", 1),
    ("reaches", "0/1; its attack reaches the own hero", 1),
    ("aims_at_me", "0/1", 1),
)
CREEP: tuple[Feature, ...] = (
    ("visible", "0/1; there is such a creep", 1),
    *_PLACE,
    ("health", "points", 400),
    ("max_health", "points", 400),
    ("ranged", "0/1", 1),
    ("stun", "ticks left", 45),
    ("slow", "ticks left", 90),
    ("in_reach", "0/1; the own hero's attack reaches it", 1),
    ("aims_at_me", "0/1", 1),
)
BUILDING: tuple[Feature, ...] = (
    ("visible", "0/1; it stands", 1),
    ("vulnerable", "0/1; the towers before it have fallen", 1),
    *_PLACE,
    ("health", "points", 2000),
    ("max_health", "points", 2000),
    ("tier", "0 outer tower, 1 inner tower, 2 ancient", 2),
    ("in_reach", "0/1; the own hero's attack reaches it", 1),
    ("reaches", "0/1; its attack reaches the own hero", 1),
    ("aims_at_me", "0/1", 1),
)
GLOBAL: tuple[Feature, ...] = (
    ("clock", "decisions played", 2000),
    ("clock_left", "decisions until the cap", 2000),
    ("next_wave", "ticks", 900),
    ("gold", "gold, up to 32767", 1000),
    ("xp", "points since the level began", 1000),
    ("xp_needed", "points from the level to the next, 0 at the last", 1000),
    *((f"cooldown_{i}", "ticks", 300) for i in (1, 2, 3)),
    *((f"unlocked_{i}", "0/1", 1) for i in (1, 2, 3)),
    *((f"{name}s", "pieces", 4) for name in ("blade", "vest", "boot")),
    ("at_base", "0/1; near the own fountain", 1),
    *(
        (f"order_{name}", "0/1; what the hero is doing", 1)
        for name in ("nothing", "move", "attack", "recall")
    ),
    ("recall_left", "ticks", 88),
    *((f"slot_{i}", "0/1; which hero of the team this is", 1) for i in range(MAX_HEROES)),
    ("last_hits", "own", 50),
    ("denies", "own", 20),
    ("kills", "own", 10),
    ("deaths", "own", 10),
    ("team_kills", "own team", 20),
    ("enemy_kills", "other team", 20),
    ("own_buildings", "thousandths of the own buildings' health that are left", 1000),
    ("enemy_buildings", "likewise of the other team", 1000),
)
ENTITY_BLOCKS = (
    "self",
    "allies",
    "enemies",
    "own_creeps",
    "enemy_creeps",
    "own_buildings",
    "enemy_buildings",
)
MASK_BLOCKS = ("kind", "target", "direction", "kind_target")


@dataclass(frozen=True)
class Block:
    """One block of an observation: `rows` x `features` numbers from `start` on, row by row."""

    name: str
    entity: str
    """"hero", "creep", "building", "global" or "mask": blocks of one entity have the same features."""
    start: int
    rows: int
    features: tuple[Feature, ...]

    @property
    def width(self) -> int:
        """Features of a row."""
        return len(self.features)

    @property
    def stop(self) -> int:
        """One past the last number."""
        return self.start + self.rows * self.width

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        return tuple(name for name, _, _ in self.features)

    @property
    def scale(self) -> tuple[int, ...]:
        """[width] divisors that bring the features to about [-1, 1]."""
        return tuple(scale for _, _, scale in self.features)

    def column(self, feature: str) -> int:
        """Which column of a row `feature` is. Raises ValueError if there is no such feature."""
        return self.names.index(feature)


@dataclass(frozen=True)
class Layout:
    """The blocks of an observation with `heroes` per side on `lanes` lanes.

    `blocks[name]` are, in order: self [1], allies [heroes-1], enemies [heroes], own_creeps and enemy_creeps
    [NEAR_CREEPS], own_buildings and enemy_buildings [lanes * TIERS + 1], global [1]; then masks of 0/1:
    kind [KINDS], target [targets], direction [DIRECTIONS], kind_target [TARGETED_KINDS x targets].
    The target part of an action counts the entity rows from `self` on in this order.
    """

    heroes: int
    lanes: int

    @property
    def buildings(self) -> int:
        """Buildings per side."""
        return self.lanes * s.TIERS + 1

    @cached_property
    def blocks(self) -> dict[str, Block]:
        """Every block by name, in the order in which they lie."""
        rows: list[tuple[str, str, int, tuple[Feature, ...]]] = [
            ("self", "hero", 1, HERO),
            ("allies", "hero", self.heroes - 1, HERO),
            ("enemies", "hero", self.heroes, HERO),
            ("own_creeps", "creep", NEAR_CREEPS, CREEP),
            ("enemy_creeps", "creep", NEAR_CREEPS, CREEP),
            ("own_buildings", "building", self.buildings, BUILDING),
            ("enemy_buildings", "building", self.buildings, BUILDING),
            ("global", "global", 1, GLOBAL),
        ]
        targets = sum(row[2] for row in rows) - 1
        target = tuple((f"target_{i}", "0/1", 1) for i in range(targets))
        rows += [
            ("kind", "mask", 1, tuple((name, "0/1", 1) for name in s.KIND_NAMES)),
            ("target", "mask", 1, target),
            ("direction", "mask", 1, tuple((f"direction_{i}", "0/1", 1) for i in range(s.DIRECTIONS))),
            ("kind_target", "mask", s.TARGETED_KINDS, target),
        ]
        blocks, start = {}, 0
        for name, entity, count, features in rows:
            blocks[name] = Block(name, entity, start, count, features)
            start = blocks[name].stop
        return blocks

    @property
    def targets(self) -> int:
        """Entity rows = choices of the target part."""
        return sum(self.blocks[name].rows for name in ENTITY_BLOCKS)

    @property
    def size(self) -> int:
        """Numbers in an observation, masks included."""
        return self.blocks["kind_target"].stop

    @property
    def action_sizes(self) -> tuple[int, int, int]:
        """Choices of the action's parts: kind, target, direction."""
        return s.KINDS, self.targets, s.DIRECTIONS

    @cached_property
    def scale(self) -> NDArray[np.float32]:
        """[size] divisors that bring an observation to about [-1, 1]; 1 for the masks."""
        return np.concatenate([np.tile(np.array(b.scale, np.float32), b.rows) for b in self.blocks.values()])

    def first_row(self, name: str) -> int:
        """The target number of the first row of entity block `name`."""
        order = ENTITY_BLOCKS[: ENTITY_BLOCKS.index(name)]
        return sum(self.blocks[other].rows for other in order)

    def rows(self, obs: Array, name: str) -> Array:
        """Block `name` of observations [..., size] (NumPy or torch) as [..., rows, width]."""
        block = self.blocks[name]
        return obs[..., block.start : block.stop].reshape(*obs.shape[:-1], block.rows, block.width)
