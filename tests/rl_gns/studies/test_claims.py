"""Claims pass on studies made from the exact law, fail on broken ones, and can't be told from too few points."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis.claims import Claim
from rl_gns.report.claims import markdown
from rl_gns.studies.claims import ALL, PAPERS, claims, notes, repeats, tally, to_frame
from rl_gns.studies.scope import Scope, of_paper

Made = Callable[..., Scope]


def by_code(rows: list[Claim]) -> dict[str, Claim]:
    return {row.code: row for row in rows}


def test_the_exact_law_passes(made: Made) -> None:
    found = by_code(claims([made()]))
    passing = ("P1", "P1b", "P2", "P2b", "P3", "P4", "P5", "N1", "N1e", "N5", "N6", "N7", "L1", "L1b", "F2")
    assert {code: found[code].verdict for code in passing} == dict.fromkeys(passing, "pass")
    for code in passing:
        low, high = found[code].measured[1:]
        assert low <= found[code].measured.value <= high
        assert found[code].runs
    assert not [row for row in found.values() if row.verdict == "fail"]
    assert found["N5"].why.endswith("known in 66 of 66 readings there")
    # Early goals say nothing of the whole run, and say what the paper's own grow by there.
    assert found["N3"].verdict == "can't tell"
    assert (
        "goals reach 3 of the paper's 600; from 2 to 3, where the paper's grows 1.6-fold" in found["N3"].why
    )
    assert found["N3"].measured.value == pytest.approx(122 / 74, rel=0.1)


def test_all_runs_together_say_it_where_few_know_theirs(made: Made) -> None:
    """B_simple is 6 B_crit in every run, but only the seeds that read a third of it, by chance, know it."""
    scope = made(ratio=2.0)
    points = scope.fits.points
    scale = 6 * points["goal"].map({2.0: 74.0, 3.0: 122.0})
    parts = points[["id", "rollout", "num_envs", "batch", "seed", "goal"]].assign(
        part="B_simple", local=math.nan, mean=math.nan, known_share=0.3, at_least=math.nan
    )
    parts["noise"] = 1.0
    parts["signal"] = 5 / scale * (1 + 0.3 * np.random.default_rng(0).normal(size=len(parts)))
    scope = dataclasses.replace(scope, parts=parts)
    found = by_code(claims([scope]))
    assert found["N5"].measured.value == pytest.approx(2, rel=0.1)
    assert found["N5p"].measured.value == pytest.approx(6, rel=0.2)
    assert found["N5p"].verdict == "pass"
    assert found["N5p"].runs == found["N5"].runs
    nothing = dataclasses.replace(scope, parts=parts.assign(signal=-1e-4))
    assert by_code(claims([nothing]))["N5p"].verdict == "can't tell"
    assert by_code(claims([made()]))["N5p"].verdict == "can't tell"


def test_of_two_studies_of_one_game_the_first_counts_among_all_games(made: Made) -> None:
    scope = made(sizes=(4, 16, 64))
    other = dataclasses.replace(scope, name="other", task="pong")
    again = dataclasses.replace(made(sizes=(4, 16, 64), scale=3), name="again")
    three = [scope, other, again]
    found = claims(three)
    assert {row.scope for row in found} == {"made", "other", "again", ALL}
    assert any(row.code == "N1" and row.scope == "again" for row in found)
    over_all = [row for row in found if row.scope == ALL]
    assert over_all == [row for row in claims([scope, other]) if row.scope == ALL]
    assert repeats(three) == {"again": "made"}
    assert repeats([again, other, scope]) == {"made": "again"}
    assert "studies again does not count, as made is of the same game." in markdown([scope, again])


def test_broken_studies_fail(made: Made) -> None:
    found = by_code(claims([made(law=lambda b, c: (c / b) ** 0.5 * 10, scatter=0.3)]))
    assert {found[code].verdict for code in ("P2", "P2b")} == {"fail"}
    found = by_code(claims([made(scale=10, ratio=0.1, noise_power=1.0)]))
    for code in ("N1", "N1e", "N5", "N6", "N7"):
        assert found[code].verdict == "fail", code
    assert by_code(claims([made(sizes=(1, 2, 4, 8, 16, 32))]))["P1"].verdict == "fail"
    assert (
        by_code(claims([made(law=lambda b, c: (1 + c / b) * (1.6 if b > 2600 else 1.0))]))["P3"].verdict
        == "fail"
    )


def test_fronts_that_no_law_leads_on_count_as_neither(made: Made) -> None:
    """A lead of 0.03 in AIC is no win, and no loss either."""
    scope = made()
    found = by_code(claims([scope]))["P6"]
    assert (found.measured.value, found.why[-15:]) == (1.0, "; 2 of 2 fronts")
    near = {
        key: dataclasses.replace(front, aic=front.aic | {"linear": front.aic["hyperbola"] + 0.03})
        for key, front in scope.fits.front_of.items()
    }
    tied = dataclasses.replace(scope, fits=dataclasses.replace(scope.fits, front_of=near))
    found = by_code(claims([tied]))["P6"]
    assert (found.measured.value, found.measured.high, found.verdict) == (0.0, 1.0, "can't tell")
    assert found.why.endswith("0 of 2 fronts, can't tell on 2 more")


def test_a_flat_noise_scale_is_not_told_to_grow(made: Made) -> None:
    """The least of several scattered goals lies below the last one; the first lies below and above alike."""
    flat = dict.fromkeys((2.0, 2.2, 2.4, 2.6, 2.8, 3.0), 100.0)
    grown = []
    for seed in range(8):
        scope = made(sizes=(16,), seeds=tuple(range(8)), critical=flat, wide=0.5, seed=seed)
        grown.append(by_code(claims([scope]))["N4"].measured.value)
    assert 0.85 < np.exp(np.log(grown).mean()) < 1.18
    assert min(grown) < 1


@pytest.mark.parametrize("sizes", [(4, 16, 64), (16,), (4, 16)])
def test_too_few_points_cant_tell(made: Made, sizes: tuple[int, ...]) -> None:
    found = by_code(claims([made(sizes=sizes, seeds=(1,))]))
    for code in ("P2", "P3", "P4", "P6", "L1", "N3", "N4"):
        assert found[code].verdict == "can't tell", code
        assert found[code].why
    assert found["N9"].why == "the parts were not measured in these runs"


@cache
def papers() -> tuple[Scope, ...]:
    games = ("alien", "beam_rider", "breakout", "pong", "space_invaders")
    return tuple(of_paper(game, bootstrap=100) for game in games)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("scale", [2.0, 10.0])
def test_critical_batches_without_a_bound_raise_no_warning(made: Made, scale: float) -> None:
    """It is drawn from an interval that reaches 0, or infinity."""
    scope = made(sizes=(8, 16, 32, 64, 128), seeds=(1,), scale=scale, scatter=0.3)
    known = [front for front in scope.fits.front_of.values() if front.b_crit is not None]
    assert any((front.b_crit_low if scale == 2 else front.b_crit_high) is None for front in known)
    assert "A1" in by_code(claims([scope]))


def test_the_papers_own_fronts() -> None:
    rows = claims(papers())
    pooled = by_code([row for row in rows if row.scope == PAPERS])
    assert {code: pooled[code].verdict for code in ("P3", "P4", "P6", "N5", "N5b", "N5d")} == dict.fromkeys(
        ("P3", "P4", "P6", "N5", "N5b", "N5d"), "pass"
    )
    assert pooled["P2"].measured.value == pytest.approx(0.08, abs=0.01)
    assert {row.verdict for row in rows if row.code in ("P1", "P5", "F2")} == {"pass"}
    growth = {row.scope: row for row in rows if row.code == "N3"}
    assert growth["paper: breakout"].measured.value == pytest.approx(66, rel=0.1)
    assert growth["paper: breakout"].verdict == "pass"
    gammas = {row.scope: row.measured.value for row in rows if row.code == "A1"}
    assert gammas["paper: breakout"] == pytest.approx(0.52, abs=0.01)
    assert gammas["paper: pong"] == pytest.approx(0.99, abs=0.01)
    assert not [row for row in rows if row.verdict == "fail"]
    assert all(not row.runs for row in rows)


def test_one_or_two_tasks_say_nothing_of_all() -> None:
    rows = claims(papers()[:2])
    pooled = by_code([row for row in rows if row.scope == PAPERS])
    for code in ("P2", "N5", "N5b"):
        assert pooled[code].verdict == "can't tell"
        assert pooled[code].why == "2 tasks, fewer than 3"


def test_same_scope_same_bytes(made: Made) -> None:
    one, two = claims([made()]), claims([made()])
    pd.testing.assert_frame_equal(to_frame(one), to_frame(two), check_exact=True)
    frame, named = to_frame(one), notes(one)
    for row in frame[frame["note"] > 0].itertuples():
        assert (named["note"] == row.note).sum() == row.runs
    assert tally(one).count(",") == 2


def test_gamma_of_early_goals_and_a_bound_alone_pass_nothing(made: Made) -> None:
    """γ of goals that a tenth of the run reaches says nothing of the run, and an upper bound no more than a failure."""
    early = by_code(claims([made()]))["A1"]
    assert early.verdict == "can't tell"
    assert early.why.startswith("goals reach 3 of the paper's 600; an upper bound")
    theirs = {row.scope: row for row in claims(papers()) if row.code == "A1"}
    assert not any("goals reach" in row.why for row in theirs.values())
    assert theirs["paper: breakout"].measured.low > 0.3


def test_a_spike_known_as_a_bound_has_no_upper_end(made: Made) -> None:
    rows = pd.DataFrame({"id": ["a", "b", "c"], "ratio": [6.0, 8.0, 9.0], "is_bound": [False, True, False]})
    scope = dataclasses.replace(made(sizes=(16,)), transient=rows)
    some = by_code(claims([scope]))["N8"]
    assert some.measured.high == math.inf
    assert some.why.count("1 of them know a lower bound only") == 1
    known = by_code(claims([dataclasses.replace(scope, transient=rows.assign(is_bound=False))]))["N8"]
    assert known.measured.value == pytest.approx((6 * 8 * 9) ** (1 / 3))
    assert known.measured.low < 5 < known.measured.high < math.inf
    assert known.verdict == "can't tell"
    high = rows.assign(ratio=[0.5, 0.6, 0.7])
    assert by_code(claims([dataclasses.replace(scope, transient=high)]))["N8"].verdict == "can't tell"
    low = high.assign(is_bound=False)
    assert by_code(claims([dataclasses.replace(scope, transient=low)]))["N8"].verdict == "fail"
