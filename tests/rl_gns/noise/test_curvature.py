"""Curvature products against dense matrices, and the split estimate against exact expectations."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from rl_gns.noise.curvature import fisher_forms, hessian_forms, split_moments
from rl_gns.noise.quadratic import NoisyQuadratic


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


X = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
CHOICE = torch.tensor([0, 1, 1, 0, 1, 0, 0])


def vectors_for(net, count=3):
    generator = torch.Generator().manual_seed(2)
    return [
        [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in net.parameters()]
        for _ in range(count)
    ]


def flat(g):
    return torch.cat([x.flatten() for x in g])


def unflat(vector, net):
    sizes = [p.numel() for p in net.parameters()]
    parts = vector.split(sizes)
    return {name: v.view(p.shape) for (name, p), v in zip(net.named_parameters(), parts, strict=True)}


def test_hessian_forms_equal_the_dense_hessian(net):
    def loss(vector):
        return functional_call(net, unflat(vector, net), (X,)).square().sum(1).sin().mean()

    dense = hessian(loss)(flat(net.parameters()).detach())
    vectors = vectors_for(net)
    found = hessian_forms(net(X).square().sum(1).sin().mean(), list(net.parameters()), vectors)
    expected = torch.stack([flat(v) @ dense @ flat(v) for v in vectors])
    torch.testing.assert_close(found, expected)


def test_fisher_forms_equal_the_dense_fisher(net):
    def log_probs():
        return net(X).log_softmax(-1).gather(1, CHOICE[:, None]).squeeze(1)

    rows = [flat(torch.autograd.grad(lp, list(net.parameters()), retain_graph=True)) for lp in log_probs()]
    dense = torch.stack([torch.outer(g, g) for g in rows]).mean(0)
    vectors = vectors_for(net)
    found = fisher_forms(log_probs().view(1, 7), list(net.parameters()), vectors)
    torch.testing.assert_close(found, torch.stack([flat(v) @ dense @ flat(v) for v in vectors]))


def test_parameters_without_curvature_count_as_nothing(net):
    idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
    parameters, v = [*net.parameters(), idle], vectors_for(net, 1)[0]
    loss = net(X).square().mean()
    longer = [*v, torch.ones(2, dtype=torch.float64)]
    alone = hessian_forms(net(X).square().mean(), parameters[:-1], [v])
    torch.testing.assert_close(hessian_forms(loss + idle.sum(), parameters, [longer]), alone)
    torch.testing.assert_close(
        fisher_forms(net(X)[:, 0], parameters, [longer]), fisher_forms(net(X)[:, 0], parameters[:-1], [v])
    )
    assert float(hessian_forms(idle.sum(), [idle], [[torch.ones(2, dtype=torch.float64)]])[0]) == 0.0


@pytest.mark.parametrize("n", [4, 5])
def test_split_is_unbiased_where_curvature_and_gradient_share_their_noise_and_the_same_batch_is_not(n):
    """Units with losses hⱼ (θ - c)²/2: gradient hⱼ d and curvature hⱼ. All outcomes are enumerated."""
    d, outcomes = 2.0, (0.5, 1.5)
    mean, variance = 1.0, 0.25
    split, same = [], []
    for h in itertools.product(outcomes, repeat=n):
        gradients = [[torch.tensor([x * d], dtype=torch.float64)] for x in h]
        found = split_moments(
            gradients, lambda j, vs, h=h: torch.stack([h[j] * (v[0] ** 2).sum() for v in vs])
        )
        split.append((found.signal, found.noise))
        pairs = sum(a * b for i, a in enumerate(h) for j, b in enumerate(h) if i != j) / (n * (n - 1))
        same.append(sum(h) / n * pairs * d * d)
    signal, noise = torch.tensor(split, dtype=torch.float64).mean(0).tolist()
    assert signal == pytest.approx(mean**3 * d * d, rel=1e-12)
    assert noise == pytest.approx(mean * variance * d * d, rel=1e-12)
    assert sum(same) / len(same) == pytest.approx((mean**3 + 2 / n * variance * mean) * d * d, rel=1e-12)


def test_finds_b_noise_of_the_noisy_quadratic():
    q = NoisyQuadratic(torch.diag(torch.tensor([1.0, 4.0, 9.0])), torch.diag(torch.tensor([3.0, 1.0, 0.2])))
    theta = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(1200):
        gradients = [[q.sample_gradient(theta, 1, generator)] for _ in range(6)]
        found = split_moments(gradients, lambda _, vs: torch.stack([v[0] @ q.hessian @ v[0] for v in vs]))
        rows.append((found.signal, found.noise))
    table = torch.tensor(rows, dtype=torch.float64)
    mean, error = table.mean(0), table.std(0) / len(rows) ** 0.5
    g = q.gradient(theta)
    truth = torch.tensor(
        [float(g @ q.hessian @ g), float((q.hessian @ q.noise).trace())], dtype=torch.float64
    )
    assert ((mean - truth).abs() < 4 * error).all()
    assert float(mean[1] / mean[0]) == pytest.approx(q.b_noise(theta), rel=0.1)


def test_four_units_are_the_fewest():
    with pytest.raises(ValueError, match="at least four"):
        split_moments([[torch.ones(1)]] * 3, lambda j, vs: torch.ones(len(vs)))
