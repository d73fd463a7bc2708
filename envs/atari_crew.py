"""The processes that emulate a batch of games together: this one, which plays a share, and its workers.

It must not know of stacks or devices; games and pictures are `atari_worker`'s. Workers are processes because
ale-py's `act` holds Python's lock. This process would only wait for them: so it is one of the crew.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from envs import shared_memory
from envs.atari_worker import DONE, FAILED, FIRST, REQUEST, SECOND, WHOLE, Task, Worker, layout
from envs.batched import EnvError
from envs.protocol import Protocol
from envs.waiting import PATIENCE, Waiter


class WorkerDied(RuntimeError):
    """An emulator process ended by itself; says which, and with what exit code."""


def deal(num_envs: int, members: int, own: float) -> list[tuple[int, ...]]:
    """The games of each member of a crew; `own` is the share of the first, the others' are equal.

    Games are dealt in turn, so that each half of the batch is shared like the whole.
    """
    weights = [own] + [(1 - own) / max(1, members - 1)] * (members - 1)
    hands: list[list[int]] = [[] for _ in weights]
    for i in range(num_envs):
        waiting = [weight * (i + 1) - len(hand) for weight, hand in zip(weights, hands, strict=True)]
        hands[waiting.index(max(waiting))].append(i)
    return [tuple(hand) for hand in hands]


class _Remote:
    """The parent's end of one worker process."""

    def __init__(self, task: Task, memory_fd: int) -> None:
        self.task = task
        self._owner = os.getpid()
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        self.process = subprocess.Popen(
            # -P: a folder of the user's named `envs` must not be taken for ours.
            [sys.executable, "-P", "-m", "envs.atari_worker", str(theirs.fileno()), str(memory_fd)],
            pass_fds=(theirs.fileno(), memory_fd),
            stdin=subprocess.DEVNULL,
            # A signal to the whole group, as of Ctrl-C or `timeout`, is this process's to handle: it checkpoints first.
            process_group=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.descriptor = self.connection.fileno()
        self.waiter = Waiter(self.descriptor)
        self.connection.send_bytes(pickle.dumps(task))

    def begin_step(self, which: bytes) -> None:
        try:
            os.write(self.descriptor, which)
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
            kind = self.waiter.read()
            if kind == DONE:
                return None
            reply = self.connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise self.died() from None
        if kind == FAILED:
            raise RuntimeError(reply.decode())
        return pickle.loads(reply)

    def died(self) -> WorkerDied:
        try:
            code: int | str = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = "unknown: still running but not answering"
        return WorkerDied(f"the emulator process of {self.task} ended (exit code {code})")

    def close(self) -> None:
        if os.getpid() == self._owner:  # a child that the user's program forked holds the socket open
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.descriptor)) as same:
                same.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Local:
    """The parent's own share, behind the same calls: what was asked is done when the answer is wanted."""

    def __init__(self, task: Task, memory: dict[str, np.ndarray]) -> None:
        self.task = task
        self._worker = Worker(task, memory)
        self.action_names = self._worker.action_names
        self._asked: list[tuple[str, Any]] = []

    def begin_step(self, which: bytes) -> None:
        self._asked.append(("step", which))

    def ask(self, name: str, value: Any) -> None:
        self._asked.append((name, value))

    def receive(self) -> Any:
        name, value = self._asked.pop(0)
        return self._worker.step(value) if name == "step" else self._worker.answer(name, value)

    def close(self) -> None:
        del self._worker


class Crew:
    """This process and its workers, which step games [0, num_envs) over one piece of shared memory."""

    def __init__(
        self,
        game: str,
        protocol: Protocol,
        num_envs: int,
        members: int,
        own: float,
        patience: float = PATIENCE,
        first_env: int = 0,
    ) -> None:
        """members: processes that emulate, this one among them; 1 starts none. own: this one's share of the games.
        patience: of the workers, see `waiting`. first_env: number of game 0 among all those of a seed.
        """
        self._members: list[_Local | _Remote] = []
        self._begun: list[bytes] = []
        memory_fd = shared_memory.create(layout(num_envs))
        try:
            self.memory = shared_memory.attach(memory_fd, layout(num_envs))
            mine, *others = (
                Task(game, protocol, num_envs, hand, patience, first_env)
                for hand in deal(num_envs, members, own)
            )
            for task in others:  # one by one, so that all that were started are ended if one can't be
                self._members.append(_Remote(task, memory_fd))
            local = _Local(mine, self.memory)  # while the others load theirs
            names = [local.action_names, *self._receive(self._members)]
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory_fd)
        self._members.insert(0, local)
        self.action_names = next(filter(None, names))
        self._parts = {
            which: [member for member in self._members if member.task.part(which)]
            for which in (WHOLE, FIRST, SECOND)
        }

    @property
    def workers(self) -> list[subprocess.Popen[bytes]]:
        """The other processes."""
        return [member.process for member in self._members if isinstance(member, _Remote)]

    def check_free(self, which: bytes) -> None:
        """Raises EnvError where the step of WHOLE, FIRST or SECOND can't be begun: its actions are still needed."""
        if not self._members:
            raise EnvError("these games are closed")
        if which in self._begun or (self._begun and WHOLE in (which, *self._begun)):
            raise EnvError("these games are in a step already: finish it first")

    def begin_step(self, which: bytes = WHOLE) -> None:
        """Wake the workers: the actions of WHOLE, FIRST or SECOND are in shared memory."""
        self.check_free(which)
        self._begun.append(which)
        for member in self._parts[which]:
            member.begin_step(which)

    def finish_step(self, which: bytes = WHOLE) -> None:
        """Play this process's share of the step that was begun first, and wait for the workers."""
        if self._begun[:1] != [which]:
            raise EnvError("a step of these games is finished that was not begun, or not first")
        self._receive(self._parts[self._begun.pop(0)])

    def reset(self, seed: int) -> None:
        """Begin all games anew under `seed`."""
        self._ask("reset", lambda task: seed)

    def state(self) -> list[Any]:
        """A snapshot of every game, in order."""
        games: dict[int, Any] = {}
        for member, part in zip(self._members, self._ask("state", lambda task: None), strict=True):
            games.update(zip(member.task.games, part, strict=True))
        return [games[i] for i in sorted(games)]

    def restore(self, games: Sequence[Any]) -> None:
        """Inverse of `state`."""
        self._ask("restore", lambda task: [games[i] for i in task.games])

    def render(self, index: int) -> np.ndarray:
        """RGB [H, W, 3] uint8 of game `index`."""
        self._check_idle()
        owner = next(member for member in self._members if index in member.task.games)
        owner.ask("render", index)
        picture: np.ndarray = owner.receive()
        return picture

    def _ask(self, name: str, value: Callable[[Task], Any]) -> list[Any]:
        """Every member's answer to a request."""
        self._check_idle()
        for member in self._members:
            member.ask(name, value(member.task))
        return self._receive(self._members)

    def _check_idle(self) -> None:
        if not self._members:
            raise EnvError("these games are closed")
        if self._begun:
            raise EnvError("a step of these games was begun: finish it first")

    @staticmethod
    def _receive(members: Sequence[_Local | _Remote]) -> list[Any]:
        """The answers; the first failure is raised when nobody has one left to give: the next call would take it."""
        answers: list[Any] = []
        failure: BaseException | None = None
        for member in members:
            try:
                answers.append(member.receive())
            except BaseException as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def close(self) -> None:
        """End the workers and this process's games; safe to call twice."""
        self._begun.clear()
        while self._members:
            self._members.pop().close()
