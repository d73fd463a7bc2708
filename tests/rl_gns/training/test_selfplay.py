"""Self-play: who plays where, what is learnt from, units of noise that are whole worlds, exact continuation."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

import envs
from agents import ppo
from envs import BatchedEnv
from envs.batched import Step
from envs.moba.opponents import Scripted
from envs.moba.options import parse
from rl_gns.errors import UserError
from rl_gns.noise import moments
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer
from rl_gns.training.selfplay import SelfPlay

NAN = math.nan


class Duel(BatchedEnv):
    """Two teams; an observation tells its stream's number and the clock. Games last 3 + world % 3 decisions."""

    def __init__(self, num_envs: int, agents_per_env: int) -> None:
        self.spec, self.num_envs, self.agents_per_env = "moba:duel", num_envs, agents_per_env
        self.device = torch.device("cpu")
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.clock = torch.zeros(num_envs, dtype=torch.int64)
        self.taken: Tensor | None = None

    def reset(self, seed: int | None = None) -> Tensor:
        self.clock.zero_()
        return self.observation()

    def observation(self) -> Tensor:
        clock = self.clock.repeat_interleave(self.agents_per_env) / 10
        return torch.stack([torch.arange(self.num_streams) / self.num_streams, clock], -1).float()

    def step(self, actions: Tensor) -> Step:
        self.taken = actions.clone()
        self.clock += 1
        over = self.clock >= 3 + torch.arange(self.num_envs) % 3
        wins = actions.view(self.num_envs, 2, -1).sum(-1)
        score = torch.where(wins[:, 0] >= wins[:, 1], 1.0, -1.0)
        length = self.clock.float().masked_fill(~over, NAN)
        self.clock[over] = 0
        both = torch.stack([score, -score], 1).masked_fill(~over[:, None], NAN)
        each = both.repeat_interleave(self.agents_per_env // 2, 1).flatten()
        ended = over.repeat_interleave(self.agents_per_env)
        reward = torch.cos(5 * self.observation()[:, 0] + actions)
        obs = self.observation()
        return Step(
            *(obs, reward, ended, torch.zeros_like(ended), obs, each),
            length.repeat_interleave(self.agents_per_env),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"clock": self.clock.numpy().copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clock = torch.tensor(np.asarray(state["clock"]).tolist())


MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(monkeypatch: pytest.MonkeyPatch) -> MakeTrainer:
    def make(agents: int = 2, num_envs: int = 10, **settings: Any) -> Trainer:
        monkeypatch.setattr(envs, "make", lambda *_, **__: Duel(num_envs, agents))
        values = {
            "rollout": 4,
            "minibatches": 2,
            "noise_budget": 1.0,
            "snapshot_every": 100,
            "seed": 3,
        }
        config = TrainConfig(
            env="moba:duel", algo="ppo", num_envs=num_envs, device="cpu", **{**values, **settings}
        )
        return Trainer(resolve(config))

    return make


def split(config: TrainConfig, agents: int) -> SelfPlay:
    env = Duel(config.num_envs or 1, agents)
    return SelfPlay(config, env, nn.Linear(2, 3), seed=0)


@pytest.mark.parametrize("agents", [2, 6, 10])
def test_every_group_has_the_same_mix(agents: int) -> None:
    config = resolve(TrainConfig(env="moba:duel", algo="ppo", num_envs=20, noise_groups=2))
    play, heroes = split(config, agents), agents // 2
    assert play.past == [8, 9, 18, 19]  # a fifth, the last of each group
    both = torch.cat([play.learnt, play.theirs]).sort().values
    assert torch.equal(both, torch.arange(20 * agents))
    assert play.learnt_streams == 20 * agents - 4 * heroes
    group = play.learnt // (10 * agents)
    assert (group == 0).sum() == (group == 1).sum()
    assert torch.equal(group, group.sort().values)
    team = play.theirs % agents // heroes
    assert team.tolist() == [1] * heroes + [0] * heroes + [1] * heroes + [0] * heroes
    assert play.counted.sum() == 4
    assert set((play.learnt[play.counted] // agents).tolist()) == set(play.past)


def test_groups_are_chosen_so_that_each_has_a_past_self() -> None:
    config = TrainConfig(env="moba:1v1", algo="ppo", num_envs=16)
    assert (config.groups, config.past_worlds(config.groups)) == (4, 1)
    config = TrainConfig(env="moba:1v1", algo="ppo", num_envs=80)
    assert (config.groups, config.past_worlds(config.groups)) == (8, 2)
    assert resolve(dataclasses.replace(config, rollout=24)).minibatches == 8
    scripted = TrainConfig(env="moba:1v1", algo="ppo", num_envs=16, opponents="laner")
    assert (scripted.groups, scripted.past_worlds(8)) == (8, 0)
    assert scripted.environment_options() == {"opponent": "laner"}


def test_past_selves_play_by_their_own_weights(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    play = trainer.selfplay
    assert play is not None
    with torch.no_grad():  # the past always does 2, the present always 0
        play.pool.weights[0]["action.linear.bias"].copy_(torch.tensor([0.0, 0.0, 99.0]))
        trainer.policy.action.linear.bias.copy_(torch.tensor([99.0, 0.0, 0.0]))  # type: ignore[union-attr, operator]
    trainer._collect()
    taken = trainer.env.taken  # type: ignore[attr-defined]
    assert (taken[play.theirs] == 2).all()
    assert (taken[play.learnt] == 0).all()
    seen = (trainer.rollout.obs[:, :, 0] * trainer.env.num_streams).round().long()
    assert torch.equal(seen, play.learnt.expand(4, -1))  # nothing of a past self is in the rollout
    assert (trainer.rollout.actions == 0).all()


def test_only_games_against_past_selves_are_scored(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    play = trainer.selfplay
    assert play is not None
    drawn: list[int] = []
    real = play.pool.draw
    play.pool.draw = lambda n, g=None: drawn.append(n) or real(n, g)  # type: ignore[method-assign, assignment, func-returns-value]
    before = dict(play.pool.quality)
    trainer._collect()
    lasts = [3 + world % 3 for world in play.past]
    finished = sum(4 // last for last in lasts)
    assert trainer.tally.games == len(trainer.tally.episodes) == finished
    assert drawn == [1] * finished
    wins = sum(score > 0 for _, _, score, _ in trainer.tally.episodes)
    assert play.pool.quality[0] == pytest.approx(before[0] - 0.01 * wins)  # η / (N p) with one member
    assert all(length == 3 + int(play.learnt[i]) // 2 % 3 for _, i, _, length in trainer.tally.episodes)


def test_scripts_spar_in_half_of_those_games() -> None:
    options: dict[str, int | float | bool | str] = {"game_length": 10, "threads": 1}
    config = TrainConfig(
        env="moba:1v1",
        algo="ppo",
        num_envs=80,
        past_share=0.5,
        sparring="laner, idle",
        rollout=2,
        device="cpu",
    )
    trainer = Trainer(resolve(dataclasses.replace(config, env_options=options, noise_budget=0.0)))
    play = trainer.selfplay
    assert play is not None
    counts = [play.playing.count(member) for member in (0, -1, -2)]
    assert sum(counts) == 40
    assert counts[0] > 10
    assert min(counts[1:]) > 3
    trainer.env.reset()
    obs = trainer.env.observation()
    joined = play.with_past(torch.zeros(len(play.learnt), 3, dtype=torch.int64), obs)
    layout = trainer.env.layout  # type: ignore[attr-defined]
    for member, name in ((-1, "laner"), (-2, "idle")):
        rows = play.theirs[[i for i, other in enumerate(play.playing) if other == member]]
        assert torch.equal(joined[rows], Scripted(name, layout)(obs[rows]))
    for _ in range(40):  # past the end of a game
        trainer.update()
    assert {member < 0 for member in play.playing} == {True, False}
    with pytest.raises(UserError, match="sparring: there is no script"):
        Trainer(resolve(dataclasses.replace(config, sparring="lanner")))


def test_snapshots_come_by_observations(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(past_selves=2)  # 18 learnt streams x 4 decisions = 72 observations an update
    taken = []
    for _ in range(5):
        trainer.update()
        assert trainer.selfplay is not None
        taken.append(trainer.selfplay.pool.taken)
    assert taken == [1, 2, 3, 3, 4]  # at 72, 144, 216, 288, 360
    assert len(trainer.selfplay.pool.weights) == 2
    assert set(trainer.selfplay.playing) <= set(trainer.selfplay.pool.weights)


def test_who_takes_over_a_game_does_not_remember_it_as_another_network_did() -> None:
    worlds = {"num_envs": 20, "noise_groups": 2}
    config = resolve(TrainConfig(env="moba:duel", algo="ppo", past_selves=2, snapshot_every=100, **worlds))
    policy = nn.Linear(2, 3)
    policy.memory_size = 4  # type: ignore[assignment]
    play = SelfPlay(config, Duel(20, 6), policy, seed=0)
    play.snapshot_if_due(policy, 100)
    play.playing = [0, 1, 0, 1]  # in worlds 8, 9, 18 and 19
    play.pool.quality = {0: -1.0, 1: 0.0}
    play._memory.state.fill_(1.0)
    play.snapshot_if_due(policy, 200)
    assert 0 not in play.pool.weights
    assert play.playing[1::2] == [1, 1]
    assert play.odds[::2] == [0.0, 0.0]
    forgotten = (play._memory.state == 0).all(1)
    assert torch.equal(forgotten.nonzero().squeeze(1), play.theirs.view(4, 3)[::2].flatten())
    assert (play._memory.state[~forgotten] == 1).all()


@pytest.mark.parametrize("agents", [2, 4, 10])
@pytest.mark.parametrize("past_share", [0.0, 0.2])
def test_the_unit_of_noise_is_the_world(make_trainer: MakeTrainer, agents: int, past_share: float) -> None:
    """Moments of whole worlds, or groups of them, equal those of a loop over their gradients."""
    trainer = make_trainer(agents, past_share=past_share, noise_groups=2 if past_share else 10, rollout=2)
    policy, settings = trainer.policy, trainer.settings
    start = {name: w.clone() for name, w in policy.state_dict().items()}
    trainer.update()
    end, found = policy.state_dict(), trainer.backward.moments
    assert found is not None
    assert isinstance(settings, ppo.Settings)
    assert not torch.equal(start["value.weight"], end["value.weight"])
    policy.load_state_dict(start)
    batch = trainer.rollout.batch(settings.gamma, settings.gae_lambda)
    advantage = ppo.normalized(batch.advantage)
    groups, learnt = trainer.config.groups, trainer.rollout.streams
    streams = torch.arange(10 * agents) if trainer.selfplay is None else trainer.selfplay.learnt
    assert len(streams) == learnt
    gradients = []
    for group in range(groups):
        rows = (streams // agents // (10 // groups) == group).nonzero().squeeze(1)
        part = batch[:, rows]
        part.__dict__["advantage"] = advantage[:, rows]
        loss = ppo.loss(policy, part, settings.clip).total(settings.value_coef, settings.entropy_coef).mean()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.parameters()))])
        )
    stack = torch.stack(gradients).double()
    expected = moments(stack.square().sum(1), stack.mean(0).square().sum())
    assert found.noise == pytest.approx(expected.noise * 10 / groups, rel=1e-4)  # of one (average) world
    assert found.signal == pytest.approx(expected.signal, rel=1e-3, abs=1e-6)
    assert trainer.unit_observations == 2 * learnt / 10
    assert trainer.meter.read().observations == pytest.approx(
        trainer.config.noise_cadence * trainer.rollout.reward.numel()
    )


def test_restored_it_goes_on_bit_for_bit(make_trainer: MakeTrainer) -> None:
    one = make_trainer(6, snapshot_every=150)
    for _ in range(4):
        one.update()
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other = make_trainer(6, snapshot_every=150)
    other.load_state_dict(torch.load(file, weights_only=True))
    for trainer in (one, other):
        for _ in range(5):
            trainer.update()
    assert one.tally.episodes == other.tally.episodes
    a, b = one.state_dict(), other.state_dict()
    assert a["selfplay"]["playing"] == b["selfplay"]["playing"]
    assert a["selfplay"]["odds"] == b["selfplay"]["odds"]
    assert min(a["selfplay"]["odds"]) < 1
    assert a["selfplay"]["pool"]["quality"] == b["selfplay"]["pool"]["quality"]
    assert len(set(a["selfplay"]["playing"])) > 1  # several past selves are at play
    for name in a["policy"]:
        assert torch.equal(a["policy"][name], b["policy"][name])
    for ours, theirs in zip(a["selfplay"]["pool"]["weights"], b["selfplay"]["pool"]["weights"], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_moba_settings_are_their_own_and_can_be_changed() -> None:
    config = resolve(TrainConfig(env="moba:5v5", algo="ppo"))
    assert (config.gamma, config.gae_lambda, config.clip) == (0.9993, 0.99, 0.2)
    assert config.past_worlds(config.groups) * config.groups / (config.num_envs or 0) == 0.2
    assert (config.value_coef, config.entropy_coef, config.epochs) == (0.1, 0.001, 1)
    assert resolve(TrainConfig(env="moba:5v5", algo="ppo", gamma=0.99)).gamma == 0.99
    assert resolve(TrainConfig(env="atari:pong", algo="ppo")).gamma == 0.99


@pytest.mark.parametrize("length", [None, 77, 33.4])
def test_first_games_of_a_run_are_spread_over_a_games_length(length: float | None) -> None:
    options: dict[str, Any] = {} if length is None else {"game_length": length}
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo", env_options=options))
    assert config.start_spread == pytest.approx(parse("1v1", options).decisions, abs=1)
    env = envs.make(config.env, 2, **config.environment_options())
    assert env.options.start_spread == config.start_spread
    still = resolve(TrainConfig(env="moba:1v1", algo="ppo", start_spread=0, env_options=options))
    assert still.environment_options()["start_spread"] == 0
    assert "start_spread" not in resolve(TrainConfig(env="atari:pong")).environment_options()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"env": "gym:CartPole-v1", "opponents": "self"}, "has no other side"),
        ({"past_share": 1.5}, "past_share is a share"),
        ({"past_selves": 0}, "past_selves"),
        ({"snapshot_every": 0}, "snapshot_every"),
        ({"num_envs": 10, "noise_groups": 10}, "at least 3 worlds a group"),
        ({"opponents": "laner", "env_options": {"opponent": "bully"}}, "given twice"),
        ({"opponents": "none"}, "opponents: there is no 'none', only self, idle, random, laner, bully"),
        ({"opponents": "lanner"}, "did you mean laner"),
        ({"past_share": 0, "stop_score": 0.5}, "is never reached: with past_share 0"),
        ({"sparring": " ,"}, "names no script"),
    ],
)
def test_bad_settings_get_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        resolve(TrainConfig(**{"env": "moba:1v1", "algo": "ppo", **settings}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"minibatches": 5, "num_envs": 5, "rollout": 1}, "minibatches=5 does not divide the 9"),
        ({"correlation_every": 1, "correlation_envs": 9}, "correlation_envs is at most 4 here"),
    ],
)
def test_settings_that_do_not_fit_the_learnt_streams(
    make_trainer: MakeTrainer, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        make_trainer(**{"noise_groups": None, "past_share": 0.2, "num_envs": 10, **settings})


@pytest.mark.parametrize("env", ["moba:1v1", "moba:3v3"])
@pytest.mark.parametrize(
    "settings", [{}, {"past_share": 0}, {"opponents": "laner"}, {"env_options": {"opponent": "idle"}}]
)
def test_a_batch_has_the_observations_that_are_learnt_from(env: str, settings: dict[str, Any]) -> None:
    """What the noise scale is compared with; a world's streams are several."""
    options = {"threads": 1, **settings.get("env_options", {})}
    fixed = {"algo": "ppo", "num_envs": 10, "rollout": 16, "noise_parts": "policy,normalized", "threads": 1}
    config = resolve(TrainConfig(env=env, **{**fixed, **settings, "env_options": options}))
    trainer = Trainer(config)
    try:
        assert config.batch == 16 * trainer.rollout.streams
        assert config.streams == trainer.rollout.streams
        for (
            meter
        ) in trainer.parts.meters.values():  # smoothed over 16 measurements at least, as the main one is
            assert meter.state_dict()["halflife"] >= 16 * config.noise_cadence * config.batch
    finally:
        trainer.close()


def test_a_team_that_plays_a_script_has_one_game_a_world() -> None:
    config = TrainConfig(
        env="moba:3v3",
        algo="ppo",
        opponents="idle",
        num_envs=4,
        rollout=80,
        start_spread=0,
        threads=1,
        env_options={"threads": 1, "game_length": 10},
    )
    trainer = Trainer(resolve(config))
    try:
        trainer.update()
        games = trainer.take_row()[1]
    finally:
        trainer.close()
    assert [game[1] for game in games] == [0, 3, 6, 9]  # the first stream of each world


def test_a_past_selfs_quality_falls_by_a_win_alone() -> None:
    """OpenAI Five, appendix N; a draw is none."""
    settings: dict[str, Any] = {"num_envs": 8, "past_share": 0.5, "noise_groups": 2, "network": "entities"}
    trainer = Trainer(
        resolve(TrainConfig(env="moba:1v1", algo="ppo", env_options={"threads": 1}, **settings))
    )
    play, count = trainer.selfplay, trainer.env.num_streams
    no, obs = torch.zeros(count, dtype=torch.bool), trainer.env.reset()
    for score, quality in ((0.0, 0.0), (-1.0, 0.0), (1.0, -0.04)):
        play.take(
            Step(obs, torch.zeros(count), ~no, no, None, torch.full((count,), score), torch.ones(count))
        )
        assert play.pool.quality[0] == pytest.approx(quality)
