"""One world, from the first tick to the last: the order in which the rules apply.

The rules know nothing of batches, threads or devices. They are plain functions over a world's integer arrays (see
`state`); nothing is allocated, nothing raised.
"""

from __future__ import annotations

from envs.moba.chance import HERO_PICK, START_X, START_Y, draw, set_keys, spread
from envs.moba.combat import deaths, strikes, take_blows
from envs.moba.economy import upkeep
from envs.moba.geometry import hero_slot, place
from envs.moba.lanes import aim_towers, guide_creeps, spawn_waves, walk
from envs.moba.observe import buildings_left, observe
from envs.moba.orders import obey, steer
from envs.moba.reward import begin_gains, settle_gains
from envs.moba.settings import (
    ANCIENT_AT,
    ATTACK_RANGE,
    ATTACK_TICKS,
    BUILDING_HEALTH,
    DAMAGE_BASE,
    FOUNTAIN,
    HEALTH_BASE,
    HERO_STATS,
    MANA_BASE,
    SHARE,
    SPEED,
    START_GOLD,
    START_SCATTER,
    TICKS_PER_DECISION,
    TIERS,
    TOWER_AT,
    TOWER_ATTACK_TICKS,
    TOWER_DAMAGE,
    TOWER_RANGE,
    UNIT,
)
from envs.moba.state import (
    AGGRO,
    ALIVE,
    BUILDINGS,
    CREEPS,
    DAMAGE,
    DONE,
    GOLD,
    HALF,
    HEALTH,
    HERO_FIELDS,
    HEROES,
    HURT_BY,
    KIND,
    LANE,
    LANES_USED,
    LAST_TICK,
    LEVEL,
    MANA,
    MAX_HEALTH,
    MAX_MANA,
    PACE,
    PERIOD,
    POOL,
    POOL_KIND,
    RANDOMNESS,
    RANGE,
    SCORE,
    SEEN,
    TARGET,
    TICK,
    UNIT_FIELDS,
    Grid,
    Line,
)
from envs.moba.vision import look


def start_world(units: Grid, heroes: Grid, game: Line, knobs: Line, rows: Grid, obs: Grid) -> None:
    """Set up episode EPISODE of world WORLD (both in `game`, as is the seed) and observe it."""
    game[TICK] = 0
    game[DONE] = 0
    game[SCORE] = 0
    set_keys(game)
    for slot in range(2 * knobs[HALF]):
        for field in range(UNIT_FIELDS):
            units[field, slot] = 0
        units[TARGET, slot] = -1
        units[HURT_BY, slot] = -1
        units[AGGRO, slot] = -1
    for hero in range(2 * knobs[HEROES]):
        for field in range(HERO_FIELDS):
            heroes[field, hero] = 0
        start_hero(units, heroes, game, knobs, hero)
    for team in range(2):
        for building in range(knobs[BUILDINGS]):
            start_building(units, knobs, team, building)
    look(units, knobs)
    observe(units, heroes, game, knobs, rows, obs)


def start_hero(units: Grid, heroes: Grid, game: Line, knobs: Line, hero: int) -> None:
    """Draw a hero's kind from the pool and put it near its fountain."""
    slot, team = hero_slot(knobs, hero), hero // knobs[HEROES]
    inside = slot - team * knobs[HALF]
    what = knobs[POOL_KIND + draw(game, HERO_PICK, team, inside, knobs[POOL])]
    width = START_SCATTER * UNIT * knobs[RANDOMNESS] // SHARE
    x = FOUNTAIN * UNIT + spread(game, START_X, team, inside, width)
    y = FOUNTAIN * UNIT + spread(game, START_Y, team, inside, width)
    place(units, slot, team, x, y)
    units[ALIVE, slot] = 1
    units[KIND, slot] = what
    units[HEALTH, slot] = HERO_STATS[what, HEALTH_BASE]
    units[MAX_HEALTH, slot] = HERO_STATS[what, HEALTH_BASE]
    units[DAMAGE, slot] = HERO_STATS[what, DAMAGE_BASE]
    units[RANGE, slot] = HERO_STATS[what, ATTACK_RANGE]
    units[PERIOD, slot] = HERO_STATS[what, ATTACK_TICKS]
    units[PACE, slot] = HERO_STATS[what, SPEED]
    heroes[LEVEL, hero] = 1
    heroes[GOLD, hero] = START_GOLD
    heroes[MANA, hero] = HERO_STATS[what, MANA_BASE]
    heroes[MAX_MANA, hero] = HERO_STATS[what, MANA_BASE]


def start_building(units: Grid, knobs: Line, team: int, building: int) -> None:
    """Put up tower `building` of a team, or its ancient, which comes last."""
    slot = team * knobs[HALF] + knobs[HEROES] + knobs[CREEPS] + building
    lane, tier = building // TIERS, building % TIERS
    if lane == knobs[LANES_USED]:
        lane, tier = 0, TIERS
        place(units, slot, team, ANCIENT_AT * UNIT, ANCIENT_AT * UNIT)
    else:
        place(units, slot, team, TOWER_AT[lane, tier, 0] * UNIT, TOWER_AT[lane, tier, 1] * UNIT)
        units[DAMAGE, slot] = TOWER_DAMAGE
        units[RANGE, slot] = TOWER_RANGE
        units[PERIOD, slot] = TOWER_ATTACK_TICKS
    units[ALIVE, slot] = 1
    units[KIND, slot] = tier
    units[LANE, slot] = lane
    units[HEALTH, slot] = BUILDING_HEALTH[tier]
    units[MAX_HEALTH, slot] = BUILDING_HEALTH[tier]
    units[SEEN, slot] = 1


def step_world(
    units: Grid, heroes: Grid, game: Line, knobs: Line, rows: Grid, actions: Grid, obs: Grid, reward_out: Line
) -> None:
    """One decision of every hero, the ticks it lasts, and what they see then.

    actions int64 [2 * heroes, (kind, target row, direction)]; obs int16 [2 * heroes, SIZE]; reward_out as in
    `reward.settle_gains`. When the game ends, DONE is 1 and SCORE set; the world must be started anew.
    """
    begin_gains(units, heroes, knobs)
    obey(units, heroes, knobs, rows, actions)
    steer(units, heroes, knobs)
    guide_creeps(units, knobs)
    aim_towers(units, knobs)
    for _ in range(TICKS_PER_DECISION):
        if game[DONE] == 0:  # after the fall of an ancient nothing happens any more
            strikes(units, game, knobs)
            walk(units, knobs)
            if take_blows(units, heroes, knobs) > 0:
                deaths(units, heroes, knobs)
                judge(units, game, knobs)
        game[TICK] += 1
    upkeep(units, heroes, game, knobs)
    spawn_waves(units, game, knobs)
    look(units, knobs)
    judge(units, game, knobs)
    settle_gains(units, heroes, game, knobs, reward_out)
    observe(units, heroes, game, knobs, rows, obs)


def judge(units: Grid, game: Line, knobs: Line) -> None:
    """End the game when an ancient has fallen or the time is up, and score it for team 0, in thousandths.

    1000 or -1000 if one ancient fell; otherwise, also where both fell in the same tick, the share of its buildings'
    health that team 1 lost, less team 0's.
    """
    last = knobs[HEROES] + knobs[CREEPS] + knobs[BUILDINGS] - 1
    first_stands, second_stands = units[ALIVE, last], units[ALIVE, knobs[HALF] + last]
    if first_stands == 1 and second_stands == 1 and game[TICK] < knobs[LAST_TICK]:
        return
    game[DONE] = 1
    if first_stands != second_stands:
        game[SCORE] = SHARE if first_stands == 1 else -SHARE
    else:
        game[SCORE] = buildings_left(units, knobs, 0) - buildings_left(units, knobs, 1)
