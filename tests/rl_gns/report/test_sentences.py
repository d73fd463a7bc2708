"""Sentences say no more than intervals and margins allow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace as NS
from typing import Any

import pandas as pd

from rl_gns.analysis import Interval
from rl_gns.analysis.claims import Band, claim, unknown
from rl_gns.report.sentences import fronts, learning_rates, noise_scale, two_axes
from rl_gns.studies.fits import Fits, best_law


def test_a_law_is_the_best_only_above_a_margin(make_fits: Callable[..., Fits]) -> None:
    fits = make_fits()
    assert "the best of four laws on 2 of 2 fronts" in fronts(fits, 5)
    for lead, says in ((0.03, "can't tell"), (2.5, "hyperbola"), (-0.03, "can't tell"), (-2.5, "linear")):
        aic = {"hyperbola": 10.0, "power_law": 40.0, "linear": 10.0 + lead, "constant": 90.0}
        front = dataclasses.replace(fits.front_of[5, 10.0], aic=aic)
        assert best_law(front) == says
    table = fits.fronts.assign(best_law=["can't tell", "linear"])
    said = fronts(dataclasses.replace(fits, fronts=table), 5)
    assert "the best of four laws on 0 of 2 fronts" in said
    assert "another (a power law, S as 1/B, a constant) on 1; on 1 it can't be told." in said


def test_the_noise_scales_change_with_the_batch_is_the_claims(make_fits: Callable[..., Fits]) -> None:
    fits = make_fits()
    cells = fits.cells.copy()
    cells.loc[(cells["goal"] == 20) & (cells["batch"] == 80), "noise_scale"] = math.nan
    fits = dataclasses.replace(fits, cells=cells)
    judged = [claim("N7", "", "s", Band(0.5, 2), Interval(1.03, 0.74, 1.51), "goal 20")]
    said = noise_scale(fits, judged)
    assert (
        "Over an eightfold batch at tuned rates it changes by a factor of 1.03 (0.74 to 1.51) (goal 20"
        in said
    )
    assert "claim N7: pass" in said
    assert "It is unknown at 80." in said
    assert "varies" not in said
    said = noise_scale(fits, [unknown("N7", "", "s", Band(0.5, 2), "it is known at no goal")])
    assert "How it changes with the batch can't be told: it is known at no goal." in said


def test_rates_that_all_seeds_share_have_no_interval_and_an_edge_is_flagged(
    make_fits: Callable[..., Fits],
) -> None:
    fits = make_fits()
    rates = pd.DataFrame({"rollout": 5, "goal": [10.0, 20.0], "batch": [50.0, 60.0], "exponent": [0.8, 1.25]})
    said = learning_rates(dataclasses.replace(fits, rates=rates))
    assert "from 0.001 (the same in 3 seeds) at a batch of 20 to" in said
    assert "a from 0.8 to 1.25." in said
    assert "On 1 of them a is at an end of what is searched, 0.25 or 1.25: a bound, no estimate." in said


def test_the_exchange_is_said_of_longer_rollouts_over_shorter_ones() -> None:
    """At a batch of 80 the longer rollouts took 0.8 of the updates, so they win, and at 20 twice as many."""
    rows = [(20, 2.0, 1.5, 2.5, "more environments"), (80, 0.8, 0.7, 0.9, "longer rollouts")]
    exchange = pd.DataFrame(rows, columns=["batch", "ratio", "low", "high", "wins"])
    joined = exchange.assign(goal=9.0, longer=20, shorter=5)
    fits: Any = NS(exchange=joined, prediction=None, hardest=pd.Series.max)
    said = two_axes(fits)[0]
    assert "more environments at 20 (2, 1.5 to 2.5); longer rollouts at 80 (0.8, 0.7 to 0.9)." in said
    assert "updates with rollouts of 20 over updates with rollouts of 5; below 1 the longer ones win." in said
