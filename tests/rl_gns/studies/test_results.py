"""A run directory is read as what it is, and a broken one never counts."""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.cli import main
from rl_gns.report.study import report
from rl_gns.studies.results import information_at
from rl_gns.studies.study import Study
from rl_gns.training import config as configs

Write = Callable[..., Path]


def test_done_with_known_crossings_and_noise(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    run = study.plan({})[4]
    write_run(study, run, ramp=60_000, noise_scale=321.0)
    outcome = study.outcome(run)
    assert outcome.status == "done"
    # A ramp smoothed with half-life h lags by h / ln 2.
    for goal in (100.0, 200.0):
        assert outcome.crossings[goal] == pytest.approx(goal * 200 + 100 / np.log(2), rel=0.002)
        assert outcome.noise[goal][1:] == pytest.approx((321.0, 1.0))
    rows = study.table()
    rows = rows[rows["id"] == run.id].set_index("goal")
    assert not rows["censored"].any()
    # Rows lie 2,015 observations apart, so that one is within a half-life of 100 of the first goal, none of the second.
    assert rows["information"].to_dict() == pytest.approx({100.0: 0.02015, 200.0: math.nan}, nan_ok=True)
    assert rows.loc[100.0, "updates"] == pytest.approx(rows.loc[100.0, "observations"] / run.batch)


def test_information_is_read_within_a_halflife_of_the_goal() -> None:
    rows = pd.DataFrame(
        {"observations": [100.0, 200, 300, 400, 500], "information": [9.0, 1, math.nan, 3, 9]}
    )
    assert information_at(rows, 310.0, 115.0) == 2
    assert math.isnan(information_at(rows, 310.0, 11.0))  # the one row there has none: real-valued actions
    assert math.isnan(information_at(rows[["observations"]], 310.0, 115.0))  # a run of an older version


def test_censored_at_the_budget(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    run = study.plan({})[0]
    write_run(study, run, ramp=2_500_000)
    rows = study.table().query("id == @run.id").set_index("goal")
    assert not rows.loc[100.0, "censored"]
    assert rows.loc[200.0, "censored"]
    assert rows.loc[200.0, "observations"] == 1_000_000
    assert rows.loc[200.0, "status"] == "done"


def test_partial_and_pending(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    first, second = study.plan({})[:2]
    write_run(study, first, ramp=2_500_000, until=150_000)
    assert study.outcome(first).status == "partial"
    assert study.outcome(second).status == "pending"
    study.folder(second).mkdir(parents=True)
    (study.folder(second) / "lock").touch()
    assert study.outcome(second).status == "pending"
    table = study.table().set_index(["id", "goal"])
    assert table.loc[(second.id, 100.0), "censored"]
    assert table.loc[(second.id, 100.0), "updates"] == 0


def no_metrics(folder: Path) -> None:
    (folder / "metrics.db").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "000000000100.ckpt").touch()


def cut_short(folder: Path) -> None:
    data = (folder / "metrics.db").read_bytes()
    (folder / "metrics.db").write_bytes(data[: len(data) // 3])


def another_version(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("gamma", "gammma"))


def other_settings(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("gamma = 0.99", "gamma = 0.9"))


def nan_score(folder: Path) -> None:
    with sqlite3.connect(folder / "metrics.db") as db:
        db.execute("UPDATE episodes SET score = NULL WHERE rowid = 7")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (no_metrics, "metrics.db is gone"),
        (lambda folder: (folder / "config.toml").unlink(), "config.toml is gone"),
        (cut_short, "metrics.db can't be read"),
        (another_version, "another version.*did you mean 'gamma'"),
        (other_settings, "was made with gamma=0.9, the study now says 0.99"),
        (nan_score, "score must be finite"),
    ],
)
def test_harm_is_seen(
    study_of: Callable[..., Study], write_run: Write, harm: Callable[[Path], None], says: str
) -> None:
    study = study_of()
    run = study.plan({})[2]
    folder = write_run(study, run, ramp=60_000)
    harm(folder)
    outcome = study.outcome(run)
    assert outcome.status == "damaged"
    assert "\n" not in outcome.reason
    assert re.search(says, outcome.reason)
    assert set(study.table().query("id == @run.id")["status"]) == {"damaged"}


def test_a_larger_budget_reopens_a_censored_run(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    run = study.plan({})[0]
    write_run(study, run, ramp=2_500_000)
    text = study.path.read_text()
    (study.folder(run) / "checkpoints").mkdir()
    (study.folder(run) / "checkpoints" / "000001000000.ckpt").touch()
    larger = study_of(text.replace("1_000_000", "2_000_000"))
    reopened = next(r for r in larger.plan({}) if r.id == run.id)
    stored = configs.load(study.folder(run) / "config.toml")
    assert stored.observations < reopened.config.observations
    assert larger.outcome(reopened).status in ("partial", "damaged")


def test_the_command_repeats_the_run(study_of: Callable[..., Study]) -> None:
    study = study_of()
    run = study.plan({})[3]
    words = study.command(run).split()
    assert words[:3] == ["rl-gns", "train", "gym:CartPole-v1"]
    assert words[words.index("--num-envs") + 1] == str(run.num_envs)
    assert words[words.index("--stop-score") + 1] == "200"


def test_removed_results(study_of: Callable[..., Study], write_run: Write) -> None:
    study = study_of()
    run = study.plan({})[0]
    write_run(study, run, ramp=60_000)
    shutil.rmtree(study.results)
    assert set(study.table()["status"]) == {"pending"}


def test_goals_that_were_there_at_the_first_score_that_counts_are_told(
    study_of: Callable[..., Study], write_run: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Games end every 5 observations, so that the twentieth does after 100, at any batch: a front of nothing else."""
    study = study_of()
    for run in study.plan({}):
        write_run(study, run, ramp=60.0 if run.seed == 1 else 60_000.0)
    assert {study.outcome(run).first for run in study.plan()} == {100.0}
    main(["study", "fit", str(study.path)])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("careful")]
    assert said == [
        f"careful: score {goal}, rollouts of 5: 5 of 10 best runs reached it at the first score that counts, of 20 "
        "games, perhaps long before: it takes a harder goal"
        for goal in (100, 200)
    ]
    page = report(study, bootstrap=20).read_text()
    assert said[0] in page


def test_goals_reached_later_are_not_doubted_and_a_fit_says_what_it_lacks(
    study_of: Callable[..., Study], write_run: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of()
    first, *others = study.plan({})
    for run in others:
        write_run(study, run, ramp=60_000.0)
    main(["study", "fit", str(study.path)])
    out = capsys.readouterr().out
    assert out.startswith(
        "Not finished: 1 of 10 runs known to be needed. What follows counts finished runs only"
    )
    assert "careful" not in out
    write_run(study, first, ramp=60_000.0)
    main(["study", "fit", str(study.path)])
    assert "Not finished" not in capsys.readouterr().out
