"""A study beside another of the same task: what each took to a goal, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rl_gns.errors import UserError
from rl_gns.report.sentences import against
from rl_gns.studies.against import label
from rl_gns.studies.fitting import fit_study
from rl_gns.studies.study import Study, load_study

OURS = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 100
against = ["../blind"]

[grid]
num_envs = [2, 8, 32]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2]
"""
BLIND = OURS.replace('against = ["../blind"]\n', "").replace("[2, 8, 32]", "[8, 32, 64]") + (
    '\n[train]\nnetwork = "blind"\nnoise_budget = 1\n'
)
Write = Callable[..., Path]


@pytest.fixture
def pair(tmp_path: Path, write_run: Write) -> Callable[..., Study]:
    """pair(times) -> a study whose seeds reach 200 after 20,000 and 30,000 observations, the other `times` as late."""

    def make(times: float = 2.0, budget: int = 1_000_000, text: str = BLIND) -> Study:
        text = text.replace("1_000_000", str(budget))
        for name, each in (("blind", text), ("ours", OURS)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "study.toml").write_text(each)
        ours, blind = (load_study(tmp_path / name) for name in ("ours", "blind"))
        for study, factor in ((ours, 1.0), (blind, times)):
            for run in study.plan({}):
                write_run(study, run, ramp=factor * 1.5 * (20_000 if run.seed == 1 else 30_000))
        return ours

    return make


def test_a_ratio_a_cell_that_both_have_over_seeds(pair: Callable[..., Study]) -> None:
    fits = fit_study(pair(), bootstrap=20)
    found = fits.against
    assert found[["goal", "batch"]].to_numpy().tolist() == [[100, 40], [100, 160], [200, 40], [200, 160]]
    assert set(found["other"]) == {"blind (network = blind)"}
    last = found.iloc[-1]
    assert last["observations"] == pytest.approx(math.sqrt(20_000 * 30_000), rel=0.01)
    assert last["other_observations"] == pytest.approx(2 * last["observations"], rel=0.01)
    assert last["ratio"] == pytest.approx(2, rel=0.01)
    assert last["ratio_low"] < 1 < 2 < last["ratio_high"], "two seeds that differ by half as much again"
    assert last["ratio_low"] * last["ratio_high"] == pytest.approx(last["ratio"] ** 2)
    assert (last["ids"], last["other_ids"]) == (
        "n32-t5-lr1e-3-s1 n32-t5-lr1e-3-s2",
        "n32-t5-lr1e-3-s1 n32-t5-lr1e-3-s2",
    )
    said = against(fits)
    assert said.startswith(
        "To score 200 blind (network = blind) takes, in observations over what these runs take: 1.99 ("
    )
    assert " at a batch of 40; 1.99 (" in said
    assert "Against other studies: observations to a goal" in fits.text()
    assert fits.tables()["against"] is found


def test_a_setting_that_only_one_of_them_names_is_said(pair: Callable[..., Study]) -> None:
    study = pair(text=BLIND.replace('network = "blind"', 'network = "mlp"'))
    study.path.write_text(OURS + "\n[train]\ngamma = 0.9\nnoise_budget = 0.5\n")
    ours, other = load_study(study.path), load_study(study.path.parent.parent / "blind")
    assert label(ours, other) == "blind (network = mlp, gamma = default)"
    assert label(ours, ours) == "ours"


def test_where_the_other_never_got_there_it_is_a_bound(pair: Callable[..., Study]) -> None:
    fits = fit_study(pair(times=50, budget=60_000), bootstrap=20)
    last = fits.against.iloc[-1]
    assert math.isnan(last["ratio"])
    assert math.isnan(last["other_observations"])
    assert last["ratio_low"] == pytest.approx(60_000 / math.sqrt(20_000 * 30_000), rel=0.01)
    assert "at least 2.4 at a batch of 160 (0 of 2 seeds there reached it)" in against(fits)


def test_where_some_seeds_got_there_nothing_is_told(pair: Callable[..., Study]) -> None:
    fits = fit_study(pair(times=2, budget=50_000), bootstrap=20)
    last = fits.against.iloc[-1]
    assert np.isnan(last[["ratio", "ratio_low", "ratio_high"]].to_numpy(float)).all()
    assert last["note"] == "0 of 2 seeds here and 1 of 2 there did not reach it"
    assert f"{last['note']} at a batch of 160." in against(fits)


def test_another_task_is_refused_and_an_unfinished_study_says_nothing(pair: Callable[..., Study]) -> None:
    study = pair(text=BLIND.replace("CartPole-v1", "Acrobot-v1"))
    with pytest.raises(UserError, match=r"against names \.\./blind, which is of gym:Acrobot-v1"):
        fit_study(study, bootstrap=20)
    blind = study.path.parent.parent / "blind"
    (blind / "study.toml").write_text(BLIND.replace("seeds = [1, 2]", "seeds = [8]"))
    fits = fit_study(study, bootstrap=20)
    assert fits.against.empty
    assert against(fits) == ""
    assert "against" not in fits.tables()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('against = ["../nowhere"]', "against names ../nowhere, where there is no study file"),
        ('against = "../blind"', "against must be a list of folders"),
    ],
)
def test_bad_names_are_one_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "study.toml").write_text(OURS.replace('against = ["../blind"]', line))
    with pytest.raises(UserError, match=message):
        load_study(tmp_path)
