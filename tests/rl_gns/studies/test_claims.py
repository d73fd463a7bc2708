"""Claims pass on studies made from the exact law, fail on broken ones, and can't be told from too few points."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis.claims import Claim
from rl_gns.cli import main
from rl_gns.errors import UserError
from rl_gns.report import overview
from rl_gns.report.claims import BEGIN, END, into, markdown
from rl_gns.report.study import report
from rl_gns.studies.claims import PAPERS, claims, notes, tally, to_frame
from rl_gns.studies.fits import fit
from rl_gns.studies.predictors import closest, sentence, table
from rl_gns.studies.scope import Scope, of_paper, of_study
from rl_gns.studies.study import COLUMNS, Study
from rl_gns.training.metrics import MetricsWriter

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
B_CRIT = {2.0: 74.0, 3.0: 122.0}


def made(
    sizes: tuple[int, ...] = SIZES,
    seeds: tuple[int, ...] = (1, 2, 3),
    law: Callable[[float, float], float] = lambda b, c: 1 + c / b,
    ratio: float = 6.0,
    scatter: float = 0.03,
    noise_power: float = 0.0,
    scale: float = 1.0,
    critical: Mapping[float, float] = B_CRIT,
    wide: float = 0.05,
    seed: int = 4,
) -> Scope:
    """Runs of S = 1000 law(B, B_crit) at the paper's B_crit of Breakout times `scale`; three rates, the middle best.

    B_simple is `ratio` B_crit (B/100)^noise_power, scattered by `wide`, its mean until the goal a third of it.
    """
    rng, rows = np.random.default_rng(seed), []
    for n in sizes:
        for s in seeds:
            for factor in (0.5, 1.0, 2.0):
                for goal, b_crit in critical.items():
                    batch, bend = 5 * n, b_crit * scale
                    tuned = 1.0 if factor == 1.0 else 1.4
                    updates = 1000 * goal * law(batch, bend) * tuned * np.exp(scatter * rng.normal())
                    rate = 1e-3 / (1 + 150 / batch) ** 0.7 * factor
                    noise = ratio * bend * (batch / 100) ** noise_power * np.exp(wide * rng.normal())
                    row = [f"n{n}-{factor}-s{s}", n, 5, batch, rate, s, goal, updates * batch, updates]
                    rows.append([*row, False, noise, noise / 3, 1.0, "done", "", 9.0])
    study = pd.DataFrame(rows, columns=COLUMNS)
    return Scope("made", fit(study, bootstrap=200), "breakout", True, 1.7)


def by_code(rows: list[Claim]) -> dict[str, Claim]:
    return {row.code: row for row in rows}


def test_the_exact_law_passes() -> None:
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


def test_all_runs_together_say_it_where_few_know_theirs() -> None:
    """B_simple is 6 B_crit in every run, but only the seeds that read a third of it, by chance, know it."""
    scope = made(ratio=2.0)
    points = scope.fits.points
    scale = 6 * points["goal"].map(B_CRIT)
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


def test_two_studies_of_one_game_are_refused() -> None:
    scope = made(sizes=(16,))
    with pytest.raises(UserError, match="made and again are both of breakout, which would count twice"):
        claims([scope, dataclasses.replace(scope, name="again")])


def test_broken_studies_fail() -> None:
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


def test_a_flat_noise_scale_is_not_told_to_grow() -> None:
    """The least of several scattered goals lies below the last one; the first lies below and above alike."""
    flat = dict.fromkeys((2.0, 2.2, 2.4, 2.6, 2.8, 3.0), 100.0)
    grown = []
    for seed in range(8):
        scope = made(sizes=(16,), seeds=tuple(range(8)), critical=flat, wide=0.5, seed=seed)
        grown.append(by_code(claims([scope]))["N4"].measured.value)
    assert 0.85 < np.exp(np.log(grown).mean()) < 1.18
    assert min(grown) < 1


@pytest.mark.parametrize("sizes", [(4, 16, 64), (16,), (4, 16)])
def test_too_few_points_cant_tell(sizes: tuple[int, ...]) -> None:
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
def test_critical_batches_without_a_bound_raise_no_warning(scale: float) -> None:
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


def test_same_scope_same_bytes() -> None:
    one, two = claims([made()]), claims([made()])
    pd.testing.assert_frame_equal(to_frame(one), to_frame(two), check_exact=True)
    frame, named = to_frame(one), notes(one)
    for row in frame[frame["note"] > 0].itertuples():
        assert (named["note"] == row.note).sum() == row.runs
    assert tally(one).count(",") == 2


STUDY = """
env = "atari:breakout"
goals = [2, 3]
observations = 1_000_000
halflife = 1_000
start_score = 1
[grid]
num_envs = [4, 8, 16, 32, 64, 128]
rollout = [5]
learning_rate = [1e-3]
seeds = [1]
"""


def measured(study: Study, write_run: Callable[..., Path], policy: float = 1.2, value: float = 0.05) -> Study:
    """Runs on the law with B_crit 100; the policy's noise scale is `policy` B_crit, the value's `value` B_crit."""
    rng = np.random.default_rng(2)
    for run in study.plan({}):
        updates = 300 * (1 + 100 / run.batch) * float(np.exp(0.03 * rng.normal()))
        ramp = updates * run.batch * 300 / 3
        folder = write_run(study, run, ramp=ramp, noise_scale=700.0)
        writer = MetricsWriter(folder / "metrics.db")
        for k in range(1, 40):
            at = ramp / 100 * k / 20
            parts = {"policy": 100 * policy, "value": 100 * value, "fisher": math.nan}
            cells = [
                (part, {"noise_scale": scale * float(np.exp(0.05 * rng.normal())), "noise_scale_low": 9.0})
                for part, scale in parts.items()
            ]
            writer.write(10**6 + k, {"observations": at}, {}, [], cells)
        writer.close()
    return study


def test_the_closest_predictor_is_named(
    study_of: Callable[..., Study], write_run: Callable[..., Path]
) -> None:
    scope = of_study(measured(study_of(STUDY), write_run))
    order = closest([scope])
    assert order["predictor"].tolist() == ["policy", "B_simple", "value", "fisher"]
    best = order.iloc[0]
    assert best["ratio"] == pytest.approx(1.2, rel=0.15)
    assert best["ratio_low"] < best["ratio"] < best["ratio_high"]
    assert "comes closest and is within a factor of two" in sentence(order)
    assert "Unknown on every front: B_noise, Fisher-weighted." in sentence(order)
    beside = table(scope)
    fisher = beside[(beside["predictor"] == "fisher") & (beside["quantity"] == "mean")]
    assert (fisher["at_least"] == 9.0).all()
    assert set(beside["ids"].str.split().explode()) == {f"n{n}-t5-lr1e-3-s1" for n in (4, 8, 16, 32, 64, 128)}
    claim = by_code(claims([scope]))["N9"]
    assert claim.measured.value == pytest.approx(24, rel=0.1)
    assert claim.verdict == "pass"


def test_fronts_that_no_law_leads_on_count_as_neither() -> None:
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


def test_a_lower_bound_of_0_is_not_said() -> None:
    scope = made(sizes=(16,))
    first = scope.fits.points.drop_duplicates("id")[["id", "rollout", "num_envs", "batch", "seed", "goal"]]
    parts = pd.concat(
        [first.assign(part=part, at_least=bound) for part, bound in (("policy", 0), ("value", 7))]
    )
    parts = parts.assign(local=math.nan, mean=math.nan, known_share=0.0, signal=math.nan, noise=math.nan)
    found = by_code(claims([dataclasses.replace(scope, parts=parts)]))["N9"]
    assert found.why == "no run knows both (value at least 7)"


def unbounded(part: str, signal: list[float], noise: list[float]) -> Scope:
    """`made`, where nothing but the moments of `part` is known of the noise."""
    scope = made(ratio=math.nan)
    first = scope.fits.points.drop_duplicates(["goal", "batch", "seed"])
    parts = pd.DataFrame(
        {name: first[name] for name in ("id", "rollout", "num_envs", "batch", "seed", "goal")}
    )
    parts = parts.assign(part=part, local=math.nan, mean=math.nan, known_share=0.0, at_least=0.0)
    parts["signal"], parts["noise"] = np.resize(signal, len(parts)), np.resize(noise, len(parts))
    return dataclasses.replace(scope, parts=parts)


def test_a_front_whose_runs_have_no_signal_together_counts_as_unbounded_and_is_shown() -> None:
    scope = unbounded("B_simple", [-0.03, 0.01, 0.01, -0.01], [2.0])
    together = by_code(claims([scope]))["N5p"]
    assert together.measured.value == math.inf
    assert "at 2 of them no signal is left" in together.why
    assert together.verdict != "fail" or together.measured.low > 12
    assert "| at least " in next(line for line in markdown([scope]).splitlines() if "| N5p |" in line)


def test_fronts_without_a_signal_are_counted_beside_the_closest_predictor() -> None:
    scope = unbounded("B_simple", [-0.03, 0.01, 0.01, -0.01], [2.0])
    other = scope.parts.assign(
        part="policy", signal=np.where(scope.parts["goal"] == 2, -0.001, 0.01), noise=2.0
    )
    other["signal"] += 0.003 * np.resize([1, -1, 0], len(other))
    scope = dataclasses.replace(scope, parts=pd.concat([scope.parts, other]))
    order = closest([scope]).set_index("predictor")
    assert order.loc["B_simple", ["fronts", "lost", "of"]].tolist() == [0, 2, 2]
    assert order.loc["policy", ["fronts", "pooled", "lost", "of"]].tolist() == [1, 1, 1, 2]
    assert order.loc["policy", "ratio"] == pytest.approx(1000 / 122, rel=0.1)
    beside = table(scope).query("quantity == 'pooled'").set_index(["predictor", "goal"])
    row = beside.loc[("policy", 2.0)]
    assert row["ratio"] == math.inf
    assert 0 < row["ratio_low"] < math.inf
    assert "no signal on 1" in markdown([scope])


def test_noise_that_comes_out_below_0_breaks_no_table() -> None:
    scope = unbounded("hessian", [0.02], [-0.001, -0.002, 0.0005])
    assert closest([scope])["ratio"].isna().all()
    assert table(scope)["ratio"].isna().all()


def test_none_is_a_result(study_of: Callable[..., Study], write_run: Callable[..., Path]) -> None:
    order = closest([of_study(measured(study_of(STUDY), write_run, policy=9))])
    assert sentence(order).startswith("None comes within a factor of two of B_crit; the closest is")
    assert sentence(order[:0]) == "No predictor can be put beside a critical batch yet."


def test_command_page_and_report(
    study_of: Callable[..., Study],
    write_run: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = measured(study_of(STUDY), write_run)
    page = tmp_path / "results.md"
    page.write_text(f"before\n{BEGIN}\nEARLIER TEXT\n{END}\nafter\n")
    words = ["rl-gns", "study", "claims", str(study.path), "--to", str(tmp_path / "out"), "--into", str(page)]
    monkeypatch.setattr("sys.argv", words)
    main()
    capsys.readouterr()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "EARLIER TEXT" not in text
    assert text.count(BEGIN) == 1
    assert "| P5 |" in text
    assert "n4-t5-lr1e-3-s1" in text
    again = page.read_bytes()
    picture = tmp_path / "figures" / "results-claims.svg"
    assert "](figures/results-claims.svg)" in text
    drawn = picture.read_bytes()
    assert b"<svg" in drawn
    into(page, [of_study(study)])
    assert (page.read_bytes(), picture.read_bytes()) == (again, drawn)
    frame = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(frame["verdict"]) <= {"pass", "fail", "can't tell"}
    assert {"claims_runs.csv", "predictors.csv", "closest.csv"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    html = report(study, tmp_path / "page" / "report.html", bootstrap=20).read_text()
    assert "What the paper claims" in html
    assert "What predicts B_crit" in html


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name at least one study's file"),
        (["nothing.toml"], "there is no study file nothing.toml"),
        (["{study}", "{study}"], "two studies have the same name"),
        (["{study}", "--into", "{page}"], "once each, in this order"),
    ],
)
def test_bad_input_is_one_line(
    study_of: Callable[..., Study],
    write_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    study = measured(study_of(STUDY), write_run)
    page = tmp_path / "page.md"
    page.write_text("no markers")
    filled = [word.format(study=study.path, page=page) for word in words]
    monkeypatch.setattr("sys.argv", ["rl-gns", "study", "claims", *filled])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert page.read_text() == "no markers"
    assert not (tmp_path / "figures").exists()


def test_the_chart_has_a_row_for_every_front_the_paper_has_and_for_the_hardest() -> None:
    table = overview.rows(
        [made(), dataclasses.replace(made(critical={4.5: 100.0, 5.0: 120.0}), name="other")]
    )
    assert table["label"].tolist() == ["made, 2", "made, 3", "other, 5"]
    assert table["b_crit"].to_numpy() == pytest.approx([74, 122, 120], rel=0.1)
    assert table["b_crit_published"].tolist()[:2] == [74, 122]
    assert table["ratio"].to_numpy() == pytest.approx([6, 6, 6], rel=0.15)
    panels = overview.overview(table).axes
    for panel, name in zip(panels, ("b_crit", "e_min", "ratio"), strict=True):
        dots = panel.lines[0].get_xydata()
        assert dots == pytest.approx(np.column_stack([table[name], range(3)]))
        assert len(panel.collections[0].get_segments()) == 3  # type: ignore[attr-defined]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == table["label"].tolist()


def test_gamma_of_early_goals_and_a_bound_alone_pass_nothing() -> None:
    """γ of goals that a tenth of the run reaches says nothing of the run, and an upper bound no more than a failure."""
    early = by_code(claims([made()]))["A1"]
    assert early.verdict == "can't tell"
    assert early.why.startswith("goals reach 3 of the paper's 600; an upper bound")
    theirs = {row.scope: row for row in claims(papers()) if row.code == "A1"}
    assert not any("goals reach" in row.why for row in theirs.values())
    assert theirs["paper: breakout"].measured.low > 0.3


def test_a_spike_known_as_a_bound_has_no_upper_end() -> None:
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
