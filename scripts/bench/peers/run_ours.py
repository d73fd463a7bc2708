"""This project as a contender: arguments as JSON {algo, num_envs, rollout, game, updates, options}."""

import json
import sys

from turns import open_channel, serve

channel = open_channel()
arguments = json.loads(sys.argv[1])

import torch  # noqa: E402

import rl_gns  # noqa: E402
from rl_gns.training.config import TrainConfig, resolve  # noqa: E402
from rl_gns.training.loop import Trainer  # noqa: E402

updates = arguments["updates"]
trainer = Trainer(
    resolve(
        TrainConfig(
            env=f"atari:{arguments['game']}",
            algo=arguments["algo"],
            num_envs=arguments["num_envs"],
            rollout=arguments["rollout"],
            device="cpu",
            **arguments.get("options", {}),
        )
    )
)


def turn() -> int:
    """So many updates."""
    before = trainer.observations
    for _ in range(updates):
        trainer.update()
    trainer.take_row()
    return trainer.observations - before


serve(channel, turn, version=rl_gns.__version__, torch=torch.__version__)
trainer.close()
