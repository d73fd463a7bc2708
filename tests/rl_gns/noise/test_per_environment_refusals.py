"""What the one pass refuses, in one line each, and that it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rl_gns.noise.per_environment import per_environment_backward

T, N = 3, 8


def linear_case() -> tuple[nn.Module, Tensor]:
    return nn.Linear(5, 1), torch.randn(T * N, 5)


def losses(net: nn.Module, x: Tensor) -> Tensor:
    return net(x).view(T, N).square()


BAD: dict[str, tuple[str, Callable[[nn.Module, Tensor], Any]]] = {
    "reduced": ("single number", lambda net, x: per_environment_backward(lambda: losses(net, x).mean(), net)),
    "no grad": (
        "no parameter",
        lambda net, x: per_environment_backward(lambda: losses(net, x).detach(), net),
    ),
    "one unit": (
        "at least two",
        lambda net, x: per_environment_backward(lambda: losses(net, x), net, units=1),
    ),
    "unequal": ("equal size", lambda net, x: per_environment_backward(lambda: losses(net, x), net, units=3)),
    "dim": ("dimension 2", lambda net, x: per_environment_backward(lambda: losses(net, x), net, dim=2)),
    "scale": ("scale", lambda net, x: per_environment_backward(lambda: losses(net, x), net, scale=0.0)),
    "unused": (
        r"'1\.weight'",
        lambda net, x: per_environment_backward(
            lambda: losses(net, x), nn.ModuleList([net, nn.Linear(1, 1)])
        ),
    ),
    "batch norm": (
        "through BatchNorm: replace '1'",
        lambda net, x: per_environment_backward(
            lambda: losses(net, x), nn.Sequential(net, nn.BatchNorm1d(5))
        ),
    ),
    "functional batch norm": (
        "through BatchNorm",
        lambda net, x: per_environment_backward(
            lambda: losses(net, F.batch_norm(x, None, None, training=True)), net
        ),
    ),
    "dtypes": (
        "must agree",
        lambda net, x: per_environment_backward(
            lambda: losses(net, x), nn.ModuleList([net, nn.Linear(1, 1).double()])
        ),
    ),
    "devices": (
        r"'1\.weight' is torch.float32 on meta, '0\.weight' is torch.float32 on cpu: all parameters must agree",
        lambda net, x: per_environment_backward(
            lambda: losses(net, x), nn.ModuleList([net, nn.Linear(1, 1, device="meta")])
        ),
    ),
    "frozen": ("nothing to measure", lambda net, x: per_environment_backward(lambda: x, nn.ReLU())),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line_and_leaves_no_trace(name: str) -> None:
    net, x = linear_case()
    message, call = BAD[name]
    with pytest.raises(ValueError, match=message) as error:
        call(net, x)
    assert "\n" not in str(error.value)
    assert all(p.grad is None for p in net.parameters())


def test_an_exception_in_the_loss_leaves_the_module_as_it_was() -> None:
    net, x = linear_case()

    def broken() -> Tensor:
        net(x)
        raise KeyError("mine")

    before = dict(vars(net))
    with pytest.raises(KeyError):
        per_environment_backward(broken, net)
    assert vars(net) == before
    assert "LinearRule" not in type(net(x).grad_fn).__name__
