"""Stable-Baselines3 as a contender: arguments as JSON {algo, num_envs, rollout, game, updates, processes}."""

import json
import sys

import ale_py
import gymnasium
from turns import open_channel, serve

gymnasium.register_envs(ale_py)  # in the worker processes too

if __name__ == "__main__":  # its worker processes import this file again
    channel = open_channel()
    arguments = json.loads(sys.argv[1])

    import stable_baselines3
    import torch
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

    num_envs, rollout, updates = arguments["num_envs"], arguments["rollout"], arguments["updates"]
    kind = SubprocVecEnv if arguments["processes"] else DummyVecEnv
    name = arguments["game"].title().replace("_", "")
    env = VecFrameStack(make_atari_env(f"{name}NoFrameskip-v4", num_envs, seed=1, vec_env_cls=kind), 4)
    common = {"n_steps": rollout, "ent_coef": 0.01, "vf_coef": 0.5, "device": "cpu", "seed": 1}
    if arguments["algo"] == "a2c":
        model = A2C("CnnPolicy", env, learning_rate=7e-4, **common)
    else:
        batch = num_envs * rollout // 4
        model = PPO(
            "CnnPolicy", env, learning_rate=2.5e-4, n_epochs=4, batch_size=batch, clip_range=0.1, **common
        )

    def turn() -> int:
        """As many observations as `updates` rollouts have."""
        before = model.num_timesteps
        model.learn(updates * num_envs * rollout, reset_num_timesteps=before == 0, log_interval=None)
        return int(model.num_timesteps - before)

    serve(channel, turn, version=stable_baselines3.__version__, torch=torch.__version__)
    env.close()
