"""Batches of lane-battle worlds behind the `BatchedEnv` contract: restarts, scores, snapshots, errors.

It holds no rule of the game and no loop over worlds: those are in `world` and in `engine` or `cuda`.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.batched import BatchedEnv, EnvError, Step
from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.chance import CUT, draw, set_keys
from envs.moba.cuda import CudaWorlds, why_not
from envs.moba.engine import CpuWorlds
from envs.moba.memory import bytes_per_world, free_bytes, refuse_if_too_big
from envs.moba.opponents import OPPONENTS
from envs.moba.options import parse


class MobaEnv(BatchedEnv):
    """`num_envs` games of `heroes` against as many.

    Args:
        name: "1v1" … "5v5".
        num_envs: worlds.
        device: "cpu", or "cuda" where numba-cuda can use the GPU; worlds and tensors live there.
        seed: of all random numbers. World i of a seed is the same whatever `num_envs`, threads or device.
        options: see `options.Options`.

    Observations int16 [N, layout.size], see `layout.Layout`; actions int64 [N, 3] (kind, target row, direction);
    N = num_envs * agents_per_env, a world's streams adjacent, team 0 first. With an `opponent` only team 0's
    heroes are streams. A game that ends is `terminated`, at the cap on its length too, since the clock is
    observed and the cap decides it; `truncated` only where `start_spread` cuts a first game. `score` is 1 or -1
    where an ancient fell, else the share of the enemy's building health destroyed less that of one's own lost. Where
    `shows_ends` is set, `render` shows a game that has just ended until the next step or reset.
    """

    def __init__(
        self, name: str, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any
    ) -> None:
        self.spec = f"moba:{name}"
        self.options = parse(name, options)
        if (worlds := _whole(num_envs)) is None or worlds < 1:
            raise EnvError(f"{self.spec} needs at least one world, a whole number of them, got {num_envs!r}")
        num_envs = worlds
        try:
            self.device = torch.device(device)
        except (RuntimeError, TypeError):
            raise EnvError(f"{self.spec} lives on cpu or cuda, not on {device!r}") from None
        self.bytes_per_world = bytes_per_world(self.options)
        if self.device.type == "cuda" and (reason := why_not()):
            raise EnvError(reason)
        refuse_if_too_big(self.spec, num_envs, self.bytes_per_world, free_bytes(self.device))
        self.num_envs, self.layout = num_envs, self.options.layout
        self.heroes = 2 * self.options.heroes
        self.agents_per_env = self.heroes if self.options.opponent == "none" else self.options.heroes
        self.observation_space = spaces.Box(-s.MAX_OBS - 1, s.MAX_OBS, (self.layout.size,), np.int16)
        self.action_space = spaces.MultiDiscrete(list(self.layout.action_sizes))
        self._worlds: CpuWorlds | CudaWorlds
        if self.device.type == "cuda":
            self._worlds = CudaWorlds(self.options, num_envs, self.device)
        elif self.device.type == "cpu":
            self._worlds = CpuWorlds(self.options, num_envs)
        else:
            raise EnvError(f"{self.spec} lives on cpu or cuda, not on {self.device.type}")
        self.state = self._worlds.state
        self._obs = self._new_obs()
        self._actions = torch.zeros((num_envs, self.heroes, 3), dtype=torch.int64, device=self.device)
        self._reward = torch.zeros((num_envs, self.heroes), dtype=torch.int64, device=self.device)
        self._seed = 0
        self._cuts: Tensor | None = None
        self._ends: dict[int, dict[str, NDArray[Any]]] = {}
        self.reset(seed)

    def reset(self, seed: int | None = None) -> Tensor:
        """Start all games anew, at their first episode. Returns observations [N, D]."""
        if seed is not None:
            number = _whole(seed)
            if number is None or not 0 <= number < 1 << 64:
                raise EnvError(f"{self.spec}: a seed is a whole number from 0 to 2^64 - 1, got {seed!r}")
            self._seed = number
        game, worlds = self.state["game"], torch.arange(self.num_envs, device=self.device)
        game[:, st.SEED_LOW], game[:, st.SEED_HIGH] = self._seed & 0xFFFFFFFF, self._seed >> 32
        game[:, st.WORLD], game[:, st.EPISODE] = worlds + int(self.options.first_world), 0
        self._obs, self._ends = self._new_obs(), {}
        self._worlds.start(worlds, self._obs)
        self._cuts = self._draw_cuts()
        return self.observation()

    def next_episode(self, which: Tensor | None = None) -> Tensor:
        """Give up the games of worlds `which` (int64; None: all) and start their next ones. Returns observations."""
        which = torch.arange(self.num_envs, device=self.device) if which is None else which
        self._obs, self._ends = self._obs.clone(), {}
        self.state["game"][which, st.EPISODE] += 1
        self._worlds.start(which, self._obs)
        return self.observation()

    def step(self, actions: Tensor | NDArray[np.integer[Any]]) -> Step:
        """Advance every hero by one decision. actions int64 [N, 3]. Raises EnvError for a wrong shape or number."""
        self._take(actions)
        # A fresh tensor every step: who keeps the last observation keeps it unharmed.
        self._obs, self._ends = self._new_obs(), {}
        self._worlds.step(self._actions, self._obs, self._reward)
        game, shape = self.state["game"], (self.num_envs, self.agents_per_env)
        done = game[:, st.DONE] == 1
        whole = s.REWARD_UNIT * s.SHARE * self.options.heroes
        reward = (self._reward[:, : self.agents_per_env].double() / whole).float()
        cut = torch.zeros_like(done)
        if self._cuts is not None:  # a first game that is not over by itself
            cut = (game[:, st.EPISODE] == 0) & ~done & (game[:, st.TICK] >= self._cuts)
        score = torch.full(shape, math.nan, device=self.device)
        length, final = score.clone(), None
        score[done] = (game[done, st.SCORE, None] * self._sides() / s.SHARE).to(score.dtype)
        length[done] = (game[done, st.TICK, None] // s.TICKS_PER_DECISION).float()
        ended = (done | cut).nonzero().flatten()
        if len(ended):
            final = torch.zeros_like(self._obs[:, : self.agents_per_env])
            final[ended] = self._obs[ended, : self.agents_per_env]
            if self.shows_ends:
                self._ends = {world: self._arrays(world) for world in ended.tolist()}
            game[ended, st.EPISODE] += 1
            self._worlds.start(ended, self._obs)
        return Step(
            obs=self.observation(),
            reward=reward.flatten(),
            terminated=done.repeat_interleave(self.agents_per_env),
            truncated=cut.repeat_interleave(self.agents_per_env),
            final_obs=None if final is None else final.flatten(0, 1),
            score=score.flatten(),
            length=length.flatten(),
        )

    def observation(self) -> Tensor:
        """The observations [N, D] that the next actions answer to."""
        return self._obs[:, : self.agents_per_env].reshape(self.num_streams, self.layout.size)

    def state_dict(self) -> dict[str, Any]:
        """The worlds as they are: arrays, seed, settings and the number of their rules."""
        return {
            "rules": s.RULES,
            "settings": self._settings(),
            "seed": self._seed,
            "obs": self._obs.cpu().clone(),
            **{key: value.cpu().contiguous().clone() for key, value in self.state.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`. Raises EnvError if it is of other settings or rules, and changes nothing then."""
        mine, theirs = self._settings(), state.get("settings", {})
        for key in mine:
            if mine[key] != theirs.get(key):
                raise EnvError(
                    f"{self.spec}: this snapshot has {key} {theirs.get(key)!r}, this environment {mine[key]!r}; "
                    "make one with the snapshot's settings"
                )
        if (rules := state.get("rules", 1)) != s.RULES:
            raise EnvError(
                f"{self.spec}: this snapshot is of games under rules {rules}, here are rules {s.RULES}: "
                "they can't go on; start anew"
            )
        self._seed, self._ends = state["seed"], {}
        self._obs = state["obs"].to(self.device, copy=True)
        for key, value in self.state.items():
            value.copy_(state[key])
        self._cuts = self._draw_cuts()

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """RGB picture of world `index`: map, units, health, gold, levels, clock."""
        from envs.moba.render import picture

        if not 0 <= index < self.num_envs:
            raise EnvError(f"{self.spec} has worlds 0 to {self.num_envs - 1}, got {index}")
        shown = self._ends.get(index) if self.shows_ends else None
        return picture(shown or self._arrays(index), np.array(st.knobs_of(self.options)))

    def close(self) -> None:
        """End the threads."""
        self._worlds.close()

    def _arrays(self, world: int) -> dict[str, NDArray[Any]]:
        """A copy of what a picture of one world is drawn from."""
        return {key: self.state[key][world].cpu().numpy().copy() for key in ("units", "heroes", "game")}

    def _draw_cuts(self) -> Tensor | None:
        """[num_envs] the tick at which each world's first game is cut, by seed and world alone; None: never."""
        if not self.options.start_spread:
            return None
        games: Any = torch.zeros_like(
            self.state["game"]
        ).T  # at tick 0 of episode 0; the rules' draws take tensors too
        for field in (st.SEED_LOW, st.SEED_HIGH, st.WORLD):
            games[field] = self.state["game"][:, field]
        set_keys(games)
        short: Any = draw(games, CUT, 0, 0, self.options.start_spread + 1)
        return (self.options.decisions - short).clamp(min=1) * s.TICKS_PER_DECISION

    def _settings(self) -> dict[str, Any]:
        """What a snapshot must agree in: everything but how fast it is computed."""
        options = {
            key: value for key, value in vars(self.options).items() if key not in ("threads", "illegal")
        }
        return {"spec": self.spec, "num_envs": self.num_envs, **options, "observation": self.layout.size}

    def _sides(self) -> Tensor:
        """[agents_per_env] 1 for team 0's streams, -1 for team 1's."""
        return torch.where(torch.arange(self.agents_per_env, device=self.device) < self.options.heroes, 1, -1)

    def _new_obs(self) -> Tensor:
        """Room for the observations of all heroes, [num_envs, heroes, D]."""
        size = (self.num_envs, self.heroes, self.layout.size)
        return torch.empty(size, dtype=torch.int16, device=self.device)

    def _take(self, actions: Tensor | NDArray[np.integer[Any]]) -> None:
        """Check actions and put them, with the script's, where the rules read them."""
        if not isinstance(actions, Tensor):
            if not isinstance(actions, np.ndarray):
                raise EnvError(
                    f"{self.spec} takes actions as a tensor or array, got {type(actions).__name__}"
                )
            if actions.dtype.kind not in "iu":
                raise EnvError(f"{self.spec} takes actions of int64, got {actions.dtype}")
            actions = torch.from_numpy(actions.astype(np.int64)).to(self.device)
        shape = (self.num_streams, 3)
        if tuple(actions.shape) != shape:
            raise EnvError(f"{self.spec} takes actions {list(shape)}, got {list(actions.shape)}")
        if actions.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
            raise EnvError(
                f"{self.spec} takes actions of int64, got {str(actions.dtype).removeprefix('torch.')}"
            )
        if actions.device.type != self.device.type:
            raise EnvError(
                f"{self.spec} lives on {self.device}, these actions on {actions.device}; "
                f"move them with .to({str(self.device)!r})"
            )
        sizes = torch.tensor(self.layout.action_sizes, device=self.device)
        wrong = (actions < 0) | (actions >= sizes)
        if wrong.any():
            row, part = wrong.nonzero()[0].tolist()
            raise EnvError(
                f"{self.spec}: action of stream {row} has {int(actions[row, part])} for its "
                f"{('kind', 'target', 'direction')[part]}; it takes 0 to {self.layout.action_sizes[part] - 1}"
            )
        if self.options.illegal == "raise":
            self._refuse_masked(actions)
        self._actions[:, : self.agents_per_env] = actions.view(self.num_envs, self.agents_per_env, 3)
        if self.options.opponent != "none":
            theirs = self._obs[:, self.options.heroes :].reshape(-1, self.layout.size)
            decided = torch.empty((len(theirs), 3), dtype=torch.int64, device=self.device)
            self._worlds.play(OPPONENTS.index(self.options.opponent), theirs, decided)
            self._actions[:, self.options.heroes :] = decided.view(self.num_envs, -1, 3)

    def _refuse_masked(self, actions: Tensor) -> None:
        """Raises EnvError for the first action that its observation's masks forbid."""
        layout, obs = self.layout, self.observation()
        every, (kind, target, direction) = torch.arange(len(obs), device=self.device), actions.long().T
        wrong = layout.rows(obs, "kind")[every, 0, kind] == 0
        targeted = (kind >= s.FIRST_TARGETED) & (kind < s.FIRST_TARGETED + s.TARGETED_KINDS)
        which = torch.where(targeted, kind - s.FIRST_TARGETED, 0)
        wrong |= targeted & (layout.rows(obs, "kind_target")[every, which, target] == 0)
        wrong |= (kind == s.MOVE) & (layout.rows(obs, "direction")[every, 0, direction] == 0)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise EnvError(
                f"{self.spec}: the masks of stream {row} forbid {s.KIND_NAMES[int(kind[row])]} with target "
                f"{int(target[row])} and direction {int(direction[row])}; obey them or use illegal='resolve'"
            )


def _whole(value: Any) -> int | None:
    """A whole number of any library as Python's; None for what is none, as true, 2.0 or a list."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        return None
