"""What is said and drawn of tables that something else made, by hand; that the command's options get where they say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rl_gns.cli import main
from rl_gns.report import fronts
from rl_gns.report.fronts import text
from rl_gns.studies import fits as fitting
from rl_gns.studies import own_tables
from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.own_tables import runs_table

BATCHES = (16, 64, 256, 1024)


def law(batch: float, s_min: float = 200, b_crit: float = 100) -> float:
    return s_min * (1 + b_crit / batch)


def fitted(rows: list[dict[str, Any]], lower: bool = False) -> Fits:
    return fit(runs_table(pd.DataFrame(rows)), bootstrap=20, lower=lower)


def runs(**more: Any) -> list[dict[str, Any]]:
    return [{"batch": batch, "updates": law(batch), **more} for batch in BATCHES]


def lengths(**more: Any) -> list[dict[str, Any]]:
    """Environments times rollouts, with a critical batch of 100 and of 400."""
    return [
        {"num_envs": n, "rollout": t, "updates": law(n * t, b_crit=100 * t), **more}
        for t in (1, 4)
        for n in (8, 32, 128, 512)
    ]


def test_the_sentence_of_a_front() -> None:
    said = text(fitted(runs(mean_noise_scale=250, noise_scale=400))).split("\n\n")[-1]
    assert said.startswith("critical batch 100 (")
    assert "twice the least updates, 200, and twice the least observations, 20k (" in said
    assert said.endswith("; B_simple, mean until there, 250, 2.5 times it")
    assert text(fitted(runs(noise_scale=400))).endswith("; B_simple, at that score, 400, 4 times it")


def test_what_is_below_or_above_all_batches_is_a_bound() -> None:
    few = text(fitted([{**row, "updates": 1e6 / row["batch"]} for row in runs()]))
    assert "all are below the critical one" in few
    assert "; critical batch: at least " in few
    many = text(fitted([{**row, "updates": 500} for row in runs()]))
    assert "all are above the critical one" in many
    assert "; critical batch: at most " in many


@pytest.mark.parametrize(
    ("best", "says"),
    [
        ("hyperbola", None),
        ("can't tell", None),
        ("", None),
        ("power_law", "; but a power law describes these runs better (AIC)"),
        ("constant", "; but a constant describes these runs better (AIC)"),
    ],
)
def test_a_better_law_is_named_where_there_is_one(best: str, says: str | None) -> None:
    fits = fitted(runs())
    said = text(dataclasses.replace(fits, fronts=fits.fronts.assign(best_law=best))).split("\n\n")[-1]
    assert ("better" in said) == (says is not None)
    assert (says or "") in said


def test_one_batch_size_is_no_range() -> None:
    said = text(fitted(runs()[:1]))
    assert said.startswith("1 run, 1 batch size, 16\n")
    assert "a front needs at least 3" in said


def test_rates_and_axes_without_a_goal_speak_of_none() -> None:
    rates = text(fitted([row for rate in (1e-3, 2e-3) for row in runs(learning_rate=rate, seed=1)]))
    assert "The best rate goes from 0.001 at a batch of 16 to 0.001 at 1,024." in rates
    axes = text(fitted(lengths()))
    assert "Which wins at an equal batch: " in axes
    assert "rollouts of 1: critical batch 100 (" in axes
    assert "rollouts of 4: critical batch 400 (" in axes
    assert "inf" not in rates + axes


def test_luck_in_the_rates_is_told_where_seeds_tried_the_same_ones() -> None:
    """Each seed had luck at another rate: its own best is 0.8 times the law, what the others chose is the law."""
    several = [
        {**row, "seed": seed, "learning_rate": rate, "updates": row["updates"] * (0.8 if seed == at else 1)}
        for row in runs()
        for seed in (0, 1, 2)
        for at, rate in enumerate((1e-3, 2e-3, 4e-3))
    ]
    found = fitted(several)
    own, others = found.held_out.to_dict("records")
    assert own["e_min"] == pytest.approx(0.8 * others["e_min"], rel=1e-3)
    assert others["e_min"] == pytest.approx(20_000, rel=1e-3)
    said = text(found)
    assert "is also the luckiest. With the rate of each seed chosen by what the other seeds took" in said
    assert "is also the luckiest. To score 7, with" in text(fitted([{**row, "goal": 7} for row in several]))
    assert "luckiest" not in text(fitted([row for row in several if row["seed"] == 0]))


def test_axes_that_can_not_be_joined_ask_for_no_study() -> None:
    """The other sentence of the two axes is about a study's [correlation] table, which these runs have not."""
    fits = fitted(lengths())
    assert "[correlation]" not in text(dataclasses.replace(fits, exchange=pd.DataFrame()))


def test_the_lowest_loss_is_the_hardest_goal() -> None:
    """At the lower goal the rate grows with the batch; a batch that grows saves 1 - γ as it does upside down."""
    rows = []
    for goal, scale, b_crit in ((1.0, 1, 50), (0.5, 2, 100), (0.25, 4, 200)):
        for batch in BATCHES:
            best = 1e-3 * (batch / 16 if goal == 0.25 else 1)
            updates = law(batch, 100 * scale, b_crit)
            rows.append({"goal": goal, "batch": batch, "updates": updates, "learning_rate": best, "seed": 1})
    said = text(fitted(rows, lower=True))
    assert "To score 0.25 the best rate goes from 0.001 at a batch of 16 to 0.064 at 1,024." in said
    risen = fitted([{**row, "goal": -row["goal"]} for row in rows])
    fallen = fitted(rows, lower=True)
    assert len(risen.turning) == 1
    pd.testing.assert_frame_equal(fallen.turning, risen.turning)
    assert not len(fitted(rows).turning), "goals in the wrong order have no pieces"


def test_goals_that_were_reached_too_early_are_told() -> None:
    """A curve a batch: 0 to 100 over 6,000 observations, a game every 10; the lag is 1.4 of 100."""
    x = np.arange(10, 6001, 10)
    curves = pd.concat(
        pd.DataFrame({"batch": batch, "observations": x, "score": x / 60}) for batch in (2, 4, 8)
    )
    table = runs_table(curves, [1, 3, 20, 60], halflife=100)
    assert table.groupby("goal")["reason"].unique().map(list).to_dict() == {
        1: ["at the first score that counts"],
        3: ["within 15 half-lives of 100 observations"],
        20: ["within 15 half-lives of 100 observations"],
        60: [""],
    }
    said = text(fit(table, bootstrap=20)).split("\n\n")
    first = [line for line in said if line.startswith("goal 1: ")]
    assert len(first) == 1, "where all had it from the first score on nothing else is said"
    assert first[0].startswith("goal 1: careful: 3 of 3 runs reached it at the first score that counts")
    lag = [line for line in said if line.startswith("goal 20: ")]
    assert len(lag) == 2
    assert lag[1].startswith("goal 20: careful: 3 of 3 runs reached it within 15 half-lives of 100 ")
    assert lag[1].endswith(
        f"better --centred, or --halflife {np.floor(table['observations'][2] / 15):.0f} or less"
    )
    assert len([line for line in said if line.startswith("goal 60: ")]) == 1


def test_a_centred_average_is_too_early_only_at_the_start_and_not_late() -> None:
    x = np.arange(10, 6001, 10)
    curves = pd.concat(
        pd.DataFrame({"batch": batch, "observations": x, "score": x / 60}) for batch in (2, 4, 8)
    )
    goals = [4.5, 20, 60]
    trailing, centred = (runs_table(curves, goals, halflife=200, centred=both) for both in (False, True))
    assert centred.groupby("goal")["reason"].unique().map(list).to_dict() == {
        4.5: ["within 1.5 half-lives of 200 observations"],
        20: [""],
        60: [""],
    }
    later = centred[centred["goal"] > 5]
    assert later["observations"].to_numpy() == pytest.approx(60 * later["goal"].to_numpy(), abs=1)
    late = trailing["observations"] - centred["observations"]
    assert late[trailing["goal"] == 60].to_numpy() == pytest.approx(200 / np.log(2), rel=0.05)
    assert 225 <= centred["observations"].min() < 240  # 150 x 1.5
    lines = [line for line in text(fit(centred, bootstrap=20)).split("\n\n") if "careful" in line]
    assert len(lines) == 1
    assert lines[0].endswith("too near to the start for a centred average: better --halflife 150 or less")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures instead of their bytes."""
    figures: list[Figure] = []

    def keep(figure: Figure, kind: str) -> bytes:
        figures.append(figure)
        return kind.encode()

    monkeypatch.setattr(fronts, "rendered", keep)
    return figures


def test_a_figure_per_rollout_length(tmp_path: Path, drawn: list[Figure]) -> None:
    assert fronts.draw(fitted(lengths()), tmp_path / "a.svg") == [
        tmp_path / "a-t1.svg",
        tmp_path / "a-t4.svg",
    ]
    assert (tmp_path / "a-t4.svg").read_bytes() == b"svg"
    dots = [figure.axes[1].lines[0].get_xdata() for figure in drawn]
    assert [sorted(map(float, x)) for x in dots] == [[8, 32, 128, 512], [32, 128, 512, 2048]]
    assert not any(figure.legends for figure in drawn), "there is no goal to name"
    assert fronts.draw(fitted(runs(goal=3)), tmp_path / "b.pdf") == [tmp_path / "b.pdf"]
    assert len(drawn[-1].legends) == 1


def test_options_get_where_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.of.mine.csv"
    pd.DataFrame(runs()).rename(columns={"batch": "B", "updates": "n"}).to_csv(path, index=False)
    asked: dict[str, Any] = {}

    def table(frame: pd.DataFrame, *given: Any) -> pd.DataFrame:
        asked["table"] = given
        return runs_table(frame)

    def quick(found: pd.DataFrame, seed: int, lower: bool) -> Fits:
        asked["fit"] = seed, lower
        return fit(found, bootstrap=20)

    monkeypatch.setattr(own_tables, "runs_table", table)
    monkeypatch.setattr(fitting, "fit", quick)
    words = ["fronts", str(path), "--columns", "batch=B", "updates=n"]
    main(
        [
            *words,
            "--goals",
            "-3",
            "-2",
            "--halflife",
            "50",
            "--start-score",
            "-4",
            "--lower",
            "--fewest",
            "7",
            "--centred",
        ]
    )
    assert asked == {"table": ((-3, -2), 50, -4, True, 7, True), "fit": (0, True)}
    assert capsys.readouterr().out.endswith(f"figure: {tmp_path / 'runs.of.mine-fronts.png'}\n")
    main([*words, "--seed", "5", "--figure", str(tmp_path / "other.svg")])
    assert asked == {"table": ((), None, None, False, 20, False), "fit": (5, False)}
    assert capsys.readouterr().out.endswith(f"figure: {tmp_path / 'other.svg'}\n")


def test_tables_that_differ_after_a_dot_keep_a_figure_each(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("lr0.1.csv", "lr0.2.csv", "a.monitor.csv", "b.csv.gz")
    for name in names:
        pd.DataFrame(runs()).to_csv(tmp_path / name, index=False)
        main(["fronts", str(tmp_path / name)])
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {"lr0.1-fronts.png", "lr0.2-fronts.png", "a-fronts.png", "b-fronts.png"}
