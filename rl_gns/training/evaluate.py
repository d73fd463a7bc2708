"""Play full games with a trained policy and score them, and film the first."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v2 as imageio
import numpy as np
import torch

import envs
from agents.memory import Memory
from agents.networks import make_policy
from rl_gns.errors import UserError
from rl_gns.training.device import pick_device
from rl_gns.training.playing import check_video, load_weights
from rl_gns.training.saved import Run
from rl_gns.training.seeing import Seeing

FRAMES_PER_SECOND = {"atari": 15}  # decisions per second of play: 60 Hz, four frames a decision
PARALLEL = 16
MAX_DECISIONS = 100_000
"""Nearly four times an Atari game at its limit of 108,000 frames."""


class Game(NamedTuple):
    """One full game."""

    score: float
    length: float


def evaluate(
    run: Run,
    episodes: int = 10,
    *,
    seed: int = 0,
    deterministic: bool = False,
    video: Path | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    max_decisions: int = MAX_DECISIONS,
    seeing: Seeing | None = None,
) -> list[Game]:
    """Play `episodes` games with a checkpoint's policy, `seed` and their number decide how they go.

    Each environment plays one game, so that short games are not counted oftener than long ones; sixteen are played at a
    time.

    Args:
        run: the run to take policy and environment settings from.
        episodes: number of full games, >= 1.
        seed: of environments and of action sampling.
        deterministic: take the most likely action instead of sampling, which is what was trained.
        video: an .mp4 or .gif to film environment 0 into.
        device: where the network runs.
        checkpoint: a file of `checkpoints` or `kept`. Default: the newest.
        max_decisions: in one game, >= 1; a Gymnasium task without a time limit may never end.
        seeing: adds up how far actions depend on what is seen, over all decisions of the games.

    Raises:
        UserError: no checkpoint or another run's, episodes or max_decisions < 1, a negative seed, no such device, a
            video name that is no .mp4 or .gif or can't be written, a game that does not end.
    """
    for name, number in (("episodes", episodes), ("max_decisions", max_decisions)):
        if number < 1:
            raise UserError(f"{name} must be at least 1, got {number}")
    if seed < 0:
        raise UserError(f"seed must not be negative, got {seed}")
    device = str(pick_device(device))
    if video is not None:
        check_video(video)
    state = run.checkpoint(checkpoint)
    games: list[Game] = []
    for low in range(0, episodes, PARALLEL):
        count = min(PARALLEL, episodes - low)
        games += _play(
            run,
            state,
            count,
            _seed(seed, low),
            deterministic,
            video if low == 0 else None,
            device,
            max_decisions,
            seeing,
        )
    return games


def _seed(seed: int, low: int) -> int:
    """Of the worlds that play the games from number `low` on: no other seed's."""
    return seed if low == 0 else int(np.random.SeedSequence((seed, low)).generate_state(1)[0])


def _play(
    run: Run,
    state: dict[str, Any],
    count: int,
    seed: int,
    deterministic: bool,
    video: Path | None,
    device: str,
    max_decisions: int,
    seeing: Seeing | None,
) -> list[Game]:
    options = {**run.config.environment_options(), "start_spread": 0}
    kind = run.config.env.partition(":")[0]
    if kind not in ("atari", "moba"):
        options.pop("start_spread")
    if kind == "gym" and video is not None:
        options["render_mode"] = "rgb_array"
    generator = torch.Generator(device).manual_seed(seed)
    games: dict[int, Game] = {}
    with ExitStack() as stack, torch.no_grad():
        env = stack.enter_context(envs.make(run.config.env, count, device, seed, **options))
        film = None
        policy = make_policy(
            run.config.network,
            env.observation_space,
            env.action_space,
            layout=env.layout,
        ).to(device)
        load_weights(policy, state)
        env.reset()
        memory = Memory(policy, env.num_streams, env.device)
        decisions = 0
        while len(games) < env.num_streams:
            if decisions == max_decisions:
                left = f"{env.num_streams - len(games)} of {env.num_streams} games of {run.config.env}"
                raise UserError(
                    f"{left} had not ended after {max_decisions:,} decisions: allow more of them (max_decisions) or "
                    "give the task a time limit"
                )
            decisions += 1
            if video is not None and 0 not in games:
                picture = env.render(0)
                if film is None:
                    film = stack.enter_context(closing(_Film(video, FRAMES_PER_SECOND.get(kind, 30))))
                film.show(picture)
            seen = memory.with_obs(env.observation())
            distribution, _ = policy(seen)
            if seeing is not None:
                playing = [i not in games for i in range(env.num_streams)]
                seeing.add(distribution, torch.tensor(playing, device=env.device))
            memory.keep(seen)
            step = env.step(distribution.mode() if deterministic else distribution.sample(generator))
            memory.forget(step.terminated | step.truncated)
            for i in (~step.length.isnan()).nonzero().squeeze(1).tolist():
                games.setdefault(i, Game(float(step.score[i]), float(step.length[i])))
    return [games[i] for i in sorted(games)]


class _Film:
    """Writes pictures as they come, enlarged to about 420 rows so that a game can be followed on a screen.

    A game's tens of thousands of them need not fit into memory.
    """

    def __init__(self, path: Path, rate: int) -> None:
        timing = (
            {"duration": 1000 / rate, "loop": 0}
            if path.suffix == ".gif"
            else {"fps": rate, "macro_block_size": 2}
        )
        self._writer: Any = imageio.get_writer(path, **timing)

    def show(self, picture: np.ndarray) -> None:
        """Raises UserError: the task draws none of 8 bits, as Gymnasium wants them."""
        if picture.dtype != np.uint8:
            raise UserError(f"the task draws pictures of {picture.dtype}, where a film needs uint8")
        times = max(1, math.ceil(420 / picture.shape[0]))
        self._writer.append_data(picture.repeat(times, 0).repeat(times, 1))

    def close(self) -> None:
        self._writer.close()
