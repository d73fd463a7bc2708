"""This project as a contender: arguments as JSON {algo, num_envs, rollout, game, updates, options, without}."""

import json
import resource
import sys

from turns import open_channel, serve

channel = open_channel()
arguments = json.loads(sys.argv[1])

import torch  # noqa: E402

import rl_gns  # noqa: E402
from rl_gns.training.config import TrainConfig, resolve  # noqa: E402
from rl_gns.training.loop import Trainer  # noqa: E402

for gain in arguments.get("without", []):
    from without import WITHOUT

    WITHOUT[gain]()
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


def turn() -> dict[str, float]:
    """So many updates; what one of them took of learning, in seconds, and of page faults."""
    before, learning, faults = trainer.observations, trainer.seconds["learn"], _faults()
    for _ in range(updates):
        trainer.update()
    trainer.take_row()
    return {
        "observations": trainer.observations - before,
        "learn": (trainer.seconds["learn"] - learning) / updates,
        "faults": (_faults() - faults) / updates,
    }


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


serve(channel, turn, version=rl_gns.__version__, torch=torch.__version__)
trainer.close()
