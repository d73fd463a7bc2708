"""Run directories written by hand, with crossings that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rl_gns.studies.fits import fit
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.scope import Scope
from rl_gns.studies.study import COLUMNS, Study, load_study
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
        row["information"] = at / 1e6
        writer.write(max(round(at / run.batch), k), row, {}, some)
        last = int(at)
    writer.close()
    return folder


@pytest.fixture(name="write_run")
def _write_run() -> Callable[..., Path]:
    return write_run


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
            for factor in (0.8, 1.0, 1.25):
                for goal, b_crit in critical.items():
                    batch, bend = 5 * n, b_crit * scale
                    tuned = 1.0 if factor == 1.0 else 1.4
                    updates = 1000 * goal * law(batch, bend) * tuned * np.exp(scatter * rng.normal())
                    rate = 1e-3 / (1 + 150 / batch) ** 0.7 * factor
                    noise = ratio * bend * (batch / 100) ** noise_power * np.exp(wide * rng.normal())
                    row = [f"n{n}-{factor}-s{s}", n, 5, batch, rate, s, goal, updates * batch, updates]
                    rows.append([*row, False, noise, noise / 3, 1.0, "done", "", 9.0, math.nan])
    study = pd.DataFrame(rows, columns=COLUMNS)
    return Scope("made", fit(study, bootstrap=200), "breakout", True, 1.7)


@pytest.fixture(name="made")
def _made() -> Callable[..., Scope]:
    return made


MEASURED = """
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


def measured(study: Study, policy: float = 1.2, value: float = 0.05) -> Study:
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


@pytest.fixture(name="measured")
def _measured(study_of: Callable[..., Study]) -> Callable[..., Study]:
    """measured(policy=1.2, value=0.05) -> a study of runs on the law."""

    def make(**scales: float) -> Study:
        return measured(study_of(MEASURED), **scales)

    return make
