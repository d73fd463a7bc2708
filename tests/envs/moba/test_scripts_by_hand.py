"""Hand-worked scenarios: what each script does. Rangers have 500 health, 46 damage and a reach of 600."""

import collections

import pytest

from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.opponents import OPPONENTS

X, Y = 2000, 4400  # at the river, away from towers
RIGHT, AHEAD, UP, BACK, HOMEWARD, DOWN = 0, 1, 2, 4, 5, 6  # directions


def decided(w, script, hero=0):
    """(kind, target row, direction) of a script for what `hero` sees."""
    w.rules.decide(OPPONENTS.index(script), w.knobs, w.obs, hero, w.actions)
    return tuple(w.arrays["actions"][hero].tolist())


def standing(hand_world, name="1v1", **options):
    """Blue's first hero at the river, everybody else at their fountains."""
    w = hand_world(name, **options)
    w.put(0, X, Y)
    w.look()
    return w


def test_the_laner_takes_the_creep_that_one_blow_kills_before_the_nearest(hand_world):
    w = standing(hand_world)
    near, far = w.creep(1, 0, X + 200, Y), w.creep(1, 1, X + 400, Y, health=46)
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, far))
    w.units[st.HEALTH, far] = 47
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, near))
    w.put(near, X + 900, Y)
    w.put(far, X + 901, Y)
    w.look()  # neither is within 900
    assert decided(w, "laner")[0] == s.MOVE


def test_the_laner_strikes_a_building_that_own_creeps_assail(hand_world):
    w = hand_world()
    tower = w.building(1, 0)  # at (3900, 3900)
    w.put(0, 3900, 3200)  # 700 away, out of its reach
    creep, own = w.creep(1, 0, 3900, 3100), w.creep(0, 0, 3900, 3201)
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, tower))
    w.put(own, 3900, 3200)  # 700 from the tower: too far to help
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, creep))
    w.units[st.HEALTH, creep] = 46  # a last hit comes before a building
    w.put(own, 3900, 3201)
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, creep))


def test_the_laner_leaves_a_towers_reach_where_it_is_aimed_at_or_alone(hand_world):
    w = hand_world()
    tower = w.building(1, 0)
    w.put(0, 3900, 3300)  # 600 away
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, HOMEWARD)
    own = w.creep(0, 0, 3900, 3400)
    w.look()
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, tower))
    w.units[st.TARGET, tower] = 0
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, HOMEWARD)
    w.units[st.TARGET, tower] = own
    w.look()
    assert decided(w, "laner")[0] == s.ATTACK


def test_the_laner_recalls_when_it_is_hurt_and_walks_home_while_something_threatens(hand_world):
    w = standing(hand_world)
    w.creep(1, 0, X + 500, Y)
    w.units[st.HEALTH, 0] = 150  # three tenths
    w.look()
    assert decided(w, "laner")[0] == s.ATTACK
    w.units[st.HEALTH, 0] = 149
    w.look()
    assert decided(w, "laner")[0] == s.RECALL
    w.put(w.half, X + 800, Y)
    w.look()
    assert decided(w, "laner")[0] == s.RECALL
    w.put(w.half, X + 799, Y)
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, DOWN)
    w.put(w.half, 6000, 6000)
    w.units[st.TARGET, w.half + 1] = 0  # the creep's
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, DOWN)
    w.units[st.TARGET, w.half + 1] = -1
    w.heroes[st.ORDER, 0] = st.ORDER_RECALL
    w.look()
    assert decided(w, "laner")[0] == s.CONTINUE  # it goes on recalling


def test_the_laner_stays_at_its_fountain_until_it_is_nearly_healed(hand_world):
    w = hand_world()
    w.put(0, 900, 900)
    w.units[st.HEALTH, 0] = 449
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, HOMEWARD)
    w.units[st.HEALTH, 0] = 450
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, AHEAD)


def test_the_laner_buys_boots_then_blades_then_vests(hand_world):
    w = hand_world()
    bought = []
    for _ in range(10):
        w.heroes[st.GOLD, 0] = 450
        w.look()
        bought.append(decided(w, "laner")[0])
        w.step({0: (bought[-1], 0, 0)})
    assert bought == [s.BUY_BOOTS] + [s.BUY_BLADE] * 4 + [s.BUY_VEST] * 4 + [s.MOVE]


def test_laners_walk_to_lanes_of_their_own(hand_world):
    """Slot 0 to the middle, the odd ones to the top, the even ones to the bottom; with one lane all to the middle."""
    w = hand_world("5v5")
    directions = [AHEAD, UP, RIGHT, UP, RIGHT]
    assert [decided(w, "laner", hero) for hero in range(10)] == [(s.MOVE, 0, d) for d in directions * 2]
    w = hand_world("5v5", lanes=1)
    assert {decided(w, "laner", hero) for hero in range(10)} == {(s.MOVE, 0, AHEAD)}


def test_the_laner_walks_behind_the_own_creep_that_is_furthest_ahead(hand_world):
    w = standing(hand_world)
    w.creep(0, 0, X - 1000, Y)
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, BACK)
    w.creep(0, 1, X, Y + 1000)
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, UP)
    w.put(2, X, Y + 1800)  # not within 1800
    w.look()
    assert decided(w, "laner") == (s.MOVE, 0, BACK)


def test_the_bully_casts_at_heroes_in_reach_and_goes_for_who_has_less_health(hand_world):
    w = standing(hand_world)
    red = w.half
    w.creep(1, 0, X + 100, Y)
    w.put(red, X + 700, Y)
    w.look()
    assert decided(w, "bully")[:2] == (s.ABILITY_1, w.row(0, red))  # a volley reaches 700
    assert decided(w, "laner")[0] == s.ATTACK
    w.heroes[st.COOLDOWN, 0] = 100
    w.look()
    assert decided(w, "bully")[:2] == (s.ATTACK, w.row(0, red + 1))  # an equal is left alone
    w.units[st.HEALTH, red] = 499
    w.look()
    assert decided(w, "bully")[:2] == (s.ATTACK, w.row(0, red))
    assert decided(w, "laner")[:2] == (s.ATTACK, w.row(0, red + 1))
    w.put(red, X + 600, Y)
    w.rules.learn(w.units, w.heroes, w.knobs, 0, 200)
    w.look()
    assert decided(w, "bully")[:2] == (s.ABILITY_2, w.row(0, red))
    w.put(red, X + 900, Y)  # not within 900
    w.look()
    assert decided(w, "bully")[:2] == (s.ATTACK, w.row(0, red + 1))


def test_the_bully_goes_for_the_weakest_of_several(hand_world):
    w = standing(hand_world, "3v3")
    for place, health in enumerate((300, 200, 250)):
        w.put(w.half + place, X + 800, Y)
        w.units[st.HEALTH, w.half + place] = health
    w.look()
    assert decided(w, "bully")[:2] == (s.ATTACK, w.row(0, w.half + 1))


def test_the_bully_helps_itself_when_it_has_less_than_six_tenths(hand_world):
    w = standing(hand_world)
    w.rules.learn(w.units, w.heroes, w.knobs, 0, 500)  # level 3: 580 health
    w.creep(1, 0, X + 500, Y)
    for health, kind in ((348, s.ATTACK), (347, s.ABILITY_3)):
        w.units[st.HEALTH, 0] = health
        w.look()
        assert decided(w, "bully")[0] == kind
        assert decided(w, "laner")[0] == s.ATTACK


@pytest.mark.parametrize("script", OPPONENTS)
def test_who_can_not_act_does_nothing_and_the_idle_never_do(hand_world, script):
    w = standing(hand_world)
    w.creep(1, 0, X + 100, Y)
    w.look()
    assert (decided(w, script)[0] == s.CONTINUE) == (script == "idle")
    w.units[st.STUN, 0] = 9
    w.look()
    assert decided(w, script) == (s.CONTINUE, 0, 0)


def test_the_random_script_takes_every_legal_kind_target_and_way_alike_and_no_other(hand_world):
    w = standing(hand_world)
    red = w.half
    w.put(red, X + 650, Y)
    for number, dx in enumerate((200, 701)):  # the further one out of the volley's 700
        w.creep(1, number, X - dx, Y)
    w.look()
    kinds, targets, ways = (collections.Counter() for _ in range(3))
    count, clock = 4000, w.knobs[st.AT_GLOBAL] + w.layout.blocks["global"].column("clock")
    for decision in range(count):
        w.obs[0, clock] = decision
        kind, target, way = decided(w, "random")
        kinds[kind] += 1
        targets[kind, target] += kind in (s.ATTACK, s.ABILITY_1)
        ways[way] += 1
    legal = (s.CONTINUE, s.MOVE, s.ATTACK, s.ABILITY_1, s.RECALL)
    near, far, tower = w.row(0, red + 1), w.row(0, red + 2), w.row(0, w.building(1, 0))
    hero = w.row(0, red)
    wanted = {(s.ATTACK, row): 1 / 20 for row in (near, far, tower, hero)}
    wanted |= {(s.ABILITY_1, row): 1 / 10 for row in (near, hero)}
    for counted, shares in (
        (kinds, dict.fromkeys(legal, 1 / 5)),
        (+targets, wanted),
        (ways, dict.fromkeys(range(8), 1 / 8)),
    ):
        assert counted.keys() == shares.keys()
        for choice, share in shares.items():  # four standard deviations
            assert abs(counted[choice] - count * share) < 4 * (count * share * (1 - share)) ** 0.5
