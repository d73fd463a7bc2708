"""Lane-battle worlds for code that speaks Gymnasium: a vector environment, and a single one.

Actions and observations are those of `MobaEnv`; the action masks lie in the observation (`layout.rows`).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.batched import EnvError
from envs.moba.env import MobaEnv

Obs = NDArray[np.int16]
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8}


class MobaVectorEnv(VectorEnv[Obs, NDArray[np.int64], NDArray[Any]]):
    """A `MobaEnv` on the CPU as a Gymnasium vector environment with same-step autoreset.

    Each stream (a hero) is one sub-environment, `num_envs * agents_per_env` of them; see `MobaEnv` for name and
    options. Where games ended, `infos` holds "final_obs" (an object array, None elsewhere) and "score", each with
    its mask "_final_obs" and "_score", and the score in "final_info" as well, where Gymnasium's own vector has it.
    render_mode: None or "rgb_array", the pictures of all worlds; where a game has
    just ended its successor's, as the observation is and as in Gymnasium's own.
    """

    def __init__(
        self, name: str, num_envs: int, seed: int = 0, render_mode: str | None = None, **options: Any
    ) -> None:
        self.env = MobaEnv(name, num_envs, "cpu", seed, **options)
        self.metadata = {**METADATA, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = _known_mode(render_mode)
        self.num_envs, self.layout = self.env.num_streams, self.env.layout
        self.single_observation_space = self.env.observation_space
        self.single_action_space = self.env.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._fresh = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Start all games anew: with a seed from their first episode, else at their next."""
        if options:
            raise EnvError(f"lane-battle worlds are reset all at once and take no options, got {options}")
        obs = self.env.reset(seed) if seed is not None or self._fresh else self.env.next_episode()
        self._fresh = False
        return obs.numpy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Obs, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One decision of every stream; actions int64 [num_envs, 3]."""
        step = self.env.step(np.asarray(actions))
        infos: dict[str, Any] = {}
        if step.final_obs is not None:
            ended, scored = (step.terminated | step.truncated).numpy(), step.terminated.numpy()
            final = np.full(self.num_envs, None, object)
            for stream in np.flatnonzero(ended):
                final[stream] = step.final_obs[stream].numpy()
            score = np.where(scored, step.score.numpy(), 0.0)
            infos = {"final_obs": final, "_final_obs": ended, "score": score, "_score": scored}
            infos |= {"final_info": {"score": score, "_score": scored}, "_final_info": ended}
        reward = step.reward.double().numpy()
        return step.obs.numpy(), reward, step.terminated.numpy(), step.truncated.numpy(), infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """RGB pictures of all worlds, or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.env.render(world) for world in range(self.env.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self.env.close()


class MobaGymEnv(gymnasium.Env[Obs, NDArray[np.int64]]):
    """One hero of one world against a script, as a Gymnasium environment: `moba:1v1` with an opponent.

    world: which world of the seed. Raises EnvError for options with more than one stream.
    """

    def __init__(
        self, opponent: str = "laner", world: int = 0, render_mode: str | None = None, **options: Any
    ) -> None:
        for name in {"name", "num_envs", "device", "first_world"} & options.keys():
            raise EnvError(f"{name} is given: this is one world on the CPU, number `world`")
        self.env = MobaEnv("1v1", 1, opponent=opponent, first_world=world, **{"threads": 1, **options})
        if self.env.num_streams != 1:
            raise EnvError(
                "a single Gymnasium environment has one hero: 1v1 with an opponent other than 'none'"
            )
        self.metadata, self.render_mode = METADATA, _known_mode(render_mode)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.layout = self.env.layout
        self._handed_out = False
        """Whether a reset has returned the game that the world is at."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Start a game: with a seed its first episode, else the next."""
        super().reset(seed=seed)
        if seed is not None:
            self.env.reset(seed)
        elif self._handed_out:
            self.env.next_episode()
        self._handed_out = True
        self.env.shows_ends = False
        return self.env.observation()[0].numpy().copy(), {}

    def step(self, action: NDArray[np.int64]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """One decision; action int64 [3]. `info["score"]` when the game ends."""
        self.env.shows_ends = self.render_mode is not None
        step = self.env.step(np.asarray(action)[None])
        over, cut = bool(step.terminated[0]), bool(step.truncated[0])
        # The world has already gone on to its next game, which the next reset returns.
        self._handed_out = not (over or cut)
        obs = step.obs if step.final_obs is None else step.final_obs
        info = {"score": float(step.score[0])} if over else {}
        return obs[0].numpy().copy(), float(step.reward[0]), over, cut, info

    def render(self) -> NDArray[np.uint8] | None:
        """RGB picture, or None without a render mode. After a game's last step it shows how that ended."""
        return self.env.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """End the threads."""
        self.env.close()


def _known_mode(mode: str | None) -> str | None:
    if mode not in (None, *METADATA["render_modes"]):
        raise EnvError(f"render_mode must be None or 'rgb_array', got {mode!r}")
    return mode
