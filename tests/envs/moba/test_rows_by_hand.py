"""What an observation's rows tell, number by number: every one set by hand, no two alike, read in both frames."""

import numpy as np
import pytest

from envs.moba import settings as s
from envs.moba import state as st

BLUE, RED = 0, 1  # heroes of a 1v1


def told(w, hero, block, row, features):
    """The named features of one row."""
    return {feature: w.seen(hero, block, row, feature) for feature in features}


def set_fields(grid, column, values):
    for field, value in values.items():
        grid[field, column] = value


def test_a_heros_row_tells_each_of_its_numbers_to_both_teams(hand_world):
    """Of the last hero of four, so that whoever reads the observer's numbers instead reads others."""
    w = hand_world("2v2")
    slot = w.half + 1
    w.put(0, 2000, 3000)
    w.put(w.half, 2500, 3500)
    w.put(slot, 2300, 3400)
    units = {st.HEALTH: 411, st.MAX_HEALTH: 522, st.DAMAGE: 63, st.RANGE: 134, st.PACE: 345}
    set_fields(w.units, slot, {**units, st.WAIT: 16, st.STUN: 27, st.SLOW: 38, st.TARGET: 1})
    heroes = {st.MANA: 109, st.MAX_MANA: 210, st.LEVEL: 5, st.SHIELD: 71, st.ORDER: st.ORDER_RECALL}
    set_fields(w.heroes, 3, heroes)
    w.look()
    wanted = {"health": 411, "max_health": 522, "mana": 109, "max_mana": 210, "level": 5, "damage": 63}
    wanted |= {"range": 134, "speed": 345, "attack_wait": 16, "stun": 27, "slow": 38, "shield": 71}
    wanted |= {"visible": 1, "alive": 1, "respawn": 0, "recalling": 1, "is_ranger": 1, "is_mage": 0}
    assert told(w, 0, "enemies", 1, wanted) == wanted
    assert told(w, 2, "allies", 0, wanted) == wanted
    assert told(w, 3, "self", 0, wanted) == wanted
    assert w.seen(0, "enemies", 0, "recalling") == w.seen(2, "self", 0, "recalling") == 0
    # 500 away: within a ranger's 600, and beyond the 134.
    assert told(w, 0, "enemies", 1, ("in_reach", "reaches")) == {"in_reach": 1, "reaches": 0}
    assert told(w, 3, "enemies", 0, ("in_reach", "reaches")) == {"in_reach": 0, "reaches": 1}
    assert [w.seen(hero, "enemies", 1, "aims_at_me") for hero in (0, 1)] == [0, 1]
    assert [w.seen(hero, "allies", 0, "health") for hero in range(4)] == [500, 500, 411, 500]


def test_of_a_dead_enemy_the_score_board_alone_is_shown_and_when_it_is_back(hand_world):
    w = hand_world(fog=True)
    red = w.half
    w.put(0, 2000, 4400)
    w.put(red, 2300, 4400)
    w.look()
    w.units[st.HEALTH, red] = 1
    w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
    # 150 + 60 ticks, 4 of which are over: 51.5 decisions, so it is back after the 52nd.
    public = {"respawn": 52, "is_ranger": 1}
    row = w.layout.rows(w.arrays["obs"][BLUE], "enemies")[0]
    names = w.layout.blocks["enemies"].names
    assert {name: int(value) for name, value in zip(names, row, strict=True) if value} == public
    own = {"visible": 0, "alive": 0, "respawn": 52, "level": 1, "max_health": 500, "mana": 240, "health": 0}
    assert told(w, RED, "self", 0, own) == own
    w.step(decisions=51)
    assert told(w, RED, "self", 0, ("alive", "respawn")) == {"alive": 0, "respawn": 1}
    w.step()
    back = {"alive": 1, "respawn": 0, "health": 500}
    assert told(w, RED, "self", 0, back) == back


def test_a_creeps_row_tells_each_of_its_numbers(hand_world):
    w = hand_world()
    w.put(0, 2000, 4400)
    creep = w.creep(1, 0, 2300, 4350, kind=1, health=137)
    set_fields(w.units, creep, {st.MAX_HEALTH: 248, st.STUN: 19, st.SLOW: 31, st.TARGET: 0, st.RANGE: 200})
    melee = w.creep(1, 1, 2601, 4400)
    w.look()
    wanted = {"visible": 1, "dx": 300, "dy": -50, "x": 2300, "y": 4350, "health": 137, "max_health": 248}
    wanted |= {"ranged": 1, "stun": 19, "slow": 31, "in_reach": 1, "aims_at_me": 1}
    assert told(w, BLUE, "enemy_creeps", 0, wanted) == wanted
    further = {"ranged": 0, "stun": 0, "slow": 0, "in_reach": 0, "aims_at_me": 0}  # 601 away
    assert told(w, BLUE, "enemy_creeps", 1, further) == further
    assert told(w, RED, "own_creeps", 0, ("aims_at_me", "ranged")) == {"aims_at_me": 0, "ranged": 0}
    w.put(melee, 2600, 4400)
    w.look()
    assert w.seen(BLUE, "enemy_creeps", 1, "in_reach") == 1
    w.units[st.ALIVE, 0] = 0
    w.look()
    assert [w.seen(BLUE, "enemy_creeps", row, "in_reach") for row in (0, 1)] == [0, 0]


def test_a_buildings_row_tells_its_tier_who_may_strike_it_and_whom_it_shoots(hand_world):
    w = hand_world("2v2")
    tower, second = w.building(1, 2), w.building(1, 3)  # the top lane's
    x, y = 2500, 5700
    assert w.at(tower) == (x, y)
    w.put(0, x - 620, y)  # beyond a ranger's 600, within a tower's 650
    w.put(1, x, y - 600)
    w.units[st.TARGET, tower], w.units[st.HEALTH, tower] = 1, 777
    w.look()

    def column(hero, block, feature):
        return [w.seen(hero, block, row, feature) for row in range(7)]

    assert column(0, "enemy_buildings", "tier") == [0, 1, 0, 1, 0, 1, 2]
    assert column(0, "enemy_buildings", "vulnerable") == [1, 0, 1, 0, 1, 0, 0]
    assert column(0, "enemy_buildings", "health") == [1300, 1600, 777, 1600, 1300, 1600, 2400]
    assert column(0, "enemy_buildings", "max_health") == [1300, 1600, 1300, 1600, 1300, 1600, 2400]
    # (in_reach, reaches, aims_at_me) of the tower for each of the two.
    shown = ("in_reach", "reaches", "aims_at_me")
    assert [w.seen(0, "enemy_buildings", 2, feature) for feature in shown] == [0, 1, 0]
    assert [w.seen(1, "enemy_buildings", 2, feature) for feature in shown] == [1, 1, 1]
    assert column(0, "enemy_buildings", "aims_at_me") == [0] * 7
    assert [w.seen(0, "enemy_buildings", 2, f) for f in ("dx", "dy", "x", "y")] == [620, 0, x, y]
    w.units[st.ALIVE, tower] = w.units[st.HEALTH, tower] = 0
    w.look()
    assert column(0, "enemy_buildings", "visible") == [1, 1, 0, 1, 1, 1, 1]
    assert column(0, "enemy_buildings", "vulnerable") == [1, 0, 0, 1, 1, 0, 0]
    assert column(2, "own_buildings", "vulnerable") == [1, 0, 0, 1, 1, 0, 0]
    assert column(0, "own_buildings", "vulnerable") == [1, 0, 1, 0, 1, 0, 0]
    fallen = {"tier": 0, "x": x, "y": y, "in_reach": 0, "reaches": 0, "aims_at_me": 0}
    assert told(w, 1, "enemy_buildings", 2, fallen) == fallen
    w.units[st.ALIVE, second] = w.units[st.HEALTH, second] = 0
    w.look()
    assert column(0, "enemy_buildings", "vulnerable") == [1, 0, 0, 0, 1, 0, 1]


def test_the_score_board_is_the_own_teams_and_the_others(hand_world):
    w = hand_world("2v2")
    for hero in range(4):
        done = {st.LAST_HITS: 11 + hero, st.DENIES: 21 + hero, st.KILLS: 1 << hero, st.DEATHS: 31 + hero}
        set_fields(w.heroes, hero, done)
    # Of 3 (1300 + 1600) + 2400 = 11100 blue has lost a tenth, red two tenths.
    w.units[st.HEALTH, w.building(0, -1)] -= 1110
    w.units[st.HEALTH, w.building(1, -1)] -= 2220
    w.look()
    mine = {"last_hits": 14, "denies": 24, "kills": 8, "deaths": 34, "team_kills": 12, "enemy_kills": 3}
    mine |= {"own_buildings": 800, "enemy_buildings": 900, "slot_0": 0, "slot_1": 1, "slot_2": 0}
    assert told(w, 3, "global", 0, mine) == mine
    his = {"last_hits": 11, "kills": 1, "team_kills": 3, "enemy_kills": 12, "own_buildings": 900}
    his |= {"enemy_buildings": 800, "slot_0": 1, "slot_1": 0}
    assert told(w, 0, "global", 0, his) == his


def test_what_a_hero_owns_and_may_soon_do_is_told_to_itself(hand_world):
    w = hand_world("2v2")
    w.rules.learn(w.units, w.heroes, w.knobs, 3, 250)  # level 2 from 200, level 3 from 500
    numbers = {st.COOLDOWN: 13, st.COOLDOWN + 1: 24, st.COOLDOWN + 2: 35, st.GOLD: 777}
    set_fields(w.heroes, 3, {**numbers, st.ITEMS: 3, st.ITEMS + 1: 2, st.ITEMS + 2: 1})
    w.look()
    wanted = {"cooldown_1": 13, "cooldown_2": 24, "cooldown_3": 35, "gold": 777, "xp": 50, "xp_needed": 300}
    wanted |= {"unlocked_1": 1, "unlocked_2": 1, "unlocked_3": 0, "blades": 3, "vests": 2, "boots": 1}
    assert told(w, 3, "global", 0, wanted) == wanted
    first = {"cooldown_1": 0, "unlocked_1": 1, "unlocked_2": 0, "xp": 0, "xp_needed": 200, "blades": 0}
    assert told(w, 2, "global", 0, first) == first
    w.heroes[st.GOLD, 3] = 100_000
    w.look()
    assert w.seen(3, "global", 0, "gold") == s.MAX_OBS


@pytest.mark.parametrize(
    ("tick", "clock", "left", "wave"),
    [(0, 0, 150, 300), (296, 74, 76, 4), (300, 75, 75, 900), (304, 76, 74, 896), (600, 150, 0, 600)],
)
def test_the_clock_runs_to_the_cap_and_to_the_next_wave(hand_world, tick, clock, left, wave):
    w = hand_world(game_length=20.0)  # 150 decisions
    w.game[st.TICK] = tick
    w.look()
    wanted = {"clock": clock, "clock_left": left, "next_wave": wave}
    assert told(w, RED, "global", 0, wanted) == wanted


def test_a_dead_hero_is_not_at_its_base_and_an_ended_recall_has_nothing_left(hand_world):
    w = hand_world()
    w.look()
    assert [w.seen(hero, "global", 0, "at_base") for hero in (BLUE, RED)] == [1, 1]
    w.units[st.ALIVE, 0] = 0
    w.look()
    assert [w.seen(hero, "global", 0, "at_base") for hero in (BLUE, RED)] == [0, 1]
    w.step({RED: (s.RECALL, 0, 0)})
    assert [w.seen(RED, "global", 0, feature) for feature in ("recall_left", "order_recall")] == [84, 1]
    w.step({RED: (s.MOVE, 0, 0)})
    assert [w.seen(RED, "global", 0, feature) for feature in ("recall_left", "order_recall")] == [0, 0]


def test_scales_bring_what_games_show_to_about_one(hand_world):
    """Of every number but the masks, in the middle of a game whose heroes have fought and bought."""
    w = hand_world("2v2", hero_pool="guardian,mage", game_length=60.0)
    for hero in range(4):
        w.rules.learn(w.units, w.heroes, w.knobs, hero, 1500)
        w.heroes[st.GOLD, hero] = 900
    w.look()
    most = np.zeros(w.layout.size)
    for number in range(150):
        w.step({hero: (s.MOVE, 0, (number // 40) % 3) for hero in range(4)})
        most = np.maximum(most, np.abs(w.arrays["obs"] / w.layout.scale).max(0))
    assert most.max() < 4
    assert (most[: w.layout.blocks["kind"].start] > 0.05).sum() > 100
