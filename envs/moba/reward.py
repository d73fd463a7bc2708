"""Rewards in kind as OpenAI Five's (arXiv 1912.06680, table 6): collected per hero, then shared and made zero-sum.

All in whole numbers of 1/REWARD_UNIT. With g_i the gains of a decision, τ the team spirit, and means over a team:
reward_i = (1 - τ) g_i + τ mean(own g) - mean(enemy g), whose sum over both teams is 0.
"""

from __future__ import annotations

from envs.moba.geometry import greater, hero_slot
from envs.moba.settings import (
    HEALTH_REWARD,
    KILL_OBJECTIVE,
    KILL_REWARD,
    MANA_REWARD,
    REWARD_UNIT,
    SHARE,
    WIN_REWARD,
)
from envs.moba.state import (
    ALIVE,
    DONE,
    GAIN,
    HEALTH,
    HEALTH_WAS,
    HEROES,
    MANA,
    MANA_WAS,
    MAX_HEALTH,
    MAX_MANA,
    REWARDED,
    SCORE,
    SPIRIT,
    Grid,
    Line,
)


def reward(heroes: Grid, knobs: Line, hero: int, gain: int) -> None:
    """Add to a hero's gain of this decision, where everything is rewarded."""
    if knobs[REWARDED] == 2:
        heroes[GAIN, hero] += gain


def reward_objective(heroes: Grid, knobs: Line, hero: int, gain: int) -> None:
    """Add what a kill, a death or a building is worth; nothing where only the end counts."""
    if knobs[REWARDED] >= 1:
        heroes[GAIN, hero] += gain


def reward_kill(heroes: Grid, knobs: Line, hero: int) -> None:
    """Add what a kill is worth to the killer beside the gold and experience that only "shaped" counts."""
    reward_objective(heroes, knobs, hero, KILL_REWARD if knobs[REWARDED] == 2 else KILL_OBJECTIVE)


def reward_team(heroes: Grid, knobs: Line, team: int, gain: int) -> None:
    """Add what a building is worth to the gain of every hero of a team."""
    for hero in range(team * knobs[HEROES], (team + 1) * knobs[HEROES]):
        reward_objective(heroes, knobs, hero, gain)


def health_share(units: Grid, knobs: Line, hero: int) -> int:
    """Thousandths of its health a hero has; 0 when dead."""
    slot = hero_slot(knobs, hero)
    return units[HEALTH, slot] * SHARE // units[MAX_HEALTH, slot] if units[ALIVE, slot] == 1 else 0


def mana_share(units: Grid, heroes: Grid, knobs: Line, hero: int) -> int:
    """Thousandths of its mana a hero has; 0 when dead."""
    if units[ALIVE, hero_slot(knobs, hero)] == 0:
        return 0
    return heroes[MANA, hero] * SHARE // heroes[MAX_MANA, hero]


def begin_gains(units: Grid, heroes: Grid, knobs: Line) -> None:
    """Before a decision: no gains yet, and how every hero stands."""
    for hero in range(2 * knobs[HEROES]):
        heroes[GAIN, hero] = 0
        heroes[HEALTH_WAS, hero] = health_share(units, knobs, hero)
        heroes[MANA_WAS, hero] = mana_share(units, heroes, knobs, hero)


def settle_gains(units: Grid, heroes: Grid, game: Line, knobs: Line, out: Line) -> None:
    """After a decision: what health, mana and the end are worth, then all heroes' rewards into `out`.

    `out` int64 [2 * heroes] is the reward times REWARD_UNIT * SHARE * heroes, a whole number.
    """
    count, spirit = knobs[HEROES], knobs[SPIRIT]
    win = WIN_REWARD if knobs[REWARDED] >= 1 else REWARD_UNIT
    for hero in range(2 * count):
        health = health_share(units, knobs, hero) - heroes[HEALTH_WAS, hero]
        mana = mana_share(units, heroes, knobs, hero) - heroes[MANA_WAS, hero]
        reward(heroes, knobs, hero, health * HEALTH_REWARD + mana * MANA_REWARD)
        if game[DONE] == 1:
            score = game[SCORE] if hero < count else -game[SCORE]
            heroes[GAIN, hero] += greater(score, 0) * win // SHARE
    first, second = 0, 0
    for hero in range(count):
        first += heroes[GAIN, hero]
        second += heroes[GAIN, count + hero]
    for hero in range(2 * count):
        own, enemy = (first, second) if hero < count else (second, first)
        out[hero] = (SHARE - spirit) * count * heroes[GAIN, hero] + spirit * own - SHARE * enemy
