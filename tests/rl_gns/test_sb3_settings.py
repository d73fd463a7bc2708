"""The callback's settings: its confidence, its default half-life, and the value's clip range of the coming train()."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rl_gns import sb3
from rl_gns.sb3 import NoiseScaleCallback

T, N = 6, 4


def model_of(**settings: Any) -> PPO:
    vector = make_vec_env("CartPole-v1", n_envs=N, seed=3)
    settings = {"n_steps": T, "batch_size": T * N // 2, "n_epochs": 1, "seed": 3, "device": "cpu", **settings}
    return PPO("MlpPolicy", vector, **settings)


def test_the_values_clip_range_is_that_of_the_coming_train() -> None:
    seen: list[float] = []

    def scheduled(progress: float) -> float:
        seen.append(progress)
        return 0.2

    model = model_of(clip_range_vf=scheduled)
    seen.clear()
    model.learn(4 * T * N, callback=NoiseScaleCallback(4))
    assert seen[0::2] == seen[1::2] == [0.75, 0.5, 0.25, 0.0]  # ours, then train's


def test_the_interval_is_of_the_confidence_asked_for() -> None:
    wide, narrow = NoiseScaleCallback(4, halflife=1e9), NoiseScaleCallback(4, halflife=1e9, confidence=0.5)
    model_of().learn(20 * T * N, callback=[wide, narrow])
    assert 0 < wide.read().low < narrow.read().low


def test_the_half_life_spans_sixteen_measurements_where_they_are_far_apart() -> None:
    noise = NoiseScaleCallback(4, every=1000)
    noise.init_callback(model_of())
    assert noise.state_dict()["meter"]["halflife"] == 16 * 1000 * T * N


@pytest.mark.parametrize("rows", [4096, 5])
def test_groups_that_leave_an_environment_over_are_refused(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the batch is taken in parts, whose equal sizes would leave it out without a word."""
    model = model_of()
    model.learn(T * N)
    monkeypatch.setattr(sb3, "ROWS_AT_ONCE", rows)
    with pytest.raises(ValueError, match="4 environments do not divide into 3 groups"):
        sb3.rollout_moments(model, 3)


def test_a_halflife_too_short_is_refused_when_going_on_too() -> None:
    """By the callback that goes on with fewer measurements, whether the half-life was given or the default."""
    first = NoiseScaleCallback(4, halflife=96)
    model_of().learn(T * N, callback=first)
    second = NoiseScaleCallback(4, halflife=96, every=2)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="48 observations, so give at least 144 to a new NoiseScaleCallback"):
        model_of().learn(1, callback=second)
    by_default, rare = NoiseScaleCallback(4), NoiseScaleCallback(4, every=2000)
    model_of().learn(T * N, callback=by_default)
    rare.load_state_dict(by_default.state_dict())
    with pytest.raises(ValueError, match="halflife 100000 is too short"):
        model_of().learn(1, callback=rare)


def test_the_state_is_plain_where_the_models_settings_are_numpys() -> None:
    noise = NoiseScaleCallback(4)
    model_of(n_steps=np.int64(T)).learn(T * N, callback=noise)
    assert json.loads(json.dumps(noise.state_dict()))["rollout"] == T
