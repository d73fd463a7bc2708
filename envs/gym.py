"""`gym:ID`: any Gymnasium task with Box, Discrete or MultiDiscrete spaces, through Gymnasium's own vector API."""

from __future__ import annotations

import copy
import difflib
import pickle
import random
from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from envs.batched import BatchedEnv, EnvError, Step, check_first_env
from envs.gym_replay import Replayed, Snapshot, forgets

DIFFERS = "played again from the same randomness, a game went another way"


class Bare(gymnasium.Wrapper[Any, Any, Any, Any]):
    """What is used of a task: no infos, which the vector would merge and can't where two tasks' are unlike.

    The last observation of a game is a copy: many tasks write the next game's first one over it.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin a game."""
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play on."""
        obs, reward, terminated, truncated, _ = self.env.step(action)
        if terminated or truncated:
            obs = copy.copy(obs)
        return obs, reward, terminated, truncated, {}


def _seeds(seed: int, numbers: range) -> list[int]:
    """The own seeds of environments of these numbers: functions of (seed, number) alone."""
    return [int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0]) for i in numbers]


class GymEnv(BatchedEnv):
    """`num_envs` copies of a Gymnasium task stepped one after the other in this process.

    Pictures [H, W, C] are turned to [C, H, W], as networks want them; float64 becomes float32. Continuous actions
    are clipped to the space's bounds before they act. The reward is the task's own.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        device: str | torch.device = "cpu",
        seed: int = 0,
        *,
        first_env: int = 0,
        **options: Any,
    ) -> None:
        """`options` go to gymnasium.make; environment i has the seeds of number first_env + i.

        Raises:
            EnvError: unknown id (with the nearest), an option the task does not take, a space no network serves.
        """
        if num_envs < 1:
            raise EnvError(f"num_envs must be at least 1, got {num_envs}")
        check_first_env(first_env)
        self._first_env = first_env

        def one() -> gymnasium.Env[Any, Any]:
            env = Bare(gymnasium.make(name, **options))
            return Replayed(env) if forgets(env) else env

        try:
            self._vector = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
        except gymnasium.error.UnregisteredEnv:
            module, colon, plain = name.rpartition(":")
            near = difflib.get_close_matches(plain, list(gymnasium.registry), n=3)
            hint = f"; did you mean {', '.join(module + colon + one for one in near)}?" if near else ""
            if not module:  # a task of one's own is registered only once its module is imported
                hint += f"; a task that a module of yours registers is gym:MODULE:{name}"
            raise EnvError(f"Gymnasium has no environment {name!r}{hint}") from None
        except Exception as error:
            # What a task says of an option that it can't use is its own affair; without options it is a defect.
            if not (options or isinstance(error, (TypeError, ImportError, gymnasium.error.Error))):
                raise
            given = f" with {options}" if options else ""
            raise EnvError(f"gym:{name} can't be made{given}: {' '.join(str(error).split())}") from None
        self._again = one
        self.spec, self.num_envs, self.device, self._seed = (
            f"gym:{name}",
            num_envs,
            torch.device(device),
            seed,
        )
        space = self._vector.single_observation_space
        self._transpose = (
            isinstance(space, spaces.Box)
            and space.dtype == np.uint8
            and len(space.shape) == 3
            and space.shape[2] in (1, 3, 4)
        )
        if self._transpose:
            height, width, channels = space.shape  # type: ignore[misc]
            space = spaces.Box(0, 255, (channels, height, width), np.uint8)
        if not isinstance(space, spaces.Box | spaces.Discrete) or (
            space.shape == () and isinstance(space, spaces.Box)
        ):
            self._vector.close()
            raise EnvError(
                f"gym:{name} has observations {space}; Box (not a single number) and Discrete are served"
            )
        # Policies count from 0, tasks may count from elsewhere.
        self._first_obs = int(space.start) if isinstance(space, spaces.Discrete) else 0
        self.observation_space = (
            spaces.Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else space
        )
        actions = self._vector.single_action_space
        self._first_action = getattr(actions, "start", 0)
        self.action_space = actions
        if isinstance(actions, spaces.Discrete):
            self.action_space = spaces.Discrete(int(actions.n))
        elif isinstance(actions, spaces.MultiDiscrete):
            self.action_space = spaces.MultiDiscrete(actions.nvec)
        self._return = np.zeros(num_envs)
        self._length = np.zeros(num_envs)
        self._obs = torch.empty(0)
        self._proven = 0

    def _tensor(self, obs: np.ndarray) -> Tensor:
        if self._transpose:
            obs = obs.transpose(0, 3, 1, 2)
        if self._first_obs:
            obs = obs - self._first_obs
        dtype: Any = np.float32 if obs.dtype.kind == "f" else obs.dtype
        if obs.dtype in (np.uint16, np.uint32, np.uint64):  # torch can't index with them
            dtype = np.int64
        return torch.from_numpy(np.array(obs, dtype)).to(self.device)

    def reset(self, seed: int | None = None) -> Tensor:
        """[N, ...] first observations."""
        self._seed = self._seed if seed is None else seed
        numbers = range(self._first_env, self._first_env + self.num_envs)
        seeds = list[int | None](_seeds(self._seed, numbers))
        obs, _ = self._told("a reset", lambda: self._vector.reset(seed=seeds))
        self._return[:], self._length[:] = 0, 0
        self._obs = self._tensor(obs)
        return self._obs

    def step(self, actions: Tensor) -> Step:
        """actions: [N] integers, or [N, d] floats."""
        wanted = (self.num_envs, *(self.action_space.shape or ()))
        if tuple(actions.shape) != wanted:
            raise EnvError(f"{self.spec} wants actions of shape {wanted}, got {tuple(actions.shape)}")
        chosen = actions.cpu().numpy()
        if isinstance(self.action_space, spaces.Box):
            chosen = np.clip(chosen, self.action_space.low, self.action_space.high)
            if self.action_space.dtype.kind in "iu":
                chosen = np.rint(chosen).astype(self.action_space.dtype)
        else:
            chosen = chosen + self._first_action
        obs, reward, terminated, truncated, info = self._told("a step", lambda: self._vector.step(chosen))
        ended = terminated | truncated
        self._return += reward
        self._length += 1
        score = np.where(ended, self._return, np.nan).astype(np.float32)
        length = np.where(ended, self._length, np.nan).astype(np.float32)
        self._return[ended], self._length[ended] = 0, 0
        self._obs = self._tensor(obs)
        final_obs = None
        if ended.any():
            final_obs = self._obs.clone()
            # As the task gave it: the vector has brought the others to the space's dtype.
            last = np.stack(list(info["final_obs"][ended])).astype(obs.dtype)
            final_obs[torch.from_numpy(ended)] = self._tensor(last)

        def tensor(array: np.ndarray, dtype: Any) -> Tensor:
            return torch.from_numpy(array.astype(dtype)).to(self.device)

        return Step(
            obs=self._obs,
            reward=tensor(reward, np.float32),
            terminated=tensor(terminated, np.bool_),
            truncated=tensor(truncated & ~terminated, np.bool_),
            final_obs=final_obs,
            score=tensor(score, np.float32),
            length=tensor(length, np.float32),
        )

    def _told(self, where: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
            raise EnvError(f"{self.spec} failed in {where} ({said})") from error

    def observation(self) -> Tensor:
        """[N, ...]."""
        return self._obs

    def state_dict(self) -> dict[str, Any]:
        """Pickles of the environments: restore only files you trust.

        A task whose pickle would begin anew (`gym_replay`) is kept as the actions of its game so far.

        Raises:
            EnvError: the task can't be pickled, or its game not be played again, so a run on it can't be resumed
                exactly.
        """
        tasks: list[Any] = list(self._vector.envs)
        if isinstance(tasks[0], Replayed):
            tasks = [task.snapshot() for task in tasks]
            self._prove_replay(tasks[self._proven % self.num_envs])
        try:
            blob = pickle.dumps(tasks)
        except Exception as error:
            raise EnvError(f"{self.spec} can't be snapshotted ({type(error).__name__}: {error})") from None
        if not isinstance(self._vector.envs[0], Replayed):
            self._prove_pickle(pickle.dumps(tasks[self._proven % self.num_envs]))
        return {
            "spec": self.spec,
            "envs": torch.from_numpy(np.frombuffer(blob, np.uint8).copy()),
            "return": torch.from_numpy(self._return.copy()),
            "length": torch.from_numpy(self._length.copy()),
            "obs": self._obs.cpu(),
        }

    def _prove_replay(self, snapshot: Snapshot) -> None:
        """Of one task at each snapshot: it is better to know now than when the run is to be resumed.

        Not at the first alone: a task may keep something over from one game to the next, as BipedalWalker does.
        """
        task = self._again()
        try:
            if not (isinstance(task, Replayed) and task.restore(snapshot)):
                raise EnvError(f"{self.spec} can't be snapshotted: {DIFFERS}")
        finally:
            task.close()
        self._proven += 1

    def _prove_pickle(self, blob: bytes) -> None:
        """Of one task at each snapshot: twice unpickled it plays the same next step, so its randomness is its own."""
        process = random.getstate(), np.random.get_state()  # noqa: NPY002 - what such a task may draw from
        outcomes = []
        for _ in range(2):
            with closing(pickle.loads(blob)) as task:
                task.action_space.seed(self._proven)
                obs, *rest = task.step(task.action_space.sample())
                outcomes.append([np.asarray(part).tobytes() for part in (obs, *rest[:3])])
        random.setstate(process[0])
        np.random.set_state(process[1])  # noqa: NPY002
        if outcomes[0] != outcomes[1]:
            raise EnvError(
                f"{self.spec} can't be snapshotted: the same game gone on with twice went two ways, as where a task "
                "draws random numbers from elsewhere than its np_random"
            )
        self._proven += 1

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises EnvError where the snapshot is of another task or size."""
        if state["spec"] != self.spec or len(state["return"]) != self.num_envs:
            raise EnvError(
                f"the snapshot is of {len(state['return'])} x {state['spec']}, not of {self.num_envs} x {self.spec}"
            )
        self._told("a reset", self._vector.reset)
        kept = list(pickle.loads(state["envs"].numpy().tobytes()))
        tasks = [task for task in self._vector.envs if isinstance(task, Replayed)]
        if tasks:
            if not all(task.restore(one) for task, one in zip(tasks, kept, strict=True)):
                raise EnvError(f"{self.spec} can't be restored: {DIFFERS}")
        else:
            for task in self._vector.envs:
                task.close()
            self._vector.envs = kept
        self._return[:], self._length[:] = state["return"].numpy(), state["length"].numpy()
        self._obs = state["obs"].to(self.device, copy=True)

    def render(self, index: int = 0) -> np.ndarray:
        """RGB [H, W, 3] uint8; needs the option render_mode="rgb_array"."""
        try:
            picture = self._vector.envs[index].render()
        except Exception as error:  # nothing installed to draw with, no display, no way to draw
            said = " ".join(str(error).split()) or type(error).__name__
            raise EnvError(f"{self.spec} can't be shown: {said}") from error
        if picture is None:
            raise EnvError(f"{self.spec} shows no picture; make it with render_mode='rgb_array'")
        return np.asarray(picture)

    def close(self) -> None:
        """Close the tasks."""
        self._vector.close()
