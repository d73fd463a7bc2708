import numpy as np
import pandas as pd
import pytest

from rl_gns.analysis import (
    first_crossing,
    fixed_batch,
    noise_scale_at_goals,
    smoothed_noise_scale,
    step_weighted_mean,
)


@pytest.fixture
def metrics():
    """A run at batch 100: score and noise scale both grow with observations."""
    x = np.arange(100.0, 10_001.0, 100.0)
    return pd.DataFrame({"observations": x, "update": x / 100, "score": x / 100, "noise_scale": x / 2})


def test_local_value_and_mean_at_equal_score(metrics):
    table = noise_scale_at_goals(metrics, [20, 50, 500], halflife=1e-6)
    assert table["goal"].tolist() == [20, 50, 500]
    assert table["observations"].tolist()[:2] == [2000, 5000]
    assert table["noise_scale"].tolist()[:2] == pytest.approx([1000, 2500], rel=1e-3)
    assert table["mean_noise_scale"].tolist()[:2] == pytest.approx([525, 1275])
    assert table["known_share"].tolist()[:2] == [1, 1]
    assert table.iloc[2, 1:].isna().all()


def test_crossing_is_that_of_the_goals(metrics):
    metrics.loc[::3, "score"] = np.nan
    played = metrics.dropna(subset="score")
    at = noise_scale_at_goals(metrics, [30], halflife=700)["observations"][0]
    assert at == first_crossing(played["observations"], played["score"], 30, 700)


def test_steps_weigh_not_rows(metrics):
    thinned = pd.concat([metrics[:20:10], metrics[20:]])
    table = noise_scale_at_goals(thinned, [50], halflife=1e-6)
    steps = np.diff(thinned["update"], prepend=0)
    rows = (thinned["observations"] <= 5000).to_numpy()
    slow = (
        sum(s * n for s, n, r in zip(steps, thinned["noise_scale"], rows, strict=True) if r)
        / steps[rows].sum()
    )
    assert table["mean_noise_scale"][0] == pytest.approx(slow)
    without = noise_scale_at_goals(thinned.drop(columns="update"), [50], halflife=1e-6)
    assert without["mean_noise_scale"][0] == pytest.approx(slow)
    assert slow != pytest.approx(thinned.loc[rows, "noise_scale"].mean())


def test_transient_is_left_out(metrics):
    metrics.loc[metrics["observations"] <= 1000, "noise_scale"] = 1e6
    table = noise_scale_at_goals(metrics, [50], halflife=1e-6, start_score=10)
    assert table["mean_noise_scale"][0] == pytest.approx(np.mean(np.arange(1100, 5001, 100) / 2))
    assert np.isnan(noise_scale_at_goals(metrics, [50], 1e-6, start_score=1e9)["mean_noise_scale"][0])


def test_unknown_rows_are_counted(metrics):
    metrics.loc[metrics["observations"].between(1, 2500), "noise_scale"] = np.nan
    table = noise_scale_at_goals(metrics, [10, 50], halflife=200)
    assert np.isnan(table["noise_scale"][0])
    assert np.isnan(table["mean_noise_scale"][0])
    assert table["known_share"].tolist() == pytest.approx([0, 0.5], abs=0.03)
    assert table["noise_scale"][1] > 2000


def test_noise_free_weights_give_b_crit_of_the_theory():
    noise_scale, steps = np.linspace(100, 5000, 500), np.full(500, 2.0)
    updates = (1 + noise_scale / 640) * steps
    e_min = (noise_scale * steps).sum()
    assert updates.sum() == pytest.approx(fixed_batch(noise_scale, steps, 640).updates)
    assert step_weighted_mean(noise_scale, updates, batch=640) == pytest.approx(e_min / steps.sum())
    assert step_weighted_mean(noise_scale, updates) > e_min / steps.sum()


def test_parts_are_smoothed_before_they_are_divided():
    rng = np.random.default_rng(0)
    x = np.arange(1, 4001) * 100.0
    table = pd.DataFrame(
        {
            "observations": x,
            "signal": 1 + 5 * rng.standard_normal(x.size),
            "noise": 40 + rng.standard_normal(x.size),
        }
    )
    table.loc[5, "signal"] = np.nan
    value = smoothed_noise_scale(table, halflife=1e5, unit_observations=5)
    assert value[-1] == pytest.approx(200, rel=0.2)
    assert np.isnan(value[5])
    table["signal"] = -1.0
    assert np.isnan(smoothed_noise_scale(table, 1e5, 5)).all()


def test_bad_input_is_one_line(metrics):
    with pytest.raises(ValueError, match="no column 'noise_scale'"):
        noise_scale_at_goals(metrics.drop(columns="noise_scale"), [1], 10)
    with pytest.raises(ValueError, match="ascend"):
        noise_scale_at_goals(metrics[::-1], [1], 10)
    with pytest.raises(ValueError, match="halflife"):
        noise_scale_at_goals(metrics, [1], 0)
    with pytest.raises(ValueError, match="positive"):
        step_weighted_mean([1, -1], [1, 1])
    with pytest.raises(ValueError, match="one length"):
        step_weighted_mean([], [])
    with pytest.raises(ValueError, match="unit_observations"):
        smoothed_noise_scale(metrics, 10, 0)
