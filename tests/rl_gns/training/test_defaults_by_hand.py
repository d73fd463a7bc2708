"""What a run does that is not told otherwise: the published settings, and how often it measures, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rl_gns
from rl_gns.training import part_costs
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.metrics import MetricsWriter, read_table


def test_atari_is_trained_with_the_published_settings() -> None:
    """Of the baselines' A2C (Mnih et al. 2016's form with TensorFlow's RMSProp) and of PPO (Schulman et al. 2017)."""
    shared = {
        "gamma": 0.99,
        "value_coef": 0.5,
        "entropy_coef": 0.01,
        "max_grad_norm": 0.5,
        "schedule": "constant",
    }
    a2c = {"num_envs": 16, "rollout": 5, "learning_rate": 7e-4, "gae_lambda": 1.0}
    rmsprop = {"rmsprop": "tensorflow", "rmsprop_decay": 0.99, "rmsprop_eps": 1e-5, "rmsprop_start": 1.0}
    ppo = {"num_envs": 8, "rollout": 128, "learning_rate": 2.5e-4, "gae_lambda": 0.95}
    passes = {"clip": 0.1, "epochs": 4, "minibatches": 4, "normalize_advantage": True}
    settings: list[tuple[Any, dict[str, Any]]] = [("a2c", a2c | rmsprop), ("ppo", ppo | passes)]
    for algo, own in settings:
        config = resolve(TrainConfig(env="atari:pong", algo=algo))
        assert {name: getattr(config, name) for name in shared | own} == shared | own


def test_how_often_ppo_measures_and_how_far_back_it_averages() -> None:
    """3 passes of 1 + 3 x 4, at 2 % of the run: 11.5, so every twelfth; sixteen measurements are then 196,608."""
    config = resolve(TrainConfig(env="atari:pong", algo="ppo"))
    assert (config.noise_cadence, config.halflife) == (12, 16 * 12 * 1024)
    assert resolve(TrainConfig(env="atari:pong", algo="ppo", epochs=1)).noise_cadence == 38  # 3/4 of 50
    assert resolve(TrainConfig(env="atari:pong")).halflife == 100_000
    assert resolve(TrainConfig(env="atari:pong", noise_halflife=500.0)).halflife == 500


@pytest.mark.parametrize(
    ("parts", "passes"),
    [
        ("policy", 1 + 2 + 0.75),
        ("policy,value", 1 + 2 * (2 + 0.75)),
        ("total,layers,optimizer", 1 + 2 + 0.75),
        ("epochs", 4 * (3 + 0.75)),
        ("hessian", 2 * (3 + 0.75) + 3 * (6 + 4 * 0.75)),
        ("hessian,fisher", 3 * (3 + 0.75) + 2 * 3 * (6 + 4 * 0.75)),
        ("line-search", 3 + 0.75 + 3 * 10 * (2 / 3 + 0.75 / 4)),
        ("normalized", 0.0),
    ],
)
def test_what_parts_cost_by_the_table_of_the_documentation(parts: str, passes: float) -> None:
    """In forward passes over 128 observations in 4 groups, whose 4 vectors are worth 4 x 24/128 = 0.75 of one."""
    names = part_costs.parse(parts, "ppo")
    assert part_costs.cost(names, 4, 4, 128) == pytest.approx(passes)
    assert part_costs.cadence(names, 4, 4, 128, 0.02) == math.ceil(passes / 13 / 0.02)


def test_a_run_says_the_speed_since_the_row_before_and_is_mirrored_once(tmp_path: Path) -> None:
    """It goes on from 1,500 observations, so that the rows beyond are written once more."""
    settings: dict[str, Any] = {"num_envs": 4, "threads": 1, "log_every": 100, "checkpoint_every": 500}
    config = TrainConfig(env="gym:CartPole-v1", observations=2000, **settings)
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    rows = run.metrics()
    gone, taken = np.diff(rows["observations"]), np.diff(rows["seconds"])
    assert 0.9 < np.median(rows["sps"].to_numpy()[1:] * taken / gone) < 3
    (run.path / "checkpoints" / "000000002000.ckpt").unlink()
    rl_gns.train(
        TrainConfig(checkpoint_every=700), run.path, resume=True, quiet=True, given=["checkpoint_every"]
    )
    board = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [scalar.step for scalar in board.Scalars("signal")] == rows["observations"].astype(int).tolist()
    assert run.metrics()["observations"].tolist() == rows["observations"].tolist()
    names = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert names == {"000000001500.ckpt", "000000002000.ckpt"}


def test_going_back_to_a_checkpoint_leaves_no_newer_row_in_any_table(tmp_path: Path) -> None:
    path, tables = tmp_path / "metrics.db", ("metrics", "timing", "episodes", "noise_parts", "ladder")
    writer = MetricsWriter(path)
    for update in (1, 2, 3):
        part = ("policy", {"noise_scale": 5.0})
        writer.write(update, {"observations": 10.0 * update}, {"sps": 1.0}, [(update, 0, 1.0, 2.0)], [part])
        writer.write_ladder(update, 10 * update, [("laner", 4.0, 1.0, 0.25, 0.0, 1.0, 0.0)])
    writer.drop_after(2)
    writer.close()
    for name in tables:
        assert read_table(path, name)["update"].tolist() == [1, 2], name
