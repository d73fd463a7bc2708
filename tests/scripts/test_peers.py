"""What every contender does in a turn: the same epochs, minibatches, observations. Peers are fakes."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

PEERS = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "peers"
SIZE = {"num_envs": 2, "rollout": 8, "game": "space_invaders", "updates": 3}

Served = Callable[..., tuple[Callable[[], Any], dict[str, Any]]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Runs a contender's program with these arguments and modules: its turn, and its globals."""

    def run(
        program: str, modules: dict[str, Any], **arguments: Any
    ) -> tuple[Callable[[], Any], dict[str, Any]]:
        turns: list[Callable[[], Any]] = []
        line = SimpleNamespace(
            open_channel=lambda: None,
            serve=lambda channel, turn, **facts: turns.append(turn),
            say=None,
            wait=None,
        )
        for name, content in {"turns": line, **modules}.items():
            module = ModuleType(name)
            module.__dict__.update(vars(content))
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys, "argv", [program, json.dumps(arguments)])
        found = runpy.run_path(str(PEERS / program), run_name="__main__")
        return (turns[0] if turns else lambda: None), found

    return run


def test_ours_counts_what_it_learnt_from(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl_gns.training import loop

    made: list[Any] = []

    class Trainer:
        def __init__(self, config: Any) -> None:
            made.append(config)
            self.observations, self.seconds = 160, {"learn": 50.0}

        def update(self) -> None:
            self.observations += 16
            self.seconds["learn"] += 2.0

        def take_row(self) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(loop, "Trainer", Trainer)
    turn, _ = served("run_ours.py", {}, algo="ppo", options={"precision": "bf16"}, **SIZE)
    found = turn()
    assert (found["observations"], found["learn"]) == (3 * 16, 2.0)
    (config,) = made
    assert (config.env, config.algo, config.precision) == ("atari:space_invaders", "ppo", "bf16")
    assert (config.num_envs, config.rollout) == (2, 8)
    # What the peers are given by hand below.
    assert (config.epochs, config.minibatches, config.clip, config.gamma) == (4, 4, 0.1, 0.99)
    assert (config.gae_lambda, config.learning_rate, config.max_grad_norm) == (0.95, 2.5e-4, 0.5)
    assert (config.entropy_coef, config.value_coef) == (0.01, 0.5)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
@pytest.mark.parametrize("processes", [False, True])
def test_stable_baselines(algo: str, processes: bool, served: Served) -> None:
    asked: dict[str, Any] = {}

    class Model:
        def __init__(self, policy: str, env: Any, **settings: Any) -> None:
            asked.update(settings, policy=policy, env=env, learnt=[])
            self.num_timesteps = 0

        def learn(self, observations: int, **_: Any) -> None:
            asked["learnt"].append(observations)
            self.num_timesteps += observations

    def make(name: str, num_envs: int, **how: Any) -> Any:
        asked.update(how, name=name, num_envs=num_envs)
        return SimpleNamespace(close=lambda: None)

    def stacked(env: Any, frames: int) -> Any:
        asked["frames"] = frames
        return env

    vectors = SimpleNamespace(DummyVecEnv="one process", SubprocVecEnv="workers", VecFrameStack=stacked)
    modules = {
        "ale_py": SimpleNamespace(),
        "gymnasium": SimpleNamespace(register_envs=lambda _: None),
        "stable_baselines3": SimpleNamespace(A2C=Model, PPO=Model, __version__="2"),
        "stable_baselines3.common.env_util": SimpleNamespace(make_atari_env=make),
        "stable_baselines3.common.vec_env": vectors,
    }
    turn, _ = served("run_sb3.py", modules, algo=algo, processes=processes, **SIZE)
    assert (turn(), turn()) == (3 * 16, 3 * 16)
    assert asked["learnt"] == [3 * 16, 3 * 16]
    assert (asked["name"], asked["num_envs"], asked["frames"]) == ("SpaceInvadersNoFrameskip-v4", 2, 4)
    assert asked["vec_env_cls"] == ("workers" if processes else "one process")
    shared = {"policy": "CnnPolicy", "n_steps": 8, "ent_coef": 0.01, "vf_coef": 0.5, "device": "cpu"}
    own = {"n_epochs": 4, "batch_size": 4, "clip_range": 0.1} if algo == "ppo" else {}
    rate = {"learning_rate": 2.5e-4 if algo == "ppo" else 7e-4}
    wanted = {**shared, **own, **rate}
    assert {key: asked[key] for key in wanted} == wanted
    assert ("n_epochs" in asked) == (algo == "ppo")


@pytest.mark.parametrize(("algo", "learnt", "steps"), [("a2c", 16, 1), ("ppo", 4 * 16, 16)])
def test_envpools_loop_does_the_work_of_the_algorithm(
    algo: str, learnt: int, steps: int, served: Served
) -> None:
    """(T + 1) x N observations act, and are learnt from once, or in 4 epochs of 4 minibatches."""
    asked: dict[str, Any] = {}
    rng = np.random.default_rng(0)

    def look() -> np.ndarray:
        return rng.integers(0, 256, (2, 4, 84, 84), dtype=np.uint8)

    class Pool:
        action_space = spaces.Discrete(6)

        def reset(self) -> Any:
            return look(), {}

        def step(self, actions: np.ndarray) -> Any:
            over = rng.random((2, 2)) < 0.2
            return look(), rng.random(2, dtype=np.float32), over[0], over[1], {}

    def make(name: str, **options: Any) -> Pool:
        asked.update(options, name=name)
        return Pool()

    modules = {"envpool": SimpleNamespace(make=make, __version__="1")}
    turn, program = served("run_envpool.py", modules, algo=algo, **{**SIZE, "updates": 1})
    protocol = {"episodic_life": True, "reward_clip": True, "use_fire_reset": True, "noop_max": 30}
    assert asked == {
        **{"name": "SpaceInvaders-v5", "env_type": "gymnasium", "num_envs": 2, "seed": 1},
        **protocol,
    }
    rows: dict[bool, int] = {True: 0, False: 0}
    taken: list[int] = []

    def count(module: Any, inputs: Any, output: Any) -> None:
        rows[torch.is_grad_enabled()] += len(inputs[0])

    program["agent"].register_forward_hook(count)
    program["optimizer"].register_step_post_hook(lambda *_: taken.append(1))
    assert turn() == 16
    assert rows == {False: (8 + 1) * 2, True: learnt}
    assert len(taken) == steps


@pytest.mark.parametrize("whose", ["ours", "ale-py", "envpool"])
def test_emulation_counts_decisions(whose: str, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    import envs

    stepped: list[Any] = []
    space = spaces.Discrete(6)

    def make(name: str, num_envs: int, **_: Any) -> Any:
        stepped.append(name)
        return SimpleNamespace(
            action_space=space, single_action_space=space, step=stepped.append, reset=lambda **_: None
        )

    monkeypatch.setattr(envs, "make", make)
    modules = {
        "ale_py": SimpleNamespace(__version__="0"),
        "ale_py.vector_env": SimpleNamespace(AtariVectorEnv=make),
        "envpool": SimpleNamespace(
            make=lambda name, env_type, num_envs, seed: make(name, num_envs), __version__="1"
        ),
    }
    size = {"num_envs": 8, "game": "space_invaders", "steps": 50}
    turn, _ = served("run_emulation.py", {} if whose == "ours" else modules, whose=whose, **size)
    assert turn() == 50 * 8
    name, *actions = stepped
    assert name == {"ours": "atari:space_invaders", "ale-py": "space_invaders"}.get(whose, "SpaceInvaders-v5")
    assert len(actions) == 50
    assert all(len(row) == 8 for row in actions)
    assert {int(action) for row in actions for action in row} == set(range(6))


def test_sample_factory_is_given_the_same_batch_and_epochs(served: Served) -> None:
    asked: list[str] = []

    def parse(words: list[str]) -> Any:
        asked.extend(words)
        return None

    runner = SimpleNamespace(register_observer=lambda turns: None, init=lambda: None, run=lambda: None)
    modules = {
        "ale_py": SimpleNamespace(),
        "psutil": SimpleNamespace(Process=lambda: SimpleNamespace(children=lambda recursive: [])),
        "sample_factory.algo.runners.runner": SimpleNamespace(AlgoObserver=object),
        "sample_factory.train": SimpleNamespace(make_runner=lambda cfg: (cfg, runner)),
        "sf_examples.atari.train_atari": SimpleNamespace(
            parse_atari_args=parse, register_atari_components=lambda: None
        ),
    }
    served("run_sample_factory.py", modules, **{**SIZE, "num_envs": 8}, workers=2, asynchronous=True)
    given = dict(word.removeprefix("--").split("=") for word in asked)
    # Four minibatches of an iteration and four epochs are its own Atari defaults.
    wanted = {
        "num_workers": "2",
        "num_envs_per_worker": "4",
        "rollout": "8",
        "batch_size": "16",
        "async_rl": "True",
    }
    assert {key: given[key] for key in wanted} == wanted
    assert (given["env"], given["device"]) == ("atari_spaceinvaders", "cpu")
