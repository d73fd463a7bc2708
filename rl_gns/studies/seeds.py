"""Averages over seeds: the interquartile mean of logarithms with a seeded bootstrap interval. It reads numbers only."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rl_gns.analysis import Interval, bootstrap_interval, iqm

UNKNOWN = Interval(math.nan, math.nan, math.nan)


def over_seeds(values: pd.Series, strata: pd.Series | None = None, seed: int = 0) -> Interval:
    """exp of the interquartile mean of ln `values`, and its 95 % interval over seeds within each stratum.

    Args:
        values: positive numbers; what is NaN or not positive is unknown and left out.
        strata: what each value's seed is a seed of, e.g. its environment count; None: all are seeds of one thing.
        seed: of the bootstrap.

    Returns:
        NaN ends where no stratum has two known seeds; strata with one seed count in the value only then.
    """
    known = values[values > 0]
    if known.empty:
        return UNKNOWN
    logs = pd.Series(np.log(known.to_numpy(dtype=float)), index=known.index)
    groups = pd.Series(0, index=known.index) if strata is None else strata.loc[known.index]
    tasks = {str(name): part.to_numpy() for name, part in logs.groupby(groups) if len(part) > 1}
    if not tasks:
        return Interval(float(np.exp(iqm(logs))), math.nan, math.nan)
    return Interval(*(float(np.exp(end)) for end in bootstrap_interval(tasks, seed=seed)))
