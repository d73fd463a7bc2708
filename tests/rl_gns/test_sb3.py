"""The callback against a loop over groups with SB3's formulas by hand, and the gradient SB3 steps with."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rl_gns import sb3
from rl_gns.noise import Moments, moments
from rl_gns.sb3 import NoiseScaleCallback, rollout_moments

T, N = 6, 4


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Pair(gymnasium.Env):
    observation_space = spaces.Dict(
        {"a": spaces.Box(-1, 1, (3,), np.float32), "b": spaces.Box(-1, 1, (2,), np.float32)}
    )
    action_space = spaces.MultiDiscrete([3, 2])

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "a": self.np_random.uniform(-1, 1, 3).astype(np.float32),
            "b": self.np_random.uniform(-1, 1, 2).astype(np.float32),
        }

    def reset(self, *, seed: int | None = None, options: Any = None):
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action):
        return self._observation(), float(self.np_random.normal()), self.np_random.random() < 0.2, False, {}


class Features(BaseFeaturesExtractor):
    """Layers that draw random numbers or change state as they run in training mode."""

    def __init__(self, observation_space: spaces.Box, norm: type[nn.Module] = nn.Identity) -> None:
        super().__init__(observation_space, 16)
        self.norm = norm(16)
        linear = nn.utils.parametrizations.spectral_norm(nn.Linear(observation_space.shape[0], 16))
        self.layers = nn.Sequential(linear, nn.Tanh(), nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(x))


def model_of(algorithm: type, env: Any = "CartPole-v1", policy: str = "MlpPolicy", **settings: Any) -> Any:
    settings = {"n_steps": T, "seed": 3, "device": "cpu", **settings}
    if algorithm is PPO:
        settings = {"batch_size": T * N // 2, "n_epochs": 2, "clip_range": 0.2, **settings}
    return algorithm(policy, make_vec_env(env, n_envs=N, seed=3), **settings)


def by_hand(model: Any, groups: int, clip: float = 0.2) -> Moments:
    """One backward pass per group of environments, with the means of SB3's `train`."""
    buffer, policy = model.rollout_buffer, model.policy
    policy.set_training_mode(True)

    def tensor(data: Any) -> Any:
        if isinstance(data, dict):
            return {k: tensor(v) for k, v in data.items()}
        if buffer.generator_ready:  # [N * T, ...], an environment's rows together
            data = data.reshape(N, T, *data.shape[1:]).swapaxes(0, 1)
        return torch.as_tensor(data)

    names = ("observations", "actions", "log_probs", "values", "returns", "advantages")
    obs, actions, old_log_prob, old_values, returns, advantages = (tensor(getattr(buffer, n)) for n in names)
    old_log_prob, old_values, returns, advantages = (
        x.reshape(T, N) for x in (old_log_prob, old_values, returns, advantages)
    )
    if model.normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    grads = []
    for g in range(groups):
        e = range(g * N // groups, (g + 1) * N // groups)

        def rows(x: Any, e: range = e) -> Any:
            if isinstance(x, dict):
                return {k: rows(v) for k, v in x.items()}
            return torch.cat([x[:, i] for i in e])

        action = rows(actions)
        action = action.long().flatten() if isinstance(model.action_space, spaces.Discrete) else action
        value, log_prob, entropy = policy.evaluate_actions(rows(obs), action)
        value, a = value.flatten(), rows(advantages)
        if isinstance(model, PPO):
            ratio = torch.exp(log_prob - rows(old_log_prob))
            policy_loss = -torch.min(a * ratio, a * torch.clamp(ratio, 1 - clip, 1 + clip)).mean()
            if model.clip_range_vf is not None:
                c = model.clip_range_vf(1.0)
                value = rows(old_values) + torch.clamp(value - rows(old_values), -c, c)
        else:
            policy_loss = -(a * log_prob).mean()
        value_loss = nn.functional.mse_loss(rows(returns), value)
        entropy_loss = -torch.mean(-log_prob) if entropy is None else -torch.mean(entropy)
        loss = policy_loss + model.ent_coef * entropy_loss + model.vf_coef * value_loss
        parts = torch.autograd.grad(loss, list(policy.parameters()))
        grads.append(torch.cat([p.flatten() for p in parts]).double())
    policy.set_training_mode(False)
    mean = torch.stack(grads).mean(0)
    return moments([float(g @ g) for g in grads], float(mean @ mean)).regrouped(N // groups)


class ByHand(BaseCallback):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.found: list[Moments] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.found.append(by_hand(self.model, self.groups))


def close(found: Any, expected: Any) -> None:
    size = abs(expected.signal) + expected.noise
    assert found.signal == pytest.approx(expected.signal, rel=1e-4, abs=1e-5 * size)
    assert found.noise == pytest.approx(expected.noise, rel=1e-4, abs=1e-5 * size)


CASES = {
    "ppo": (PPO, {"ent_coef": 0.01}),
    "ppo, value clip, advantages as they are": (PPO, {"clip_range_vf": 0.05, "normalize_advantage": False}),
    "ppo, separate extractors": (PPO, {"policy_kwargs": {"share_features_extractor": False}}),
    "ppo, gaussian": (PPO, {"env": "Pendulum-v1", "ent_coef": 0.1}),
    "ppo, squashed, no entropy": (
        PPO,
        {"env": "Pendulum-v1", "use_sde": True, "ent_coef": 0.1, "policy_kwargs": {"squash_output": True}},
    ),
    "ppo, dict of observations": (PPO, {"env": Pair, "policy": "MultiInputPolicy"}),
    "a2c": (A2C, {"ent_coef": 0.01}),
    "a2c, normalised": (A2C, {"normalize_advantage": True}),
    "a2c, gaussian": (A2C, {"env": "Pendulum-v1"}),
}


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_equals_a_loop_over_groups_of_environments(case, groups):
    algorithm, settings = CASES[case]
    model = model_of(algorithm, **settings)
    measured, expected = NoiseScaleCallback(groups), ByHand(groups)
    model.learn(T * N, callback=CallbackList([measured, expected]))
    reading = measured.read()
    close(reading, expected.found[0])
    assert reading.noise > 0
    assert reading.observations == T * N
    # The policy has moved on from the one that acted, so that ratios and values are clipped.
    model.policy.load_state_dict({k: v + 0.05 for k, v in model.policy.state_dict().items()})
    close(rollout_moments(model, groups), by_hand(model, groups))


def test_clipping_reaches_the_loss():
    """Or the comparison above would not see it."""
    model = model_of(PPO, clip_range_vf=1e-3, clip_range=1e-3, ent_coef=0.0)
    model.learn(T * N)
    model.policy.load_state_dict({k: v + 0.05 for k, v in model.policy.state_dict().items()})
    tight = by_hand(model, 4, clip=1e-3)
    close(rollout_moments(model, 4), tight)
    assert by_hand(model, 4, clip=0.2).noise != pytest.approx(tight.noise, rel=0.1)
    model.clip_range_vf = None
    assert by_hand(model, 4, clip=1e-3).noise != pytest.approx(tight.noise, rel=0.1)


def test_the_clip_range_is_that_of_the_coming_train():
    seen: list[float] = []
    model = model_of(PPO, clip_range=lambda progress: seen.append(progress) or 0.2, n_epochs=1)
    seen.clear()
    model.learn(4 * T * N, callback=NoiseScaleCallback(4))
    assert seen[0::2] == seen[1::2] == [0.75, 0.5, 0.25, 0.0]  # ours, then train's


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_the_mean_gradient_is_the_one_sb3_steps_with(algorithm):
    settings = {"n_epochs": 1, "batch_size": T * N} if algorithm is PPO else {"normalize_advantage": True}
    model = model_of(algorithm, max_grad_norm=1e9, **settings)
    stepped: list[float] = []
    model.policy.optimizer.register_step_pre_hook(
        lambda *_: stepped.append(sum(float(p.grad.square().sum()) for p in model.policy.parameters()))
    )
    found: list[Moments] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            found.append(rollout_moments(self.model, 4))

    model.learn(3 * T * N, callback=Watch())
    assert [m.signal + m.noise / m.units for m in found] == pytest.approx(stepped, rel=1e-4)
    assert len(stepped) == 3


def test_parts_make_one_batch(monkeypatch):
    model = model_of(PPO)
    model.learn(T * N)
    whole = rollout_moments(model, 4)
    sizes: list[int] = []
    inner = sb3.losses
    monkeypatch.setattr(sb3, "losses", lambda m, s: sizes.append(len(s.actions)) or inner(m, s))
    monkeypatch.setattr(sb3, "ROWS_AT_ONCE", 5)
    close(rollout_moments(model, 4), whole)
    assert sizes == [12, 12]


def everything(model: Any) -> list[Any]:
    optimizer = model.policy.optimizer.state_dict()["state"]
    return [
        *(v.tolist() for v in model.policy.state_dict().values()),
        *(x.tolist() for row in optimizer.values() for x in row.values()),
        *(None if p.grad is None else p.grad.tolist() for p in model.policy.parameters()),
        torch.get_rng_state().tolist(),
        [np.asarray(x).tolist() for x in np.random.get_state()],  # noqa: NPY002
        random.getstate(),
        [m.training for m in model.policy.modules()],
    ]


@pytest.mark.parametrize("features", [None, Features])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_training_is_the_same_bit_for_bit(algorithm, features):
    kwargs = {} if features is None else {"features_extractor_class": features}

    def trained(callback: BaseCallback | None) -> list[Any]:
        model = model_of(algorithm, policy_kwargs=kwargs)
        return everything(model.learn(3 * T * N, callback=callback))

    measured = NoiseScaleCallback(2)
    assert trained(None) == trained(measured)
    assert len(measured.history) == 3
    if features is None:
        assert trained(None) != everything(model_of(algorithm).learn(4 * T * N))


@pytest.mark.parametrize("fails", [False, True])
def test_gradients_and_modes_are_put_back(monkeypatch, fails):
    model = model_of(PPO).learn(T * N)
    policy, inner, inside = model.policy, sb3.losses, []
    policy.eval()
    policy.value_net.train()
    grads = [p.grad for p in policy.parameters()]
    values = [g.clone() for g in grads]

    def losses(*args: Any) -> Tensor:
        inside.extend(m.training for m in policy.modules())
        return inner(*args).sum() if fails else inner(*args)

    monkeypatch.setattr(sb3, "losses", losses)
    if fails:
        with pytest.raises(RuntimeError):
            rollout_moments(model, 4)
    else:
        rollout_moments(model, 4)
    assert all(inside)
    assert [m for m in policy.modules() if m.training] == [policy.value_net]
    assert all(p.grad is g for p, g in zip(policy.parameters(), grads, strict=True))
    assert all(torch.equal(g, v) for g, v in zip(grads, values, strict=True))


class Capture(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values, key_excluded, step=0) -> None:
        self.rows.append({"step": step, **key_values})

    def close(self) -> None:
        pass


def test_logs_with_sb3s_own_logger_and_keeps_a_history():
    model, rows, noise = model_of(PPO, verbose=0), Capture(), NoiseScaleCallback(4, every=2)
    model.set_logger(Logger(None, [rows]))
    model.learn(24 * T * N, callback=noise)
    first, last = rows.rows[0], rows.rows[-1]
    assert len(rows.rows) == 24
    assert math.isnan(first["noise/scale"])
    assert first["noise/scale_low"] == 0
    assert first["noise/scale_high"] == math.inf
    assert first["noise/noise"] > 0
    reading = noise.read()
    assert last["noise/signal"] == reading.signal
    assert last["noise/scale_low"] == reading.low
    assert reading.value is None or last["noise/scale"] == reading.value == T * reading.noise / reading.signal
    assert [row["observations"] for row in noise.history] == [T * N * (1 + 2 * i) for i in range(12)]
    assert noise.history[-1]["signal"] == reading.signal
    assert reading.observations == 24 * T * N


def test_learning_on_goes_on():
    once, twice = NoiseScaleCallback(4), NoiseScaleCallback(4)
    model_of(PPO).learn(10 * T * N, callback=once)
    model = model_of(PPO).learn(6 * T * N, callback=twice)
    model.learn(4 * T * N, callback=twice, reset_num_timesteps=False)
    assert json.dumps(twice.history) == json.dumps(once.history)
    assert twice.read() == once.read()
    assert [row["observations"] for row in once.history] == [T * N * i for i in range(1, 11)]


def test_goes_on_with_a_saved_model(tmp_path):
    first = NoiseScaleCallback(4, every=3)
    model = model_of(PPO).learn(5 * T * N, callback=first)
    model.save(tmp_path / "model")
    state = json.loads(json.dumps(first.state_dict()))
    loaded = PPO.load(tmp_path / "model", env=make_vec_env("CartPole-v1", n_envs=N, seed=3))
    second = NoiseScaleCallback(4, every=3)
    second.load_state_dict(state)
    assert second.read() == first.read()
    loaded.learn(10 * T * N, callback=second, reset_num_timesteps=False)
    assert [row["observations"] for row in second.history] == [T * N * i for i in range(1, 16, 3)]
    assert json.dumps(second.history[:2]) == json.dumps(first.history)
    assert second.read().observations == 15 * T * N
    other = NoiseScaleCallback(4, halflife=7.0)
    refuse("halflife", lambda: other.load_state_dict(state))
    refuse("lacks history", lambda: other.load_state_dict({k: state[k] for k in state if k != "history"}))
    refuse(
        "rollouts of 6 steps, the model's have 8", lambda: model_of(PPO, n_steps=8).learn(1, callback=second)
    )
    other.load_state_dict(json.loads(json.dumps(NoiseScaleCallback().state_dict())))  # never used
    assert other.read().value is None


def test_every_rollout_counted_alike():
    plain, alike = NoiseScaleCallback(2, halflife=1e9), NoiseScaleCallback(2, halflife=1e9, normalized=True)
    model = model_of(A2C).learn(12 * T * N, callback=[plain, alike])
    assert len(alike.history) == 12
    first, shares = plain.history[0], alike.history[0]
    # Groups of N / 2 environments, so that a group's noise is 2 / N of one's.
    square = first["signal"] + first["noise"] * 2 / N
    assert shares["signal"] == pytest.approx(first["signal"] / square)
    assert shares["noise"] == pytest.approx(first["noise"] / square)
    last = alike.read()
    assert last.signal + last.noise * 2 / N == pytest.approx(1)
    assert last.signal / last.noise != pytest.approx(plain.read().signal / plain.read().noise, rel=1e-3)
    state = json.loads(json.dumps(alike.state_dict()))
    again = NoiseScaleCallback(2, halflife=1e9, normalized=True)
    again.load_state_dict(state)
    assert again.read() == last
    refuse(
        "saved state has normalized=True, this callback False",
        lambda: NoiseScaleCallback(2).load_state_dict(state),
    )
    old = {name: value for name, value in plain.state_dict().items() if name != "normalized"}
    NoiseScaleCallback(2, halflife=1e9).load_state_dict(old)  # of the version before
    assert model.num_timesteps == 12 * T * N


def refuse(match: str, action: Any) -> None:
    with pytest.raises(ValueError, match=match) as error:
        action()
    assert "\n" not in str(error.value)


def test_what_cannot_be_measured_is_refused_in_one_line():
    def learn(model: Any, **settings: Any) -> Any:
        return lambda: model.learn(1, callback=NoiseScaleCallback(**settings))

    refuse("4 environments do not divide into 8 groups: choose groups from 2, 4", learn(model_of(PPO)))
    refuse("one environment alone", learn(PPO("MlpPolicy", "CartPole-v1", device="cpu")))
    refuse("DQN learns from a replay buffer", learn(DQN("MlpPolicy", "CartPole-v1", device="cpu")))
    other = type("RecurrentPPO", (A2C,), {"train": lambda self: None})  # another loss
    refuse("not that of RecurrentPPO", learn(model_of(other), groups=2))
    features = {"features_extractor_class": Features, "features_extractor_kwargs": {"norm": nn.BatchNorm1d}}
    normed = model_of(PPO, policy_kwargs=features)
    refuse("replace the policy's 'features_extractor.norm' by LayerNorm", learn(normed, groups=2))
    assert normed.num_timesteps == 0
    for settings in ({"groups": 1}, {"groups": 2.0}, {"every": 0}, {"halflife": 0.0}, {"confidence": 1.0}):
        refuse("|".join(settings), lambda settings=settings: NoiseScaleCallback(**settings))


def test_a_nan_in_the_loss_is_named():
    model = model_of(PPO)
    model.learn(T * N)
    model.rollout_buffer.returns[:] = np.nan
    noise = NoiseScaleCallback(4)
    noise.init_callback(model)
    refuse("look for NaN in the loss", noise.on_rollout_end)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_atari_with_the_cnn_policy(algorithm):
    import ale_py

    gymnasium.register_envs(ale_py)

    def model() -> Any:
        settings = {"batch_size": 12, "n_epochs": 1} if algorithm is PPO else {}
        env = make_atari_env("BreakoutNoFrameskip-v4", n_envs=N, seed=0)
        return algorithm("CnnPolicy", env, n_steps=T, seed=0, device="cpu", **settings)

    measured, expected = NoiseScaleCallback(2), ByHand(2)
    with_it = model().learn(2 * T * N, callback=measured)
    model().learn(T * N, callback=expected)
    without = model().learn(2 * T * N)
    first = measured.history[0]
    close(Moments(first["signal"], first["noise"], N), expected.found[0])
    pairs = zip(with_it.policy.parameters(), without.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
