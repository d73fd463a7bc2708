"""Fills a rollout: the policy acts, the environment steps, in whole batches or in two halves by turns.

It must not know of losses, updates or files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor

import envs
from agents.acting import Actor
from agents.distributions import Share, Source
from agents.memory import Memory
from agents.ranks import Ranks
from agents.recall import Recall
from agents.rollout import Rollout
from rl_gns.training.selfplay import SelfPlay
from rl_gns.training.threads import one_thread, sleeper

Game = tuple[int, int, float, float]
"""A finished game: observations then, stream among all ranks', score, length."""


class Collector:
    """One rollout after another into the same storage."""

    def __init__(
        self,
        env: envs.BatchedEnv,
        actor: Actor,
        rollout: Rollout,
        recall: Recall,
        generator: Generator,
        phase: Callable[[str], AbstractContextManager[None]],
        *,
        selfplay: SelfPlay | None,
        ranks: Ranks,
        in_halves: bool,
        beside: bool = False,
    ) -> None:
        """phase: what times "act" and "emulate". in_halves: one half acts while the other is stepped. beside: another
        thread computes meanwhile, so torch's threads are not to be touched.
        """
        self.env, self.rollout, self.recall, self.generator = env, rollout, recall, generator
        self.actor, self.policy = actor, actor.policy
        self.memory = Memory(self.policy, rollout.streams, env.device)
        self._phase, self._selfplay, self._ranks, self._in_halves = phase, selfplay, ranks, in_halves
        alone = beside or env.device.type != "cpu" or torch.get_num_threads() == 1 or not env.steps_elsewhere
        self._rest = (lambda: None) if alone else sleeper()
        self._threads: Callable[[], AbstractContextManager[None]] = nullcontext if alone else one_thread

    @torch.no_grad()
    def collect(self, observations: int) -> list[Game]:
        """Fill the rollout. Returns all ranks' games that ended, in the order of time.

        observations: taken before, by all ranks.
        """
        self._observations = observations
        if self._in_halves:
            with self._threads():
                games = self._collect_in_halves()
        else:
            games = self._collect_whole()
        with self._phase("act"):
            last = self.memory.with_obs(self._learnt(self.env.observation()))
            self.rollout.last_value = self.policy(last)[1]
        return sorted(itertools.chain(*self._ranks.gather(games)), key=lambda game: game[:2])

    def _collect_whole(self) -> list[Game]:
        source, games = self._source(), []
        for t in range(self.rollout.steps):
            seen = self.env.observation()
            with self._phase("act"):
                actions = self._act(t, slice(None), self._learnt(seen), source)
                if self._selfplay is not None:
                    actions = self._selfplay.with_past(actions, seen)
            with self._phase("emulate"):
                self._rest()
                step = self.env.step(actions)
            if self._selfplay is not None:
                step = self._selfplay.take(step)
            self._store(t, slice(None), step)
            games += self._finished([step])
        return games

    def _collect_in_halves(self) -> list[Game]:
        self._rest()
        games: list[Game] = []
        halves = list(enumerate(self.env.halves))
        seen = [self.env.observation()[rows] for _, rows in halves]
        for t in range(self.rollout.steps + 1):
            steps: list[envs.Step] = []
            for half, rows in halves:
                if t > 0:
                    with self._phase("emulate"):
                        steps.append(self.env.step_end(half))
                    self._store(t - 1, rows, steps[half])
                    seen[half] = steps[half].obs
                if t < self.rollout.steps:
                    with self._phase("act"):
                        actions = self._act(t, rows, seen[half], self.generator)
                    with self._phase("emulate"):
                        self.env.step_begin(half, actions)
            if steps:
                games += self._finished(steps)
        return games

    def _act(self, t: int, rows: slice, obs: Tensor, source: Source) -> Tensor:
        rollout, seen = self.rollout, self.memory.with_obs(obs, rows)
        with self.recall.recording(t, rows):
            actions, log_prob, value = self.actor(seen, source)
        rollout.see(t, rows, seen)
        self.memory.keep(seen, rows)
        rollout.actions[t, rows] = actions
        rollout.log_prob[t, rows] = log_prob
        rollout.value[t, rows] = value
        return actions

    def _store(self, t: int, rows: slice, step: envs.Step) -> None:
        rollout = self.rollout
        rollout.reward[t, rows] = step.reward
        rollout.terminated[t, rows] = step.terminated
        rollout.truncated[t, rows] = step.truncated
        rollout.bootstrap[t, rows] = 0
        if step.final_obs is not None and bool(step.truncated.any()):
            value = self.policy(self.memory.with_obs(step.final_obs, rows)[step.truncated])[1]
            rollout.bootstrap[t, rows][step.truncated] = value.to(rollout.bootstrap.dtype)
        self.memory.forget(step.terminated | step.truncated, rows)

    def _learnt(self, obs: Tensor) -> Tensor:
        return obs if self._selfplay is None else obs[self._selfplay.learnt]

    def _source(self) -> Source:
        """What actions are drawn from: of all ranks' streams, this one's share."""
        if self._ranks.count == 1:
            return self.generator
        streams = self.rollout.streams
        mine = torch.arange(streams, device=self.env.device) + self._ranks.rank * streams
        return Share(self.generator, self._ranks.count * streams, mine)

    def _finished(self, steps: list[envs.Step]) -> list[Game]:
        """A decision of all streams was taken, in one step or several: this rank's games that ended in it."""
        self._observations += self.rollout.streams * self._ranks.count
        if all(step.final_obs is None for step in steps):  # asking a GPU would mean to wait for it
            return []
        score, length = (torch.cat([getattr(s, name) for s in steps]).cpu() for name in ("score", "length"))
        first = self._ranks.rank * self.rollout.streams
        finished = (~score.isnan()).nonzero().squeeze(1).tolist()
        if self._selfplay is None:  # heroes of a team share its game
            finished = [i for i in finished if i % self.env.agents_per_env == 0]
        return [(self._observations, first + i, float(score[i]), float(length[i])) for i in finished]


def why_not_finite(rollout: Rollout) -> str:
    """Of a loss that is no longer finite."""
    for what, seen in (("a reward", rollout.reward), ("an observation", rollout.obs)):
        if isinstance(seen, torch.Tensor) and seen.is_floating_point() and not bool(seen.isfinite().all()):
            return f"{what} of the environment is not finite in float32"
    return "the loss is no longer finite; try a smaller learning_rate"
