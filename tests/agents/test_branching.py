"""A branching action against the table of all actions: probabilities, entropy, samples."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.distributions import Branching, Categorical

KINDS, VARIANTS, TARGETS, DIRECTIONS = 4, 2, 3, 2
TARGET_OF, DIRECTION_OF = torch.tensor([-1, 0, 1, -1]), torch.tensor([-1, -1, -1, 0])


def make(seed: int, rows: int = 3) -> tuple[Branching, Tensor, Tensor]:
    """A random distribution whose masks leave something to every kind, and the masks of kinds and targets."""
    g = torch.Generator().manual_seed(seed)
    legal = torch.rand(rows, VARIANTS, TARGETS, generator=g) < 0.6
    legal[..., 0] |= ~legal.any(-1)
    kinds = torch.rand(rows, KINDS, generator=g) < 0.7
    kinds[:, 0] = True

    def logits(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=g, dtype=torch.float64)

    distribution = Branching(
        Categorical(logits(KINDS), kinds),
        [Categorical(logits(VARIANTS, TARGETS), legal), Categorical(logits(1, DIRECTIONS))],
        [TARGET_OF, DIRECTION_OF],
    )
    return distribution, kinds, legal


def every_action() -> Tensor:
    """[actions, 3], parts that a kind does not use at 0."""
    found = []
    for kind, target, direction in itertools.product(range(KINDS), range(TARGETS), range(DIRECTIONS)):
        if (TARGET_OF[kind] >= 0 or target == 0) and (DIRECTION_OF[kind] >= 0 or direction == 0):
            found.append((kind, target, direction))
    return torch.tensor(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_probabilities_add_to_one_and_give_the_entropy(seed: int) -> None:
    distribution, kinds, legal = make(seed)
    actions = every_action()
    table = torch.stack([distribution.log_prob(action.expand(3, 3)) for action in actions], -1)
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(3, dtype=torch.float64))
    expected = -(table.exp() * table.clamp(min=-1e9)).sum(-1)
    torch.testing.assert_close(distribution.entropy(), expected)
    for column, (kind, target, _) in zip(table.T, actions.tolist(), strict=True):
        allowed = kinds[:, kind].clone()
        if TARGET_OF[kind] >= 0:
            allowed &= legal[:, TARGET_OF[kind], target]
        assert torch.equal(column > -torch.inf, allowed)


def test_samples_have_their_probabilities_and_repeat() -> None:
    distribution, _, _ = make(5, rows=1)
    rows = 20_000
    many = Branching(
        Categorical(distribution.kind.log_probs.expand(rows, -1)),
        [Categorical(part.log_probs.expand(rows, -1, -1)) for part in distribution.parts],
        distribution.variants,
    )
    drawn = many.sample(torch.Generator().manual_seed(1))
    assert torch.equal(drawn, many.sample(torch.Generator().manual_seed(1)))
    for action in every_action():
        p = float(distribution.log_prob(action[None]).exp())
        share = float((drawn == action).all(-1).double().mean())
        assert share == pytest.approx(p, abs=5 * (max(p, 1e-4) / rows) ** 0.5)


def test_mode_takes_the_likeliest_of_each_part_it_uses() -> None:
    distribution, _, _ = make(8)
    mode = distribution.mode()
    assert torch.equal(mode[:, 0], distribution.kind.log_probs.argmax(-1))
    for row, (kind, target, direction) in enumerate(mode.tolist()):
        if TARGET_OF[kind] < 0:
            assert target == 0
        else:
            assert target == int(distribution.parts[0].log_probs[row, TARGET_OF[kind]].argmax())
        assert direction == 0 or DIRECTION_OF[kind] >= 0


def test_a_part_that_is_not_used_has_no_gradient() -> None:
    kinds, targets = torch.zeros(2, 4, requires_grad=True), torch.zeros(2, 2, 3, requires_grad=True)
    directions = torch.zeros(2, 1, 2, requires_grad=True)
    parts = [Categorical(targets), Categorical(directions)]
    distribution = Branching(Categorical(kinds), parts, [TARGET_OF, DIRECTION_OF])
    distribution.log_prob(torch.tensor([[1, 2, 0], [3, 0, 1]])).sum().backward()
    assert targets.grad is not None
    assert directions.grad is not None
    assert targets.grad[0, 0].any()
    assert not targets.grad[0, 1].any()
    assert not targets.grad[1].any()
    assert not directions.grad[0].any()
    assert directions.grad[1].any()


def test_gradients_are_finite_where_masks_forbid() -> None:
    logits = torch.randn(3, KINDS, requires_grad=True)
    _, kinds, _ = make(2)
    targets = torch.randn(3, VARIANTS, TARGETS, requires_grad=True)
    legal = torch.tensor([[True, False, False], [False, True, True]]).expand(3, -1, -1)
    parts = [Categorical(targets, legal), Categorical(torch.zeros(3, 1, DIRECTIONS))]
    distribution = Branching(Categorical(logits, kinds), parts, [TARGET_OF, DIRECTION_OF])
    actions = distribution.sample(torch.Generator().manual_seed(0))
    (distribution.log_prob(actions).sum() + distribution.entropy().sum()).backward()
    assert logits.grad is not None
    assert targets.grad is not None
    assert logits.grad.isfinite().all()
    assert targets.grad.isfinite().all()
