"""`atari:GAME`: a batch of real Atari games on ale-py, emulated in worker processes, stacked on the device.

Workers are processes because ale-py's `act` holds Python's lock. Only the newest 84x84 frame of each game leaves
its worker; the stack of four lives on the device, zeroed where an episode begins, as in OpenAI Baselines.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs import shared_memory
from envs.atari_game import check_game
from envs.atari_picture import SIZE
from envs.atari_worker import DONE, FAILED, REQUEST, STEP, Task, layout
from envs.batched import BatchedEnv, EnvError, Step
from envs.protocol import PROTOCOLS, Protocol

STACK = 4


class WorkerDied(RuntimeError):
    """An emulator process ended by itself; says which, and with what exit code."""


class _Remote:
    """The parent's end of one worker process."""

    def __init__(self, task: Task, memory_fd: int) -> None:
        self.task = task
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        self.process = subprocess.Popen(
            # -P: a folder of the user's named `envs` must not be taken for ours.
            [sys.executable, "-P", "-m", "envs.atari_worker", str(theirs.fileno()), str(memory_fd)],
            pass_fds=(theirs.fileno(), memory_fd),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.descriptor = self.connection.fileno()
        self.connection.send_bytes(pickle.dumps(task))

    def begin_step(self) -> None:
        try:
            os.write(self.descriptor, STEP)
        except ConnectionError:
            raise self.died() from None

    def ask(self, name: str, value: Any) -> None:
        try:
            os.write(self.descriptor, REQUEST)
            self.connection.send_bytes(pickle.dumps((name, value)))
        except ConnectionError:
            raise self.died() from None

    def receive(self) -> Any:
        """The answer to `begin_step` (None), to `ask`, or the greeting."""
        try:
            kind = os.read(self.descriptor, 1)
            if kind == DONE:
                return None
            reply = self.connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise self.died() from None
        if kind == FAILED:
            raise RuntimeError(f"emulator worker for environments {self.range}: {reply.decode()}")
        return pickle.loads(reply)

    @property
    def range(self) -> str:
        return f"{self.task.low}-{self.task.high - 1}"

    def died(self) -> WorkerDied:
        try:
            code: int | str = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = "unknown: still running but not answering"
        return WorkerDied(f"the emulator process of environments {self.range} ended (exit code {code})")

    def close(self) -> None:
        self.connection.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class AtariEnv(BatchedEnv):
    """`num_envs` games of one title. Observations [N, 4, 84, 84] uint8, oldest frame first."""

    steps_elsewhere = True

    def __init__(
        self,
        game: str,
        num_envs: int,
        device: str | torch.device = "cpu",
        seed: int = 0,
        *,
        protocol: str = "baselines",
        workers: int | None = None,
        **overrides: Any,
    ) -> None:
        """Start the workers; the games begin with `reset`.

        Args:
            game: ale-py's name, e.g. "space_invaders".
            num_envs: number of games, >= 1.
            device: where observations live.
            seed: game i plays the stream (seed, i) whatever num_envs and workers.
            protocol: "baselines" or "machado".
            workers: processes; None takes one for each processor this process may use.
            overrides: any field of `envs.protocol.Protocol`, e.g. full_action_set=True, start_spread=500.

        Raises:
            EnvError, GameError: unknown game, protocol or option; num_envs < 1.
        """
        check_game(game)
        if num_envs < 1:
            raise EnvError(f"num_envs must be at least 1, got {num_envs}")
        self.protocol = _protocol(protocol, overrides)
        self.spec, self.num_envs, self.device, self._seed = (
            f"atari:{game}",
            num_envs,
            torch.device(device),
            seed,
        )
        count = min(workers or len(os.sched_getaffinity(0)), num_envs)
        edges = [num_envs * i // count for i in range(count + 1)]
        memory_fd = shared_memory.create(layout(num_envs))
        self._remotes: list[_Remote] = []
        try:
            memory = shared_memory.attach(memory_fd, layout(num_envs))
            for low, high in itertools.pairwise(edges):
                self._remotes.append(_Remote(Task(game, self.protocol, num_envs, low, high), memory_fd))
            names = [remote.receive() for remote in self._remotes]
            self.action_names: list[str] = names[0]
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory_fd)
        self._memory = {name: torch.from_numpy(array) for name, array in memory.items()}
        self.action_space = spaces.Discrete(len(self.action_names))
        self.observation_space = spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)
        self._obs = torch.zeros(num_envs, STACK, SIZE, SIZE, dtype=torch.uint8, device=self.device)

    def reset(self, seed: int | None = None) -> Tensor:
        """[N, 4, 84, 84] uint8: three black frames and the first picture."""
        self._seed = self._seed if seed is None else seed
        self._ask("reset", self._seed)
        self._obs = torch.zeros_like(self._obs)
        self._obs[:, -1] = self._memory["frames"].to(self.device)
        return self._obs

    def step(self, actions: Tensor) -> Step:
        """actions: [N] integer, 0 <= a < action_space.n."""
        if actions.shape != (self.num_envs,) or actions.is_floating_point():
            raise EnvError(
                f"{self.spec} wants integer actions of shape ({self.num_envs},), "
                f"got {tuple(actions.shape)} {actions.dtype}"
            )
        self._memory["actions"].copy_(actions)
        for remote in self._remotes:
            remote.begin_step()
        older = self._shifted()  # while the emulators work
        for remote in self._remotes:
            remote.receive()
        return self._collect(older)

    def _shifted(self) -> Tensor:
        """A new stack with the three frames that stay; the newest is yet to come."""
        stack = torch.empty_like(self._obs)
        if self.device.type == "cpu":
            # NumPy copies on this thread: torch would wake its thread pool, which then spins beside the emulators.
            stack.numpy()[:, :-1] = self._obs.numpy()[:, 1:]
        else:
            stack[:, :-1] = self._obs[:, 1:]
        return stack

    def _collect(self, older: Tensor) -> Step:
        memory = self._memory
        ended = memory["terminated"] | memory["truncated"]
        rows = np.flatnonzero(ended.numpy())
        self._obs = older
        final_obs = None
        if self.device.type == "cpu":
            new = self._obs.numpy()
            if rows.size:
                final_obs = torch.empty_like(self._obs)
                final_obs.numpy()[rows, :-1] = new[rows, :-1]
                final_obs.numpy()[rows, -1] = memory["finals"].numpy()[rows]
                new[rows, :-1] = 0
            new[:, -1] = memory["frames"].numpy()
        else:
            if rows.size:
                at = torch.from_numpy(rows).to(self.device)
                final_obs = self._obs.clone()
                final_obs[at, -1] = memory["finals"][rows].to(self.device)
                self._obs[at, :-1] = 0
            self._obs[:, -1] = memory["frames"].to(self.device)
        return Step(
            obs=self._obs,
            final_obs=final_obs,
            **{
                name: memory[source].to(self.device, copy=True)
                for name, source in (
                    ("reward", "rewards"),
                    ("terminated", "terminated"),
                    ("truncated", "truncated"),
                    ("score", "scores"),
                    ("length", "lengths"),
                )
            },
        )

    def observation(self) -> Tensor:
        """[N, 4, 84, 84] uint8."""
        return self._obs

    def _ask(self, name: str, value: Any) -> list[Any]:
        for remote in self._remotes:
            remote.ask(name, value)
        return [remote.receive() for remote in self._remotes]

    def state_dict(self) -> dict[str, Any]:
        """Emulators, counters, random numbers and frame stacks; about 22 kB a game besides its stack of 28 kB."""
        games = [game for part in self._ask("state", None) for game in part]
        return {
            "spec": self.spec,
            "protocol": dataclasses.asdict(self.protocol),
            "games": torch.from_numpy(np.frombuffer(pickle.dumps(games), np.uint8).copy()),
            "obs": self._obs.cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises EnvError where the snapshot is of another game, size or protocol."""
        games = pickle.loads(state["games"].numpy().tobytes())
        ours = (self.spec, self.num_envs, dataclasses.asdict(self.protocol))
        theirs = (state["spec"], len(games), state["protocol"])
        if ours != theirs:
            raise EnvError(
                f"the snapshot is of {theirs[1]} x {theirs[0]}, not of {ours[1]} x {ours[0]} with these options"
            )
        for remote in self._remotes:
            remote.ask("restore", games[remote.task.low : remote.task.high])
        for remote in self._remotes:
            remote.receive()
        self._obs = state["obs"].to(self.device, copy=True)

    def render(self, index: int = 0) -> np.ndarray:
        """RGB [H, W, 3] uint8 of game `index`."""
        for remote in self._remotes:
            if remote.task.low <= index < remote.task.high:
                remote.ask("render", index)
                picture: np.ndarray = remote.receive()
                return picture
        raise EnvError(f"there is no environment {index} among {self.num_envs}")

    def close(self) -> None:
        """End the workers."""
        while self._remotes:
            self._remotes.pop().close()

    def __del__(self) -> None:
        if getattr(self, "_remotes", None):
            self.close()


def _protocol(name: str, overrides: dict[str, Any]) -> Protocol:
    if name not in PROTOCOLS:
        raise EnvError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    known = {field.name for field in dataclasses.fields(Protocol)}
    for key in overrides:
        if key not in known:
            raise EnvError(
                f"atari has no option {key!r}; there are {', '.join(sorted({*known, 'protocol', 'workers'}))}"
            )
    protocol = dataclasses.replace(PROTOCOLS[name], **overrides)
    for key in ("noop_max", "start_spread"):
        if getattr(protocol, key) < 0:
            raise EnvError(f"{key} must not be negative, got {getattr(protocol, key)}")
    if not 0.0 <= protocol.sticky < 1.0:
        raise EnvError(f"sticky is a probability below 1, got {protocol.sticky}")
    if protocol.frame_skip < 1 or protocol.max_frames < 1:
        raise EnvError("frame_skip and max_frames must be at least 1")
    return protocol
