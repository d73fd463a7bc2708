"""The runs a prediction rests on are chosen by a rule, repeated measuring, and put beside the measured law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rl_gns.noise import RolloutGram
from rl_gns.report.sentences import two_axes
from rl_gns.studies.driver import drive
from rl_gns.studies.fits import fit
from rl_gns.studies.plan import correlation_cell, correlation_runs, plan
from rl_gns.studies.predicted import predict
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study, load_study
from rl_gns.training import checkpoint
from rl_gns.training.metrics import MetricsWriter
from rl_gns.training.saved import load_run

TEXT = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 1_000
[grid]
num_envs = [1, 2, 8, 32, 128]
rollout = [5, 20]
learning_rate = [1e-3, 2e-3]
seeds = [1, 2, 3]
[correlation]
every = 2
"""


MEASURED = ("correlation_every", "correlation_envs", "noise_parts", "noise_parts_every")


def test_the_cell_is_chosen_by_the_grid_alone(study_of: Callable[..., Study]) -> None:
    assert correlation_cell(study_of(TEXT).spec) == (8, 20)
    assert correlation_cell(study_of(TEXT.replace("[1, 2, 8, 32, 128]", "[2, 8, 32]")).spec) == (8, 20)


def test_best_rate_of_a_finished_cell_is_repeated_measuring(study_of: Callable[..., Study]) -> None:
    study = study_of(TEXT)
    outcomes: dict[str, Outcome] = {}
    grid = plan(study.spec, outcomes)
    assert len(grid) == 5 * 2 * 2 * 3
    assert all(run.in_grid for run in grid)
    cell = [run for run in grid if (run.num_envs, run.rollout) == (8, 20)]
    for run in cell:
        at = 5_000.0 if run.learning_rate == 2e-3 else 9_000.0
        assert correlation_runs(study.spec, outcomes) == []
        outcomes[run.id] = Outcome("done", crossings={100.0: at, 200.0: at})
    found = [run for run in plan(study.spec, outcomes) if not run.in_grid]
    assert [run.id for run in found] == [f"n8-t20-lr2e-3-s{seed}-corr" for seed in (1, 2, 3)]
    assert {(run.config.correlation_every, run.config.correlation_envs) for run in found} == {(2, 8)}
    twin = next(run for run in cell if run.id == "n8-t20-lr2e-3-s1").config
    same = {name: getattr(twin, name) for name in MEASURED}
    assert dataclasses.replace(found[0].config, **same) == twin
    assert set(study.table({run.id: Outcome("pending") for run in grid} | outcomes)["id"]) == {
        r.id for r in grid
    }


def measured(study: Study, write_run: Callable[..., Path], n_crit: float) -> None:
    """All runs done on a front with S = 200 (1 + n_crit/n); the cell's repeats measured independent observations."""
    grid = plan(study.spec, {})
    for run in grid:
        slow = 1.0 if run.learning_rate == 2e-3 else 1.5
        critical = n_crit * 5 / run.rollout
        updates = 200 * (1 + critical / run.num_envs) * slow * (1 + 0.01 * run.seed)
        write_run(study, run, ramp=updates * run.batch * 300 / 200)
    repeats = [run for run in study.plan() if not run.in_grid]
    assert len(repeats) == 3
    for run in repeats:
        folder = write_run(study, run, ramp=200 * run.batch * 300 / 200)
        writer = MetricsWriter(folder / "metrics.db")
        known = {"noise_scale": 40.0 + run.seed, "noise_scale_low": 30.0}
        unknown = {"noise_scale": math.nan, "noise_scale_low": 100.0 + run.seed}
        writer.write(10**6, {"observations": 10.0**9}, {}, [], [("value", known), ("policy", unknown)])
        writer.close()
        gram = RolloutGram(20)
        generator = torch.Generator().manual_seed(run.seed)
        # Mean gradient 1 in one of 60 coordinates, noise of variance σ² in all: n_crit(T) = 60 σ²/T.
        for _ in range(40):
            gradients = math.sqrt(n_crit * 5 / 60) * torch.randn(20, 16, 60, generator=generator)
            gradients[:, :, 0] += 1
            gram.update(gradients)
        checkpoint.save(folder / "checkpoints", 2_000_000, {"correlation": gram.state_dict()})


def test_prediction_beside_the_law(study_of: Callable[..., Study], write_run: Callable[..., Path]) -> None:
    study = study_of(TEXT)
    assert predict(study, study.outcomes()) is None
    measured(study, write_run, 16.0)
    outcomes = study.outcomes()
    prediction = predict(study, outcomes)
    assert prediction is not None
    assert prediction.runs == tuple(f"n8-t20-lr2e-3-s{seed}-corr" for seed in (1, 2, 3))
    for length, truth in ((5, 16.0), (20, 4.0)):
        assert prediction.axis.n_crit(length).value == pytest.approx(truth, rel=0.1)
    fits = fit(study.table(outcomes), bootstrap=100, prediction=prediction)
    rows = fits.predicted[fits.predicted["goal"] == 200.0].set_index("rollout")
    assert rows.loc[5, "measured"] == pytest.approx(16, rel=0.15)
    assert rows.loc[20, "predicted"] == pytest.approx(4, rel=0.1)
    assert rows["design_effect"].to_numpy() == pytest.approx(1, abs=0.05)
    said = " ".join(two_axes(fits))
    assert "Predicted from n8-t20-lr2e-3-s1-corr" in said
    assert "policy unknown, at least 101, value 42 (40 to 45)" in said
    assert "Level, goal 200: they" in said
    assert "at rollouts of 5 (" in said
    assert "Predicted from" in fits.text()


def test_without_the_table_nothing_is_predicted(study_of: Callable[..., Study]) -> None:
    study = study_of(TEXT.partition("[correlation]")[0])
    assert predict(study, study.outcomes()) is None
    fits = fit(study.table().assign(status="done", updates=5.0, censored=False), bootstrap=0)
    assert two_axes(fits)[-1].startswith("No prediction")


@pytest.mark.slow
def test_a_study_measures_at_its_end(tmp_path: Path) -> None:
    text = TEXT.replace("[100, 200]", "[18]").replace("1_000_000", "1_500")
    text = text.replace("[1, 2, 8, 32, 128]", "[4]").replace("[1e-3, 2e-3]", "[2e-3]")
    (tmp_path / "study.toml").write_text(text.replace("[5, 20]", "[5]").replace("[1, 2, 3]", "[1, 2]"))
    study = load_study(tmp_path)
    drive(study, jobs=1, quiet=True)
    grid, repeats = ([run for run in study.plan() if run.in_grid == own] for own in (True, False))
    for run, again in zip(grid, repeats, strict=True):
        own, other = (load_run(study.folder(r)) for r in (run, again))
        assert own.episodes().equals(other.episodes())
        assert other.correlation()["design_effect"].notna().all()
        assert own.correlation().empty
        assert set(other.noise_parts()["part"]) == {"policy", "value", "total"}
    prediction = predict(study, study.outcomes())
    assert prediction is not None
    assert set(prediction.parts["part"]) == {"policy", "value", "total"}
