"""Extractors that keep a state, draw numbers, hold unused weights or mix rows, under the callback."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rl_gns.sb3 import NoiseScaleCallback

T, N = 8, 4


class Assigned(BaseFeaturesExtractor):
    """A running mean by assignment: the buffer is another tensor after every pass."""

    mean: Tensor

    def __init__(self, space: Any) -> None:
        super().__init__(space, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("never", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class Shaken(BaseFeaturesExtractor):
    """An augmentation from NumPy's and Python's global streams."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x * float(1 + 0.1 * np.random.random() + 0.1 * random.random())  # noqa: NPY002


class Spare(BaseFeaturesExtractor):
    """A backbone with a head that nothing uses."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 6)
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def model_of(algorithm: Any, features: Any = None) -> Any:
    kwargs = {} if features is None else {"features_extractor_class": features}
    env = make_vec_env("CartPole-v1", N, seed=3)
    more = {"batch_size": T * N} if algorithm is PPO else {}
    return algorithm("MlpPolicy", env, n_steps=T, seed=3, device="cpu", policy_kwargs=kwargs, **more)


def weights(model: Any) -> list[Any]:
    return [v.tolist() for v in model.policy.state_dict().values()]


@pytest.mark.parametrize("features", [Assigned, Shaken, Spare])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_training_is_the_same_bit_for_bit(algorithm: Any, features: Any) -> None:
    def trained(callback: BaseCallback | None) -> list[Any]:
        random.seed(5)
        return weights(model_of(algorithm, features).learn(4 * T * N, callback=callback))

    noise = NoiseScaleCallback(2)
    assert trained(None) == trained(noise)
    assert all(np.isfinite(row["noise"]) for row in noise.history)


def test_weights_that_nothing_uses_count_as_0() -> None:
    noise, bare = NoiseScaleCallback(4), NoiseScaleCallback(4)
    model_of(PPO, Spare).learn(T * N, callback=noise)

    class Without(Spare):
        def __init__(self, space: Any) -> None:
            super().__init__(space)
            self.head.requires_grad_(False)

    model_of(PPO, Without).learn(T * N, callback=bare)
    assert noise.read() == bare.read()


class Rows(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        pass


def test_both_kinds_are_logged_side_by_side_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = model_of(PPO), Rows()
    model.set_logger(Logger(None, [rows]))
    callbacks = [
        NoiseScaleCallback(2, verbose=1),
        NoiseScaleCallback(2, normalized=True),
        NoiseScaleCallback(4, prefix="noise_of_four"),
    ]
    model.learn(2 * T * N, callback=callbacks)
    for callback, prefix in zip(callbacks, ("noise", "noise_normalized", "noise_of_four"), strict=True):
        assert rows.rows[-1][f"{prefix}/signal"] == callback.read().signal
    assert f"noise: {callbacks[0].read()} at {2 * T * N} timesteps" in capsys.readouterr().out


def test_a_halflife_that_can_give_no_reading_is_refused_before_the_first_step() -> None:
    model = model_of(PPO)
    with pytest.raises(ValueError, match="32 observations, so give at least 96"):
        model.learn(1, callback=NoiseScaleCallback(2, halflife=95))
    with pytest.raises(ValueError, match="at least 192"):
        model.learn(1, callback=NoiseScaleCallback(2, every=2, halflife=191))
    assert model.num_timesteps == 0
    noise = NoiseScaleCallback(np.int64(2), halflife=96)
    model.learn(12 * T * N, callback=noise)
    assert noise.read().value is not None or noise.read().low > 0


@pytest.mark.parametrize(
    "settings", [{"halflife": "1e5"}, {"groups": True}, {"groups": "4"}, {"every": 1.0}, {"every": None}]
)
def test_settings_of_another_kind_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} must be a .*number"):
        NoiseScaleCallback(**settings)
