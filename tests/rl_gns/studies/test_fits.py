"""From tables with a known law to fronts: recovered, censored, or "can't tell"."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from rl_gns.analysis import Interval, design_effect, fit_front
from rl_gns.errors import UserError
from rl_gns.report.maps import equal_batch, two_axes
from rl_gns.report.sentences import equal_batch as sentence
from rl_gns.studies.axes import verdict
from rl_gns.studies.fits import best_points, fit, rate_spacing
from rl_gns.studies.fitting import waits
from rl_gns.studies.seeds import over_seeds, ratio_of
from rl_gns.studies.store import write_tables
from rl_gns.studies.study import COLUMNS
from rl_gns.training.config import TrainConfig

SIZES = (1, 4, 16, 64, 256, 1024)


def table_of(
    sizes: tuple[int, ...] = SIZES,
    rollouts: tuple[int, ...] = (5,),
    goals: tuple[float, ...] = (10.0, 20.0),
    budget: float = np.inf,
    noise: float = 0.02,
    seed: int = 0,
) -> pd.DataFrame:
    """Runs of S = S_min (1 + B_1 deff(T)/B) with B_1 = 5 goal, S_min = 10 goal, ρ = 0.6; best rate 1e-3 √B."""
    rng = np.random.default_rng(seed)
    rows = []
    for rollout in rollouts:
        for n in sizes:
            for s in (1, 2, 3):
                for factor in (0.5, 1.0, 2.0):
                    for goal in goals:
                        batch = n * rollout
                        b_crit = 5 * goal * float(design_effect(rollout, 0.6))
                        penalty = 1.0 if factor == 1.0 else 1.4
                        updates = 10 * goal * (1 + b_crit / batch) * penalty * np.exp(noise * rng.normal())
                        censored = updates * batch > budget
                        made = min(updates * batch, budget)
                        rate = 1e-3 * batch**0.5 * factor
                        row = [
                            f"n{n}-t{rollout}-{factor}-s{s}",
                            n,
                            rollout,
                            batch,
                            rate,
                            s,
                            goal,
                            made,
                            made / batch,
                        ]
                        row += [censored, 100.0, 80.0, 1.0, "done", "", 50.0, 0.1 * s]
                        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def test_known_law_is_recovered() -> None:
    fits = fit(table_of())
    fronts = fits.fronts.set_index("goal")
    for goal in (10.0, 20.0):
        truth = 5 * goal * float(design_effect(5, 0.6))
        row = fronts.loc[goal]
        assert row["b_crit"] == pytest.approx(truth, rel=0.05)
        assert row["b_crit_low"] < truth < row["b_crit_high"]
        assert row["s_min"] == pytest.approx(10 * goal, rel=0.05)
        assert row["best_law"] == "hyperbola"
        assert row["mean_noise_scale"] == pytest.approx(80)
        assert row["ratio"] == pytest.approx(80 / row["b_crit"])
    assert fits.rates["exponent"].to_numpy() == pytest.approx(0.5, abs=0.02)
    assert fits.rates["note"].str.startswith("can't tell").all()  # a plain power has no B*


def test_best_rate_of_each_seed_stands_for_its_cell() -> None:
    table = table_of()
    points = best_points(table)
    assert len(points) == len(SIZES) * 3 * 2
    slow = table.groupby(["goal", "num_envs", "seed"])["updates"].min()
    fast = points.set_index(["goal", "num_envs", "seed"])["updates"]
    pd.testing.assert_series_equal(fast.sort_index(), slow.sort_index())
    assert not points["at_edge"].any()


def test_same_table_same_bytes() -> None:
    one, two = fit(table_of(), seed=3), fit(table_of().sample(frac=1, random_state=1), seed=3)
    pd.testing.assert_frame_equal(one.fronts, two.fronts, check_exact=True)
    assert one.text() == two.text()


def test_censored_runs_are_bounds() -> None:
    fits = fit(table_of(budget=500_000))
    assert fits.points["censored"].any()
    row = fits.fronts.set_index("goal").loc[20.0]
    assert row["censored"] > 0
    assert row["b_crit"] == pytest.approx(5 * 20 * float(design_effect(5, 0.6)), rel=0.1)


def test_one_batch_size_cant_tell() -> None:
    fits = fit(table_of(sizes=(16,)))
    assert fits.fronts["b_crit"].isna().all()
    assert fits.fronts["note"].str.contains("can't tell: runs that met the goal have 1 batch size").all()
    assert "can't tell" in fits.text()


def test_goal_that_no_run_reached() -> None:
    fits = fit(table_of(budget=1.0))
    assert fits.fronts["note"].str.contains("no run met the goal: give a larger budget").all()


def test_nothing_finished() -> None:
    with pytest.raises(UserError, match="no run has finished yet"):
        fit(table_of().assign(status="pending", censored=True))


def test_failed_runs_count_only_where_they_met_the_goal() -> None:
    table = table_of()
    failed = table["num_envs"] == 4
    table.loc[failed, "status"] = "failed"
    table.loc[failed & (table["goal"] == 20.0), "censored"] = True
    points = best_points(table)
    assert set(points[points["goal"] == 20.0]["num_envs"]) == set(SIZES) - {4}
    assert set(points[points["goal"] == 10.0]["num_envs"]) == set(SIZES)


def test_two_axes_and_the_exchange() -> None:
    fits = fit(table_of(rollouts=(5, 20, 80), goals=(20.0,)), bootstrap=200)
    law = fits.rollouts.set_index("rollout")
    for length in (5, 20, 80):
        truth = 5 * 20 * float(design_effect(length, 0.6)) / length
        assert law.loc[length, "n_crit"] == pytest.approx(truth, rel=0.1)
        assert law.loc[length, "n_crit_low"] < truth < law.loc[length, "n_crit_high"]
    # Same S_min at every length: correlated rollouts can only lose, and do where the batch is small.
    assert fits.exchange.sort_values("batch").iloc[0]["wins"] == "more environments"


def test_equal_batch_is_a_ratio_of_seeds_and_draws() -> None:
    fits = fit(table_of(rollouts=(5, 20, 80), goals=(20.0,)), bootstrap=0)
    found = fits.equal_batch.set_index(["batch", "longer"])
    assert found.index.tolist() == [
        (20, 20),
        *((batch, longer) for batch in (80, 320, 1280, 5120) for longer in (20, 80)),
        (20480, 80),
    ]
    for (batch, longer), row in found.iterrows():
        inside = [
            1 + 5 * 20 * float(design_effect(length, 0.6)) / batch for length in (longer, row["shorter"])
        ]
        assert row["ratio"] == pytest.approx(inside[0] / inside[1], rel=0.05)
        assert row["low"] < row["ratio"] < row["high"]
    assert found.loc[(80, 80), "wins"] == "more environments"
    assert found.loc[(20480, 80), "shorter"] == 20
    figure = equal_batch(fits)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "batch 20",
        "80",
        "320",
        "1,280",
        "5,120",
        "20.5k",
    ]
    assert "of 80 over updates with rollouts of 5 at an equal batch: " in sentence(fits)


def test_equal_batch_of_one_seed_has_no_interval_and_of_a_missed_goal_no_ratio() -> None:
    table = table_of(sizes=(16, 64), rollouts=(5, 20), goals=(20.0,))
    one = fit(table[table["seed"] == 1], bootstrap=0).equal_batch
    assert one["ratio"].notna().all()
    assert one[["low", "high"]].isna().all(axis=None)
    assert (one["wins"] == "can't tell").all()
    table.loc[(table["rollout"] == 20) & (table["seed"] == 2), "censored"] = True
    fits = fit(table, bootstrap=0)
    assert fits.equal_batch["note"].tolist() == ["1 of 6 seeds did not reach it"]
    assert fits.equal_batch["ratio"].isna().all()
    assert "can be told" in sentence(fits)
    assert len(equal_batch(fits).axes) == 1


def test_a_ratio_of_seeds_is_welchs() -> None:
    one, other = pd.Series([1.0, 2.0, 4.0]), pd.Series([8.0, 32.0])
    found = ratio_of(one, other)
    error = math.sqrt(math.log(2) ** 2 / 3 + math.log(4) ** 2 / 2 / 2)
    shares = (math.log(2) ** 2 / 3) ** 2 / 2, (math.log(4) ** 2 / 4) ** 2 / 1
    far = float(stdtrit(error**4 / sum(shares), 0.975)) * error
    assert tuple(found) == pytest.approx((1 / 8, math.exp(-far) / 8, math.exp(far) / 8))
    assert tuple(ratio_of(pd.Series([3.0, 3.0]), pd.Series([2.0, 2.0]))) == pytest.approx((1.5, 1.5, 1.5))
    assert np.isnan(ratio_of(one, pd.Series([8.0])).low)


def test_law_of_two_axes_far_below_the_critical_number_gives_its_bound() -> None:
    fits = fit(table_of(sizes=(1, 2, 4), rollouts=(5, 20), goals=(4000.0,)), bootstrap=50)
    rows = fits.rollouts
    assert rows["note"].str.contains("all are below the critical number; try more").all()
    assert rows["n_crit"].isna().all()
    assert (rows["n_crit_low"] > 4).all()
    assert (rows["n_crit_high"] == np.inf).all()
    two_axes(fits)


def test_law_of_two_axes_takes_runs_that_missed_the_goal_as_bounds() -> None:
    cut = fit(table_of(rollouts=(5, 20), goals=(20.0,), budget=400_000.0), bootstrap=50).rollouts
    assert not cut["note"].any()
    for row in cut.itertuples():
        truth = 5 * 20 * float(design_effect(row.rollout, 0.6)) / row.rollout
        assert row.n_crit == pytest.approx(truth, rel=0.1)


def test_law_of_two_axes_names_rollouts_at_which_no_run_met_the_goal() -> None:
    table = table_of(rollouts=(5, 20, 80), goals=(20.0,))
    table.loc[table["rollout"] == 80, "censored"] = True
    rows = fit(table, bootstrap=20).rollouts
    assert set(rows["rollout"]) == {5, 20}
    assert rows["note"].str.contains("no run met the goal at rollouts of 80").all()


def test_verdict_needs_the_whole_interval() -> None:
    assert verdict(Interval(1.5, 1.1, 2)) == "more environments"
    assert verdict(Interval(0.5, 0.4, 0.9)) == "longer rollouts"
    assert verdict(Interval(1.5, 0.9, 2)) == "can't tell"
    assert verdict(Interval(1.5, np.nan, np.nan)) == "can't tell"


def test_cells_average_over_seeds() -> None:
    fits = fit(table_of(noise=0.1), bootstrap=0)
    cells = fits.cells.set_index(["goal", "rollout", "num_envs"])
    points = fits.points
    one = points[(points["goal"] == 10.0) & (points["num_envs"] == 16)]
    row = cells.loc[(10.0, 5, 16)]
    assert (row["seeds"], row["reached"], row["batch"]) == (3, 3, 80)
    assert row["updates"] == pytest.approx(np.exp(np.log(one["updates"]).mean()))
    logs = np.log(one["updates"])
    far = 4.303 * logs.std() / np.sqrt(3)  # Student's t, two degrees of freedom
    assert (np.log(row["updates_low"]), np.log(row["updates_high"])) == pytest.approx(
        (logs.mean() - far, logs.mean() + far), abs=1e-3
    )
    assert (row["noise_scale_low"], row["noise_scale_high"]) == pytest.approx((100, 100))


def test_one_seed_has_no_interval() -> None:
    table = table_of()
    fits = fit(table[table["seed"] == 1], bootstrap=0)
    assert fits.cells["updates"].notna().all()
    assert fits.cells["updates_low"].isna().all()
    assert (
        fits.fronts["noise_scale_low"].notna().all()
    )  # of a noise scale that batch sizes share there is one


@pytest.mark.parametrize(
    ("strata", "seeds", "apart"), [(1, 2, 0.0), (1, 3, 0.0), (5, 3, 0.0), (5, 3, 0.5), (5, 1, 0.5)]
)
def test_intervals_over_seeds_hold_the_truth(strata: int, seeds: int, apart: float) -> None:
    rng, held = np.random.default_rng(0), 0
    names = pd.Series(np.repeat(np.arange(strata), seeds))
    for _ in range(300):
        shared = np.repeat(apart * rng.standard_normal(strata), seeds)
        found = over_seeds(pd.Series(np.exp(shared + 0.4 * rng.standard_normal(names.size))), names)
        held += found.low <= 1 <= found.high
    assert held / 300 >= 0.91


@pytest.mark.parametrize(
    ("means", "apart", "spread", "freedom"),
    [
        ([0.0, 1.0, 2.0, 3.0], 0.1, 2 * 5 / 3, 3),  # of strata: 2 Σ (m - 1.5)² / (4 - 1)
        ([0.0, 0.1, 0.2, 0.3], 1.0, 2.0, 4),  # of seeds: 8 apart² / (8 - 4)
        ([0.0, 1.0, 5.0], 0.1, (2 * 14 + 0.06) / 5, 5),  # three strata are too few, and all values are alike
    ],
)
def test_the_spread_is_the_larger_mean_square_with_its_own_freedom(
    means: list[float], apart: float, spread: float, freedom: int
) -> None:
    logs = np.array([mean + side for mean in means for side in (apart, -apart)])
    found = over_seeds(pd.Series(np.exp(logs)), pd.Series(np.repeat(means, 2)), 0.9)
    far = float(stdtrit(freedom, 0.95)) * math.sqrt(spread / logs.size)
    wanted = [logs.mean(), logs.mean() - far, logs.mean() + far]
    assert np.log(found) == pytest.approx(wanted)


def test_unknown_values_are_left_out_and_one_alone_has_no_interval() -> None:
    found = over_seeds(pd.Series([2.0, np.nan, 0.0, 8.0, -1.0]), pd.Series([1, 1, 2, 2, 3]))
    assert found.value == pytest.approx(4)
    assert found.low < 2 < 8 < found.high
    one = over_seeds(pd.Series([np.nan, 3.0]))
    assert one.value == pytest.approx(3)
    assert np.isnan([one.low, one.high]).all()
    assert np.isnan(over_seeds(pd.Series([np.nan])).value)


def test_e_min_has_an_interval_that_holds_the_truth() -> None:
    """The curve's level is uncertain too: moving B_crit alone held it in half of the cases where B_crit is large."""
    for b_crit, shared in ((120, 0.1), (1000, 0.0)):
        held = []
        for trial in range(120):
            rng = np.random.default_rng(trial)
            batch = np.repeat(20.0 * 2.0 ** np.arange(6), 3)
            off = 0.15 * rng.standard_normal(18) + shared * np.repeat(rng.standard_normal(6), 3)
            front = fit_front(batch, 1000 * (1 + b_crit / batch) * np.exp(off), bootstrap=0)
            held.append((front.e_min_low or 0) <= 1000 * b_crit <= (front.e_min_high or np.inf))
        assert np.mean(held) >= 0.91


def test_every_table_is_written_twice_alike(tmp_path: Path) -> None:
    fits = fit(table_of(rollouts=(5, 20), goals=(20.0,)), bootstrap=20)
    written = write_tables(tmp_path / "tables", fits.tables())
    assert {path.suffix for path in written} == {".csv", ".parquet"}
    assert {path.stem for path in written} >= {"table", "points", "cells", "fronts", "rates", "rollouts"}
    for name, table in fits.tables().items():
        back = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(back, table, check_exact=True)
        text = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        assert list(text.columns) == list(table.columns)
        for column in table.select_dtypes("number"):
            np.testing.assert_allclose(text[column], table[column].astype(float), rtol=1e-7)


def test_a_rate_that_another_seed_tried_makes_the_best_one_interior() -> None:
    table = table_of()
    kept = table[(table["seed"] == 1) | table["id"].str.contains("-1.0-")]
    points = best_points(kept)
    assert len(points) == len(SIZES) * 3 * 2
    assert not points["at_edge"].any()
    assert best_points(table[table["id"].str.contains("-1.0-")])["at_edge"].all()


def test_a_table_without_rows_is_said_in_words() -> None:
    """One batch at two rollout lengths has a law of neither."""
    text = fit(table_of(sizes=(16,), rollouts=(5, 20)), bootstrap=10).text()
    assert "Equal batch: updates, longer over shorter rollout, by one law\nnone can be told yet" in text
    assert "Empty DataFrame" not in text


def test_the_spacing_of_rates_is_that_within_a_batch() -> None:
    table = pd.DataFrame(
        {
            "rollout": [5] * 7,
            "num_envs": [4, 4, 4, 4, 8, 8, 16],
            "learning_rate": [1e-3, 2e-3, 2e-3, 4e-3, 1.5e-3, 3e-3, 9e-3],
        }
    )
    assert rate_spacing(table) == pytest.approx(math.log(2))
    assert rate_spacing(table[-1:]) == 0


def test_information_of_a_front_is_the_median_of_its_best_runs_and_older_tables_have_none() -> None:
    """Seeds 1, 2 and 3 have 0.1, 0.2 and 0.3 nats."""
    table = table_of()
    assert fit(table, bootstrap=20).fronts["information"].tolist() == pytest.approx([0.2, 0.2])
    assert fit(table.drop(columns="information"), bootstrap=20).fronts["information"].isna().all()


def test_what_the_optimizers_start_takes_from_s_min_is_told() -> None:
    """1,008 updates with the published settings: S_min from 1,009 to five times that."""

    def said(s_min: float | None, **settings: Any) -> list[str]:
        front = dataclasses.replace(fit_front([1.0], [1.0], bootstrap=0), s_min=s_min)
        return waits(TrainConfig(**settings), {(5, 2.0): front})

    (line,) = said(1512.0)
    assert line == (
        "careful: score 2, rollouts of 5: of S_min, 1,512 updates, up to 1,008 are lost at RMSProp's start, at any "
        "batch (rmsprop_start 1): without them B_crit is up to 3 times as large"
    )
    assert [bool(said(s_min)) for s_min in (None, 1000.0, 1010.0, 5000.0, 5100.0)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert not said(1512.0, rmsprop_start=0.0)
    assert not said(1512.0, rmsprop="torch")
    assert not said(1512.0, algo="ppo")
