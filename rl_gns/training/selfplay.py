"""Who plays where in self-play: the policy on both sides of most worlds, a past self on one side of the others.

What a past self decides is not learnt from, so a world with one gives half the observations. To keep the units of
noise alike, every noise group holds as many such worlds, its last ones: all groups have the same number of learnt
streams and the same mix, and the noise of one "environment" is that of an average world, of which
unit_observations = rollout x learnt streams / num_envs. Sides alternate between the worlds with a past self.

Where `sparring` names scripts, one of them plays in place of the past self in half of those games: two learners that
both stay at home see nothing of what they miss, a script comes and takes it.

The pool itself is `agents.selfplay`'s; snapshots and draws are part of the checkpoint.
"""

from __future__ import annotations

import operator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from agents.distributions import Share
from agents.memory import Memory
from agents.ranks import ALONE, Ranks
from agents.selfplay import PastSelves
from agents.stacked import Stacked
from envs import BatchedEnv, EnvError
from envs.batched import Step
from envs.moba.opponents import Scripted
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig
from rl_gns.training.sharing import join_states, own_state
from rl_gns.training.sources import put_back


class SelfPlay:
    """Splits an environment's streams into learnt ones and those of past selves, and plays the latter."""

    def __init__(
        self,
        config: TrainConfig,
        env: BatchedEnv,
        policy: nn.Module,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        """Where there are several ranks, each has as many noise groups, and all know who plays in whose worlds.

        Args:
            config: with the number of worlds of all ranks.
            env: this rank's; streams of a world are adjacent, the first half of them team 0, the second team 1.
            policy: the learner.
            seed: of who is drawn and what past selves do, the same on all ranks.
            ranks: those that share the run.

        Raises:
            UserError: correlation_envs that do not fit the learnt streams; no such script.
        """
        self.ranks = ranks
        self.every, self.device = config.snapshot_every, env.device
        self.pool = PastSelves(config.past_selves)
        local_groups = config.groups // ranks.count
        self.past = _worlds_with_past(env.num_envs, local_groups, config.past_worlds(config.groups))
        before = ranks.rank * len(self.past)  # worlds with a past self on the ranks before this one
        heroes = env.agents_per_env // 2
        theirs = torch.zeros(env.num_envs, 2, heroes, dtype=torch.bool)
        for i, world in enumerate(self.past):
            theirs[world, 1 - (before + i) % 2] = True
        # The score of a world against itself is 0 on average, and heroes of a team share theirs.
        counted = torch.zeros_like(theirs)
        for i, world in enumerate(self.past):
            counted[world, (before + i) % 2, 0] = True
        self.learnt = (~theirs).flatten().nonzero().squeeze(1).to(self.device)
        self.theirs = theirs.flatten().nonzero().squeeze(1).to(self.device)
        self.counted = counted.flatten()[self.learnt.cpu()].to(self.device)
        self.heroes = heroes
        self.learnt_streams = len(self.learnt)
        first = min(self.past, default=env.num_envs)
        if config.correlation_every and config.correlation_envs > first:
            raise UserError(
                f"correlation_envs is at most {first} here, where world {first} has a past self, "
                f"got {config.correlation_envs}" + (": use a smaller past_share" if first < 2 else "")
            )
        self._generator = torch.Generator().manual_seed(seed)
        self._actions = torch.Generator(self.device).manual_seed(seed)
        self._players = Stacked(policy)
        self._memory = Memory(policy, env.num_streams, env.device)  # of the streams of past selves alone
        self.pool.add(policy)
        self.snapshots = 0
        try:
            self.scripts = [Scripted(name, env.layout) for name in _names(config.sparring)]
        except EnvError as error:
            raise UserError(f"sparring: {error}") from None
        self._stacked: list[dict[str, Tensor]] = []
        self._seats: tuple[list[int], dict[int, Tensor], Tensor, Share] | None = None
        drawn = [self._draw() for _ in range(ranks.count * len(self.past))]
        self.playing = [member for member, _ in drawn]
        """Of each world with a past self, on all ranks: the member's number, or -1, -2 … for a script."""
        self.odds = [p for _, p in drawn]
        """Of each of these the probability that its member was drawn with; 0 for scripts, and where a member took the
        place of one that was forgotten in the middle of a game, which then does not count."""

    def with_past(self, actions: Tensor, obs: Tensor) -> Tensor:
        """The learnt streams' `actions` joined with what the past selves do on observations [num_streams, ...]."""
        joined = actions.new_empty(len(obs), *actions.shape[1:])
        joined[self.learnt] = actions
        scripted, rows, share = self._seated()
        if len(rows):
            seen = self._memory.with_obs(obs[rows], rows)
            joined[rows] = self._players(seen).sample(share)
            self._memory.keep(seen, rows)
        for script, of in scripted.items():
            joined[of] = self.scripts[-1 - script](obs[of])
        return joined

    def _seated(self) -> tuple[dict[int, Tensor], Tensor, Share]:
        """This rank's streams of every script, those of past selves, and the latter's share of all ranks' draws.

        Worked out anew only when somebody else plays.
        """
        networks = list(self.pool.weights.values())
        taken = len(networks) == len(self._stacked) and all(map(operator.is_, networks, self._stacked))
        if not taken:
            self._players.take(networks)
            self._stacked = networks
        if self._seats is None or not taken or self._seats[0] != self.playing:
            self._seats = list(self.playing), *self._seat()
        return self._seats[1:]

    def _seat(self) -> tuple[dict[int, Tensor], Tensor, Share]:
        begin, heroes = self.ranks.rank * len(self.past), self.heroes
        here = torch.tensor(self.playing, dtype=torch.int64)[begin : begin + len(self.past)]
        playing = here.repeat_interleave(heroes).to(self.device)
        scripted = {script: self.theirs[playing == script] for script in {*here.tolist()} if script < 0}
        past = (playing >= 0).nonzero().squeeze(1)
        if not len(past) and max(self.playing, default=-1) >= 0:
            # Who has none yet draws along with the ranks that have: a script takes the seat that is played in vain.
            past = past.new_zeros(1)
        if len(past):
            members = torch.tensor(list(self.pool.weights), device=self.device)  # ascending
            self._players.assign(torch.searchsorted(members, playing[past].clamp(min=members[0])))
        share = Share(self._actions, len(self.playing) * heroes, past + begin * heroes)
        return scripted, self.theirs[past], share

    def _draw(self) -> tuple[int, float]:
        """Who plays the next game of a world with a past self, and how probable that was among the selves."""
        if self.scripts:
            pick = int(torch.randint(2 * len(self.scripts), (1,), generator=self._generator))
            if pick < len(self.scripts):
                return -1 - pick, 0.0
        member = self.pool.draw(1, self._generator)[0]
        return member, self.pool.probabilities()[member]

    def take(self, step: Step) -> Step:
        """The learnt part of a step, with scores only of games against a past self or script; draws the next."""
        self._memory.forget(step.terminated | step.truncated)
        obs, reward, terminated, truncated, score, length = (
            x[self.learnt]
            for x in (step.obs, step.reward, step.terminated, step.truncated, step.score, step.length)
        )
        final_obs = None if step.final_obs is None else step.final_obs[self.learnt]
        score = score.masked_fill(~self.counted, float("nan"))
        over = ~score.isnan()
        # One a world with a past self, in their order.
        results = list(chain(*self.ranks.gather(score[self.counted].tolist()))) if self.past else []
        if any(result == result for result in results):
            for i, result in enumerate(results):
                if result > 0 and self.odds[i] > 0 and self.playing[i] in self.pool.quality:
                    self.pool.beaten(self.playing[i], self.odds[i])
            for i, result in enumerate(results):
                if result == result:
                    self.playing[i], self.odds[i] = self._draw()
        length = length.masked_fill(~over, float("nan"))
        return Step(obs, reward, terminated, truncated, final_obs, score, length)

    def snapshot_if_due(self, policy: nn.Module, observations: int) -> None:
        """Put the policy into the pool whenever `observations` has passed a multiple of `snapshot_every`."""
        if observations // self.every <= self.snapshots:
            return
        self.snapshots = int(observations // self.every)
        self.pool.add(policy)
        heirs = torch.zeros(len(self.playing), dtype=torch.bool)
        for i, member in enumerate(self.playing):
            if member >= 0 and member not in self.pool.weights:
                self.playing[i], self.odds[i] = self._draw()[0], 0.0
                heirs[i] = True
        # Who takes over a game in the middle can't read what another network remembered of it.
        begin = self.ranks.rank * len(self.past)
        here = heirs[begin : begin + len(self.past)].repeat_interleave(self.heroes).to(self.device)
        self._memory.forget(here, self.theirs)

    def state_dict(self) -> dict[str, Any]:
        """Pool, who plays, and random states."""
        return {
            "pool": self.pool.state_dict(),
            "playing": list(self.playing),
            "odds": list(self.odds),
            "snapshots": self.snapshots,
            "memory": join_states({"state": self._memory.state.clone()}, self.ranks),
            "generators": [self._generator.get_state(), self._actions.get_state()],
        }

    def load_state_dict(self, state: dict[str, Any], *anew: int) -> None:
        """Go on from a `state_dict`; see `sources.put_back` for what `anew` is."""
        self.pool.load_state_dict(state["pool"])
        for weights in self.pool.weights.values():
            weights.update({name: w.to(self.device) for name, w in weights.items()})
        self.playing, self.snapshots = list(state["playing"]), state["snapshots"]
        now = self.pool.probabilities()  # of a checkpoint of a version that did not keep them
        self.odds = list(state.get("odds", [now.get(member, 0.0) for member in self.playing]))
        if self._memory.state.numel():
            kept = state["memory"]
            if isinstance(
                kept, dict
            ):  # a tensor, of rank 0 alone, where the checkpoint is of a version before
                kept = own_state(kept, self.ranks)["state"]
            self._memory.state.copy_(kept)
        for i, generator in enumerate((self._generator, self._actions)):
            put_back(generator, state["generators"][i], *anew, 2 + i)


def _names(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _worlds_with_past(num_envs: int, groups: int, each: int) -> list[int]:
    """The last `each` worlds of every group."""
    size = num_envs // groups
    return [group * size + i for group in range(groups) for i in range(size - each, size)]
