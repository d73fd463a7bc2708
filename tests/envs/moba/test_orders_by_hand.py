"""Hand-worked scenarios: which targets each kind of action has, in which reach, at what price; what is paid for."""

import pytest

from envs.moba import settings as s
from envs.moba import state as st

X, Y = 2000, 4400  # at the river, away from towers
BLUE, RED = 0, 1  # heroes of a 1v1


def targets(w, hero, kind):
    """The slots that the masks allow `kind`."""
    exact = w.mask(hero, "kind_target")[kind - s.ATTACK]
    return {w.rows[hero, row] for row in range(w.layout.targets) if exact[row]}


def rewards(w):
    """In units of reward."""
    return [value / (s.REWARD_UNIT * s.SHARE * w.options.heroes) for value in w.reward]


@pytest.mark.parametrize(
    ("pool", "reach"), [("guardian", 600), ("duelist", 0), ("ranger", 0), ("mage", 500), ("cleric", 700)]
)
def test_the_third_ability_helps_the_own_team_within_its_reach_and_nobody_else(hand_world, pool, reach):
    w = hand_world("2v2", hero_pool=pool)
    w.rules.learn(w.units, w.heroes, w.knobs, 0, 500)
    w.put(0, X, Y)
    w.put(w.half, X + 50, Y)
    w.creep(0, 0, X - 50, Y, health=100)
    for away, helped in ((max(reach, 1), reach > 0), (reach + 1, False)):
        w.put(1, X, Y - away)
        w.look()
        assert targets(w, 0, s.ABILITY_3) == ({0, 1} if helped else {0})


def test_an_ally_is_healed_at_the_casters_cost(hand_world):
    w = hand_world("2v2", hero_pool="cleric")
    w.rules.learn(w.units, w.heroes, w.knobs, 0, 500)  # level 3: 110 + 2 * 18 for 80 mana
    w.put(0, X, Y)
    w.put(1, X + 700, Y)
    w.units[st.HEALTH, 0] = w.units[st.HEALTH, 1] = 200
    w.look()
    w.step({0: (s.ABILITY_3, w.row(0, 1), 0)})
    assert [w.units[st.HEALTH, slot] for slot in (0, 1)] == [200, 346]
    assert [w.heroes[st.MANA, hero] for hero in (0, 1)] == [320 + 2 * 30 - 80, 320]
    assert [w.heroes[st.COOLDOWN + 2, hero] for hero in (0, 1)] == [360 - 4, 0]


@pytest.mark.parametrize(
    ("kind", "pool", "reach"),
    [
        (s.ABILITY_1, "duelist", 200),
        (s.ABILITY_2, "duelist", 350),
        (s.ABILITY_1, "ranger", 700),
        (s.ABILITY_2, "ranger", 600),
        (s.ABILITY_1, "mage", 650),
        (s.ABILITY_2, "mage", 600),
    ],
)
def test_each_spell_has_a_reach_of_its_own(hand_world, kind, pool, reach):
    w = hand_world(hero_pool=pool)
    w.rules.learn(w.units, w.heroes, w.knobs, BLUE, 500)
    w.put(0, X, Y)
    for away in (reach, reach + 1):
        w.put(w.half, X + away, Y)
        w.look()
        assert targets(w, BLUE, kind) == ({w.half} if away == reach else set())


def test_spells_strike_enemy_heroes_and_creeps_but_no_building_and_nobody_of_the_own_team(hand_world):
    w = hand_world("2v2", hero_pool="mage")
    w.rules.learn(w.units, w.heroes, w.knobs, 0, 500)
    tower = w.building(1, 0)
    w.put(0, 3900, 3400)  # all within 600
    w.put(1, 3800, 3400)
    w.put(w.half, 3900, 3300)
    own, enemy = w.creep(0, 0, 3850, 3400, health=1), w.creep(1, 0, 3950, 3400)
    w.units[st.HEALTH, 1] = 1
    w.look()
    for kind in (s.ABILITY_1, s.ABILITY_2):
        assert targets(w, 0, kind) == {w.half, enemy}
    # Every enemy in sight and, of the own team, a creep that is nearly dead; of the buildings those in front.
    front = {w.building(1, number) for number in (0, 2, 4)}
    assert tower in front
    assert targets(w, 0, s.ATTACK) == {w.half, w.half + 1, enemy, own} | front


@pytest.mark.parametrize("ability", [0, 1, 2])
def test_each_ability_waits_for_its_own_cooldown_mana_and_level(hand_world, ability):
    """A mage's cost 90, 90 and 90; a cleric's 70, 70 and 80; a guardian's 60, 80 and 70."""
    for pool, costs in (("mage", (90, 90, 90)), ("cleric", (70, 70, 80)), ("guardian", (60, 80, 70))):
        w = hand_world(hero_pool=pool)
        w.put(0, X, Y)
        w.put(w.half, X + 200, Y)
        for level, mana, cooldown, ready in (
            (ability + 1, costs[ability], 0, True),
            (ability + 1, costs[ability] - 1, 0, False),
            (ability + 1, costs[ability], 1, False),
            (ability, costs[ability], 0, False),
        ):
            w.heroes[st.LEVEL, BLUE], w.heroes[st.MANA, BLUE] = max(level, 1), mana
            for other in range(3):  # the others' cooldowns must not matter
                w.heroes[st.COOLDOWN + other, BLUE] = cooldown if other == ability else 1 - cooldown
            if level == 0:
                continue
            w.look()
            assert w.mask(BLUE, "kind")[0][s.ABILITY_1 + ability] == ready
            assert bool(targets(w, BLUE, s.ABILITY_1 + ability)) == ready


def test_a_hero_that_gets_health_back_is_paid_for_it(hand_world):
    w = hand_world(team_spirit=0.0)
    w.put(0, X, Y)
    w.units[st.HEALTH, 0], w.heroes[st.MANA, BLUE] = 100, 60
    w.game[st.TICK] = 56  # the next decision ends with a regeneration, and with an income both have
    w.step()
    assert (w.units[st.HEALTH, 0], w.heroes[st.MANA, BLUE]) == (103, 63)
    # From 200 to 206 thousandths of its health at 0.002 each, 250 to 262 of its mana at 0.00075.
    assert rewards(w) == pytest.approx([6 * 0.002 + 12 * 0.00075, -6 * 0.002 - 12 * 0.00075])


@pytest.mark.parametrize(("reward", "win"), [("shaped", 5.0), ("objectives", 5.0), ("win", 1.0)])
@pytest.mark.parametrize("loser", [0, 1])
def test_a_game_that_the_cap_ends_pays_the_share_it_was_won_by(hand_world, reward, win, loser):
    w = hand_world("2v2", game_length=10.0, reward=reward, team_spirit=0.0)
    w.game[st.TICK] = 296  # one decision before the cap
    w.units[st.HEALTH, w.building(loser, -1)] -= 2220  # of 11,100
    w.step()
    assert w.game[st.DONE] == 1
    assert w.game[st.SCORE] == (-200 if loser == 0 else 200)
    worth = -0.2 * win if loser == 0 else 0.2 * win
    assert rewards(w) == pytest.approx([worth] * 2 + [-worth] * 2)
