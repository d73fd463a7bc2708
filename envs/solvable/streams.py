"""Counter-based random numbers: draw c of environment i under seed s depends on (s, i, c) alone.

All environments draw the same number of values per step, so a whole batch is one vectorised hash and its
state is two integers. It knows of nothing else in this folder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection of 64-bit words."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Streams:
    """`num_envs` independent streams of random numbers, advanced together.

    Environment i runs SplitMix64 from a start of its own, a hash of (seed, i): the same whatever `num_envs`.
    """

    def __init__(self, num_envs: int, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"a seed is an integer >= 0, got {seed}")
        self.seed, self.draws = int(seed), 0
        base = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        self._keys = _mix(base + np.arange(1, num_envs + 1, dtype=np.uint64) * _GAMMA)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """[num_envs, count] in [0, 1), 53 bits each."""
        counters = np.arange(self.draws + 1, self.draws + count + 1, dtype=np.uint64)
        self.draws += count
        words = _mix(self._keys[:, None] + counters[None, :] * _GAMMA)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, count: int) -> NDArray[np.float64]:
        """[num_envs, count] standard normal, two uniform draws each (Box & Muller 1958)."""
        u = self.uniform(2 * count)
        radius = np.sqrt(-2.0 * np.log1p(-u[:, :count]))
        out: NDArray[np.float64] = radius * np.cos(2.0 * np.pi * u[:, count:])
        return out
