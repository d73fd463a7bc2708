"""Hand-worked scenarios: experience, levels, gold, the shop, regeneration, recall."""

import pytest

from envs.moba import settings as s
from envs.moba import state as st

BLUE, RED = 0, 1
AT_RIVER = (2000, 4400)


def test_a_level_brings_health_mana_and_damage(hand_world):
    w = hand_world(hero_pool="mage")
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 199)
    assert w.heroes[st.LEVEL, BLUE] == 1
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 1)
    assert w.heroes[st.LEVEL, BLUE] == 2
    assert (w.units[st.HEALTH, 0], w.units[st.MAX_HEALTH, 0]) == (518, 518)
    assert (w.heroes[st.MANA, BLUE], w.heroes[st.MAX_MANA, BLUE]) == (372, 372)
    assert w.units[st.DAMAGE, 0] == 45
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 700)  # 900 in all: two levels at once
    assert w.heroes[st.LEVEL, BLUE] == 4


def test_experience_ends_with_the_last_level(hand_world):
    w = hand_world()
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 100_000)
    assert w.heroes[st.LEVEL, BLUE] == s.MAX_LEVEL == len(s.XP_AT_LEVEL)
    assert w.heroes[st.XP, BLUE] == 7700
    w.look()
    assert w.seen(BLUE, "global", 0, "xp") == w.seen(BLUE, "global", 0, "xp_needed") == 0


def test_experience_is_divided_among_the_living_enemies_near(hand_world):
    w = hand_world("3v3")
    for hero, (dx, dy) in enumerate([(0, 0), (1199, 0), (1201, 0)]):
        w.put(hero, 2000 + dx, 4400 + dy)
    creep = w.creep(1, 0, 2000, 4400)
    w.rules.pay_for_creep(w.units, w.heroes, w.knobs, creep)
    assert [w.heroes[st.XP, hero] for hero in range(6)] == [30, 30, 0, 0, 0, 0]
    w.units[st.ALIVE, 0] = 0
    w.rules.pay_for_creep(w.units, w.heroes, w.knobs, creep)
    assert [w.heroes[st.XP, hero] for hero in range(3)] == [30, 90, 0]


def test_what_does_not_divide_is_lost(hand_world):
    w = hand_world("3v3")
    for hero in range(3):
        w.put(hero, *AT_RIVER)
    creep = w.creep(1, 0, *AT_RIVER, kind=1)  # 70 experience
    w.rules.pay_for_creep(w.units, w.heroes, w.knobs, creep)
    assert [w.heroes[st.XP, hero] for hero in range(3)] == [23, 23, 23]


def test_a_killed_hero_is_worth_more_at_higher_levels(hand_world):
    w = hand_world()
    w.rules.learn(w.units, w.heroes, w.knobs, RED, 900)  # level 4
    w.put(0, *AT_RIVER)
    w.put(w.half, *AT_RIVER)
    w.units[st.HURT_BY, w.half] = 0
    w.rules.pay_for_hero(w.units, w.heroes, w.knobs, w.half)
    assert w.heroes[st.XP, BLUE] == 100 + 4 * 50
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD + 200
    assert w.heroes[st.KILLS, BLUE] == w.heroes[st.DEATHS, RED] == 1


def test_a_hero_whom_a_creep_kills_is_nobodys_kill(hand_world):
    w = hand_world()
    w.put(w.half, *AT_RIVER)
    w.units[st.HEALTH, w.half] = 1
    w.creep(0, 0, AT_RIVER[0] + 50, AT_RIVER[1])
    w.look()
    w.step()
    assert w.heroes[st.DEATHS, RED] == 1
    assert w.heroes[st.KILLS, BLUE] == 0
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD


def test_time_alone_brings_one_gold_in_twenty_ticks(hand_world):
    w = hand_world()
    w.step(decisions=4)
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD
    w.step()
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD + 1
    w.step(decisions=20)
    assert w.heroes[st.GOLD, BLUE] == s.START_GOLD + 5


def shopper(hand_world, gold):
    w = hand_world()
    w.heroes[st.GOLD, BLUE] = gold
    w.look()
    return w


@pytest.mark.parametrize(
    ("kind", "price", "field", "gain"),
    [
        (s.BUY_BLADE, 450, st.DAMAGE, 16),
        (s.BUY_VEST, 450, st.MAX_HEALTH, 160),
        (s.BUY_VEST, 450, st.HEALTH, 160),
        (s.BUY_BOOTS, 400, st.PACE, 45),
    ],
)
def test_an_item_costs_its_price_and_does_its_work(hand_world, kind, price, field, gain):
    w = shopper(hand_world, price)
    before = w.units[field, 0]
    w.step({BLUE: (kind, 0, 0)})
    assert w.heroes[st.GOLD, BLUE] == 0
    assert w.heroes[st.SPENT, BLUE] == price
    assert w.heroes[st.ITEMS + kind - s.BUY_BLADE, BLUE] == 1
    assert w.units[field, 0] == before + gain


def test_the_shop_wants_gold_room_and_the_fountain(hand_world):
    w = shopper(hand_world, 399)
    assert w.mask(BLUE, "kind")[0][s.BUY_BLADE : s.BUY_BOOTS + 1].tolist() == [0, 0, 0]
    w = shopper(hand_world, 449)
    assert w.mask(BLUE, "kind")[0][s.BUY_BLADE : s.BUY_BOOTS + 1].tolist() == [0, 0, 1]
    w = shopper(hand_world, 2000)
    assert w.mask(BLUE, "kind")[0][s.BUY_BLADE : s.BUY_BOOTS + 1].tolist() == [1, 1, 1]
    w.step({BLUE: (s.BUY_BOOTS, 0, 0)})
    assert w.mask(BLUE, "kind")[0][s.BUY_BOOTS] == 0
    w.step({BLUE: (s.BUY_BOOTS, 0, 0)})
    assert w.heroes[st.GOLD, BLUE] == 1600
    w.put(0, 400, 400 + s.BASE_RADIUS)
    w.look()
    assert w.mask(BLUE, "kind")[0][s.BUY_BLADE] == 1
    w.put(0, 400, 400 + s.BASE_RADIUS + 1)
    w.look()
    assert w.mask(BLUE, "kind")[0][s.BUY_BLADE] == 0


def test_health_and_mana_come_back_faster_at_the_fountain(hand_world):
    for place, health, mana in ((AT_RIVER, 3, 3), ((400, 400), 3 + 40, 3 + 19)):
        w = hand_world()
        w.put(0, *place)
        w.units[st.HEALTH, 0], w.heroes[st.MANA, BLUE] = 100, 100
        w.step(decisions=14)
        assert (w.units[st.HEALTH, 0], w.heroes[st.MANA, BLUE]) == (100, 100)
        w.step()
        assert (w.units[st.HEALTH, 0], w.heroes[st.MANA, BLUE]) == (100 + health, 100 + mana)


def test_recall_takes_88_ticks_of_standing_still(hand_world):
    w = hand_world()
    w.put(0, *AT_RIVER)
    w.look()
    w.step({BLUE: (s.RECALL, 0, 0)}, decisions=21)
    assert w.at(0) == AT_RIVER
    assert w.seen(BLUE, "global", 0, "recall_left") == 4
    assert w.mask(BLUE, "kind")[0][s.RECALL] == 0
    w.step()
    assert w.at(0) == (s.FOUNTAIN, s.FOUNTAIN)
    assert w.mask(BLUE, "kind")[0][s.RECALL] == 1


def test_recall_ends_when_the_hero_is_hurt_moves_or_casts(hand_world):
    def recalling():
        w = hand_world(hero_pool="cleric")
        w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 500)
        w.put(0, *AT_RIVER)
        w.look()
        w.step({BLUE: (s.RECALL, 0, 0)})
        assert w.heroes[st.ORDER, BLUE] == st.ORDER_RECALL
        return w

    w = recalling()
    w.units[st.HURT, 0] = 1
    w.step()
    assert w.heroes[st.ORDER, BLUE] == st.NO_ORDER
    for action in ((s.MOVE, 0, 0), (s.ABILITY_3, 0, 0)):
        w = recalling()
        w.step({BLUE: action})
        assert w.heroes[st.ORDER, BLUE] != st.ORDER_RECALL
