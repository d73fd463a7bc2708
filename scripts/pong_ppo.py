"""Train PPO on Pong on a CPU until it wins, then draw its curve with the noise scale.

    python scripts/pong_ppo.py [--out runs/pong-ppo] [--precision bf16] [--threads 1]

2.4 million observations: about 75 minutes of one idle core in bfloat16. Interrupt it and call it again: it goes on
where it was. Prints when the mean of the last 100 games was first above 0, 18 and 19, and that at the end, and ends
with 1 unless it is above 15. Writes the figure and the table to scripts/results/.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import rl_gns
from rl_gns.report import noise

RESULTS = Path(__file__).parent / "results"
GAMES = 100


def main() -> None:
    """Train, draw, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/pong-ppo")
    parser.add_argument("--observations", type=float, default=2_400_000)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    config = rl_gns.TrainConfig(
        env="atari:pong",
        algo="ppo",
        num_envs=16,
        rollout=64,
        epochs=3,
        learning_rate=5e-4,
        schedule="linear",
        observations=arguments.observations,
        precision=arguments.precision,
        threads=arguments.threads,
        keep_every=200_000,
    )
    out = Path(arguments.out)
    run = rl_gns.train(config, out, resume=(out / "config.toml").exists())
    if run.metrics()["observations"].max() < config.observations:
        sys.exit(f"stopped; call again to go on in {out}")
    RESULTS.mkdir(exist_ok=True)
    noise.figure(run, RESULTS / "pong_ppo.png")
    run.metrics().to_csv(RESULTS / "pong_ppo.csv", index=False, float_format="%.6g")
    games = run.episodes()
    mean = games["score"].rolling(GAMES).mean()
    for score in (0, 18, 19):
        print(f"mean of {GAMES} games above {score}: {_first(games, mean > score)}")
    last = float(mean.iloc[-1])
    print(f"mean of the last {GAMES} games: {last:.2f}")
    sys.exit(0 if last > 15 else 1)


def _first(games: pd.DataFrame, where: pd.Series) -> str:
    """The observations at the first game of which it is so."""
    return f"at {games['observations'][where].iloc[0]:,.0f} observations" if where.any() else "never"


if __name__ == "__main__":
    main()
