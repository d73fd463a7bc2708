"""Hand-worked scenarios: how a game ends, what it scores, and what decisions are worth."""

import pytest

from envs.moba import settings as s
from envs.moba import state as st


def rewards(w):
    """In units of reward."""
    return [value / (s.REWARD_UNIT * s.SHARE * w.options.heroes) for value in w.reward]


def test_the_fall_of_an_ancient_ends_the_game(hand_world):
    w = hand_world()
    ancient = w.building(1, -1)
    w.units[st.ALIVE, w.building(1, 1)] = 0
    w.units[st.HEALTH, ancient] = 1
    w.put(0, 5400, 4900)
    w.look()
    w.step({0: (s.ATTACK, w.row(0, ancient), 0)})
    assert (w.game[st.DONE], w.game[st.SCORE]) == (1, 1000)


def test_the_cap_scores_the_damage_to_buildings(hand_world):
    w = hand_world(game_length=10.0)  # 75 decisions
    w.step(decisions=74)
    assert w.game[st.DONE] == 0
    # 1300 + 1600 + 2400 = 5300 in all; red loses 1000, blue 200.
    w.units[st.HEALTH, w.building(1, 0)] -= 1000
    w.units[st.HEALTH, w.building(0, 0)] -= 200
    w.step()
    assert (w.game[st.DONE], w.game[st.SCORE]) == (1, 962 - 811)


def test_both_ancients_falling_together_is_settled_by_the_other_buildings(hand_world):
    w = hand_world()
    w.units[st.HEALTH, w.building(0, 0)] -= 530
    for team in (0, 1):
        w.units[st.ALIVE, w.building(team, -1)] = 0
        w.units[st.HEALTH, w.building(team, -1)] = 0
    w.step()
    assert (w.game[st.DONE], w.game[st.SCORE]) == (1, -100)


def ancients(hand_world):
    """Both ancients open to a blow with one point of health left, and 530 of 5300 lost elsewhere by blue."""
    w = hand_world()
    w.units[st.HEALTH, w.building(0, 0)] -= 530
    for team, place in ((0, (5400, 4900)), (1, (1000, 1500))):
        w.units[st.ALIVE, w.building(team, 1)] = w.units[st.HEALTH, w.building(team, 1)] = 0
        w.units[st.HEALTH, w.building(team, -1)] = 1
        w.put(team * w.half, *place)
    w.look()
    return w, {team: (s.ATTACK, w.row(team, w.building(1 - team, -1)), 0) for team in (0, 1)}


@pytest.mark.parametrize(("late", "score"), [(1, 1000), (0, -1000)])
def test_the_first_ancient_to_fall_decides_though_the_other_would_in_the_same_decision(
    hand_world, late, score
):
    w, attack = ancients(hand_world)
    w.units[st.WAIT, late * w.half] = 3  # strikes in the third tick, the other in the first
    w.step(attack)
    assert (w.game[st.DONE], w.game[st.SCORE], w.game[st.TICK]) == (1, score, 4)
    assert w.units[st.ALIVE, w.building(late, -1)] == 0
    assert w.units[st.ALIVE, w.building(1 - late, -1)] == 1
    assert rewards(w)[1 - late] == -rewards(w)[late] > 5


def test_ancients_that_fall_in_the_same_tick_are_settled_by_the_other_buildings(hand_world):
    w, attack = ancients(hand_world)
    w.step(attack)
    # Of 5300 blue has 770 left, red 1300.
    assert (w.game[st.DONE], w.game[st.SCORE]) == (1, 145 - 245)


def test_nothing_happening_is_worth_nothing(hand_world):
    w = hand_world("2v2")
    w.step(decisions=10)  # passive income at the fifth and tenth, the same for all
    assert rewards(w) == [0, 0, 0, 0]


def test_a_last_hit_is_worth_its_gold_its_experience_and_the_published_weight(hand_world):
    w = hand_world(team_spirit=0.0)
    w.put(0, 2000, 4400)
    creep = w.creep(1, 0, 2300, 4400, health=1)
    w.look()
    w.step({0: (s.ATTACK, w.row(0, creep), 0)})
    worth = 40 * 0.006 + 60 * 0.002 - 0.16
    assert rewards(w) == pytest.approx([worth, -worth])


@pytest.mark.parametrize("spirit", [0.0, 0.3, 1.0])
def test_team_spirit_shares_and_the_sum_is_zero(hand_world, spirit):
    w = hand_world("2v2", team_spirit=spirit)
    w.put(0, 2000, 4400)
    creep = w.creep(1, 0, 2300, 4400, health=1)
    w.look()
    w.step({0: (s.ATTACK, w.row(0, creep), 0)})
    worth = 40 * 0.006 + 60 * 0.002 - 0.16
    wanted = [(1 - spirit / 2) * worth, spirit / 2 * worth, -worth / 2, -worth / 2]
    assert rewards(w) == pytest.approx(wanted)
    assert sum(w.reward) == 0


def test_health_mana_death_and_kill(hand_world):
    w = hand_world(team_spirit=0.0)  # rangers: 500 health, 240 mana
    red = w.half
    w.put(0, 2000, 4400)
    w.put(red, 2300, 4400)
    w.look()
    w.step({0: (s.ABILITY_1, w.row(0, red), 0)})  # 60 damage for 70 mana
    worth = (1 - 0.88) * 2 - (1 - 170 * 1000 // 240 / 1000) * 0.75
    assert rewards(w) == pytest.approx([worth, -worth])
    w.units[st.HEALTH, red] = 5
    w.step({0: (s.ATTACK, w.row(0, red), 0)})
    # The dead have neither health nor mana: the last hundredth of the one goes, and all of the other.
    worth = 1.0 + 0.010 * 2 + 0.75 - 0.6 + 200 * 0.006 + 150 * 0.002
    assert rewards(w) == pytest.approx([worth, -worth])


def test_a_tower_pays_two_thirds_as_it_is_worn_down_and_one_third_when_it_falls(hand_world):
    w = hand_world(team_spirit=0.0)
    tower = w.building(1, 0)
    w.put(0, 3900, 3400)
    w.look()
    w.units[st.STUN, tower] = 100
    w.units[st.DAMAGE, 0] = 650  # half of it
    w.step({0: (s.ATTACK, w.row(0, tower), 0)})
    assert rewards(w)[0] == pytest.approx(2.25 * 0.667 / 2, abs=1e-4)
    w.step(decisions=8)
    w.step()
    assert w.units[st.ALIVE, tower] == 0
    income = 0.006 * 120
    assert rewards(w)[0] == pytest.approx(2.25 * (0.667 / 2 + 0.333) + income, abs=1e-4)


def test_a_purchase_is_worth_a_little(hand_world):
    w = hand_world(team_spirit=0.0)
    w.heroes[st.GOLD, 0] = 400
    w.look()
    w.step({0: (s.BUY_BOOTS, 0, 0)})
    assert rewards(w) == pytest.approx([0.24, -0.24])


@pytest.mark.parametrize(("reward", "win"), [("shaped", 5.0), ("win", 1.0)])
def test_the_end_is_worth_the_score(hand_world, reward, win):
    w = hand_world(game_length=10.0, reward=reward)
    w.step(decisions=74)
    w.units[st.ALIVE, w.building(1, -1)] = 0
    w.units[st.HEALTH, w.building(1, -1)] = 0
    w.step()
    assert rewards(w) == [win, -win]


def test_win_only_pays_nothing_before_the_end(hand_world):
    w = hand_world(game_length=10.0, reward="win")
    w.put(0, 2000, 4400)
    w.heroes[st.GOLD, 0] = 400
    creep = w.creep(1, 0, 2300, 4400, health=1)
    w.look()
    w.step({0: (s.ATTACK, w.row(0, creep), 0)})
    assert w.heroes[st.LAST_HITS, 0] == 1
    assert rewards(w) == [0, 0]


def test_objectives_alone_pay_for_kills_deaths_and_buildings(hand_world):
    w = hand_world(game_length=600.0, reward="objectives", team_spirit=0.0)
    w.put(0, 2000, 4400)
    creep = w.creep(1, 0, 2300, 4400, health=1)
    w.look()
    w.step({0: (s.ATTACK, w.row(0, creep), 0)})
    assert w.heroes[st.LAST_HITS, 0] == 1
    assert rewards(w) == [0, 0]
    enemy = w.half
    w.put(enemy, 2300, 4400)
    w.units[st.HEALTH, enemy] = 1
    w.units[st.WAIT, 0] = 0
    w.look()
    w.step({0: (s.ATTACK, w.row(0, enemy), 0)})
    assert w.heroes[st.KILLS, 0] == 1
    assert rewards(w) == pytest.approx([1.0 + 0.6, -1.0 - 0.6])
    w.units[st.ALIVE, w.building(1, -1)] = 0
    w.units[st.HEALTH, w.building(1, -1)] = 0
    w.step()
    assert rewards(w) == [5.0, -5.0]


@pytest.mark.parametrize(
    ("spirit", "killer", "friend", "victim", "other"),
    [
        # The killer's 0.6 and a fifth of the victim's death; its friends have only the latter.
        (0.0, 0.6 + 0.2, 0.2, -1.0 - 0.12, -0.12),
        # 70 % of it one's own, 30 % the team's mean, a fifth of the sum.
        (0.3, 0.7 * 0.6 + 0.3 * 0.12 + 0.2, 0.3 * 0.12 + 0.2, -0.7 - 0.3 * 0.2 - 0.12, -0.3 * 0.2 - 0.12),
    ],
)
def test_a_kill_is_an_objective_that_its_killer_gains_by_in_a_team_too(
    hand_world, spirit, killer, friend, victim, other
):
    w = hand_world("5v5", reward="objectives", team_spirit=spirit)
    enemy = w.half
    w.put(0, 2000, 4400)
    w.put(enemy, 2300, 4400)
    w.units[st.HEALTH, enemy] = 1
    w.look()
    w.step({0: (s.ATTACK, w.row(0, enemy), 0)})
    assert rewards(w) == pytest.approx([killer] + [friend] * 4 + [victim] + [other] * 4)


def test_a_falling_tower_is_an_objective(hand_world):
    w = hand_world(reward="objectives", team_spirit=0.0)
    w.units[st.HEALTH, w.building(1, 0)] = w.units[st.HURT, w.building(1, 0)] = 1
    w.step()
    assert w.units[st.ALIVE, w.building(1, 0)] == 0
    assert rewards(w) == pytest.approx(
        [2.25 * 0.333, -2.25 * 0.333]
    )  # its last point of health rounds to nothing
