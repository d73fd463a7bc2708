"""Train PPO on Pong on a CPU until it has left -21 for good, then draw its curve with the noise scale.

    python scripts/pong_ppo.py [--out runs/pong-ppo] [--observations 640000]

About half an hour on two idle cores. Interrupt it and call it again: it goes on where it was. Prints the mean of the
last 20 games and ends with 1 unless it is above -18. Writes the figure and the table to scripts/results/.
"""

import argparse
import sys
from pathlib import Path

import rl_gns
from rl_gns.report import noise

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Train, draw, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/pong-ppo")
    parser.add_argument("--observations", type=float, default=640_000)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    config = rl_gns.TrainConfig(
        env="atari:pong",
        algo="ppo",
        num_envs=16,
        rollout=64,
        epochs=3,
        learning_rate=5e-4,
        observations=arguments.observations,
        threads=arguments.threads,
        checkpoint_every=50_000,
    )
    out = Path(arguments.out)
    run = rl_gns.train(config, out, resume=(out / "config.toml").exists())
    if run.metrics()["observations"].max() < config.observations:
        sys.exit(f"stopped; call again to go on in {out}")
    RESULTS.mkdir(exist_ok=True)
    noise.figure(run, RESULTS / "pong_ppo.png")
    run.metrics().to_csv(RESULTS / "pong_ppo.csv", index=False, float_format="%.6g")
    last = run.episodes()["score"].tail(20)
    print(f"mean of the last {len(last)} games: {last.mean():.2f}")
    sys.exit(0 if len(last) == 20 and last.mean() > -18 else 1)


if __name__ == "__main__":
    main()
