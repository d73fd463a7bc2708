"""What the tests of meter and interval share."""

from collections.abc import Callable

import numpy as np
import pytest

Drawn = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="session")
def gaussian() -> Drawn:
    """gaussian(d, units, ratio, [updates, repetitions], seed) -> signal and noise of isotropic units of tr(Σ) = d.

    `ratio` is B / B_simple.
    """

    def draw(
        d: int, units: int, ratio: float, shape: tuple[int, int], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        noise = rng.chisquare(d * (units - 1), shape) / (units - 1)
        mean_sq_norm = rng.noncentral_chisquare(d, ratio * d, shape) / units
        return mean_sq_norm - noise / units, noise

    return draw
