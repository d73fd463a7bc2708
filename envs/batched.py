"""The contract every world fulfils: a batch of independent environments as tensors.

It must not know of learning, losses or noise. A *stream* is one agent in one environment; an environment's
streams are adjacent rows. Everything that one environment produces is one *unit* of gradient noise.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from torch import Tensor, cat, device, empty


class EnvError(ValueError):
    """The user asked a world for something it can't do; the message is one line and says what to do."""


def check_first_env(number: int) -> None:
    """Raises EnvError unless it can be the number of a batch's first environment among all those of a seed."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise EnvError(f"first_env must be a whole number of at least 0, got {number!r}")


class Step(NamedTuple):
    """What one decision per stream brought. N = num_streams; all tensors on the environment's device."""

    obs: Tensor
    """[N, ...] what the agent sees next; after an end, the first observation of the next episode."""
    reward: Tensor
    """[N] float32, the reward to learn from (clipped where the protocol clips)."""
    terminated: Tensor
    """[N] bool, the episode is over for learning: nothing is to be expected after it."""
    truncated: Tensor
    """[N] bool, the episode was cut off: its value goes on from `final_obs`."""
    final_obs: Tensor | None
    """[N, ...] last observation of the episode that ended, valid where terminated or truncated; None if none did."""
    score: Tensor
    """[N] float32, unclipped return of a full game that ended with this step; NaN elsewhere."""
    length: Tensor
    """[N] float32, decisions in that full game; NaN elsewhere."""


class BatchedEnv(abc.ABC):
    """`num_envs` independent environments stepped together, with same-step autoreset.

    Environment i of seed s is the same stream of random numbers whatever `num_envs` or the worker count.
    """

    spec: str
    num_envs: int
    agents_per_env: int = 1
    stacked: bool = False
    """Whether observations are stacks of frames [K, ...], newest last: the older ones are those of the observation
    before, and 0 where an episode began since."""
    shows_ends: bool = False
    """Set it to have `render` show a game that ended with the last step as it ended, not its successor. Only worlds
    that say so can; while it is not set nothing is kept for it."""
    steps_elsewhere: bool = False
    """Whether `step` waits for processes of its own, which want the processors meanwhile."""
    device: device
    _half_actions: tuple[Tensor, ...] = (empty(0), empty(0))
    _half_step: Step
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    layout: Any = None
    """What the parts of an observation mean, for a network that treats them apart; None where nothing is said."""

    @property
    def num_streams(self) -> int:
        """Rows of every tensor: `num_envs * agents_per_env`."""
        return self.num_envs * self.agents_per_env

    @abc.abstractmethod
    def reset(self, seed: int | None = None) -> Tensor:
        """Start all environments anew. Returns observations [N, ...]. None keeps the seed given at construction."""

    @abc.abstractmethod
    def step(self, actions: Tensor) -> Step:
        """Advance every stream by one decision. actions: [N] or [N, parts], of `action_space`."""

    @property
    def halves(self) -> tuple[slice, slice]:
        """The streams of the two half-batches, of whole environments; the first is the larger."""
        middle = -(-self.num_envs // 2) * self.agents_per_env
        return slice(0, middle), slice(middle, self.num_streams)

    def step_begin(self, half: int, actions: Tensor) -> None:
        """Begin a decision of half 0 or 1; `step_end` brings what came of it. actions: [n, ...], of its n streams.

        Always in the order begin 0, begin 1, end 0, begin 0, end 1, begin 1, … end 0, end 1: one half can be stepped
        while a policy acts on the other. This default steps both when the first is fetched.
        """
        first, second = self._half_actions
        self._half_actions = (actions, second) if half == 0 else (first, actions)

    def step_end(self, half: int) -> Step:
        """What `step` would have brought to the streams of the half that was begun first; tensors [n, ...]."""
        if half == 0:
            self._half_step = self.step(cat(self._half_actions))
        rows = self.halves[half]
        step = Step(*(None if part is None else part[rows] for part in self._half_step))  # type: ignore[arg-type]
        ended = bool((step.terminated | step.truncated).any())
        return step if ended else step._replace(final_obs=None)

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything needed for `load_state_dict` to make the same actions give the same bytes."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict` of an environment made with the same spec, size and options."""

    def observation(self) -> Tensor:
        """The observation [N, ...] the next action answers to (so a restored run need not reset)."""
        raise NotImplementedError

    def render(self, index: int = 0) -> np.ndarray:
        """RGB picture [H, W, 3] uint8 of environment `index`."""
        raise EnvError(f"{self.spec} has no picture to show")

    def close(self) -> None:  # noqa: B027 - most worlds have nothing to free
        """Free processes and memory; safe to call twice."""

    def __enter__(self) -> BatchedEnv:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
