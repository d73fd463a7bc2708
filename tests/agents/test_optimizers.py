"""The optimizer's one pass over the weights against the same steps as torch operations, and the clipped step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from agents.optimizers import RMSpropTF, clipped_step, updates_lost


def weights() -> dict[str, Tensor]:
    """Of every way to lie in memory; the last has gaps, one has its gradient in another order."""
    torch.manual_seed(0)
    return {
        "vector": torch.randn(7),
        "matrix": torch.randn(5, 3),
        "pictures": torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 5).t(),
        "other order": torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "gaps": torch.randn(6, 4)[:, ::2],
    }


def gradient(name: str, weight: Tensor) -> Tensor:
    found = torch.randn(weight.shape)
    if name == "pictures":
        found = found.contiguous(memory_format=torch.channels_last)
    return found


@pytest.mark.parametrize("name", sorted(weights()))
def test_rmsprop_in_one_pass_equals_torchs_operations(name: str) -> None:
    torch.manual_seed(1)
    start = weights()[name]
    ours, plain = nn.Parameter(start), nn.Parameter(start.clone(memory_format=torch.preserve_format))
    one_pass, several = (RMSpropTF([p], lr=1e-2, alpha=0.9, eps=1e-3) for p in (ours, plain))
    several._in_one_pass = lambda *_: False  # type: ignore[method-assign]
    for _ in range(5):
        g = gradient(name, start)
        ours.grad, plain.grad = g, g.clone(memory_format=torch.preserve_format)
        one_pass.step()
        several.step()
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        one_pass.state[ours]["square_avg"], several.state[plain]["square_avg"], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(
    ("alpha", "eps", "start", "g"),
    [(0.99, 1e-5, 1.0, 1e-5), (0.99, 1e-5, 1.0, 0.01), (0.9, 1e-3, 4.0, 0.1), (0.99, 1e-5, 0.0, 0.01)],
)
def test_updates_lost_are_those_that_steps_lack(alpha: float, eps: float, start: float, g: float) -> None:
    """Against the optimizer itself under a gradient that stays the same."""
    theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, steps = RMSpropTF([theta], lr=1.0, alpha=alpha, eps=eps, start=start), 6000
    for _ in range(steps):
        theta.grad = torch.full_like(theta, g)
        optimizer.step()
    later = g / math.sqrt(g**2 + eps)
    lost = updates_lost(alpha, eps, start, g**2)
    assert -float(theta.detach()) == pytest.approx((steps - lost) * later, rel=1e-6)
    assert (lost > 0) == (start > g**2)


def test_what_the_published_settings_lose() -> None:
    assert updates_lost() == pytest.approx(1008, abs=1)
    assert updates_lost() == pytest.approx(math.log(1 / 4e-5) / -math.log(0.99), abs=1)
    assert updates_lost(start=0.0) == 0
    # Where gradients are as large as the mean square begins, nothing is lost.
    assert updates_lost(square=1.0) == 0
    for wrong in ({"eps": 0.0}, {"alpha": 1.0}, {"start": math.inf}, {"square": math.nan}):
        with pytest.raises(ValueError, match="eps > 0"):
            updates_lost(**wrong)


def test_one_pass_is_taken_where_memory_has_no_gaps() -> None:
    taken = {}
    for name, start in weights().items():
        p = nn.Parameter(start)
        p.grad = gradient(name, start)
        optimizer = RMSpropTF([p])
        optimizer.state[p]["square_avg"] = torch.ones_like(p)
        taken[name] = optimizer._in_one_pass(p, 0.9, 1e-3, 1e-2)
    assert {name for name, found in taken.items() if found} == {"vector", "matrix", "pictures"}


@pytest.mark.parametrize(("limit", "length"), [(0.5, 0.5), (10.0, 5.0), (0.0, 5.0)])
def test_a_step_is_cut_to_the_limit_and_0_means_none(limit: float, length: float) -> None:
    net = nn.Linear(3, 1, bias=False)
    before, optimizer = net.weight.detach().clone(), torch.optim.SGD(net.parameters(), lr=1.0)
    net.weight.grad = torch.tensor([[3.0, 4.0, 0.0]])
    assert clipped_step(net, optimizer, limit) == pytest.approx(5.0)  # the norm before it was cut
    step = torch.tensor([[0.6, 0.8, 0.0]]) * length
    torch.testing.assert_close(before - net.weight, step, rtol=1e-4, atol=1e-5)
