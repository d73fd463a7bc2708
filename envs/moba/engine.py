"""Worlds in the CPU's memory, stepped in threads. It knows arrays, ranges of worlds and threads, and no rule.

`cuda.CudaWorlds` has the same methods for worlds on a GPU.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from envs.moba import state as st
from envs.moba.compile import compiled
from envs.moba.options import Options

WORLDS_PER_TASK = 16
"""A thread gets no fewer worlds than this; below it, handing out costs more than it saves."""


class CpuWorlds:
    """`count` worlds. `state` holds their arrays as tensors [count, …], see `state.shapes`."""

    device = torch.device("cpu")

    def __init__(self, options: Options, count: int) -> None:
        self.state = {
            key: torch.zeros((count, *shape), dtype=getattr(torch, dtype))
            for key, (shape, dtype) in st.shapes(options).items()
        }
        self._arrays = [self.state[key].numpy() for key in ("units", "heroes", "game")]
        self._rows = self.state["rows"].numpy()
        self._knobs = torch.tensor(st.knobs_of(options), dtype=torch.int64).numpy()
        self._rules = compiled()
        self._threads = int(options.threads) or len(os.sched_getaffinity(0))
        # The calling thread works too.
        self._pool = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None

    def start(self, which: Tensor, obs: Tensor) -> None:
        """Start the worlds `which` (int64) anew, at the EPISODE each is in, and observe them into obs[which]."""
        indices, out = which.numpy(), obs.numpy()
        arrays = (*self._arrays, self._knobs, self._rows)
        self._share(lambda a, b: self._rules.start_worlds(*arrays, out, indices, a, b), len(indices))

    def step(self, actions: Tensor, obs: Tensor, reward: Tensor) -> None:
        """One decision of all: actions int64 [count, heroes, 3]; fills obs and reward, see `world.step_world`."""
        arrays = (*self._arrays, self._knobs, self._rows, actions.numpy(), obs.numpy(), reward.numpy())
        self._share(lambda a, b: self._rules.step_worlds(*arrays, a, b), len(actions))

    def play(self, script: int, obs: Tensor, actions: Tensor) -> None:
        """Fill actions [n, 3] with those of a script (its place in OPPONENTS) for obs [n, D]."""
        arrays = (script, self._knobs, obs.numpy(), actions.numpy())
        self._share(lambda a, b: self._rules.play(*arrays, a, b), len(obs))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _share(self, work: Callable[[int, int], None], count: int) -> None:
        """Do `work(begin, end)` on 0 … count - 1 in pieces, one a thread."""
        pieces = min(self._threads, count // WORLDS_PER_TASK)
        if self._pool is None or pieces < 2:
            work(0, count)
            return
        cuts = [count * i // pieces for i in range(pieces + 1)]
        others = [self._pool.submit(work, *cut) for cut in itertools.pairwise(cuts[1:])]
        work(cuts[0], cuts[1])
        for other in others:
            other.result()
