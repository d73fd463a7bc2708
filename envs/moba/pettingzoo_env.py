"""One lane-battle world as a PettingZoo parallel environment: every hero is an agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import EnvError
from envs.moba.env import MobaEnv
from envs.moba.layout import MASK_BLOCKS

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise ImportError(
        "envs.moba.pettingzoo_env needs PettingZoo: pip install -e '.[pettingzoo]' in the clone, or pettingzoo"
    ) from error

Obs = dict[str, Any]


class MobaParallelEnv(ParallelEnv[str, Obs, NDArray[np.int64]]):
    """`moba:<name>` with both teams as agents "blue_0" … and "red_0" …, blue being team 0.

    An agent observes {"observation": int16 [D], "action_mask": one int8 array for each part of the action}, as
    `action_space(agent).sample(mask)` takes it. All agents end together. See `MobaEnv` for name and options.
    """

    metadata = {"render_modes": ["rgb_array"], "name": "moba_v0", "is_parallelizable": True, "render_fps": 8}  # noqa: RUF012

    def __init__(
        self, name: str = "1v1", seed: int = 0, render_mode: str | None = None, **options: Any
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise EnvError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        if options.get("opponent", "none") != "none":
            raise EnvError("a PettingZoo world has both teams as agents: leave out the option opponent")
        self.env, self.render_mode = MobaEnv(name, 1, "cpu", seed, **options), render_mode
        self.layout, count = self.env.layout, self.env.options.heroes
        self.possible_agents = [f"{team}_{i}" for team in ("blue", "red") for i in range(count)]
        self.agents: list[str] = []
        masks = spaces.Tuple([spaces.MultiBinary(n) for n in self.layout.action_sizes])
        self.observation_spaces = {
            agent: spaces.Dict({"observation": self.env.observation_space, "action_mask": masks})
            for agent in self.possible_agents
        }
        self.action_spaces = {
            agent: spaces.MultiDiscrete(list(self.layout.action_sizes)) for agent in self.possible_agents
        }
        self._handed_out = False
        """Whether a reset has returned the game that the world is at."""

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Of one agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Of one agent."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Obs], dict[str, Any]]:
        """Start a game: with a seed its first episode, else the next."""
        if seed is not None:
            self.env.reset(seed)
        elif self._handed_out:
            self.env.next_episode()
        self._handed_out = True
        self.env.shows_ends = False
        self.agents = list(self.possible_agents)
        return self._observations(self.env.observation()), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, NDArray[np.int64]]
    ) -> tuple[dict[str, Obs], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One decision of every agent; `info["score"]` when the game ends.

        Raises EnvError if an agent has no action or none that it can take, or if no game is under way.
        """
        if not self.agents:
            raise EnvError("no game is under way: reset before the next step")
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise EnvError(f"no action for {', '.join(missing)}; every agent acts in every step")
        given = [np.asarray(actions[agent]) for agent in self.possible_agents]
        for agent, action in zip(self.possible_agents, given, strict=True):
            if action.shape != (3,):
                raise EnvError(f"an action is 3 numbers, {agent}'s has the shape {list(action.shape)}")
        self.env.shows_ends = self.render_mode is not None
        step = self.env.step(np.stack(given))
        over, cut = bool(step.terminated[0]), bool(step.truncated[0])
        # The world has already gone on to its next game, which the next reset returns.
        self._handed_out = not (over or cut)
        rows = enumerate(self.possible_agents)
        observations = self._observations(step.obs if step.final_obs is None else step.final_obs)
        rewards = {agent: float(step.reward[row]) for row, agent in rows}
        infos: dict[str, dict[str, Any]] = {
            agent: {"score": float(step.score[row])} if over else {}
            for row, agent in enumerate(self.possible_agents)
        }
        self.agents = self.agents if self._handed_out else []
        ends, cuts = (dict.fromkeys(self.possible_agents, end) for end in (over, cut))
        return observations, rewards, ends, cuts, infos

    def render(self) -> NDArray[np.uint8] | None:
        """RGB picture, or None without a render mode. After a game's last step it shows how that ended."""
        return self.env.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """End the threads."""
        self.env.close()

    def _observations(self, obs: Tensor) -> dict[str, Obs]:
        """The rows of `obs` by agent, with the masks taken out besides."""
        parts = [
            self.layout.rows(obs, block)[:, 0].to(torch.int8).numpy().copy() for block in MASK_BLOCKS[:3]
        ]
        return {
            agent: {"observation": obs[row].numpy().copy(), "action_mask": tuple(part[row] for part in parts)}
            for row, agent in enumerate(self.possible_agents)
        }
