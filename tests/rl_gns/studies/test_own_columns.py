"""Columns of tables that something else made: what is read, named and refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.studies.fits import fit
from rl_gns.studies.own_columns import read
from rl_gns.studies.own_tables import runs_table

TABLES = Path(__file__).parents[3] / "scripts" / "studies"
BATCHES = (16, 64, 256, 1024)


def law(batch: float, s_min: float = 200, b_crit: float = 100) -> float:
    return s_min * (1 + b_crit / batch)


def runs(**more: object) -> pd.DataFrame:
    return pd.DataFrame([{"batch": b, "updates": law(b), **more} for b in BATCHES])


def test_comments_before_a_table_are_left_out_and_none_in_it(tmp_path: Path) -> None:
    path = tmp_path / "0.monitor.csv"
    path.write_text('#{"t_start": 1.5, "env_id": "CartPole-v1"}\n# more\nr,l,run\n9,9,run #1\n12,12,run #2\n')
    table = read([path], {"score": "r"})
    assert table["score"].tolist() == [9, 12]
    assert table["run"].tolist() == ["run #1", "run #2"]


def test_runs_of_one_name_in_two_files_are_two_runs(tmp_path: Path) -> None:
    x = np.arange(1, 31) * 100
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for k, path in enumerate(paths):
        given = {"run": "x", "batch": 8, "observations": x, "score": x / (100 + 50 * k)}
        pd.DataFrame(given).to_csv(path, index=False)
    table = runs_table(read(paths), [15], halflife=1)
    assert table["observations"].tolist() == [pytest.approx(2000), pytest.approx(2250)]
    assert table["seed"].tolist() == [1, 2]


def test_a_renamed_column_takes_the_place_of_one_that_had_its_name(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("batch,updates,steps\n8,1,90\n16,2,80\n")
    table = read([path], {"updates": "steps"})
    assert table["updates"].tolist() == [90, 80]
    assert list(table.columns[:2]) == ["batch", "updates"]


def test_two_runs_without_a_name_one_below_the_other_are_not_read_as_one() -> None:
    one = pd.DataFrame({"batch": 8, "observations": np.arange(1, 31) * 100, "score": np.arange(30)})
    both = pd.concat([one, one])
    with pytest.raises(UserError, match=r"row 31: observations of batch 8 fall; .* a column run or seed"):
        runs_table(both, [25], 100)
    assert len(runs_table(both.assign(seed=[1] * 30 + [2] * 30), [25], 100)) == 2


def test_a_row_is_named_as_its_file_counts_it(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text("batch,updates\n8,9\n16,8\n")
    paths[1].write_text("batch,updates\n8,9\n16,none of them\n")
    with pytest.raises(UserError, match=r"b\.csv, row 2: updates is no number: none of them"):
        runs_table(read(paths))
    with pytest.raises(UserError, match=r"^row 2: batch must be"):
        runs_table(pd.DataFrame({"batch": [8, 0], "updates": [9, 9]}, index=["x", "y"]))


@pytest.mark.parametrize(
    "name", ["short.csv.gz", "short.csv.xz", "other.csv.xz", "other.zip", "other.csv.gz"]
)
def test_packed_files_that_are_broken_are_one_line(tmp_path: Path, name: str) -> None:
    whole = tmp_path / f"whole{name[5:]}"
    runs().to_csv(whole, index=False)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[:-12] if name.startswith("short") else b"what is this?")
    with pytest.raises(UserError, match=r"is no table|can't be read"):
        read([path])


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
        ("batch,updates,seed\n8,9,9007199254740993\n8,9,9007199254740995\n", {}, "can't be told apart"),
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
        (
            "batch,observations,score\n8,-1,3\n",
            {"goals": [1]},
            "row 1: observations must be finite and not negative",
        ),
        (
            "batch,observations,score\n8,inf,3\n",
            {"goals": [1]},
            "observations must be finite and not negative, got inf",
        ),
        (
            "batch,observations,score\n8,9,1\n",
            {"goals": [float("nan")]},
            "a goal must be a finite score, got nan",
        ),
        (
            "batch,observations,score\n8,9,1\n",
            {"goals": [1], "start_score": float("inf")},
            "a start-score must be a finite score, got inf",
        ),
        (
            "batch,observations,score\n8,9,1\n",
            {"goals": [1], "start_score": 1},
            "--start-score is for the noise scale: the table has no column 'noise_scale'",
        ),
        (
            "batch,observations,score\n8,0,1\n8,9,1\n",
            {"goals": [1], "fewest": 1},
            "has score 1 before its first update: it takes a harder goal, or --lower if the lower score is better",
        ),
        (
            "batch,observations,score\n8,0,1\n8,9,1\n",
            {"goals": [1], "fewest": 1, "lower": True},
            "it takes a harder goal, or no --lower if the higher score is better",
        ),
        ("batch,observations,score\n8,9,1\n", {"goals": [1], "fewest": 0}, "fewest must be at least 1"),
        (
            "batch,updates\n8,9\n",
            {"goals": [1]},
            "--goals is for rows along runs: the table has no column 'score'",
        ),
        ("batch,updates\n8,9\n", {"halflife": 5}, "--halflife is for rows along runs"),
        ("batch,updates\n8,9\n", {"start_score": 5}, "--start-score is for rows along runs"),
        ("batch,updates\n8,9\n", {"fewest": 1}, "--fewest is for rows along runs"),
        (
            "batch,step,charts/episodic_return\n8,9,1\n",
            {"goals": [1]},
            "is it 'charts/episodic_return'? then give --columns score=charts/episodic_return",
        ),
        ("batch,updates,mean_noise_scale\n8,9,x\n", {}, "row 1: mean_noise_scale is no number: x"),
        ("Batch,updates\n8,9\n", {}, "is it 'Batch'? then give --columns batch=Batch"),
        (
            "batch,step,my loss/value\n8,9,1\n",
            {"goals": [1]},
            "is it 'my loss/value'? then give --columns 'score=my loss/value'",
        ),
        (
            "Step,a - charts/episodic_return,a - charts/episodic_return__MIN,b - charts/episodic_return\n9,1,1,1\n",
            {"goals": [1]},
            "it has a column a run, as 'a - charts/episodic_return': put the runs one below the other, with a column",
        ),
        ("batch,updates,learning_rate\n8,9,0\n", {}, "row 1: learning_rate must be a positive number, got 0"),
        (
            "batch,observations,score,learning_rate\n8,9,1,inf\n",
            {"goals": [1]},
            "row 1: learning_rate must be a positive number, got inf",
        ),
        (
            "batch,observations,score,learning_rate\n8,9,1,0.2\n8,10,1,0.1\n",
            {"goals": [1]},
            "if learning_rate changes along runs, put its first one into all rows",
        ),
        (
            "batch,num_envs,rollout,updates\nabc,2,5,9\n",
            {},
            "row 1: batch must be a positive whole number, got abc",
        ),
        ("run,batch,updates\na,8,9\na,8,10\n", {}, "row 2: run a is there a second time"),
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
        (["{table}", "{table}"], "table.csv is given twice"),
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


def test_columns_that_parquet_keeps_as_the_index_are_read_as_csv_has_them(tmp_path: Path) -> None:
    x = np.arange(1, 31) * 100
    curves = [
        pd.DataFrame({"run": name, "batch": 8, "observations": x + k, "score": x / 100})
        for k, name in enumerate("ab")
    ]
    frame = pd.concat(curves).sort_values("observations").set_index(["run", "batch"])
    frame.to_parquet(tmp_path / "runs.parquet")
    frame.to_csv(tmp_path / "runs.csv")
    one, other = (runs_table(read([tmp_path / f"runs.{end}"]), [25], 1) for end in ("parquet", "csv"))
    assert one["id"].tolist() == ["a", "b"]
    pd.testing.assert_frame_equal(one, other)


def test_an_empty_cell_of_whole_numbers_is_named(tmp_path: Path) -> None:
    frame = runs().convert_dtypes()
    frame.loc[1, "batch"] = pd.NA
    frame.to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(UserError, match=r"row 2: batch must be a positive whole number, got <NA>"):
        runs_table(read([tmp_path / "runs.parquet"]))


def test_one_file_by_two_paths_is_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs().to_csv("runs.csv", index=False)
    with pytest.raises(UserError, match=r"runs.csv is given twice"):
        read([Path("runs.csv"), tmp_path / "runs.csv"])


def test_a_run_without_a_rate_takes_no_law_from_the_others() -> None:
    rates = (1e-3, 2e-3, 4e-3, 8e-3)
    tried = [
        {"batch": b, "seed": 1, "learning_rate": rate, "updates": law(b) * (1 + (i - k) ** 2)}
        for i, b in enumerate(BATCHES)
        for k, rate in enumerate(rates)
    ]
    table = pd.DataFrame(tried)
    one = pd.DataFrame([{"batch": 1024, "seed": 1, "updates": 9000}])
    alone, beside = (fit(runs_table(each), bootstrap=20).rates for each in (table, pd.concat([table, one])))
    assert np.isfinite(alone["exponent"]).all()
    pd.testing.assert_frame_equal(alone, beside)
