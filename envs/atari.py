"""`atari:GAME`: a batch of real Atari games on ale-py, emulated in worker processes, stacked on the device.

Only the newest 84x84 frame of each game leaves its process; the stack of four lives on the device, zeroed where an
episode begins, as in OpenAI Baselines.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs.atari_crew import Crew
from envs.atari_game import check_game
from envs.atari_picture import SIZE
from envs.atari_worker import FIRST, SECOND, WHOLE
from envs.batched import BatchedEnv, EnvError, Step, check_first_env
from envs.page_lock import PageLock
from envs.protocol import PROTOCOLS, Protocol
from envs.waiting import LONG_PATIENCE, PATIENCE

STACK = 4
OTHER_WORK = 0.012
"""What this process does for each game besides emulating its own, in game steps (measured: 4 of 300 µs)."""
HALVES = (FIRST, SECOND)


class Blank(NamedTuple):
    """A step of some games before it is known."""

    stack: Tensor
    """[n, 4, 84, 84] on the device: the three frames that stay, and room for the newest."""
    rest: Tensor
    """[14 n] bytes on the host, see `numbers_and_ends`: everything but pictures travels to the device at once."""


def numbers_and_ends(rest: Tensor) -> tuple[Tensor, Tensor]:
    """[14 n] bytes -> reward, score, length, [3, n] float32, and terminated, truncated, [2, n] bool, in its memory."""
    n = len(rest) // 14
    return rest[: 12 * n].view(torch.float32).view(3, n), rest[12 * n :].view(torch.bool).view(2, n)


class AtariEnv(BatchedEnv):
    """`num_envs` games of one title. Observations [N, 4, 84, 84] uint8, oldest frame first."""

    stacked = True
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
        own_share: float | None = None,
        first_env: int = 0,
        **overrides: Any,
    ) -> None:
        """Start the workers; the games begin with `reset`.

        Args:
            game: ale-py's name, e.g. "space_invaders".
            num_envs: number of games, >= 1.
            device: where observations live.
            seed: game i plays the stream (seed, i) whatever num_envs and workers; see first_env.
            protocol: "baselines" or "machado".
            workers: processes that emulate, this one among them; None takes one for each processor it may use.
            own_share: part of the games that this process plays itself; None an equal one, less its other work.
            first_env: game i plays the stream (seed, first_env + i), so that processes can share a seed's games.
            overrides: any field of `envs.protocol.Protocol`, e.g. full_action_set=True, start_spread=500.

        Raises:
            EnvError, GameError: unknown game, protocol or option; num_envs < 1.
        """
        check_game(game)
        if workers is not None:
            _check_option("workers", workers, int)
        if own_share is not None:
            _check_option("own_share", own_share, float)
        check_first_env(first_env)
        if num_envs < 1:
            raise EnvError(f"num_envs must be at least 1, got {num_envs}")
        self.protocol = _protocol(protocol, overrides)
        self.spec, self.num_envs, self.device, self._seed = (
            f"atari:{game}",
            num_envs,
            torch.device(device),
            seed,
        )
        # Who plays none of the games is one more than they need.
        most = num_envs + (own_share == 0.0)
        members = min(most, len(os.sched_getaffinity(0)) if workers is None else workers)
        if own_share is None:
            own_share = max(0.0, 1 / max(1, members) - OTHER_WORK * (1 - 1 / max(1, members)))
        if members < 1:
            raise EnvError(f"workers must be at least 1, got {workers}")
        if not 0.0 <= own_share <= 1.0:
            raise EnvError(f"own_share is a part of the games between 0 and 1, got {own_share}")
        self._lock: PageLock | None = None
        patience = PATIENCE if self.device.type == "cpu" else LONG_PATIENCE
        self._crew = Crew(game, self.protocol, num_envs, members, own_share, patience, first_env)
        self.action_names = self._crew.action_names
        self._memory = self._crew.memory
        if self.device.type == "cuda":
            self._lock = PageLock(self._memory["frames"])
        self.action_space = spaces.Discrete(len(self.action_names))
        self.observation_space = spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)
        first, second = self.halves
        self._rows = {WHOLE: slice(0, num_envs), FIRST: first, SECOND: second}
        self._stacks: dict[bytes, Tensor] = {}
        """Of the whole batch, or of each half where they are stepped in turns."""

    def reset(self, seed: int | None = None) -> Tensor:
        """[N, 4, 84, 84] uint8: three black frames and the first picture."""
        self._seed = self._seed if seed is None else seed
        self._crew.reset(self._seed)
        stack = torch.zeros(self.num_envs, STACK, SIZE, SIZE, dtype=torch.uint8, device=self.device)
        stack[:, -1] = torch.from_numpy(self._memory["frames"]).to(self.device)
        self._stacks = {WHOLE: stack}
        return stack

    def step(self, actions: Tensor) -> Step:
        """actions: [N] integer, 0 <= a < action_space.n."""
        self._begin(WHOLE, actions)
        return self._end(WHOLE)

    def step_begin(self, half: int, actions: Tensor) -> None:
        """The workers begin at once; this process's own games are played in `step_end`."""
        self._begin(HALVES[half], actions)

    def step_end(self, half: int) -> Step:
        """See `BatchedEnv.step_end`."""
        return self._end(HALVES[half])

    def _begin(self, part: bytes, actions: Tensor) -> None:
        rows = self._rows[part]
        n = rows.stop - rows.start
        if actions.shape != (n,) or actions.is_floating_point():
            raise EnvError(
                f"{self.spec} wants integer actions of shape ({n},), got {tuple(actions.shape)} {actions.dtype}"
            )
        self._check_reset()
        self._crew.check_free(part)
        self._memory["actions"][rows] = actions.cpu().numpy()
        self._crew.begin_step(part)

    def _end(self, part: bytes) -> Step:
        blank = self._blank(self._stack(part))  # first, while the workers wake up
        self._crew.finish_step(part)
        return self._filled(blank, part)

    def _check_reset(self) -> None:
        if not self._stacks:
            raise EnvError(f"{self.spec} has no games yet: call reset first")

    def _stack(self, part: bytes) -> Tensor:
        if part not in self._stacks:
            if part == WHOLE:
                self._stacks = {WHOLE: torch.cat([self._stacks[half] for half in HALVES])}
            else:
                self._stacks = {half: self._stacks[WHOLE][self._rows[half]] for half in HALVES}
        return self._stacks[part]

    def _blank(self, older: Tensor) -> Blank:
        """What can be done of the next step before it is known."""
        stack = torch.empty_like(older)
        if self.device.type == "cpu":
            # NumPy copies on this thread: torch would wake its thread pool, which then spins beside the emulators.
            stack.numpy()[:, :-1] = older.numpy()[:, 1:]
        else:
            stack[:, :-1] = older[:, 1:]
        return Blank(stack, torch.empty(14 * len(stack), dtype=torch.uint8))

    def _filled(self, blank: Blank, part: bytes) -> Step:
        at = self._rows[part]
        frames, finals = self._memory["frames"][at], self._memory["finals"][at]
        ends = self._memory["ends"][:, at]
        for room, found in zip(
            numbers_and_ends(blank.rest), (self._memory["numbers"][:, at], ends), strict=True
        ):
            room.numpy()[:] = found
        rows = np.flatnonzero(ends.any(0)) if ends.any() else None
        stack, final_obs = blank.stack, None
        if self.device.type == "cpu":
            array = stack.numpy()
            if rows is not None:
                final_obs = torch.empty_like(stack)
                final_obs.numpy()[rows, :-1] = array[rows, :-1]
                final_obs.numpy()[rows, -1] = finals[rows]
                array[rows, :-1] = 0
            array[:, -1] = frames
        else:
            if rows is not None:
                ended = torch.from_numpy(rows).to(self.device)
                final_obs = stack.clone()
                final_obs[ended, -1] = torch.from_numpy(finals[rows]).to(self.device)
                stack[ended, :-1] = 0
            stack[:, -1] = torch.from_numpy(frames).to(self.device)
        self._stacks[part] = stack
        (reward, score, length), (terminated, truncated) = numbers_and_ends(blank.rest.to(self.device))
        return Step(stack, reward, terminated, truncated, final_obs, score, length)

    def observation(self) -> Tensor:
        """[N, 4, 84, 84] uint8."""
        self._check_reset()
        return self._stack(WHOLE)

    def state_dict(self) -> dict[str, Any]:
        """Emulators, counters, random numbers and frame stacks; about 22 kB a game besides its stack of 28 kB."""
        self._check_reset()
        games = self._crew.state()
        return {
            "spec": self.spec,
            "protocol": dataclasses.asdict(self.protocol),
            "games": torch.from_numpy(np.frombuffer(pickle.dumps(games), np.uint8).copy()),
            "obs": self.observation().cpu(),
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
        self._crew.restore(games)
        self._stacks = {WHOLE: state["obs"].to(self.device, copy=True)}

    def render(self, index: int = 0) -> np.ndarray:
        """RGB [H, W, 3] uint8 of game `index`."""
        if not 0 <= index < self.num_envs:
            raise EnvError(f"there is no environment {index} among {self.num_envs}")
        return self._crew.render(index)

    def close(self) -> None:
        """End the workers."""
        if self._lock is not None:
            self._lock.release()
        self._crew.close()

    def __del__(self) -> None:
        if hasattr(self, "_crew"):
            self.close()


def _protocol(name: str, overrides: dict[str, Any]) -> Protocol:
    if name not in PROTOCOLS:
        raise EnvError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    known = {field.name for field in dataclasses.fields(Protocol)}
    for key in overrides:
        if key not in known:
            options = ", ".join(sorted({*known, "protocol", "workers", "own_share", "first_env"}))
            raise EnvError(f"atari has no option {key!r}; there are {options}")
        _check_option(key, overrides[key], type(getattr(PROTOCOLS[name], key)))
    protocol = dataclasses.replace(PROTOCOLS[name], **overrides)
    for key in ("noop_max", "start_spread"):
        if getattr(protocol, key) < 0:
            raise EnvError(f"{key} must not be negative, got {getattr(protocol, key)}")
    if not 0.0 <= protocol.sticky < 1.0:
        raise EnvError(f"sticky is a probability below 1, got {protocol.sticky}")
    if protocol.frame_skip < 1 or protocol.max_frames < 1:
        raise EnvError("frame_skip and max_frames must be at least 1")
    return protocol


def _check_option(key: str, value: Any, kind: type) -> None:
    """Raises EnvError where it is not of its kind: one taken for something else would switch on what was to be off."""
    taken = (int, float) if kind is float else kind
    if not isinstance(value, taken) or (kind is not bool and isinstance(value, bool)):
        words = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise EnvError(f"{key} must be {words}, got {value!r}")
