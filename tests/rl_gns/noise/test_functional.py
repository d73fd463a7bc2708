"""Units' gradients by torch.func, against a backward pass per unit and against the one pass with rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.networks import Shared, make_policy
from rl_gns.noise import functional_backward, per_environment_backward

T, N = 3, 8


class Twice(nn.Module):
    """A layer used two times and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shift = nn.Linear(5, 5), nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x) + self.shift))


class Recurrent(nn.Module):
    """A GRU written out, over the steps of the rollout: a row's loss depends on the rows before it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell_in, self.cell_state = nn.Linear(5, 12), nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        state, seen = x.new_zeros(4), []
        for x_t in x:
            (r, z, n), (hr, hz, hn) = self.cell_in(x_t).chunk(3), self.cell_state(state).chunk(3)
            z = torch.sigmoid(z + hz)
            state = (1 - z) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + z * state
            seen.append(state)
        return torch.stack(seen)


class AsksForLayout(nn.Module):
    """What `vmap` can't run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(torch.float32, memory_format=torch.channels_last)).mean((1, 2, 3))


class Attention(nn.Module):
    """Across the steps of a rollout, with normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.GroupNorm(1, 5), nn.MultiheadAttention(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.attention(x, x, x)[0]


MODULES: dict[str, Callable[[], nn.Module]] = {
    "layers with rules": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2)),
    "used twice": Twice,
    "recurrent": Recurrent,
    "attention": Attention,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)),
}


def loss_of(network: Any, unit: tuple[Tensor, Tensor]) -> Tensor:
    x, target = unit
    return (network(x).square().sum(-1) - target).square()


def units_of(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(N, T, 5, generator=g, dtype=dtype), torch.randn(N, T, generator=g, dtype=dtype)


@pytest.mark.parametrize("at_once", [1, 3, 8])
@pytest.mark.parametrize("name", MODULES)
def test_equals_a_pass_per_unit(name: str, at_once: int) -> None:
    torch.manual_seed(2)
    net, (x, target) = MODULES[name](), units_of()
    parameters = list(net.parameters())
    each = [torch.autograd.grad(loss_of(net, (x[i], target[i])).mean(), parameters) for i in range(N)]
    twins = [sum(float(g.double().square().sum()) for g in grads) for grads in each]
    mean = [torch.stack(grads).mean(0) for grads in zip(*each, strict=True)]
    for p in parameters:
        p.grad = torch.ones_like(p)
    unit_sq, mean_sq = functional_backward(loss_of, net, (x, target), at_once=at_once, scale=0.5)
    assert unit_sq.tolist() == pytest.approx(twins, rel=1e-5)
    assert float(mean_sq) == pytest.approx(sum(float(g.double().square().sum()) for g in mean), rel=1e-5)
    for p, g in zip(parameters, mean, strict=True):
        torch.testing.assert_close(p.grad, 1 + 0.5 * g, rtol=1e-5, atol=1e-5 * float(g.abs().max()))


@pytest.mark.parametrize("network", ["pictures", "mlp", "nature", "impala"])
def test_equals_the_one_pass_with_rules(network: str) -> None:
    g = torch.Generator().manual_seed(3)
    actions, advantages = torch.randint(0, 4, (N, T), generator=g), torch.randn(N, T, generator=g)
    if network == "mlp":
        policy: Any = make_policy("mlp", spaces.Box(-1, 1, (5,)), spaces.Discrete(4))
        units = torch.randn(N, T, 5, generator=g), actions, advantages
    elif network != "pictures":
        policy = make_policy(network, spaces.Box(0, 255, (2, 40, 40), np.uint8), spaces.Discrete(4))
        obs = torch.randint(0, 256, (N, T, 2, 40, 40), dtype=torch.uint8, generator=g)
        units = obs, actions, advantages
    else:
        torso = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten())
        policy = Shared(nn.Sequential(torso, nn.Linear(100, 8)), 8, spaces.Discrete(4))
        units = torch.randn(N, T, 2, 13, 13, generator=g), actions, advantages

    def losses(net: Any, unit: tuple[Tensor, ...]) -> Tensor:
        distribution, value = net(unit[0])
        log_prob = distribution.log_prob(unit[1])
        return -log_prob * unit[2] + (value - unit[2]).square() - 0.01 * distribution.entropy()

    found = functional_backward(losses, policy, units)
    grads = [p.grad.clone() for p in policy.parameters()]
    policy.zero_grad()
    flat = tuple(x.flatten(0, 1) for x in units)
    expected = per_environment_backward(lambda: losses(policy, flat).view(N, T), policy, dim=0)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
    for p, grad in zip(policy.parameters(), grads, strict=True):
        torch.testing.assert_close(grad, p.grad, rtol=1e-4, atol=1e-5 * float(p.grad.abs().max()))


def test_a_module_that_vmap_cannot_run_is_refused_in_one_line() -> None:
    module, units = AsksForLayout(), torch.zeros(N, T, 2, 5, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"cannot run this module .*: use per_environment_backward") as error:
        functional_backward(lambda net, unit: net(unit), module, units)
    assert "\n" not in str(error.value)
    assert all(p.grad is None for p in module.parameters())


def test_bad_input_is_refused_in_one_line_and_leaves_no_trace() -> None:
    net, (x, target) = nn.Linear(5, 2), units_of()

    def refused(
        match: str, loss: Any = loss_of, module: nn.Module = net, units: Any = (x, target), **kw: Any
    ):
        with pytest.raises(ValueError, match=match) as error:
            functional_backward(loss, module, units, **kw)
        assert "\n" not in str(error.value)
        assert all(p.grad is None for p in net.parameters())

    refused("single number", lambda network, unit: loss_of(network, unit).mean())
    refused("depends on no parameter", lambda network, unit: loss_of(network, unit).detach())
    refused("did not call the network", lambda network, unit: loss_of(net, unit))
    refused("at least two units", units=(x[:1], target[:1]))
    refused(r"of one length.*\[2, 8\]", units=(x, target[:2]))
    refused("units must be tensors", units=[1, 2, 3])
    refused("at_once", at_once=0)
    refused("at_once", at_once=0.5)
    refused("scale", scale=-1.0)
    refused("BatchNorm", module=nn.Sequential(net, nn.BatchNorm1d(2)))
    refused(r"'1\.weight'", lambda network, unit: loss_of(net, unit), nn.ModuleList([net, nn.Linear(1, 1)]))
