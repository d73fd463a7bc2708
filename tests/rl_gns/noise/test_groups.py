"""The grouped backward against a loop over environments and against a plain backward."""

import pytest
import torch
from torch import Tensor, nn

from rl_gns.noise import backward_in_groups, moments, plain_backward

ENVIRONMENTS, STEPS, INPUTS = 12, 5, 6


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, 16), nn.Tanh(), nn.Linear(16, 3))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS, ENVIRONMENTS, INPUTS, generator=generator)
    return x, torch.randn(STEPS, ENVIRONMENTS, 3, generator=generator)


@pytest.fixture
def loss_fn(net, batch):
    x, target = batch
    return lambda group: (net(x[:, group]) - target[:, group]).square().sum(-1)


def chunks(k: int) -> list[Tensor]:
    return list(torch.arange(ENVIRONMENTS).chunk(k))


def flat_grad(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@pytest.mark.parametrize("k", [2, 3, 12])
def test_equals_a_loop_over_groups_and_a_plain_backward(net, loss_fn, k):
    grads = []
    for group in chunks(k):
        net.zero_grad()
        loss_fn(group).mean().backward()
        grads.append(flat_grad(net).double())
    net.zero_grad()
    loss_fn(slice(None)).mean().backward()
    plain = flat_grad(net)

    measured = backward_in_groups(loss_fn, chunks(k), net.parameters())

    torch.testing.assert_close(flat_grad(net), plain, rtol=1e-5, atol=1e-7)
    mean = torch.stack(grads).mean(0)
    expected = moments([float(g @ g) for g in grads], float(mean @ mean))
    assert measured.signal == pytest.approx(expected.signal, rel=1e-4)
    assert measured.noise == pytest.approx(expected.noise, rel=1e-4)
    assert measured.units == k


@pytest.mark.parametrize("k", [2, 4])
def test_measuring_leaves_the_same_bits(net, loss_fn, k):
    backward_in_groups(loss_fn, chunks(k), net.parameters())
    measured = flat_grad(net).clone()
    plain_backward(loss_fn, chunks(k), net.parameters())
    assert torch.equal(flat_grad(net), measured)


def test_one_plain_group_is_a_plain_backward(net, loss_fn):
    loss_fn(slice(None)).mean().backward()
    expected = flat_grad(net).clone()
    plain_backward(loss_fn, [slice(None)], net.parameters())
    assert torch.equal(flat_grad(net), expected)


def test_what_grad_held_is_replaced(net, loss_fn):
    backward_in_groups(loss_fn, chunks(3), net.parameters())
    first = flat_grad(net).clone()
    again = backward_in_groups(loss_fn, chunks(3), net.parameters())
    assert torch.equal(flat_grad(net), first)
    assert again == backward_in_groups(loss_fn, chunks(3), net.named_parameters())


def test_names_make_no_difference_and_frozen_parameters_are_left_alone(net, loss_fn):
    net[0].weight.requires_grad_(False)
    backward_in_groups(loss_fn, chunks(3), net.named_parameters())
    assert net[0].weight.grad is None
    assert net[2].weight.grad is not None


def test_parameters_that_autograd_gives_one_tensor_for():
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0, 4.0]))
    weights = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    measured = backward_in_groups(lambda i: (a + b) * weights[i], [0, 1], [a, b])
    # Each group's gradient is weights[i] / 2, for a and for b.
    assert torch.equal(a.grad, torch.tensor([0.25, 1.0]))
    assert torch.equal(b.grad, a.grad)
    assert measured.signal == pytest.approx(0.0, abs=1e-6)
    assert measured.noise == pytest.approx(4.25)


def test_norm_of_many_elements_is_exact_enough():
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.zeros(1_700_000))
    g = torch.randn(2, p.numel(), generator=generator) + 0.01
    measured = backward_in_groups(lambda i: (p * g[i]).sum(0, keepdim=True), [0, 1], [p])
    q_i, q = g.double().square().sum(1), g.double().mean(0).square().sum()
    assert measured.noise == pytest.approx(moments(q_i, q).noise, rel=1e-6)


def test_double_parameters(net, batch):
    net.double()
    x, target = (b.double() for b in batch)
    measured = backward_in_groups(
        lambda i: (net(x[:, i]) - target[:, i]).square(), chunks(2), net.parameters()
    )
    assert measured.noise > 0
    assert net[0].weight.grad.dtype == torch.float64


def refuse(match: str, loss_fn, groups, parameters) -> None:
    with pytest.raises(ValueError, match=match) as error:
        backward_in_groups(loss_fn, groups, parameters)
    assert "\n" not in str(error.value)


def test_bad_input_is_refused_in_one_line(net, loss_fn):
    refuse("at least two groups", loss_fn, chunks(1), net.parameters())
    refuse("at least two groups", loss_fn, [], net.parameters())
    refuse("one loss per observation", lambda i: loss_fn(i).mean(), chunks(2), net.parameters())
    refuse("group 0 has no observations", lambda i: loss_fn(i)[:0], chunks(2), net.parameters())
    unequal = list(torch.arange(ENVIRONMENTS).split([4, 5, 3]))
    refuse("group 1 has 25 observations, those before have 20", loss_fn, unequal, net.parameters())
    refuse("depends on no parameter", lambda i: loss_fn(i).detach(), chunks(2), net.parameters())
    unused = nn.Parameter(torch.zeros(2, 3))
    refuse(r"parameter 4 of shape \(2, 3\)", loss_fn, chunks(2), [*net.parameters(), unused])
    named = [*net.named_parameters(), ("spare", unused)]
    refuse(r"parameter 'spare' of shape \(2, 3\)", loss_fn, chunks(2), named)
    refuse("no parameter requires a gradient", loss_fn, chunks(2), [])
    mixed = [*net.parameters(), nn.Parameter(torch.zeros(1, dtype=torch.float64))]
    refuse("all parameters must agree", loss_fn, chunks(2), mixed)
    elsewhere = [*net.parameters(), nn.Parameter(torch.zeros(1, device="meta"))]
    refuse("all parameters must agree", loss_fn, chunks(2), elsewhere)
    refuse("given twice", loss_fn, chunks(2), [*net.parameters(), net[0].weight])
    with pytest.raises(ValueError, match="at least one"):
        plain_backward(loss_fn, [], net.parameters())


def test_a_refusal_leaves_grad_as_it_was(net, loss_fn):
    backward_in_groups(loss_fn, chunks(3), net.parameters())
    before = flat_grad(net).clone()
    refuse("observations", loss_fn, list(torch.arange(ENVIRONMENTS).split([4, 5, 3])), net.parameters())
    assert torch.equal(flat_grad(net), before)


@pytest.mark.parametrize("how", ["module", "function"])
def test_batch_norm_in_training_is_refused_and_in_eval_not(net, batch, how):
    x, target = batch
    norm = nn.BatchNorm1d(3)

    def loss(group: Tensor) -> Tensor:
        out = net(x[:, group].flatten(0, 1))
        out = norm(out) if how == "module" else torch.batch_norm(out, *[None] * 4, True, 0.1, 1e-5, False)
        return (out.view(STEPS, -1, 3) - target[:, group]).square().sum(-1)

    with pytest.raises(ValueError, match="samples are not independent through BatchNorm"):
        backward_in_groups(loss, chunks(4), net.parameters())
    if how == "module":
        norm.eval()
        assert backward_in_groups(loss, chunks(4), net.parameters()).units == 4
