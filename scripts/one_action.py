"""What a policy that always presses the same button scores, action by action, beside uniformly random play.

    python scripts/one_action.py breakout alien --to scripts/results/one_action.csv

A goal below the best of these says nothing about learning to play. Full games of the baselines protocol, as a study's
runs play them; each environment plays one, so that short games don't count oftener. A game that has not ended after
--max-decisions is left out of the mean and counted as unfinished: where the submarine of Seaquest never leaves the
surface, it never drowns.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import envs


def play(name: str, action: int | None, games: int, most: int, seed: int) -> list[float]:
    """Scores of the games that ended within `most` decisions, at most `games` of them; action None draws uniformly."""
    generator = torch.Generator().manual_seed(seed)
    with envs.make(f"atari:{name}", games, seed=seed, protocol="baselines") as env:
        env.reset()
        count = int(env.action_space.n)  # type: ignore[attr-defined]
        scores = np.full(games, np.nan)
        for _ in range(most):
            actions = torch.full((games,), action or 0)
            if action is None:
                actions = torch.randint(count, (games,), generator=generator)
            now = env.step(actions).score.numpy()
            scores = np.where(np.isnan(scores), now, scores)
            if not np.isnan(scores).any():
                break
    return [float(score) for score in scores[~np.isnan(scores)]]


def meanings(name: str) -> list[str]:
    """Of the game's own minimal set of actions, as `envs.make` numbers them."""
    from ale_py import ALEInterface, LoggerMode, roms

    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    rom = roms.get_rom_path(name)
    assert rom is not None, "envs.make has refused other names"
    ale.loadROM(rom)
    return [action.name for action in ale.getMinimalActionSet()]


def table(name: str, games: int, most: int, seed: int) -> pd.DataFrame:
    """A row per action, `random` first: game, action, mean, its standard error, games, unfinished."""
    rows = []
    with envs.make(f"atari:{name}", 1):  # an unknown game is refused here, in one line
        actions = meanings(name)
    for action, word in [(None, "random"), *enumerate(actions)]:
        scores = play(name, action, games, most, seed)
        n = len(scores)
        error = float(np.std(scores, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        row = {"game": name, "action": word, "mean": float(np.mean(scores)) if n else math.nan}
        rows.append({**row, "standard_error": error, "games": n, "unfinished": games - n})
    return pd.DataFrame(rows)


def main(words: list[str] | None = None) -> None:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("game", nargs="+", help="e.g. breakout")
    parser.add_argument("--games", type=int, default=50, help="per action (default: 50)")
    parser.add_argument("--max-decisions", type=int, default=3_000, help="in a game (default: 3000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, help="write the rows here, as CSV")
    given = parser.parse_args(words)
    for name, value in (("games", given.games), ("max-decisions", given.max_decisions)):
        if value < 1:
            parser.error(f"{name} must be at least 1, got {value}")
    found = []
    for name in given.game:
        try:
            found.append(table(name, given.games, given.max_decisions, given.seed))
        except ValueError as error:
            parser.error(str(error))
        print(found[-1].to_string(index=False, float_format=lambda x: f"{x:.3g}"), flush=True)
        if given.to is not None:
            pd.concat(found).to_csv(given.to, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
