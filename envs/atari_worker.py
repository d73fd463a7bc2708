"""A worker process: owns a slice of the games and steps them when told, over one socket and shared memory.

Protocol: one byte that says what follows, and for all but a step one message of a `Connection`:
    parent -> worker  STEP                         step environments [low, high) with the shared actions
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

STEP, REQUEST, DONE, ANSWER, FAILED = b"s", b"r", b"d", b"a", b"f"


def layout(num_envs: int) -> shared_memory.Layout:
    """The arrays that parent and workers share. N = num_envs; only the newest frame of each game travels."""
    return {
        "actions": ((num_envs,), "int64"),
        "frames": ((num_envs, SIZE, SIZE), "uint8"),
        "finals": ((num_envs, SIZE, SIZE), "uint8"),
        "rewards": ((num_envs,), "float32"),
        "terminated": ((num_envs,), "bool"),
        "truncated": ((num_envs,), "bool"),
        "scores": ((num_envs,), "float32"),
        "lengths": ((num_envs,), "float32"),
    }


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker is told at its start."""

    game: str
    protocol: Protocol
    num_envs: int
    low: int
    high: int


class Worker:
    """Games [low, high) and their places in shared memory."""

    def __init__(self, task: Task, memory: dict[str, np.ndarray]) -> None:
        self.task, self.memory = task, memory
        frames, finals = memory["frames"], memory["finals"]
        self.games = [
            AtariGame(task.game, task.protocol, frames[i], finals[i]) for i in range(task.low, task.high)
        ]

    def step(self) -> None:
        """Advance every game by its action."""
        m = self.memory
        actions = m["actions"]
        for i, game in enumerate(self.games, self.task.low):
            m["rewards"][i], m["terminated"][i], m["truncated"][i], m["scores"][i], m["lengths"][i] = (
                game.step(int(actions[i]))
            )

    def answer(self, name: str, value: Any) -> Any:
        """Serve a request that is not a step."""
        if name == "reset":
            for i, game in enumerate(self.games, self.task.low):
                game.reset(value, i)
            return None
        if name == "state":
            return [game.state() for game in self.games]
        if name == "restore":
            for game, state in zip(self.games, value, strict=True):
                game.restore(state)
            return None
        if name == "render":
            return self.games[value - self.task.low].render()
        raise ValueError(f"unknown request {name!r}")


def serve(connection: Connection, worker: Worker) -> None:
    """Answer until the parent hangs up."""
    descriptor = connection.fileno()
    while True:
        try:
            kind = os.read(descriptor, 1)
            request = connection.recv_bytes() if kind == REQUEST else b""
        except (EOFError, ConnectionError):
            return
        if not kind:
            return
        reply = b""
        try:
            if kind == STEP:
                worker.step()
                answer = DONE
            else:
                answer, reply = ANSWER, pickle.dumps(worker.answer(*pickle.loads(request)))
        except Exception as error:
            traceback.print_exc()
            answer, reply = FAILED, f"{type(error).__name__}: {error}".encode()
        try:
            os.write(descriptor, answer)
            if answer != DONE:
                connection.send_bytes(reply)
        except ConnectionError:
            return


def main() -> None:
    """`python -m envs.atari_worker SOCKET_FD MEMORY_FD`; the task comes as the first message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    connection = Connection(int(sys.argv[1]))
    task: Task = pickle.loads(connection.recv_bytes())
    worker = Worker(task, shared_memory.attach(int(sys.argv[2]), layout(task.num_envs)))
    gc.freeze()
    gc.disable()  # a collection in mid-step would stall the whole batch; nothing here makes cycles
    os.write(connection.fileno(), ANSWER)
    connection.send_bytes(pickle.dumps([action.name for action in worker.games[0].actions]))
    serve(connection, worker)


if __name__ == "__main__":
    main()
