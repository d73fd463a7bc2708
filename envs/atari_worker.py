"""A worker process: owns some of the games and steps them when told, over one socket and shared memory.

Protocol: one byte that says what follows, and for all but a step one message of a `Connection`:
    parent -> worker  WHOLE, FIRST, SECOND         step its games, or those of one half of the batch
                      REQUEST, pickled (name, value)  "reset" seed, "state" None, "restore" [state], "render" index
    worker -> parent  DONE                         the step is in shared memory
                      ANSWER, pickle; FAILED, text    (one line)
A step is a byte each way because its latency counts: a message of a `Connection` takes three system calls.
The worker ends when the socket closes, so it can't outlive its parent. It never imports torch.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from envs import shared_memory
from envs.atari_game import AtariGame
from envs.atari_picture import SIZE
from envs.protocol import Protocol
from envs.waiting import PATIENCE, Waiter

WHOLE, FIRST, SECOND, REQUEST, DONE, ANSWER, FAILED = b"w", b"1", b"2", b"r", b"d", b"a", b"f"


def layout(num_envs: int) -> shared_memory.Layout:
    """The arrays that parent and workers share. N = num_envs; only the newest frame of each game travels."""
    return {
        "actions": ((num_envs,), "int64"),
        "frames": ((num_envs, SIZE, SIZE), "uint8"),
        "finals": ((num_envs, SIZE, SIZE), "uint8"),
        "ends": ((2, num_envs), "bool"),  # terminated, truncated
        "numbers": ((3, num_envs), "float32"),  # reward, score, length
    }


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker is told at its start."""

    game: str
    protocol: Protocol
    num_envs: int
    games: tuple[int, ...]
    patience: float = PATIENCE
    """See `waiting`."""
    first_env: int = 0
    """Number of game 0 among all those of a seed."""

    def part(self, which: bytes) -> tuple[int, ...]:
        """Its games in the WHOLE batch, or the FIRST or SECOND half."""
        middle = -(-self.num_envs // 2)
        return tuple(i for i in self.games if which == WHOLE or (i < middle) == (which == FIRST))

    def __str__(self) -> str:
        """The games, for messages."""
        few = self.games if len(self.games) <= 4 else (*self.games[:3], "…", self.games[-1])
        return f"environment{'s' * (len(self.games) > 1)} {', '.join(map(str, few))}"


class Worker:
    """Some games and their places in shared memory."""

    def __init__(self, task: Task, memory: dict[str, np.ndarray]) -> None:
        self._first = task.first_env
        self._places = memory["actions"], memory["ends"], memory["numbers"]
        frames, finals = memory["frames"], memory["finals"]
        self.games = {i: AtariGame(task.game, task.protocol, frames[i], finals[i]) for i in task.games}
        self._parts = {
            which: [(i, self.games[i]) for i in task.part(which)] for which in (WHOLE, FIRST, SECOND)
        }

    @property
    def action_names(self) -> list[str]:
        """What the game's actions are called; empty if there is no game here."""
        return [action.name for game in list(self.games.values())[:1] for action in game.actions]

    def step(self, which: bytes) -> None:
        """Advance the games of one part by their actions."""
        actions, (terminated, truncated), (rewards, scores, lengths) = self._places
        i = -1
        try:
            for i, game in self._parts[which]:
                rewards[i], terminated[i], truncated[i], scores[i], lengths[i] = game.step(int(actions[i]))
        except Exception as error:
            raise RuntimeError(f"environment {i}: {type(error).__name__}: {error}") from error

    def answer(self, name: str, value: Any) -> Any:
        """Serve a request that is not a step."""
        if name == "reset":
            for i, game in self.games.items():
                game.reset(value, self._first + i)
            return None
        if name == "state":
            return [game.state() for game in self.games.values()]
        if name == "restore":
            for game, state in zip(self.games.values(), value, strict=True):
                game.restore(state)
            return None
        if name == "render":
            return self.games[value].render()
        raise ValueError(f"unknown request {name!r}")


def serve(connection: Connection, worker: Worker, patience: float = PATIENCE) -> None:
    """Answer until the parent hangs up."""
    descriptor = connection.fileno()
    waiter = Waiter(descriptor, patience)
    while True:
        try:
            kind = waiter.read()
            request = connection.recv_bytes() if kind == REQUEST else b""
        except (EOFError, ConnectionError):
            return
        if not kind:
            return
        reply = b""
        try:
            if kind == REQUEST:
                answer, reply = ANSWER, pickle.dumps(worker.answer(*pickle.loads(request)))
            else:
                worker.step(kind)
                answer = DONE
        except Exception as error:
            traceback.print_exc()
            name = f"{type(error).__name__}: " if kind == REQUEST else ""
            answer, reply = FAILED, f"{name}{error}".encode()
        try:
            os.write(descriptor, answer)
            if answer != DONE:
                connection.send_bytes(reply)
        except ConnectionError:
            return


def main() -> None:
    """`python -m envs.atari_worker SOCKET_FD MEMORY_FD`; the task comes as the first message."""
    for asked_to_end in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # the parent's to handle; it hangs up when it has saved
        signal.signal(asked_to_end, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    task: Task = pickle.loads(connection.recv_bytes())
    worker = Worker(task, shared_memory.attach(int(sys.argv[2]), layout(task.num_envs)))
    gc.freeze()
    gc.disable()  # a collection in mid-step would stall the whole batch; nothing here makes cycles
    os.write(connection.fileno(), ANSWER)
    connection.send_bytes(pickle.dumps(worker.action_names))
    serve(connection, worker, task.patience)


if __name__ == "__main__":
    main()
