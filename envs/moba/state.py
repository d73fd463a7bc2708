"""Where the numbers of a world lie: names for the rows of its integer arrays.

A world is four arrays. Rules get them as `units, heroes, game, knobs` and index them as `units[HEALTH, slot]`:

- `units` int32 [UNIT_FIELDS, slots]: heroes, creeps and buildings. Team 0's slots come first, then as many of team 1:
  heroes, creeps (CREEPS_PER_LANE a lane), towers (lane by lane, outer before inner), the ancient.
- `heroes` int32 [HERO_FIELDS, 2 * heroes]: what only heroes have; team 0 first.
- `game` int64 [GAME_FIELDS]: clock, result, keys of the random draws.
- `knobs` int64 [KNOBS]: the options as numbers and where the blocks of an observation begin; the same for all worlds.

`rows` int32 [2 * heroes, targets + NEAR_CREEPS] says which slot each row of a hero's observation shows, -1 for none;
its last NEAR_CREEPS columns are room to sort in.
"""

from __future__ import annotations

from typing import Protocol

from envs.moba import settings as s
from envs.moba.layout import NEAR_CREEPS, Layout
from envs.moba.options import REWARDS, Options


class Grid(Protocol):
    """A two-dimensional array of integers: a NumPy or device array, or a memoryview of one."""

    def __getitem__(self, at: tuple[int, int], /) -> int: ...
    def __setitem__(self, at: tuple[int, int], value: int, /) -> None: ...


class Line(Protocol):
    """A one-dimensional array of integers."""

    def __getitem__(self, at: int, /) -> int: ...
    def __setitem__(self, at: int, value: int, /) -> None: ...


# --- units ----------------------------------------------------------------------------------------
(
    ALIVE,  # 0/1
    KIND,  # hero: which of HERO_NAMES; creep: 0 melee, 1 ranged; building: tier, TIERS for the ancient
    LANE,  # of creeps and towers
    X,  # fixed-point
    Y,
    VX,  # fixed-point per tick, as decided
    VY,
    WALKS,  # 0/1, this tick
    HEALTH,
    MAX_HEALTH,
    DAMAGE,
    RANGE,  # map units
    PERIOD,  # ticks between attacks
    PACE,  # map units per second
    WAIT,  # ticks until the next attack
    STUN,  # ticks left
    SLOW,  # ticks left
    TARGET,  # slot, -1 none
    WAYPOINT,  # 0 on the way to the river, 1 beyond it
    SEEN,  # 0/1, by the other team
    HURT,  # damage of this tick, taken at its end
    HURT_BY,  # slot of the hero who gets the credit, -1 none
    NEW_STUN,  # ticks, likewise taken at the end of the tick
    NEW_SLOW,
    AGGRO,  # slot of a hero a tower turns on at the end of the tick, -1 none
) = range(25)
UNIT_FIELDS = 25

# --- heroes ---------------------------------------------------------------------------------------
(
    LEVEL,
    XP,
    GOLD,
    MANA,
    MAX_MANA,
    COOLDOWN,  # of ability 1; those of 2 and 3 follow
    _COOLDOWN_2,
    _COOLDOWN_3,
    SHIELD,  # points left
    SHIELD_LEFT,  # ticks left
    RESPAWN,  # ticks left
    ORDER,
    ORDER_DIRECTION,
    RECALL_LEFT,  # ticks
    ITEMS,  # blades; vests and boots follow
    _ITEMS_2,
    _ITEMS_3,
    SPENT,  # gold
    LAST_HITS,
    DENIES,
    KILLS,
    DEATHS,
    HEALTH_WAS,  # thousandths, when the decision began
    MANA_WAS,
    GAIN,  # of this decision, in 1/REWARD_UNIT, before team spirit and the zero sum
) = range(25)
HERO_FIELDS = 25
NO_ORDER, ORDER_MOVE, ORDER_ATTACK, ORDER_RECALL = range(4)

# --- game -----------------------------------------------------------------------------------------
(
    TICK,
    DONE,  # 0/1
    SCORE,  # thousandths, of team 0
    KEY_LOW,  # of the draws; 32 bits each
    KEY_HIGH,
    SIDE,  # 1 gives each team the other one's luck, so that a mirrored game stays mirrored
    SEED_LOW,
    SEED_HIGH,
    WORLD,
    EPISODE,
) = range(10)
GAME_FIELDS = 10

# --- knobs ----------------------------------------------------------------------------------------
(
    HEROES,  # per side
    CREEPS,  # slots per side
    BUILDINGS,  # per side
    HALF,  # slots per side
    LANES_USED,
    LAST_TICK,  # the game ends here at the latest
    FOG,  # 0/1
    RANDOMNESS,  # thousandths
    SPIRIT,  # thousandths
    REWARDED,  # 0 the end alone, 1 objectives too, 2 everything
    TARGETS,  # entity rows of an observation
    SIZE,  # numbers in an observation
    AT_GLOBAL,  # first number of a block
    AT_KIND,
    AT_TARGET,
    AT_DIRECTION,
    AT_KIND_TARGET,
    HERO_WIDTH,  # numbers in a row
    CREEP_WIDTH,
    BUILDING_WIDTH,
    POOL,  # kinds of hero to draw from
    POOL_KIND,  # the kinds themselves follow
) = range(22)
KNOBS = POOL_KIND + len(s.HERO_NAMES)


def layout_knobs(layout: Layout) -> list[int]:
    """The knobs, [KNOBS], that follow from heroes and lanes; the others are 0."""
    knobs = [0] * KNOBS
    knobs[HEROES] = layout.heroes
    knobs[CREEPS] = layout.lanes * s.CREEPS_PER_LANE
    knobs[BUILDINGS] = layout.buildings
    knobs[HALF] = layout.heroes + knobs[CREEPS] + layout.buildings
    knobs[LANES_USED] = layout.lanes
    knobs[TARGETS] = layout.targets
    knobs[SIZE] = layout.size
    for knob, block in (
        (AT_GLOBAL, "global"),
        (AT_KIND, "kind"),
        (AT_TARGET, "target"),
        (AT_DIRECTION, "direction"),
        (AT_KIND_TARGET, "kind_target"),
    ):
        knobs[knob] = layout.blocks[block].start
    for knob, block in ((HERO_WIDTH, "self"), (CREEP_WIDTH, "own_creeps"), (BUILDING_WIDTH, "own_buildings")):
        knobs[knob] = layout.blocks[block].width
    return knobs


def knobs_of(options: Options) -> list[int]:
    """The options as numbers, [KNOBS]."""
    knobs = layout_knobs(options.layout)
    knobs[LAST_TICK] = options.decisions * s.TICKS_PER_DECISION
    knobs[FOG] = int(options.fog)
    knobs[RANDOMNESS] = round(options.randomness * s.SHARE)
    knobs[SPIRIT] = round(options.team_spirit * s.SHARE)
    knobs[REWARDED] = REWARDS.index(options.reward)
    knobs[POOL] = len(options.hero_pool)
    for i, name in enumerate(options.hero_pool):
        knobs[POOL_KIND + i] = s.HERO_NAMES.index(name)
    return knobs


def shapes(options: Options) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of one world's arrays by name."""
    knobs, both = knobs_of(options), 2 * options.heroes
    return {
        "units": ((UNIT_FIELDS, 2 * knobs[HALF]), "int32"),
        "heroes": ((HERO_FIELDS, both), "int32"),
        "game": ((GAME_FIELDS,), "int64"),
        "rows": ((both, knobs[TARGETS] + NEAR_CREEPS), "int32"),
    }
