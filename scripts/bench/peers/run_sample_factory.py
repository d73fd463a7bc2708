"""Sample Factory as a contender: arguments as JSON {num_envs, rollout, game, updates, workers, asynchronous}.

Its own Atari settings are the published PPO's (network, protocol, 4 epochs x 4 minibatches). Between turns its whole
process tree is stopped, right after the learner reports an iteration of num_envs x rollout observations.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import version

from turns import open_channel, say, wait


def register() -> None:
    """Sample Factory's own Atari environments; Gymnasium must know ale-py's games in every process."""
    from sf_examples.atari.train_atari import register_atari_components

    register_atari_components()


import ale_py  # noqa: E402, F401 - registers the games in Gymnasium, in the worker processes too

if __name__ == "__main__":
    channel = open_channel()
    arguments = json.loads(sys.argv[1])

    import psutil
    import torch
    from sample_factory.algo.runners.runner import AlgoObserver
    from sample_factory.train import make_runner
    from sf_examples.atari.train_atari import parse_atari_args

    register()
    size = arguments["num_envs"] * arguments["rollout"]
    workers = arguments["workers"]

    class Turns(AlgoObserver):
        """Lets the tree run for `updates` iterations at a time."""

        left: int | None = None

        def signal_all(self, number: int) -> None:
            """To every process below this one."""
            for child in psutil.Process().children(recursive=True):
                os.kill(child.pid, number)

        def on_training_step(self, runner: object, training_iteration_since_resume: int) -> None:
            """The learner has finished an iteration."""
            if self.left is not None:
                self.left -= 1
                if self.left:
                    return
            self.signal_all(signal.SIGSTOP)
            if self.left is None:
                say(channel, version=version("sample-factory"), torch=torch.__version__)
            else:
                say(channel, observations=arguments["updates"] * size)
            going = wait()
            self.left = arguments["updates"]
            self.signal_all(signal.SIGCONT if going else signal.SIGKILL)
            if not going:
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(0)

    with tempfile.TemporaryDirectory() as folder:
        cfg = parse_atari_args(
            [
                *("--algo=APPO", f"--env=atari_{arguments['game'].replace('_', '')}", "--device=cpu"),
                *("--experiment=bench", f"--train_dir={folder}", "--restart_behavior=overwrite"),
                *(f"--num_workers={workers}", f"--num_envs_per_worker={arguments['num_envs'] // workers}"),
                *("--worker_num_splits=2", f"--rollout={arguments['rollout']}", f"--batch_size={size // 4}"),
                *(f"--async_rl={arguments['asynchronous']}", "--train_for_env_steps=1000000000"),
                *("--save_every_sec=100000", "--with_wandb=False", "--seed=1"),
                *("--normalize_input=False", "--normalize_returns=False"),
            ]
        )
        cfg, runner = make_runner(cfg)
        runner.register_observer(Turns())
        try:
            runner.init()
            runner.run()
        finally:  # a stopped child would keep this process from ending
            for child in psutil.Process().children(recursive=True):
                child.kill()
