"""The batch of Atari games: snapshots, seeding, stacking, ends, bad input."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

import envs
from envs.atari_game import AtariGame, GameError, atari_games
from envs.batched import EnvError, Step
from envs.protocol import PROTOCOLS


def play(env: envs.BatchedEnv, actions: torch.Tensor) -> list[Step]:
    return [env.step(a) for a in actions]


def same(a: list[Step], b: list[Step]) -> bool:
    def equal(x: torch.Tensor | None, y: torch.Tensor | None, rows: torch.Tensor) -> bool:
        if x is None or y is None:
            return x is y
        return torch.equal(x[rows].float().nan_to_num(-1e9), y[rows].float().nan_to_num(-1e9))

    every = slice(None)
    return all(
        all(
            equal(
                getattr(p, name),
                getattr(q, name),
                (p.terminated | p.truncated) if name == "final_obs" else every,
            )
            for name in Step._fields
        )
        for p, q in zip(a, b, strict=True)
    )


def random_actions(env: envs.BatchedEnv, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, int(env.action_space.n), (steps, env.num_envs), generator=generator)


@pytest.mark.parametrize("protocol", ["baselines", "machado"])
@pytest.mark.parametrize("name", atari_games())
def test_snapshot_round_trip(name: str, protocol: str) -> None:
    game, other = (AtariGame(name, PROTOCOLS[protocol]) for _ in range(2))
    game.reset(seed=4, index=0)
    other.reset(seed=9, index=3)
    rng = np.random.default_rng(0)
    first, second = rng.integers(len(game.actions), size=(2, 60))
    for action in first[: rng.integers(61)]:
        game.step(int(action))
    other.restore(game.state())
    np.testing.assert_array_equal(game.frame, other.frame)
    for action in second:
        assert repr(game.step(int(action))) == repr(other.step(int(action)))  # repr: NaN equals NaN
        np.testing.assert_array_equal(game.frame, other.frame)


def test_there_are_over_a_hundred_single_player_games() -> None:
    games = atari_games()
    assert len(games) >= 100
    assert "combat" not in games  # two players only


@pytest.mark.parametrize("protocol", ["baselines", "machado"])
def test_batch_snapshot_over_ends_and_other_worker_counts(protocol: str) -> None:
    options = {"protocol": protocol, "start_spread": 20}
    with envs.make("atari:breakout", 5, seed=3, workers=2, **options) as env:
        env.reset()
        actions = random_actions(env, 500)
        play(env, actions[:200])
        state = env.state_dict()
        going_on = play(env, actions[200:])
        assert any(bool((~s.score.isnan()).any()) for s in going_on)
        env.load_state_dict(state)
        assert torch.equal(env.observation(), state["obs"])
        assert same(going_on, play(env, actions[200:]))
    with envs.make("atari:breakout", 5, seed=77, workers=3, **options) as other:
        other.load_state_dict(state)
        assert same(going_on, play(other, actions[200:]))


def test_environment_i_is_the_same_whatever_the_batch_or_workers() -> None:
    with (
        envs.make("atari:seaquest", 6, seed=5, workers=2, start_spread=30) as many,
        envs.make("atari:seaquest", 2, seed=5, workers=1, start_spread=30) as few,
        envs.make("atari:seaquest", 2, seed=5, workers=2, start_spread=30, first_env=4) as last,
    ):
        whole = many.reset().clone()
        assert torch.equal(whole[:2], few.reset())
        assert torch.equal(whole[4:], last.reset())
        actions = random_actions(many, 300)
        for a in actions:
            p, q = many.step(a), few.step(a[:2])
            assert torch.equal(p.obs[:2], q.obs)
            assert torch.equal(p.reward[:2], q.reward)
            assert torch.equal(p.terminated[:2], q.terminated)


def test_seeds_differ_and_repeat() -> None:
    with envs.make("atari:seaquest", 2, seed=1, start_spread=50) as env:
        first, again, other = env.reset(1).clone(), env.reset(1).clone(), env.reset(2).clone()
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first[0], first[1])  # the starts differ between environments


@pytest.mark.parametrize("name", ["beam_rider", "breakout", "seaquest"])
def test_a_reset_forgets_what_was_played(name: str) -> None:
    played, fresh = (AtariGame(name, PROTOCOLS["baselines"]) for _ in range(2))
    played.reset(seed=1, index=0)
    rng = np.random.default_rng(0)
    for action in rng.integers(len(played.actions), size=500):
        played.step(int(action))
    played.reset(seed=2, index=5)
    fresh.reset(seed=2, index=5)
    for action in rng.integers(len(played.actions), size=700):  # over the end of a game
        assert repr(played.step(int(action))) == repr(fresh.step(int(action)))
        np.testing.assert_array_equal(played.frame, fresh.frame)


def test_stack_is_the_last_four_frames_and_black_before_an_episode() -> None:
    with envs.make("atari:breakout", 3, seed=1) as env:
        obs = env.reset()
        assert not obs[:, :3].any()
        frames = [obs[:, -1].clone()]
        ended_once = False
        for a in random_actions(env, 250):
            step = env.step(a)
            ended = step.terminated | step.truncated
            assert torch.equal(step.obs[~ended, 2], frames[-1][~ended])
            assert not step.obs[ended, :3].any()
            if bool(ended.any()):
                ended_once = True
                assert step.final_obs is not None
                assert torch.equal(step.final_obs[ended, 2], frames[-1][ended])
            frames.append(step.obs[:, -1].clone())
        assert ended_once


def test_a_lost_life_ends_the_episode_but_not_the_score() -> None:
    with envs.make("atari:breakout", 4, seed=2) as env:
        env.reset()
        steps = play(env, random_actions(env, 800))
    terminated = torch.stack([s.terminated for s in steps])
    score = torch.stack([s.score for s in steps])
    reward = torch.stack([s.reward for s in steps])
    lives, games = int(terminated.sum()), int((~score.isnan()).sum())
    assert games >= 4
    assert lives > 3.5 * games  # Breakout has five lives
    assert bool(terminated[~score.isnan()].all())
    assert set(reward.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_raw_score_is_kept_beside_the_clipped_reward() -> None:
    with envs.make("atari:space_invaders", 4, seed=2) as env:
        env.reset()
        steps = play(env, random_actions(env, 700))
    score = torch.stack([s.score for s in steps])
    scores = score[~score.isnan()]
    assert len(scores) >= 2
    assert float(scores.max()) >= 50  # invaders are worth 5 to 30 points, the clipped reward only 1 each


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("atari:pogn", {}, "did you mean pong"),
        ("atary:pong", {}, "did you mean atari:pong"),
        ("pong", {}, "PREFIX:NAME"),
        ("atari:combat", {}, "no Atari game 'combat'"),
        ("atari:pong", {"protocol": "dopamine"}, "unknown protocol 'dopamine'"),
        ("atari:pong", {"stikcy": 0.2}, "no option 'stikcy'"),
        ("atari:pong", {"sticky": 1.5}, "sticky"),
        ("atari:pong", {"start_spread": -1}, "start_spread"),
        ("gym:CartPole-v7", {}, "CartPole"),
        ("gym:CartPol-v1", {}, "did you mean CartPole-v1"),
        ("gym:CartPole-v1", {"colour": 3}, "colour"),
    ],
)
def test_bad_names_and_options_get_one_line(spec: str, options: dict, words: str) -> None:
    with pytest.raises((EnvError, GameError), match=words) as caught:
        envs.make(spec, 2, **options)
    assert "\n" not in str(caught.value)


def test_bad_sizes_shapes_and_snapshots_get_one_line() -> None:
    with pytest.raises(EnvError, match="at least 1"):
        envs.make("atari:pong", 0)
    with envs.make("atari:pong", 2) as env, envs.make("atari:pong", 3) as other:
        env.reset()
        other.reset()
        with pytest.raises(EnvError, match="shape"):
            env.step(torch.zeros(3, dtype=torch.int64))
        with pytest.raises(EnvError, match="integer"):
            env.step(torch.zeros(2))
        with pytest.raises(EnvError, match="snapshot"):
            other.load_state_dict(env.state_dict())


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_impossible_action_is_reported_wherever_it_is_played_and_all_go_on(bad: int) -> None:
    with envs.make("atari:pong", 3, workers=2) as env:
        env.reset()
        actions = torch.zeros(3, dtype=torch.int64)
        actions[bad] = 99
        with pytest.raises(RuntimeError, match=rf"^environment {bad}: IndexError: [^\n]*$"):
            env.step(actions)
        state, good = env.state_dict(), random_actions(env, 50)
        expected = play(env, good)
        env.load_state_dict(state)  # no answer to the failed step was left to be taken for another's
        assert same(expected, play(env, good))


def test_games_are_the_same_whoever_plays_them() -> None:
    plays = []
    for workers, own_share in ((1, None), (2, None), (2, 0.0), (4, 0.7)):
        with envs.make("atari:breakout", 5, seed=8, workers=workers, own_share=own_share) as env:
            env.reset()
            plays.append(play(env, random_actions(env, 300)))
    assert any(bool((s.terminated | s.truncated).any()) for s in plays[0])
    for other in plays[1:]:
        assert same(plays[0], other)


@pytest.mark.parametrize(
    "own_share", [0.4, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 1.0))]
)
def test_halves_stepped_in_turns_equal_whole_steps(own_share: float) -> None:
    options = {"seed": 8, "workers": 3, "own_share": own_share}
    with envs.make("atari:breakout", 7, **options) as whole, envs.make("atari:breakout", 7, **options) as env:
        assert torch.equal(whole.reset(), env.reset())
        actions = random_actions(env, 400)
        expected = play(whole, actions)
        got: list[list[Step]] = [[], []]
        for t in range(len(actions) + 1):
            for half, rows in enumerate(env.halves):
                if t > 0:
                    got[half].append(env.step_end(half))
                if t < len(actions):
                    env.step_begin(half, actions[t, rows])
        for half, rows in enumerate(env.halves):
            wanted = [Step(*(None if x is None else x[rows] for x in step)) for step in expected]
            ends = [bool((step.terminated | step.truncated).any()) for step in wanted]
            assert any(ends)
            assert [step.final_obs is not None for step in got[half]] == ends
            wanted = [w if end else w._replace(final_obs=None) for w, end in zip(wanted, ends, strict=True)]
            assert same(wanted, got[half])
        assert torch.equal(env.observation(), whole.observation())
        assert same(play(env, actions[:50]), play(whole, actions[:50]))  # and back to whole steps


def test_steps_out_of_turn_get_one_line() -> None:
    with envs.make("atari:pong", 4, workers=2) as env:
        env.reset()
        first = torch.zeros(2, dtype=torch.int64)
        with pytest.raises(EnvError, match="not begun"):
            env.step_end(0)
        env.step_begin(0, first)
        for wrong in (
            lambda: env.step_begin(0, first),
            env.state_dict,
            lambda: env.step(torch.cat([first] * 2)),
        ):
            with pytest.raises(EnvError, match="finish it first"):
                wrong()
        env.step_begin(1, first)
        with pytest.raises(EnvError, match="not first"):
            env.step_end(1)
        env.step_end(0)
        env.step_end(1)
        env.state_dict()


def test_calls_out_of_turn_are_refused_and_change_nothing() -> None:
    noop = torch.zeros(2, dtype=torch.int64)
    with envs.make("atari:pong", 2, workers=1) as env, envs.make("atari:pong", 2, workers=1) as twin:
        for too_early in (env.observation, env.state_dict, lambda: env.step(noop)):
            with pytest.raises(EnvError, match="no games yet: call reset first"):
                too_early()
        env.reset()
        twin.reset()
        for _ in range(20):
            env.step_begin(0, torch.tensor([2]))
            with pytest.raises(EnvError, match="in a step already"):
                env.step_begin(0, torch.tensor([3]))
            with pytest.raises(EnvError, match="was begun: finish it first"):
                env.render(0)
            env.step_begin(1, torch.tensor([0]))
            env.step_end(0), env.step_end(1)
            twin.step(torch.tensor([2, 0]))
        assert torch.equal(env.observation(), twin.observation())
        with pytest.raises(RuntimeError, match="action -1 is not one of the 6"):
            env.step(torch.tensor([0, -1]))
    with pytest.raises(EnvError, match="closed"):
        env.render(0)


def test_render_is_the_emulators_own_picture() -> None:
    with envs.make("atari:pong", 2, workers=2) as env:
        env.reset()
        assert env.render(1).shape == (210, 160, 3)
        with pytest.raises(EnvError, match="no environment 2"):
            env.render(2)


class Ending(AtariGame):
    """Keeps the pictures of a step's decisions: the first is that of the action, others begin the next game."""

    def __init__(self, *args: Any) -> None:
        self.pictures: list[np.ndarray] = []
        super().__init__(*args)

    def _hold(self, action: int) -> Any:
        found, picture = super()._hold(action), np.zeros((84, 84), np.uint8)
        self._screens.draw_whole(picture, self._unpaired)
        self.pictures.append(picture)
        return found


def test_the_last_picture_of_a_game_is_its_own_and_not_the_next_ones() -> None:
    with envs.make("atari:breakout", 1, seed=3, workers=1, max_frames=400) as env:
        env.reset()
        twin = Ending("breakout", env.protocol)
        twin.reset(3, 0)
        ends = {"terminated": 0, "truncated": 0}
        rng = np.random.default_rng(0)
        for _ in range(400):
            action = int(rng.integers(4))
            twin.pictures.clear()
            outcome, step = twin.step(action), env.step(torch.tensor([action]))
            if outcome.terminated or outcome.truncated:
                ends["terminated"] += outcome.terminated
                ends["truncated"] += outcome.truncated
                assert step.final_obs is not None
                np.testing.assert_array_equal(step.final_obs[0, -1].numpy(), twin.pictures[0])
            np.testing.assert_array_equal(step.obs[0, -1].numpy(), twin.frame)
        assert min(ends.values()) >= 1, ends


def test_a_game_that_was_begun_to_spread_the_batch_is_not_scored() -> None:
    game = AtariGame("breakout", dataclasses.replace(PROTOCOLS["machado"], start_spread=60))
    game.reset(1, 1)
    rng = np.random.default_rng(0)
    ends = [
        outcome for outcome in (game.step(int(rng.integers(4))) for _ in range(1500)) if outcome.terminated
    ]
    assert math.isnan(ends[0].score)
    assert math.isnan(ends[0].length)
    assert len(ends) > 1
    assert not any(math.isnan(outcome.score) for outcome in ends[1:])
