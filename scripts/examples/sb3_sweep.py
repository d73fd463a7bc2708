"""Fronts and noise scale of Stable-Baselines3's A2C on CartPole: what a batch is worth there, measured and predicted.

    python scripts/examples/sb3_sweep.py --to runs/sb3          # about half an hour of one core
    rl-gns fronts runs/sb3/*.csv --goals 75 150 --halflife 500 --start-score 35 --figure runs/sb3/fronts.png

Batches from 20 to 1,280 observations, by environments alone, four learning rates each, three seeds. Every run leaves a
CSV: a row per finished game with its score, a row per reading of the noise scale; called again, it makes what is
missing. Nothing but the callback and when to stop is of this project; `rl-gns fronts` takes such rows from any loop.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import pandas as pd
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env

from rl_gns.sb3 import NoiseScaleCallback
from rl_gns.training.stopping import SmoothedScore

ROLLOUT = 5
GROUPS, HALFLIFE = 8, 4_000
RATE, AT = 2e-3, 80
"""The middle rate is 2e-3 at a batch of 80 and grows as the batch's root."""


class Games(BaseCallback):
    """Scores of all games; ends the run once they reach `stop`, smoothed as `rl-gns fronts` smooths them, over longer.

    Ended by another measure, as the mean of the last games, a run can look as if it had missed its goal.
    """

    def __init__(self, stop: float, halflife: float) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._stop, self._smoothed = stop, SmoothedScore(halflife)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                score = info["episode"]["r"]
                self.rows.append({"observations": self.num_timesteps, "score": score})
                self._smoothed.add(self.num_timesteps, [score])
        return not self._smoothed.has_reached(self._stop)


def run(num_envs: int, rate: float, seed: int, budget: int, stop: float) -> pd.DataFrame:
    """Rows along one run: its games, and the noise scale where it was read."""
    model = A2C(
        "MlpPolicy",
        make_vec_env("CartPole-v1", num_envs, seed=seed),
        learning_rate=rate,
        n_steps=ROLLOUT,
        seed=seed,
    )
    games = Games(stop, HALFLIFE)
    batch = num_envs * ROLLOUT
    noise = NoiseScaleCallback(groups=min(GROUPS, num_envs), halflife=max(HALFLIFE, 8 * batch))
    model.learn(budget, callback=CallbackList([games, noise]))
    readings = pd.DataFrame(noise.history, columns=["observations", "noise_scale"])
    rows = pd.concat([pd.DataFrame(games.rows, columns=["observations", "score"]), readings])
    rows = rows.sort_values("observations", kind="stable")
    return rows.assign(batch=batch, learning_rate=rate, seed=seed)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, help="folder for a CSV a run")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 1, 2, 4], help="the middle rate")
    parser.add_argument("--budget", type=int, default=300_000, help="observations")
    parser.add_argument("--stop", type=float, default=160, help="smoothed score at which a run ends")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.to.mkdir(parents=True, exist_ok=True)
    for num_envs, times, seed in itertools.product(options.num_envs, options.times, options.seeds):
        rate = RATE * times * (num_envs * ROLLOUT / AT) ** 0.5
        path = options.to / f"n{num_envs}-x{times:g}-s{seed}.csv"
        if path.exists():
            continue
        rows = run(num_envs, rate, seed, options.budget, options.stop)
        aside = path.with_suffix(".tmp")
        rows.to_csv(aside, index=False)
        aside.rename(path)
        print(f"{path}: {rows['observations'].max():,.0f} observations", flush=True)


if __name__ == "__main__":
    main()
