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


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ("batch,updates\n", {}, "has no rows"),
        (
            "batch_size,updates\n8,9\n",
            {},
            "no column 'batch'; is it 'batch_size'? then give --columns batch=batch_size",
        ),
        ("batch,colour\n8,9\n", {}, "no column 'observations': it has batch, colour"),
        ("batch,updates\n8,9\n0,9\n", {}, "row 2: batch must be a positive whole number, got 0"),
        (
            "batch,updates\n8,\n",
            {},
            "row 1: updates to the goal must be positive, got nan; a run that did not reach it",
        ),
        ("batch,updates\n8,many\n", {}, "row 1: updates is no number: many"),
        ("batch,updates,censored\n8,9,maybe\n", {}, "row 1: censored must be true or false, got maybe"),
        ("batch,updates,goal\n8,9,1\n", {"goals": [2]}, "no run is about goal 2; the table has 1"),
        ("batch,updates,seed\n8,9,1\n8,10,1\n", {}, "two runs at batch 8 have seed 1: number them"),
        ("batch,updates,seed\n8,9,1.5\n", {}, "no whole number: 1.5"),
        ("batch,num_envs,rollout,updates\n8,2,5,9\n", {}, "row 1: batch is 8, num_envs x rollout 10"),
        ("batch,observations,score\n8,9,1\n", {}, "say which scores count, --goals"),
        (
            "batch,observations,score\n8,9,1\n",
            {"goals": [1], "halflife": 0},
            "half-life must be a positive number",
        ),
        (
            "run,batch,observations,score\na,8,9,1\na,16,9,1\n",
            {"goals": [1]},
            "run a has several values of batch: 8, 16",
        ),
        (
            "batch,observations,score,seed\n8,9,,2\n",
            {"goals": [1]},
            "run table.csv, batch 8, seed 2 has 0 scores, and only from 20 on",
        ),
        ("batch,observations,score\n8,,3\n", {"goals": [1]}, "row 1 has no observations"),
    ],
)
def test_bad_tables_are_told(tmp_path: Path, rows: str, more: dict[str, object], says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(rows)
    with pytest.raises(UserError, match=re.escape(says)) as error:
        runs_table(read([path]), **more)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "which table?"),
        (["nothing.csv"], "nothing.csv can't be read: No such file"),
        (["{empty}"], "is no table"),
        (["{table}", "--columns", "step"], "OURS=THEIRS"),
        (["{table}", "--columns", "steps=batch"], "no column is called 'steps' here; there are run, batch"),
        (["{table}", "--columns", "updates=step"], "has no column 'step'; it has batch, updates"),
        (["{table}", "--figure", "fronts.jpg"], "must end in .png, .svg or .pdf"),
        (["{table}", "--seed", "-1"], "seed must not be negative"),
    ],
)
def test_bad_commands_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    empty, table = tmp_path / "empty.csv", tmp_path / "table.csv"
    empty.write_text("")
    runs().to_csv(table, index=False)
    with pytest.raises(SystemExit) as stopped:
        main(["fronts", *(word.format(empty=empty, table=table) for word in words)])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]


def test_the_page_names_every_function_and_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (TABLES.parents[1] / "docs" / "your_runs.md").read_text()
    functions = {name for name in analysis.__all__ if name.islower()}
    assert functions <= set(re.findall(r"`(\w+)`", page))
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert capsys.readouterr().out.startswith("99 (83 to 119)\nTradeoff(updates=0.72")
