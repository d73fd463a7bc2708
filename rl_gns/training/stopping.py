"""When a run has learnt enough: the smoothed score of finished games, kept up game by game.

The slow twin is `rl_gns.analysis.smooth`, which takes all games at once; a study stops its runs here and reads its
crossings there, so the two must agree.
"""

from __future__ import annotations

import math

TOLERANCE = 1e-9
"""Relative excess over the goal that is asked for, so that `analysis.first_crossing` finds every stop."""


FEWEST_GAMES = 20
"""A score is believed from this many finished games on: one lucky first game must not be a goal reached."""


class SmoothedScore:
    """Exponentially weighted mean of the games finished so far, with a half-life in observations.

    m = Σ_j w_j s_j / Σ_j w_j,   w_j = 2^(-(x - x_j) / halflife)
    """

    def __init__(self, halflife: float) -> None:
        self.halflife = halflife
        self.numerator = self.denominator = self.last = self.games = 0.0
        self.peak = -math.inf

    def add(self, observations: int, scores: list[float]) -> None:
        """Take in the games that finished at one count; counts ascend. A score that is not finite is left out."""
        scores = [score for score in scores if math.isfinite(score)]
        if not scores:
            return
        decay = 2.0 ** (-(observations - self.last) / self.halflife)
        self.numerator = self.numerator * decay + sum(scores)
        self.denominator = self.denominator * decay + len(scores)
        self.last = float(observations)
        self.games += len(scores)
        if self.games >= FEWEST_GAMES:
            self.peak = max(self.peak, self.value)

    @property
    def value(self) -> float:
        """The mean now; NaN before the first game."""
        return self.numerator / self.denominator if self.denominator else math.nan

    def has_reached(self, goal: float | None) -> bool:
        """Whether the mean was ever at `goal`, once enough games had been played; never for None."""
        return goal is not None and self.peak >= goal + TOLERANCE * max(1.0, abs(goal))

    def state(self) -> list[float]:
        """What `restore` takes."""
        return [self.numerator, self.denominator, self.last, self.games, self.peak]

    def restore(self, state: list[float]) -> None:
        """Go on from a `state`."""
        self.numerator, self.denominator, self.last, self.games, self.peak = state
