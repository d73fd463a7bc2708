"""A run of a network with memory: what it learns from is what it played, through ends of games, kills and chunks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import a2c, ppo
from agents.memory import Seen
from envs import EnvError
from envs.batched import Step
from rl_gns.errors import UserError
from rl_gns.noise import backward_in_groups
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.ladder import PolicyPlayer
from rl_gns.training.loop import Trainer


def make(algo: str = "ppo", **settings: Any) -> Trainer:
    values = {
        **{"num_envs": 8, "rollout": 12, "sequence": 4, "noise_budget": 1.0, "past_share": 0.25, "seed": 3},
        **{
            "noise_groups": 2,
            "device": "cpu",
            "start_spread": 60,
            "snapshot_every": 300.0,
            "network": "entities-lstm",
        },
        **{"env_options": {"game_length": 10, "threads": 1}},
        **settings,
    }
    return Trainer(resolve(TrainConfig(env="moba:1v1", algo=algo, **values)))  # type: ignore[arg-type]


def moved(trainer: Trainer) -> Trainer:
    """With weights away from the start, where memory hardly matters."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in trainer.policy.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return trainer


@pytest.fixture
def played() -> Trainer:
    """A trainer whose present rollout has games that were cut short, and memory at its start."""
    trainer = moved(make())
    trainer.env.reset()
    trainer._collect()
    trainer._collect()
    ended = trainer.rollout.terminated | trainer.rollout.truncated
    assert ended[:-1].any()
    assert trainer.rollout.memory[0].any()
    return trainer


@torch.no_grad()
def test_learning_sees_the_probabilities_and_values_it_played_with(played: Trainer) -> None:
    s = played.settings
    batch = played.rollout.batch(s.gamma, s.gae_lambda)
    assert isinstance(s, ppo.Settings)
    ratio = ppo.loss(played.policy, batch, s.clip).ratio
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-4, atol=0)
    value = played.policy(batch.flat().observations())[1].view(batch.value.T.shape).T
    torch.testing.assert_close(value, batch.value, rtol=1e-4, atol=1e-5)
    forgetful = Seen(batch.obs.obs, torch.zeros_like(batch.obs.memory), batch.obs.fresh, 4)  # type: ignore[union-attr]
    other = played.policy(forgetful.transpose(0, 1).flatten(0, 1))[1].view(batch.value.T.shape).T
    assert not torch.allclose(other, batch.value, rtol=1e-3)  # memory matters to what was compared


@torch.no_grad()
def test_memory_is_what_playing_a_stream_alone_leaves(played: Trainer) -> None:
    """A slow twin: one stream's decisions in turn, from the rollout's start to the value after its last."""
    rollout, policy = played.rollout, played.policy
    ended = rollout.terminated | rollout.truncated
    for stream in range(rollout.streams):
        memory = rollout.memory[0, stream][None].clone()
        for t in range(rollout.steps):
            torch.testing.assert_close(rollout.memory[t, stream][None], memory, rtol=1e-4, atol=1e-6)
            seen = Seen(rollout.obs[t, stream][None], memory, torch.tensor([False]))  # type: ignore[index]
            value = policy(seen)[1]
            torch.testing.assert_close(value[0], rollout.value[t, stream], rtol=1e-4, atol=1e-5)
            assert seen.after is not None
            memory = torch.zeros_like(memory) if ended[t, stream] else seen.after
        torch.testing.assert_close(played.collector.memory.state[stream][None], memory, rtol=1e-4, atol=1e-6)


def test_the_gradient_runs_back_through_a_sequence_and_no_further(played: Trainer) -> None:
    """Against sequences taken one by one, each through single calls whose memory carries a gradient."""
    played.policy.double()
    s, policy = played.settings, played.policy
    batch = played.rollout.batch(s.gamma, s.gae_lambda)
    weight = torch.randn(batch.advantage.shape, generator=torch.Generator().manual_seed(1)).double()
    policy.zero_grad(set_to_none=True)
    value = policy(batch.flat().observations())[1].view(weight.T.shape).T
    (value * weight).sum().backward()
    found = [None if p.grad is None else p.grad.clone() for p in policy.parameters()]
    policy.zero_grad(set_to_none=True)
    assert isinstance(batch.obs, Seen)
    for stream in range(weight.shape[1]):
        for start in range(0, weight.shape[0], 4):
            memory: Tensor = batch.obs.memory[start, stream][None].double()
            for t in range(start, start + 4):
                if t > start and batch.obs.fresh[t, stream]:
                    memory = torch.zeros_like(memory)
                seen = Seen(batch.obs.obs[t, stream][None], memory, torch.tensor([False]))
                (policy(seen)[1][0] * weight[t, stream]).backward(retain_graph=True)
                assert seen.after is not None
                memory = seen.after
    for p, g in zip(policy.parameters(), found, strict=True):
        assert (p.grad is None) == (g is None)
        if g is not None:
            torch.testing.assert_close(g, p.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_moments_equal_a_pass_per_group_and_any_chunk(algo: str) -> None:
    trainer = moved(make(algo))
    trainer.policy.double()
    trainer.env.reset()
    trainer._collect()
    settings, policy = trainer.settings, trainer.policy
    batch = trainer.rollout.batch(settings.gamma, settings.gae_lambda)

    def loss_of(streams: slice) -> Tensor:
        part = batch[:, streams]
        if isinstance(settings, ppo.Settings):
            return ppo.loss(policy, part, settings.clip).total(settings.value_coef, settings.entropy_coef)
        return a2c.loss(policy, part).total(settings.value_coef, settings.entropy_coef)

    policy.zero_grad(set_to_none=True)
    width = trainer.rollout.streams // 2
    squares = []
    for group in range(2):
        grads = torch.autograd.grad(
            loss_of(slice(group * width, (group + 1) * width)).mean(),
            list(policy.parameters()),
            allow_unused=True,
        )
        squares.append(sum(float(g.square().sum()) for g in grads if g is not None))
    for chunk in (10**6, 24):
        policy.zero_grad(set_to_none=True)
        trainer._take_chunk(chunk)
        trainer.backward(loss_of)
        assert trainer.backward.moments is not None
        total = sum(float(p.grad.square().sum()) for p in policy.parameters() if p.grad is not None)
        assert trainer.backward.moments.signal == pytest.approx(2 * total - sum(squares) / 2, rel=1e-6)


@pytest.mark.parametrize("past", [{}, {"past_selves": 2, "snapshot_every": 170.0}])
def test_a_restored_run_goes_on_to_the_bit(past: dict[str, Any]) -> None:
    """Also where past selves are forgotten in the middle of their games."""
    one, other = make(**past), make(**past)
    for _ in range(4):
        one.update()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert other.selfplay is not None
    assert other.selfplay._memory.state.any()
    for _ in range(3):
        one.update()
        other.update()
    for (name, a), b in zip(one.policy.state_dict().items(), other.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(one.collector.memory.state, other.collector.memory.state)
    assert one.selfplay is not None
    assert torch.equal(one.selfplay._memory.state, other.selfplay._memory.state)
    assert (0.0 in other.selfplay.odds) == bool(past)


def test_a_run_of_other_rules_is_not_gone_on_with() -> None:
    trainer = make()
    state = copy.deepcopy(trainer.state_dict())
    del state["env"]["rules"]  # as in every checkpoint before rules 2
    with pytest.raises(EnvError, match=r"under rules 1, here are rules \d+: .* start anew"):
        trainer.load_state_dict(state)


def test_players_of_the_ladder_remember_their_own_game() -> None:
    trainer = moved(make())
    player = PolicyPlayer(trainer.policy, seed=0, deterministic=True)
    obs = trainer.env.reset()
    player(obs)
    assert player._memory is not None
    first = player._memory.state.clone()
    player(obs)
    assert first.any()
    assert not torch.equal(first, player._memory.state)


def test_groups_by_hand_need_nothing_of_memory() -> None:
    """`backward_in_groups`, for other people's loops, takes such a batch as any other."""
    trainer = moved(make("a2c"))
    trainer.env.reset()
    trainer._collect()
    batch = trainer.rollout.batch(0.99, 1.0)
    half = batch.advantage.shape[1] // 2
    found = backward_in_groups(
        lambda rows: a2c.loss(trainer.policy, batch[:, rows]).total(0.5, 0.01),
        [slice(0, half), slice(half, 2 * half)],
        list(trainer.policy.parameters()),
    )
    assert found.units == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"network": "entities"}, "sequence=4 is for a network with memory"),
        ({"sequence": 5}, "divide rollout=12, got 5"),
        ({"sequence": -4}, "at least 1"),
        ({"correlation_every": 3}, "network without memory"),
        ({"minibatches": 4}, "cuts sequences of 4 decisions apart"),
        ({"compile": True}, "compile is for the networks"),
    ],
)
def test_bad_settings_get_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        make(**settings).close()
    assert "\n" not in str(error.value)


def test_sixteen_decisions_by_default() -> None:
    found = resolve(TrainConfig(env="moba:1v1", algo="ppo", network="entities-lstm"))
    assert found.sequence == 16
    assert resolve(TrainConfig(env="moba:1v1", algo="ppo", network="entities-lstm", rollout=24)).sequence == 8


@torch.no_grad()
def test_values_at_ends_and_edges_are_of_what_was_remembered_until_then() -> None:
    trainer = moved(make())
    play, steps, take = trainer.selfplay, list[Step](), trainer.selfplay.take

    def noted(step: Step) -> Step:
        steps.append(take(step))
        return steps[-1]

    play.take = noted
    trainer.env.reset()
    trainer._collect()
    steps.clear()
    trainer._collect()
    rollout, policy, ongoing, ends = trainer.rollout, trainer.policy, torch.tensor([False]), 0
    for t, step in enumerate(steps):
        for i in step.truncated.nonzero().squeeze(1).tolist():
            seen = Seen(rollout.obs[t, i][None], rollout.memory[t, i][None], ongoing)
            policy(seen)
            value = policy(Seen(step.final_obs[i][None], seen.after, ongoing))[1][0]
            torch.testing.assert_close(rollout.bootstrap[t, i], value, rtol=1e-4, atol=1e-5)
            ends += 1
    assert ends > 0
    obs, state = trainer.env.observation()[play.learnt], trainer.collector.memory.state
    value = policy(Seen(obs, state, ongoing.expand(len(obs))))[1]
    torch.testing.assert_close(rollout.last_value, value, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_past_self_that_begins_a_game_remembers_nothing_of_the_one_before() -> None:
    trainer = make()
    play, over = trainer.selfplay, torch.tensor(False)
    trainer.env.reset()
    play._memory.state.fill_(1.0)
    while not over.any():
        own = torch.zeros(len(play.learnt), 3, dtype=torch.int64)
        step = trainer.env.step(play.with_past(own, trainer.env.observation()))
        play.take(step)
        over = (step.terminated | step.truncated)[play.theirs]
        kept = play._memory.state[play.theirs]
        assert not kept[over].any()
        assert kept[~over].any(1).all()
