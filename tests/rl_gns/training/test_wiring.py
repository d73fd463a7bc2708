"""That what a config says reaches the update, and that what an update reports is what happened."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents import a2c, ppo
from agents.optimizers import RMSpropTF
from agents.ranks import ALONE
from agents.rollout import Batch
from rl_gns.training.collecting import why_not_finite
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.explained import RESIDUALS, RETURNS, explained, variances
from rl_gns.training.loop import Trainer, algorithm_settings
from rl_gns.training.tally import Tally


def cartpole(**settings: Any) -> Trainer:
    return Trainer(resolve(TrainConfig(env="gym:CartPole-v1", num_envs=4, **settings)))


@pytest.mark.parametrize(
    ("schedule", "shares"), [("linear", [0.75, 0.5, 0.25, 0.0]), ("constant", [1.0, 1.0, 1.0, 1.0])]
)
def test_the_rate_of_every_update_follows_the_schedule(schedule: str, shares: list[float]) -> None:
    trainer, found = cartpole(rollout=5, observations=80, schedule=schedule), []
    while not trainer.done:
        trainer.update()
        found.append(trainer.take_row()[0]["learning_rate"] / 7e-4)
    assert found == pytest.approx(shares)


@pytest.mark.parametrize(("algo", "module"), [("a2c", a2c), ("ppo", ppo)])
def test_settings_reach_the_algorithm_and_its_optimizer(algo: Any, module: ModuleType) -> None:
    assert algorithm_settings(resolve(TrainConfig(env="atari:pong", algo=algo))) == module.Settings()
    given: dict[str, Any] = {"learning_rate": 0.5, "gamma": 0.8, "gae_lambda": 0.7, "value_coef": 0.6}
    given |= {"entropy_coef": 0.4, "max_grad_norm": 0.3}
    config = TrainConfig(env="atari:pong", algo=algo, rmsprop_eps=0.2, rmsprop_decay=0.1, **given)
    settings = algorithm_settings(resolve(config))
    assert given.items() <= dataclasses.asdict(settings).items()
    optimizer = module.make_optimizer(nn.Linear(1, 1), settings)
    wanted = {"lr": 0.5, "eps": 0.2, "alpha": 0.1} if algo == "a2c" else {"lr": 0.5, "eps": 1e-5}
    assert wanted.items() <= optimizer.param_groups[0].items()


def test_where_rmsprop_begins_reaches_its_first_step() -> None:
    """By hand: m = 0.99 m₀ + 0.01 g², a step of g / √(m + 1e-5)."""
    for start in (1.0, 0.0, 0.25):
        config = resolve(TrainConfig(env="atari:pong", rmsprop_start=start, learning_rate=0.1))
        layer = nn.Linear(1, 1, bias=False)
        optimizer = a2c.make_optimizer(layer, algorithm_settings(config))  # type: ignore[arg-type]
        before = float(layer.weight)
        layer.weight.grad = torch.tensor([[0.5]])
        optimizer.step()
        step = 0.1 * 0.5 / (0.99 * start + 0.01 * 0.25 + 1e-5) ** 0.5
        assert before - float(layer.weight) == pytest.approx(step, rel=1e-4)


def test_rmsprop_is_whichever_is_asked_for() -> None:
    for name, kind in (("tensorflow", RMSpropTF), ("torch", torch.optim.RMSprop)):
        config = resolve(TrainConfig(env="atari:pong", rmsprop=name))  # type: ignore[arg-type]
        assert type(a2c.make_optimizer(nn.Linear(1, 1), algorithm_settings(config))) is kind  # type: ignore[arg-type]


@pytest.mark.parametrize(("algo", "budget"), [("a2c", 0.0), ("a2c", 1.0), ("ppo", 0.0)])
def test_an_update_uses_its_own_gradient_alone(algo: str, budget: float) -> None:
    """Whatever lies in .grad from before."""
    found = []
    for left in (None, 1e3):
        trainer = cartpole(algo=algo, rollout=8, noise_budget=budget)
        if left is not None:
            for p in trainer.policy.parameters():
                p.grad = torch.full_like(p, left)
        trainer.update()
        trainer.update()
        found.append(nn.utils.parameters_to_vector(trainer.policy.parameters()))
    assert torch.equal(*found)


@pytest.mark.parametrize("overlap", ["none", "learn"])
def test_games_are_stamped_with_the_observation_at_which_they_end(overlap: Any) -> None:
    trainer = cartpole(algo="ppo", rollout=64, minibatches=1, overlap=overlap, threads=1)
    wanted = []
    for _ in range(3):
        before = trainer.observations
        trainer.update()
        ended = trainer.rollout.terminated | trainer.rollout.truncated
        wanted += [(before + 4 * (t + 1), i) for t, i in ended.nonzero().tolist()]
    assert wanted
    assert [game[:2] for game in trainer.take_row()[1]] == wanted
    trainer.close()


@pytest.mark.parametrize(
    ("reward", "obs", "says"),
    [
        (math.nan, math.inf, "a reward of the environment is not finite"),
        (0.0, math.inf, "an observation of the environment is not finite"),
        (0.0, 0.0, "the loss is no longer finite; try a smaller learning_rate"),
    ],
)
def test_what_is_not_finite_is_named(reward: float, obs: float, says: str) -> None:
    rollout: Any = SimpleNamespace(reward=torch.tensor([0.0, reward]), obs=torch.tensor([[obs, 0.0]]))
    assert why_not_finite(rollout).startswith(says)


def test_explained_variance_a_rows_means_and_the_score_of_the_last_hundred_games() -> None:
    returns, value = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 2.5, 3.5]])
    nothing: Any = None
    batch = Batch(nothing, nothing, nothing, returns - value, returns, value)
    found = variances(batch, ALONE)
    expected = np.var([1, 2, 4], ddof=1), np.var([0, 0.5, -0.5], ddof=1)
    assert (found[RETURNS], found[RESIDUALS]) == pytest.approx(expected)
    assert explained({RETURNS: 2.0, RESIDUALS: 0.5}) == 0.75
    assert math.isnan(explained({}))
    assert math.isnan(explained({RETURNS: 1e-18, RESIDUALS: 1e-4}))
    tally = Tally(100.0)
    tally.add({"loss": 1.0})
    tally.add({"loss": 3.0})
    assert tally.take()[0] == {"loss": 2.0}
    tally.add({"loss": 5.0})
    assert tally.take()[0] == {"loss": 5.0}
    tally.add_games([(i, 0, float(i), 1.0) for i in range(150)])
    assert tally.score == pytest.approx(np.mean(range(50, 150)))


def test_explained_variance_is_that_of_all_updates_together() -> None:
    """A mean of ratios would be one rollout's, in which nothing but rounding varied."""
    config = TrainConfig(env="gym:CartPole-v1", num_envs=4, rollout=5, device="cpu")
    trainer, found = Trainer(resolve(config)), []
    for _ in range(6):
        trainer.update()
        assert trainer._learnt is not None
        found.append(variances(trainer._learnt, ALONE))
    expected = 1 - sum(one[RESIDUALS] for one in found) / sum(one[RETURNS] for one in found)
    row = trainer.take_row()[0]
    assert row["explained_variance"] == pytest.approx(expected)
    assert not {RETURNS, RESIDUALS} & set(row)
