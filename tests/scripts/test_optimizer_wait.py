"""Fronts without the optimizer's wait, on fronts made with one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rl_gns
from rl_gns.studies.fits import fit
from rl_gns.studies.scope import Scope
from rl_gns.studies.study import COLUMNS
from rl_gns.training.config import TrainConfig
from rl_gns.training.optimizer_start import lost_at_start

WAIT, S, B = 1000.0, 200.0, 300.0


def points(sizes: tuple[int, ...] = (20, 40, 80, 160, 320, 640), wait: float = WAIT) -> pd.DataFrame:
    batch = np.array(sizes, dtype=float)
    return pd.DataFrame({"batch": batch, "updates": wait + S * (1 + B / batch), "censored": False})


def test_a_wait_is_in_s_min_and_not_in_e_min() -> None:
    from optimizer_wait import fitted

    as_run, _ = fitted(points(), 0.0, 0)
    without, left_out = fitted(points(), WAIT, 0)
    assert as_run is not None
    assert without is not None
    assert left_out == 0
    assert (without.s_min, without.b_crit) == (pytest.approx(S), pytest.approx(B))
    # W + S (1 + B/b) is the hyperbola of W + S and S B / (W + S): as good a fit.
    assert (as_run.s_min, as_run.b_crit) == (pytest.approx(WAIT + S), pytest.approx(S * B / (WAIT + S)))
    assert as_run.e_min == pytest.approx(without.e_min)
    assert as_run.rms_log_residual == pytest.approx(0, abs=1e-6)


def test_points_of_which_next_to_nothing_is_left_are_left_out() -> None:
    from optimizer_wait import fitted

    quick = pd.concat([points(), pd.DataFrame({"batch": [1280.0], "updates": [1040.0], "censored": [False]})])
    front, left_out = fitted(quick, WAIT, 0)
    assert front is not None
    assert (left_out, front.b_crit) == (1, pytest.approx(B))
    assert fitted(points(sizes=(20, 40)), WAIT, 0) == (None, 0)


def made() -> Scope:
    rows = []
    for row in points().to_dict("records"):
        batch = int(row["batch"])
        id_ = [f"n{batch // 5}-t5-lr1e-3-s1", batch // 5, 5, batch, 1e-3, 1, 2.0]
        rows.append(
            [*id_, row["updates"] * batch, row["updates"], False, 600.0, 80.0, 1.0, "done", "", 2.5, 0.1]
        )
    return Scope("made", fit(pd.DataFrame(rows, columns=COLUMNS), bootstrap=0))


def test_rows_and_what_is_said_of_them(tmp_path: Path) -> None:
    from optimizer_wait import draw, table, text

    rows = table(made(), WAIT, bootstrap=0)
    assert len(rows) == 1
    row = rows.iloc[0]
    assert (row["ratio"], row["ratio_without"]) == (pytest.approx(12), pytest.approx(2))
    said = text(rows).splitlines()
    assert said[1].split() == ["made,", "2", "1,200", "50", "12.00", "1,000:", "200", "300", "2.00", "0"]
    ends = [" of 1 fronts", " of 1 fronts of S_min below 2.5 waits"]
    assert [line.split(":")[0].partition("range")[2] for line in said[2:]] == ends
    assert said[-1].endswith(": 12.00 (12.00 to 12.00); without 2.00 (2.00 to 2.00)")
    draw(rows, tmp_path / "wait.png")
    assert (tmp_path / "wait.png").stat().st_size > 5_000


def test_a_run_waits_for_what_its_optimizer_says() -> None:
    published = lost_at_start(TrainConfig())
    assert published == pytest.approx(math.log(1 / 4e-5) / -math.log(0.99), abs=1)
    assert lost_at_start(TrainConfig(rmsprop_decay=0.9)) == pytest.approx(published / 10, rel=0.1)
    for other in (TrainConfig(rmsprop_start=0.0), TrainConfig(algo="ppo"), TrainConfig(rmsprop="torch")):
        assert lost_at_start(other) == 0


def test_how_large_a_runs_gradients_are_beside_epsilon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from optimizer_wait import main

    settings: dict[str, Any] = {
        "env": "gym:CartPole-v1",
        "observations": 800,
        "threads": 1,
        "tensorboard": False,
    }
    for start, small in ((1.0, False), (1e-9, True)):  # ten updates leave 0.9 of the start
        out = tmp_path / f"from{start:g}"
        rl_gns.train(rl_gns.TrainConfig(rmsprop_start=start, **settings), out, quiet=True)
        main(["--run", str(out)])
        said = capsys.readouterr().out
        assert "9,155 weights" in said
        assert ("below epsilon / 100 of 0.00%" not in said) == small
        assert said.rstrip().endswith(f"own share is {start * 0.99**10:.1e}")


STUDY = """
env = "gym:CartPole-v1"
goals = [100]
observations = 1_000
halflife = 100

[grid]
num_envs = [2, 8, 32]
rollout = [5]
learning_rate = [1e-3]
seeds = [1]

[train]
"""


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from optimizer_wait import main

    torch, unplayed = tmp_path / "torch.toml", tmp_path / "unplayed.toml"
    torch.write_text(STUDY + 'rmsprop = "torch"')
    unplayed.write_text(STUDY)
    for words, says in (
        ([], "name a study, or --paper"),
        (["nowhere"], "nowhere"),
        ([str(torch)], "only TensorFlow's RMSProp"),
        ([str(unplayed)], "no run"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert says in capsys.readouterr().err.splitlines()[-1]
