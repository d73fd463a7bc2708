"""ale-py's own vector environment and Stable-Baselines3's wrappers as oracles of our Atari rules."""

import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from envs.atari_game import AtariGame
from envs.protocol import PROTOCOLS, Protocol

PAPER_GAMES = ["alien", "beam_rider", "breakout", "pong", "qbert", "seaquest", "space_invaders"]
STEPS = 2000


class RecordingGame(AtariGame):
    """Writes down every executed action with what the emulator then showed."""

    def __init__(self, name: str, protocol: Protocol) -> None:
        self.events: list[tuple] = []
        super().__init__(name, protocol)

    def picture(self) -> np.ndarray:
        out = np.zeros((84, 84), np.uint8)
        self._screens.draw_whole(out, self._unpaired)
        return out

    def _hold(self, action):
        raw, life_lost, over = super()._hold(action)
        self.events.append(("hold", self.actions.index(action), raw, self._lives, over, self.picture()))
        return raw, life_lost, over

    def _begin(self) -> None:
        start = len(self.events)
        super()._begin()
        picture = None if len(self.events) > start else self.picture()  # fire has been pressed since
        self.events.insert(start, ("begin", picture))


@pytest.mark.parametrize("name", PAPER_GAMES)
def test_equals_ale_vector_env_under_the_same_executed_actions(name: str) -> None:
    protocol = Protocol(
        noop_max=0,
        sticky=0.0,
        fire_on_reset=True,
        life_ends_episode=True,
        clip_reward=True,
        full_action_set=False,
    )
    game = RecordingGame(name, protocol)
    game.reset(seed=3, index=0)
    rng = np.random.default_rng(1)
    ends = 0
    for _ in range(STEPS):
        outcome = game.step(int(rng.integers(len(game.actions))))
        ends += outcome.terminated
    oracle = AtariVectorEnv(
        name, 1, noop_max=0, use_fire_reset=False, reward_clipping=False, stack_num=1, num_threads=1
    )
    obs, info = oracle.reset(seed=0)
    begun = compared = 0
    for kind, *event in game.events:
        if kind == "begin":
            if begun:
                obs, _, _, _, info = oracle.step(np.array([0]))  # the step after an end resets
            begun += 1
            if event[0] is not None:
                np.testing.assert_array_equal(obs[0, -1], event[0])
            continue
        action, raw, lives, over, picture = event
        obs, reward, terminated, truncated, info = oracle.step(np.array([action]))
        assert reward[0] == raw
        assert bool(terminated[0]) == over
        assert not truncated[0]
        assert info["lives"][0] == lives
        np.testing.assert_array_equal(obs[0, -1], picture)
        compared += 1
    assert compared >= STEPS
    assert begun >= 2 or ends >= 2 or name == "pong"
    oracle.close()


@pytest.mark.parametrize("name", ["breakout", "qbert", "seaquest"])
def test_baselines_protocol_equals_the_published_wrappers(name: str) -> None:
    """Rewards, life ends and full-game scores as under NoopReset-MaxAndSkip-EpisodicLife-FireReset-ClipReward."""
    import ale_py
    from stable_baselines3.common import atari_wrappers
    from stable_baselines3.common.monitor import Monitor

    gymnasium.register_envs(ale_py)
    camel = "".join(part.capitalize() for part in name.split("_"))
    env = gymnasium.make(f"{camel}NoFrameskip-v4")
    env = Monitor(atari_wrappers.MaxAndSkipEnv(env, skip=4))
    env = atari_wrappers.ClipRewardEnv(atari_wrappers.FireResetEnv(atari_wrappers.EpisodicLifeEnv(env)))
    game = AtariGame(name, Protocol(0, 0.0, True, True, True, False))
    game.reset(seed=3, index=0)
    env.reset(seed=0)
    rng = np.random.default_rng(2)
    scores = []
    for _ in range(STEPS):
        action = int(rng.integers(len(game.actions)))
        outcome = game.step(action)
        _, reward, terminated, truncated, info = env.step(action)
        assert outcome.reward == reward
        assert outcome.terminated == terminated
        if "episode" in info:
            scores.append(info["episode"]["r"])
            assert outcome.score == scores[-1]
        if terminated or truncated:
            env.reset()
    assert len(scores) >= 2
    env.close()


def test_noops_are_one_to_thirty_and_fill_the_range() -> None:
    game = AtariGame("pong", PROTOCOLS["baselines"])
    drawn = []
    for i in range(250):
        game.reset(seed=5, index=i)
        drawn.append(game._frames - 4 * len(game._start_actions))
    assert set(drawn) == set(range(1, 31))


def test_machado_has_no_noops_no_fire_and_a_full_game_as_episode() -> None:
    game = AtariGame("breakout", PROTOCOLS["machado"])
    game.reset(seed=1, index=0)
    assert game._frames == 0
    rng = np.random.default_rng(0)
    outcomes = [game.step(int(rng.integers(4))) for _ in range(1500)]
    for outcome in outcomes:
        assert outcome.terminated == (not np.isnan(outcome.score))
    assert sum(outcome.terminated for outcome in outcomes) >= 2


def test_sticky_actions_repeat_a_quarter_of_the_frames() -> None:
    """Two actions in turn: a frame executes the old one where it was sticky, 1/4 of the time with σ = 0.0048."""

    class Counting(AtariGame):
        wanted = executed = repeated = frames = 0

        def _hold(self, action):
            emulator, game = self._ale, self

            class Watched:
                def act(self, executed):
                    game.frames += 1
                    game.repeated += executed != action
                    return emulator.act(executed)

                def __getattr__(self, name):
                    return getattr(emulator, name)

            self._ale = Watched()
            try:
                return super()._hold(action)
            finally:
                self._ale = emulator

    game = Counting("pong", PROTOCOLS["machado"])
    game.reset(seed=1, index=0)
    changes = 8000
    for i in range(changes):
        game.step(2 + i % 2)
    # After a change the first frame repeats with p, the second with p², …: p + p² + p³ + p⁴ of a decision's frames.
    p = 0.25
    expected = p + p**2 + p**3 + p**4
    assert game.repeated / changes == pytest.approx(expected, abs=4 * 0.75 / changes**0.5)


def test_certain_stickiness_ignores_the_player() -> None:

    def last_picture(sticky: float, action: int) -> bytes:
        game = AtariGame("pong", Protocol(0, sticky, False, False, True, False))
        game.reset(seed=1, index=0)
        for _ in range(60):
            game.step(action)
        return game.frame.tobytes()

    assert last_picture(0.999999, 2) == last_picture(0.999999, 3)
    assert last_picture(0.0, 2) != last_picture(0.0, 3)


def test_a_full_life_of_frames_truncates_without_terminating() -> None:
    game = AtariGame("pong", Protocol(0, 0.0, True, True, True, False, max_frames=400))
    game.reset(seed=1, index=0)
    outcomes = [game.step(0) for _ in range(200)]
    cut = [i for i, outcome in enumerate(outcomes) if outcome.truncated]
    assert cut[0] == 97  # 400 frames less the two start actions, four frames each: the 98th decision
    assert not any(outcome.terminated for outcome in outcomes)
    assert not np.isnan(outcomes[cut[0]].score)
    assert outcomes[cut[0]].length == 98
