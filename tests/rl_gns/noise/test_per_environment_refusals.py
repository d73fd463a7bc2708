"""What the one pass refuses, in one line each, and that it leaves nothing behind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rl_gns.noise import backward_in_groups
from rl_gns.noise.distributed import accumulated_moments
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


def regression() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 3)), torch.randn(N, 5), torch.randn(N, 3)


def test_several_losses_a_row_are_no_environments() -> None:
    """The default dimension would run over the components, and give a number with a narrow interval."""
    net, x, y = regression()
    with pytest.raises(ValueError, match=r"loss has shape \(8, 3\) but a layer was given 8 rows: .*dim=0"):
        per_environment_backward(lambda: (net(x) - y).square(), net)
    assert all(p.grad is None for p in net.parameters())
    one = per_environment_backward(lambda: (net(x) - y).square().mean(1), net)
    other = per_environment_backward(lambda: (net(x) - y).square(), net, dim=0)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:no layer can be measured")
def test_rows_that_depend_on_one_another_are_refused_under_autocast_too() -> None:
    net, x, y = regression()

    def losses(tied: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)
        out = out.float()
        return ((out - out.mean(0) if tied else out) - y).square().mean(1)

    with pytest.raises(ValueError, match="a loss reaches other rows than its own"):
        per_environment_backward(lambda: losses(True), net)


def test_what_keeps_layers_from_being_measured_is_said_once_and_costs_passes_not_truth() -> None:
    net, x, y = regression()
    plain = per_environment_backward(lambda: (net(x) - y).square().mean(1), net)

    def losses() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return (net(x).float() - y).square().mean(1)

    with pytest.warns(UserWarning, match="one pass under autocast, so each measurement costs 8 backward"):
        half = per_environment_backward(losses, net)
    torch.testing.assert_close(half[0], plain[0], rtol=0.1, atol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        per_environment_backward(losses, net)
    compiled = torch.compile(net, backend="eager")
    with pytest.warns(UserWarning, match=r"torch.compile, .*rows that depend on one another are not noticed"):
        found = per_environment_backward(lambda: (compiled(x) - y).square().mean(1), compiled)
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpoints_are_refused_in_one_line(reentrant: bool) -> None:
    net, x, y = regression()
    x.requires_grad_()

    def losses() -> Tensor:
        return (checkpoint(net, x, use_reentrant=reentrant) - y).square().mean(1)

    with pytest.raises(ValueError, match="backward_in_groups") as caught:
        per_environment_backward(losses, net)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in net.parameters())


def test_sparse_gradients_and_unused_parameters_if_allowed() -> None:
    rows, y = torch.randint(0, 10, (N,)), torch.randn(N, 3)
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        net = nn.Embedding(10, 3, sparse=sparse)
        found.append(per_environment_backward(lambda net=net: (net(rows) - y).square().mean(1), net))
    torch.testing.assert_close(*found)
    more = nn.ModuleList([net, nn.Linear(3, 3)])
    again = per_environment_backward(lambda: (net(rows) - y).square().mean(1), more, allow_unused=True)
    torch.testing.assert_close(again, found[1])


@pytest.mark.parametrize("pixels", [8, 64])
def test_a_loss_of_several_outputs_is_refused_where_there_are_as_many_as_rows(pixels: int) -> None:
    """An autoencoder's [rows, pixels]: its columns are no units, though a square loss has as many of either."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(pixels, 5), nn.Tanh(), nn.Linear(5, pixels)), torch.randn(8, pixels)
    with pytest.raises(ValueError, match=r"8 rows: return one loss per row, as loss.mean\(1\)"):
        per_environment_backward(lambda: (net(x) - x).square(), net)
    alone = nn.Linear(pixels, pixels)  # is given a tensor of the loss's own shape
    with pytest.raises(ValueError, match=r"8 rows: return one loss per row, as loss.mean\(1\)"):
        per_environment_backward(lambda: (alone(x) - x).square(), alone)
    per_environment_backward(lambda: (net(x) - x).square(), net, dim=0)
    assert all(p.grad is not None for p in net.parameters())


def test_a_square_rollout_may_have_a_layer_that_sees_its_steps() -> None:
    """[T, N] with T = N: one layer is given an embedding of each step, the other all rows."""
    torch.manual_seed(0)
    net = nn.ModuleDict({"step": nn.Linear(4, 3), "row": nn.Linear(3, 1)})
    steps, x = torch.randn(N, 4), torch.randn(N * N, 3)

    def loss() -> Tensor:
        shared = net["step"](steps).repeat_interleave(N, 0)
        return net["row"](x * shared).view(N, N).square()

    per_environment_backward(loss, net)


def test_rows_compared_with_one_another_are_refused_where_layers_run_twice() -> None:
    """Two views through one encoder, every row's partner against all others' (SimCLR)."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4)), torch.randn(N, 5)

    def contrastive() -> Tensor:
        scores = net(x) @ net(x + 0.1).T
        return F.cross_entropy(scores, torch.arange(N), reduction="none")

    with pytest.raises(ValueError, match=r"other rows than its own at '0\.weight'"):
        per_environment_backward(contrastive, net)
    assert all(p.grad is None for p in net.parameters())
    per_environment_backward(lambda: (net(x) - net(x + 0.1)).square().mean(1), net)  # of its own row alone


def test_complex_parameters_are_refused() -> None:
    """Their squares are no squared norms."""
    net = nn.Linear(5, 1, dtype=torch.complex64)
    x = torch.randn(N, 5, dtype=torch.complex64)
    one_line = "'weight'.* is complex: hold its parts in a real one"
    with pytest.raises(ValueError, match=one_line):
        per_environment_backward(lambda: net(x).abs().squeeze(1), net)
    groups = torch.arange(N).chunk(4)
    with pytest.raises(ValueError, match=one_line):
        backward_in_groups(lambda i: net(x[i]).abs().squeeze(1), groups, net.named_parameters())
    net(x).abs().mean().backward()
    with pytest.raises(ValueError, match=one_line):
        accumulated_moments(torch.ones(4), net.named_parameters())
