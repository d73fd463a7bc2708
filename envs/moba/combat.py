"""Blows, spells and death. Everything of one tick happens at once: blows are collected, then taken.

So no side gains by being computed first: `strikes` and `cast` read the state as it was and only write what hurts
(HURT, NEW_STUN, AGGRO, …); `take_blows` applies it, then `deaths` pays for those who fell.
"""

from __future__ import annotations

from envs.moba.chance import STRIKE, spread
from envs.moba.economy import pay_for_building, pay_for_creep, pay_for_hero
from envs.moba.geometry import (
    greater,
    hero_at,
    hero_slot,
    is_hero,
    lesser,
    nearest,
    place_in_half,
    stand,
    team_of,
    within,
)
from envs.moba.reward import reward_team
from envs.moba.settings import (
    ABILITY_1,
    ABILITY_3,
    ABILITY_COOLDOWN,
    ABILITY_DAMAGE,
    ABILITY_DAMAGE_PER_LEVEL,
    ABILITY_HEAL,
    ABILITY_HEAL_PER_LEVEL,
    ABILITY_MANA,
    ABILITY_RADIUS,
    ABILITY_SHIELD,
    ABILITY_SHIELD_PER_LEVEL,
    ABILITY_SLOW,
    ABILITY_STUN,
    BUILDING_FALL,
    BUILDING_REWARD,
    DAMAGE_SPREAD,
    HERO_ABILITIES,
    RESPAWN_BASE,
    RESPAWN_PER_LEVEL,
    SHARE,
    SHIELD_TICKS,
)
from envs.moba.state import (
    AGGRO,
    ALIVE,
    BUILDINGS,
    COOLDOWN,
    CREEPS,
    DAMAGE,
    HALF,
    HEALTH,
    HEROES,
    HURT,
    HURT_BY,
    KIND,
    LEVEL,
    MANA,
    MAX_HEALTH,
    NEW_SLOW,
    NEW_STUN,
    NO_ORDER,
    ORDER,
    ORDER_RECALL,
    PERIOD,
    RANDOMNESS,
    RANGE,
    RESPAWN,
    SHIELD,
    SHIELD_LEFT,
    SLOW,
    STUN,
    TARGET,
    VX,
    VY,
    WAIT,
    WALKS,
    Grid,
    Line,
)


def strikes(units: Grid, game: Line, knobs: Line) -> None:
    """Every living unit that is not stunned strikes its target if it can, or walks this tick."""
    for slot in range(2 * knobs[HALF]):
        if units[ALIVE, slot] == 0:
            continue
        if units[WAIT, slot] > 0:
            units[WAIT, slot] -= 1
        if units[SLOW, slot] > 0:
            units[SLOW, slot] -= 1
        if units[STUN, slot] > 0:
            units[STUN, slot] -= 1
            units[WALKS, slot] = 0
            continue
        units[WALKS, slot] = 1 if units[VX, slot] != 0 or units[VY, slot] != 0 else 0
        target = units[TARGET, slot]
        if target < 0:
            continue
        if units[ALIVE, target] == 0:
            units[TARGET, slot] = -1
            units[WALKS, slot] = 0
        elif within(units, slot, target, units[RANGE, slot]):
            units[WALKS, slot] = 0
            if units[WAIT, slot] == 0:
                strike(units, game, knobs, slot, target)


def strike(units: Grid, game: Line, knobs: Line, slot: int, target: int) -> None:
    """One attack: damage within the spread, whose mean is the unit's own, and the wait until the next."""
    team = team_of(knobs, slot)
    width = DAMAGE_SPREAD * knobs[RANDOMNESS] // SHARE
    luck = spread(game, STRIKE, team, slot - team * knobs[HALF], width)
    units[WAIT, slot] = units[PERIOD, slot]
    hurt(units, knobs, slot, target, units[DAMAGE, slot] + nearest(units[DAMAGE, slot] * luck, SHARE))


def hurt(units: Grid, knobs: Line, slot: int, target: int, damage: int) -> None:
    """Note damage for the end of the tick, who gets the credit, and which towers turn on an attacking hero.

    Credit for a death goes to a hero who struck in that very tick: one of the other team before one of the own; among
    those of a team one whose spell struck before the others, then the lower slot.
    """
    units[HURT, target] += damage
    if not is_hero(knobs, slot):
        return
    team, victim = team_of(knobs, slot), team_of(knobs, target)
    credited = units[HURT_BY, target]
    if credited < 0 or (team_of(knobs, credited) == victim and team != victim):
        units[HURT_BY, target] = slot
    if team != victim and is_hero(knobs, target):
        first = victim * knobs[HALF] + knobs[HEROES] + knobs[CREEPS]
        for tower in range(first, first + knobs[BUILDINGS]):
            if units[ALIVE, tower] == 1 and within(units, tower, slot, units[RANGE, tower]):
                units[AGGRO, tower] = slot


def cast(units: Grid, heroes: Grid, knobs: Line, hero: int, kind: int, target: int) -> None:
    """Hero `hero` uses ability `kind` (ABILITY_1 … ABILITY_3) on `target`; the caller has seen to it that it may."""
    slot, ability = hero_slot(knobs, hero), kind - ABILITY_1
    what, grown = units[KIND, slot], heroes[LEVEL, hero] - 1
    heroes[MANA, hero] -= HERO_ABILITIES[what, ability, ABILITY_MANA]
    heroes[COOLDOWN + ability, hero] = HERO_ABILITIES[what, ability, ABILITY_COOLDOWN]
    if kind == ABILITY_3:
        heal = HERO_ABILITIES[what, ability, ABILITY_HEAL]
        heal += grown * HERO_ABILITIES[what, ability, ABILITY_HEAL_PER_LEVEL]
        units[HEALTH, target] = lesser(units[HEALTH, target] + heal, units[MAX_HEALTH, target])
        shield = HERO_ABILITIES[what, ability, ABILITY_SHIELD]
        shield += grown * HERO_ABILITIES[what, ability, ABILITY_SHIELD_PER_LEVEL]
        if shield > 0:  # what is left of a larger one stays; either way it lasts anew: no shield does harm
            other = hero_at(knobs, target)
            heroes[SHIELD, other] = greater(heroes[SHIELD, other], shield)
            heroes[SHIELD_LEFT, other] = SHIELD_TICKS
        return
    damage = HERO_ABILITIES[what, ability, ABILITY_DAMAGE]
    damage += grown * HERO_ABILITIES[what, ability, ABILITY_DAMAGE_PER_LEVEL]
    radius = HERO_ABILITIES[what, ability, ABILITY_RADIUS]
    hurt(units, knobs, slot, target, damage)
    units[NEW_STUN, target] = greater(units[NEW_STUN, target], HERO_ABILITIES[what, ability, ABILITY_STUN])
    units[NEW_SLOW, target] = greater(units[NEW_SLOW, target], HERO_ABILITIES[what, ability, ABILITY_SLOW])
    if radius > 0:
        first = (1 - team_of(knobs, slot)) * knobs[HALF]
        for other in range(first, first + knobs[HEROES] + knobs[CREEPS]):
            if other != target and units[ALIVE, other] == 1 and within(units, target, other, radius):
                hurt(units, knobs, slot, other, damage)


def take_blows(units: Grid, heroes: Grid, knobs: Line) -> int:
    """Apply what the tick brought: damage (a shield takes it first), stuns, slows, towers' new targets.

    A hero that is hurt or stunned stops recalling. Returns how many units have no health left.
    """
    dying = 0
    for slot in range(2 * knobs[HALF]):
        if units[ALIVE, slot] == 0:
            continue
        units[STUN, slot] = greater(units[STUN, slot], units[NEW_STUN, slot])
        units[SLOW, slot] = greater(units[SLOW, slot], units[NEW_SLOW, slot])
        if units[AGGRO, slot] >= 0:
            units[TARGET, slot] = units[AGGRO, slot]
            units[AGGRO, slot] = -1
        damage = units[HURT, slot]
        if is_hero(knobs, slot):
            hero = hero_at(knobs, slot)
            if heroes[ORDER, hero] == ORDER_RECALL and (damage > 0 or units[NEW_STUN, slot] > 0):
                heroes[ORDER, hero] = NO_ORDER
            absorbed = lesser(damage, heroes[SHIELD, hero])
            heroes[SHIELD, hero] -= absorbed
            damage -= absorbed
        units[NEW_STUN, slot] = 0
        units[NEW_SLOW, slot] = 0
        units[HURT, slot] = 0
        if damage > 0:
            before = units[HEALTH, slot]
            units[HEALTH, slot] = greater(before - damage, 0)
            if place_in_half(knobs, slot) >= knobs[HEROES] + knobs[CREEPS]:
                reward_damage(units, heroes, knobs, slot, before)
            if units[HEALTH, slot] == 0:
                dying += 1
        if units[HEALTH, slot] > 0:
            units[HURT_BY, slot] = -1
    return dying


def reward_damage(units: Grid, heroes: Grid, knobs: Line, building: int, before: int) -> None:
    """Reward the other team for the health a building lost, less the part that is paid when it falls."""
    most = units[MAX_HEALTH, building]
    lost = before * SHARE // most - units[HEALTH, building] * SHARE // most
    gain = lost * BUILDING_REWARD[units[KIND, building]] * (SHARE - BUILDING_FALL) // SHARE
    reward_team(heroes, knobs, 1 - team_of(knobs, building), gain)


def deaths(units: Grid, heroes: Grid, knobs: Line) -> None:
    """Pay for all who have no health left, then bury them: those who die together count as alive no longer."""
    for slot in range(2 * knobs[HALF]):
        if units[ALIVE, slot] == 1 and units[HEALTH, slot] == 0:
            inside = place_in_half(knobs, slot)
            if inside < knobs[HEROES]:
                pay_for_hero(units, heroes, knobs, slot)
            elif inside < knobs[HEROES] + knobs[CREEPS]:
                pay_for_creep(units, heroes, knobs, slot)
            else:
                pay_for_building(units, heroes, knobs, slot)
                gain = BUILDING_REWARD[units[KIND, slot]] * BUILDING_FALL
                reward_team(heroes, knobs, 1 - team_of(knobs, slot), gain)
    for slot in range(2 * knobs[HALF]):
        if units[ALIVE, slot] == 1 and units[HEALTH, slot] == 0:
            units[ALIVE, slot] = 0
            units[TARGET, slot] = -1
            units[HURT_BY, slot] = -1
            units[STUN, slot] = 0
            units[SLOW, slot] = 0
            units[WAIT, slot] = 0
            stand(units, slot)
            if is_hero(knobs, slot):
                hero = hero_at(knobs, slot)
                heroes[ORDER, hero] = NO_ORDER
                heroes[SHIELD, hero] = 0
                heroes[SHIELD_LEFT, hero] = 0
                heroes[RESPAWN, hero] = RESPAWN_BASE + heroes[LEVEL, hero] * RESPAWN_PER_LEVEL
