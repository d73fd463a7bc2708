"""Worlds in a GPU's memory, one thread a world: the same rules, compiled by numba-cuda. Where there is no GPU the tests
run it in Numba's simulator; docs/moba.md says what has run on one.

State is laid out with the world last, so that neighbouring threads touch neighbouring words; the tensors show it with
the world in front. Tensors and kernels share memory, nothing is copied.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from envs.batched import EnvError
from envs.moba import state as st
from envs.moba.compile import build, loops
from envs.moba.options import Options

THREADS_PER_BLOCK = 64
cuda: Any = None
"""numba.cuda, once `kernels` has imported it."""


def why_not() -> str | None:
    """One line that says why no kernel can run here, or None."""
    try:
        usable = importlib.import_module("numba.cuda").is_available()
    except ImportError:
        return "moba on a GPU needs numba-cuda: pip install -e '.[gpu]' in the clone"
    if not usable:
        return "moba on a GPU needs one that numba-cuda can use, and finds none; use device='cpu'"
    return None


@functools.cache
def kernels() -> SimpleNamespace:
    """`step`, `start` and `play` as CUDA kernels. Raises EnvError where there is no GPU."""
    if reason := why_not():
        raise EnvError(reason)
    # Few worlds leave a GPU idle; who asks for few knows.
    warnings.filterwarnings("ignore", message=".*Grid size.*under-utilization")
    global cuda  # where Numba's simulator looks for it
    cuda = importlib.import_module("numba.cuda")
    on_device = cuda.jit(device=True)
    rules = loops(build(on_device, lambda table: table), on_device)
    step_worlds, start_worlds, play_all = rules.step_worlds, rules.start_worlds, rules.play

    @cuda.jit
    def step(units, heroes, game, knobs, rows, actions, obs, reward):  # type: ignore[no-untyped-def]
        world = cuda.grid(1)
        if world < game.shape[0]:
            step_worlds(units, heroes, game, knobs, rows, actions, obs, reward, world, world + 1)

    @cuda.jit
    def start(units, heroes, game, knobs, rows, obs, which):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < which.shape[0]:
            start_worlds(units, heroes, game, knobs, rows, obs, which, i, i + 1)

    @cuda.jit
    def play(script, knobs, obs, actions):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < obs.shape[0]:
            play_all(script, knobs, obs, actions, i, i + 1)

    return SimpleNamespace(step=step, start=start, play=play)


def world_last(shape: tuple[int, ...], dtype: str, device: torch.device) -> Tensor:
    """Zeros [world, …] whose memory runs over the world fastest."""
    memory = torch.zeros((*shape[1:], shape[0]), dtype=getattr(torch, dtype), device=device)
    return memory.movedim(-1, 0)


class CudaWorlds:
    """`count` worlds on `device`; methods as `engine.CpuWorlds`."""

    def __init__(self, options: Options, count: int, device: torch.device) -> None:
        self.device = device
        self._kernels = kernels()
        self.state = {
            key: world_last((count, *shape), dtype, device)
            for key, (shape, dtype) in st.shapes(options).items()
        }
        self._knobs = torch.tensor(st.knobs_of(options), dtype=torch.int64, device=device)

    def start(self, which: Tensor, obs: Tensor) -> None:
        """Start the worlds `which` (int64) anew and observe them into obs[which]."""
        s = self.state
        launch(
            self._kernels.start,
            self.device,
            len(which),
            *(s["units"], s["heroes"], s["game"], self._knobs, s["rows"], obs, which),
        )

    def step(self, actions: Tensor, obs: Tensor, reward: Tensor) -> None:
        """One decision of all; fills obs and reward."""
        s = self.state
        launch(
            self._kernels.step,
            self.device,
            len(actions),
            *(s["units"], s["heroes"], s["game"], self._knobs, s["rows"], actions, obs, reward),
        )

    def play(self, script: int, obs: Tensor, actions: Tensor) -> None:
        """Fill actions [n, 3] with a script's for obs [n, D]."""
        launch(self._kernels.play, self.device, len(obs), script, self._knobs, obs, actions)

    def close(self) -> None:
        """Nothing to end."""


def launch(kernel: Any, device: torch.device, threads: int, *arguments: Any) -> None:
    """Run a kernel on the stream torch uses on `device`, so that neither waits for the other."""
    if threads == 0:
        return
    if device.type == "cuda":
        number = torch.cuda.current_stream(device).cuda_stream
        stream = cuda.external_stream(number) if number else cuda.default_stream()
        given = [cuda.as_cuda_array(a) if isinstance(a, Tensor) else a for a in arguments]
    else:
        simulator: Any = importlib.import_module("numba.cuda.simulator.cudadrv.devicearray")
        stream = 0
        given = [simulator.FakeCUDAArray(a.numpy()) if isinstance(a, Tensor) else a for a in arguments]
    blocks = -(-threads // THREADS_PER_BLOCK)
    kernel[blocks, THREADS_PER_BLOCK, stream](*given)
