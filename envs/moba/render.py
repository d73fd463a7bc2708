"""A picture of one world that a person can follow: map, lanes, river, units with health bars, and a score board.

It reads a world's arrays and draws; it knows nothing of rules. Team 0 is blue, at the bottom left; team 1 is red.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.moba import settings as s
from envs.moba import state as st

SIDE, BOARD = 512, 208
"""Pixels: the map's side, the score board's width."""
TEAM = ((70, 130, 255), (240, 80, 70))
GRASS, WATER, PATH, WHITE, GREY, DARK = (
    (52, 74, 48),
    (48, 84, 110),
    (96, 88, 66),
    (240, 240, 240),
    (150, 150, 150),
    (24, 26, 30),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX
Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def picture(world: Mapping[str, NDArray[Any]], knobs: NDArray[np.int64]) -> Picture:
    """RGB uint8 [SIDE, SIDE + BOARD, 3] of one world's arrays ("units", "heroes", "game")."""
    canvas: Picture = np.zeros((SIDE, SIDE + BOARD, 3), np.uint8)
    canvas[:, :SIDE], canvas[:, SIDE:] = GRASS, DARK
    _ground(canvas, int(knobs[st.LANES_USED]))
    units, half = world["units"], int(knobs[st.HALF])
    first_building = int(knobs[st.HEROES] + knobs[st.CREEPS])
    # Heroes last, so that nothing covers them.
    inside = [
        *range(first_building, half),
        *range(int(knobs[st.HEROES]), first_building),
        *range(knobs[st.HEROES]),
    ]
    for place in inside:
        for team in (0, 1):
            _unit(canvas, world, knobs, team, place, units[:, team * half + place])
    _board(canvas, world, knobs)
    return canvas


def _at(x: int, y: int) -> tuple[int, int]:
    """Map units -> pixel (column, row); y points up."""
    return round(x * (SIDE - 1) / s.MAP_SIZE), round((s.MAP_SIZE - y) * (SIDE - 1) / s.MAP_SIZE)


def _ground(canvas: Picture, lanes: int) -> None:
    size, width = s.MAP_SIZE, s.RIVER_HALF_WIDTH
    corners = [(0, size - width), (0, size), (width, size), (size, width), (size, 0), (size - width, 0)]
    cv2.fillPoly(canvas, [np.array([_at(*c) for c in corners], np.int32)], WATER)
    for lane in range(lanes):
        far = size - s.ANCIENT_AT
        points = [(s.ANCIENT_AT, s.ANCIENT_AT), tuple(int(c) for c in s.LANE_CORNER[lane]), (far, far)]
        cv2.polylines(
            canvas, [np.array([_at(x, y) for x, y in points], np.int32)], False, PATH, 10, cv2.LINE_AA
        )
    radius = round(s.BASE_RADIUS * SIDE / s.MAP_SIZE)
    for team, corner in enumerate((s.FOUNTAIN, size - s.FOUNTAIN)):
        cv2.circle(canvas, _at(corner, corner), radius, TEAM[team], 1, cv2.LINE_AA)
    canvas[:, SIDE:] = DARK


def _unit(
    canvas: Picture,
    world: Mapping[str, NDArray[Any]],
    knobs: NDArray[np.int64],
    team: int,
    place: int,
    unit: Any,
) -> None:
    """One unit in its team's colour; a line shows whom it strikes."""
    column, row = _at(int(unit[st.X]) // s.UNIT, int(unit[st.Y]) // s.UNIT)
    alive, colour = unit[st.ALIVE] == 1, TEAM[team]
    building, hero = place >= knobs[st.HEROES] + knobs[st.CREEPS], place < knobs[st.HEROES]
    if not alive:
        if building:
            cv2.drawMarker(canvas, (column, row), GREY, cv2.MARKER_TILTED_CROSS, 10, 2)
        return
    target = int(unit[st.TARGET])
    if target >= 0 and unit[st.WAIT] > unit[st.PERIOD] - 8:
        other = world["units"][:, target]
        cv2.line(
            canvas, (column, row), _at(other[st.X] // s.UNIT, other[st.Y] // s.UNIT), colour, 1, cv2.LINE_AA
        )
    if building:
        r = 10 if unit[st.KIND] == s.TIERS else 7
        cv2.rectangle(canvas, (column - r, row - r), (column + r, row + r), colour, -1)
        cv2.rectangle(canvas, (column - r, row - r), (column + r, row + r), WHITE, 1)
    elif hero:
        r = 9
        cv2.circle(canvas, (column, row), r, colour, -1, cv2.LINE_AA)
        cv2.circle(canvas, (column, row), r, GREY if unit[st.STUN] > 0 else WHITE, 2, cv2.LINE_AA)
        letter = s.HERO_NAMES[int(unit[st.KIND])][0].upper()
        cv2.putText(canvas, letter, (column - 5, row + 5), FONT, 0.45, WHITE, 1, cv2.LINE_AA)
        index = place + team * int(knobs[st.HEROES])
        level = str(int(world["heroes"][st.LEVEL, index]))
        cv2.putText(canvas, level, (column + r, row - r), FONT, 0.38, WHITE, 1, cv2.LINE_AA)
    else:
        r = 3
        cv2.circle(canvas, (column, row), r, colour, -1, cv2.LINE_AA)
        if unit[st.KIND] == 1:
            cv2.circle(canvas, (column, row), 1, WHITE, -1)
    wide = 7 if not (building or hero) else 13
    share = int(unit[st.HEALTH]) / max(int(unit[st.MAX_HEALTH]), 1)
    _bar(canvas, column - wide // 2, row - r - 6, wide, share, (90, 220, 90))


def _bar(canvas: Picture, column: int, row: int, width: int, share: float, colour: Colour) -> None:
    cv2.rectangle(canvas, (column, row), (column + width, row + 2), (60, 20, 20), -1)
    cv2.rectangle(canvas, (column, row), (column + round(width * share), row + 2), colour, -1)


def _board(canvas: Picture, world: Mapping[str, NDArray[Any]], knobs: NDArray[np.int64]) -> None:
    """Clock, buildings' health and, for each hero, kind, level, gold, health, mana and what it has done."""
    units, heroes, count = world["units"], world["heroes"], int(knobs[st.HEROES])
    seconds = int(world["game"][st.TICK]) // s.TICKS_PER_SECOND
    left, row = SIDE + 10, 22
    text(canvas, f"{seconds // 60}:{seconds % 60:02d}", left, row, WHITE, 0.6)
    for team in (0, 1):
        first = team * int(knobs[st.HALF]) + count + int(knobs[st.CREEPS])
        buildings = units[:, first : first + int(knobs[st.BUILDINGS])]
        share = buildings[st.HEALTH].sum() / buildings[st.MAX_HEALTH].sum()
        kills = int(heroes[st.KILLS, team * count : (team + 1) * count].sum())
        row += 22
        text(canvas, f"kills {kills}   buildings {share:.0%}", left, row, TEAM[team])
        for hero in range(team * count, (team + 1) * count):
            slot = hero - team * count + team * int(knobs[st.HALF])
            row += 16
            name = s.HERO_NAMES[int(units[st.KIND, slot])]
            dead = heroes[st.RESPAWN, hero] > 0
            back = f" back in {int(heroes[st.RESPAWN, hero]) // s.TICKS_PER_SECOND}s" if dead else ""
            text(canvas, f"{name} {int(heroes[st.LEVEL, hero])}{back}", left, row, GREY if dead else WHITE)
            text(canvas, f"{int(heroes[st.GOLD, hero])} g", left + 140, row, (240, 210, 90))
            health = 0.0 if dead else units[st.HEALTH, slot] / units[st.MAX_HEALTH, slot]
            _bar(canvas, left, row + 5, 90, float(health), (90, 220, 90))
            _bar(
                canvas,
                left + 96,
                row + 5,
                90,
                float(heroes[st.MANA, hero] / heroes[st.MAX_MANA, hero]),
                TEAM[0],
            )
            row += 16
            done = [int(heroes[field, hero]) for field in (st.LAST_HITS, st.DENIES, st.KILLS, st.DEATHS)]
            text(canvas, "hits {} den. {} K {} D {}".format(*done), left, row + 3, GREY, 0.34)
        row += 6


def text(canvas: Picture, words: str, column: int, row: int, colour: Colour, size: float = 0.4) -> None:
    """Write `words` with their lower left corner at (column, row)."""
    cv2.putText(canvas, words, (column, row), FONT, size, colour, 1, cv2.LINE_AA)
