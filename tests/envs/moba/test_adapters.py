"""The worlds through Gymnasium and PettingZoo, judged by those libraries' own checkers."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.utils import parallel_to_aec

from envs.batched import EnvError
from envs.moba.gymnasium_env import MobaGymEnv, MobaVectorEnv
from envs.moba.pettingzoo_env import MobaParallelEnv

SHORT = {"game_length": 10.0, "threads": 1}


def test_gymnasiums_checker_finds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The checker wants a registered environment and bounds that are not the dtype's own: neither is a fault.
        warnings.filterwarnings("ignore", message=".*(not within|spec|infinity).*")
        check_env(MobaGymEnv(render_mode="rgb_array", game_length=10.0))


def test_the_vector_environment_is_gymnasiums_own_vector_of_single_ones():
    count, rng = 3, np.random.default_rng(0)
    ours = MobaVectorEnv("1v1", count, opponent="laner", **SHORT)
    theirs = SyncVectorEnv(
        [lambda i=i: MobaGymEnv(world=i, game_length=10.0) for i in range(count)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    assert ours.single_action_space == theirs.single_action_space
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_array_equal(ours.reset(seed=4)[0], theirs.reset(seed=[4] * count)[0])
    ends = 0
    for _ in range(160):
        actions = rng.integers(0, ours.single_action_space.nvec, (count, 3))
        (obs, reward, over, cut, info), other = ours.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(obs, other[0])
        np.testing.assert_array_equal(reward, other[1])
        np.testing.assert_array_equal(over, other[2])
        assert not cut.any()
        if over.any():
            ends += 1
            np.testing.assert_array_equal(info["_final_obs"], other[4]["_final_obs"])
            np.testing.assert_array_equal(info["_final_info"], other[4]["_final_info"])
            for name in ("score", "_score"):
                np.testing.assert_array_equal(info["final_info"][name], other[4]["final_info"][name])
            for mine, his in zip(info["final_obs"], other[4]["final_obs"], strict=True):
                np.testing.assert_array_equal(mine, his)
    assert ends == 2
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])


def test_gymnasiums_vector_wrappers_take_it():
    env = RecordEpisodeStatistics(MobaVectorEnv("1v1", 2, render_mode="rgb_array", **SHORT))
    env.reset(seed=0)
    for _ in range(75):
        info = env.step(env.action_space.sample())[4]
    assert info["episode"]["l"].tolist() == [75] * 4
    assert [picture.shape[2] for picture in env.render()] == [3, 3]
    env.close()


@pytest.mark.parametrize("name", ["1v1", "2v2"])
def test_pettingzoos_checkers_find_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(MobaParallelEnv(name, **SHORT), num_cycles=200)
        parallel_seed_test(lambda: MobaParallelEnv(name, **SHORT), num_cycles=200)


def test_pettingzoos_turns_take_it():
    env = parallel_to_aec(MobaParallelEnv("1v1", render_mode="rgb_array", **SHORT))
    env.reset(seed=1)
    for agent in env.agent_iter(40):
        obs = env.last()[0]
        env.step(env.action_space(agent).sample(obs["action_mask"]))
    assert env.render().dtype == np.uint8


def test_rewards_of_the_two_sides_cancel_and_all_end_together():
    env = MobaParallelEnv("2v2", **SHORT)
    env.reset(seed=3)
    while env.agents:
        obs = {agent: env.action_space(agent).sample() for agent in env.agents}
        _, rewards, ends, cuts, infos = env.step(obs)
        assert abs(sum(rewards.values())) < 1e-5
    assert set(ends.values()) == {True}
    assert set(cuts.values()) == {False}
    scores = {agent: info["score"] for agent, info in infos.items()}
    assert scores["blue_0"] == scores["blue_1"] == -scores["red_0"] == -scores["red_1"]


def test_a_game_that_is_cut_ends_for_the_adapters_too():
    options = {"game_length": 10.0, "start_spread": 75}
    vector = MobaVectorEnv("1v1", 4, **options)
    vector.reset()
    seen = np.zeros(vector.num_envs, bool)
    for _ in range(75):
        _, _, ended, cut, infos = vector.step(np.zeros((vector.num_envs, 3), np.int64))
        if (ended | cut).any():
            shown = [obs is not None for obs in infos["final_obs"]]
            assert shown == (ended | cut).tolist()
            assert (infos["_score"] == ended).all()
        seen |= cut
    assert seen.any()
    single = MobaGymEnv(**options)
    single.reset(seed=3)
    parallel = MobaParallelEnv("1v1", **options)
    parallel.reset(seed=3)
    ends = [single.step(np.zeros(3, np.int64))[2:4] for _ in range(75)]
    assert (False, True) in ends
    for _ in range(75):
        still = {agent: np.zeros(3, np.int64) for agent in parallel.agents}
        _, _, over, cut, _ = parallel.step(still)
        if not parallel.agents:
            break
    assert all(cut.values())
    assert not any(over.values())


def test_the_picture_after_the_last_step_is_how_the_game_ended():
    still, stand = np.zeros(3, np.int64), dict.fromkeys(("blue_0", "red_0"), np.zeros(3, np.int64))
    for make, action in ((MobaGymEnv, still), (MobaParallelEnv, stand)):
        short, long = (make(render_mode="rgb_array", game_length=length) for length in (10.0, 20.0))
        short.reset(seed=1)
        long.reset(seed=1)
        for _ in range(75):
            ended = short.step(action)[2]
            long.step(action)
        assert ended in (True, {"blue_0": True, "red_0": True})
        np.testing.assert_array_equal(short.render(), long.render())
        short.reset()
        long.reset()
        np.testing.assert_array_equal(short.render(), long.render())  # the next game's start


def test_no_end_is_kept_where_no_picture_is_wanted():
    env = MobaGymEnv(game_length=10.0)
    env.reset(seed=1)
    for _ in range(75):
        ended = env.step(np.zeros(3, np.int64))[2]
    assert ended
    assert env.env._ends == {}


def test_bad_input_is_one_clear_line():
    with pytest.raises(EnvError, match="one hero"):
        MobaGymEnv(opponent="none")
    with pytest.raises(EnvError, match="render_mode"):
        MobaGymEnv(render_mode="human")
    with pytest.raises(EnvError, match="both teams"):
        MobaParallelEnv("1v1", opponent="idle")
    env = MobaParallelEnv("1v1", **SHORT)
    env.reset()
    with pytest.raises(EnvError, match="no action for red_0"):
        env.step({"blue_0": np.zeros(3, np.int64)})
    with pytest.raises(EnvError, match=r"an action is 3 numbers, red_0's has the shape \[2\]"):
        env.step({"blue_0": np.zeros(3, np.int64), "red_0": np.zeros(2, np.int64)})
    with pytest.raises(EnvError, match="takes actions of int64, got float64"):
        env.step({agent: np.zeros(3) for agent in env.agents})
    with pytest.raises(EnvError, match=r"a seed is a whole number .*, got 'x'"):
        env.reset(seed="x")
    with pytest.raises(EnvError, match="num_envs is given: this is one world"):
        MobaGymEnv(num_envs=2)
    MobaGymEnv(**SHORT).close()
    vector = MobaVectorEnv("1v1", 2, **SHORT)
    with pytest.raises(EnvError, match="reset all at once and take no options"):
        vector.reset(options={"reset_mask": np.array([True, False, False, False])})
    with pytest.raises(EnvError, match=r"a seed is a whole number .*, got \[1, 2\]"):
        vector.reset(seed=[1, 2])
    with pytest.raises(EnvError, match="takes actions of int64, got <U1"):
        vector.step(np.full((4, 3), "a"))
    with pytest.raises(EnvError, match="takes actions of int64, got object"):
        MobaGymEnv().step(None)
    assert isinstance(MobaGymEnv(), gymnasium.Env)


def test_no_step_is_taken_before_a_game_or_after_it():
    env = MobaParallelEnv("1v1", **SHORT)
    with pytest.raises(EnvError, match="no game is under way: reset before the next step"):
        env.step({})
    env.reset()
    while env.agents:
        env.step({agent: np.zeros(3, np.int64) for agent in env.agents})
    with pytest.raises(EnvError, match="no game is under way: reset before the next step"):
        env.step({})
    env.reset()
    assert env.step({agent: np.zeros(3, np.int64) for agent in env.agents})[0]


def test_a_reset_begins_another_game_also_where_no_step_was_taken():
    single, team = MobaGymEnv(**SHORT), MobaParallelEnv("1v1", **SHORT)
    for env in (single, team):
        first = env.reset(seed=3)[0]
        second, third = env.reset()[0], env.reset()[0]
        again = env.reset(seed=3)[0]
        one = [x if env is single else x["blue_0"]["observation"] for x in (first, second, third, again)]
        np.testing.assert_array_equal(one[0], one[3])
        assert not np.array_equal(one[0], one[1])
        assert not np.array_equal(one[1], one[2])
