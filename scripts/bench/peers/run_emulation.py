"""Environments alone as a contender: arguments as JSON {whose, num_envs, game, steps}. Random actions, nothing learnt.

`whose` is ours, ale-py (its AtariVectorEnv) or envpool; each is imported only where it is asked for.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from turns import open_channel, serve

channel = open_channel()
arguments = json.loads(sys.argv[1])

import numpy as np  # noqa: E402

whose, num_envs, game, steps = (arguments[name] for name in ("whose", "num_envs", "game", "steps"))


def stepper() -> tuple[Callable[[Any], Any], list[Any], str]:
    """What steps all environments, the actions it is given one after another, and its version."""
    if whose == "ours":
        import torch

        import envs
        import rl_gns

        own = envs.make(f"atari:{game}", num_envs, seed=1)
        own.reset()
        return own.step, list(torch.from_numpy(drawn(own.action_space.n))), rl_gns.__version__
    if whose == "ale-py":
        import ale_py
        from ale_py.vector_env import AtariVectorEnv

        vector = AtariVectorEnv(game, num_envs)
        vector.reset(seed=1)
        return vector.step, list(drawn(vector.single_action_space.n)), ale_py.__version__
    import envpool

    name = game.title().replace("_", "")
    pool = envpool.make(f"{name}-v5", env_type="gymnasium", num_envs=num_envs, seed=1)
    pool.reset()
    return pool.step, list(drawn(pool.action_space.n).astype(np.int32)), envpool.__version__


def drawn(actions: int) -> np.ndarray:
    """[steps, num_envs]."""
    return np.random.default_rng(0).integers(0, actions, (steps, num_envs))


step, actions, version = stepper()


def turn() -> int:
    """So many steps of all environments."""
    for row in actions:
        step(row)
    return steps * num_envs


serve(channel, turn, version=version)
