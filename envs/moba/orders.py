"""What a hero may do, and what its action sets in motion.

The masks of an observation and the effect of an action come from the same two functions, `kind_allowed` and
`target_allowed`. An action that is not legal is resolved so: a kind that is not allowed counts as "continue"; a
target that the kind does not allow is replaced by the nearest one it allows; a step off the map stops at its edge.
"""

from __future__ import annotations

from envs.moba.combat import cast
from envs.moba.economy import buy, may_buy
from envs.moba.geometry import (
    EDGE,
    distance_squared,
    head_for,
    hero_slot,
    own_x,
    own_y,
    pace,
    place_in_half,
    scaled,
    stand,
    team_of,
    within,
)
from envs.moba.settings import (
    ABILITY_1,
    ABILITY_3,
    ABILITY_MANA,
    ABILITY_RANGE,
    ABILITY_UNLOCK,
    ATTACK,
    BUY_BLADE,
    BUY_BOOTS,
    CONTINUE,
    DENY_SHARE,
    DIRECTION,
    FIRST_TARGETED,
    HERO_ABILITIES,
    MOVE,
    RECALL,
    RECALL_TICKS,
    SHARE,
    TARGETED_KINDS,
    TICKS_PER_DECISION,
    TIERS,
)
from envs.moba.state import (
    ALIVE,
    COOLDOWN,
    CREEPS,
    HALF,
    HEALTH,
    HEROES,
    KIND,
    LANE,
    LANES_USED,
    LEVEL,
    MANA,
    MAX_HEALTH,
    NO_ORDER,
    ORDER,
    ORDER_ATTACK,
    ORDER_DIRECTION,
    ORDER_MOVE,
    ORDER_RECALL,
    RECALL_LEFT,
    SEEN,
    STUN,
    TARGET,
    TARGETS,
    VX,
    VY,
    Grid,
    Line,
    X,
    Y,
)


def vulnerable(units: Grid, knobs: Line, building: int) -> bool:
    """Whether a building may be struck: towers fall from the river inwards, the ancient after all of one lane."""
    first = team_of(knobs, building) * knobs[HALF] + knobs[HEROES] + knobs[CREEPS]
    if units[KIND, building] < TIERS:
        tier, lane = units[KIND, building], units[LANE, building]
        return tier == 0 or units[ALIVE, first + lane * TIERS + tier - 1] == 0
    open_lanes = 0
    for lane in range(knobs[LANES_USED]):
        open_lanes += 1 - units[ALIVE, first + lane * TIERS + TIERS - 1]
    return open_lanes > 0


def attackable(units: Grid, knobs: Line, team: int, slot: int) -> bool:
    """Whether heroes of `team` may attack `slot`: a living enemy in sight, or an own creep that is nearly dead."""
    if units[ALIVE, slot] == 0:
        return False
    inside = place_in_half(knobs, slot)
    if team_of(knobs, slot) == team:
        creep = knobs[HEROES] <= inside < knobs[HEROES] + knobs[CREEPS]
        return creep and units[HEALTH, slot] * SHARE < units[MAX_HEALTH, slot] * DENY_SHARE
    if inside >= knobs[HEROES] + knobs[CREEPS]:
        return vulnerable(units, knobs, slot)
    return units[SEEN, slot] == 1


def ability_ready(units: Grid, heroes: Grid, knobs: Line, hero: int, ability: int) -> bool:
    """Whether ability 0, 1 or 2 is unlocked, cooled down and paid for."""
    what = units[KIND, hero_slot(knobs, hero)]
    return (
        heroes[COOLDOWN + ability, hero] == 0
        and heroes[MANA, hero] >= HERO_ABILITIES[what, ability, ABILITY_MANA]
        and heroes[LEVEL, hero] >= HERO_ABILITIES[what, ability, ABILITY_UNLOCK]
    )


def target_allowed(units: Grid, heroes: Grid, knobs: Line, hero: int, kind: int, target: int) -> bool:
    """Whether a hero that can act may do `kind` (ATTACK, ABILITY_1 … ABILITY_3) to `target`, a slot or -1."""
    if kind != ATTACK and not ability_ready(units, heroes, knobs, hero, kind - ABILITY_1):
        return False
    return target_fits(units, knobs, hero, kind, target)


def target_fits(units: Grid, knobs: Line, hero: int, kind: int, target: int) -> bool:
    """Whether `target` is what `kind`, if the hero has it ready, may be done to."""
    if target < 0 or units[ALIVE, target] == 0:
        return False
    slot = hero_slot(knobs, hero)
    team = team_of(knobs, slot)
    if kind == ATTACK:
        return attackable(units, knobs, team, target)
    inside = place_in_half(knobs, target)
    if kind == ABILITY_3:
        if team_of(knobs, target) != team or inside >= knobs[HEROES]:
            return False
    elif (
        team_of(knobs, target) == team or inside >= knobs[HEROES] + knobs[CREEPS] or units[SEEN, target] == 0
    ):
        return False
    return within(units, slot, target, HERO_ABILITIES[units[KIND, slot], kind - ABILITY_1, ABILITY_RANGE])


def can_act(units: Grid, knobs: Line, hero: int) -> bool:
    """Whether a hero lives and is not stunned."""
    slot = hero_slot(knobs, hero)
    return units[ALIVE, slot] == 1 and units[STUN, slot] == 0


def kind_allowed(units: Grid, heroes: Grid, knobs: Line, hero: int, kind: int) -> bool:
    """Whether a hero may do `kind`, the targeted kinds aside: those are allowed if one of their targets is."""
    if kind == CONTINUE:
        return True
    if not can_act(units, knobs, hero):
        return False
    if BUY_BLADE <= kind <= BUY_BOOTS:
        return may_buy(units, heroes, knobs, hero, kind - BUY_BLADE)
    if kind == RECALL:
        return heroes[ORDER, hero] != ORDER_RECALL
    return kind == MOVE


def direction_allowed(units: Grid, knobs: Line, hero: int, direction: int) -> bool:
    """Whether a decision's walk that way stays on the map."""
    slot = hero_slot(knobs, hero)
    team, step = team_of(knobs, slot), pace(units, knobs, slot) * TICKS_PER_DECISION
    x = own_x(team, units[X, slot], units[Y, slot]) + scaled(DIRECTION[direction, 0], step, 256)
    y = own_y(team, units[X, slot], units[Y, slot]) + scaled(DIRECTION[direction, 1], step, 256)
    return 0 <= x <= EDGE and 0 <= y <= EDGE


def resolve_target(units: Grid, heroes: Grid, knobs: Line, rows: Grid, hero: int, kind: int, row: int) -> int:
    """The slot that `kind` on entity row `row` means: that row if allowed, else the nearest allowed, else -1."""
    if target_allowed(units, heroes, knobs, hero, kind, rows[hero, row]):
        return rows[hero, row]
    slot, best, chosen = hero_slot(knobs, hero), -1, -1
    for other in range(knobs[TARGETS]):
        target = rows[hero, other]
        if target_allowed(units, heroes, knobs, hero, kind, target):
            distance = distance_squared(units, slot, target)
            if best < 0 or distance < best:
                best, chosen = distance, target
    return chosen


def obey(units: Grid, heroes: Grid, knobs: Line, rows: Grid, actions: Grid) -> None:
    """Turn every hero's action (kind, target row, direction) into orders, spells and purchases."""
    for hero in range(2 * knobs[HEROES]):
        kind, slot = actions[hero, 0], hero_slot(knobs, hero)
        if not can_act(units, knobs, hero):
            continue
        if FIRST_TARGETED <= kind < FIRST_TARGETED + TARGETED_KINDS:
            target = resolve_target(units, heroes, knobs, rows, hero, kind, actions[hero, 1])
            if target < 0:
                continue
            if kind == ATTACK:
                heroes[ORDER, hero] = ORDER_ATTACK
                units[TARGET, slot] = target
            else:
                if heroes[ORDER, hero] == ORDER_RECALL:
                    heroes[ORDER, hero] = NO_ORDER
                cast(units, heroes, knobs, hero, kind, target)
        elif not kind_allowed(units, heroes, knobs, hero, kind):
            continue
        elif kind == MOVE:
            heroes[ORDER, hero] = ORDER_MOVE
            heroes[ORDER_DIRECTION, hero] = actions[hero, 2]
        elif kind == RECALL:
            heroes[ORDER, hero] = ORDER_RECALL
            heroes[RECALL_LEFT, hero] = RECALL_TICKS
        elif kind != CONTINUE:
            buy(units, heroes, knobs, hero, kind - BUY_BLADE)


def steer(units: Grid, heroes: Grid, knobs: Line) -> None:
    """Give every hero the velocity its order asks for; an attack ends when its target may no longer be attacked."""
    for hero in range(2 * knobs[HEROES]):
        slot = hero_slot(knobs, hero)
        team, target = team_of(knobs, slot), units[TARGET, slot]
        if heroes[ORDER, hero] == ORDER_ATTACK:
            if target < 0 or not attackable(units, knobs, team, target):
                heroes[ORDER, hero] = NO_ORDER
            else:
                head_for(units, knobs, slot, units[X, target], units[Y, target])
        if heroes[ORDER, hero] != ORDER_ATTACK:
            units[TARGET, slot] = -1
            stand(units, slot)
        if heroes[ORDER, hero] == ORDER_MOVE:
            speed = pace(units, knobs, slot)
            dx = scaled(DIRECTION[heroes[ORDER_DIRECTION, hero], 0], speed, 256)
            dy = scaled(DIRECTION[heroes[ORDER_DIRECTION, hero], 1], speed, 256)
            units[VX, slot] = dx if team == 0 else -dy
            units[VY, slot] = dy if team == 0 else -dx
