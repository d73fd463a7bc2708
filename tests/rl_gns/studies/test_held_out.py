"""The best of nearly tied rates is lucky by what the least of so many normals is; the other seeds' choice is not."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_gns.analysis import fit_front
from rl_gns.report.sentences import held_out as sentence
from rl_gns.studies.fits import best_points, fit
from rl_gns.studies.held_out import held_out_points, held_out_table
from rl_gns.studies.study import COLUMNS

S_MIN, B_CRIT, SIZES = 100.0, 80.0, (2, 4, 8, 16, 32, 64, 128)


def runs(
    *rows: tuple[int, int, float, float | None], goal: float = 10.0, most: float = 5000.0
) -> pd.DataFrame:
    """Rows of (environments, seed, rate, updates to the goal; None: not reached in `most`)."""
    made = []
    for n, seed, rate, updates in rows:
        row: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan) | {"reason": "", "status": "done"}
        row |= {"id": f"n{n}-{rate:g}-s{seed}", "num_envs": n, "rollout": 5, "batch": 5 * n}
        row |= {"learning_rate": rate, "seed": seed, "goal": goal, "censored": updates is None}
        row |= {"updates": most if updates is None else updates}
        made.append(row | {"observations": row["updates"] * row["batch"]})
    return pd.DataFrame(made, columns=COLUMNS)


def tied(noise: float, rates: tuple[float, ...], seeds: tuple[int, ...], seed: int = 0) -> pd.DataFrame:
    """Every rate takes S_MIN (1 + B_CRIT/B) updates times exp(noise times a standard normal)."""
    rng = np.random.default_rng(seed)
    return runs(
        *(
            (n, s, rate, S_MIN * (1 + B_CRIT / (5 * n)) * math.exp(noise * rng.normal()))
            for n, s, rate in itertools.product(SIZES, seeds, rates)
        )
    )


def chosen(table: pd.DataFrame) -> dict[int, float]:
    points = held_out_points(table)
    return dict(zip(points["seed"].tolist(), points["learning_rate"].tolist(), strict=True))


def test_own_best_is_low_by_the_least_of_five_normals_and_held_out_is_not() -> None:
    noise, rates = 0.3, (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3)
    table = tied(noise, rates, tuple(range(1, 21)))
    expected = np.log(S_MIN * (1 + B_CRIT / table["batch"]))
    off = {}
    for name, points in (("own", best_points(table)), ("others", held_out_points(table))):
        merged = points.merge(table.assign(expected=expected)[["id", "expected"]], on="id")
        off[name] = float((np.log(merged["updates"]) - merged["expected"]).mean())
    # E min of five standard normals is -1.16296 (Harter 1961, Biometrika 48:151).
    error = noise / math.sqrt(20 * len(SIZES))
    assert off["own"] == pytest.approx(-1.16296 * noise, abs=4 * error)
    assert off["others"] == pytest.approx(0, abs=4 * error)


def test_the_fronts_differ_by_that_luck_and_have_the_true_critical_batch() -> None:
    found = held_out_table(
        *(lambda t: (t, best_points(t)))(tied(0.1, (1e-4, 2e-4, 4e-4), (1, 2, 3, 4, 5, 6)))
    )
    own, others = (found[found["rates"] == rates].iloc[0] for rates in ("own", "others"))
    assert list(found["points"]) == [42, 42]
    assert list(found["chosen"]) == [42, 42]
    assert others["b_crit_low"] < B_CRIT < others["b_crit_high"]
    assert others["s_min"] == pytest.approx(S_MIN, rel=0.05)
    assert own["s_min"] == pytest.approx(S_MIN * math.exp(-0.84628 * 0.1), rel=0.05)  # E min of three


def test_the_others_decide() -> None:
    table = runs(
        (4, 1, 1e-3, 100),
        (4, 1, 2e-3, 90),
        (4, 2, 1e-3, 80),
        (4, 2, 2e-3, 120),
        (4, 3, 1e-3, 70),
        (4, 3, 2e-3, 71),
    )
    # Seeds 2 and 3 say 1e-3 to seed 1; 1 and 3 say, by 100/90 against 71/70, 2e-3 to 2; 1 and 2, 1e-3 to 3.
    assert chosen(table) == {1: 1e-3, 2: 2e-3, 3: 1e-3}
    assert held_out_points(table)["rates"].tolist() == [2, 2, 2]


def test_a_run_that_did_not_reach_it_counts_with_what_it_made() -> None:
    table = runs((4, 1, 1e-3, 100), (4, 1, 2e-3, 110), (4, 2, 1e-3, None), (4, 2, 2e-3, 130), most=300)
    assert chosen(table) == {1: 2e-3, 2: 1e-3}
    row = held_out_points(table).set_index("seed").loc[2]
    assert row["censored"]
    assert row["updates"] == 300


def test_a_seed_that_no_rate_brought_there_tells_by_the_updates_made() -> None:
    table = runs((4, 1, 1e-3, 100), (4, 1, 2e-3, 90), (4, 2, 1e-3, None), (4, 2, 2e-3, None), most=300)
    assert chosen(table) == {1: 1e-3, 2: 2e-3}  # tied to seed 1: the lower


def test_ties_go_to_the_rate_more_seeds_tried() -> None:
    table = runs(
        (4, 1, 1e-3, 100),
        (4, 1, 2e-3, 100),
        (4, 2, 1e-3, 50),
        (4, 2, 2e-3, 50),
        (4, 3, 2e-3, 70),
        (4, 3, 4e-3, 90),
    )
    assert chosen(table)[1] == 2e-3


def test_one_rate_is_kept_and_one_nobody_else_tried_left_out() -> None:
    table = runs((4, 1, 1e-3, 100), (4, 2, 2e-3, 90), (4, 2, 4e-3, 80))
    assert chosen(table) == {1: 1e-3}
    points = best_points(table)
    found = held_out_table(table, points)
    assert found.empty, "nothing was chosen"
    more = pd.concat([table, runs((8, 1, 1e-3, 60), (8, 1, 2e-3, 50), (8, 2, 1e-3, 55), (8, 2, 2e-3, 65))])
    found = held_out_table(more, best_points(more))
    assert found["left_out"].tolist() == [1, 1]
    assert found["points"].tolist() == [3, 3]


def test_a_failed_run_is_chosen_where_it_reached_the_goal_only() -> None:
    table = runs((4, 1, 1e-3, 100), (4, 1, 2e-3, 90), (4, 2, 1e-3, None), (4, 2, 2e-3, 80))
    table["status"] = ["failed", "done", "failed", "done"]
    assert chosen(table) == {1: 2e-3, 2: 2e-3}
    assert held_out_points(table)["rates"].tolist() == [2, 1]


def test_runs_without_a_rate_are_kept_and_the_best_of_equals_is() -> None:
    table = runs((4, 1, math.nan, 100), (4, 2, math.nan, 90), (4, 2, math.nan, 80))
    points = held_out_points(table)
    assert points["updates"].tolist() == [100, 80]
    assert points["rates"].tolist() == [1, 1]
    bounds = pd.concat([runs((4, 1, 1e-3, None), most=most) for most in (300, 200)])
    assert held_out_points(bounds)["updates"].tolist() == [300], "the best bound"


def test_one_seed_has_no_others() -> None:
    table = tied(0.1, (1e-4, 2e-4), (1,))
    assert held_out_points(table).empty
    assert fit(table, bootstrap=20).held_out.empty
    assert sentence(fit(table, bootstrap=20)) == ""


def test_own_is_the_studys_front_where_no_seed_is_left_out() -> None:
    found = fit(tied(0.2, (1e-4, 2e-4, 4e-4), (1, 2, 3)), bootstrap=200)
    own = found.held_out[found.held_out["rates"] == "own"].reset_index(drop=True)
    names = [
        "rollout",
        "goal",
        "s_min",
        "e_min",
        "e_min_low",
        "b_crit",
        "b_crit_low",
        "b_crit_high",
        "points",
    ]
    assert own[names].equals(found.fronts[names])
    others = found.held_out[found.held_out["rates"] == "others"].iloc[0]
    assert f"{others['b_crit']:.3g}"[:2] in sentence(found)
    assert sentence(found).startswith("The best of several rates is also the luckiest. To score 10,")
    assert "held_out" in found.tables()
    assert "Luck in the best rates" in found.text()


def test_rollouts_whose_fronts_cant_be_told_are_passed_over() -> None:
    more = tied(0.2, (1e-4, 2e-4), (1, 2, 3))
    few = more[more["num_envs"] <= 4].assign(rollout=20, batch=20 * more["num_envs"])
    found = fit(pd.concat([more, few]), bootstrap=50)
    assert set(found.held_out["rollout"]) == {5, 20}
    assert "with rollouts of 5" in sentence(found)
    assert "with rollouts of 20" not in sentence(found)
    assert sentence(fit(few, bootstrap=50)) == ""


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SIZES),
            st.integers(1, 3),
            st.sampled_from((1e-4, 2e-4, 4e-4)),
            st.one_of(st.none(), st.floats(1, 5000)),
        ),
        max_size=25,
        unique_by=lambda row: row[:3],
    )
)
def test_every_point_is_a_run_of_its_seed_no_better_than_its_best(
    rows: list[tuple[int, int, float, float | None]],
) -> None:
    table = runs(*rows)
    points, best = held_out_points(table), best_points(table)
    assert set(points["id"]) <= set(table["id"])
    assert not points.duplicated(["num_envs", "seed"]).any()
    joined = points.merge(best, on=["num_envs", "seed"], suffixes=("", "_best"))
    assert len(joined) == len(points)
    met = joined[~joined["censored"]]
    assert (met["updates"] >= met["updates_best"]).all()
    assert not met["censored_best"].any()
    shuffled = held_out_points(table.sample(frac=1, random_state=1)) if len(table) else points
    assert sorted(shuffled["id"]) == sorted(points["id"])


def test_a_front_is_fitted_to_the_points_shown() -> None:
    table = tied(0.2, (1e-4, 2e-4, 4e-4), (1, 2, 3))
    points = held_out_points(table)
    front = fit_front(points["batch"], points["updates"], points["censored"].to_numpy(bool), 0, 100)
    found = held_out_table(table, best_points(table), 0, 100)
    assert found[found["rates"] == "others"]["b_crit"].iloc[0] == front.b_crit
