"""The figure of `rl-gns noise`: every known reading shows its interval, and no interval flattens the rest."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from rl_gns.report import noise, noise_parts

NAN = math.nan


@pytest.fixture
def parts() -> pd.DataFrame:
    rows = {
        "noise_scale": [100.0, 120.0, NAN, 150.0, NAN],
        "noise_scale_low": [80.0, 90.0, 70.0, 60.0, 50.0],
        "noise_scale_high": [130.0, 160.0, math.inf, 1e6, math.inf],
    }
    return pd.DataFrame({"observations": np.arange(1, 6) * 1e6, "part": "policy", **rows})


def test_a_reading_between_unknown_ones_has_a_bar(parts: pd.DataFrame) -> None:
    axes = Figure().subplots()
    noise_parts.draw(axes, parts, ["policy"], "parts")
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert [segment.tolist() for bar in bars for segment in bar.get_segments()] == [[[4.0, 60.0], [4.0, 1e6]]]


def test_an_interval_up_to_where_the_signal_is_lost_does_not_set_the_scale(parts: pd.DataFrame) -> None:
    axes = Figure().subplots()
    noise_parts.draw(axes, parts, ["policy"], "parts")
    bottom, top = axes.get_ylim()
    assert bottom < 50
    assert 150 < top <= 1500
    noise_parts.draw(axes, parts.iloc[:3], ["policy"], "parts")
    assert 160 < axes.get_ylim()[1] < 300


def test_lower_bounds_are_in_the_legend(parts: pd.DataFrame) -> None:
    axes = Figure().subplots()
    noise_parts.draw(axes, parts, ["policy"], "parts")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["policy", "policy: unknown, at least"]


def test_nothing_known_at_all(parts: pd.DataFrame) -> None:
    axes = Figure().subplots()
    nothing = parts.assign(noise_scale=NAN, noise_scale_low=0.0, noise_scale_high=math.inf)
    noise_parts.draw(axes, nothing, ["policy"], "parts")
    assert [text.get_text() for text in axes.texts] == ["no reading yet"]


def test_every_update_counted_alike_is_drawn_beside_the_main_measurement(
    parts: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["normalized", "normalized/policy", "policy", "layers/conv1"]
    assert noise_parts.panels(pd.concat([parts.assign(part=name) for name in names])) == {
        "parts, every update counted alike": ["normalized/policy"],
        "parts of the loss": ["policy"],
        "layers": ["layers/conv1"],
    }
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: seen.append(figure))
    metrics = parts.drop(columns="part").assign(score=[1.0, 2.0, 3.0, 4.0, 5.0], games=9)
    run = SimpleNamespace(
        config=SimpleNamespace(env="e", algo="a2c", num_envs=4, rollout=5, seed=1, confidence=0.95, batch=20),
        metrics=lambda: metrics,
        episodes=lambda: pd.DataFrame({"observations": [1e6], "score": [1.0]}),
        noise_parts=lambda: parts.assign(part="normalized", noise_scale=parts["noise_scale"] * 5),
    )
    noise.figure(run, tmp_path / "n.png")
    _, lower, right = sorted(seen[0].get_axes(), key=lambda axes: (axes.get_xlabel() != "", axes.get_title()))
    for axes in (lower, right):
        line = next(line for line in axes.get_lines() if line.get_label() == "every update counted alike")
        assert np.nanmax(line.get_ydata()) == 750
        bottom, top = axes.get_ylim()
        assert bottom < 100
        assert top > 750
    assert len(seen[0].get_axes()) == 3


def test_the_table_says_the_run_s_own_confidence_and_units() -> None:
    heading = noise.heading(SimpleNamespace(config=SimpleNamespace(algo="a2c", confidence=0.9, batch=1280)))
    assert "90 % interval, in observations (a batch has 1,280)" in heading
    ppo = SimpleNamespace(algo="ppo", confidence=0.9, batch=1280, minibatches=4)
    assert "(a minibatch has 320)" in noise.heading(SimpleNamespace(config=ppo))


def test_another_batch_is_worth_what_the_last_known_reading_says() -> None:
    rows = pd.DataFrame(
        {
            "observations": [1e5, 2e5, 3e5],
            "noise_scale": [50.0, 80.0, np.nan],
            "noise_scale_low": [1.0, 0.0, 5.0],
            "noise_scale_high": [9.0, np.inf, np.inf],
        }
    )
    run = SimpleNamespace(config=SimpleNamespace(algo="a2c", batch=80), metrics=lambda: rows)
    words = noise.worth(run)
    assert "at 200,000 observations" in words
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in words.splitlines()[3:]}
    assert list(found) == ["20", "40", "160", "320", "1,280"]
    assert found["160"].split("  ")[0] == "0.75 (0.50 to 1.00)"  # all noise halves it, none gains nothing
    assert found["160"].split()[4:] == ["1.50", "(1.00", "to", "2.00)"]
    assert noise.worth(SimpleNamespace(config=run.config, metrics=lambda: rows[2:])) == ""
    single = SimpleNamespace(config=SimpleNamespace(algo="a2c", batch=2), metrics=lambda: rows)
    assert noise.worth(single).splitlines()[3].split()[0] == "1"
    ppo = SimpleNamespace(
        config=SimpleNamespace(algo="ppo", batch=65536, minibatches=2), metrics=lambda: rows
    )
    assert noise.worth(ppo).startswith("another minibatch")
    assert [line.split()[0] for line in noise.worth(ppo).splitlines()[3:5]] == ["8,192", "16,384"]


def test_a_run_is_drawn_in_millions_with_its_bars_its_bounds_and_its_minibatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: seen.append(figure))
    metrics = pd.DataFrame(
        {
            "observations": [1e6, 2e6],
            "score": [3.0, 7.0],
            "noise_scale": [100.0, NAN],
            "noise_scale_low": [80.0, 50.0],
            "noise_scale_high": [170.0, math.inf],
        }
    )
    settings = {"env": "e", "algo": "ppo", "num_envs": 8, "rollout": 160, "seed": 1, "confidence": 0.95}
    run = SimpleNamespace(
        config=SimpleNamespace(**settings, batch=1280, minibatches=4),
        metrics=lambda: metrics,
        episodes=lambda: pd.DataFrame({"observations": [5e5], "score": [2.0]}),
        noise_parts=lambda: pd.DataFrame(columns=["part"]),
    )
    noise.figure(run, tmp_path / "n.png")
    score, lower, right = sorted(
        seen[0].get_axes(), key=lambda axes: (axes.get_xlabel() != "", axes.get_title())
    )
    drawn = {line.get_label(): line.get_xydata().tolist() for line in score.lines}
    assert drawn["one game"] == [[0.5, 2]]
    assert drawn["mean of the last 100 games"] == [[1, 3], [2, 7]]
    for axes, at in ((lower, 2.0), (right, 7.0)):
        (bounds,) = [line for line in axes.lines if line.get_marker() == "^"]
        assert bounds.get_xydata().tolist() == [[at, 50]]
    (bars,) = [c for c in right.collections if isinstance(c, LineCollection)]
    assert [segment.tolist() for segment in bars.get_segments()] == [[[3, 80], [3, 170]]]
    assert [line.get_ydata() for line in lower.lines if line.get_linestyle() == ":"] == [[320, 320]]
    assert "minibatch 320" in [text.get_text() for text in lower.texts]


def test_what_a_policy_sees_has_an_axis_of_its_own_where_it_was_measured() -> None:
    x = pd.Series([1.0, 2.0])
    for information, most in (
        ([1e-5, 2e-5], 1e-3),
        ([0.1, 0.4], 0.42),
    ):  # blind play does not look like the rest
        fig = Figure()
        noise._draw_seen(fig.subplots(), x, pd.DataFrame({"information": information}))
        right = fig.get_axes()[1]
        assert right.lines[0].get_xydata().tolist() == [[1, information[0]], [2, information[1]]]
        assert right.get_ylim() == pytest.approx((0, most))
    for nothing in (pd.DataFrame({"score": [1.0, 2.0]}), pd.DataFrame({"information": [NAN, NAN]})):
        fig = Figure()
        noise._draw_seen(fig.subplots(), x, nothing)
        assert len(fig.get_axes()) == 1


def test_tables_have_each_moment_in_its_column_and_the_newest_reading_of_a_part(parts: pd.DataFrame) -> None:
    rows = parts.assign(score=1.5, signal=0.25, noise=8.0)
    newest = noise.text(rows).splitlines()[-1].split()
    assert newest == ["5,000,000", "1.5", "unknown", "50", "-", "0.25", "8"]
    assert noise.text(rows).splitlines()[1].split() == ["1,000,000", "1.5", "100", "80", "130", "0.25", "8"]
    said = noise_parts.text(rows.iloc[:4]).splitlines()
    assert said[0] == "noise scales of parts at 4,000,000 observations"
    assert said[-1].split() == ["policy", "150", "60", "1,000,000", "0.25", "8"]


def test_what_a_policy_sees_is_said_of_the_last_rows() -> None:
    rows = pd.DataFrame({"observations": np.arange(1, 41) * 1e4, "entropy": 1.0, "information": 0.5})
    rows.loc[36:, "information"] = [0.1, 0.2, 0.3, NAN]

    def said(frame: pd.DataFrame) -> str:
        run: Any = SimpleNamespace(metrics=lambda: frame)
        return noise.seen(run)

    assert said(rows) == (
        "from 370,000 observations on, what a rollout shows decides 0.2 nats of its actions; a mean entropy of 1.000 "
        "is left to chance"
    )
    assert "from 50,000 " in said(rows[:5])
    assert (
        said(rows.assign(information=NAN)) == said(rows.drop(columns="information")) == ""
    )  # older runs lack it
