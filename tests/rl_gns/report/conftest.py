"""Fits of runs made from a known law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.study import COLUMNS


def fits_of(
    sizes: tuple[int, ...] = (4, 16, 64, 256), seeds: tuple[int, ...] = (1, 2, 3), scatter: float = 0.03
) -> Fits:
    """Two goals, rollouts of 5: S = 10 goal (1 + 5 goal/B), B_simple 100, one rate."""
    rng, rows = np.random.default_rng(0), []
    for n in sizes:
        for seed in seeds:
            for goal in (10.0, 20.0):
                batch = 5 * n
                updates = 10 * goal * (1 + 5 * goal / batch) * float(np.exp(scatter * rng.normal()))
                row = [f"n{n}-t5-lr1e-3-s{seed}", n, 5, batch, 1e-3, seed, goal, updates * batch, updates]
                rows.append(
                    [*row, False, 100.0 * float(np.exp(rng.normal())), 80.0, 1.0, "done", "", 50.0, 0.3]
                )
    return fit(pd.DataFrame(rows, columns=COLUMNS), bootstrap=50)


@pytest.fixture(scope="session")
def make_fits() -> Callable[..., Fits]:
    """`fits_of`."""
    return fits_of
