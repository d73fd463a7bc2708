"""Claims, scopes and fits of points written by hand: every number is one that can be worked out."""

from __future__ import annotations

import math
from types import SimpleNamespace as NS

import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis.aggregate import Interval
from rl_gns.analysis.claims import Claim, over_tasks
from rl_gns.analysis.fronts import Front
from rl_gns.analysis.paper import paper_fronts, paper_noise_scale
from rl_gns.report import overview
from rl_gns.report.findings import findings
from rl_gns.studies.axes import turning
from rl_gns.studies.claims import _games, _tasks
from rl_gns.studies.fits import _front_row, best_points, fit
from rl_gns.studies.front_claims import _contrast, _one_rate, _protocol, _rates, residuals
from rl_gns.studies.noise_claims import _alike, _axes, _grown, _mean, _published
from rl_gns.studies.predictors import EFFECT, _measured
from rl_gns.studies.scope import Scope, cell_means, coverage, of_paper
from rl_gns.studies.words import rounded

NAN = math.nan


def front(b_crit=100.0, s_min=100.0, low=50.0, high=200.0, rms=0.1, points=6):
    e = None if b_crit is None else s_min * b_crit
    return Front(s_min, e, b_crit, low, high, rms, points, 0, e_min_low=e and e / 2, e_min_high=e and 2 * e)


def points_of(
    batches,
    seeds=(1,),
    updates=lambda b: 100 * (1 + 100 / b),
    goal=2.0,
    rollout=5,
    noise=lambda b: 300.0,
    mean=lambda b: 100.0,
):
    rows = [
        dict(
            id=f"n{b // rollout}-s{s}",
            num_envs=b // rollout,
            rollout=rollout,
            batch=b,
            learning_rate=1e-3,
            seed=s,
            goal=goal,
            observations=updates(b) * b,
            updates=updates(b),
            censored=False,
            noise_scale=noise(b),
            mean_noise_scale=mean(b),
            known_share=1.0,
            information=math.nan,
            status="done",
            at_edge=False,
        )
        for b in batches
        for s in seeds
    ]
    return pd.DataFrame(rows)


def scope_of(points=None, fronts=None, name="s", owned=True, task=None, **more):
    points = points_of([5, 10, 20]) if points is None else points
    fronts = {(5, 2.0): front()} if fronts is None else fronts
    fits = NS(
        points=points,
        front_of=fronts,
        table=points,
        rates=pd.DataFrame(),
        predicted=pd.DataFrame(),
        prediction=None,
        fronts=pd.DataFrame(),
    )
    for key, value in more.items():
        setattr(fits, key, value)
    return Scope(name, fits, task, task is not None, owned=owned)


B = [5 * 2**k for k in range(11)]
ODD = {b: 100 * (1 + 100 / b) * math.exp(0.3 * (-1) ** k) for k, b in enumerate(B)}


def test_p1_is_in_decades():
    assert _protocol(scope_of(points_of(B)))[0].measured.value == pytest.approx(math.log10(1024))


def test_copies_of_a_seed_tell_no_more_where_batch_sizes_scatter():
    """The same run three times: residual's interval and a contrast's are those of the run once."""
    one, three = (
        scope_of(points_of(B, seeds, ODD.get), {(5, 2.0): front(rms=0.3, points=11 * len(seeds))})
        for seeds in ((1,), (1, 2, 3))
    )
    a, b = (residuals(scope)[0].interval for scope in (one, three))
    assert b == pytest.approx(a)
    a, b = (_contrast(scope, (5, 2.0), -2, -1, False, "x").interval for scope in (one, three))
    assert b == pytest.approx(a)


def test_l1b_is_over_the_mean_noise_scale():
    row = dict(
        rollout=5,
        goal=2.0,
        exponent=0.7,
        exponent_low=0.6,
        exponent_high=0.8,
        batch=100.0,
        batch_low=80.0,
        batch_high=120.0,
        note="",
    )
    found = {c.code: c for c in _rates(scope_of(rates=pd.DataFrame([row])))}
    assert found["L1b"].measured.value == pytest.approx(1.0)


def test_n6_is_the_mean_over_steps():
    assert _mean(scope_of()).measured.value == pytest.approx(1.0)


def test_n7_is_over_an_eightfold_batch():
    assert _alike(scope_of(points_of([5, 10, 20, 40], noise=float))).measured.value == pytest.approx(8.0)


def one_rate_scope():
    batches = [10, 40, 160, 640, 2560]
    table = points_of(batches, updates=lambda b: 100 * (1 + 200 / b))
    missed = points_of([5], updates=lambda b: 400.0).assign(
        censored=True
    )  # a bound far below the law's 4,100
    return scope_of(points_of(batches), {(5, 2.0): front(50.0)}, table=pd.concat([table, missed]))


def test_l2_is_one_rate_over_tuned_and_missed_goals_are_bounds():
    assert _one_rate(one_rate_scope()).measured.value == pytest.approx(4.0, rel=0.02)


def test_the_predicted_critical_environments_are_put_beside_b_crit_in_observations():
    row = dict(goal=2.0, rollout=5, predicted=40.0, predicted_low=20.0, predicted_high=80.0)
    found = _measured(scope_of(predicted=pd.DataFrame([row])), (5, 2.0))
    assert found[EFFECT, "mean"].value == pytest.approx(200.0)


def test_two_of_seven_games_may_fail_where_five_must_pass():
    def row(verdict):
        return Claim("N3", "", "s", "", Interval(1, 1, 1), verdict)

    assert _games("N3", 5, [row("pass")] * 4 + [row("fail")] * 2).verdict == "can't tell"
    assert _games("N3", 5, [row("pass")] * 4 + [row("fail")] * 3).verdict == "fail"
    assert _games("N3", 5, [row("pass")] * 5).verdict == "pass"


def test_f1b_counts_a_factor_of_ten():
    near, far = (
        scope_of(points_of([5, 10, 20], mean=lambda b, k=k: 100.0 * k), name=str(k)) for k in (9, 11)
    )
    assert _tasks([near, far], [])[1].measured.value == 0.5


def test_n4_of_the_paper_is_from_its_least_and_ours_from_the_first():
    some = [
        points_of([5, 10, 20], goal=g, noise=lambda b, v=v: v)
        for g, v in ((1.0, 300.0), (2.0, 100.0), (3.0, 200.0))
    ]
    fronts = {(5, g): front() for g in (1.0, 2.0, 3.0)}
    for owned, value in ((True, 2 / 3), (False, 2.0)):
        assert _grown(scope_of(pd.concat(some), fronts, owned=owned), "N4").measured.value == pytest.approx(
            value
        )


def test_tasks_have_students_t():
    low, high = over_tasks([[1.0], [2.0], [4.0]], np.median, np.random.default_rng(0))[1:]
    far = 4.302653 * math.log(2) / math.sqrt(3)
    assert (math.log(low / 2), math.log(high / 2)) == pytest.approx((-far, far), rel=1e-4)


def test_goals_of_one_rollout_length_err_together_and_others_apart():
    scope = scope_of(fronts={key: front() for key in ((5, 1.0), (5, 2.0), (20, 1.0))})
    one, two, other = (scope.b_crit(key).replicas for key in scope.keys)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_x_claims_are_of_the_hardest_goal_and_shape_only_where_it_can_fail():
    rows = [
        dict(
            goal=g,
            rollout=t,
            ratio=10 * g + t,
            ratio_low=1,
            ratio_high=99,
            shape_ratio=100 * g + t,
            shape_ratio_low=1,
            shape_ratio_high=999,
        )
        for g in (1.0, 2.0)
        for t in (5, 20, 40)
    ]
    found = [(c.code, c.measured.value) for c in _axes(scope_of(predicted=pd.DataFrame(rows)))]
    assert found == [("X1", 25), ("X1", 40), ("X1", 60), ("X2", 205)]


def test_a_missed_goal_is_a_bound_at_the_most_updates_made():
    two = pd.concat(
        [
            points_of([10], updates=lambda b, u=u: u).assign(learning_rate=r, censored=True)
            for u, r in ((100.0, 1e-3), (300.0, 2e-3), (200.0, 4e-3))
        ],
        ignore_index=True,
    )
    assert best_points(two.drop(columns="at_edge"))["updates"].tolist() == [300.0]


def test_the_grid_of_rates_is_their_resolution_in_a_study():
    rows = []
    for batch in (100, 400, 1600):
        rate = 2.0 ** np.round(np.log2(1e-2 / (1 + 300 / batch) ** 0.7))
        for factor, slow in ((0.5, 1.3), (1.0, 1.0), (2.0, 1.3)):
            rows.append(
                points_of([batch], (1, 2, 3), lambda b, k=slow: 100 * k * (1 + 200 / b)).assign(
                    learning_rate=rate * factor, reason="", peak=9.0
                )
            )
    law = fit(pd.concat(rows, ignore_index=True).drop(columns="at_edge"), bootstrap=0).rates.iloc[0]
    low, high = law["batch_low"], law["batch_high"]
    assert not low > 300
    assert not high < 300


def test_a_fronts_noise_scale_knows_no_more_from_copies_of_its_seeds():
    def noise(b):
        return 100.0 * (1 + b % 7)

    one, three = (_front_row(front(), points_of(B, seeds, noise=noise), 0) for seeds in ((1,), (1, 2, 3)))
    for name in ("noise_scale_low", "noise_scale_high"):
        assert three[name] == pytest.approx(one[name])


def test_what_an_adaptive_batch_saves():
    (row,) = turning({(5, 1.0): front(10.0, 100.0), (5, 2.0): front(45.0, 200.0)})
    gamma = ((math.sqrt(10) + math.sqrt(80)) / 2) ** 2 / 45
    assert row["gamma"] == pytest.approx(gamma)
    assert row["saving"] == pytest.approx(1 - (1 + math.sqrt(gamma)) / 2)


def test_e_min_is_beside_the_published_e_min():
    scope = scope_of(points_of([5, 10, 20]), {(5, 2.0): front()}, task="breakout")
    theirs = scope.published().set_index("goal").loc[2.0]
    lines = findings(NS(plan=lambda o: []), scope, [], {})
    assert f"published {rounded(theirs['critical_batch'])}" in lines[0]
    assert f"published {rounded(theirs['e_min'])}" in lines[1]
    row = overview.rows([scope]).iloc[0]
    assert (row["b_crit_published"], row["e_min_published"]) == pytest.approx(
        (theirs["critical_batch"], theirs["e_min"])
    )


def test_a_rate_that_failed_was_tried_all_the_same():
    runs = ((200.0, 1e-3, "done"), (100.0, 2e-3, "done"), (5.0, 4e-3, "failed"))
    rows = [
        points_of([10], updates=lambda b, u=u: u).assign(
            learning_rate=rate, status=status, censored=status == "failed"
        )
        for u, rate, status in runs
    ]
    for count, at_edge in ((3, False), (2, True)):
        (best,) = best_points(pd.concat(rows[:count], ignore_index=True).drop(columns="at_edge")).to_dict(
            "records"
        )
        assert (best["learning_rate"], best["at_edge"]) == (2e-3, at_edge)


def test_a_published_line_without_plotted_points_has_no_e_min_to_compare():
    """Beam Rider's last goal."""
    scope = scope_of(points_of([5, 10, 20], goal=9000.0), {(5, 9000.0): front()}, task="beam_rider")
    (found,) = _published(scope)
    assert found.code == "N1"
    assert "points" not in found.why


def test_the_hardest_goal_of_a_rollout_is_the_last_whose_critical_batch_is_known():
    fronts = {
        (5, 1.0): front(),
        (5, 2.0): front(None),
        (20, 1.0): front(),
        (20, 3.0): front(),
        (80, 1.0): front(None),
    }
    scope = scope_of(fronts=fronts)
    assert scope.hardest == [(5, 1.0), (20, 3.0)]


def test_runs_are_named_by_study_and_the_papers_are_none():
    points = pd.concat([points_of([10, 5]), points_of([20], goal=3.0)])
    scope = scope_of(points, name="b")
    assert scope.runs((5, 2.0)) == ["b/n1-s1", "b/n2-s1"]
    assert scope.runs() == ["b/n1-s1", "b/n2-s1", "b/n4-s1"]
    assert scope_of(points, owned=False).runs() == []


def test_the_noise_at_a_goal_is_that_of_runs_that_met_it():
    points = points_of([5, 10, 20], noise=lambda b: 10.0 * b)
    points.loc[points["batch"] == 20, "censored"] = True
    assert scope_of(points).noise((5, 2.0), "noise_scale").value == pytest.approx(math.sqrt(50 * 100))
    assert scope_of(points.assign(noise_scale=NAN)).noise((5, 2.0), "noise_scale") is None


def test_the_papers_noise_is_known_as_well_as_its_figures_can_be_read():
    found = scope_of(owned=False).noise((5, 2.0), "noise_scale")
    assert found.interval == pytest.approx((300, 300 / 1.08, 300 * 1.08), rel=0.01)


@pytest.mark.parametrize(
    ("goals", "says"),
    [
        ([2.0, 480.0], ""),
        ([2.0, 479.0], "goals reach 479 of the paper's 600"),
        ([2.1, 600.0], "goals begin at 2.1, the paper's at 2"),
    ],
)
def test_a_whole_run_reaches_from_the_papers_first_goal_to_four_fifths_of_its_last(goals, says):
    fronts = {(5, goal): front() for goal in goals}
    assert coverage(scope_of(fronts=fronts, task="breakout")) == says
    assert coverage(scope_of(fronts=fronts)).startswith("none of the paper's tasks")


def test_a_cells_mean_is_that_of_all_its_seeds_or_none():
    points = points_of([10, 5, 20], seeds=(1, 2)).reset_index(drop=True)
    points["updates"] = [1.0, math.e**2, math.e, math.e**3, 9.0, 9.0]
    points.loc[5, "censored"] = True
    found = cell_means(points)
    assert found.to_numpy().tolist() == [pytest.approx([5, 2, 2]), pytest.approx([10, 1, 2])]
    assert list(found.columns) == list(cell_means(points.assign(censored=True)).columns)


def test_the_papers_markers_are_runs_of_its_rollout():
    scope = of_paper("breakout", bootstrap=0)
    theirs, table = paper_fronts().query("task == 'breakout'"), scope.fits.table
    assert (table["num_envs"] * 5 - table["batch"]).abs().max() < 5
    for ours, name in (("batch", "batch_observations"), ("updates", "updates"), ("goal", "goal")):
        assert table[ours].tolist() == pytest.approx(theirs[name].tolist()), ours
    assert table["observations"].tolist() == pytest.approx((table["batch"] * table["updates"]).tolist())
    known = paper_noise_scale().set_index(["task", "goal"])["simple_noise_scale"]["breakout"]
    assert table["noise_scale"].tolist() == pytest.approx(known[table["goal"]].tolist(), nan_ok=True)
    assert (scope.atari, scope.owned, scope.task) == (True, False, "breakout")
    assert not of_paper("dota_1v1", bootstrap=0).atari
