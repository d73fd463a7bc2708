"""Fog of war: a team sees a unit that lies within the vision radius of one of its own."""

from __future__ import annotations

from envs.moba.geometry import distance_squared, place_in_half
from envs.moba.settings import BUILDING_VISION, CREEP_VISION, HERO_VISION, UNIT
from envs.moba.state import ALIVE, BUILDINGS, CREEPS, FOG, HALF, HEROES, SEEN, Grid, Line


def look(units: Grid, knobs: Line) -> None:
    """Set SEEN, once per decision. Buildings are always seen; without fog everything is."""
    for slot in range(2 * knobs[HALF]):
        if units[ALIVE, slot] == 1:
            inside = place_in_half(knobs, slot)
            building = inside >= knobs[HEROES] + knobs[CREEPS]
            known = building or knobs[FOG] == 0
            units[SEEN, slot] = 1 if known or in_sight(units, knobs, slot) else 0


def in_sight(units: Grid, knobs: Line, slot: int) -> bool:
    """Whether a living unit of the other team sees `slot`."""
    first = knobs[HALF] if slot < knobs[HALF] else 0
    creeps = first + knobs[HEROES]
    buildings = creeps + knobs[CREEPS]
    return (
        any_near(units, slot, first, creeps, HERO_VISION * UNIT)
        or any_near(units, slot, creeps, buildings, CREEP_VISION * UNIT)
        or any_near(units, slot, buildings, buildings + knobs[BUILDINGS], BUILDING_VISION * UNIT)
    )


def any_near(units: Grid, slot: int, begin: int, end: int, radius: int) -> bool:
    """Whether one of the slots begin … end - 1 lives within `radius` (fixed-point) of `slot`."""
    for other in range(begin, end):
        if units[ALIVE, other] == 1 and distance_squared(units, slot, other) <= radius * radius:
            return True
    return False
