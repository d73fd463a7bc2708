"""The running noise scale: moments in, a smoothed B_simple with its confidence interval out.

It knows nothing of gradients or of training; its clock is observations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from rl_gns.noise.history import Block, History
from rl_gns.noise.interval import BLOCKS_PER_HALFLIFE, ratio_interval
from rl_gns.noise.moments import Moments

ROUNDING = 1e-3
"""Of the signal: a noise no further below 0 than this is that of equal gradients."""


class NoiseScale(NamedTuple):
    """A reading of the simple noise scale, in observations; `str` gives 562 (250-5.55k) or unknown, at least 206."""

    value: float | None
    """B_simple = unit_observations · noise / signal; None while signal can't be told from 0."""
    low: float
    """Lower confidence limit; where value is None, the noise scale is at least this."""
    high: float
    """Upper confidence limit; inf where value is None."""
    signal: float
    """Smoothed estimate of |G|², perhaps negative, in squared units of the loss's gradient; nan before the first
    update."""
    noise: float
    """Smoothed estimate of tr(Σ) of ONE unit, in the same; nan before the first update."""
    observations: float
    """Observations the meter has been advanced by: the last `halflife` of them weigh half."""

    def __str__(self) -> str:
        if self.value is not None:
            return f"{_short(self.value)} ({_short(self.low)}-{_short(self.high)})"
        return f"unknown, at least {_short(self.low)}" if self.low > 0 else "unknown"


class NoiseScaleMeter:
    """Smooths signal and noise, each on its own; reports the ratio of averages, never an average of ratios.

    The averages are bias-corrected exponential moving averages whose weights halve every `halflife`
    observations, over the last six half-lives. The interval is that of `interval.ratio_interval`, on blocks of
    the same averages; its coverage as measured is in docs/coverage.md. Where the noise scale changes, it is one
    for the ratio of the averages over the window. Eight updates are the fewest that give a reading, and where a
    single block of updates makes up most of an average there is none; at most 192 blocks are kept.

    Args:
        unit_observations: observations in one unit's gradient; the rollout length, where a unit is one
            environment.
        halflife: observations after which a reading weighs half; three updates' worth at the least. Where
            successive updates are correlated, over ten times what the correlation lasts.
        confidence: nominal coverage of the interval, in (0, 1).

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(self, unit_observations: float, halflife: float, confidence: float = 0.95) -> None:
        if not (unit_observations > 0 and math.isfinite(unit_observations)):
            raise ValueError(f"unit_observations must be positive, got {unit_observations}")
        if not (halflife > 0 and math.isfinite(halflife)):
            raise ValueError(f"halflife must be a positive number of observations, got {halflife}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        self._settings = {
            "unit_observations": float(unit_observations),
            "halflife": float(halflife),
            "confidence": float(confidence),
        }
        self._history = History(float(halflife), BLOCKS_PER_HALFLIFE)
        self._reading: NoiseScale | None = None

    def update(self, moments: Moments, observations: float | None = None) -> None:
        """Take in one update's moments.

        Args:
            moments: per unit of `unit_observations` observations.
            observations: observations since the update before, by default those measured
                (`moments.units * unit_observations`); larger where only some updates are measured.

        Raises:
            ValueError: moments that are not finite, or no observations.
        """
        duration = (
            moments.units * self._settings["unit_observations"] if observations is None else observations
        )
        if not (math.isfinite(moments.signal) and math.isfinite(moments.noise)):
            raise ValueError(
                f"moments must be finite, got signal {moments.signal} and noise {moments.noise}: "
                "look for NaN in the loss"
            )
        if not (duration > 0 and math.isfinite(duration)):
            raise ValueError(f"an update must stand for a positive number of observations, got {duration}")
        self._history.append(float(moments.signal), float(moments.noise), float(duration))
        self._reading = None

    def read(self) -> NoiseScale:
        """The noise scale now; some milliseconds the first time after an update."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def _read(self) -> NoiseScale:
        if not self._history.blocks:
            return NoiseScale(None, 0.0, math.inf, math.nan, math.nan, 0.0)
        t = self._settings["unit_observations"]
        interval = ratio_interval(self._history.read(), self._settings["confidence"])
        signal, noise = float(interval.x), float(interval.y)
        if noise <= 0:
            # Equal gradients of all units: rounding may leave a noise just below 0. One further below is of a metric
            # that is not positive (Hessian-weighted), where both may be of either sign: nothing is known of it.
            most = 0.0 if signal > 0 and noise >= -ROUNDING * signal else math.inf
            return NoiseScale(None if most else 0.0, 0.0, most, signal, noise, self._history.now)
        weakest, strongest = float(interval.low), float(interval.high)
        low = t / strongest if strongest > 0 else 0.0
        if weakest == 0:
            return NoiseScale(None, low, math.inf, signal, noise, self._history.now)
        return NoiseScale(t * noise / signal, low, t / weakest, signal, noise, self._history.now)

    def state_dict(self) -> dict[str, Any]:
        """All state as plain floats and lists; survives JSON bit for bit."""
        h = self._history
        return {
            **self._settings,
            "now": h.now,
            "block_span": h.block_span,
            "blocks": [list(b) for b in h.blocks],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: the state is of a meter with other settings, or lacks something.
        """
        if missing := {*self._settings, "now", "block_span", "blocks"} - state.keys():
            raise ValueError(
                f"the saved meter lacks {', '.join(sorted(missing))}: was it saved by NoiseScaleMeter?"
            )
        for name, value in self._settings.items():
            if state[name] != value:
                raise ValueError(
                    f"the saved meter has {name} {state[name]}, this one {value}: make them agree"
                )
        history = History(self._settings["halflife"], BLOCKS_PER_HALFLIFE)
        history.now, history.block_span = state["now"], state["block_span"]
        history.blocks = [Block(*b) for b in state["blocks"]]
        self._history = history
        self._reading = None


def _short(x: float) -> str:
    """Three digits, in thousands, millions or billions: 999.6 is 1k."""
    if not math.isfinite(x):
        return "inf"
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= 0.9995 * size:
            return f"{x / size:.3g}{suffix}"
    return f"{x:.3g}"
