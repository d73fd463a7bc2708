"""Sums over parts and metrics against dense matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_gns.noise import moments
from rl_gns.noise.parts import FormSums, inverse_root, layer_groups

SHAPES = [(3, 2), (4,), (2, 2, 2)]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def units(n: int, seed: int = 0, shift: float = 0.5) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [shift + torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES] for _ in range(n)
    ]


def flat(g: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([x.flatten() for x in g])


def by_matrix(gradients, matrix):
    """U-statistics spelt out: the mean over pairs i≠j, and the sample covariance's trace."""
    g = torch.stack([flat(x) for x in gradients])
    n = len(g)
    pairs = g @ matrix @ g.T
    signal = (pairs.sum() - pairs.trace()) / (n * (n - 1))
    return float(signal), float((matrix @ torch.cov(g.T)).trace())


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 9), seed=st.integers(0, 1000), weighted=st.booleans())
def test_equals_the_dense_form_in_any_diagonal_metric(n, seed, weighted):
    gradients = units(n, seed)
    weights = [x.abs() + 0.1 for x in units(1, seed + 1)[0]] if weighted else None
    sums = FormSums(weights)
    for g in gradients:
        sums.add(g)
    matrix = torch.diag(flat(weights) ** 2) if weights else torch.eye(18, dtype=torch.float64)
    signal, noise = by_matrix(gradients, matrix)
    found = sums.moments()
    assert found.signal == pytest.approx(signal, rel=1e-9, abs=1e-9)
    assert found.noise == pytest.approx(noise, rel=1e-9)
    assert found.units == n


def test_disjoint_parameters_add_up_and_each_equals_its_own_block():
    gradients = units(5)
    sums = FormSums()
    for g in gradients:
        sums.add(g)
    parts = [sums.moments([0]), sums.moments([1, 2])]
    whole = sums.moments()
    assert sum(p.signal for p in parts) == pytest.approx(whole.signal)
    assert sum(p.noise for p in parts) == pytest.approx(whole.noise)
    first = torch.stack([g[0].flatten() for g in gradients])
    assert parts[0] == pytest.approx(moments(first.square().sum(1), first.mean(0).square().sum()))


def test_gradients_are_not_kept_or_changed():
    gradients = units(3)
    before = [[x.clone() for x in g] for g in gradients]
    sums = FormSums()
    for g in gradients:
        sums.add(g)
    assert all(
        torch.equal(a, b) for x, y in zip(gradients, before, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_one_unit_says_nothing():
    sums = FormSums()
    sums.add(units(1)[0])
    with pytest.raises(ValueError, match="at least two units"):
        sums.moments()


def test_layers_are_the_first_names_with_the_torso_looked_through():
    names = [
        "torso.conv1.weight",
        "torso.conv1.bias",
        "torso.dense.weight",
        "action.linear.weight",
        "log_std",
    ]
    assert layer_groups(names) == {"conv1": [0, 1], "dense": [2], "action": [3], "log_std": [4]}
    assert layer_groups(["torso.weight", "torso.value.w", "value.weight"]) == {
        "torso": [0],
        "torso.value": [1],
        "value": [2],
    }


def test_inverse_roots_by_hand():
    v = [torch.tensor([4.0, 9.0])]
    torch.testing.assert_close(inverse_root(v, 1.0)[0], torch.tensor([1 / 3, 1 / 4]))
    torch.testing.assert_close(inverse_root(v, 7.0, inside=True)[0], torch.tensor([11.0, 16.0]).rsqrt())
    torch.testing.assert_close(inverse_root(v, 1.0, scale=4.0)[0], torch.tensor([1 / 5, 1 / 7]))
