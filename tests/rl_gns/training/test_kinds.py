"""Settings of the wrong kind are refused by name, each in one line."""

import dataclasses

import pytest

from rl_gns.errors import UserError
from rl_gns.training import kinds
from rl_gns.training.config import TrainConfig, resolve


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("noise_budget", "0.1", "noise_budget must be a number, got '0.1'"),
        ("num_envs", 4.0, "num_envs must be a whole number, got 4.0"),
        ("seed", True, "seed must be a whole number, got True"),
        ("gamma", [0.9], "gamma must be a number, got [0.9]"),
        ("compile", 1, "compile must be true or false, got 1"),
        ("env", None, "env must be a text, got None"),
        ("env_options", "threads", "env_options must be a table, got 'threads'"),
        ("algo", "dqn", "algo must be one of a2c, ppo, got 'dqn'"),
        ("schedule", "liner", "schedule must be one of constant, linear, got 'liner'"),
        ("protocol", "paper", "protocol must be one of baselines, machado, got 'paper'"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(name, value, words):
    with pytest.raises(UserError) as caught:
        resolve(TrainConfig(**{name: value}))
    assert str(caught.value) == words


def test_every_default_is_of_its_kind():
    kinds.check(
        TrainConfig, {f.name: getattr(TrainConfig(), f.name) for f in dataclasses.fields(TrainConfig)}
    )
    kinds.check(TrainConfig, {"observations": 5, "num_envs": 3, "protocol": "machado"}, "train.")
