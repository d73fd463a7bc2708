"""Networks and distributions: shapes, initialisation, sampling, masks, bad input."""

import gymnasium.spaces as spaces
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from agents.distributions import Categorical, Gaussian, Joint
from agents.networks import make_policy, pictures

PICTURES = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def test_nature_has_the_published_size_and_start() -> None:
    policy = make_policy("nature", PICTURES, spaces.Discrete(4), seed=1)
    assert sum(p.numel() for p in policy.torso.parameters()) == 1_684_128  # Mnih et al. 2015, without heads
    for layer in (policy.torso.conv1, policy.torso.conv2, policy.torso.conv3, policy.torso.dense):
        weight = layer.weight.flatten(1)
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(gram, 2 * torch.eye(len(gram)), atol=1e-4, rtol=0)
        assert not layer.bias.any()
    distribution, value = policy(torch.randint(0, 256, (3, 4, 84, 84), dtype=torch.uint8))
    assert value.shape == (3,)
    assert float(distribution.entropy().detach().min()) > 0.999 * np.log(
        4
    )  # the policy's head starts near uniform


@pytest.mark.parametrize("name", ["nature", "impala"])
def test_channels_last_changes_nothing_but_speed(name: str) -> None:
    policy = make_policy(name, PICTURES, spaces.Discrete(6), seed=1)
    obs = torch.randint(0, 256, (5, 4, 84, 84), dtype=torch.uint8)
    fast = policy(obs)[0].log_probs
    plain = make_policy(name, PICTURES, spaces.Discrete(6), seed=1).double()
    plain.to(memory_format=torch.contiguous_format)
    import agents.networks as networks

    original, networks.pictures = networks.pictures, lambda x: x.double() / 255
    try:
        slow = plain(obs)[0].log_probs
    finally:
        networks.pictures = original
    torch.testing.assert_close(fast.double(), slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_the_plain_conversion_to_the_bit_also_under_vmap(channels: int) -> None:
    obs = torch.randint(0, 256, (5, channels, 7, 9), dtype=torch.uint8)
    found = pictures(obs)
    assert torch.equal(found, obs.float() * (1 / 255))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.vmap(lambda one: pictures(one[None])[0])(obs), found)


def test_weights_come_from_the_seed_and_leave_the_global_state() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (make_policy("mlp", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(a.policy_tower[0].weight, c.policy_tower[0].weight)


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.MultiDiscrete([3, 4]), spaces.Box(-1, 1, (2,))])
def test_heads_fit_their_action_space(space) -> None:
    policy = make_policy("mlp", spaces.Box(-1, 1, (3,)), space)
    distribution, value = policy(torch.randn(7, 3))
    actions = distribution.sample(torch.Generator().manual_seed(0))
    assert actions.shape == (7, *(space.shape or ()))
    assert distribution.log_prob(actions).shape == distribution.entropy().shape == value.shape == (7,)
    assert distribution.mode().shape == actions.shape


def test_discrete_observations_and_the_tabular_network() -> None:
    policy = make_policy("tabular", spaces.Discrete(4), spaces.Discrete(3))
    assert {name: tuple(p.shape) for name, p in policy.named_parameters()} == {
        "logits.weight": (3, 4),
        "value.weight": (1, 4),
    }
    with torch.no_grad():
        policy.logits.weight.copy_(torch.arange(12.0).view(3, 4))
        policy.value.weight.copy_(torch.tensor([[5.0, 6.0, 7.0, 8.0]]))
    distribution, value = policy(torch.tensor([2, 0]))
    assert value.tolist() == [7.0, 5.0]
    torch.testing.assert_close(distribution.log_probs[0], torch.tensor([2.0, 6.0, 10.0]).log_softmax(0))


def test_categorical_samples_its_probabilities_and_repeats() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    distribution = Categorical(probabilities.log().expand(30_000, 3))
    drawn = distribution.sample(torch.Generator().manual_seed(1))
    assert torch.equal(drawn, distribution.sample(torch.Generator().manual_seed(1)))
    counts = torch.bincount(drawn, minlength=3).numpy()
    assert stats.chisquare(counts, 30_000 * probabilities.numpy()).pvalue > 1e-3


def test_categorical_mask_forbids_and_keeps_entropy_finite() -> None:
    mask = torch.tensor([[True, False, True]])
    distribution = Categorical(torch.zeros(1, 3, requires_grad=True), mask)
    assert float(distribution.entropy()) == pytest.approx(np.log(2))
    draws = {int(distribution.sample(torch.Generator().manual_seed(s))) for s in range(50)}
    assert draws == {0, 2}
    distribution.entropy().sum().backward()
    with pytest.raises(ValueError, match="forbids every action"):
        Categorical(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool)).sample()


def test_gaussian_equals_torchs() -> None:
    mean, log_std, actions = torch.randn(6, 3), torch.randn(3), torch.randn(6, 3)
    ours, theirs = Gaussian(mean, log_std), torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))


def test_joint_is_the_sum_of_its_parts() -> None:
    parts = [Categorical(torch.randn(5, n)) for n in (2, 3)]
    joint = Joint(parts)
    actions = joint.sample(torch.Generator().manual_seed(0))
    expected = sum(part.log_prob(actions[:, i]) for i, part in enumerate(parts))
    torch.testing.assert_close(joint.log_prob(actions), expected)


def test_a_blind_policy_sees_nothing_and_learns_which_actions_to_press() -> None:
    """Towards action 2 by its log-probability: only the heads' biases move, and everywhere alike."""
    policy = make_policy("blind", PICTURES, spaces.Discrete(4), seed=1)
    seen = torch.randint(0, 256, (5, *PICTURES.shape), dtype=torch.uint8)
    distribution, value = policy(seen)
    assert isinstance(distribution, Categorical)
    assert torch.equal(distribution.log_probs, torch.full((5, 4), 0.25).log())
    assert torch.equal(value, torch.zeros(5))
    (-distribution.log_prob(torch.full((5,), 2)).mean() + (value - 1).square().mean()).backward()
    grads = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None and p.grad.any()}
    assert set(grads) == {"action.linear.bias", "value.bias"}
    with torch.no_grad():
        policy.action.linear.bias[2] += 1
    after, _ = policy(seen)
    assert after.log_probs[0, 2] > after.log_probs[0, 1]
    assert torch.equal(after.log_probs, after.log_probs[:1].expand(5, 4))


def test_a_blind_policy_serves_every_space_of_actions() -> None:
    for actions in (spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))):
        distribution, _ = make_policy("blind", spaces.Discrete(3), actions)(torch.tensor([0, 2]))
        sample = distribution.sample(torch.Generator().manual_seed(0))
        assert sample.shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "space", "actions", "words"),
    [
        ("natur", PICTURES, spaces.Discrete(2), "unknown network"),
        ("nature", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), "pictures"),
        ("mlp", spaces.Box(-1, 1, (3,)), spaces.Tuple([spaces.Discrete(2)]), "action space"),
        ("tabular", spaces.Box(-1, 1, (3, 3)), spaces.Discrete(2), "tabular"),
    ],
)
def test_bad_networks_get_one_line(name, space, actions, words) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make_policy(name, space, actions)
    assert "\n" not in str(caught.value)


def test_joint_entropy_is_the_sum_of_its_parts() -> None:
    parts = [Categorical(torch.randn(5, k)) for k in (2, 3)]
    joint = Joint(parts)
    expected = sum(torch.distributions.Categorical(logits=p.log_probs).entropy() for p in parts)
    torch.testing.assert_close(joint.entropy(), expected)
    assert torch.equal(joint.mode(), torch.stack([p.log_probs.argmax(-1) for p in parts], -1))


def test_impala_written_out() -> None:
    """Espeholt et al. 2018: three sections of a convolution, a pool and two residual blocks; ReLU, dense, ReLU."""
    torso = make_policy("impala", PICTURES, spaces.Discrete(4)).torso
    obs = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    layers = [module for module in torso.modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 15
    left = iter(layers)

    def block(x: Tensor) -> Tensor:
        inner = next(left)(F.relu(x))
        return x + next(left)(F.relu(inner))

    x = obs.float() / 255
    for _ in range(3):
        x = F.max_pool2d(next(left)(x), 3, 2, 1)
        x = block(block(x))
    x = F.relu(torso.dense(F.relu(x).flatten(1)))
    torch.testing.assert_close(torso(obs), x, rtol=1e-3, atol=1e-4)


def test_mlp_starts_with_orthogonal_weights_of_its_gains() -> None:
    mlp = make_policy("mlp", spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    starts = ((mlp.policy_tower[0], 2), (mlp.value_tower[2], 2), (mlp.action.linear, 1e-4), (mlp.value, 1))
    for layer, square in starts:
        weight = layer.weight.detach()
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(gram, square * torch.eye(len(gram)), atol=1e-5, rtol=0)
