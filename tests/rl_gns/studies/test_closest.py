"""The predictor that comes closest to B_crit is named, with what is unknown beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis.claims import Claim
from rl_gns.report.claims import markdown
from rl_gns.studies.claims import claims
from rl_gns.studies.predictors import closest, sentence, table
from rl_gns.studies.scope import Scope, of_study
from rl_gns.studies.study import Study

Made = Callable[..., Scope]
Measured = Callable[..., Study]


def by_code(rows: list[Claim]) -> dict[str, Claim]:
    return {row.code: row for row in rows}


def test_the_closest_predictor_is_named(measured: Measured) -> None:
    scope = of_study(measured())
    order = closest([scope])
    assert order["predictor"].tolist() == ["policy", "B_simple", "value", "fisher"]
    best = order.iloc[0]
    assert best["ratio"] == pytest.approx(1.2, rel=0.15)
    assert best["ratio_low"] < best["ratio"] < best["ratio_high"]
    assert "comes closest and is within a factor of two" in sentence(order)
    assert "Unknown on every front: B_noise, Fisher-weighted." in sentence(order)
    beside = table(scope)
    fisher = beside[(beside["predictor"] == "fisher") & (beside["quantity"] == "mean")]
    assert (fisher["at_least"] == 9.0).all()
    assert set(beside["ids"].str.split().explode()) == {f"n{n}-t5-lr1e-3-s1" for n in (4, 8, 16, 32, 64, 128)}
    claim = by_code(claims([scope]))["N9"]
    assert claim.measured.value == pytest.approx(24, rel=0.1)
    assert claim.verdict == "pass"


def test_a_lower_bound_of_0_is_not_said(made: Made) -> None:
    scope = made(sizes=(16,))
    first = scope.fits.points.drop_duplicates("id")[["id", "rollout", "num_envs", "batch", "seed", "goal"]]
    parts = pd.concat(
        [first.assign(part=part, at_least=bound) for part, bound in (("policy", 0), ("value", 7))]
    )
    parts = parts.assign(local=math.nan, mean=math.nan, known_share=0.0, signal=math.nan, noise=math.nan)
    found = by_code(claims([dataclasses.replace(scope, parts=parts)]))["N9"]
    assert found.why == "no run knows both (value at least 7)"


def unbounded(made: Made, part: str, signal: list[float], noise: list[float]) -> Scope:
    """`made`, where nothing but the moments of `part` is known of the noise."""
    scope = made(ratio=math.nan)
    first = scope.fits.points.drop_duplicates(["goal", "batch", "seed"])
    parts = pd.DataFrame(
        {name: first[name] for name in ("id", "rollout", "num_envs", "batch", "seed", "goal")}
    )
    parts = parts.assign(part=part, local=math.nan, mean=math.nan, known_share=0.0, at_least=0.0)
    parts["signal"], parts["noise"] = np.resize(signal, len(parts)), np.resize(noise, len(parts))
    return dataclasses.replace(scope, parts=parts)


def test_a_front_whose_runs_have_no_signal_together_counts_as_unbounded_and_is_shown(made: Made) -> None:
    scope = unbounded(made, "B_simple", [-0.03, 0.01, 0.01, -0.01], [2.0])
    together = by_code(claims([scope]))["N5p"]
    assert together.measured.value == math.inf
    assert "at 2 of them no signal is left" in together.why
    assert together.verdict != "fail" or together.measured.low > 12
    wide, long = (line for line in markdown([scope]).splitlines() if "| N5p |" in line)
    assert ": at least " in wide
    assert "| at least " in long


def test_fronts_without_a_signal_are_counted_beside_the_closest_predictor(made: Made) -> None:
    scope = unbounded(made, "B_simple", [-0.03, 0.01, 0.01, -0.01], [2.0])
    other = scope.parts.assign(
        part="policy", signal=np.where(scope.parts["goal"] == 2, -0.001, 0.01), noise=2.0
    )
    other["signal"] += 0.003 * np.resize([1, -1, 0], len(other))
    scope = dataclasses.replace(scope, parts=pd.concat([scope.parts, other]))
    order = closest([scope]).set_index("predictor")
    assert order.loc["B_simple", ["fronts", "lost", "of"]].tolist() == [0, 2, 2]
    assert order.loc["policy", ["fronts", "pooled", "lost", "of"]].tolist() == [1, 1, 1, 2]
    assert order.loc["policy", "ratio"] == pytest.approx(1000 / 122, rel=0.1)
    beside = table(scope).query("quantity == 'pooled'").set_index(["predictor", "goal"])
    row = beside.loc[("policy", 2.0)]
    assert row["ratio"] == math.inf
    assert 0 < row["ratio_low"] < math.inf
    assert "no signal on 1" in markdown([scope])


def test_noise_that_comes_out_below_0_breaks_no_table(made: Made) -> None:
    scope = unbounded(made, "hessian", [0.02], [-0.001, -0.002, 0.0005])
    assert closest([scope])["ratio"].isna().all()
    assert table(scope)["ratio"].isna().all()


def test_none_is_a_result(measured: Measured) -> None:
    order = closest([of_study(measured(policy=9))])
    assert sentence(order).startswith("None comes within a factor of two of B_crit; the closest is")
    assert sentence(order[:0]) == "No predictor can be put beside a critical batch yet."
