"""`MobaEnv` under the contract of `BatchedEnv`, its snapshots, its scripts, and what it refuses."""

import io
import re

import numpy as np
import pytest
import torch

import envs
from envs.batched import EnvError
from envs.moba import memory, options
from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.env import MobaEnv
from envs.moba.opponents import OPPONENTS, Scripted

SHORT = 20.0  # seconds: 150 decisions


def run(env, decisions, script="random"):
    """Play all streams by a script; the steps."""
    policy = Scripted(script, env.layout)
    return [env.step(policy(env.observation())) for _ in range(decisions)]


def equal(a, b, rows=slice(None)):
    for x, y in zip(a, b, strict=True):
        for left, right in zip(x, y, strict=True):
            assert (left is None) == (right is None)
            if left is not None:
                torch.testing.assert_close(left[rows], right[rows], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["1v1", "3v3"])
def test_steps_fit_the_spaces_and_report_scores_where_games_end(name):
    env = envs.make(f"moba:{name}", 3, seed=1, game_length=SHORT)
    assert env.num_streams == 3 * env.agents_per_env == 6 * int(name[0])
    assert env.observation_space.contains(env.observation()[0].numpy())
    total = torch.zeros(env.num_streams)
    for number, step in enumerate(run(env, 310), 1):
        over = step.terminated
        assert step.obs.shape == (env.num_streams, env.layout.size)
        assert step.obs.dtype == torch.int16
        assert step.reward.dtype == step.score.dtype == step.length.dtype == torch.float32
        assert not step.truncated.any()
        assert bool(over.any()) == (number % 150 == 0) == (step.final_obs is not None)
        if over.any():
            assert over.all()
            assert (step.length == 150).all()
            sides = step.score.view(3, 2, -1)
            assert torch.equal(sides[:, 0], -sides[:, 1])
            clock = env.layout.blocks["global"].column("clock")
            assert (env.layout.rows(step.final_obs, "global")[:, 0, clock] == 150).all()
            assert (env.layout.rows(step.obs, "global")[:, 0, clock] == 0).all()
        else:
            assert step.score.isnan().all()
            assert step.length.isnan().all()
        total += step.reward
    assert total.view(3, -1).sum(1).abs().max() < 1e-3


def test_a_world_is_the_same_whatever_the_number_of_worlds_and_threads():
    few = envs.make("moba:1v1", 2, seed=7, game_length=SHORT, threads=1)
    many = envs.make("moba:1v1", 70, seed=7, game_length=SHORT, threads=4)
    equal(run(few, 200), run(many, 200), slice(0, 4))


def test_processes_can_share_the_worlds_of_a_seed():
    whole = envs.make("moba:1v1", 4, seed=7, game_length=SHORT)
    part = envs.make("moba:1v1", 2, seed=7, game_length=SHORT, first_world=2)
    for a, b in zip(run(whole, 160), run(part, 160), strict=True):
        assert torch.equal(a.obs[4:], b.obs)


def test_a_start_spread_cuts_first_games_at_times_of_their_own_and_no_later_game():
    env = envs.make("moba:1v1", 64, seed=3, game_length=SHORT, start_spread=150)
    twin = envs.make("moba:1v1", 64, seed=3, game_length=SHORT)
    clock = env.layout.blocks["global"].column("clock")
    steps, plain = run(env, 310), run(twin, 150)
    cut = torch.stack([step.truncated for step in steps]).view(310, 64, 2)
    over = torch.stack([step.terminated for step in steps]).view(310, 64, 2)
    assert torch.equal(cut[..., 0], cut[..., 1])
    assert (cut.sum(0) <= 1).all()
    assert (cut | over)[:150].any(0).all()
    ended = (cut | over)[:, :, 0].float().argmax(0) + 1  # [64] decisions of each first game
    assert 50 < ended.float().mean() < 100  # 75 expected, 5.4 its standard deviation
    assert ended.unique().numel() > 40
    for number, (step, same) in enumerate(zip(steps, plain, strict=False), 1):
        running = (number < ended).repeat_interleave(2)
        assert torch.equal(step.obs[running], same.obs[running])
        rows = step.truncated
        assert step.score[rows].isnan().all()
        assert step.length[rows].isnan().all()
        if rows.any():
            assert torch.equal(step.final_obs[rows], same.obs[rows])
            assert (env.layout.rows(step.obs[rows], "global")[:, 0, clock] == 0).all()
    for world, at in enumerate(ended.tolist()):  # the second game has its whole length
        assert over[at : at + 149, world].sum() == 0
        assert over[at + 149, world].all()


def test_cut_games_are_the_same_whatever_the_number_of_worlds_and_after_a_snapshot():
    spread = {"seed": 7, "game_length": SHORT, "start_spread": 150}
    few = envs.make("moba:1v1", 2, **spread, first_world=3)
    many = envs.make("moba:1v1", 6, **spread)
    run(few, 60)
    run(many, 60)
    restored = envs.make("moba:1v1", 6, **spread)
    restored.load_state_dict(many.state_dict())
    rest = run(many, 160)
    equal(rest, run(restored, 160))
    for a, b in zip(rest, run(few, 160), strict=True):
        assert torch.equal(a.truncated[6:10], b.truncated)
        assert torch.equal(a.obs[6:10], b.obs)


def test_worlds_seeds_and_episodes_differ():
    env = envs.make("moba:5v5", 8, seed=0, game_length=10.0)
    first = env.observation().clone()
    assert len({world.numpy().tobytes() for world in first.view(8, -1)}) == 8
    run(env, 75)
    assert not torch.equal(env.observation(), first)
    assert torch.equal(env.reset(), first)
    assert not torch.equal(env.reset(1), first)
    assert torch.equal(env.reset(0), first)


def test_a_restored_world_goes_on_the_same_also_from_a_file():
    env = envs.make("moba:2v2", 3, seed=2, game_length=SHORT)
    run(env, 100)
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    went_on = run(env, 120)
    file.seek(0)
    other = envs.make("moba:2v2", 3, seed=99, game_length=SHORT, threads=1)
    other.load_state_dict(torch.load(file, weights_only=False))
    equal(run(other, 120), went_on)
    assert torch.equal(other.reset(), env.reset())


def test_a_kept_observation_is_not_written_over():
    env = envs.make("moba:1v1", 2)
    before = env.observation()
    copy = before.clone()
    run(env, 3)
    assert torch.equal(before, copy)


def test_the_opponent_inside_is_the_script_outside():
    inside = envs.make("moba:2v2", 3, seed=5, opponent="laner", game_length=60.0)
    outside = envs.make("moba:2v2", 3, seed=5, game_length=60.0)
    assert inside.agents_per_env == 2
    blue, red = Scripted("bully", inside.layout), Scripted("laner", inside.layout)
    for _ in range(460):
        both = outside.observation().view(3, 4, -1)
        assert torch.equal(inside.observation().view(3, 2, -1), both[:, :2])
        actions = blue(inside.observation())
        theirs = red(both[:, 2:].reshape(6, -1))
        step = inside.step(actions)
        other = outside.step(torch.cat([actions.view(3, 2, 3), theirs.view(3, 2, 3)], 1).view(12, 3))
        assert torch.equal(step.reward.view(3, 2), other.reward.view(3, 4)[:, :2])


@pytest.mark.parametrize(("better", "worse"), [("random", "idle"), ("laner", "random"), ("bully", "laner")])
def test_each_script_beats_the_one_below(better, worse):
    env = envs.make("moba:1v1", 24, opponent=worse, seed=3)
    scores = []
    policy = Scripted(better, env.layout)
    while len(scores) < 24:
        step = env.step(policy(env.observation()))
        scores += step.score[~step.score.isnan()].tolist()
    assert np.mean(np.array(scores) > 0) > 0.65


def test_a_picture_shows_the_map_and_the_teams():
    env = envs.make("moba:5v5", 2, seed=1, opponent="laner")
    run(env, 150, "bully")
    one, two = env.render(0), env.render(1)
    assert one.dtype == np.uint8
    assert one.ndim == 3
    assert one.shape[2] == 3
    assert not np.array_equal(one, two)
    with pytest.raises(EnvError, match="worlds 0 to 1, got 2"):
        env.render(2)


def test_hero_pool_fog_and_randomness_do_what_they_say():
    env = envs.make("moba:5v5", 4, hero_pool="mage,cleric", fog=False)
    kinds = env.state["units"][:, st.KIND]
    assert set(kinds[:, :5].flatten().tolist()) == {3, 4}
    assert env.layout.rows(env.observation(), "enemies")[..., 0].all()
    still = envs.make("moba:1v1", 2, randomness=0, hero_pool=("mage",))
    run(still, 200, "laner")
    game = still.state["units"].clone()
    assert torch.equal(game[0], game[1])


def test_the_random_script_plays_heroes_that_stand_alike_apart():
    env = envs.make("moba:5v5", 1, randomness=0, hero_pool="mage")
    actions = Scripted("random", env.layout)(env.observation()).view(2, 5, 3)
    assert torch.equal(actions[0], actions[1])  # the same slots of two teams see the same
    assert len(actions[0].unique(dim=0)) > 2


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "count", "given", "message"),
    [
        ("moba:1v1", 0, {}, "needs at least one world, a whole number of them, got 0"),
        ("moba:1v1", -3, {}, "needs at least one world, a whole number of them, got -3"),
        ("moba:1v2", 1, {}, "unknown world 'moba:1v2'; there are moba:1v1, .*moba:5v5"),
        ("moba:6v6", 1, {}, "unknown world 'moba:6v6'"),
        ("mobo:1v1", 1, {}, "did you mean moba:1v1"),
        ("moba:1v1", 1, {"team_sprit": 1}, "no option 'team_sprit'.*did you mean team_spirit"),
        ("moba:1v1", 1, {"opponent": "bulli"}, "no 'bulli', only .*did you mean bully"),
        ("moba:1v1", 1, {"hero_pool": "mage,claric"}, "hero_pool: there is no 'claric'.*did you mean cleric"),
        ("moba:1v1", 1, {"hero_pool": ()}, "hero_pool is empty"),
        ("moba:1v1", 1, {"reward": "dense"}, "reward: there is no 'dense', only win, objectives, shaped"),
        ("moba:1v1", 1, {"hero_pool": "mage,cleric,mage"}, "hero_pool names mage twice"),
        ("moba:1v1", 1, {"hero_pool": list(s.HERO_NAMES) * 2}, "hero_pool names guardian twice"),
        ("moba:1v1", 1, {"hero_pool": None}, "hero_pool must be names of heroes, as 'mage,ranger', got None"),
        ("moba:1v1", 1, {"hero_pool": 5}, "hero_pool must be names of heroes, as 'mage,ranger', got 5"),
        ("moba:1v1", 1, {"lanes": 2}, "lanes must be 1 or 3, got 2"),
        ("moba:1v1", 1, {"lanes": 3.0}, "lanes must be 1 or 3, got 3.0"),
        ("moba:1v1", 1, {"lanes": True}, "lanes must be 1 or 3, got True"),
        ("moba:1v1", 2.0, {}, "needs at least one world, a whole number of them, got 2.0"),
        ("moba:1v1", True, {}, "needs at least one world, a whole number of them, got True"),
        (
            "moba:1v1",
            1,
            {"game_length": 20, "start_spread": 151},
            "at most a game's length, 150 decisions here, got",
        ),
        ("moba:1v1", 1, {"heroes": 6}, "heroes must be a whole number from 1 to 5, got 6"),
        ("moba:1v1", 1, {"game_length": 0}, "game_length must be a number from 10 to 3600, got 0"),
        ("moba:1v1", 1, {"team_spirit": 1.5}, "team_spirit must be a number from 0 to 1, got 1.5"),
        ("moba:1v1", 1, {"randomness": "high"}, "randomness must be a number from 0 to 1, got 'high'"),
        ("moba:1v1", 1, {"fog": "maybe"}, "fog must be true or false, got 'maybe'"),
        ("moba:1v1", 1, {"seed": -1}, r"a seed is a whole number from 0 to 2\^64 - 1, got -1"),
        ("moba:1v1", 1, {"seed": "x"}, r"a seed is a whole number from 0 to 2\^64 - 1, got 'x'"),
        ("moba:1v1", 1, {"seed": 1.5}, r"a seed is a whole number from 0 to 2\^64 - 1, got 1.5"),
        ("moba:1v1", 1, {"device": "meta"}, "lives on cpu or cuda, not on meta"),
        ("moba:1v1", 1, {"device": "gpu"}, "lives on cpu or cuda, not on 'gpu'"),
        ("moba:1v1", 1, {"device": 1.5}, "lives on cpu or cuda, not on 1.5"),
        ("moba:1v1", 10**9, {}, r"1000000000 worlds of moba:1v1 take .* GiB of memory, .*; \d+ worlds fit"),
    ],
)
def test_what_can_not_be_made_is_refused_in_one_line(spec, count, given, message):
    with pytest.raises(EnvError, match=message) as error:
        envs.make(spec, count, **given)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(EnvError, match="on a GPU needs"):
        envs.make("moba:1v1", 1, "cuda")


def test_the_number_of_worlds_said_to_fit_is_right():
    size = memory.bytes_per_world(options.parse("5v5", {}))
    with pytest.raises(EnvError) as error:
        memory.refuse_if_too_big("moba:5v5", 1000, size, free=50_000_000)
    fits = int(re.search(r"(\d+) worlds fit", str(error.value))[1])
    memory.refuse_if_too_big("moba:5v5", fits, size, free=50_000_000)
    with pytest.raises(EnvError):
        memory.refuse_if_too_big("moba:5v5", fits + 1, size, free=50_000_000)


@pytest.mark.parametrize("name", ["1v1", "5v5"])
def test_bytes_per_world_are_those_of_the_arrays(name):
    env = MobaEnv(name, 3)
    size = memory.bytes_per_world(env.options)
    assert size["state"] * 3 == sum(value.nbytes for value in env.state.values())
    assert size["observation"] * 3 == env.observation().nbytes


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(4, dtype=torch.int64), r"takes actions \[4, 3\], got \[4\]"),
        (torch.zeros((2, 3), dtype=torch.int64), r"takes actions \[4, 3\], got \[2, 3\]"),
        (torch.zeros((4, 3)), "takes actions of int64, got float32"),
        (torch.zeros((4, 3), dtype=torch.bool), "takes actions of int64, got bool"),
        (torch.zeros((4, 3), dtype=torch.complex128), "takes actions of int64, got complex128"),
        (np.zeros((4, 3)), "takes actions of int64, got float64"),
        (np.zeros((4, 3), object), "takes actions of int64, got object"),
        (np.zeros((2, 3), np.int64), r"takes actions \[4, 3\], got \[2, 3\]"),
        ([[0, 0, 0]] * 4, "takes actions as a tensor or array, got list"),
        (None, "takes actions as a tensor or array, got NoneType"),
        (torch.zeros((4, 3), dtype=torch.int64, device="meta"), "lives on cpu, these actions on meta"),
        (torch.tensor([[0, 0, 0]] * 3 + [[10, 0, 0]]), "stream 3 has 10 for its kind; it takes 0 to 9"),
        (torch.tensor([[0, 0, 0]] * 3 + [[0, 24, 0]]), "stream 3 has 24 for its target; it takes 0 to 23"),
        (torch.tensor([[0, 0, -1]] + [[0, 0, 0]] * 3), "stream 0 has -1 for its direction; it takes 0 to 7"),
    ],
)
def test_actions_that_are_none_are_refused_and_change_nothing(actions, message):
    env = envs.make("moba:1v1", 2)
    before = env.state_dict()
    with pytest.raises(EnvError, match=message):
        env.step(actions)
    assert all(torch.equal(env.state[key], before[key]) for key in env.state)


def test_numbers_and_actions_of_numpy_are_taken_as_they_are():
    env = envs.make("moba:1v1", np.int64(4), seed=np.int64(3))
    same = envs.make("moba:1v1", 4, seed=3)
    assert (env.num_envs, type(env.num_envs)) == (4, int)
    actions = Scripted("random", env.layout)(env.observation())
    for given in (actions.numpy(), actions.numpy().astype(np.int32), actions.numpy().astype(np.uint8)):
        assert torch.equal(env.step(given).obs, same.step(actions).obs)


def test_the_longest_start_spread_is_a_games_length_rounded_up():
    for length, spread in ((20.0, 150), (77, 578)):  # 577.5 decisions
        assert options.parse("1v1", {"game_length": length, "start_spread": spread}).start_spread == spread


def test_masked_actions_are_resolved_or_refused_as_asked():
    buy = torch.tensor([[s.BUY_BLADE, 0, 0]] * 2)  # with 200 gold
    lenient, strict = (envs.make("moba:1v1", 1, seed=1, illegal=rule) for rule in ("resolve", "raise"))
    went_on = envs.make("moba:1v1", 1, seed=1)
    assert torch.equal(lenient.step(buy).obs, went_on.step(torch.zeros_like(buy)).obs)
    with pytest.raises(EnvError, match="masks of stream 0 forbid buy_blade with target 0 and direction 0"):
        strict.step(buy)
    for action in ((s.ATTACK, 0, 0), (s.MOVE, 0, 99)):
        with pytest.raises(EnvError):
            strict.step(torch.tensor([action] * 2))
    run(strict, 400)  # the random script only does what is legal


@pytest.mark.parametrize(
    ("name", "count", "given", "message"),
    [
        ("1v1", 3, {}, "this snapshot has num_envs 2, this environment 3"),
        ("2v2", 2, {}, "this snapshot has spec 'moba:1v1', this environment 'moba:2v2'"),
        ("1v1", 2, {"team_spirit": 1.0}, "this snapshot has team_spirit 0.3, this environment 1.0"),
        ("1v1", 2, {"opponent": "idle"}, "this snapshot has opponent 'none', this environment 'idle'"),
    ],
)
def test_a_snapshot_of_other_settings_is_refused_and_changes_nothing(name, count, given, message):
    snapshot = envs.make("moba:1v1", 2).state_dict()
    env = envs.make(f"moba:{name}", count, seed=4, **given)
    before = env.state_dict()
    with pytest.raises(EnvError, match=message):
        env.load_state_dict(snapshot)
    assert all(torch.equal(env.state[key], before[key]) for key in env.state)


def test_a_snapshot_of_other_rules_is_refused_and_changes_nothing():
    env, other = envs.make("moba:1v1", 2), envs.make("moba:1v1", 2, seed=4)
    before = other.state_dict()
    unnumbered = env.state_dict()
    del unnumbered["rules"]  # as all were before rules 2
    for snapshot, rules in ((unnumbered, 1), ({**env.state_dict(), "rules": 99}, 99)):
        with pytest.raises(
            EnvError, match=f"under rules {rules}, here are rules {s.RULES}: .* start anew"
        ) as error:
            other.load_state_dict(snapshot)
        assert "\n" not in str(error.value)
        assert all(torch.equal(other.state[key], before[key]) for key in other.state)


def test_scripts_refuse_what_they_can_not_read():
    layout = envs.make("moba:1v1", 1).layout
    with pytest.raises(EnvError, match="no script 'pro', only idle, random, laner, bully"):
        Scripted("pro", layout)
    with pytest.raises(EnvError, match=r"takes int16 observations \[n, 492\], got float32 \[2, 5\]"):
        Scripted("laner", layout)(torch.zeros(2, 5))
    assert OPPONENTS == ("idle", "random", "laner", "bully")


def test_every_name_is_listed():
    from envs.registry import available

    assert [name for name in available() if name.startswith("moba:")] == [
        f"moba:{n}v{n}" for n in range(1, 6)
    ]
