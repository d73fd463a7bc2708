"""What a run has counted up since its last metric row, and the scores of its finished games."""

from __future__ import annotations

import collections
import itertools
import math
from typing import Any

from rl_gns.training.collecting import Game
from rl_gns.training.stopping import SmoothedScore

SCORE_WINDOW = 100


class Tally:
    """Means of what every update says, and games in the order of time."""

    def __init__(self, stop_halflife: float) -> None:
        """stop_halflife: of the score that a run may stop at, in observations."""
        self.games = 0
        self.recent: collections.deque[float] = collections.deque(maxlen=SCORE_WINDOW)
        self.smoothed = SmoothedScore(stop_halflife)
        self.episodes: list[Game] = []
        """The games that finished since the last row."""
        self._sums: dict[str, float] = {}
        self._updates = 0

    @property
    def score(self) -> float:
        """Mean score of the last 100 finished games; NaN before the first."""
        return sum(self.recent) / len(self.recent) if self.recent else math.nan

    @property
    def counts(self) -> list[int]:
        """Games so far; updates since the last row."""
        return [self.games, self._updates]

    def add(self, stats: dict[str, float]) -> None:
        """Take in what one update says."""
        for name, value in stats.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._updates += 1

    def add_games(self, games: list[Game]) -> None:
        """Take in the games that ended in a rollout, in the order of time."""
        self.episodes += games
        self.recent.extend(score for _, _, score, _ in games)
        self.games += len(games)
        for observations, ended in itertools.groupby(games, lambda game: game[0]):
            self.smoothed.add(observations, [score for _, _, score, _ in ended])

    def take(self) -> tuple[dict[str, float], list[Game]]:
        """Means over the updates since the last row, and the games finished since; starts both anew."""
        means = {name: total / self._updates for name, total in self._sums.items()}
        episodes, self.episodes, self._sums, self._updates = self.episodes, [], {}, 0
        return means, episodes

    def state_dict(self) -> dict[str, Any]:
        """Numbers and lists, but for the `counts`."""
        return {
            "recent": list(self.recent),
            "episodes": [list(episode) for episode in self.episodes],
            "sums": dict(self._sums),
            "smoothed": self.smoothed.state(),
        }

    def load_state_dict(self, state: dict[str, Any], counts: list[int]) -> None:
        """Go on from a `state_dict` and its `counts`."""
        self.games, self._updates = counts
        self.recent = collections.deque(state["recent"], maxlen=SCORE_WINDOW)
        self.episodes = [(e[0], e[1], e[2], e[3]) for e in state["episodes"]]
        self._sums = dict(state["sums"])
        self.smoothed.restore(state["smoothed"])
