"""Distances and steps in fixed point. Nothing here favours a side: rounding is towards zero."""

from __future__ import annotations

from envs.moba.settings import (
    BASE_RADIUS,
    FOUNTAIN,
    MAP_SIZE,
    RIVER_HALF_WIDTH,
    RIVER_SPEED,
    SHARE,
    SLOW_SPEED,
    TICKS_PER_SECOND,
    UNIT,
)
from envs.moba.state import HALF, HEROES, PACE, SLOW, VX, VY, Grid, Line, X, Y

EDGE = MAP_SIZE * UNIT
"""Largest coordinate, fixed-point."""


def lesser(a: int, b: int) -> int:
    """The smaller number. Compilers for GPUs do not take `min` of integers of different widths."""
    return a if a < b else b


def greater(a: int, b: int) -> int:
    """The larger number."""
    return a if a > b else b


def on_map(coordinate: int) -> int:
    """The nearest coordinate on the map, fixed-point."""
    return lesser(greater(coordinate, 0), EDGE)


def length(dx: int, dy: int) -> int:
    """⌊√(dx² + dy²)⌋ by Newton's iteration from above."""
    dx, dy = abs(dx), abs(dy)
    square = dx * dx + dy * dy
    if square == 0:
        return 0
    guess = greater(dx, dy) + lesser(dx, dy) // 2 + 1
    better = (guess + square // guess) // 2
    while better < guess:
        guess = better
        better = (guess + square // guess) // 2
    return guess


def scaled(value: int, numerator: int, denominator: int) -> int:
    """value * numerator / denominator, rounded towards zero; the last two positive."""
    if value < 0:
        return -(-value * numerator // denominator)
    return value * numerator // denominator


def nearest(value: int, denominator: int) -> int:
    """value / denominator to the nearest whole number, halves away from zero: what is even about 0 stays so."""
    if value < 0:
        return -((-value + denominator // 2) // denominator)
    return (value + denominator // 2) // denominator


def distance_squared(units: Grid, a: int, b: int) -> int:
    """Between two slots, in fixed-point steps squared."""
    dx, dy = units[X, a] - units[X, b], units[Y, a] - units[Y, b]
    return dx * dx + dy * dy


def within(units: Grid, a: int, b: int, radius: int) -> bool:
    """Whether two slots lie at most `radius` map units apart."""
    return distance_squared(units, a, b) <= radius * UNIT * radius * UNIT


def team_of(knobs: Line, slot: int) -> int:
    """0 or 1."""
    return 1 if slot >= knobs[HALF] else 0


def place_in_half(knobs: Line, slot: int) -> int:
    """Which of its team's slots `slot` is: heroes, creeps and buildings, in this order."""
    return slot - knobs[HALF] if slot >= knobs[HALF] else slot


def is_hero(knobs: Line, slot: int) -> bool:
    """Whether `slot` is a hero's."""
    return place_in_half(knobs, slot) < knobs[HEROES]


def hero_slot(knobs: Line, hero: int) -> int:
    """Slot of hero 0 … 2 * heroes - 1."""
    return hero if hero < knobs[HEROES] else hero - knobs[HEROES] + knobs[HALF]


def hero_at(knobs: Line, slot: int) -> int:
    """The hero in `slot`, the inverse of `hero_slot`."""
    return slot if slot < knobs[HALF] else slot - knobs[HALF] + knobs[HEROES]


def own_x(team: int, x: int, y: int) -> int:
    """x in the frame of `team`, fixed-point."""
    return x if team == 0 else EDGE - y


def own_y(team: int, x: int, y: int) -> int:
    """y in the frame of `team`, fixed-point."""
    return y if team == 0 else EDGE - x


def place(units: Grid, slot: int, team: int, x: int, y: int) -> None:
    """Put a unit at (x, y) of its team's frame, fixed-point, kept on the map."""
    x, y = on_map(x), on_map(y)
    units[X, slot] = own_x(team, x, y)
    units[Y, slot] = own_y(team, x, y)
    units[VX, slot] = 0
    units[VY, slot] = 0


def pace(units: Grid, knobs: Line, slot: int) -> int:
    """Fixed-point steps per tick that a unit walks now: slowed by abilities, a hero also by the river."""
    speed = units[PACE, slot] * UNIT // TICKS_PER_SECOND
    if units[SLOW, slot] > 0:
        speed = speed * SLOW_SPEED // SHARE
    if is_hero(knobs, slot) and abs(units[X, slot] + units[Y, slot] - EDGE) <= RIVER_HALF_WIDTH * UNIT:
        speed = speed * RIVER_SPEED // SHARE
    return speed


def head_for(units: Grid, knobs: Line, slot: int, x: int, y: int) -> None:
    """Set the velocity towards the point (x, y), fixed-point."""
    dx, dy = x - units[X, slot], y - units[Y, slot]
    distance = length(dx, dy)
    speed = lesser(pace(units, knobs, slot), distance)
    if distance == 0:
        distance = 1
    units[VX, slot] = scaled(dx, speed, distance)
    units[VY, slot] = scaled(dy, speed, distance)


def stand(units: Grid, slot: int) -> None:
    """Set the velocity to zero."""
    units[VX, slot] = 0
    units[VY, slot] = 0


def at_base(units: Grid, knobs: Line, slot: int) -> bool:
    """Whether a unit is near its team's fountain."""
    team = team_of(knobs, slot)
    x, y = units[X, slot], units[Y, slot]
    dx, dy = own_x(team, x, y) - FOUNTAIN * UNIT, own_y(team, x, y) - FOUNTAIN * UNIT
    return dx * dx + dy * dy <= BASE_RADIUS * UNIT * BASE_RADIUS * UNIT
