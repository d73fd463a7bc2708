"""A trainer whose policy stands still, and the exact moments it must measure."""

from collections.abc import Callable

import pytest
import torch

from envs.solvable import Bandit, Chain, Exact, Gaussian
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

GAMMA, VALUE, ENTROPY = 0.9, 0.5, 0.01


def make_still_trainer(
    world: str, num_envs: int, rollout: int, groups: int, algo: str = "a2c", **options: float
) -> Trainer:
    config = TrainConfig(
        env=f"solvable:{world}",
        algo=algo,  # type: ignore[arg-type]
        network="tabular",
        num_envs=num_envs,
        rollout=rollout,
        noise_groups=groups,
        learning_rate=1e-12,
        gamma=GAMMA,
        gae_lambda=1.0,
        value_coef=VALUE,
        entropy_coef=ENTROPY,
        noise_halflife=1e9,
        noise_budget=1.0,
        normalize_advantage=False,
        minibatches=1,
        epochs=1,
        env_options=dict(options),
        seed=3,
    )
    trainer = Trainer(resolve(config))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.policy.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return trainer


def exact_moments(trainer: Trainer, rollout: int) -> Exact:
    weights = {name: p.detach().double() for name, p in trainer.policy.named_parameters()}
    env, value = trainer.env, weights["value.weight"].squeeze(0)
    settings = {"rollout": rollout, "gamma": GAMMA, "value_coef": VALUE, "entropy_coef": ENTROPY}
    if isinstance(env, Gaussian):
        return env.exact(weights["mean.weight"], weights["log_std"], value, **settings)
    assert isinstance(env, Bandit | Chain)
    return env.exact(weights["logits.weight"].T.contiguous(), value, **settings)


@pytest.fixture
def still_trainer() -> Callable[..., Trainer]:
    """A trainer with a vanishing learning rate on a solvable world."""
    return make_still_trainer


@pytest.fixture
def truth() -> Callable[[Trainer, int], Exact]:
    """The exact moments of that trainer's gradient."""
    return exact_moments
