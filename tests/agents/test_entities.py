"""The network over entity rows: what it must not depend on, masks, gradient norms per environment, bad input."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import rl_gns.noise.per_environment as per_environment
from agents.entities import Entities
from agents.networks import make_policy


@dataclasses.dataclass(frozen=True)
class Block:
    name: str
    entity: str
    start: int
    rows: int
    names: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def scale(self) -> tuple[float, ...]:
        return (1.0, 100.0, 10.0)[: self.width] if self.entity != "mask" else (1.0,) * self.width


class Layout:
    """Two kinds of entities in four blocks, one of them empty; kinds of action: wait, move, attack, cast."""

    def __init__(self) -> None:
        entity, shape = ("visible", "x", "health"), ("visible", "x")
        rows = [
            ("self", "hero", 1, entity),
            ("allies", "hero", 0, entity),
            ("enemies", "hero", 2, entity),
            ("towers", "tower", 3, shape),
            ("global", "global", 1, entity),
            ("kind", "mask", 1, ("wait", "move", "attack", "cast")),
            ("direction", "mask", 1, ("up", "down")),
            ("kind_target", "mask", 2, tuple("012345")),
        ]
        self.blocks: dict[str, Block] = {}
        start = 0
        for name, kind, count, names in rows:
            self.blocks[name] = Block(name, kind, start, count, names)
            start += count * len(names)
        self.size = start

    def view(self, obs: Tensor, name: str) -> Tensor:
        b = self.blocks[name]
        return obs[..., b.start : b.start + b.rows * b.width].unflatten(-1, (b.rows, b.width))


LAYOUT = Layout()
SPACE = spaces.Box(-1000, 1000, (LAYOUT.size,), np.int16)
ACTIONS = spaces.MultiDiscrete([4, 6, 2])


def observations(rows: int, seed: int = 0) -> Tensor:
    """Random rows, most of them visible, with masks that leave something."""
    g = torch.Generator().manual_seed(seed)
    obs = torch.randint(-100, 100, (rows, LAYOUT.size), generator=g, dtype=torch.int16)
    for name in ("self", "enemies", "towers"):
        view = LAYOUT.view(obs, name)
        view[..., 0] = (torch.rand(view.shape[:-1], generator=g) < 0.7).to(torch.int16)
    for name in ("kind", "direction", "kind_target"):
        view = LAYOUT.view(obs, name)
        view[...] = (torch.rand(view.shape, generator=g) < 0.6).to(torch.int16)
        view[..., 0] = 1
    return obs


@pytest.fixture
def policy() -> Entities:
    policy = make_policy("auto", SPACE, ACTIONS, seed=1, layout=LAYOUT)
    assert isinstance(policy, Entities)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the nearly uniform start, where many mistakes would not show
        for p in policy.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return policy


def test_shapes_and_masks(policy: Entities) -> None:
    obs = observations(500)
    distribution, value = policy(obs)
    actions = distribution.sample(torch.Generator().manual_seed(0))
    assert actions.shape == (500, 3)
    assert value.shape == distribution.entropy().shape == (500,)
    assert distribution.log_prob(actions).isfinite().all()
    every, (kind, target, direction) = torch.arange(500), actions.T
    assert (LAYOUT.view(obs, "kind")[every, 0, kind] == 1).all()
    aimed = kind >= 2
    assert (LAYOUT.view(obs, "kind_target")[every, (kind - 2).clamp(min=0), target] == 1)[aimed].all()
    moved = kind == 1
    assert (LAYOUT.view(obs, "direction")[every, 0, direction] == 1)[moved].all()
    assert aimed.any()
    assert moved.any()
    assert not target[~aimed].any()


def test_what_an_unseen_row_holds_does_not_matter(policy: Entities) -> None:
    obs = observations(50)
    LAYOUT.view(obs, "enemies")[:, 1] = 0
    LAYOUT.view(obs, "kind_target")[..., 2] = 0  # the target number of that row
    other = obs.clone()
    LAYOUT.view(other, "enemies")[:, 1, 1:] = 77
    (a, v), (b, w) = policy(obs), policy(other)
    assert torch.equal(v, w)
    assert torch.equal(a.kind.log_probs, b.kind.log_probs)
    assert torch.equal(a.parts[0].log_probs.exp(), b.parts[0].log_probs.exp())


def test_the_order_of_a_blocks_rows_only_moves_the_targets(policy: Entities) -> None:
    obs = observations(50)
    other = obs.clone()
    LAYOUT.view(other, "towers")[:] = LAYOUT.view(obs, "towers")[:, [2, 0, 1]]
    order = [0, 1, 2, 5, 3, 4]
    LAYOUT.view(other, "kind_target")[:] = LAYOUT.view(obs, "kind_target")[..., order]
    (a, v), (b, w) = policy(obs), policy(other)
    torch.testing.assert_close(v, w)
    torch.testing.assert_close(a.parts[0].log_probs[..., order].exp(), b.parts[0].log_probs.exp())


def test_own_and_enemy_rows_are_told_apart(policy: Entities) -> None:
    obs = observations(20)
    other = obs.clone()
    LAYOUT.view(other, "self")[:, 0], LAYOUT.view(other, "enemies")[:, 0] = (
        LAYOUT.view(obs, "enemies")[:, 0],
        LAYOUT.view(obs, "self")[:, 0],
    )
    assert not torch.allclose(policy(obs)[1], policy(other)[1])


def test_a_target_is_scored_by_its_own_row(policy: Entities) -> None:
    """Changing one visible tower changes the odds of that target against another; a slow twin of the dot product."""
    obs = observations(1)
    LAYOUT.view(obs, "towers")[..., 0] = 1
    x = obs[:, : LAYOUT.blocks["kind"].start].float()
    encodings = torch.cat([kind(x)[0] for kind in policy.kinds.values()], 1)
    pools = [pool for kind in policy.kinds.values() for pool in kind(x)[1]]
    numbers = LAYOUT.view(obs, "global")[:, 0] * policy.scale
    hidden = torch.relu(policy.dense1(torch.cat([*pools, torch.relu(policy.globals(numbers))], -1)))
    query = policy.query(torch.relu(policy.dense2(hidden)))[0].view(2, -1)
    for variant in range(2):
        scores = torch.stack([query[variant] @ policy.key(row) for row in encodings[0]]) / math.sqrt(32)
        legal = LAYOUT.view(obs, "kind_target")[0, variant] == 1
        expected = scores.masked_fill(~legal, -math.inf).log_softmax(0)
        found = policy(obs)[0].parts[0].log_probs[0, variant]
        torch.testing.assert_close(found.exp(), expected.exp())


@pytest.mark.parametrize("streams", [1, 4])
def test_gradient_norms_of_worlds_equal_a_loop(
    policy: Entities, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole worlds of several streams; and the one pass covers every layer, so nothing falls back to passes a unit."""
    policy.double()
    steps, worlds = 3, 5
    obs = observations(steps * worlds * streams)
    actions = policy(obs)[0].sample(torch.Generator().manual_seed(0))
    weight = torch.randn(steps * worlds * streams, generator=torch.Generator().manual_seed(1)).double()

    def losses() -> Tensor:
        distribution, value = policy(obs)
        loss = -weight * distribution.log_prob(actions) + value.square() - 0.1 * distribution.entropy()
        return loss.view(steps, worlds * streams)

    further: list[list[Tensor]] = []
    real = per_environment._by_further_passes
    monkeypatch.setattr(per_environment, "_by_further_passes", lambda *a: (further.append(a[2]), real(*a))[1])
    found, mean_sq = per_environment.per_environment_backward(losses, policy, units=worlds)
    assert further == [[]]
    parameters = list(policy.parameters())
    mean = [torch.zeros_like(p) for p in parameters]
    for world in range(worlds):
        own = losses()[:, world * streams : (world + 1) * streams].mean()
        grads = torch.autograd.grad(own, parameters)
        assert float(found[world]) == pytest.approx(sum(float(g.square().sum()) for g in grads), rel=1e-8)
        mean = [m + g / worlds for m, g in zip(mean, grads, strict=True)]
    assert float(mean_sq) == pytest.approx(sum(float(m.square().sum()) for m in mean), rel=1e-8)
    for p, m in zip(parameters, mean, strict=True):
        torch.testing.assert_close(p.grad, m)


def test_numbers_stay_numbers_where_a_kind_that_is_masked_out_has_nothing_legal(policy: Entities) -> None:
    """As of a hero that can't act: it can only wait."""
    obs = observations(20)
    for name in ("kind_target", "direction"):
        LAYOUT.view(obs, name)[...] = 0
    LAYOUT.view(obs, "kind")[...] = torch.tensor([1, 0, 0, 0])
    distribution, value = policy(obs)
    actions = distribution.sample(torch.Generator().manual_seed(0))
    assert not actions.any()
    assert not distribution.mode().any()
    torch.testing.assert_close(distribution.log_prob(actions), torch.zeros(20))
    torch.testing.assert_close(distribution.entropy(), torch.zeros(20))
    (distribution.log_prob(actions) + distribution.entropy() + value).sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in policy.parameters())


def test_every_number_is_divided_by_its_scale(policy: Entities) -> None:
    """The same weights with scales of 1 say the same of numbers that were divided before."""

    class Plain(Block):
        @property
        def scale(self) -> tuple[float, ...]:
            return (1.0,) * self.width

    layout = Layout()
    layout.blocks = {name: Plain(**vars(block)) for name, block in layout.blocks.items()}
    other = make_policy("entities", SPACE, ACTIONS, layout=layout)
    other.load_state_dict(policy.state_dict())
    obs = observations(30)
    scale = torch.cat([torch.tensor(b.scale).repeat(b.rows) for b in LAYOUT.blocks.values()])
    (a, v), (b, w) = policy(obs), other(obs / scale)
    torch.testing.assert_close(v, w)
    torch.testing.assert_close(a.kind.log_probs, b.kind.log_probs)
    torch.testing.assert_close(a.parts[0].log_probs.exp(), b.parts[0].log_probs.exp())
    assert not torch.allclose(policy(obs / scale)[1], w, rtol=0.01)


def test_it_learns_to_pick_the_weakest_target() -> None:
    """The dot product can find the row that the reward is on."""
    policy = make_policy("entities", SPACE, ACTIONS, seed=0, layout=LAYOUT)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    g = torch.Generator().manual_seed(0)
    hits = 0.0
    for i in range(250):
        obs = observations(256, seed=i)
        LAYOUT.view(obs, "towers")[..., 0] = 1
        LAYOUT.view(obs, "kind")[...] = torch.tensor([0, 0, 1, 0])
        LAYOUT.view(obs, "kind_target")[...] = torch.tensor([0, 0, 0, 1, 1, 1])
        best = 3 + LAYOUT.view(obs, "towers")[..., 1].argmin(-1)
        distribution, _ = policy(obs)
        actions = distribution.sample(g)
        reward = (actions[:, 1] == best).float()
        loss = -(distribution.log_prob(actions) * (reward - reward.mean())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hits = float(reward.mean())
    assert hits > 0.8  # a third by chance


@pytest.mark.parametrize(
    ("space", "actions", "layout", "words"),
    [
        (SPACE, ACTIONS, None, "wants a layout"),
        (SPACE, spaces.MultiDiscrete([4, 6, 3]), LAYOUT, "wants actions"),
        (spaces.Box(-1, 1, (7,)), ACTIONS, LAYOUT, "observations of"),
    ],
)
def test_bad_input_gets_one_line(
    space: spaces.Space, actions: spaces.Space, layout: Layout | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make_policy("entities", space, actions, layout=layout)
    assert "\n" not in str(caught.value)
