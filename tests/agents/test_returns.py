"""Returns and advantages against loops written from the definitions, and hand-worked numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.returns import gae, n_step_returns, next_values


def slow_returns(r, last, terminated, truncated, bootstrap, gamma):
    """Sum rewards forward from every step until an end or the rollout's edge."""
    steps, streams = r.shape
    out = torch.zeros_like(r)
    for n in range(streams):
        for t in range(steps):
            total, discount = 0.0, 1.0
            for k in range(t, steps):
                total += discount * float(r[k, n])
                discount *= gamma
                if terminated[k, n]:
                    break
                if truncated[k, n]:
                    total += discount * float(bootstrap[k, n])
                    break
            else:
                total += discount * float(last[n])
            out[t, n] = total
    return out


def slow_gae(r, v, last, terminated, truncated, bootstrap, gamma, lam):
    """Σ (γλ)^k δ_{t+k} up to an end, each δ from its own definition."""
    steps, streams = r.shape
    out = torch.zeros_like(r)
    for n in range(streams):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                after = float(last[n]) if k == steps - 1 else float(v[k + 1, n])
                if truncated[k, n]:
                    after = float(bootstrap[k, n])
                if terminated[k, n]:
                    after = 0.0
                out[t, n] += weight * (float(r[k, n]) + gamma * after - float(v[k, n]))
                weight *= gamma * lam
                if terminated[k, n] or truncated[k, n]:
                    break
    return out


@st.composite
def rollouts(draw):
    steps, streams = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    r, v, bootstrap = (torch.randn(steps, streams, generator=generator) for _ in range(3))
    terminated = torch.rand(steps, streams, generator=generator) < 0.25
    truncated = (torch.rand(steps, streams, generator=generator) < 0.25) & ~terminated
    return r, v, torch.randn(streams, generator=generator), terminated, truncated, bootstrap


@given(rollouts(), st.floats(0, 1), st.floats(0, 1))
def test_equal_their_definitions(rollout, gamma, lam) -> None:
    r, v, last, terminated, truncated, bootstrap = rollout
    rest = (last, terminated, truncated, bootstrap)
    torch.testing.assert_close(
        n_step_returns(r, *rest, gamma), slow_returns(r, *rest, gamma), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        gae(r, v, *rest, gamma, lam), slow_gae(r, v, *rest, gamma, lam), rtol=1e-4, atol=1e-5
    )


@given(rollouts(), st.floats(0, 1))
def test_lambda_one_is_n_step_returns_less_the_value(rollout, gamma) -> None:
    r, v, last, terminated, truncated, bootstrap = rollout
    rest = (last, terminated, truncated, bootstrap)
    torch.testing.assert_close(
        gae(r, v, *rest, gamma, 1.0) + v, n_step_returns(r, *rest, gamma), rtol=1e-4, atol=1e-4
    )


@given(rollouts(), st.floats(0, 1))
def test_lambda_zero_is_the_one_step_error(rollout, gamma) -> None:
    r, v, last, terminated, truncated, bootstrap = rollout
    rest = (last, terminated, truncated, bootstrap)
    torch.testing.assert_close(gae(r, v, *rest, gamma, 0.0), r + gamma * next_values(v, *rest) - v)


def test_by_hand() -> None:
    """Two steps of reward 1, γ = ½, then V = 8; once going on, once terminated, once truncated at V(final) = 4."""
    r = torch.ones(2, 3)
    terminated = torch.tensor([[False] * 3, [False, True, False]])
    truncated = torch.tensor([[False] * 3, [False, False, True]])
    bootstrap = torch.tensor([[0.0] * 3, [0.0, 0.0, 4.0]])
    last = torch.tensor([8.0, 8.0, 8.0])
    got = n_step_returns(r, last, terminated, truncated, bootstrap, 0.5)
    assert got.tolist() == [[3.5, 1.5, 2.5], [5.0, 1.0, 3.0]]


def test_wrong_shapes_are_refused() -> None:
    no = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\[T, N\]"):
        n_step_returns(torch.zeros(2, 3), torch.zeros(2), no, no, torch.zeros(2, 3), 0.9)
