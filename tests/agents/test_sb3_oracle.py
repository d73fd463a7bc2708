"""Stable-Baselines3 as oracle: on one batch and the same weights, losses and gradients agree to 1e-5."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from agents import a2c, ppo
from agents.networks import make_policy
from agents.optimizers import RMSpropTF
from agents.rollout import Batch

PICTURES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
T, N = 5, 4


class Pictures(gymnasium.Env):
    """Random pictures, so that SB3 builds its CnnPolicy."""

    observation_space = PICTURES
    action_space = spaces.Discrete(6)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.picture(), {}

    def picture(self):
        return self.np_random.integers(0, 256, PICTURES.shape).astype(np.uint8)

    def step(self, action):
        return self.picture(), float(self.np_random.normal()), False, False, {}


def weights_to_sb3(ours: nn.Module, theirs: nn.Module) -> dict[str, str]:
    """Copy our weights into SB3's policy. Returns their parameter names by ours."""
    if hasattr(ours, "torso"):
        names = {
            "torso.conv1": "features_extractor.cnn.0",
            "torso.conv2": "features_extractor.cnn.2",
            "torso.conv3": "features_extractor.cnn.4",
            "torso.dense": "features_extractor.linear.0",
        }
    else:
        names = {
            "policy_tower.0": "mlp_extractor.policy_net.0",
            "policy_tower.2": "mlp_extractor.policy_net.2",
            "value_tower.0": "mlp_extractor.value_net.0",
            "value_tower.2": "mlp_extractor.value_net.2",
        }
    names |= {"action.linear": "action_net", "value": "value_net"}
    pairs = {f"{a}.{p}": f"{b}.{p}" for a, b in names.items() for p in ("weight", "bias")}
    if "action.log_std" in dict(ours.named_parameters()):
        pairs["action.log_std"] = "log_std"
    mine, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert set(pairs) == set(mine)
    assert set(pairs.values()) == set(other)
    with torch.no_grad():
        for a, b in pairs.items():
            mine[a].add_(0.01 * torch.randn_like(mine[a]))  # away from the symmetric start
            other[b].copy_(mine[a])
    return pairs


CASES = {
    "cnn": ("CnnPolicy", lambda: Pictures()),
    "mlp": ("MlpPolicy", lambda: gymnasium.make("CartPole-v1")),
    "gaussian": ("MlpPolicy", lambda: gymnasium.make("Pendulum-v1")),
}


def filled_model(algorithm: type, case: str, **options):
    """An SB3 model whose rollout buffer holds one real rollout under perturbed weights, and our policy."""
    kind, make = CASES[case]
    torch.manual_seed(0)
    model = algorithm(kind, make(), n_steps=T * N, seed=1, device="cpu", **options)
    ours = make_policy("auto", model.observation_space, model.action_space, seed=3)
    pairs = weights_to_sb3(ours, model.policy)
    _, callback = model._setup_learn(T * N)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=T * N)
    buffer = model.rollout_buffer
    with torch.no_grad():
        for name, parameter in ours.named_parameters():  # as after an epoch: the ratio is no longer 1
            shift = 0.02 * torch.randn_like(parameter)
            parameter.add_(shift)
            dict(model.policy.named_parameters())[pairs[name]].add_(shift)
    return model, ours, pairs, buffer


def our_batch(buffer, action_space) -> Batch:
    """SB3's one stream of T·N steps as our [T, N]: rows are exchangeable for a mean loss."""

    def fold(array: np.ndarray) -> torch.Tensor:
        flat = torch.from_numpy(np.array(array)).flatten(0, 1)
        return flat.view(N, T, *flat.shape[1:]).transpose(0, 1).contiguous()

    actions = fold(buffer.actions)
    if isinstance(action_space, spaces.Discrete):
        actions = actions.long().squeeze(-1)
    return Batch(
        fold(buffer.observations),
        actions,
        *(fold(getattr(buffer, n)) for n in ("log_probs", "advantages", "returns", "values")),
    )


class GradientTaken(Exception):
    """Stops SB3's train() at its optimizer step."""


def sb3_gradient(model) -> dict[str, torch.Tensor]:
    """The gradient of SB3's own first update, before clipping."""

    def stop(*args, **kwargs):
        raise GradientTaken

    model.policy.optimizer.step = stop
    model.max_grad_norm = float("inf")
    with pytest.raises(GradientTaken):
        model.train()
    return {name: p.grad.clone() for name, p in model.policy.named_parameters()}


def assert_same_gradient(ours: nn.Module, theirs: dict[str, torch.Tensor], pairs: dict[str, str]) -> None:
    for name, parameter in ours.named_parameters():
        reference = theirs[pairs[name]]
        scale = max(float(reference.norm()), 1e-8)
        assert float((parameter.grad - reference).norm()) / scale < 1e-5, name


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("normalize", [False, True])
def test_a2c(case: str, normalize: bool) -> None:
    model, ours, pairs, buffer = filled_model(
        sb3.A2C, case, ent_coef=0.01, vf_coef=0.5, normalize_advantage=normalize
    )
    batch = our_batch(buffer, model.action_space)
    if normalize:
        batch = dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
    theirs = sb3_gradient(model)
    a2c.loss(ours, batch).total(0.5, 0.01).mean().backward()
    assert_same_gradient(ours, theirs, pairs)


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("normalize", [False, True])
def test_ppo(case: str, normalize: bool) -> None:
    model, ours, pairs, buffer = filled_model(
        sb3.PPO,
        case,
        ent_coef=0.01,
        vf_coef=0.5,
        clip_range=0.1,
        normalize_advantage=normalize,
        batch_size=T * N,
        n_epochs=1,
    )
    batch = our_batch(buffer, model.action_space)
    if normalize:
        batch = dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
    theirs = sb3_gradient(model)
    parts = ppo.loss(ours, batch, clip=0.1)
    assert float((parts.ratio - 1).abs().max()) > 0.005  # the clip has something to do
    parts.total(0.5, 0.01).mean().backward()
    assert_same_gradient(ours, theirs, pairs)


def test_returns_equal_sb3s_buffer() -> None:
    """GAE with ends inside the rollout, against SB3's buffer filled from the same CartPole episodes."""
    from agents.returns import gae

    model, _, _, buffer = filled_model(sb3.PPO, "mlp", gamma=0.9, gae_lambda=0.8, batch_size=T * N)
    steps = T * N
    starts = torch.from_numpy(buffer.episode_starts).bool()  # [steps, 1]: a start at t is an end at t - 1
    final = torch.from_numpy(np.array(model._last_episode_starts)).bool().view(1, 1)
    ended = torch.cat([starts[1:], final])
    rewards, values = torch.from_numpy(buffer.rewards), torch.from_numpy(buffer.values)
    advantage = torch.from_numpy(buffer.advantages)
    last = (advantage[-1] - rewards[-1] + values[-1]) / 0.9
    no = torch.zeros(steps, 1, dtype=torch.bool)
    got = gae(rewards, values, last, ended, no, torch.zeros(steps, 1), 0.9, 0.8)
    torch.testing.assert_close(got, advantage, rtol=1e-5, atol=1e-5)
    assert bool(starts[1:].any())


@pytest.mark.parametrize("steps", [1, 30])
def test_rmsprop_equals_sb3s_tensorflow_like(steps: int) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(7, 3), nn.Linear(7, 3)
    theirs.load_state_dict(ours.state_dict())
    mine = RMSpropTF(ours.parameters(), lr=1e-2, alpha=0.99, eps=1e-5)
    other = RMSpropTFLike(theirs.parameters(), lr=1e-2, alpha=0.99, eps=1e-5)
    for _ in range(steps):
        x = torch.randn(5, 7)
        for net, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
