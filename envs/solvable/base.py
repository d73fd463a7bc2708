"""What the solvable worlds share: stepping, scores, snapshots. A world adds its rule for one decision.

Worlds run in NumPy on the CPU, as one vectorised step of all environments.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import BatchedEnv, EnvError, Step
from envs.solvable.streams import Streams


class Outcome(NamedTuple):
    """What one decision brought, before it is turned into tensors. N environments."""

    reward: NDArray[np.float64]
    """[N]."""
    terminated: NDArray[np.bool_]
    """[N]."""
    truncated: NDArray[np.bool_]
    """[N], never where `terminated`."""
    final: NDArray[Any]
    """[N, ...] observation the episode ends with, where it ends."""


class SolvableEnv(BatchedEnv):
    """A world small enough for its policy gradient's mean and covariance to be computed; see `exact`."""

    def __init__(self, num_envs: int, *, device: torch.device | str = "cpu", seed: int = 0) -> None:
        if num_envs < 1:
            raise EnvError(f"{self.spec} needs at least one environment, got {num_envs}")
        self.num_envs = num_envs
        self.device = torch.device(device)
        self._seed = seed
        self.reset()

    @abc.abstractmethod
    def _start(self) -> NDArray[Any]:
        """Draw a first observation [N, ...] for every environment."""

    @abc.abstractmethod
    def _advance(self, actions: NDArray[Any]) -> Outcome:
        """Move `self._obs` on by one decision, restarting where an episode ended."""

    @abc.abstractmethod
    def _checked(self, actions: Tensor) -> NDArray[Any]:
        """`actions` as an array. Raises EnvError for a wrong shape or value."""

    def reset(self, seed: int | None = None) -> Tensor:
        """Start all environments anew. Returns observations [N, ...]. None keeps the seed given before."""
        self._seed = self._seed if seed is None else seed
        self._streams = Streams(self.num_envs, self._seed)
        self._obs = self._start()
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, dtype=np.int64)
        return self.observation()

    def step(self, actions: Tensor) -> Step:
        """Advance every environment by one decision. actions: [N] or [N, parts], of `action_space`."""
        outcome = self._advance(self._checked(actions))
        ended = outcome.terminated | outcome.truncated
        self._return += outcome.reward
        self._length += 1
        score = np.where(ended, self._return, np.nan)
        length = np.where(ended, self._length, np.nan)
        self._return[ended] = 0.0
        self._length[ended] = 0
        return Step(
            obs=self.observation(),
            reward=self._tensor(outcome.reward.astype(np.float32)),
            terminated=self._tensor(outcome.terminated),
            truncated=self._tensor(outcome.truncated),
            final_obs=self._tensor(outcome.final) if ended.any() else None,
            score=self._tensor(score.astype(np.float32)),
            length=self._tensor(length.astype(np.float32)),
        )

    def observation(self) -> Tensor:
        """[N, ...] what the next action answers to."""
        return self._tensor(self._obs)

    def state_dict(self) -> dict[str, Any]:
        """Seed and draws made (ints), states and running scores (CPU tensors)."""
        return {
            "spec": self.spec,
            "seed": self._seed,
            "draws": self._streams.draws,
            "obs": torch.tensor(self._obs),
            "return": torch.tensor(self._return),
            "length": torch.tensor(self._length),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`. Raises EnvError if it is of another world, size or observation."""
        if state["spec"] != self.spec or tuple(state["obs"].shape) != self._obs.shape:
            raise EnvError(
                f"the saved state is of {state['spec']} with observations {list(state['obs'].shape)}, "
                f"not {self.spec} with {list(self._obs.shape)}: make the world with the saved run's options"
            )
        self._seed = int(state["seed"])
        self._streams = Streams(self.num_envs, self._seed)
        self._streams.draws = int(state["draws"])
        self._obs = state["obs"].numpy(force=True).copy()
        self._return = state["return"].numpy(force=True).copy()
        self._length = state["length"].numpy(force=True).copy()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.tensor(array, device=self.device)

    def _checked_choice(self, actions: Tensor, choices: int) -> NDArray[np.int64]:
        if tuple(actions.shape) != (self.num_envs,) or actions.is_floating_point():
            raise EnvError(
                f"{self.spec} wants {self.num_envs} integer actions [{self.num_envs}], "
                f"got {actions.dtype} {list(actions.shape)}"
            )
        chosen = actions.numpy(force=True).astype(np.int64)
        if chosen.min() < 0 or chosen.max() >= choices:
            raise EnvError(
                f"{self.spec} has actions 0 to {choices - 1}, got {chosen.min()} to {chosen.max()}"
            )
        return chosen
