"""The training loop of one run: collect a rollout, make a batch, learn, measure. Files are `run.py`'s concern.

All state that decides what comes next is in `state_dict`, so a restored trainer goes on bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

import envs
from agents import a2c, ppo
from agents.acting import make_actor
from agents.backward import InChunks
from agents.compilation import compile_torso
from agents.graphs import graphed_gradient
from agents.memory import memory_size
from agents.networks import make_policy
from agents.precision import plainly, use_bfloat16
from agents.ranks import Ranks
from agents.recall import Recall
from agents.rollout import Batch, Rollout
from rl_gns.errors import RunStopped, UserError
from rl_gns.noise import NoiseScaleMeter
from rl_gns.training.ahead import POLICY_LAG, Ahead
from rl_gns.training.allocation import keep_freed_memory
from rl_gns.training.checkpoint import as_tensors
from rl_gns.training.checks import check_minibatches
from rl_gns.training.collecting import Collector, Game, why_not_finite
from rl_gns.training.config import TrainConfig
from rl_gns.training.correlation import CorrelationProbe
from rl_gns.training.device import pick_device
from rl_gns.training.explained import explained, variances
from rl_gns.training.measuring import MeasuringBackward
from rl_gns.training.memory import chunk_that_fits, pass_bytes, refuse_if_too_big
from rl_gns.training.metrics import PHASES
from rl_gns.training.parts import NoiseParts
from rl_gns.training.playing import load_weights
from rl_gns.training.seeing import Look, in_rollout
from rl_gns.training.selfplay import SelfPlay
from rl_gns.training.sharing import join_states, own_state, shared_out
from rl_gns.training.sources import put_back
from rl_gns.training.tally import Tally
from rl_gns.training.threads import check_overlap, emulator_options, one_thread


def algorithm_settings(config: TrainConfig) -> a2c.Settings | ppo.Settings:
    """The part of the configuration that `agents` wants."""
    kind = a2c.Settings if config.algo == "a2c" else ppo.Settings
    names = {field.name for field in dataclasses.fields(kind)} & {
        field.name for field in dataclasses.fields(config)
    }
    return kind(**{name: getattr(config, name) for name in names})


class Trainer:
    """One run in memory. `update()` advances it by one rollout; `observations` and `updates` count."""

    def __init__(self, config: TrainConfig) -> None:
        """`config` must be resolved.

        Raises:
            UserError, envs.EnvError: settings that don't fit the environment or this machine.
        """
        self.config = config
        self.device = pick_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            # Some of cuDNN's ways to a convolution's gradient add up in whatever order threads come.
            torch.backends.cudnn.deterministic = True
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.ranks = Ranks()
        steps = config.rollout or 1
        local_envs, self._groups, options = shared_out(config, self.ranks)
        env_seed, policy_seed, action_seed, past_seed = (
            int(child.generate_state(1)[0]) for child in np.random.SeedSequence(config.seed).spawn(4)
        )
        options = {**emulator_options(config, self.device), **options}
        try:
            self.env = envs.make(config.env, local_envs, self.device, env_seed, **options)
        except (TypeError, ValueError) as error:
            if isinstance(error, envs.EnvError):
                raise
            raise UserError(f"{config.env} can't be made with {options}: {error}") from None
        try:
            check_overlap(config, self.env, self.ranks)
            self.policy = make_policy(
                config.network,
                self.env.observation_space,
                self.env.action_space,
                policy_seed,
                self.env.layout,
            ).to(self.device)
            if config.precision == "bf16":
                use_bfloat16(self.policy)
            self.selfplay = (
                SelfPlay(config, self.env, self.policy, past_seed, self.ranks) if config.self_play else None
            )
            streams = self.env.num_streams if self.selfplay is None else self.selfplay.learnt_streams
            check_minibatches(config, steps * streams * self.ranks.count)
            shape = (steps, streams, self.env.observation_space, self.env.action_space, self.device)
            in_advance, remembered = config.overlap == "learn", memory_size(self.policy)
            refuse_if_too_big(*shape, stacked=self.env.stacked, memory=remembered, count=1 + in_advance)

            def storage() -> Rollout:
                sequence = config.sequence or 1
                return Rollout.empty(*shape, stacked=self.env.stacked, memory=remembered, sequence=sequence)

            self.rollout = storage()
            self.ahead = Ahead(self.policy, storage()) if in_advance else None
            with plainly(self.policy):  # as a2c learns, and ppo measures
                self._each = pass_bytes(self.policy, self.rollout.blank(min(16, streams)))
            self._take_chunk(config.chunk)
            if config.compile:
                self._compile()
            self.settings = algorithm_settings(config)
            self.take_gradient = self._graph(steps * streams) if config.graph_update else None
        except ValueError as error:
            self.env.close()
            raise UserError(str(error)) from None
        self.optimizer = (
            a2c.make_optimizer(self.policy, self.settings)
            if isinstance(self.settings, a2c.Settings)
            else ppo.make_optimizer(self.policy, self.settings)
        )
        self.generator = torch.Generator(self.device).manual_seed(action_seed)
        self.unit_observations = steps * streams / local_envs
        self.meter = NoiseScaleMeter(self.unit_observations, config.halflife, config.confidence)
        # Who acts one update behind has other outputs, and a compiled torso shows none of its layers'.
        # On a GPU a graph acts, and the forward pass costs less than keeping its layers' outputs.
        recalled = config.algo == "a2c" and self.ahead is None and not config.compile and not remembered
        recalled &= self.device.type == "cpu"
        self.recall = Recall(self.policy, steps if recalled else 0, streams)
        self.correlation = CorrelationProbe(config, self.settings, self.policy, self.env.num_streams)
        self.parts = NoiseParts(config, self.settings, self.policy, self.optimizer, streams)
        self.observations = self.updates = 0
        self.tally = Tally(config.stop_halflife)
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._started = False
        self._learnt: Batch | None = None
        self.look = Look(math.nan, False)
        """What the last rollout said when the last row was taken."""
        self.order = self.generator  # of the observations in ppo's passes
        if self.ahead is not None:
            self.order = torch.Generator(self.device).manual_seed(action_seed ^ 1)
        sizes = [streams]
        if config.overlap == "act":
            sizes = [half.stop - half.start for half in self.env.halves]
        actor = make_actor(
            *(self.policy if self.ahead is None else self.ahead.actor, self.generator),
            *(self.rollout.blank(1), sizes if self.ranks.count == 1 else []),
        )
        self.collector = Collector(
            *(self.env, actor, self.rollout, self.recall),
            *(self.generator, self._phase),
            selfplay=self.selfplay,
            ranks=self.ranks,
            in_halves=config.overlap == "act",
            beside=self.ahead is not None,
        )

    def _take_chunk(self, asked: int | None) -> None:
        """Take the gradient of so many observations at once (None: what fits); measured ones of whole streams'."""
        steps, streams = self.rollout.steps, self.rollout.streams
        self.chunk = chunk_that_fits(asked, steps * streams, steps, self._each, self.device)
        at_once = max(1, self.chunk // steps)
        self.plain = InChunks(self.policy, streams, at_once, self.ranks)
        self.backward = MeasuringBackward(
            *(self.policy, self.env.num_envs, self._groups), streams=streams, chunk=at_once, ranks=self.ranks
        )

    def _compile(self) -> None:
        """Compile for the batches that acting and ppo's passes will see."""
        config, blank, rows = self.config, self.rollout.blank(1), [self.env.num_streams]
        learning = self.rollout.steps * self.rollout.streams // (config.minibatches or 1)
        passes = [min(self.chunk, learning)] if config.algo == "ppo" else []
        # What acts beside the emulators or the learner does so on one thread, for which there is a form of its own.
        with one_thread() if self.device.type == "cpu" else nullcontext():
            if config.overlap == "act":
                compile_torso(self.policy, blank, [half.stop - half.start for half in self.env.halves], [])
            if self.ahead is not None:
                compile_torso(self.ahead.actor, blank, rows, [])
                rows = []
        compile_torso(self.policy, blank, rows, passes)

    def _graph(self, observations: int) -> ppo.Gradient:
        """What computes ppo's minibatches of a rollout of so many observations at once. Raises ValueError."""
        if not isinstance(self.settings, ppo.Settings) or self.ranks.count > 1:
            raise ValueError("graph_update is for ppo in one process")
        rows = min(self.chunk, observations // self.settings.minibatches)
        return graphed_gradient(self.policy, self.settings, self.rollout.blank(1), rows)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def update(self) -> None:
        """Collect one rollout, learn from it, measure the noise.

        Raises:
            RunStopped: loss or gradient is not finite; weights are those before the bad step.
        """
        if not self._started:
            self.begin()
        self._collect()
        try:
            self._learn()
        finally:
            if self.ahead is not None:
                self.ahead.wait()
        if self.selfplay is not None:
            self.selfplay.snapshot_if_due(self.policy, self.observations)

    def _learn(self) -> None:
        self._set_learning_rate()
        cadence = self.config.noise_cadence
        due = cadence > 0 and self.updates % cadence == 0
        self.backward.moments = None
        batch = self._learnt = self.rollout.batch(self.settings.gamma, self.settings.gae_lambda)
        with plainly(self.policy):
            self._measure_parts(batch)
        try:
            if isinstance(self.settings, a2c.Settings):
                with self._phase("learn"), self.recall.replaying(), plainly(self.policy):
                    stats = a2c.update(
                        self.policy,
                        self.optimizer,
                        batch,
                        self.settings,
                        backward=self.backward if due else self.plain,
                    )
                stats = _mean_of(self.ranks.gather(stats))
            else:
                if due:
                    with self._phase("measure"), plainly(self.policy):
                        self.optimizer.zero_grad(set_to_none=True)
                        ppo.measure(
                            self.policy, batch, self.settings, backward=self.backward, ranks=self.ranks
                        )
                with self._phase("learn"), self.parts.during_update(batch, self.updates, self.seconds):
                    stats = ppo.update(
                        self.policy,
                        self.optimizer,
                        batch,
                        self.settings,
                        generator=self.order,
                        chunk=self.chunk,
                        ranks=self.ranks,
                        take_gradient=self.take_gradient,
                    )
        except FloatingPointError as error:
            raise RunStopped(
                f"{error} at update {self.updates + 1} ({self.observations:,} observations): "
                + why_not_finite(self.rollout)
            ) from None
        self.updates += 1
        if self.backward.moments is not None and all(map(math.isfinite, self.backward.moments)):
            duration = cadence * self.unit_observations * (self.config.num_envs or 1)
            self.meter.update(self.backward.moments, duration)
            if self.backward.normalized is not None:
                self.parts.take_normalized(self.backward.normalized, duration)
        self.tally.add(stats | variances(batch, self.ranks))

    def _measure_parts(self, batch: Batch) -> None:
        if self.parts.due(self.updates):
            with self._phase("measure"):
                self.parts.measure(batch)
        if self.correlation.due(self.updates):
            with self._phase("measure"):
                self.correlation.measure(batch)

    def _collect(self) -> None:
        if self.ahead is None:
            games = self.collector.collect(self.observations)
        else:
            self.rollout, games = self.ahead.take(self.collector, self.observations)
        self.observations += self.rollout.steps * self.rollout.streams * self.ranks.count
        self.tally.add_games(games)

    @property
    def done(self) -> bool:
        """Whether the budget is spent or the score to stop at was reached."""
        reached = self.tally.smoothed.has_reached(self.config.stop_score)
        return reached or self.observations >= self.config.observations

    def _set_learning_rate(self) -> None:
        left = 1.0
        if self.config.schedule == "linear":
            left = max(0.0, 1.0 - self.observations / self.config.observations)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * left

    def take_row(self) -> tuple[dict[str, float], list[Game]]:
        """A metric row over the updates since the last one, and the games finished since; starts both anew."""
        reading = self.meter.read()
        measured = reading.observations > 0
        means, games = self.tally.take()
        row = means | {
            "explained_variance": explained(means),
            "observations": self.observations,
            "score": self.tally.score,
            "games": self.tally.games,
            "noise_scale": math.nan if reading.value is None else reading.value,
            "noise_scale_low": reading.low if measured else math.nan,
            "noise_scale_high": reading.high if measured else math.nan,
            "signal": reading.signal,
            "noise": reading.noise,
            "information": self._look().information,
            "policy_lag": 0 if self.ahead is None else POLICY_LAG,
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
        }
        return row, games

    def _look(self) -> Look:
        """See `seeing.in_rollout`; as it was before an update, where a run is resumed that had nothing left to do."""
        if self._learnt is not None:
            with plainly(self.policy):
                self.look = in_rollout(self.policy, self._learnt, self.ranks)
        return self.look

    def begin(self) -> None:
        """Start the games, of which Gymnasium's must show first that a run on them can be checkpointed.

        Raises:
            EnvError: they can't be.
        """
        self.env.reset()
        self._started = True
        if self.config.env.startswith("gym:"):
            self.env.state_dict()

    def state_dict(self, games: bool = True) -> dict[str, Any]:
        """Everything that decides what comes next; only tensors, numbers, strings, lists and dicts.

        Without `games` it can be evaluated, and not gone on with.
        """
        env = as_tensors(self.env.state_dict()) if games else {}
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order.get_state(),
            "ahead": {} if self.ahead is None else self.ahead.state_dict(self.collector),
            "env": join_states(env, self.ranks),
            "memory": join_states({"state": self.collector.memory.state.clone()}, self.ranks),
            "meter": self.meter.state_dict(),
            "noise_parts": self.parts.state_dict(),
            "selfplay": self.selfplay.state_dict() if self.selfplay is not None else {},
            "correlation": self.correlation.state_dict() if self.correlation.every else {},
            "chunk": self.chunk,
            "counts": [self.observations, self.updates, *self.tally.counts],
            **self.tally.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a trainer with the same configuration.

        Raises:
            UserError: it was made by another number of processes, or of another network, holds no games, or its chunk
                does not fit here.
        """
        own = own_state(state["env"], self.ranks)
        if not own:
            raise UserError(
                f"this checkpoint holds no games, as {self.config.env} can't be snapshotted: start a new run"
            )
        load_weights(self.policy, state)
        self.optimizer.load_state_dict(state["optimizer"])
        drawn = self.config.seed, state["counts"][0]
        put_back(self.generator, state["generator"], *drawn)
        if self.ahead is not None:
            put_back(self.order, state["order"], *drawn, 1)
            self.ahead.load_state_dict(state["ahead"], self.collector)
        self.env.load_state_dict(own)
        if self.collector.memory.state.numel():
            self.collector.memory.state.copy_(own_state(state["memory"], self.ranks)["state"])
        if self.config.chunk is None:  # rounding depends on it, and free memory comes and goes
            self._take_chunk(state.get("chunk", self.chunk))
        self.meter.load_state_dict(state["meter"])
        self.parts.load_state_dict(state.get("noise_parts", {}))
        if self.selfplay is not None:
            self.selfplay.load_state_dict(state["selfplay"], *drawn)
        self.correlation.load_state_dict(state.get("correlation", {}))
        self.observations, self.updates, *counts = state["counts"]
        self.tally.load_state_dict(state, counts)
        self._started = True

    def close(self) -> None:
        """End the environments."""
        if self.ahead is not None:
            self.ahead.close()
        self.env.close()


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of every name."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
