"""Runs pooled by their shares, and the sentence that names the closest predictor."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rl_gns.studies.predictors import pooled, sentence


def test_one_front_does_not_make_the_closest_predictor() -> None:
    names = ["predictor", "fronts", "pooled", "lost", "of", "ratio", "ratio_low", "ratio_high", "spread"]
    few = ["policy", 1, 0, 0, 4, 1.1, math.nan, math.nan, math.nan]
    half = ["fisher", 2, 0, 0, 4, 0.7, 0.6, 0.8, 0.1]
    most = ["B_simple", 3, 0, 1, 4, 5.0, 4.0, 6.0, 0.2]
    order = pd.DataFrame([few, half, most, ["value", 4, 0, 0, 4, 9.0, 8.0, 10.0, 0.1]], columns=names)
    said = sentence(order)
    assert said.startswith(
        "None comes within a factor of two of B_crit; the closest is B_simple of the training gradient, at 5 times"
    )
    assert "(4 to 6; 3 of 4 fronts, no signal on 1 more)" in said
    assert (
        "Closer on the few fronts where they are known: B_simple, policy loss alone, 1.1 times B_crit (no interval; "
        "1 of 4 fronts); B_noise, Fisher-weighted, 0.7 times B_crit (0.6 to 0.8; 2 of 4 fronts)." in said
    )
    assert "value" not in said  # what is further off is in the table
    assert sentence(order[:2]).startswith(
        "None is certain to be within a factor of two of B_crit; the closest is B_"
    )
    assert "policy loss alone, at 1.1" in sentence(order[:2])


def test_where_the_closest_has_no_upper_end_the_closest_that_has_one_is_named_too() -> None:
    names = ["predictor", "fronts", "pooled", "lost", "of", "ratio", "ratio_low", "ratio_high", "spread"]
    rows = [["total", 3, 2, 0, 3, 0.84, 0.14, math.inf, 1.0], ["fisher", 3, 3, 0, 3, 1.3, 0.5, math.inf, 1.1]]
    order = pd.DataFrame([*rows, ["B_simple", 3, 0, 0, 3, 1.74, 0.61, 4.2, 0.1]], columns=names)
    said = sentence(order)
    assert (
        "the closest is B_simple of the whole loss, measured with its parts, at 0.84 times B_crit (at least"
        in said
    )
    assert (
        "Of those whose interval has two ends it is B_simple of the training gradient, at 1.74 times B_crit "
        "(0.61 to 4.2; 3 of 3 fronts)." in said
    )
    assert "two ends" not in sentence(order[2:])


def test_runs_that_know_nothing_alone_are_pooled() -> None:
    """Signals of either sign around 0.01, B_simple 1000: together they know it, and the interval says how well."""
    rng, held, known = np.random.default_rng(0), 0, 0
    for _ in range(400):
        envs = np.array([8, 16, 32, 64] * 5)
        rows = pd.DataFrame({"rollout": 5, "num_envs": envs})
        rows["signal"] = 0.01 + rng.normal(0, 0.05, 20) / np.sqrt(envs)
        rows["noise"] = 2.0 * (1 + rng.normal(0, 0.1, 20))
        found = pooled(rows)
        held += math.isnan(found.value) or found.low <= 1000 <= found.high
        known += math.isfinite(found.high)
    assert 0.92 <= held / 400 <= 0.98
    assert known > 360
    exact = rows.assign(signal=0.01, noise=2.0)
    assert pooled(exact) == pytest.approx((1000, 1000, 1000))
    assert math.isnan(pooled(exact.assign(signal=-0.01)).value)
    assert pooled(exact.iloc[:1]).value == pytest.approx(1000)
    assert math.isnan(pooled(exact.iloc[:1]).low)
    assert math.isnan(pooled(exact.iloc[:0]).value)


def test_pooled_runs_without_a_signal_have_a_bound_and_without_noise_are_0() -> None:
    rows = pd.DataFrame({"rollout": 5, "num_envs": 8, "signal": [-0.03, 0.01, 0.01, -0.01], "noise": 2.0})
    found = pooled(rows)
    assert (found.value, found.high) == (math.inf, math.inf)
    assert 50 < found.low < 1000
    found = pooled(rows.assign(signal=2.0, noise=[-0.03, 0.01, 0.01, -0.01]))
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0 < found.high < 0.2


def test_a_run_with_a_thousand_times_the_others_gradient_counts_as_one_run() -> None:
    rows = pd.DataFrame({"rollout": 5, "num_envs": 8, "signal": 0.01, "noise": 2.0}, index=range(8))
    rows.loc[0, ["signal", "noise"]] = [100.0, 200.0]  # a noise scale of 10
    shares = np.array([1 / 3] + [0.01 / 2.01] * 7)
    found = pooled(rows)
    assert found.value == pytest.approx(5 * (1 - shares.mean()) / shares.mean())
    assert found.high == math.inf  # one run in eight makes up most of it, and might not have been there
    unknown = rows.assign(signal=np.nan)
    unknown.loc[1:, "signal"] = 0.01
    assert pooled(unknown).value == pytest.approx(1000)
