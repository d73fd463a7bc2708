"""Hand-worked scenarios: what ends an order, an aim or a recall, and what death and a new life leave behind."""

import pytest

from envs.moba import settings as s
from envs.moba import state as st

BLUE, RED = 0, 1  # heroes of a 1v1
X, Y = 2000, 4400  # at the river, away from towers


def duel(hand_world, distance=300, **options):
    """Both heroes at the river; returns the world and the red hero's slot."""
    w = hand_world(**options)
    w.put(0, X, Y)
    w.put(w.half, X + distance, Y)
    w.look()
    return w, w.half


def attacking(w, target):
    """Blue attacks `target`, which must not die of one blow."""
    w.step({BLUE: (s.ATTACK, w.row(BLUE, target), 0)})
    assert (w.heroes[st.ORDER, BLUE], w.units[st.TARGET, 0]) == (st.ORDER_ATTACK, target)


@pytest.mark.parametrize(("away", "goes_on"), [(1200, True), (1201, False)])
def test_an_attack_ends_when_its_target_enters_the_fog(hand_world, away, goes_on):
    w, red = duel(hand_world, fog=True)
    attacking(w, red)
    w.put(red, X, Y + away)  # a hero sees 1200 far
    w.look()
    place = w.at(0)
    w.step()
    assert (w.heroes[st.ORDER, BLUE] == st.ORDER_ATTACK) == goes_on
    assert w.units[st.TARGET, 0] == (red if goes_on else -1)
    assert (w.at(0) != place) == goes_on


def test_an_attack_does_not_pass_to_a_creep_born_in_the_place_of_the_one_it_killed(hand_world):
    w, _ = duel(hand_world)
    creep = w.creep(1, 0, X + 300, Y)
    w.look()
    attacking(w, creep)
    w.units[st.HEALTH, creep] = 1
    w.units[st.WAIT, 0] = 4  # strikes in the last tick
    w.game[st.TICK] = s.FIRST_WAVE - 4
    w.step()
    assert w.heroes[st.LAST_HITS, BLUE] == 1
    assert w.units[st.ALIVE, creep] == 1  # the wave's first
    assert w.units[st.TARGET, 0] == -1
    place = w.at(0)
    w.step()
    assert w.heroes[st.ORDER, BLUE] == st.NO_ORDER
    assert w.at(0) == place


@pytest.mark.parametrize(("away", "turns"), [(650, True), (651, False)])
def test_a_tower_turns_only_on_a_hero_within_its_range(hand_world, away, turns):
    w = hand_world()
    tower = w.building(1, 0)
    assert w.at(tower) == (3900, 3900)
    w.put(0, 3900, 3900 - away)
    w.put(w.half, 3900, 3900)
    creep = w.creep(0, 0, 3400, 3900)
    w.look()
    w.units[st.WAIT, 0] = 3  # strikes in the third tick, so that it stands where it was put
    w.units[st.RANGE, 0] = 700
    w.step({BLUE: (s.ATTACK, w.row(BLUE, w.half), 0)})
    assert w.units[st.HEALTH, w.half] < 500
    assert w.units[st.TARGET, tower] == (0 if turns else creep)


@pytest.mark.parametrize(("away", "keeps"), [(550, True), (551, False)])
def test_a_creep_keeps_its_target_as_far_as_it_sees(hand_world, away, keeps):
    w, red = duel(hand_world)
    w.put(0, 400, 400)
    creep = w.creep(0, 0, X, Y)
    w.units[st.TARGET, creep] = red
    w.put(red, X + away, Y)
    w.step()
    assert w.units[st.TARGET, creep] == (red if keeps else -1)


def test_an_area_spell_leaves_the_dead_alone_and_whoever_is_born_in_their_place(hand_world):
    w, red = duel(hand_world)
    dead = w.creep(1, 0, X + 350, Y)  # within a volley's 200
    w.units[st.ALIVE, dead] = w.units[st.HEALTH, dead] = 0
    w.look()
    w.step({BLUE: (s.ABILITY_1, w.row(BLUE, red), 0)})
    assert w.units[st.HEALTH, red] == 500 - 60
    w.creep(1, 0, 5400, 5400)
    w.step()
    assert w.units[st.HEALTH, dead] == 420


def test_a_stun_alone_ends_a_recall(hand_world):
    w, _ = duel(hand_world)
    w.step({BLUE: (s.RECALL, 0, 0)})
    assert w.heroes[st.ORDER, BLUE] == st.ORDER_RECALL
    w.units[st.NEW_STUN, 0] = 10
    w.step()
    assert w.units[st.HEALTH, 0] == 500
    assert w.heroes[st.ORDER, BLUE] == st.NO_ORDER


def test_a_deny_is_worth_the_published_weight_less_what_the_enemy_learns_of_it(hand_world):
    w, _ = duel(hand_world, team_spirit=0.0)
    creep = w.creep(0, 0, X + 300, Y, health=1)
    w.units[st.STUN, creep] = 10
    w.look()
    w.step({BLUE: (s.ATTACK, w.row(BLUE, creep), 0)})
    assert w.heroes[st.DENIES, BLUE] == 1
    worth = 0.15 - 30 * 0.002
    reward = [value / (s.REWARD_UNIT * s.SHARE) for value in w.reward]
    assert reward == pytest.approx([worth, -worth])


def test_who_comes_back_has_all_its_mana(hand_world):
    w, red = duel(hand_world)
    w.units[st.HEALTH, red], w.heroes[st.MANA, RED] = 1, 17
    w.step({BLUE: (s.ATTACK, w.row(BLUE, red), 0)})
    assert (w.units[st.ALIVE, red], w.heroes[st.MANA, RED]) == (0, 17)
    w.heroes[st.RESPAWN, RED] = 4
    w.step()
    assert (w.units[st.ALIVE, red], w.heroes[st.MANA, RED]) == (1, 240)


def test_death_ends_stun_slow_shield_order_and_the_wait_for_the_next_blow(hand_world):
    w, red = duel(hand_world)
    for field in (st.STUN, st.SLOW, st.WAIT):
        w.units[field, red] = 30
    w.heroes[st.SHIELD, RED], w.heroes[st.SHIELD_LEFT, RED] = 50, 200
    w.heroes[st.ORDER, RED], w.units[st.TARGET, red] = st.ORDER_ATTACK, 0
    w.units[st.HEALTH, red] = 0
    w.rules.deaths(w.units, w.heroes, w.knobs)
    assert [w.units[field, red] for field in (st.ALIVE, st.STUN, st.SLOW, st.WAIT)] == [0, 0, 0, 0]
    assert w.units[st.TARGET, red] == -1
    assert [w.heroes[field, RED] for field in (st.SHIELD, st.SHIELD_LEFT)] == [0, 0]
    assert w.heroes[st.ORDER, RED] == st.NO_ORDER


def test_a_creep_born_in_the_place_of_one_beyond_the_river_walks_to_the_river_first(hand_world):
    w = hand_world("2v2")
    slot = w.options.heroes + s.CREEPS_PER_LANE  # the top lane's first
    w.units[st.WAYPOINT, slot], w.units[st.TARGET, slot], w.units[st.SEEN, slot] = 1, 5, 1
    w.rules.spawn_creep(w.units, w.game, w.knobs, slot, 1, 0)
    assert [w.units[field, slot] for field in (st.WAYPOINT, st.TARGET, st.SEEN)] == [0, -1, 0]
    x, y = w.at(slot)
    w.step()
    assert w.at(slot)[1] - y > 2 * abs(w.at(slot)[0] - x)  # up along the left edge, not across
