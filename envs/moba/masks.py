"""Writes the action masks of an observation from the very rules that actions obey (`orders`)."""

from __future__ import annotations

from envs.moba.orders import ability_ready, can_act, direction_allowed, kind_allowed, target_fits
from envs.moba.settings import (
    ABILITY_1,
    ATTACK,
    DIRECTIONS,
    FIRST_TARGETED,
    KINDS,
    TARGETED_KINDS,
)
from envs.moba.state import AT_DIRECTION, AT_KIND, AT_KIND_TARGET, AT_TARGET, TARGETS, Grid, Line


def write_masks(units: Grid, heroes: Grid, knobs: Line, rows: Grid, obs: Grid, hero: int) -> None:
    """The four mask blocks of one hero; they must be zero before. No part is ever empty."""
    kinds, targets = knobs[AT_KIND], knobs[AT_TARGET]
    for kind in range(KINDS):
        if kind < FIRST_TARGETED or kind >= FIRST_TARGETED + TARGETED_KINDS:
            obs[hero, kinds + kind] = 1 if kind_allowed(units, heroes, knobs, hero, kind) else 0
    acts = can_act(units, knobs, hero)
    some = 0
    if acts:
        for kind in range(ATTACK, ATTACK + TARGETED_KINDS):
            if kind != ATTACK and not ability_ready(units, heroes, knobs, hero, kind - ABILITY_1):
                continue
            exact = knobs[AT_KIND_TARGET] + (kind - ATTACK) * knobs[TARGETS]
            for row in range(knobs[TARGETS]):
                if target_fits(units, knobs, hero, kind, rows[hero, row]):
                    obs[hero, exact + row] = 1
                    obs[hero, targets + row] = 1
                    obs[hero, kinds + kind] = 1
                    some = 1
    if some == 0:
        obs[hero, targets] = 1
    for direction in range(DIRECTIONS):
        allowed = not acts or direction_allowed(units, knobs, hero, direction)
        obs[hero, knobs[AT_DIRECTION] + direction] = 1 if allowed else 0
