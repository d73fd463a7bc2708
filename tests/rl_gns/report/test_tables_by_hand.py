"""Rows of a page's tables and the runs behind its curves, of outcomes written by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace as NS
from typing import Any

import pandas as pd
import pytest

from rl_gns.analysis import Front, Interval
from rl_gns.analysis.claims import Band, claim, unknown
from rl_gns.report.contents import noise_curves
from rl_gns.report.findings import findings
from rl_gns.report.tables import progress_table, runs_table, to_html
from rl_gns.studies.results import Outcome
from rl_gns.studies.scope import Scope

NAN = math.nan


def run(name: str, num_envs: int, rate: float, seed: int = 1) -> NS:
    return NS(
        id=name, num_envs=num_envs, rollout=5, batch=5 * num_envs, learning_rate=rate, seed=seed, in_grid=True
    )


def study_of(*runs: NS, **more: Any) -> Any:
    spec = NS(goals=(10.0, 20.0), seeds=(1, 2))
    return NS(plan=lambda outcomes: list(runs), spec=spec, command=lambda one: f"repeat {one.id}", **more)


SOME = (run("a", 2, 1e-3), run("b", 2, 2e-3), run("c", 8, 1e-3))
OUTCOMES = {
    "a": Outcome("done", observations=900.0, updates=90.0, peak=25.0, crossings={10.0: 400.0, 20.0: 800.0}),
    "b": Outcome("failed", "no finite loss", 500.0, 50.0, peak=12.0, crossings={10.0: 300.0, 20.0: None}),
    "c": Outcome("pending", crossings={10.0: None, 20.0: None}),
}


def test_every_run_has_its_score_and_the_observations_to_each_goal() -> None:
    rows = runs_table(study_of(*SOME), OUTCOMES)
    assert rows["run"].tolist() == ["a", "b", "c"]
    assert rows["best_score"].tolist() == pytest.approx([25, 12, NAN], nan_ok=True)
    assert rows["to_10"].tolist() == pytest.approx([400, 300, NAN], nan_ok=True)
    assert rows["to_20"].tolist() == pytest.approx([800, NAN, NAN], nan_ok=True)
    assert rows[["updates", "observations"]].iloc[0].tolist() == [90, 900]
    assert rows["command"].tolist() == ["repeat a", "repeat b", "repeat c"]


def test_a_cell_under_way_shows_its_best_run_and_the_hardest_goal_reached() -> None:
    first, second = progress_table(study_of(*SOME), OUTCOMES).to_dict("records")
    assert first == {
        **{"num_envs": 2, "rollout": 5, "runs": 2, "done": 1, "failed": 1, "partial": 0, "pending": 0},
        **{"rates": 2, "best_score": 25.0, "hardest": 20.0},
    }
    assert (second["pending"], second["rates"]) == (1, 1)
    assert math.isnan(second["best_score"])
    assert math.isnan(second["hardest"])
    assert progress_table(study_of(*SOME[:2]), OUTCOMES).empty


def test_a_table_keeps_three_digits_and_whole_thousands() -> None:
    text = to_html(pd.DataFrame({"x": [0.0123456, 1.23456, 123.456, 98765.4, NAN]}))
    cells = [cell.partition("</td>")[0] for cell in text.split("<td>")[1:]]
    assert cells == ["0.0123", "1.23", "123", "98,765", "–"]


def test_curves_are_of_the_rate_that_served_the_hardest_goal_best() -> None:
    """Seed 2 was faster at 2e-3 to 20, so its runs of both seeds are shown, whatever an easy goal took."""
    made = {(rate, seed): run(f"{rate:g}-{seed}", 4, rate, seed) for rate in (1e-3, 2e-3) for seed in (1, 2)}
    rows = [(10.0, 1e-3, 1, 5.0), (20.0, 1e-3, 1, 100.0), (20.0, 2e-3, 2, 90.0)]
    points = pd.DataFrame(rows, columns=["goal", "learning_rate", "seed", "updates"])
    points = points.assign(num_envs=4, rollout=5, batch=20, censored=False)

    def read(one: NS, table: str, outcome: Outcome) -> pd.DataFrame:
        return pd.DataFrame({"id": [one.id], "noise_scale": [50.0]})

    study = study_of(*made.values(), read=read)
    outcomes = {one.id: Outcome("done", observations=900.0) for one in made.values()}
    ((batch, seeds),) = noise_curves(study, NS(points=points), outcomes)  # type: ignore[arg-type]
    assert batch == 20
    assert [rows["id"].item() for rows in seeds] == ["0.002-1", "0.002-2"]


def test_findings_compare_with_the_paper_at_its_own_rollout_length_and_count_edges() -> None:
    """Breakout's published critical batch to score 2 is 74, with rollouts of 5; nothing is published of 20."""
    front = Front(300.0, 27e3, 90.0, 50.0, 200.0, 0.1, 6, 0, e_min_low=2e4, e_min_high=4e4)
    points = pd.DataFrame({"censored": [False, False, False, True], "at_edge": [True, False, False, False]})
    points = points.assign(goal=2.0, information=[0.2, NAN, 0.4, 9.0])
    fits: Any = NS(points=points, front_of={(5, 2.0): front, (20, 2.0): front})
    band = Band(3, 12)
    judged = [
        claim("N5", "", "s", band, Interval(6, 4, 9), ""),
        claim("N6", "", "s", band, Interval(2, 1, 2.5), ""),
    ]
    judged.append(unknown("P1", "", "s", band, "too few"))
    b_crit, e_min, noise, seen, untold = findings(study_of(), Scope("s", fits, "breakout"), judged, {})
    assert b_crit == (
        "B_crit, in observations: to score 2 it is 90 (50 to 200), published 74 with rollouts of 5; "
        "90 (50 to 200) with rollouts of 20."
    )
    assert e_min.count("published") == 1
    assert "it is 27k (20k to 40k), published 1" in e_min
    assert noise.startswith("B_simple where a goal is reached, over B_crit: 6 (4 to 9)")
    assert seen.endswith("nats: 0.3 at score 2, median of 2 of 3 best runs.")
    assert untold.startswith(
        "Can't be told: 1 of 3 claims; the optimum of 1 of 3 learning rates, the least or greatest tried"
    )


def test_findings_call_a_goal_blind_play_that_is_reached_without_looking() -> None:
    fits: Any = NS(
        points=pd.DataFrame({"goal": [1.0, 2.0], "censored": False, "at_edge": False}), front_of={}
    )
    for information, said in (
        ([5e-4, 0.02], "0.0005 at score 1 (blind play), median of 1 of 1 best run; 0.02 at score 2, median"),
        ([NAN] * 2, None),
    ):
        fits.points["information"] = information
        text = " ".join(findings(study_of(), Scope("s", fits, None), [], {}))
        assert ("I(a; s)" in text) == (said is not None)
        assert said is None or said in text
