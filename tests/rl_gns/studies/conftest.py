"""Run directories written by hand, with crossings that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.study import Study, load_study
from rl_gns.training import config as configs
from rl_gns.training.metrics import MetricsWriter

STUDY = """
env = "gym:CartPole-v1"
goals = [100, 200]
observations = 1_000_000
halflife = 100

[grid]
num_envs = [2, 8, 32, 128, 512]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2]
"""


@pytest.fixture
def study_of(tmp_path: Path) -> Callable[..., Study]:
    """study_of(text) -> the study of that text."""

    def make(text: str = STUDY) -> Study:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load_study(path)

    return make


def write_run(
    study: Study, run: PlannedRun, ramp: float, noise_scale: float = 500.0, until: float | None = None
) -> Path:
    """A finished run whose score is 300 x / ramp at x observations: it reaches score g at about g ramp / 300.

    It ends where the study would stop it, or at `until`. Games end every halflife / 20 observations.
    """
    folder = study.folder(run)
    folder.mkdir(parents=True)
    configs.save(run.config, folder / "config.toml", {})
    every = study.spec.halflife / 20
    stop = study.spec.goals[-1] * ramp / 300 + 3 * study.spec.halflife
    end = min(run.config.observations, stop) if until is None else until
    x = np.arange(1, math.ceil(end / every) + 1) * every
    writer = MetricsWriter(folder / "metrics.db")
    games = [(int(at), 0, 300 * at / ramp, 10.0) for at in x.tolist()]
    last = 0
    for k in range(1, 21):
        at = max(end * k / 20, run.batch * (k + 1))
        some = [game for game in games if last < game[0] <= at]
        row = {"observations": at, "score": 300 * at / ramp, "noise_scale": noise_scale}
        writer.write(max(round(at / run.batch), k), row, {}, some)
        last = int(at)
    writer.close()
    return folder


@pytest.fixture(name="write_run")
def _write_run() -> Callable[..., Path]:
    return write_run
