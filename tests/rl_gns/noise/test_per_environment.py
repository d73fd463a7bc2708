"""Every unit's norm out of one pass, against a twin that runs the units one by one, each on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from agents.networks import make_policy
from rl_gns.noise import layer_norms, moments, per_environment
from rl_gns.noise.per_environment import per_environment_backward, per_environment_moments

T, N = 3, 8
Loss = Callable[[Tensor], Tensor]  # indices of environments [n] -> losses [T, n]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def a2c_loss(policy: nn.Module, obs: Tensor, actions: Tensor, g: torch.Generator) -> Loss:
    """Policy gradient, value and entropy of a rollout [T, N]."""
    advantages, returns = torch.randn(T, N, generator=g), torch.randn(T, N, generator=g)

    def loss(environments: Tensor) -> Tensor:
        o, a, advantage, target = (
            x[:, environments].flatten(0, 1) for x in (obs, actions, advantages, returns)
        )
        distribution, value = policy(o)
        losses = -distribution.log_prob(a) * advantage + 0.25 * (value - target).square()
        return (losses - 0.01 * distribution.entropy()).view(T, len(environments))

    return loss


def case(network: str) -> tuple[nn.Module, Loss]:
    g = torch.Generator().manual_seed(1)
    if network == "mlp gaussian":
        observations: spaces.Box = spaces.Box(-1, 1, (5,))
        policy = make_policy("mlp", observations, spaces.Box(-1, 1, (3,)))
        nn.init.normal_(policy.action.log_std, 0, 0.1, generator=g)
        return policy, a2c_loss(
            policy, torch.randn(T, N, 5, generator=g), torch.randn(T, N, 3, generator=g), g
        )
    actions = torch.randint(0, 4, (T, N), generator=g)
    if network == "mlp":
        policy = make_policy("mlp", spaces.Box(-1, 1, (5,)), spaces.Discrete(4))
        return policy, a2c_loss(policy, torch.randn(T, N, 5, generator=g), actions, g)
    policy = make_policy(network, spaces.Box(0, 255, (2, 40, 40), np.uint8), spaces.Discrete(4))
    return policy, a2c_loss(
        policy, torch.randint(0, 256, (T, N, 2, 40, 40), dtype=torch.uint8, generator=g), actions, g
    )


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss.mean(), [p for p in module.parameters() if p.requires_grad]))


def sq(grads: list[Tensor]) -> float:
    return sum(float(g.double().square().sum()) for g in grads)


def check(
    module: nn.Module, loss: Loss, units: int | None = None, rel: float = 1e-5, transposed: bool = False
) -> None:
    """Norms and `.grad` as one backward pass per unit, and one through everything, would give."""
    n, everyone = units or N, torch.arange(N)
    twins = [sq(gradients(loss(group), module)) for group in everyone.chunk(n)]
    whole = gradients(loss(everyone), module)
    module.zero_grad()
    unit_sq, mean_sq = per_environment_backward(lambda: loss(everyone), module, units=units)
    assert unit_sq.tolist() == pytest.approx(twins, rel=rel)
    assert float(mean_sq) == pytest.approx(sq(whole), rel=rel)
    got = [p.grad for p in module.parameters() if p.requires_grad]
    for grad, twin in zip(got, whole, strict=True):
        torch.testing.assert_close(grad, twin, rtol=rel, atol=rel * float(twin.abs().max()))


@pytest.mark.parametrize("units", [None, 4, 2])
@pytest.mark.parametrize("network", ["nature", "impala", "mlp", "mlp gaussian"])
def test_policies_equal_the_loop(network: str, units: int | None) -> None:
    check(*case(network), units)


@pytest.mark.parametrize("constant", ["WRITE_COST", "COPIED_AT_ONCE", "MATERIALISED_AT_ONCE"])
@pytest.mark.parametrize("value", [0, 1 << 15])
def test_any_way_of_saving_work_is_exact(constant: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_norms, constant, value)
    check(*case("nature"), 4)


@pytest.mark.parametrize(
    ("network", "others"),
    [("nature", set()), ("impala", set()), ("mlp", set()), ("mlp gaussian", {"action.log_std"})],
)
def test_policies_run_on_the_rules(network: str, others: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, loss = case(network)
    left: list[Tensor] = []
    passes = per_environment._by_further_passes

    def spy(loss: Tensor, layout: Any, parameters: list[Tensor], capture: Any) -> tuple[Tensor, Tensor]:
        left.extend(parameters)
        return passes(loss, layout, parameters, capture)

    monkeypatch.setattr(per_environment, "_by_further_passes", spy)
    per_environment_backward(lambda: loss(torch.arange(N)), policy)
    assert {name for name, p in policy.named_parameters() if any(p is q for q in left)} == others


def test_environments_may_come_first() -> None:
    net, x = (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 1)).double(),
        doubles(2, 6, 6),
    )
    time_major = per_environment_backward(lambda: net(x.flatten(0, 1)).view(T, N).square(), net, units=4)
    rows = x.transpose(0, 1).flatten(0, 1)
    units_first = per_environment_backward(lambda: net(rows).view(N, T).square(), net, units=4, dim=0)
    for a, b in zip(units_first, time_major, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


def squared_outputs(net: nn.Module, x: Tensor) -> Loss:
    """A loss [T, n] with another gradient for each row; x [T, N, ...]."""
    target = torch.randn(T, N, 1, generator=torch.Generator().manual_seed(2), dtype=x.dtype)

    def loss(environments: Tensor) -> Tensor:
        out = net(x[:, environments].flatten(0, 1)).reshape(T, len(environments), -1)
        return (out - target[:, environments]).square().mean(-1)

    return loss


def doubles(*shape: int) -> Tensor:
    return torch.randn(T, N, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.sampled_from([0, 1, (0, 2), "same", "valid"]),
    dilation=st.sampled_from([1, 2, (1, 2)]),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    padding_mode=st.sampled_from(["zeros", "circular"]),
    channels_last=st.booleans(),
)
def test_convolutions_equal_the_loop(
    kernel: tuple[int, int],
    stride: int,
    padding: Any,
    dilation: Any,
    groups: int,
    bias: bool,
    padding_mode: str,
    channels_last: bool,
) -> None:
    if padding == "same":
        stride = 1
    keywords = {"padding": padding, "dilation": dilation, "groups": groups, "padding_mode": padding_mode}
    conv = nn.Conv2d(4, 4, kernel, stride, bias=bias, **keywords)
    net = nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.Tanh(), conv, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)
    ).double()
    x = doubles(4, 7, 6)
    net(x.flatten(0, 1))
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    check(net, squared_outputs(net, x), 4, rel=1e-9)


class Shift(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class Twice(nn.Module):
    """One layer used two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class Unbatchable(torch.autograd.Function):
    """x * w with a backward that reads a number out of its gradient, which vmap forbids."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        assert grads[0].sum().item() < 1e9
        return grads[0] * w, (grads[0] * x).sum(0)


class WeightAgain(nn.Module):
    """A layer whose weight also goes where no function is intercepted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(Unbatchable.apply(x, self.layer.bias)))


class Tokens(nn.Module):
    """Several positions per row, an attention among them and recurrence over them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(6, 4), nn.LayerNorm((3, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrence = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.tanh(self.embed(torch.stack([x, x.square(), x.sin()], 1))))
        return self.recurrence(self.attention(x, x, x)[0])[0].flatten(1)


def frozen_weight() -> nn.Module:
    layer = nn.Linear(6, 6)
    layer.weight.requires_grad_(False)
    return layer


VECTOR_NETS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": lambda: nn.LayerNorm(6),
    "layer norm without bias": lambda: nn.LayerNorm(6, bias=False),
    "bias only": lambda: Shift(6),
    "a number": lambda: Shift(),
    "shared layer": Twice,
    "unseen second use": WeightAgain,
    "tokens": Tokens,
    "frozen weight": frozen_weight,
    "no bias": lambda: nn.Linear(6, 6, bias=False),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    "group norm": lambda: nn.GroupNorm(2, 6),
    "batch norm in eval mode": lambda: nn.BatchNorm1d(6).eval(),
}


@pytest.mark.parametrize("name", VECTOR_NETS)
def test_any_module_equals_the_loop(name: str) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), VECTOR_NETS[name](), nn.Tanh(), nn.LazyLinear(2)).double()
    x = doubles(5)
    net(x.flatten(0, 1))
    check(net, squared_outputs(net, x), 4, rel=1e-9)


def test_rows_shaped_as_the_loss_and_positions_within_them() -> None:
    torch.manual_seed(5)
    net, x = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3)).double(), doubles(4, 5)
    check(net, lambda environments: net(x[:, environments]).square().mean((2, 3)), 4, rel=1e-9)


def test_rows_in_another_order_are_not_mistaken_for_the_loss_s() -> None:
    torch.manual_seed(6)
    net, x = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)).double(), doubles(5)
    check(net, lambda environments: net(x[:, environments].transpose(0, 1)).squeeze(-1).T.square(), rel=1e-9)


def _regression() -> tuple[nn.Module, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1))
    return net, torch.randn(T, N, 6, generator=g), torch.randn(T, N, generator=g)


@pytest.mark.parametrize("steps", [T, N])
def test_flat_rows_environment_by_environment_are_refused_as_time_major_losses(steps: int) -> None:
    """Their number fits, so that the norms would be of other units than the losses'."""
    g = torch.Generator().manual_seed(0)
    net, x, y = _regression()[0], torch.randn(N, steps, 6, generator=g), torch.randn(N, steps, generator=g)

    def loss() -> Tensor:
        return (net(x.flatten(0, 1)).view(N, steps) - y).square()

    with pytest.raises(ValueError, match=r"at '0\.weight': flatten observations in the order of the losses"):
        per_environment_moments(lambda: loss().T, net)
    assert all(p.grad is None for p in net.parameters())
    right = per_environment_moments(loss, net, dim=0)
    slow = [torch.autograd.grad(loss()[i].mean(), [*net.parameters()]) for i in range(N)]
    norms = torch.tensor([sum(float(part.square().sum()) for part in parts) for parts in slow])
    mean = sum(float(torch.stack(parts).mean(0).square().sum()) for parts in zip(*slow, strict=True))
    wanted = moments(norms, torch.tensor(mean))
    assert (right.signal, right.noise) == pytest.approx((wanted.signal, wanted.noise), rel=1e-5)


@pytest.mark.parametrize(
    ("how", "words"),
    [("mean taken off", "let no row depend on another"), ("batch norm called by hand", "through BatchNorm")],
)
def test_rows_that_depend_on_one_another_are_refused(how: str, words: str) -> None:
    net, x, y = _regression()

    def loss() -> Tensor:
        out = net(x.flatten(0, 1))
        if how == "mean taken off":
            out = out - out.mean()
        else:
            out = torch.batch_norm(out, None, None, None, None, True, 0.1, 1e-5, False)
        return (out.view(T, N) - y).square()

    with pytest.raises(ValueError, match=words):
        per_environment_moments(loss, net)


def test_functional_use_is_measured() -> None:
    net, x = nn.Linear(5, 2).double(), doubles(5)
    check(
        net,
        lambda environments: F.linear(x[:, environments], weight=net.weight, bias=net.bias).square().sum(-1),
    )


def test_gradients_accumulate_and_chunks_of_environments_make_up_the_whole() -> None:
    policy, loss = case("mlp")
    whole_sq, whole_mean = per_environment_backward(lambda: loss(torch.arange(N)), policy)
    whole = [p.grad.clone() for p in policy.parameters()]
    policy.zero_grad()
    chunks = torch.arange(N).chunk(2)
    parts = [per_environment_backward(lambda c=c: loss(c), policy, scale=0.5)[0] for c in chunks]
    assert torch.cat(parts).tolist() == pytest.approx(whole_sq.tolist(), rel=1e-5)
    assert sq([p.grad for p in policy.parameters()]) == pytest.approx(float(whole_mean), rel=1e-5)
    for p, grad in zip(policy.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-5, atol=1e-7)


def test_moments_are_of_one_unit_and_regroup_to_one_environment() -> None:
    policy, loss = case("mlp")
    groups = [sq(gradients(loss(c), policy)) for c in torch.arange(N).chunk(4)]
    expected = moments(groups, sq(gradients(loss(torch.arange(N)), policy))).regrouped(2)
    got = per_environment_moments(lambda: loss(torch.arange(N)), policy, units=4).regrouped(2)
    assert got == pytest.approx(expected, rel=1e-4)


def test_identical_environments_have_no_noise() -> None:
    policy, loss = case("nature")
    got = per_environment_moments(lambda: loss(torch.zeros(N, dtype=torch.long)), policy)
    assert abs(got.noise) < 1e-5 * got.signal


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_gpu() -> None:
    torch.manual_seed(7)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 1)).double().cuda()
    check(net, squared_outputs(net, doubles(2, 6, 6).cuda()), 4, rel=1e-9)


@pytest.mark.parametrize("layer", ["linear", "wide linear", "layer norm", "conv", "no rule"])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_half_precision_squares_neither_vanish_nor_overflow(layer: str, size: float) -> None:
    """Units' gradients that float16 holds with ease, and whose squares it does not."""
    torch.manual_seed(0)
    net: nn.Module = {
        "linear": nn.Linear(6, 1),
        "wide linear": nn.Linear(6, 1),
        "layer norm": nn.LayerNorm(6),
        "conv": nn.Conv2d(1, 2, 2),
        "no rule": nn.RMSNorm(6),
    }[layer].half()
    r = 40 if layer == "wide linear" else 2  # rows of a unit: many form its gradient, few the product of rows
    x = torch.randn(8 * r, 1, 2, 3).half() if layer == "conv" else torch.randn(8 * r, 6).half()
    weight = (size * (1 + torch.rand(8 * r))).half()

    def loss(rows: Tensor) -> Tensor:
        return net(x[rows]).flatten(1).mean(1) * weight[rows]

    rows = torch.arange(8 * r).view(8, r)
    gradients = [torch.autograd.grad(loss(own).float().mean(), list(net.parameters())) for own in rows]
    expected = [sum(float(g.double().square().sum()) for g in each) for each in gradients]
    found, mean_sq = per_environment_backward(lambda: loss(rows.flatten()).view(8, r), net, dim=0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02)
    assert float(mean_sq) == pytest.approx(
        sum(float(p.grad.double().square().sum()) for p in net.parameters()), rel=0.02
    )


def test_a_loss_that_runs_the_network_under_vmap() -> None:
    """There no rule can run; the numbers are those of the plain pass."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 1)), torch.randn(N, 5)

    def mapped() -> Tensor:
        parameters = dict(net.named_parameters())
        each = torch.func.vmap(lambda row: torch.func.functional_call(net, parameters, (row,)))
        return each(x).squeeze(1).square()

    found, mean_sq = per_environment_backward(mapped, net)
    expected, expected_mean = per_environment_backward(lambda: net(x).squeeze(1).square(), net)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(mean_sq, expected_mean)
