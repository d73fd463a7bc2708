"""Hand-worked scenarios: walking, the river, the map's edge, waves, sight; and what an observation shows of them."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st_

from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.chance import draw, mix, set_keys
from envs.moba.geometry import length, scaled

BLUE, RED = 0, 1


@given(st_.integers(-110_000, 110_000), st_.integers(-110_000, 110_000))
def test_length_is_the_rounded_down_root(dx, dy):
    assert length(dx, dy) == math.isqrt(dx * dx + dy * dy)


@given(st_.integers(-(10**6), 10**6), st_.integers(0, 10**6), st_.integers(1, 10**6))
def test_scaling_rounds_towards_zero_so_that_mirrored_steps_mirror(value, numerator, denominator):
    assert scaled(-value, numerator, denominator) == -scaled(value, numerator, denominator)
    assert scaled(abs(value), numerator, denominator) == abs(value) * numerator // denominator


def test_the_hash_is_a_bijection_where_it_can_be_looked_at():
    inputs = np.random.default_rng(0).integers(0, 1 << 32, 20_000).tolist()
    assert len({mix(word) for word in inputs}) == len(set(inputs))
    flips = [bin(mix(word) ^ mix(word ^ 1 << bit)).count("1") for word in inputs[:300] for bit in range(32)]
    assert abs(np.mean(flips) - 16) < 0.2


def test_draws_are_even_and_differ_by_world_episode_tick_purpose_and_who():
    def drawn(**changes):
        game = [0] * st.GAME_FIELDS
        for field in ("SEED_LOW", "SEED_HIGH", "WORLD", "EPISODE", "TICK"):
            game[getattr(st, field)] = changes.get(field, 1)
        set_keys(game)
        at = (changes.get("purpose", 1), changes.get("team", 0), changes.get("who", 3))
        return draw(game, *at, 1 << 30)

    fields = ("SEED_LOW", "SEED_HIGH", "WORLD", "EPISODE", "TICK", "purpose", "team", "who")
    assert len({drawn()} | {drawn(**{field: 0}) for field in fields[:6]}) == 7
    assert len({drawn(who=who, team=team) for who in range(128) for team in (0, 1)}) == 256
    for field in fields[:5]:
        sample = np.array([drawn(**{field: i}) for i in range(4000)]) / (1 << 30)
        assert len(set(sample.tolist())) > 3995
        assert abs(sample.mean() - 0.5) < 0.02
        assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 0.05


def test_a_hero_walks_its_speed_and_wades_slower(hand_world):
    w = hand_world()  # a ranger: 300 units/s, 10 a tick
    w.put(0, 2000, 2000)
    w.step({BLUE: (s.MOVE, 0, 0)})
    assert w.at(0) == (2040, 2000)
    w.step()  # the order stands
    assert w.at(0) == (2080, 2000)
    w.put(0, 3200, 3200)
    w.step()
    assert w.at(0) == (3200 + 4 * 8.75, 3200)


def test_directions_are_in_the_frame_of_the_own_team(hand_world):
    w = hand_world()
    w.put(w.half, 4400, 4400)
    for direction, step in enumerate([(0, -40), (-28, -28), (-40, 0), (-28, 28), (0, 40)]):
        x, y = w.at(w.half)
        w.step({RED: (s.MOVE, 0, direction)})
        dx, dy = w.at(w.half)[0] - x, w.at(w.half)[1] - y
        assert abs(dx - step[0]) < 0.5
        assert abs(dy - step[1]) < 0.5


def test_the_edge_of_the_map_holds_and_masks(hand_world):
    w = hand_world()
    w.put(0, 39, 2000)
    w.look()
    assert w.mask(BLUE, "direction")[0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1]
    w.step({BLUE: (s.MOVE, 0, 4)})
    assert w.at(0) == (0, 2000)
    assert w.mask(BLUE, "direction")[0].tolist() == [1, 1, 1, 0, 0, 0, 1, 1]


def test_waves_come_on_time_in_every_lane_and_walk_them(hand_world):
    w = hand_world("2v2")
    creeps = list(range(2, 2 + 3 * s.CREEPS_PER_LANE))
    alive = lambda: [slot for slot in creeps if w.units[st.ALIVE, slot]]  # noqa: E731
    w.step(decisions=s.FIRST_WAVE // 4 - 1)
    assert not alive()
    w.step()
    assert [slot - 2 for slot in alive()] == [lane * 12 + i for lane in range(3) for i in range(4)]
    assert [w.units[st.KIND, slot] for slot in alive()] == [0, 0, 0, 1] * 3
    assert {w.at(slot) for slot in alive()} == {(1000, 1000)}
    w.step(decisions=8 * 30 // 4)
    x, y = w.at(2)
    assert x == y > 2000  # the middle lane
    x, y = w.at(2 + 12)
    assert y - x > 1500  # the top lane
    x, y = w.at(2 + 24)
    assert x - y > 1500  # the bottom lane


def test_a_creep_turns_at_the_river_towards_the_enemys_ancient(hand_world):
    w = hand_world("2v2")
    slot = 2 + s.CREEPS_PER_LANE  # top lane
    w.rules.spawn_creep(w.units, w.game, w.knobs, slot, 1, 0)
    for building in range(w.knobs[st.BUILDINGS] - 1):
        w.units[st.ALIVE, w.building(1, building)] = 0
    w.put(slot, 690, 5600)
    w.step(decisions=5)
    assert w.units[st.WAYPOINT, slot] == 1
    w.step(decisions=40)
    x, y = w.at(slot)
    assert x > 1500
    assert 5400 < y < 5700


def test_a_full_lane_takes_no_more_creeps(hand_world):
    w = hand_world()
    for number in range(10):
        w.creep(0, number, 1000, 1000)
    w.game[st.TICK] = s.FIRST_WAVE
    w.rules.spawn_waves(w.units, w.game, w.knobs)
    assert [w.units[st.ALIVE, 1 + number] for number in range(12)] == [1] * 12
    assert w.units[st.KIND, 11] == w.units[st.KIND, 12] == 0


def test_creeps_strike_the_nearest_enemy_and_keep_to_it(hand_world):
    w = hand_world()
    mine = w.creep(0, 0, 2000, 4400)
    near, far = w.creep(1, 0, 2100, 4400), w.creep(1, 1, 1880, 4400)
    w.look()
    w.step()
    assert w.units[st.TARGET, mine] == near
    assert w.units[st.HEALTH, near] == 420 - 20
    w.put(far, 1990, 4400)
    w.step()
    assert w.units[st.TARGET, mine] == near


# --- sight ----------------------------------------------------------------------------------------


def test_sight_ends_at_each_kinds_radius(hand_world):
    w = hand_world(fog=True)
    red = w.half
    for watcher, radius in (("hero", 1200), ("creep", 700), ("tower", 1000)):
        for gap, seen in ((0, 1), (1, 0)):
            w.restart()
            if watcher == "tower":
                w.put(red, 2500, 2500 + radius + gap)
            elif watcher == "creep":
                w.creep(0, 0, 1500, 4900)
                w.put(red, 1500, 4900 - radius - gap)
            else:
                w.put(0, 1500, 4900)
                w.put(red, 1500, 4900 - radius - gap)
            w.look()
            assert w.units[st.SEEN, red] == seen, watcher
            assert w.seen(BLUE, "enemies", 0, "visible") == seen


def test_the_dead_see_nothing_and_buildings_are_always_seen(hand_world):
    w = hand_world(fog=True)
    w.put(0, 1500, 4900)
    w.put(w.half, 1500, 4000)
    w.units[st.ALIVE, 0] = 0
    w.look()
    assert w.units[st.SEEN, w.half] == 0
    assert w.seen(BLUE, "enemies", 0, "alive") == 1
    assert [w.seen(BLUE, "enemy_buildings", row, "visible") for row in range(3)] == [1, 1, 1]


def test_without_fog_all_is_seen(hand_world):
    w = hand_world(fog=False)
    assert w.seen(BLUE, "enemies", 0, "visible") == w.seen(RED, "enemies", 0, "visible") == 1


# --- what is written ------------------------------------------------------------------------------


def test_an_observation_holds_the_numbers_of_the_world_in_the_own_frame(hand_world):
    w = hand_world()
    w.put(0, 2000, 3000)
    w.put(w.half, 2300, 3400)
    w.look()
    assert [w.seen(BLUE, "self", 0, f) for f in ("dx", "dy", "x", "y")] == [0, 0, 2000, 3000]
    assert [w.seen(BLUE, "enemies", 0, f) for f in ("dx", "dy", "x", "y")] == [300, 400, 2300, 3400]
    assert [w.seen(RED, "self", 0, f) for f in ("x", "y")] == [6400 - 3400, 6400 - 2300]
    assert [w.seen(RED, "enemies", 0, f) for f in ("dx", "dy")] == [400, 300]
    facts = {"health": 500, "max_mana": 240, "level": 1, "damage": 46, "range": 600, "speed": 300}
    for feature, value in {**facts, "is_ranger": 1, "is_mage": 0, "in_reach": 1, "reaches": 1}.items():
        assert w.seen(BLUE, "enemies", 0, feature) == value, feature
    assert w.seen(BLUE, "enemies", 0, "aims_at_me") == 0
    w.step({RED: (s.ATTACK, w.row(RED, 0), 0)})
    assert w.seen(BLUE, "enemies", 0, "aims_at_me") == 1
    assert w.seen(BLUE, "enemies", 0, "attack_wait") == 38 - 3
    assert [w.seen(RED, "global", 0, f"order_{n}") for n in ("nothing", "move", "attack")] == [0, 0, 1]
    assert w.seen(BLUE, "global", 0, "clock") == 1
    assert w.seen(BLUE, "global", 0, "next_wave") == s.FIRST_WAVE - 4


def test_the_nearest_creeps_are_listed_nearest_first(hand_world):
    w = hand_world()
    w.put(0, 2000, 4400)
    places = [500, 100, 300, 900, 200, 700, 600, 400, 800, 50, 1000, 150]
    slots = [w.creep(1, number, 2000 + dx, 4400) for number, dx in enumerate(places)]
    w.look()
    wanted = [slots[places.index(dx)] for dx in sorted(places)[:8]]
    first = w.layout.first_row("enemy_creeps")
    assert [w.rows[BLUE, first + row] for row in range(8)] == wanted
    assert [w.seen(BLUE, "enemy_creeps", row, "dx") for row in range(8)] == sorted(places)[:8]
    assert [w.seen(BLUE, "own_creeps", row, "visible") for row in range(8)] == [0] * 8
