"""What worlds and adapters promise beyond the contract: cuts by seed, snapshots, refusals, agents, pictures."""

import itertools

import numpy as np
import pytest
import torch

import envs
from envs.batched import EnvError
from envs.moba import render
from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.pettingzoo_env import MobaParallelEnv

SHORT = {"game_length": 10.0, "threads": 1}  # 75 decisions


def still(env):
    return torch.zeros((env.num_streams, 3), dtype=torch.int64)


def ends(env):
    """[75] whether each world's first game was cut, decision by decision, while nobody does anything."""
    return torch.stack([env.step(still(env)).truncated.view(env.num_envs, -1)[:, 0] for _ in range(75)])


def test_cuts_of_first_games_are_those_of_the_seed_that_the_games_are_of():
    """Also of a seed that is given later, and of a snapshot's."""
    spread = {**SHORT, "start_spread": 75}
    wanted = ends(envs.make("moba:1v1", 12, seed=5, **spread))
    assert wanted.any(0).sum() > 8
    other = envs.make("moba:1v1", 12, seed=6, **spread)
    assert not torch.equal(ends(other), wanted)
    other.reset(5)
    assert torch.equal(ends(other), wanted)
    restored = envs.make("moba:1v1", 12, seed=6, **spread)
    restored.load_state_dict(envs.make("moba:1v1", 12, seed=5, **spread).state_dict())
    assert torch.equal(ends(restored), wanted)


OTHER = {
    "heroes": 2,
    "lanes": 3,
    "game_length": 11.0,
    "reward": "win",
    "team_spirit": 0.5,
    "hero_pool": "mage",
    "fog": False,
    "randomness": 0.5,
    "opponent": "idle",
    "start_spread": 7,
    "first_world": 1,
}


@pytest.mark.parametrize("option", OTHER)
def test_a_snapshot_of_another_option_is_refused(option):
    env = envs.make("moba:1v1", 1, **SHORT)
    assert {*vars(env.options)} == {*OTHER, "illegal", "threads"}  # these two may differ
    snapshot = envs.make("moba:1v1", 1, **{**SHORT, option: OTHER[option]}).state_dict()
    with pytest.raises(EnvError, match=f"this snapshot has {option} "):
        env.load_state_dict(snapshot)
    envs.make("moba:1v1", 1, game_length=10.0, threads=2, illegal="raise").load_state_dict(env.state_dict())


def test_where_masked_actions_are_refused_each_part_that_the_kind_uses_counts():
    """A hero at the map's left edge, with the enemy's outer tower to attack and nothing else."""
    env = envs.make("moba:1v1", 1, illegal="raise", randomness=0, **SHORT)
    env.state["units"][0, st.X, 0] = 0
    env.step(still(env))
    layout = env.layout
    tower = layout.first_row("enemy_buildings")
    for action, words in (
        ((s.ATTACK, 0, 0), "stream 0 forbid attack with target 0 and"),
        ((s.ATTACK, tower + 1, 0), f"stream 0 forbid attack with target {tower + 1} and"),
        ((s.MOVE, 0, 4), "stream 0 forbid move with .* direction 4;"),
        ((s.MOVE, 0, 3), "stream 0 forbid move with .* direction 3;"),
        ((s.ABILITY_1, tower, 0), "stream 0 forbid ability_1"),
    ):
        with pytest.raises(EnvError, match=words):
            env.step(torch.tensor([action, (0, 0, 0)]))
    # A part that the kind does not use may be anything.
    for action in ((s.ATTACK, tower, 4), (s.MOVE, 5, 0), (s.CONTINUE, 7, 4)):
        env.step(torch.tensor([action, (0, 0, 0)]))


def test_a_picture_of_an_end_goes_with_the_next_games_start():
    """However that comes about: by the next episode, a reset, a snapshot."""
    env = envs.make("moba:1v1", 1, seed=2, **SHORT)
    snapshot, first = env.state_dict(), env.render()
    env.next_episode()
    second = env.render()
    for begin, picture in (
        (env.next_episode, None),
        (lambda: env.reset(2), first),
        (lambda: env.load_state_dict(snapshot), first),
    ):
        env.reset(2)
        env.shows_ends = True
        for _ in range(75):
            env.step(still(env))
        end = env.render()
        env.shows_ends = False
        assert np.array_equal(env.render(), second)  # it has gone on to its second game
        env.shows_ends = True
        begin()
        assert not np.array_equal(env.render(), end)
        assert picture is None or np.array_equal(env.render(), picture)


def test_giving_up_some_games_leaves_the_others():
    env, twin = (envs.make("moba:1v1", 3, seed=4, **SHORT) for _ in range(2))
    for each in (env, twin):
        for _ in range(5):
            each.step(still(each))
    before = env.observation().clone()
    obs = env.next_episode(torch.tensor([1])).view(3, 2, -1)
    assert torch.equal(obs[[0, 2]], before.view(3, 2, -1)[[0, 2]])
    assert not torch.equal(obs[1], before.view(3, 2, -1)[1])
    assert env.state["game"][:, st.EPISODE].tolist() == [0, 1, 0]
    stepped, same = env.step(still(env)).obs.view(3, 2, -1), twin.step(still(twin)).obs.view(3, 2, -1)
    assert torch.equal(stepped[[0, 2]], same[[0, 2]])


def test_seeds_differ_in_all_their_64_bits():
    first = [envs.make("moba:1v1", 1, seed=seed, **SHORT).observation() for seed in (1, 1 + 2**32, 1 + 2**63)]
    assert not any(torch.equal(first[i], first[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


# --- PettingZoo -----------------------------------------------------------------------------------


def test_every_agent_has_its_own_observation_masks_reward_and_action():
    """A parallel world against the same world's batch of one, whose agents do different things."""
    parallel, batch = MobaParallelEnv("2v2", **SHORT), envs.make("moba:2v2", 1, **SHORT)
    agents = ["blue_0", "blue_1", "red_0", "red_1"]
    parallel.reset()
    for each in (parallel.env, batch):
        each.state["heroes"][0, st.GOLD] = torch.tensor([200, 410, 460, 1000])
    do = [(s.MOVE, 0, 1), (s.BUY_BOOTS, 0, 0), (s.BUY_VEST, 0, 0), (s.RECALL, 0, 0)]
    given = dict(zip(agents, map(np.array, do), strict=True))
    shown, rewards, *_ = parallel.step({agent: given[agent] for agent in reversed(agents)})
    step = batch.step(torch.tensor(do))
    assert len(set(step.reward.tolist())) > 2
    masks = set()
    for row, agent in enumerate(agents):
        assert rewards[agent] == float(step.reward[row])
        np.testing.assert_array_equal(shown[agent]["observation"], step.obs[row].numpy())
        for part, block in zip(shown[agent]["action_mask"], ("kind", "target", "direction"), strict=True):
            np.testing.assert_array_equal(part, batch.layout.rows(step.obs[row], block)[0].numpy())
        masks.add(shown[agent]["action_mask"][0].tobytes())
    assert len(masks) > 1


# --- pictures -------------------------------------------------------------------------------------


def picture(w):
    return render.picture(w.arrays, w.arrays["knobs"]).astype(int)


def test_a_picture_has_blue_at_the_bottom_left_and_red_at_the_top_right(hand_world):
    w = hand_world("2v2")
    w.put(0, 1000, 3200)
    w.put(w.half, 3200, 1000)
    w.creep(1, 0, 5000, 3200)
    shown = picture(w)
    for (x, y), colour in (
        ((1000, 1000), render.TEAM[0]),  # the ancients
        ((5400, 5400), render.TEAM[1]),
        ((700, 3900), render.TEAM[0]),  # the outer tower of the top lane
        ((5700, 2500), render.TEAM[1]),
        ((5000, 3200), render.TEAM[1]),
        ((1600, 3800), render.GRASS),
        ((500, 5900), render.WATER),
    ):
        column, row = round(x * 511 / 6400), round((6400 - y) * 511 / 6400)
        assert shown[row, column].tolist() == [*colour], (x, y)
    for (x, y), colour in (((1000, 3200), render.TEAM[0]), ((3200, 1000), render.TEAM[1])):
        column, row = round(x * 511 / 6400), round((6400 - y) * 511 / 6400)
        assert shown[row - 6, column].tolist() == [*colour], (x, y)  # above the letter


def test_the_score_board_lists_blues_heroes_then_reds_with_what_each_has(hand_world):
    """A number of one hero changes its own two lines alone, which lie in the order of heroes."""
    w = hand_world("2v2")
    before, lines = picture(w), []
    for hero, slot in enumerate((0, 1, w.half, w.half + 1)):
        w.units[st.HEALTH, slot] = 50
        changed = np.abs(picture(w) - before)[:, render.SIDE :].sum((1, 2)).nonzero()[0]
        w.units[st.HEALTH, slot] = 500
        lines.append((changed.min(), changed.max()))
        for field in (st.GOLD, st.KILLS, st.DEATHS, st.LAST_HITS, st.DENIES, st.MANA):
            was, w.heroes[field, hero] = w.heroes[field, hero], 88
            rows = np.abs(picture(w) - before)[:, render.SIDE :].sum((1, 2)).nonzero()[0]
            own = rows if field != st.KILLS else rows[rows >= lines[-1][0] - 10]  # kills are summed up above
            w.heroes[field, hero] = was
            assert lines[-1][0] - 16 < own.min(), field
            assert own.max() < lines[-1][1] + 20, field
    assert all(above[1] + 20 < below[0] for above, below in itertools.pairwise(lines))
