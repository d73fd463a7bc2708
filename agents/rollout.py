"""What T decisions of N streams brought, as tensors, time first; storage is allocated once and written in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from torch import Tensor

from agents.frames import Frames, Stacks
from agents.memory import Seen
from agents.returns import gae

_DTYPES = {"uint8": torch.uint8, "int16": torch.int16, "float32": torch.float32, "float64": torch.float32}


@dataclasses.dataclass
class Rollout:
    """T decisions of N streams. Row t holds what was seen, done and received at time t."""

    obs: Tensor | Frames
    """[T, N, ...]; single frames where observations are stacks of them"""
    actions: Tensor
    """[T, N] or [T, N, parts]"""
    log_prob: Tensor
    """[T, N] of the action under the policy that took it"""
    value: Tensor
    """[T, N] V(obs) when it was taken"""
    reward: Tensor
    """[T, N]"""
    terminated: Tensor
    """[T, N] bool"""
    truncated: Tensor
    """[T, N] bool"""
    bootstrap: Tensor
    """[T, N] V(final observation) where truncated, 0 elsewhere"""
    last_value: Tensor
    """[N] V of the observation after the last decision"""
    memory: Tensor
    """[T, N, S] what the network remembered before it; S = 0 without memory"""
    sequence: int = 1
    """Decisions that a network with memory learns as one sequence; divides T"""

    @classmethod
    def empty(
        cls,
        steps: int,
        streams: int,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        device: torch.device,
        *,
        stacked: bool = False,
        memory: int = 0,
        sequence: int = 1,
    ) -> Rollout:
        """Storage for [steps, streams].

        stacked: observations share frames, see `Frames`. memory: numbers remembered of a stream, learnt from in
        sequences of so many decisions, see `Seen`.
        """

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(steps, streams, *shape, dtype=dtype, device=device)

        obs_dtype = torch.int64
        if isinstance(observation_space, spaces.Box):
            obs_dtype = _DTYPES.get(str(observation_space.dtype), torch.float32)
        action_dtype = torch.float32 if isinstance(action_space, spaces.Box) else torch.int64
        shape = observation_space.shape or ()
        return cls(
            # Each stream's observations lie together, so that `Batch.flat` need not copy them.
            obs=Frames(steps, streams, shape, obs_dtype, device)
            if stacked
            else torch.zeros(streams, steps, *shape, dtype=obs_dtype, device=device).transpose(0, 1),
            actions=zeros(*(action_space.shape or ()), dtype=action_dtype),
            log_prob=zeros(),
            value=zeros(),
            reward=zeros(),
            terminated=zeros(dtype=torch.bool),
            truncated=zeros(dtype=torch.bool),
            bootstrap=zeros(),
            last_value=torch.zeros(streams, device=device),
            memory=zeros(memory),
            sequence=sequence,
        )

    @property
    def steps(self) -> int:
        """T."""
        return self.reward.shape[0]

    @property
    def streams(self) -> int:
        """N."""
        return self.reward.shape[1]

    def blank(self, count: int) -> Tensor | Seen:
        """`count` observations of zeros."""
        if isinstance(self.obs, Frames):
            frames = self.obs.memory
            return frames.new_zeros(count, self.obs.depth, *frames.shape[1:])
        obs = self.obs.new_zeros(count, *self.obs.shape[2:])
        if not self.memory.shape[-1]:
            return obs
        fresh = self.terminated.new_zeros(count)
        return Seen(obs, self.memory.new_zeros(count, self.memory.shape[-1]), fresh)

    def see(self, t: int, rows: slice, obs: Tensor | Seen) -> None:
        """Keep what the streams `rows` saw at time t, [n, ...]; the times in their order."""
        if isinstance(obs, Seen):
            self.memory[t, rows], obs = obs.memory, obs.obs
        if isinstance(self.obs, Frames):
            self.obs.write(t, rows, obs)
        else:
            self.obs[t, rows] = obs

    def state_dict(self) -> dict[str, Tensor]:
        """Every field's memory, not copied."""
        return {name: memory for name, memory in self._memory()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what another rollout of the same size held."""
        for name, memory in self._memory():
            memory.copy_(state[name])

    def _memory(self) -> Iterator[tuple[str, Tensor]]:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "sequence":
                yield field.name, value.memory if isinstance(value, Frames) else value

    def batch(self, gamma: float, gae_lambda: float) -> Batch:
        """Returns and advantages of a full rollout; [T, N] each, advantages as GAE gives them (A2C: λ = 1)."""
        advantage = gae(
            self.reward,
            self.value,
            self.last_value,
            self.terminated,
            self.truncated,
            self.bootstrap,
            gamma,
            gae_lambda,
        )
        ended = self.terminated | self.truncated
        obs: Tensor | Stacks | Seen = self.obs.stacks(ended) if isinstance(self.obs, Frames) else self.obs
        if self.memory.shape[-1] and isinstance(obs, Tensor):
            fresh = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]])
            obs = Seen(obs, self.memory, fresh, self.sequence)
        return Batch(obs, self.actions, self.log_prob, advantage, advantage + self.value, self.value)


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a loss needs of a rollout; any leading shape [...], usually [T, N] or [rows]."""

    obs: Tensor | Stacks | Seen
    actions: Tensor
    log_prob: Tensor
    advantage: Tensor
    returns: Tensor
    value: Tensor

    def __getitem__(self, index: Any) -> Batch:
        """Index every field's leading dimensions alike."""
        return Batch(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    @property
    def sequence(self) -> int:
        """Rows that must stay together, in their order."""
        return self.obs.length if isinstance(self.obs, Seen) else 1

    def observations(self) -> Any:
        """`obs` as a network takes it; a copy where it is kept as single frames."""
        return self.obs.tensor() if isinstance(self.obs, Stacks) else self.obs

    def flat(self) -> Batch:
        """[T, N, ...] -> [N * T, ...], a stream's rows together: their gradients are compared, see `Backward`."""
        return Batch(
            *(getattr(self, field.name).transpose(0, 1).flatten(0, 1) for field in dataclasses.fields(self))
        )


def by_time(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[N * T] as `Batch.flat` orders it -> a view [T, N] for shape (T, N); any other shape is taken as it is."""
    return rows.view(shape[1], shape[0]).transpose(0, 1) if len(shape) == 2 else rows.view(shape)
