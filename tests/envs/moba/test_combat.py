"""Hand-worked scenarios: blows, towers, spells, death. Numbers are worked out from `settings` in the comments."""

import pytest

from envs.moba import settings as s
from envs.moba import state as st

BLUE, RED = 0, 1  # heroes of a 1v1
RIVER = 3200


def duel(hand_world, distance=400, **options):
    """Both heroes at the river, away from towers; returns the world and the red hero's slot."""
    w = hand_world(**options)
    w.put(0, RIVER - 1200, RIVER + 1200)
    w.put(w.half, RIVER - 1200 + distance, RIVER + 1200)
    w.look()
    return w, w.half


def test_a_blow_takes_the_heros_damage_and_the_next_one_waits_its_period(hand_world):
    w, red = duel(hand_world)
    w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 500 - 46  # a ranger's health and damage at level 1
    w.step(decisions=9)  # blows in ticks 1 and 39: the period is 38
    assert w.units[st.HEALTH, red] == 500 - 2 * 46
    w.step(decisions=9)  # 76 ticks by now
    assert w.units[st.HEALTH, red] == 500 - 2 * 46 + 3  # regeneration at tick 60
    w.step()
    assert w.units[st.HEALTH, red] == 500 - 3 * 46 + 3


def test_damage_varies_by_a_fifth_either_way_and_is_even(hand_world):
    w = hand_world(randomness=1.0)
    rolls = []
    for tick in range(2000):
        w.game[st.TICK] = tick
        w.units[st.HURT, w.half] = 0
        w.rules.strike(w.units, w.game, w.knobs, 0, w.half)
        rolls.append(w.units[st.HURT, w.half])
    assert (min(rolls), max(rolls)) == (46 - 9, 46 + 9)  # 9.2
    assert sum(rolls) / 2000 == pytest.approx(46, abs=0.4)  # three standard errors: 5.3 / √2000


@pytest.mark.parametrize("damage", [20, 46, 50, 90])  # with 50 some shares are halves
def test_luck_leaves_the_mean_damage_as_it_is(hand_world, monkeypatch, damage):
    w = hand_world(randomness=1.0)
    w.units[st.DAMAGE, 0] = damage
    for luck in range(-200, 201):
        monkeypatch.setitem(w.rules.strike.__globals__, "spread", lambda *_, luck=luck: luck)
        w.rules.strike(w.units, w.game, w.knobs, 0, w.half)
    assert w.units[st.HURT, w.half] == 401 * damage


def test_an_attacker_out_of_range_walks_up_first(hand_world):
    w, red = duel(hand_world, distance=700)
    w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 500
    assert w.at(0)[0] == RIVER - 1200 + 4 * 8.75  # 300 units/s = 10 a tick, wading 8.75
    w.step(decisions=2)  # 600 is reached in the 12th tick, so the blow falls in the 13th
    assert w.units[st.HEALTH, red] == 500
    w.step()
    assert w.units[st.HEALTH, red] == 500 - 46


def test_a_last_hit_pays_gold_and_experience(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(1, 0, RIVER - 900, RIVER + 1200, health=46)
    w.look()
    w.step({BLUE: (s.ATTACK, w.row(BLUE, creep), 0)})
    assert w.units[st.ALIVE, creep] == 0
    assert w.heroes[st.LAST_HITS, BLUE] == 1
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD + 40
    assert w.heroes[st.XP, BLUE] == 60
    assert w.heroes[st.GOLD, RED] == s.START_GOLD
    assert w.heroes[st.XP, RED] == 0


def test_a_creep_that_one_point_saves_is_no_last_hit(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(1, 0, RIVER - 900, RIVER + 1200, health=47)
    w.look()
    w.step({BLUE: (s.ATTACK, w.row(BLUE, creep), 0)})
    assert w.units[st.HEALTH, creep] == 1
    assert w.heroes[st.LAST_HITS, BLUE] == 0


def test_a_deny_takes_the_gold_and_half_the_experience_from_the_enemy(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(0, 0, RIVER - 900, RIVER + 1200, health=46)
    w.look()
    w.step({BLUE: (s.ATTACK, w.row(BLUE, creep), 0)})
    assert w.units[st.ALIVE, creep] == 0
    assert w.heroes[st.DENIES, BLUE] == 1
    assert w.heroes[st.GOLD, BLUE] == w.heroes[st.GOLD, RED] == s.START_GOLD
    assert w.heroes[st.XP, BLUE] == 0
    assert w.heroes[st.XP, RED] == 30


def test_only_a_nearly_dead_own_creep_may_be_denied(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(0, 0, RIVER - 900, RIVER + 1200, health=210)  # half of 420
    w.look()
    attack = w.mask(BLUE, "kind_target")[0]
    assert attack[w.row(BLUE, creep)] == 0
    w.units[st.HEALTH, creep] = 209
    w.look()
    assert w.mask(BLUE, "kind_target")[0][w.row(BLUE, creep)] == 1


def test_who_strikes_in_the_same_tick_loses_the_deny_to_the_last_hit(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(0, 0, RIVER - 900, RIVER + 1200, health=20)
    w.look()
    w.step({hero: (s.ATTACK, w.row(hero, creep), 0) for hero in (BLUE, RED)})
    assert w.heroes[st.LAST_HITS, RED] == 1
    assert w.heroes[st.DENIES, BLUE] == 0
    assert w.heroes[st.XP, RED] == 60


def test_a_hero_gets_the_credit_before_a_creep_that_strikes_in_the_same_tick(hand_world):
    w, _ = duel(hand_world)
    victim = w.creep(1, 0, RIVER - 900, RIVER + 1200, health=20)
    w.creep(0, 0, RIVER - 900, RIVER + 1210)
    w.look()
    w.step({BLUE: (s.ATTACK, w.row(BLUE, victim), 0)})
    assert w.heroes[st.LAST_HITS, BLUE] == 1


def test_two_who_kill_each_other_both_die_and_both_are_paid(hand_world):
    w, red = duel(hand_world)
    w.units[st.HEALTH, 0] = w.units[st.HEALTH, red] = 30
    w.step({hero: (s.ATTACK, w.row(hero, (red, 0)[hero]), 0) for hero in (BLUE, RED)})
    for hero, slot in ((BLUE, 0), (RED, red)):
        assert w.units[st.ALIVE, slot] == 0
        assert w.heroes[st.KILLS, hero] == w.heroes[st.DEATHS, hero] == 1
        assert w.heroes[st.GOLD, hero] == s.START_GOLD + 200
        assert w.heroes[st.XP, hero] == 0  # the dead learn nothing


def test_death_lasts_longer_at_higher_levels_and_ends_at_the_fountain(hand_world):
    for level in (1, 4):
        w, red = duel(hand_world)
        w.rules.learn(w.units, w.heroes, w.knobs, RED, s.XP_AT_LEVEL[level - 1])
        w.units[st.HEALTH, red] = 1
        w.look()
        w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
        ticks = 150 + 60 * level
        assert w.heroes[st.RESPAWN, RED] == ticks - 4
        w.step(decisions=-(-ticks // 4) - 2)
        assert w.units[st.ALIVE, red] == 0
        w.step()
        assert w.units[st.ALIVE, red] == 1
        assert w.at(red) == (s.MAP_SIZE - 400, s.MAP_SIZE - 400)
        assert w.units[st.HEALTH, red] == w.units[st.MAX_HEALTH, red] == 500 + 40 * (level - 1)


def test_the_dead_do_not_act(hand_world):
    w, red = duel(hand_world)
    w.units[st.HEALTH, red] = 1
    w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
    assert w.mask(RED, "kind")[0].tolist() == [1] + [0] * 9
    before = w.at(red), w.units[st.HEALTH, 0]
    for kind in range(s.KINDS):
        w.step({RED: (kind, w.row(RED, 0), 2)})
    assert (w.at(red), w.units[st.HEALTH, 0]) == before


# --- towers ---------------------------------------------------------------------------------------


def siege(hand_world):
    """The blue hero 500 from red's outer tower of the middle lane; its own feet on the ground beside the lane."""
    w = hand_world()
    tower = w.building(1, 0)
    assert w.at(tower) == (3900, 3900)
    w.put(0, 3900, 3400)
    w.put(w.half, 3700, 3900)
    w.look()
    return w, tower


def test_a_tower_shoots_the_nearest_creep_before_any_hero_and_keeps_to_it(hand_world):
    w, tower = siege(hand_world)
    far, near = w.creep(0, 0, 3300, 3900), w.creep(0, 1, 3900, 3450)
    w.look()
    w.step()
    assert w.units[st.TARGET, tower] == near
    assert w.units[st.HEALTH, near] == 420 - 90
    w.put(far, 3890, 3900)
    w.step()
    assert w.units[st.TARGET, tower] == near
    w.put(near, 3900, 2900)
    w.step()
    assert w.units[st.TARGET, tower] == far
    w.units[st.HEALTH, far] = 1
    w.step(decisions=9)
    assert w.units[st.ALIVE, far] == 0
    assert w.units[st.TARGET, tower] == 0  # no creep is left, so the hero


def test_a_tower_turns_on_a_hero_who_strikes_a_hero_near_it(hand_world):
    w, tower = siege(hand_world)
    creep = w.creep(0, 0, 3900, 3450)
    w.look()
    w.step()
    assert w.units[st.TARGET, tower] == creep
    w.step({BLUE: (s.ATTACK, w.row(BLUE, w.half), 0)})
    assert w.units[st.TARGET, tower] == 0
    w.put(0, 3900, 3249)  # 651 away: out of its range of 650
    w.step({BLUE: (s.RECALL, 0, 0)})
    assert w.units[st.TARGET, tower] == creep


def test_towers_fall_from_the_river_inwards_and_the_ancient_last(hand_world):
    w = hand_world("2v2")
    ancient = w.building(1, -1)
    for lane in range(3):
        outer, inner = w.building(1, 2 * lane), w.building(1, 2 * lane + 1)
        assert w.rules.vulnerable(w.units, w.knobs, outer)
        assert not w.rules.vulnerable(w.units, w.knobs, inner)
        w.units[st.ALIVE, outer] = 0
        assert w.rules.vulnerable(w.units, w.knobs, inner)
        assert not w.rules.vulnerable(w.units, w.knobs, ancient)
    w.units[st.ALIVE, w.building(1, 5)] = 0
    assert w.rules.vulnerable(w.units, w.knobs, ancient)


def test_a_falling_tower_pays_every_enemy_hero(hand_world):
    w = hand_world("2v2")
    tower = w.building(1, 0)
    w.put(0, 3900, 3400)
    w.units[st.HEALTH, tower] = 1
    w.look()
    w.step({0: (s.ATTACK, w.row(0, tower), 0)})
    assert w.units[st.ALIVE, tower] == 0
    assert [w.heroes[st.GOLD, hero] for hero in range(4)] == [320, 320, 200, 200]


# --- spells ---------------------------------------------------------------------------------------


def test_a_bolt_costs_mana_and_cools_down_and_grows_with_level(hand_world):
    w, red = duel(hand_world, hero_pool="mage")
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 480 - 110
    assert w.heroes[st.MANA, BLUE] == 340 - 90
    assert w.heroes[st.COOLDOWN, BLUE] == 240 - 4
    assert w.mask(BLUE, "kind")[0][s.ABILITY_1] == 0
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})  # masked: nothing happens
    assert w.units[st.HEALTH, red] == 480 - 110
    w.step(decisions=58)
    assert w.heroes[st.COOLDOWN, BLUE] == 0
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 500)  # level 3
    w.look()
    before = w.units[st.HEALTH, red]
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})
    assert before - w.units[st.HEALTH, red] == 110 + 2 * 18


def test_an_area_spell_strikes_all_around_its_target_but_buildings(hand_world):
    w, red = duel(hand_world)  # a ranger's volley: 60 within 200
    near, far = w.creep(1, 0, RIVER - 800, RIVER + 1399), w.creep(1, 1, RIVER - 800, RIVER + 1401)
    own = w.creep(0, 0, RIVER - 800, RIVER + 1150)
    w.look()
    for creep in (near, far, own):
        w.units[st.STUN, creep] = 60
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 500 - 60
    assert w.units[st.HEALTH, near] == 420 - 60
    assert w.units[st.HEALTH, far] == w.units[st.HEALTH, own] == 420


def test_spells_unlock_with_levels(hand_world):
    w, _ = duel(hand_world, hero_pool="mage")
    assert w.mask(BLUE, "kind")[0][s.ABILITY_1 : s.ABILITY_3 + 1].tolist() == [1, 0, 0]
    for level, allowed in ((2, [1, 1, 0]), (3, [1, 1, 1])):
        w.rules.learn(w.units, w.heroes, w.knobs, BLUE, s.XP_AT_LEVEL[level - 1] - w.heroes[st.XP, BLUE])
        w.look()
        assert w.mask(BLUE, "kind")[0][s.ABILITY_1 : s.ABILITY_3 + 1].tolist() == allowed


def grown(hand_world, kind):
    """A duel of two heroes of level 3."""
    w, red = duel(hand_world, hero_pool=kind, distance=200)
    for hero in (BLUE, RED):
        w.rules.learn(w.units, w.heroes, w.knobs, hero, 500)
    w.look()
    return w, red


def test_a_stunned_hero_can_do_nothing_for_as_long_as_the_stun_lasts(hand_world):
    w, red = grown(hand_world, "mage")  # 36 ticks, the first of which is gone when the stun sets in
    w.step({BLUE: (s.ABILITY_2, w.row(BLUE, red), 0), RED: (s.MOVE, 0, 0)})
    place = w.at(red)
    assert w.units[st.STUN, red] == 36 - 3
    assert w.mask(RED, "kind")[0].tolist() == [1] + [0] * 9
    w.step({RED: (s.MOVE, 0, 2)}, decisions=8)
    assert w.at(red) == place
    assert w.units[st.STUN, red] == 1
    w.step(decisions=2)
    assert w.at(red) != place  # the order to move still stands


def test_two_stuns_at_once_hit_both(hand_world):
    w, red = grown(hand_world, "mage")
    w.step({hero: (s.ABILITY_2, w.row(hero, (red, 0)[hero]), 0) for hero in (BLUE, RED)})
    assert w.units[st.STUN, 0] == w.units[st.STUN, red] == 33


def test_a_slowed_hero_walks_at_half_its_pace(hand_world):
    w, red = grown(hand_world, "ranger")
    w.put(0, 2000, 2000)
    w.put(red, 2200, 2000)
    w.look()
    w.step({BLUE: (s.ABILITY_2, w.row(BLUE, red), 0)})
    assert w.units[st.SLOW, red] == 75 - 3
    x = w.at(red)[0]
    w.step({RED: (s.MOVE, 0, 0)})
    # Direction 0 of the red frame is -y of the map.
    assert w.at(red) == (x, 2000 - 4 * 5)


def test_a_shield_takes_the_damage_first_and_fades(hand_world):
    w, red = grown(hand_world, "mage")  # 90 + 2 * 14
    w.step({RED: (s.ABILITY_3, w.row(RED, red), 0)})
    assert w.heroes[st.SHIELD, RED] == 118
    w.units[st.HURT, red] = 100
    w.rules.take_blows(w.units, w.heroes, w.knobs)
    assert (w.heroes[st.SHIELD, RED], w.units[st.HEALTH, red]) == (18, 480 + 2 * 38)
    w.units[st.HURT, red] = 100
    w.rules.take_blows(w.units, w.heroes, w.knobs)
    assert (w.heroes[st.SHIELD, RED], w.units[st.HEALTH, red]) == (0, 480 + 2 * 38 - 82)
    w, red = grown(hand_world, "mage")
    w.step({RED: (s.ABILITY_3, w.row(RED, red), 0)}, decisions=s.SHIELD_TICKS // 4 - 1)
    assert w.heroes[st.SHIELD, RED] == 118
    w.step()
    assert w.heroes[st.SHIELD, RED] == 0


def test_a_new_shield_leaves_a_larger_one_and_lasts_anew(hand_world):
    for left, after in ((200, 200), (50, 118)):
        w, red = grown(hand_world, "mage")  # 90 + 2 * 14
        w.heroes[st.SHIELD, RED], w.heroes[st.SHIELD_LEFT, RED] = left, 20
        w.step({RED: (s.ABILITY_3, w.row(RED, red), 0)})
        assert w.heroes[st.SHIELD, RED] == after
        assert w.heroes[st.SHIELD_LEFT, RED] == s.SHIELD_TICKS - 4


def test_a_heal_gives_health_up_to_the_full(hand_world):
    w, red = grown(hand_world, "cleric")  # 110 + 2 * 18
    full = w.units[st.MAX_HEALTH, red]
    w.units[st.HEALTH, red] = full - 200
    w.step({RED: (s.ABILITY_3, w.row(RED, red), 0)})
    assert w.units[st.HEALTH, red] == full - 200 + 146
    w.heroes[st.COOLDOWN + 2, RED] = 0
    w.look()
    w.step({RED: (s.ABILITY_3, w.row(RED, red), 0)})
    assert w.units[st.HEALTH, red] == full


def test_a_spell_on_a_fogged_target_is_masked_and_does_nothing(hand_world):
    w, red = duel(hand_world, distance=640, hero_pool="mage", fog=True)  # within the bolt's range of 650
    assert w.mask(BLUE, "kind")[0][s.ABILITY_1] == 1
    w.units[st.SEEN, red] = 0
    w.rules.observe(w.units, w.heroes, w.game, w.knobs, w.rows, w.obs)
    assert w.mask(BLUE, "kind")[0][s.ABILITY_1] == 0
    assert w.mask(BLUE, "kind_target")[:, w.row(BLUE, red)].tolist() == [0, 0, 0, 0]
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 480
    assert w.heroes[st.MANA, BLUE] == 340


def test_a_target_the_spell_does_not_allow_becomes_the_nearest_it_does(hand_world):
    w, red = duel(hand_world, hero_pool="mage")
    creep = w.creep(1, 0, RIVER - 1000, RIVER + 1200)
    w.look()
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, 0), 0)})  # a bolt on oneself
    assert w.units[st.HEALTH, red] == 480
    assert w.units[st.HEALTH, creep] == 420 - 110
