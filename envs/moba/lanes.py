"""What walks and shoots by itself: creep waves on their lanes, and towers."""

from __future__ import annotations

from envs.moba.chance import SCATTER_X, SCATTER_Y, spread
from envs.moba.geometry import EDGE, distance_squared, head_for, on_map, own_x, own_y, place, team_of, within
from envs.moba.orders import vulnerable
from envs.moba.settings import (
    ANCIENT_AT,
    CREEP_ATTACK_TICKS,
    CREEP_DAMAGE,
    CREEP_HEALTH,
    CREEP_RANGE,
    CREEP_SCATTER,
    CREEP_SIGHT,
    CREEP_SPEED,
    CREEPS_PER_LANE,
    FIRST_WAVE,
    LANE_CORNER,
    MELEE_PER_WAVE,
    RANGED_PER_WAVE,
    SHARE,
    UNIT,
    WAVE_PERIOD,
    WAYPOINT_RADIUS,
)
from envs.moba.state import (
    ALIVE,
    BUILDINGS,
    CREEPS,
    DAMAGE,
    HALF,
    HEALTH,
    HEROES,
    KIND,
    LANE,
    LANES_USED,
    MAX_HEALTH,
    PACE,
    PERIOD,
    RANDOMNESS,
    RANGE,
    SEEN,
    TARGET,
    TICK,
    VX,
    VY,
    WALKS,
    WAYPOINT,
    Grid,
    Line,
    X,
    Y,
)


def spawn_waves(units: Grid, game: Line, knobs: Line) -> None:
    """When a wave is due, start one in every lane of both teams; melee creeps first."""
    if game[TICK] < FIRST_WAVE or (game[TICK] - FIRST_WAVE) % WAVE_PERIOD != 0:
        return
    # Whoever struck down a creep in this decision's last tick still aims at its place, and must not at its successor.
    for slot in range(2 * knobs[HALF]):
        target = units[TARGET, slot]
        if target >= 0 and units[ALIVE, target] == 0:
            units[TARGET, slot] = -1
    for team in range(2):
        for lane in range(knobs[LANES_USED]):
            first = team * knobs[HALF] + knobs[HEROES] + lane * CREEPS_PER_LANE
            left = MELEE_PER_WAVE + RANGED_PER_WAVE
            for slot in range(first, first + CREEPS_PER_LANE):
                if left > 0 and units[ALIVE, slot] == 0:
                    spawn_creep(units, game, knobs, slot, lane, 1 if left <= RANGED_PER_WAVE else 0)
                    left -= 1


def spawn_creep(units: Grid, game: Line, knobs: Line, slot: int, lane: int, kind: int) -> None:
    """Start one creep near its ancient; kind 0 is melee, 1 ranged."""
    team = team_of(knobs, slot)
    inside, width = slot - team * knobs[HALF], CREEP_SCATTER * UNIT * knobs[RANDOMNESS] // SHARE
    x = ANCIENT_AT * UNIT + spread(game, SCATTER_X, team, inside, width)
    y = ANCIENT_AT * UNIT + spread(game, SCATTER_Y, team, inside, width)
    place(units, slot, team, x, y)
    units[ALIVE, slot] = 1
    units[KIND, slot] = kind
    units[LANE, slot] = lane
    units[HEALTH, slot] = CREEP_HEALTH[kind]
    units[MAX_HEALTH, slot] = CREEP_HEALTH[kind]
    units[DAMAGE, slot] = CREEP_DAMAGE[kind]
    units[RANGE, slot] = CREEP_RANGE[kind]
    units[PERIOD, slot] = CREEP_ATTACK_TICKS
    units[PACE, slot] = CREEP_SPEED
    units[TARGET, slot] = -1
    units[WAYPOINT, slot] = 0
    units[SEEN, slot] = 0


def nearest_enemy(units: Grid, knobs: Line, slot: int, radius: int, begin: int, end: int) -> int:
    """The nearest living, seen, vulnerable enemy within `radius` map units, -1 if none; ties to the lower slot.

    `begin` and `end` bound the places within the enemy's half that are looked at.
    """
    half = (1 - team_of(knobs, slot)) * knobs[HALF]
    best, chosen = radius * UNIT * radius * UNIT + 1, -1
    for other in range(half + begin, half + end):
        if units[ALIVE, other] == 1 and units[SEEN, other] == 1:
            distance = distance_squared(units, slot, other)
            if distance < best:
                building = other - half >= knobs[HEROES] + knobs[CREEPS]
                if not building or vulnerable(units, knobs, other):
                    best, chosen = distance, other
    return chosen


def guide_creeps(units: Grid, knobs: Line) -> None:
    """A creep keeps its target while it sees it, else takes the nearest enemy, else walks on along its lane."""
    for team in range(2):
        first = team * knobs[HALF] + knobs[HEROES]
        for slot in range(first, first + knobs[CREEPS]):
            if units[ALIVE, slot] == 0:
                continue
            target = units[TARGET, slot]
            if target < 0 or units[ALIVE, target] == 0 or not within(units, slot, target, CREEP_SIGHT):
                target = nearest_enemy(units, knobs, slot, CREEP_SIGHT, 0, knobs[HALF])
                units[TARGET, slot] = target
            if target >= 0:
                head_for(units, knobs, slot, units[X, target], units[Y, target])
            else:
                follow_lane(units, knobs, slot)


def follow_lane(units: Grid, knobs: Line, slot: int) -> None:
    """Walk to where the lane crosses the river, from there to the enemy's ancient."""
    team, lane = team_of(knobs, slot), units[LANE, slot]
    x, y = own_x(team, units[X, slot], units[Y, slot]), own_y(team, units[X, slot], units[Y, slot])
    to_x, to_y = LANE_CORNER[lane, 0] * UNIT, LANE_CORNER[lane, 1] * UNIT
    if x + y >= EDGE - WAYPOINT_RADIUS * UNIT:
        units[WAYPOINT, slot] = 1
    if units[WAYPOINT, slot] == 1:
        to_x, to_y = EDGE - ANCIENT_AT * UNIT, EDGE - ANCIENT_AT * UNIT
    head_for(units, knobs, slot, own_x(team, to_x, to_y), own_y(team, to_x, to_y))


def aim_towers(units: Grid, knobs: Line) -> None:
    """A tower keeps its target while it lives within range, else takes the nearest creep, else the nearest hero.

    A hero who strikes an enemy hero near the tower becomes its target at once, see `combat.hurt`.
    """
    for team in range(2):
        first = team * knobs[HALF] + knobs[HEROES] + knobs[CREEPS]
        for slot in range(first, first + knobs[BUILDINGS]):
            reach = units[RANGE, slot]
            if units[ALIVE, slot] == 0 or reach == 0:
                continue
            target = units[TARGET, slot]
            if target >= 0 and units[ALIVE, target] == 1 and within(units, slot, target, reach):
                continue
            creeps = knobs[HEROES] + knobs[CREEPS]
            target = nearest_enemy(units, knobs, slot, reach, knobs[HEROES], creeps)
            if target < 0:
                target = nearest_enemy(units, knobs, slot, reach, 0, knobs[HEROES])
            units[TARGET, slot] = target


def walk(units: Grid, knobs: Line) -> None:
    """Move all who walk this tick; the map's edge holds them."""
    for slot in range(2 * knobs[HALF]):
        if units[WALKS, slot] == 1 and units[ALIVE, slot] == 1:
            units[X, slot] = on_map(units[X, slot] + units[VX, slot])
            units[Y, slot] = on_map(units[Y, slot] + units[VY, slot])
