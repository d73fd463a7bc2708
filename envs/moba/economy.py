"""Experience, levels, gold, purchases, income, regeneration, and coming back from death."""

from __future__ import annotations

from envs.moba.geometry import at_base, greater, hero_at, hero_slot, lesser, place, team_of, within
from envs.moba.reward import reward, reward_kill, reward_objective
from envs.moba.settings import (
    ABILITIES,
    BASE_REGEN,
    BLADE,
    BLADE_DAMAGE,
    BOOTS,
    BOOTS_SPEED,
    CREEP_GOLD,
    CREEP_XP,
    DAMAGE_PER_LEVEL,
    DEATH_REWARD,
    DENY_REWARD,
    DENY_XP,
    FOUNTAIN,
    GOLD_REWARD,
    HEALTH_PER_LEVEL,
    HEALTH_REGEN,
    HERO_GOLD,
    HERO_STATS,
    HERO_XP,
    HERO_XP_PER_LEVEL,
    INCOME_PERIOD,
    ITEM_LIMIT,
    ITEM_PRICE,
    LAST_HIT_REWARD,
    MANA_PER_LEVEL,
    MANA_REGEN,
    MAX_LEVEL,
    REGEN_PERIOD,
    SHARE,
    SPEND_REWARD,
    TICKS_PER_DECISION,
    TIERS,
    TOWER_GOLD,
    UNIT,
    VEST,
    VEST_HEALTH,
    XP_AT_LEVEL,
    XP_RADIUS,
    XP_REWARD,
)
from envs.moba.state import (
    ALIVE,
    COOLDOWN,
    DAMAGE,
    DEATHS,
    DENIES,
    GOLD,
    HEALTH,
    HEROES,
    HURT_BY,
    ITEMS,
    KILLS,
    KIND,
    LAST_HITS,
    LEVEL,
    MANA,
    MAX_HEALTH,
    MAX_MANA,
    NO_ORDER,
    ORDER,
    ORDER_RECALL,
    PACE,
    RECALL_LEFT,
    RESPAWN,
    SHIELD,
    SHIELD_LEFT,
    SPENT,
    STUN,
    TICK,
    XP,
    Grid,
    Line,
)


def earn(heroes: Grid, knobs: Line, hero: int, gold: int) -> None:
    """Give gold."""
    heroes[GOLD, hero] += gold
    reward(heroes, knobs, hero, gold * GOLD_REWARD)


def learn(units: Grid, heroes: Grid, knobs: Line, hero: int, xp: int) -> None:
    """Give experience, up to what the last level needs, and the levels it reaches with their health and mana."""
    xp = lesser(xp, XP_AT_LEVEL[MAX_LEVEL - 1] - heroes[XP, hero])
    heroes[XP, hero] += xp
    reward(heroes, knobs, hero, xp * XP_REWARD)
    slot = hero_slot(knobs, hero)
    what = units[KIND, slot]
    while heroes[LEVEL, hero] < MAX_LEVEL and heroes[XP, hero] >= XP_AT_LEVEL[heroes[LEVEL, hero]]:
        heroes[LEVEL, hero] += 1
        units[MAX_HEALTH, slot] += HERO_STATS[what, HEALTH_PER_LEVEL]
        units[HEALTH, slot] += HERO_STATS[what, HEALTH_PER_LEVEL]
        heroes[MAX_MANA, hero] += HERO_STATS[what, MANA_PER_LEVEL]
        heroes[MANA, hero] += HERO_STATS[what, MANA_PER_LEVEL]
        units[DAMAGE, slot] += HERO_STATS[what, DAMAGE_PER_LEVEL]


def next_level_xp(level: int) -> int:
    """Experience from `level` to the next, 0 at the last."""
    return XP_AT_LEVEL[level] - XP_AT_LEVEL[level - 1] if level < MAX_LEVEL else 0


def share_xp(units: Grid, heroes: Grid, knobs: Line, victim: int, xp: int) -> None:
    """Divide experience among the other team's living heroes near the victim; what does not divide is lost."""
    first = (1 - team_of(knobs, victim)) * knobs[HEROES]
    near = 0
    for hero in range(first, first + knobs[HEROES]):
        slot = hero_slot(knobs, hero)
        if units[ALIVE, slot] == 1 and units[HEALTH, slot] > 0 and within(units, slot, victim, XP_RADIUS):
            near += 1
    if near == 0:
        return
    for hero in range(first, first + knobs[HEROES]):
        slot = hero_slot(knobs, hero)
        if units[ALIVE, slot] == 1 and units[HEALTH, slot] > 0 and within(units, slot, victim, XP_RADIUS):
            learn(units, heroes, knobs, hero, xp // near)


def credited_hero(units: Grid, knobs: Line, victim: int) -> int:
    """The hero (0 … 2 * heroes - 1) whose blow counts for a death, -1 if it was nobody's."""
    slot = units[HURT_BY, victim]
    if slot < 0:
        return -1
    return hero_at(knobs, slot)


def pay_for_creep(units: Grid, heroes: Grid, knobs: Line, victim: int) -> None:
    """Last hit: gold to the enemy hero. Deny: none, and only a part of the experience."""
    killer, xp = credited_hero(units, knobs, victim), CREEP_XP[units[KIND, victim]]
    if killer >= 0 and killer // knobs[HEROES] == team_of(knobs, victim):
        heroes[DENIES, killer] += 1
        reward(heroes, knobs, killer, DENY_REWARD)
        xp = xp * DENY_XP // SHARE
    elif killer >= 0:
        heroes[LAST_HITS, killer] += 1
        reward(heroes, knobs, killer, LAST_HIT_REWARD)
        earn(heroes, knobs, killer, CREEP_GOLD)
    share_xp(units, heroes, knobs, victim, xp)


def pay_for_hero(units: Grid, heroes: Grid, knobs: Line, victim: int) -> None:
    """A kill: gold to the hero who struck last, experience to those near."""
    hero, killer = hero_at(knobs, victim), credited_hero(units, knobs, victim)
    heroes[DEATHS, hero] += 1
    reward_objective(heroes, knobs, hero, DEATH_REWARD)
    if killer >= 0:
        heroes[KILLS, killer] += 1
        reward_kill(heroes, knobs, killer)
        earn(heroes, knobs, killer, HERO_GOLD)
    share_xp(units, heroes, knobs, victim, HERO_XP + heroes[LEVEL, hero] * HERO_XP_PER_LEVEL)


def pay_for_building(units: Grid, heroes: Grid, knobs: Line, victim: int) -> None:
    """A tower's fall: gold to every hero of the other team, dead or alive."""
    if units[KIND, victim] < TIERS:
        first = (1 - team_of(knobs, victim)) * knobs[HEROES]
        for hero in range(first, first + knobs[HEROES]):
            earn(heroes, knobs, hero, TOWER_GOLD)


def may_buy(units: Grid, heroes: Grid, knobs: Line, hero: int, item: int) -> bool:
    """Whether a living hero is near its fountain with the gold and the room for `item`."""
    slot = hero_slot(knobs, hero)
    return (
        heroes[GOLD, hero] >= ITEM_PRICE[item]
        and heroes[ITEMS + item, hero] < ITEM_LIMIT[item]
        and at_base(units, knobs, slot)
    )


def buy(units: Grid, heroes: Grid, knobs: Line, hero: int, item: int) -> None:
    """Pay for an item and wear it."""
    slot = hero_slot(knobs, hero)
    heroes[GOLD, hero] -= ITEM_PRICE[item]
    heroes[SPENT, hero] += ITEM_PRICE[item]
    heroes[ITEMS + item, hero] += 1
    reward(heroes, knobs, hero, ITEM_PRICE[item] * SPEND_REWARD)
    if item == BLADE:
        units[DAMAGE, slot] += BLADE_DAMAGE
    elif item == VEST:
        units[MAX_HEALTH, slot] += VEST_HEALTH
        units[HEALTH, slot] += VEST_HEALTH
    elif item == BOOTS:
        units[PACE, slot] += BOOTS_SPEED


def upkeep(units: Grid, heroes: Grid, game: Line, knobs: Line) -> None:
    """What time alone brings a hero, once per decision: income, cooldowns, shields, recall, regeneration, return."""
    for hero in range(2 * knobs[HEROES]):
        slot = hero_slot(knobs, hero)
        if game[TICK] % INCOME_PERIOD == 0:
            earn(heroes, knobs, hero, 1)
        for ability in range(ABILITIES):
            heroes[COOLDOWN + ability, hero] = greater(
                heroes[COOLDOWN + ability, hero] - TICKS_PER_DECISION, 0
            )
        if units[ALIVE, slot] == 0:
            heroes[RESPAWN, hero] -= TICKS_PER_DECISION
            if heroes[RESPAWN, hero] <= 0:
                come_back(units, heroes, knobs, hero)
            continue
        heroes[SHIELD_LEFT, hero] = greater(heroes[SHIELD_LEFT, hero] - TICKS_PER_DECISION, 0)
        if heroes[SHIELD_LEFT, hero] == 0:
            heroes[SHIELD, hero] = 0
        if heroes[ORDER, hero] == ORDER_RECALL and units[STUN, slot] == 0:
            heroes[RECALL_LEFT, hero] -= TICKS_PER_DECISION
            if heroes[RECALL_LEFT, hero] <= 0:
                heroes[ORDER, hero] = NO_ORDER
                place(units, slot, team_of(knobs, slot), FOUNTAIN * UNIT, FOUNTAIN * UNIT)
        if game[TICK] % REGEN_PERIOD == 0:
            regenerate(units, heroes, knobs, hero)


def regenerate(units: Grid, heroes: Grid, knobs: Line, hero: int) -> None:
    """One period's health and mana: the hero's own, and a share of the whole near the fountain."""
    slot = hero_slot(knobs, hero)
    what, most, full = units[KIND, slot], units[MAX_HEALTH, slot], heroes[MAX_MANA, hero]
    health, mana = HERO_STATS[what, HEALTH_REGEN], HERO_STATS[what, MANA_REGEN]
    if at_base(units, knobs, slot):
        health += most * BASE_REGEN // SHARE
        mana += full * BASE_REGEN // SHARE
    units[HEALTH, slot] = lesser(units[HEALTH, slot] + health, most)
    heroes[MANA, hero] = lesser(heroes[MANA, hero] + mana, full)


def come_back(units: Grid, heroes: Grid, knobs: Line, hero: int) -> None:
    """A dead hero returns to its fountain with full health and mana."""
    slot = hero_slot(knobs, hero)
    heroes[RESPAWN, hero] = 0
    units[ALIVE, slot] = 1
    units[HEALTH, slot] = units[MAX_HEALTH, slot]
    heroes[MANA, hero] = heroes[MAX_MANA, hero]
    place(units, slot, team_of(knobs, slot), FOUNTAIN * UNIT, FOUNTAIN * UNIT)
