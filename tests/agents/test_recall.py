"""Learning from remembered layer outputs against computing them again."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents import a2c
from agents.networks import make_policy
from agents.recall import Recall
from agents.rollout import Batch
from rl_gns.training.measuring import MeasuringBackward

T, N = 3, 4
PICTURES = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
ACTIONS = gymnasium.spaces.Discrete(6)


def batch(obs: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(1)
    actions = torch.randint(0, 6, (T, N), generator=generator)
    numbers = torch.randn(4, T, N, generator=generator)
    return Batch(obs, actions, *numbers)


def pictures() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (T, N, *PICTURES.shape), generator=generator, dtype=torch.uint8)


def gradients(policy: nn.Module, data: Batch) -> list[Tensor]:
    policy.zero_grad()
    a2c.loss(policy, data).total(0.5, 0.01).mean().backward()
    return [p.grad.clone() for p in policy.parameters() if p.grad is not None]


def record(recall: Recall, policy: nn.Module, obs: Tensor) -> None:
    with torch.no_grad():
        for t in range(T):
            with recall.recording(t):
                policy(obs[t])


@pytest.mark.parametrize("network", ["nature", "impala"])
def test_gradients_are_those_of_a_second_forward_pass(network: str) -> None:
    policy = make_policy(network, PICTURES, ACTIONS)
    data = batch(pictures())
    expected = gradients(policy, data)
    recall = Recall(policy, T, N)
    record(recall, policy, data.obs)
    with recall.replaying():
        found = gradients(policy, data)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_halves_of_the_rows_are_recalled_as_one_batch() -> None:
    policy = make_policy("nature", PICTURES, ACTIONS)
    data = batch(pictures())
    recall = Recall(policy, T, N)
    values = torch.empty(T, N)
    with torch.no_grad():
        for t in range(T):
            for rows in (slice(0, N // 2), slice(N // 2, N)):
                with recall.recording(t, rows):
                    values[t, rows] = policy(data.obs[t, rows])[1]
        for parameter in policy.parameters():
            parameter.zero_()
        with recall.replaying():  # with these weights only memory can give the values
            found = policy(data.flat().obs)[1]
    assert torch.equal(found, values.T.flatten())


@pytest.mark.parametrize("network", ["nature", "impala"])
def test_moments_are_those_of_a_second_forward_pass(network: str) -> None:
    policy = make_policy(network, PICTURES, ACTIONS)
    data = batch(pictures())
    backward = MeasuringBackward(policy, N, N)

    def moments() -> tuple[float, ...]:
        policy.zero_grad()
        backward(lambda streams: a2c.loss(policy, data[:, streams]).total(0.5, 0.01))
        assert backward.moments is not None
        return tuple(backward.moments)

    expected = moments()
    recall = Recall(policy, T, N)
    record(recall, policy, data.obs)
    with recall.replaying():
        found = moments()
    assert found == pytest.approx(expected, rel=1e-4)


def test_outputs_really_come_from_memory() -> None:
    """Recorded under other weights, a replay shows theirs: so no layer is computed again."""
    policy = make_policy("nature", PICTURES, ACTIONS)
    data = batch(pictures())
    with torch.no_grad():
        before = policy(data.flat().obs)[1]
    recall = Recall(policy, T, N)
    record(recall, policy, data.obs)
    with torch.no_grad():
        for p in policy.parameters():
            p.mul_(2)
    for grad in (False, True):
        with torch.set_grad_enabled(grad), recall.replaying():
            torch.testing.assert_close(policy(data.flat().obs)[1], before, rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    """One layer used twice in a pass, one once."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(5, 5), nn.Linear(5, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shared(self.shared(x)))


def test_a_layer_used_twice_is_computed_again() -> None:
    net, x = Twice(), torch.randn(T, N, 5)
    recall = Recall(net, T, N)
    record(recall, net, x)
    rows = x.transpose(0, 1).flatten(0, 1)
    expected = torch.autograd.grad(net(rows).square().sum(), list(net.parameters()))
    with recall.replaying():
        found = torch.autograd.grad(net(rows).square().sum(), list(net.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_part_of_the_rows_and_a_broken_off_rollout_are_computed_again() -> None:
    net, x = nn.Linear(5, 2), torch.randn(T, N, 5)
    recall = Recall(net, T, N)
    record(recall, net, x)
    with recall.replaying():
        torch.testing.assert_close(net(x[0]), torch.nn.functional.linear(x[0], net.weight, net.bias))
    with recall.recording(0):
        net(x[0])
    with torch.no_grad():
        net.weight.mul_(2)
    rows = x.transpose(0, 1).flatten(0, 1)
    with recall.replaying():
        torch.testing.assert_close(net(rows), rows @ net.weight.T + net.bias)
