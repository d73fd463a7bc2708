"""What holds in every world at every moment: places, sums, masks, mirrors, fog."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st_

from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.compile import plain
from envs.moba.engine import CpuWorlds
from envs.moba.opponents import OPPONENTS
from envs.moba.options import parse

SCRIPTS = st_.sampled_from(["random", "laner", "bully"])
SEEDS = st_.integers(0, 2**32 - 1)


class Worlds:
    """A few worlds played by scripts."""

    def __init__(self, name, seed, side=0, count=2, **options):
        self.options = parse(name, {"threads": 1, **options})
        self.layout, self.count, self.heroes = self.options.layout, count, self.options.heroes
        self.knobs = np.array(st.knobs_of(self.options), np.int64)
        self.engine = CpuWorlds(self.options, count)
        self.state = {key: value.numpy() for key, value in self.engine.state.items()}
        self.obs = torch.zeros((count, 2 * self.heroes, self.layout.size), dtype=torch.int16)
        self.reward = torch.zeros((count, 2 * self.heroes), dtype=torch.int64)
        self.state["game"][:, st.SEED_LOW] = seed
        self.state["game"][:, st.WORLD] = np.arange(count)
        self.state["game"][:, st.SIDE] = side
        self.engine.start(torch.arange(count), self.obs)

    def actions(self, blue, red):
        out = torch.empty((self.count, 2 * self.heroes, 3), dtype=torch.int64)
        for team, name in enumerate((blue, red)):
            side = slice(team * self.heroes, (team + 1) * self.heroes)
            part = torch.empty((self.count * self.heroes, 3), dtype=torch.int64)
            obs = self.obs[:, side].reshape(-1, self.layout.size)
            self.engine.play(OPPONENTS.index(name), obs, part)
            out[:, side] = part.view(self.count, -1, 3)
        return out

    def step(self, actions):
        self.engine.step(actions, self.obs, self.reward)

    def over(self):
        return bool((self.state["game"][:, st.DONE] == 1).any())

    def play(self, decisions, blue="bully", red="laner"):
        for _ in range(decisions):
            if self.over():
                return self
            self.step(self.actions(blue, red))
        return self

    def view(self, world):
        """Memoryviews of one world's (units, heroes, game, knobs, rows, obs), on copies."""
        copies = [self.state[key][world].copy() for key in ("units", "heroes", "game")]
        copies += [self.knobs, self.state["rows"][world].copy(), self.obs[world].numpy().copy()]
        return [memoryview(array) for array in copies], copies


def check_numbers(w, before):
    units, heroes, game = (w.state[key] for key in ("units", "heroes", "game"))
    edge = s.MAP_SIZE * s.UNIT
    for field in (st.X, st.Y):
        assert (units[:, field] >= 0).all()
        assert (units[:, field] <= edge).all()
    assert ((units[:, st.HEALTH] > 0) == (units[:, st.ALIVE] == 1)).all()
    assert (units[:, st.HEALTH] <= units[:, st.MAX_HEALTH]).all()
    assert (heroes[:, st.MANA] >= 0).all()
    assert (heroes[:, st.MANA] <= heroes[:, st.MAX_MANA]).all()
    # Gold: what came in by the rules is what is there and what was spent.
    half, h = int(w.knobs[st.HALF]), w.heroes
    first, towers = h + int(w.knobs[st.CREEPS]), int(w.knobs[st.BUILDINGS]) - 1
    fallen = [(units[:, st.ALIVE, t * half + first : t * half + first + towers] == 0).sum(1) for t in (0, 1)]
    towers_of = np.stack([fallen[1]] * h + [fallen[0]] * h, 1)
    income = s.START_GOLD + game[:, [st.TICK]] // s.INCOME_PERIOD + s.TOWER_GOLD * towers_of
    income = income + s.CREEP_GOLD * heroes[:, st.LAST_HITS] + s.HERO_GOLD * heroes[:, st.KILLS]
    np.testing.assert_array_equal(heroes[:, st.GOLD] + heroes[:, st.SPENT], income)
    prices = (heroes[:, st.ITEMS : st.ITEMS + 3] * s.ITEM_PRICE[None, :, None]).sum(1)
    np.testing.assert_array_equal(heroes[:, st.SPENT], prices)
    assert (heroes[:, st.GOLD] >= 0).all()
    # Experience: levels follow from it, and no more of it comes than died on the other side.
    levels = (heroes[:, st.XP, :, None] >= s.XP_AT_LEVEL).sum(-1)
    np.testing.assert_array_equal(heroes[:, st.LEVEL], levels)
    if game[0, st.TICK] < s.FIRST_WAVE or (game[0, st.TICK] - s.FIRST_WAVE) % s.WAVE_PERIOD:
        died = (before["units"][:, st.ALIVE] == 1) & (units[:, st.ALIVE] == 0)
        worth = s.CREEP_XP[before["units"][:, st.KIND].clip(0, 1)]
        heroes_worth = s.HERO_XP + heroes[:, st.LEVEL] * s.HERO_XP_PER_LEVEL
        worth[:, :h], worth[:, half : half + h] = heroes_worth[:, :h], heroes_worth[:, h:]
        worth[:, first:half] = worth[:, half + first :] = 0
        gained = heroes[:, st.XP] - before["heroes"][:, st.XP]
        for team in (0, 1):
            enemy = slice((1 - team) * half, (2 - team) * half)
            most = (died * worth)[:, enemy].sum(1)
            assert (gained[:, team * h : (team + 1) * h].sum(1) <= most).all()
    # The dead stay where they fell.
    for team in (0, 1):
        own = slice(team * half, team * half + h)
        dead = (units[:, st.ALIVE, own] == 0) & (before["units"][:, st.ALIVE, own] == 0)
        for field in (st.X, st.Y, st.HEALTH):
            assert (units[:, field, own] == before["units"][:, field, own])[dead].all()
        assert (units[:, st.TARGET, own][dead] == -1).all()
    assert (w.reward.numpy().sum(1) == 0).all()


@settings(max_examples=12, deadline=None)
@given(st_.sampled_from(["1v1", "2v2", "5v5"]), SEEDS, SCRIPTS, SCRIPTS, st_.sampled_from([1, 3]))
def test_numbers_stay_within_the_rules(name, seed, blue, red, lanes):
    w = Worlds(name, seed, lanes=lanes)
    for _ in range(700):
        before = {key: value.copy() for key, value in w.state.items()}
        w.step(w.actions(blue, red))
        check_numbers(w, before)
        if w.over():
            break


@settings(max_examples=12, deadline=None)
@given(st_.sampled_from(["1v1", "3v3"]), SEEDS, SCRIPTS, SCRIPTS, st_.sampled_from([1, 3]))
def test_mirrored_worlds_with_mirrored_actions_stay_mirrored(name, seed, blue, red, lanes):
    w, m = Worlds(name, seed, 0, lanes=lanes), Worlds(name, seed, 1, lanes=lanes)
    h, half, edge = w.heroes, int(w.knobs[st.HALF]), s.MAP_SIZE * s.UNIT
    swap, swap_heroes = np.roll(np.arange(2 * half), half), np.roll(np.arange(2 * h), h)
    for decision in range(600):
        np.testing.assert_array_equal(w.obs, m.obs[:, swap_heroes])
        np.testing.assert_array_equal(w.state["heroes"], m.state["heroes"][:, :, swap_heroes])
        mirrored = m.state["units"][:, :, swap].copy()
        mirrored[:, [st.X, st.Y]] = edge - mirrored[:, [st.Y, st.X]]
        mirrored[:, [st.VX, st.VY]] = -mirrored[:, [st.VY, st.VX]]
        for field in (st.TARGET, st.HURT_BY, st.AGGRO):
            mirrored[:, field] = np.where(
                mirrored[:, field] < 0, -1, (mirrored[:, field] + half) % (2 * half)
            )
        # Places of creeps that have never lived are zeros on both sides.
        mirrored[np.broadcast_to(mirrored[:, [st.MAX_HEALTH]] == 0, mirrored.shape)] = 0
        units = np.where(w.state["units"][:, [st.MAX_HEALTH]] == 0, 0, w.state["units"])
        np.testing.assert_array_equal(units, mirrored, err_msg=f"decision {decision}")
        np.testing.assert_array_equal(w.state["game"][:, st.SCORE], -m.state["game"][:, st.SCORE])
        if w.over():
            break
        actions = w.actions(blue, red)
        w.step(actions)
        m.step(actions[:, swap_heroes])
        np.testing.assert_array_equal(w.reward, m.reward[:, swap_heroes])


@settings(max_examples=15, deadline=None)
@given(st_.sampled_from(["1v1", "5v5"]), SEEDS, st_.integers(1, 900), SCRIPTS)
def test_what_the_fog_hides_changes_no_observation(name, seed, decisions, red):
    w = Worlds(name, seed, count=1).play(decisions, "laner", red)
    rng, h, half = np.random.default_rng(seed), w.heroes, int(w.knobs[st.HALF])
    views, (units, heroes, _, _, _, obs) = w.view(0)
    shown = obs[:h].copy()
    mobile = np.arange(half, half + h + int(w.knobs[st.CREEPS]))
    hidden = mobile[units[st.SEEN, mobile] == 0]
    for field in (
        st.X,
        st.Y,
        st.HEALTH,
        st.MAX_HEALTH,
        st.DAMAGE,
        st.RANGE,
        st.PACE,
        st.WAIT,
        st.STUN,
        st.SLOW,
    ):
        units[field, hidden] = rng.integers(1, 3000, len(hidden))
    units[st.TARGET, hidden] = rng.integers(0, half, len(hidden))
    creeps = hidden[hidden >= half + h]
    units[st.ALIVE, creeps] = rng.integers(0, 2, len(creeps))
    unseen = [slot - half + h for slot in hidden if slot < half + h]
    for field in (st.LEVEL, st.MANA, st.MAX_MANA, st.SHIELD, st.ORDER):
        heroes[field, unseen] = rng.integers(1, 4, len(unseen))
    # Of every enemy, seen or not: what is nobody else's business.
    for field in (st.GOLD, st.XP, st.SPENT, st.COOLDOWN, st.ITEMS, st.ITEMS + 1, st.LAST_HITS, st.DENIES):
        heroes[field, h:] = rng.integers(0, 1000, h)
    heroes[st.XP, h:] = s.XP_AT_LEVEL[heroes[st.LEVEL, h:] - 1]  # kept lawful for the enemy's own rows
    plain().observe(*views)
    np.testing.assert_array_equal(obs[:h], shown)


@settings(max_examples=15, deadline=None)
@given(st_.sampled_from(["1v1", "3v3"]), SEEDS, st_.integers(0, 900))
def test_masks_and_effects_agree(name, seed, decisions):
    w = Worlds(name, seed, count=1).play(decisions, "random", "bully")
    rng, rules = np.random.default_rng(seed), plain()
    for hero in range(2 * w.heroes):
        for kind in range(s.KINDS):
            views, (units, heroes, _, _, rows, obs) = w.view(0)
            slot = rules.hero_slot(views[3], hero)
            if heroes[st.ORDER, hero] != st.ORDER_RECALL:
                heroes[st.ORDER, hero], units[st.TARGET, slot] = st.NO_ORDER, -1
            was = units.copy(), heroes.copy()
            target, direction = (int(rng.integers(0, n)) for n in w.layout.action_sizes[1:])
            allowed = w.layout.rows(obs[hero], "kind")[0, kind] == 1
            actions = np.zeros((2 * w.heroes, 3), np.int64)
            actions[hero] = kind, target, direction
            rules.obey(views[0], views[1], views[3], views[4], memoryview(actions))
            changed = not (np.array_equal(was[0], units) and np.array_equal(was[1], heroes))
            assert changed == (allowed and kind != s.CONTINUE), s.KIND_NAMES[kind]
            if kind == s.ATTACK and allowed:
                exact = w.layout.rows(obs[hero], "kind_target")[0]
                taken = int(units[st.TARGET, slot])
                assert exact[list(rows[hero]).index(taken)] == 1
                assert not exact[target] or taken == rows[hero, target]


@settings(max_examples=15, deadline=None)
@given(st_.sampled_from(["1v1", "5v5"]), SEEDS, st_.integers(0, 900))
def test_no_part_of_a_mask_is_ever_empty_and_target_is_the_union(name, seed, decisions):
    w = Worlds(name, seed, count=1).play(decisions, "bully", "random")
    for obs in w.obs[0].numpy():
        kind, target, direction, exact = (
            w.layout.rows(obs, b) for b in ("kind", "target", "direction", "kind_target")
        )
        assert kind.any()
        assert direction.any()
        union = exact.any(0)
        np.testing.assert_array_equal(target[0], union if union.any() else np.eye(len(union))[0])
        np.testing.assert_array_equal(kind[0, s.ATTACK : s.ABILITY_3 + 1], exact.any(1))
