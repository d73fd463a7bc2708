"""A policy against the scripted players of a two-team world: games on fixed seeds, win rates, a rating, a film.

Game i of a seed is world i, the first player's side alternating, so two policies meet the same heroes and chances.
Ratings are openskill's (Bradley-Terry, Weng & Lin 2011) from the games of policy and scripts among one another: only
differences mean something, and who always wins keeps rising with the number of games.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import imageio.v2 as imageio
import torch
from openskill.models import BradleyTerryFull
from scipy.stats import binomtest
from torch import Generator, Tensor, nn

import envs
from agents.memory import Memory
from agents.networks import make_policy
from envs import BatchedEnv
from envs.moba.opponents import OPPONENTS, Scripted
from rl_gns.errors import UserError
from rl_gns.training.config import DECISIONS_PER_SECOND, TrainConfig
from rl_gns.training.device import pick_device
from rl_gns.training.loop import Trainer
from rl_gns.training.playing import check_video, load_weights

Player = Callable[[Tensor], Tensor]
"""Observations [n, ...] -> actions [n, parts]."""
Results = dict[tuple[str, str], list[float]]
"""Scores of the first of each pair of players."""
POLICY = "policy"
SPEED_UP, FRAMES, GIF_FRAMES = 8, 30, 7.5
"""A film runs 8 times as fast as the game, with so many pictures a second."""


class Standing(NamedTuple):
    """How a player did against one opponent; a win is a score above 0, a draw one of 0."""

    opponent: str
    wins: int
    draws: int
    losses: int
    score: float
    """Mean."""

    @property
    def games(self) -> int:
        """All of them."""
        return self.wins + self.draws + self.losses

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share of wins (Wilson 1927); a draw is no win."""
        found = binomtest(self.wins, self.games).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)


class Rating(NamedTuple):
    """Skill on openskill's scale: who has not played is 25 ± 8.3."""

    mean: float
    deviation: float


class Ladder(NamedTuple):
    """A policy's standings against each script, and everybody's rating."""

    standings: list[Standing]
    ratings: dict[str, Rating]


class PolicyPlayer:
    """A network as a player; samples from its own random stream, or takes the likeliest action.

    It plays one game of each stream it is first asked about: what it remembers is never forgotten.
    """

    def __init__(self, policy: nn.Module, seed: int, deterministic: bool = False) -> None:
        self.policy, self.deterministic = policy, deterministic
        device = next(policy.parameters()).device
        self._generator = Generator(device).manual_seed(seed)
        self._memory: Memory | None = None

    @torch.no_grad()
    def __call__(self, obs: Tensor) -> Tensor:
        """obs [n, ...]."""
        if self._memory is None:
            self._memory = Memory(self.policy, len(obs), obs.device)
        seen = self._memory.with_obs(obs)
        distribution, _ = self.policy(seen)
        self._memory.keep(seen)
        actions = distribution.mode() if self.deterministic else distribution.sample(self._generator)
        return cast(Tensor, actions)


def climb(
    policy: nn.Module,
    config: TrainConfig,
    games: int,
    *,
    seed: int = 0,
    deterministic: bool = False,
    opponents: Sequence[str] = OPPONENTS,
    video: Path | None = None,
    among: Results | None = None,
) -> Ladder:
    """Play `games` games of `policy` against each script, and of the scripts against one another.

    Args:
        policy: for the observations of `config.env`.
        config: names the environment and its options.
        games: per pair of players, >= 1.
        seed: of worlds and of action sampling.
        deterministic: take the likeliest action instead of sampling.
        opponents: names of scripts.
        video: an .mp4 or .gif to film the first game against the last of them into.
        among: what the scripts scored against one another, if it is known; else they play, and it is filled in.

    Raises:
        UserError: games < 1, no such script, a negative seed, a video of another kind or one that can't be written.
    """
    if games < 1:
        raise UserError(f"games must be at least 1, got {games}")
    unknown = [name for name in opponents if name not in OPPONENTS]
    if unknown or not opponents:
        raise UserError(
            f"there is no script {unknown[0] if unknown else ''!r}; choose from {', '.join(OPPONENTS)}"
        )
    if seed < 0:
        raise UserError(f"seed must not be negative, got {seed}")
    if video is not None:
        check_video(video)
    options = {**config.environment_options(), "opponent": "none", "start_spread": 0}
    device = next(policy.parameters()).device
    among = {} if among is None else among
    results: Results = {}
    with envs.make(config.env, games, device, seed, **options) as env:
        scripts: dict[str, Player] = {name: Scripted(name, env.layout) for name in opponents}
        for name, script in scripts.items():
            film = video if name == opponents[-1] else None
            player = PolicyPlayer(policy, seed, deterministic)
            results[POLICY, name] = play(env, player, script, seed=seed, video=film)
        for one, other in itertools.combinations(opponents, 2):
            if (one, other) not in among:
                among[one, other] = play(env, scripts[one], scripts[other], seed=seed)
            results[one, other] = among[one, other]
    standings = [standing(name, results[POLICY, name]) for name in opponents]
    return Ladder(standings, ratings(results))


class Climber:
    """Plays the ladder every `ladder_every` observations of a run, changing nothing of the run."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._every = trainer, trainer.config.ladder_every
        self._done = trainer.observations // self._every
        self._among: Results = {}

    @property
    def due(self) -> bool:
        """Whether a multiple of `ladder_every` was passed since the last time."""
        return self._trainer.observations // self._every > self._done

    def rows(self) -> list[tuple[str | float, ...]]:
        """(opponent, games, wins, score, rating, its deviation, opponent's rating) against every script."""
        config = self._trainer.config
        self._done = self._trainer.observations // self._every
        found = climb(self._trainer.policy, config, config.ladder_games, among=self._among)
        own = found.ratings[POLICY]
        return [
            (s.opponent, s.games, s.wins, s.score, *own, found.ratings[s.opponent].mean)
            for s in found.standings
        ]


def load_policy(config: TrainConfig, state: Mapping[str, Any], device: str = "cpu") -> nn.Module:
    """The policy of a checkpoint's `state`. Raises UserError: no such device, or the state is of another network."""
    device = str(pick_device(device))
    with envs.make(config.env, 1, device, 0, **{**config.environment_options(), "start_spread": 0}) as env:
        layout = env.layout
        policy = make_policy(config.network, env.observation_space, env.action_space, layout=layout)
    load_weights(policy, state)
    return policy.to(device)


def play(
    env: BatchedEnv, first: Player, second: Player, *, seed: int = 0, video: Path | None = None
) -> list[float]:
    """One game in each world of a two-team `env`; returns the first player's scores, world by world.

    The first player has team 0 in even worlds and team 1 in odd ones. `video`: film world 0.
    """
    heroes = env.agents_per_env // 2
    team = (torch.arange(env.num_envs) % 2)[:, None] * heroes
    starts = torch.arange(env.num_envs)[:, None] * env.agents_per_env
    hero = torch.arange(heroes)
    mine = (starts + team + hero).flatten().to(env.device)
    theirs = (starts + heroes - team + hero).flatten().to(env.device)
    scores = torch.full((env.num_envs,), math.nan)
    obs = env.reset(seed)
    film = _Film(video) if video is not None else None
    env.shows_ends = film is not None
    decision = 0
    while bool(scores.isnan().any()):
        if film is not None and bool(scores[0].isnan()):
            film.show(env, decision)
        chosen = first(obs[mine])
        actions = chosen.new_empty(len(obs), *chosen.shape[1:])
        actions[mine], actions[theirs] = chosen, second(obs[theirs])
        step = env.step(actions)
        ended = step.score[mine].view(-1, heroes)[:, 0].cpu()
        if film is not None and bool(scores[0].isnan() & ~ended[0].isnan()):
            film.end(env)
        scores = torch.where(scores.isnan(), ended, scores)
        obs = step.obs
        decision += 1
    if film is not None:
        film.close()
        env.shows_ends = False
    return [float(score) for score in scores]


def standing(opponent: str, scores: Sequence[float]) -> Standing:
    """Count a player's scores."""
    wins, losses = sum(s > 0 for s in scores), sum(s < 0 for s in scores)
    return Standing(opponent, wins, len(scores) - wins - losses, losses, sum(scores) / len(scores))


def ratings(results: Mapping[tuple[str, str], Sequence[float]]) -> dict[str, Rating]:
    """Everybody's rating from scores of the first of each pair; games are taken in turn, a game of every pair."""
    model = BradleyTerryFull()
    found = {name: model.rating() for name in dict.fromkeys(itertools.chain(*results))}
    for round_ in itertools.zip_longest(*results.values()):
        for (one, other), score in zip(results, round_, strict=True):
            if score is None:
                continue
            ranks = [1.0, 1.0] if score == 0 else [1.0, 2.0] if score > 0 else [2.0, 1.0]
            [[a], [b]] = model.rate([[found[one]], [found[other]]], ranks=ranks)
            found[one], found[other] = a, b
    return {name: Rating(rating.mu, rating.sigma) for name, rating in found.items()}


def text(ladder: Ladder) -> str:
    """Standings and ratings as lines for people."""
    lines = [
        f"{'opponent':>10} {'games':>6} {'won':>5} {'drawn':>6} {'lost':>5}   won (95 % interval)  mean score"
    ]
    for s in ladder.standings:
        low, high = s.interval
        share = f"{s.wins / s.games:4.0%} ({low:.0%} to {high:.0%})"
        lines.append(
            f"{s.opponent:>10} {s.games:>6} {s.wins:>5} {s.draws:>6} {s.losses:>5}   {share:<20} {s.score:+.2f}"
        )
    best_first = sorted(ladder.ratings.items(), key=lambda item: -item[1].mean)
    lines.append("rating: " + ", ".join(f"{name} {r.mean:.1f} ± {r.deviation:.1f}" for name, r in best_first))
    return "\n".join(lines)


class _Film:
    """Writes pictures as they come: a game's thousands of them need not fit into memory."""

    def __init__(self, path: Path) -> None:
        rate = GIF_FRAMES if path.suffix == ".gif" else FRAMES
        self.rate, self.every = rate, round(DECISIONS_PER_SECOND * SPEED_UP / rate)
        self.thin = 2 if path.suffix == ".gif" else 1
        timing = {"duration": 1000 / rate, "loop": 0} if path.suffix == ".gif" else {"fps": rate}
        self._writer: Any = imageio.get_writer(path, **timing)

    def show(self, env: BatchedEnv, decision: int) -> None:
        if decision % self.every == 0:
            self._add(env, 1)

    def end(self, env: BatchedEnv) -> None:
        """How the game ended, for about a second."""
        self._add(env, round(self.rate))

    def close(self) -> None:
        self._writer.close()

    def _add(self, env: BatchedEnv, times: int) -> None:
        picture = env.render(0)[:: self.thin, :: self.thin]
        for _ in range(times):
            self._writer.append_data(picture)
