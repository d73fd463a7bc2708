"""Fronts of tables that something else made: against a study's own, against curves taken one by one, and bad tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns import analysis
from rl_gns.analysis import first_crossing, fit_front, noise_scale_at_goals
from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.report.fronts import text
from rl_gns.studies.fits import fit
from rl_gns.studies.own_columns import read
from rl_gns.studies.own_tables import runs_table
from rl_gns.studies.packed import unpack

TABLES = Path(__file__).parents[3] / "scripts" / "studies"
BATCHES = (16, 64, 256, 1024)
NOISE = ["observations", "noise_scale"]


def law(batch: float, s_min: float = 200, b_crit: float = 100) -> float:
    return s_min * (1 + b_crit / batch)


def runs(**more: object) -> pd.DataFrame:
    return pd.DataFrame([{"batch": b, "updates": law(b), **more} for b in BATCHES])


def curve(batch: int, seed: int, rng: np.random.Generator) -> pd.DataFrame:
    """Games of a run whose score grows with the updates that the law leaves over, and a noise scale now and then."""
    x = np.sort(rng.choice(np.arange(1, 60_000), 400, replace=False))
    score = 100 * x / batch / law(batch) + rng.normal(0, 3, x.size)
    noise = np.where(rng.random(x.size) < 0.2, 50 + x / 100, np.nan)
    return pd.DataFrame(
        {"observations": x, "score": score, "noise_scale": noise, "batch": batch, "seed": seed}
    )


@pytest.fixture(scope="module")
def curves() -> dict[tuple[int, int], pd.DataFrame]:
    rng = np.random.default_rng(3)
    return {(batch, seed): curve(batch, seed, rng) for batch in BATCHES for seed in (1, 2)}


def test_a_row_a_run_gives_the_law_it_was_made_of() -> None:
    front = fit(runs_table(runs())).fronts.iloc[0]
    assert front["b_crit"] == pytest.approx(100, rel=1e-4)
    assert front["s_min"] == pytest.approx(200, rel=1e-4)
    observations = (
        runs().assign(observations=lambda rows: rows["batch"] * rows["updates"]).drop(columns="updates")
    )
    assert runs_table(observations)["updates"].tolist() == pytest.approx([law(b) for b in BATCHES])


@pytest.mark.parametrize("study", ["breakout_early", "cartpole"])
def test_a_studys_own_table_gives_its_own_fronts(study: str) -> None:
    """The committed table of runs, read as anybody's: rates are chosen and fronts fitted as in the study."""
    table = runs_table(read([TABLES / study / "tables" / "table.csv"]))
    fits = fit(table[table["rollout"] == 5], bootstrap=20)
    committed = pd.read_csv(TABLES / study / "tables" / "fronts.csv")
    committed = committed[committed["rollout"] == 5]
    assert len(committed) == len(fits.fronts) > 1
    for name in (
        "goal",
        "b_crit",
        "s_min",
        "e_min",
        "rms_log_residual",
        "points",
        "rates_at_edge",
        "noise_scale",
    ):
        np.testing.assert_allclose(fits.fronts[name], committed[name], rtol=1e-5, err_msg=name)


def test_the_best_of_several_rates_stands_for_a_batch_and_seed() -> None:
    slow = runs(learning_rate=1e-3, seed=1).assign(updates=lambda rows: rows["updates"] * 3)
    both = pd.concat([slow, runs(learning_rate=2e-3, seed=1)], ignore_index=True)
    fits = fit(runs_table(both))
    assert fits.points["learning_rate"].tolist() == [2e-3] * len(BATCHES)
    assert fits.fronts["s_min"][0] == pytest.approx(200, rel=1e-4)


def test_runs_without_a_seed_are_counted_as_seeds() -> None:
    table = runs_table(pd.concat([runs(), runs()], ignore_index=True))
    assert sorted(table["seed"]) == [1] * len(BATCHES) + [2] * len(BATCHES)
    assert fit(table, bootstrap=20).fronts["points"][0] == 2 * len(BATCHES)


def test_a_run_that_missed_its_goal_is_a_bound() -> None:
    missed = pd.concat(
        [runs(), pd.DataFrame([{"batch": 8, "updates": 2000, "censored": 1}])], ignore_index=True
    )
    found = fit(runs_table(missed)).fronts.iloc[0]
    alone = fit_front([*BATCHES, 8], [*map(law, BATCHES), 2000], [False] * len(BATCHES) + [True])
    assert (found["points"], found["censored"]) == (len(BATCHES), 1)
    assert found["b_crit"] == alone.b_crit


def test_environments_and_rollouts_make_the_batch_and_a_front_each() -> None:
    rows = [
        {"num_envs": n, "rollout": t, "updates": law(n * t, b_crit=100 * t)}
        for t in (1, 4)
        for n in (8, 32, 128, 512)
    ]
    fits = fit(runs_table(pd.DataFrame(rows)), bootstrap=20)
    assert fits.fronts["b_crit"].tolist() == pytest.approx([100, 400], rel=1e-4)
    assert len(fits.rollouts) == 2


def test_curves_are_smoothed_and_crossed_run_by_run(curves: dict[tuple[int, int], pd.DataFrame]) -> None:
    """Rows of all runs in any order give what `first_crossing` gives of each alone; the rest are bounds."""
    mixed = pd.concat(curves.values()).sample(frac=1, random_state=1)
    table = runs_table(mixed, [40, 90], halflife=1500)
    assert len(table) == 2 * len(curves)
    censored = 0
    for row in table.to_dict("records"):
        own = curves[row["batch"], row["seed"]]
        at = first_crossing(own["observations"], own["score"], row["goal"], 1500)
        assert row["censored"] == (at is None)
        assert row["observations"] == (own["observations"].max() if at is None else at)
        assert row["updates"] == row["observations"] / row["batch"]
        censored += at is None
        if at is not None:
            there = noise_scale_at_goals(own, [row["goal"]], 1500).iloc[0]
            np.testing.assert_equal(row["noise_scale"], there["noise_scale"])
    assert 0 < censored < len(table)


def test_games_and_readings_of_our_own_runs_give_what_their_study_says() -> None:
    """Two tables of a run, one below the other, against the committed rows: crossings, lucky games, noise scales."""
    names = ["n4-t5-lr1e-3-s1", "n16-t5-lr4e-3-s2", "n64-t5-lr8e-3-s3"]
    committed = pd.read_csv(TABLES / "cartpole" / "tables" / "table.csv")
    committed = committed[committed["id"].isin(names)].sort_values(["id", "goal"], ignore_index=True)
    parts = []
    for name in names:
        run = unpack(TABLES / "cartpole" / "finished" / f"{name}.tar.xz")
        both = pd.concat([run.table("episodes")[["observations", "score"]], run.table("metrics")[NOISE]])
        own = {"seed": run.config.seed, "learning_rate": run.config.learning_rate}
        parts.append(both.assign(run=name, batch=run.config.num_envs * run.config.rollout, **own))
    table = runs_table(pd.concat(parts), [50, 75, 100, 150], halflife=2000, start_score=35)
    table = table.sort_values(["id", "goal"], ignore_index=True)
    assert table["id"].tolist() == committed["id"].tolist()
    assert committed["noise_scale"].notna().sum() > 3
    numbers = [
        "batch",
        "learning_rate",
        "observations",
        "updates",
        "censored",
        "noise_scale",
        "mean_noise_scale",
    ]
    for name in (*numbers, "known_share", "peak"):
        np.testing.assert_allclose(table[name], committed[name], rtol=1e-6, err_msg=name)


def test_a_lucky_first_game_is_no_goal_reached_unless_told_so() -> None:
    x = np.arange(1, 31) * 100
    lucky = pd.DataFrame({"batch": 8, "observations": x, "score": [50, *np.linspace(0, 20, 29)]})
    assert runs_table(lucky, [15], halflife=100)["observations"].item() > 2000
    assert runs_table(lucky, [15], halflife=100, fewest=1)["observations"].item() == 100
    with pytest.raises(
        UserError, match=r"has 5 scores, and only from 20 on is one believed.*give --fewest 1"
    ):
        runs_table(lucky.head(5), [15], halflife=100)


def test_a_score_that_should_fall_is_a_score_that_should_rise_upside_down(
    curves: dict[tuple[int, int], pd.DataFrame],
) -> None:
    rising = pd.concat(curves.values())
    falling = rising.assign(score=-rising["score"])
    up = runs_table(rising, [20, 40], 1500, start_score=10)
    down = runs_table(falling, [-20, -40], 1500, start_score=-10, lower=True)
    assert down["goal"].tolist() == (-up["goal"]).tolist()
    pd.testing.assert_frame_equal(down.drop(columns=["goal", "peak"]), up.drop(columns=["goal", "peak"]))


def test_a_file_a_run_with_names_of_its_own(
    curves: dict[tuple[int, int], pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command: two files a batch without seeds, columns renamed; what it prints and what it leaves."""
    paths = []
    for (batch, seed), own in curves.items():
        paths.append(tmp_path / f"b{batch}-{seed}.csv.gz")
        own.drop(columns="seed").rename(columns={"observations": "global_step"}).to_csv(
            paths[-1], index=False
        )
    words = ["fronts", *map(str, paths), "--goals", "20", "40", "--columns", "observations=global_step"]
    main([*words, "--halflife", "1500", "--to", str(tmp_path / "tables")])
    out = capsys.readouterr().out
    assert out.startswith("8 runs, 4 batch sizes from 16 to 1,024\n")
    assert "goal 20: critical batch " in out
    assert "times it" in out, "the noise scale stands beside the critical batch"
    assert (tmp_path / "b16-1-fronts.png").read_bytes().startswith(b"\x89PNG")
    fronts = pd.read_csv(tmp_path / "tables" / "fronts.csv")
    whole = fit(runs_table(pd.concat(curves.values()), [20, 40], 1500)).fronts
    np.testing.assert_allclose(fronts["b_crit"], whole["b_crit"], rtol=1e-6)


def test_what_is_not_there_is_not_shown() -> None:
    said = text(fit(runs_table(runs()), bootstrap=20))
    assert said.startswith("4 runs, 4 batch sizes")
    for absent in ("goal", "Learning rates", "noise", "rollout", "inf", "nan"):
        assert absent not in said, absent
    assert "critical batch 100" in said


def test_a_table_with_updates_or_observations_gives_the_other_also_in_single_rows() -> None:
    rows = pd.DataFrame(
        {"batch": [8, 16, 32], "updates": [100, None, 50], "observations": [None, 1200, 1600]}
    )
    table = runs_table(rows)
    assert table["updates"].tolist() == [100, 75, 50]
    assert table["observations"].tolist() == [800, 1200, 1600]
    assert runs_table(rows[["batch", "updates"]].dropna())["observations"].tolist() == [800, 1600]


def test_what_a_row_per_run_says_of_noise_goals_and_censoring_is_kept() -> None:
    rows = [
        {
            "run": f"{b}-{g}",
            "batch": b,
            "goal": g,
            "updates": law(b),
            "noise_scale": 30 * g,
            "mean_noise_scale": 20 * g,
        }
        for b in BATCHES
        for g in (1, 2)
    ]
    given = pd.DataFrame(rows).assign(censored=[1.0, 0.0] * len(BATCHES))
    table = runs_table(given)
    assert table["seed"].tolist() == [1] * len(table), "runs of two goals are no seeds of each other"
    assert table["censored"].tolist() == [True, False] * len(BATCHES)
    assert table["id"].tolist() == given["run"].tolist()
    some = runs_table(given, [2])
    assert some["goal"].tolist() == [2] * len(BATCHES)
    assert (some["noise_scale"].iloc[0], some["mean_noise_scale"].iloc[0]) == (60, 40)
    unknown = runs_table(given.assign(noise_scale=np.inf))
    assert unknown["noise_scale"].isna().all(), "an infinite noise scale is an unknown one"


def test_runs_of_two_rates_without_seeds_compete() -> None:
    table = runs_table(pd.concat([runs(learning_rate=rate) for rate in (1, 2)]))
    assert table["seed"].tolist() == [1] * 2 * len(BATCHES)


def test_words_of_others_for_the_state_of_a_run_mean_nothing() -> None:
    """A study's own table has all of its columns; another's `status` must not throw all runs away."""
    table = runs_table(runs(status="finished", reason="time", peak=9))
    assert table["status"].tolist() == ["done"] * len(BATCHES)
    assert (table["reason"] == "").all()
    own = table.assign(status=["done", "partial", "failed", "pending"])
    assert runs_table(own)["batch"].tolist() == [BATCHES[0], BATCHES[2]]
    with pytest.raises(UserError, match="no run of the table has finished"):
        runs_table(table.assign(status="pending"))


def test_a_goal_given_twice_is_one_goal() -> None:
    one = pd.DataFrame({"batch": 8, "observations": np.arange(1, 31) * 100, "score": np.arange(30)})
    assert len(runs_table(one, [25, 25], halflife=100)) == 1


def test_a_run_that_missed_its_goal_made_all_its_observations() -> None:
    """Also those after its last game; its peak is its best score, which is the lowest of a loss."""
    x = np.arange(1, 31) * 100.0
    games = pd.DataFrame({"batch": 8, "observations": x, "score": np.linspace(9, 3, 30)})
    later = pd.DataFrame({"batch": [8], "observations": [4000.0]})
    row = runs_table(pd.concat([games, later]), [1], halflife=1e-3, lower=True).iloc[0]
    assert (row["censored"], row["observations"], row["updates"]) == (True, 4000, 500)
    assert row["peak"] == pytest.approx(3)


def test_curves_of_environments_and_rollouts_count_updates_by_both() -> None:
    x = np.arange(1, 31) * 100
    one = pd.DataFrame({"num_envs": 4, "rollout": 5, "observations": x, "score": x / 100})
    row = runs_table(one, [25], halflife=1).iloc[0]
    assert (row["batch"], row["num_envs"], row["rollout"]) == (20, 4, 5)
    assert row["updates"] == pytest.approx(125)
    by_updates = one.assign(updates=one["observations"] / 20).drop(columns="observations")
    assert runs_table(by_updates, [25], halflife=1)["updates"].item() == pytest.approx(125)


def test_the_default_half_life_is_a_fiftieth_of_the_longest_run(
    curves: dict[tuple[int, int], pd.DataFrame],
) -> None:
    short, long = curves[16, 1], curves[64, 1]
    short = short[short["observations"] < 30_000]
    table = runs_table(pd.concat([short, long]), [20])
    for row, own in zip(table.to_dict("records"), (short, long), strict=True):
        at = first_crossing(own["observations"], own["score"], 20, long["observations"].max() / 50)
        assert row["observations"] == at


def test_scores_that_are_not_finite_are_left_out() -> None:
    one = pd.DataFrame({"batch": 8, "observations": np.arange(1, 41) * 100, "score": np.arange(40.0)})
    left = one.drop(index=[3, 7])
    odd = one.assign(score=one["score"].where(one.index != 3, np.inf).where(one.index != 7, -np.inf))
    pd.testing.assert_frame_equal(runs_table(odd, [25], 100), runs_table(left, [25], 100))


def test_only_rows_of_readings_say_that_the_noise_scale_was_unknown() -> None:
    """Readings at 1,000, 2,000 and 3,000 of which the second failed; games between them, without any, are none."""
    x = np.arange(1, 61) * 50.0
    games = pd.DataFrame({"observations": x, "score": np.linspace(0, 60, 60)})
    readings = pd.DataFrame({"observations": [1000, 2000, 3000], "noise_scale": [40, None, 80]})
    row = runs_table(pd.concat([games, readings]).assign(batch=10), [55], halflife=50).iloc[0]
    assert row["known_share"] == pytest.approx(2 / 3)
    assert row["mean_noise_scale"] == pytest.approx(60)
    # Other columns of a step in a row of their own take nothing from the reading there.
    other = readings[["observations"]]
    twice = pd.concat([games, other, readings, other]).assign(batch=10)
    again = runs_table(twice, [55], halflife=50).iloc[0]
    assert (again["known_share"], again["mean_noise_scale"]) == (row["known_share"], row["mean_noise_scale"])


def test_the_page_names_every_function_and_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (TABLES.parents[1] / "docs" / "your_runs.md").read_text()
    functions = {name for name in analysis.__all__ if name.islower()}
    assert functions <= set(re.findall(r"`(\w+)`", page))
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1], {})
    assert capsys.readouterr().out.startswith("99 (83 to 119)\nTradeoff(updates=0.72")


def test_the_pages_table_of_monitor_files_counts_observations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Stable-Baselines3's Monitor leaves them: score, length and time of a game under a comment."""
    page = (TABLES.parents[1] / "docs" / "your_runs.md").read_text()
    for batch in (64, 256):
        for seed in (1, 2):
            folder = tmp_path / "logs" / f"b{batch}-s{seed}"
            folder.mkdir(parents=True)
            games = "".join(f"{k},{10 * seed},{k}.5\n" for k in range(30))
            (folder / "monitor.csv").write_text('#{"t_start": 1.5, "env_id": "A-v1"}\nr,l,t\n' + games)
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {})
    table = runs_table(read([Path("curves.parquet")]), [25], halflife=1e-3)
    assert table["batch"].tolist() == [64, 64, 256, 256]
    assert table["observations"].tolist() == [pytest.approx(260), pytest.approx(520)] * 2
