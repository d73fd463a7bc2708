"""Learning is real: both algorithms master CartPole."""

from pathlib import Path
from typing import Any

import pytest

import rl_gns
from rl_gns.training.evaluate import evaluate

SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {
        **{"num_envs": 8, "rollout": 32, "epochs": 10, "minibatches": 1, "clip": 0.2, "learning_rate": 1e-3},
        **{"gamma": 0.98, "gae_lambda": 0.8, "observations": 80_000},
    },
    "a2c": {
        **{"num_envs": 8, "rollout": 8, "learning_rate": 2e-3, "gamma": 0.98, "gae_lambda": 0.95},
        "observations": 250_000,
    },
}


def test_a2c_learns_within_60_000_observations(tmp_path: Path) -> None:
    """With torch's RMSProp, which does not wait for a thousand updates as the published form does."""
    settings = {**SETTINGS["a2c"], "observations": 60_000, "rmsprop": "torch", "entropy_coef": 0.0}
    config = rl_gns.TrainConfig(
        env="gym:CartPole-v1", algo="a2c", schedule="linear", tensorboard=False, threads=1, seed=1, **settings
    )
    games = evaluate(rl_gns.train(config, tmp_path / "run", quiet=True), episodes=20)
    assert sum(game.score for game in games) / 20 >= 195  # 461; 32 with the published form


@pytest.mark.parametrize("algo", ["ppo", pytest.param("a2c", marks=pytest.mark.slow)])
def test_cartpole_reaches_475(algo: Any, tmp_path: Path) -> None:
    config = rl_gns.TrainConfig(
        env="gym:CartPole-v1",
        algo=algo,
        schedule="linear",
        entropy_coef=0.0,
        tensorboard=False,
        threads=1,
        seed=1,
        **SETTINGS[algo],
    )
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    games = evaluate(run, episodes=20)
    assert len(games) == 20
    assert sum(game.score for game in games) / 20 >= 475
    assert run.metrics()["score"].iloc[0] < 100  # it could not do so from the start
