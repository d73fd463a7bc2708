"""The work no implementation of an algorithm can leave out, done by every core for itself: the limit, as a contender.

One process per core. Each does, with one thread and without telling anybody, whole updates' worth of: `act` of the
emulators (4 frames a decision), pictures, one copy of each newest frame, forward passes that act, passes that learn,
optimizer steps. Nothing is exchanged and nobody waits. The network's passes are also done by one process with a thread
per core. See `limits.py` for what follows. Memory is kept as a run keeps it (`allocation.py`).
It knows nothing of trainers or of noise.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

PARTS = ("emulate", "pictures", "copy", "act", "learn", "step")
MOST_GAMES = 64  # loading a cartridge takes 90 ms; more games than this do not fit a core's cache anyhow


class Size(NamedTuple):
    """An algorithm at a size."""

    algo: str
    num_envs: int
    rollout: int
    epochs: int = 4
    minibatches: int = 4

    @property
    def batch(self) -> int:
        """Observations of one update."""
        return self.num_envs * self.rollout

    def __str__(self) -> str:
        """E.g. ppo 8x128x4."""
        return f"{self.algo} {self.num_envs}x{self.rollout}" + (
            f"x{self.epochs}" if self.algo == "ppo" else ""
        )


class Arithmetic:
    """The network's passes at a size, on one device, nothing else."""

    def __init__(self, size: Size, device: str = "cpu", actions: int = 6) -> None:
        import torch
        from gymnasium import spaces

        from agents import a2c, ppo
        from agents.networks import make_policy

        self.size, self.device, self._torch = size, torch.device(device), torch
        self.policy = make_policy(
            "nature", spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(actions)
        ).to(self.device)
        generator = torch.Generator().manual_seed(0)
        rows = size.batch if size.algo == "a2c" else max(size.num_envs, size.batch // size.minibatches)
        self.obs = torch.randint(0, 256, (rows, 4, 84, 84), dtype=torch.uint8, generator=generator).to(
            self.device
        )
        self.optimizer: Any = (
            a2c.make_optimizer(self.policy, a2c.Settings())
            if size.algo == "a2c"
            else ppo.make_optimizer(self.policy, ppo.Settings())
        )

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            self._torch.cuda.synchronize(self.device)

    def act(self) -> None:
        """A forward pass over what all environments show: of a decision, or for the value at a rollout's end."""
        with self._torch.no_grad():
            self.policy(self.obs[: self.size.num_envs])

    def loss(self, rows: int) -> Any:
        """A scalar whose gradient reaches every weight."""
        distribution, value = self.policy(self.obs[:rows])
        return distribution.log_probs.square().mean() + value.square().mean()

    def step(self) -> None:
        """Clip the gradient and take an optimizer step."""
        self._torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def update(self, seconds: dict[str, float]) -> None:
        """The passes of one update; adds their seconds to "act", "learn" and "step".

        One pass more than decisions acts: returns end in the value of what is seen last, under the weights that acted.
        A2C's forward pass is the one it acted with, so only its backward pass is learning's.
        """
        with self.timed(seconds, "act"):
            for _ in range(self.size.rollout + 1):
                self.act()
        if self.size.algo == "a2c":
            loss = self.loss(self.size.batch)
            with self.timed(seconds, "learn"):
                loss.backward()
            with self.timed(seconds, "step"):
                self.step()
            return
        rows = self.size.batch // self.size.minibatches
        for _ in range(self.size.epochs * self.size.minibatches):
            with self.timed(seconds, "learn"):
                self.loss(rows).backward()
            with self.timed(seconds, "step"):
                self.step()

    @contextmanager
    def timed(self, seconds: dict[str, float], part: str) -> Iterator[None]:
        """Adds wall time, the device's work included."""
        self.finish()
        start = time.perf_counter()
        yield
        self.finish()
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - start


class Emulation:
    """A core's share of the games: bare emulators, and the same games with rules and pictures."""

    def __init__(self, game: str, num_envs: int) -> None:
        from ale_py import ALEInterface, LoggerMode, roms

        from envs.atari_game import AtariGame
        from envs.protocol import PROTOCOLS

        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.bare = []
        for seed in range(num_envs):
            emulator = ALEInterface()
            emulator.setInt("random_seed", seed + 1)
            emulator.setFloat("repeat_action_probability", 0.0)
            emulator.loadROM(roms.get_rom_path(game))
            self.bare.append(emulator)
        self.actions = self.bare[0].getMinimalActionSet()
        self.games = [AtariGame(game, PROTOCOLS["baselines"]) for _ in range(num_envs)]
        for index, playing in enumerate(self.games):
            playing.reset(1, index)
        self.random = np.random.default_rng(0)
        self.newest = np.zeros((num_envs, 84, 84), np.uint8)
        self.stack = np.zeros((num_envs, 4, 84, 84), np.uint8)

    def run(self, decisions: int, seconds: dict[str, float]) -> None:
        """Adds the seconds of so many decisions to "emulate", "pictures" and "copy"."""
        count = len(self.bare)
        rounds = -(-decisions // count)
        drawn = self.random.integers(len(self.actions), size=(rounds, count)).tolist()
        start = time.perf_counter()
        for row in drawn:
            for emulator, action in zip(self.bare, row, strict=True):
                code = self.actions[action]
                for _ in range(4):
                    emulator.act(code)
                if emulator.game_over():
                    emulator.reset_game()
        bare = time.perf_counter()
        for row in drawn:
            for game, action in zip(self.games, row, strict=True):
                game.step(action)
        whole = time.perf_counter()
        for _ in range(rounds):
            self.stack[:, -1] = self.newest
        end = time.perf_counter()
        share = decisions / (rounds * count)
        for part, value in (
            ("emulate", bare - start),
            ("pictures", whole - 2 * bare + start),
            ("copy", end - whole),
        ):
            seconds[part] = seconds.get(part, 0.0) + value * share


def _serve(connection: Connection, game: str, size: Size, cores: int, arithmetic: bool) -> None:
    import torch

    from rl_gns.training.allocation import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    emulation = Emulation(game, max(1, min(size.num_envs // cores, MOST_GAMES)))
    passes = Arithmetic(size) if arithmetic else None
    connection.send(None)
    while (order := connection.recv()) is not None:
        updates, alone = order
        seconds = dict.fromkeys(PARTS, 0.0)
        torch.set_num_threads(cores if alone else 1)
        for _ in range(updates):
            if not alone:
                emulation.run(size.batch, seconds)
            if passes is not None:
                passes.update(seconds)
        connection.send(seconds)


class BareWork:
    """One process per core that does the bare work of `size` when asked; `close` ends them."""

    def __init__(
        self, size: Size, game: str = "pong", cores: int | None = None, arithmetic: bool = True
    ) -> None:
        """arithmetic: whether the cores do the network's passes too, or a GPU does."""
        self.size, self.cores = size, cores or len(os.sched_getaffinity(0))
        self._arithmetic = arithmetic
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for _ in range(self.cores):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, game, size, self.cores, arithmetic), daemon=True
            )
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        for _, connection in self._workers:
            connection.recv()

    def turn(self, updates: int = 1) -> dict[str, float]:
        """Every core does so many updates at once, then one process so many with a thread per core.

        Core-seconds per observation, by part; of the network's passes the cheaper way (threads share a cache, apart
        they need not wait for one another: which is better depends on the size).
        """
        for _, connection in self._workers:
            connection.send((updates, False))
        answers = [connection.recv() for _, connection in self._workers]
        observations = updates * self.size.batch
        row = {part: sum(answer[part] for answer in answers) / observations / self.cores for part in PARTS}
        if self._arithmetic and self.cores > 1:
            first = self._workers[0][1]
            first.send((updates, True))
            together = first.recv()
            for part in ("act", "learn", "step"):
                row[part] = min(row[part], self.cores * together[part] / observations)
        return row

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._workers:
            connection.send(None)
            process.join(5)
            connection.close()
        self._workers = []
