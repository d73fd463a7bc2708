"""What an evaluation plays: each environment's first game, as trained, sampled unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

import rl_gns
from agents.distributions import Categorical
from rl_gns.training import evaluate as evaluating
from rl_gns.training import ladder
from rl_gns.training.config import TrainConfig, resolve


class Numbered(gymnasium.Env[np.ndarray, int]):
    """Its k-th game gives k at its end, after one to eight decisions."""

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
    games = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.games += 1
        self.steps, self.length = 0, int(self.np_random.integers(1, 9))
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = self.steps == self.length
        return np.zeros(2, np.float32), float(self.games) if over else 0.0, over, False, {}


@pytest.fixture
def numbered(tmp_path: Path) -> Iterator[rl_gns.Run]:
    gymnasium.register("Numbered-v0", Numbered)
    config = TrainConfig(env="gym:Numbered-v0", num_envs=2, observations=20, tensorboard=False)
    try:
        yield rl_gns.train(config, tmp_path / "run", quiet=True)
    finally:
        del gymnasium.registry["Numbered-v0"]


def test_each_environment_counts_its_first_game(numbered: rl_gns.Run) -> None:
    assert [game.score for game in evaluating.evaluate(numbered, 20)] == [1.0] * 20


def test_actions_are_sampled_unless_the_likeliest_is_asked_for(
    numbered: rl_gns.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    for name in ("sample", "mode"):
        real = getattr(Categorical, name)

        def noted(self: Categorical, *args: Any, name: str = name, real: Any = real) -> Any:
            called.append(name)
            return real(self, *args)

        monkeypatch.setattr(Categorical, name, noted)
    for asked, wanted in ((False, {"sample"}), (True, {"mode"})):
        called.clear()
        evaluating.evaluate(numbered, 2, deterministic=asked)
        assert set(called) == wanted


class Made(Exception):
    """Carries the options that a world was asked for with."""


def test_worlds_are_those_of_training_from_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"frame_skip": 3, "workers": 1}
    settings: dict[str, Any] = {
        "num_envs": 2,
        "observations": 20,
        "tensorboard": False,
        "env_options": options,
    }
    config = TrainConfig(env="atari:breakout", protocol="machado", start_spread=5, **settings)
    run = rl_gns.train(config, tmp_path / "run", quiet=True)

    def make(*args: Any, **options: Any) -> None:
        raise Made(options)

    monkeypatch.setattr(evaluating.envs, "make", make)
    with pytest.raises(Made) as made:
        evaluating.evaluate(run, 1)
    assert made.value.args[0] == {"protocol": "machado", "start_spread": 0, **options}
    rated = resolve(TrainConfig(env="moba:1v1", algo="ppo", opponents="laner", env_options={"lanes": 1}))
    with pytest.raises(Made) as made:
        ladder.climb(nn.Linear(1, 1), rated, 1)  # type: ignore[arg-type]
    assert made.value.args[0] == {"opponent": "none", "start_spread": 0, "lanes": 1}
