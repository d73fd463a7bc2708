"""Observations that are stacks of frames, kept as single frames: consecutive stacks share all but one of theirs.

A rollout of T stacks of K frames takes T + K - 1 frames a stream and not T x K: for stacks of four, a quarter of the
memory where T is long. A stack is put together where a network is about to see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Frames:
    """Storage of T observations [K, ...] of N streams, written step by step, then read as `stacks`.

    An observation's newest frame is its last. Its older ones are those of the observation before, or 0 where an
    episode began since; those of the first observation are taken as they are.
    """

    def __init__(
        self, steps: int, streams: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> None:
        """shape: of one observation, [K, ...]."""
        self.depth = shape[0]
        self.steps, self.streams = steps, streams
        # A stream's frames lie together, the newest at time t at place t + K - 1; after them all a black one.
        rows = streams * (steps + self.depth - 1) + 1
        self.memory = torch.zeros(rows, *shape[1:], dtype=dtype, device=device)
        self._by_stream = self.memory[:-1].unflatten(0, (streams, -1))

    @property
    def nbytes(self) -> int:
        """Of the frames."""
        return self.memory.nbytes

    def write(self, t: int, rows: slice, obs: Tensor) -> None:
        """Keep the observations [n, K, ...] of time t of the streams `rows`."""
        if t == 0:
            self._by_stream[rows, : self.depth] = obs
        else:
            self._by_stream[rows, t + self.depth - 1] = obs[:, -1]

    def stacks(self, ended: Tensor) -> Stacks:
        """All observations [T, N, K, ...]. ended: [T, N] bool, whether an episode ended with the decision at time t."""
        before = torch.zeros(self.depth, self.streams, dtype=torch.int64, device=ended.device)
        # Ends before each place's time: a stack's frames are those with as many as its newest has.
        ends = torch.cat([before, ended[:-1].cumsum(0)])
        stream = torch.arange(self.streams, device=ended.device) * (self.steps + self.depth - 1)
        time = torch.arange(self.steps, device=ended.device)[:, None]
        black = len(self.memory) - 1
        newest = ends[self.depth - 1 :]
        places = [
            torch.where(ends[k : k + self.steps] == newest, stream + time + k, black)
            for k in range(self.depth)
        ]
        return Stacks(self.memory, torch.stack(places, -1))


class Stacks:
    """Observations [..., K, H, W] by the places of their frames; indexed and reshaped as their tensor would be."""

    def __init__(self, memory: Tensor, places: Tensor) -> None:
        """memory: [frames, ...]; places: [..., K] of each observation's frames in it."""
        self.memory, self.places = memory, places

    def __getitem__(self, index: Any) -> Stacks:
        """Index the leading dimensions."""
        return Stacks(self.memory, self.places[index])

    def __len__(self) -> int:
        return len(self.places)

    def transpose(self, first: int, second: int) -> Stacks:
        """Swap two of the leading dimensions, counted from the front."""
        return Stacks(self.memory, self.places.transpose(first, second))

    def flatten(self, first: int, last: int) -> Stacks:
        """Join leading dimensions, counted from the front."""
        return Stacks(self.memory, self.places.flatten(first, last))

    def tensor(self) -> Tensor:
        """The observations themselves, a copy: [..., K, H, W]."""
        found = self.memory.index_select(0, self.places.reshape(-1))
        return found.unflatten(0, self.places.shape)
