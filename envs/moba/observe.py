"""Writes a hero's observation: entity rows, then the global block. The order of columns is that of `layout`.

It reads nothing of an enemy in the fog but what is public (alive, respawn, kind of hero).
"""

from __future__ import annotations

from envs.moba.economy import next_level_xp
from envs.moba.geometry import (
    at_base,
    distance_squared,
    greater,
    hero_at,
    hero_slot,
    lesser,
    own_x,
    own_y,
    team_of,
    within,
)
from envs.moba.layout import MAX_HEROES, NEAR_CREEPS
from envs.moba.masks import write_masks
from envs.moba.orders import vulnerable
from envs.moba.settings import (
    ABILITIES,
    ABILITY_UNLOCK,
    FIRST_WAVE,
    HERO_ABILITIES,
    HERO_KINDS,
    ITEMS_SOLD,
    MAX_OBS,
    SHARE,
    TICKS_PER_DECISION,
    UNIT,
    WAVE_PERIOD,
    XP_AT_LEVEL,
)
from envs.moba.state import (
    ALIVE,
    AT_GLOBAL,
    BUILDING_WIDTH,
    BUILDINGS,
    COOLDOWN,
    CREEP_WIDTH,
    CREEPS,
    DAMAGE,
    DEATHS,
    DENIES,
    GOLD,
    HALF,
    HEALTH,
    HERO_WIDTH,
    HEROES,
    ITEMS,
    KILLS,
    KIND,
    LAST_HITS,
    LAST_TICK,
    LEVEL,
    MANA,
    MAX_HEALTH,
    MAX_MANA,
    ORDER,
    ORDER_RECALL,
    PACE,
    RANGE,
    RECALL_LEFT,
    RESPAWN,
    SEEN,
    SHIELD,
    SIZE,
    SLOW,
    STUN,
    TARGET,
    TARGETS,
    TICK,
    WAIT,
    XP,
    Grid,
    Line,
    X,
    Y,
)


def observe(units: Grid, heroes: Grid, game: Line, knobs: Line, rows: Grid, obs: Grid) -> None:
    """Fill `rows` and `obs` [2 * heroes, SIZE] for every hero."""
    for hero in range(2 * knobs[HEROES]):
        choose_rows(units, knobs, rows, hero)
        for i in range(knobs[SIZE]):
            obs[hero, i] = 0
        count, creeps, buildings = knobs[HEROES], NEAR_CREEPS, knobs[BUILDINGS]
        at = 0
        for row in range(2 * count):
            write_hero(units, heroes, knobs, rows, obs, hero, row, at)
            at += knobs[HERO_WIDTH]
        for row in range(2 * count, 2 * (count + creeps)):
            if rows[hero, row] >= 0:
                write_creep(units, knobs, rows, obs, hero, row, at)
            at += knobs[CREEP_WIDTH]
        for row in range(2 * (count + creeps), 2 * (count + creeps + buildings)):
            write_building(units, knobs, rows, obs, hero, row, at)
            at += knobs[BUILDING_WIDTH]
        write_global(units, heroes, game, knobs, obs, hero)
        write_masks(units, heroes, knobs, rows, obs, hero)


def choose_rows(units: Grid, knobs: Line, rows: Grid, hero: int) -> None:
    """Which slot each entity row of a hero shows: self, allies, enemies, nearest creeps of each side, buildings."""
    slot, count = hero_slot(knobs, hero), knobs[HEROES]
    own = team_of(knobs, slot) * knobs[HALF]
    enemy = knobs[HALF] - own
    rows[hero, 0] = slot
    row = 1
    for other in range(own, own + count):
        if other != slot:
            rows[hero, row] = other
            row += 1
    for other in range(enemy, enemy + count):
        rows[hero, row] = other
        row += 1
    nearest_creeps(units, knobs, rows, hero, own + count, row)
    nearest_creeps(units, knobs, rows, hero, enemy + count, row + NEAR_CREEPS)
    row += 2 * NEAR_CREEPS
    for building in range(knobs[BUILDINGS]):
        rows[hero, row + building] = own + count + knobs[CREEPS] + building
        rows[hero, row + knobs[BUILDINGS] + building] = enemy + count + knobs[CREEPS] + building


def nearest_creeps(units: Grid, knobs: Line, rows: Grid, hero: int, first: int, row: int) -> None:
    """Insertion sort of a side's creeps in sight by distance (map units squared); ties to the lower slot."""
    slot, room, found = hero_slot(knobs, hero), knobs[TARGETS], 0
    own = team_of(knobs, first) == team_of(knobs, slot)
    for other in range(first, first + knobs[CREEPS]):
        if units[ALIVE, other] == 0 or not (own or units[SEEN, other] == 1):
            continue
        distance = distance_squared(units, slot, other) // (UNIT * UNIT)
        if found == NEAR_CREEPS and distance >= rows[hero, room + found - 1]:
            continue
        at = found if found < NEAR_CREEPS else NEAR_CREEPS - 1
        found = at + 1
        while at > 0 and rows[hero, room + at - 1] > distance:
            rows[hero, room + at] = rows[hero, room + at - 1]
            rows[hero, row + at] = rows[hero, row + at - 1]
            at -= 1
        rows[hero, room + at] = distance
        rows[hero, row + at] = other
    for at in range(found, NEAR_CREEPS):
        rows[hero, row + at] = -1


def write_place(units: Grid, knobs: Line, obs: Grid, hero: int, slot: int, at: int) -> None:
    """dx, dy, x, y in the frame of the hero's team, map units rounded down."""
    me = hero_slot(knobs, hero)
    team = team_of(knobs, me)
    x, y = own_x(team, units[X, slot], units[Y, slot]), own_y(team, units[X, slot], units[Y, slot])
    obs[hero, at] = (x - own_x(team, units[X, me], units[Y, me])) // UNIT
    obs[hero, at + 1] = (y - own_y(team, units[X, me], units[Y, me])) // UNIT
    obs[hero, at + 2] = x // UNIT
    obs[hero, at + 3] = y // UNIT


def reaches(units: Grid, a: int, b: int) -> int:
    """1 if the attack of slot `a` reaches slot `b`."""
    return 1 if units[RANGE, a] > 0 and within(units, a, b, units[RANGE, a]) else 0


def write_hero(
    units: Grid, heroes: Grid, knobs: Line, rows: Grid, obs: Grid, hero: int, row: int, at: int
) -> None:
    """One row of `layout.HERO`."""
    me, slot = hero_slot(knobs, hero), rows[hero, row]
    other = hero_at(knobs, slot)
    alive = units[ALIVE, slot]
    obs[hero, at + 1] = alive
    obs[hero, at + 2] = -(-heroes[RESPAWN, other] // TICKS_PER_DECISION)
    obs[hero, at + 3 + units[KIND, slot]] = 1
    at += 3 + HERO_KINDS
    own = team_of(knobs, slot) == team_of(knobs, me)
    # The dead know their own levels and gold; of enemies only what is seen.
    if not own and (alive == 0 or units[SEEN, slot] == 0):
        return
    obs[hero, at - 3 - HERO_KINDS] = alive
    if alive == 1:
        write_place(units, knobs, obs, hero, slot, at)
    obs[hero, at + 4] = units[HEALTH, slot]
    obs[hero, at + 5] = units[MAX_HEALTH, slot]
    obs[hero, at + 6] = heroes[MANA, other]
    obs[hero, at + 7] = heroes[MAX_MANA, other]
    obs[hero, at + 8] = heroes[LEVEL, other]
    obs[hero, at + 9] = units[DAMAGE, slot]
    obs[hero, at + 10] = units[RANGE, slot]
    obs[hero, at + 11] = units[PACE, slot]
    obs[hero, at + 12] = units[WAIT, slot]
    obs[hero, at + 13] = units[STUN, slot]
    obs[hero, at + 14] = units[SLOW, slot]
    obs[hero, at + 15] = heroes[SHIELD, other]
    obs[hero, at + 16] = 1 if heroes[ORDER, other] == ORDER_RECALL else 0
    if alive == 1 and units[ALIVE, me] == 1:
        obs[hero, at + 17] = reaches(units, me, slot)
        obs[hero, at + 18] = reaches(units, slot, me)
        obs[hero, at + 19] = 1 if units[TARGET, slot] == me else 0


def write_creep(units: Grid, knobs: Line, rows: Grid, obs: Grid, hero: int, row: int, at: int) -> None:
    """One row of `layout.CREEP`."""
    me, slot = hero_slot(knobs, hero), rows[hero, row]
    obs[hero, at] = 1
    write_place(units, knobs, obs, hero, slot, at + 1)
    obs[hero, at + 5] = units[HEALTH, slot]
    obs[hero, at + 6] = units[MAX_HEALTH, slot]
    obs[hero, at + 7] = units[KIND, slot]
    obs[hero, at + 8] = units[STUN, slot]
    obs[hero, at + 9] = units[SLOW, slot]
    obs[hero, at + 10] = reaches(units, me, slot) * units[ALIVE, me]
    obs[hero, at + 11] = 1 if units[TARGET, slot] == me else 0


def write_building(units: Grid, knobs: Line, rows: Grid, obs: Grid, hero: int, row: int, at: int) -> None:
    """One row of `layout.BUILDING`; a fallen one keeps its place and tier."""
    me, slot = hero_slot(knobs, hero), rows[hero, row]
    standing = units[ALIVE, slot]
    obs[hero, at] = standing
    obs[hero, at + 1] = 1 if standing == 1 and vulnerable(units, knobs, slot) else 0
    write_place(units, knobs, obs, hero, slot, at + 2)
    obs[hero, at + 6] = units[HEALTH, slot]
    obs[hero, at + 7] = units[MAX_HEALTH, slot]
    obs[hero, at + 8] = units[KIND, slot]
    if standing == 1 and units[ALIVE, me] == 1:
        obs[hero, at + 9] = reaches(units, me, slot)
        obs[hero, at + 10] = reaches(units, slot, me)
        obs[hero, at + 11] = 1 if units[TARGET, slot] == me else 0


def buildings_left(units: Grid, knobs: Line, team: int) -> int:
    """Thousandths of a team's buildings' health that are left."""
    first = team * knobs[HALF] + knobs[HEROES] + knobs[CREEPS]
    left, most = 0, 0
    for building in range(first, first + knobs[BUILDINGS]):
        left += units[HEALTH, building]
        most += units[MAX_HEALTH, building]
    return left * SHARE // most


def write_global(units: Grid, heroes: Grid, game: Line, knobs: Line, obs: Grid, hero: int) -> None:
    """The row of `layout.GLOBAL`."""
    slot, count = hero_slot(knobs, hero), knobs[HEROES]
    team, what, at = team_of(knobs, slot), units[KIND, slot], knobs[AT_GLOBAL]
    tick, level = game[TICK], heroes[LEVEL, hero]
    obs[hero, at] = tick // TICKS_PER_DECISION
    obs[hero, at + 1] = greater(knobs[LAST_TICK] - tick, 0) // TICKS_PER_DECISION
    obs[hero, at + 2] = (
        FIRST_WAVE - tick if tick < FIRST_WAVE else WAVE_PERIOD - (tick - FIRST_WAVE) % WAVE_PERIOD
    )
    obs[hero, at + 3] = lesser(heroes[GOLD, hero], MAX_OBS)
    obs[hero, at + 4] = heroes[XP, hero] - XP_AT_LEVEL[level - 1]
    obs[hero, at + 5] = next_level_xp(level)
    at += 6
    for ability in range(ABILITIES):
        obs[hero, at + ability] = heroes[COOLDOWN + ability, hero]
        obs[hero, at + ABILITIES + ability] = (
            1 if level >= HERO_ABILITIES[what, ability, ABILITY_UNLOCK] else 0
        )
    at += 2 * ABILITIES
    for item in range(ITEMS_SOLD):
        obs[hero, at + item] = heroes[ITEMS + item, hero]
    at += ITEMS_SOLD
    obs[hero, at] = 1 if units[ALIVE, slot] == 1 and at_base(units, knobs, slot) else 0
    obs[hero, at + 1 + heroes[ORDER, hero]] = 1
    obs[hero, at + 5] = heroes[RECALL_LEFT, hero] if heroes[ORDER, hero] == ORDER_RECALL else 0
    obs[hero, at + 6 + hero - team * count] = 1
    at += 6 + MAX_HEROES
    obs[hero, at] = heroes[LAST_HITS, hero]
    obs[hero, at + 1] = heroes[DENIES, hero]
    obs[hero, at + 2] = heroes[KILLS, hero]
    obs[hero, at + 3] = heroes[DEATHS, hero]
    for other in range(2 * count):
        obs[hero, at + (4 if other // count == team else 5)] += heroes[KILLS, other]
    obs[hero, at + 6] = buildings_left(units, knobs, team)
    obs[hero, at + 7] = buildings_left(units, knobs, 1 - team)
