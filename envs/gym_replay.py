"""Tasks that a pickle would begin anew, kept all the same: their games are played again up to where they were.

Gymnasium's `EzPickle`, which MuJoCo's and Box2D's tasks are, pickles what a task was made of and not where it is.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle, seeding

Snapshot = tuple[dict[str, Any], list[np.ndarray], dict[str, Any], Any]
"""The task's random generator where its game began, the actions since, the generator and observation now."""


def forgets(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether a pickle of the task, or of a wrapper around it, leaves out where it is."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, EzPickle):
            return True
        env = env.env
    return isinstance(env, EzPickle)


class Replayed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Knows how its game came to where it is: from which randomness, by which actions."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._began: dict[str, Any] = {}
        self._actions: list[np.ndarray] = []
        self._obs: Any = None

    @property
    def _generator(self) -> Any:
        return self.unwrapped.np_random.bit_generator

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin a game."""
        if seed is not None:
            self.unwrapped.np_random = seeding.np_random(seed)[0]  # as the task is about to
        self._began, self._actions = copy.deepcopy(self._generator.state), []
        self._obs, info = self.env.reset(seed=seed, options=options)
        return self._obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play on."""
        self._actions.append(np.array(action))
        self._obs, *rest = self.env.step(action)
        return self._obs, *rest

    def snapshot(self) -> Snapshot:
        """All it takes to `restore` it."""
        return self._began, self._actions, copy.deepcopy(self._generator.state), self._obs

    def restore(self, snapshot: Snapshot) -> bool:
        """Play the game again. Returns whether it came to the same observation and randomness, to the bit."""
        began, actions, now, obs = snapshot
        self.reset(seed=0)  # some tasks make themselves ready only here
        self._generator.state = began
        self.reset()
        for action in actions:
            self.step(action[()])
        same = _bytes(self._obs) == _bytes(obs)
        return same and self._generator.state == now


def _bytes(obs: Any) -> bytes:
    return np.asarray(obs).tobytes()
