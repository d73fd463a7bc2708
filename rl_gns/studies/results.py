"""What one run directory says about its run: how far it came, when it reached each goal, its noise scale there.

It only reads. A directory that can't be trusted is `damaged`, with the reason; it never counts as a result.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from rl_gns.analysis import noise_scale_at_goals, smooth
from rl_gns.analysis.goals import crossing_of
from rl_gns.errors import UserError
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.metrics import read_table

Status = Literal["pending", "partial", "done", "failed", "damaged"]
ATTEMPTS = 2
"""A run that fails is tried once more."""
MAY_DIFFER = (
    "observations",
    "stop_score",
    "threads",
    "device",
    "checkpoint_every",
    "log_every",
    "tensorboard",
)
"""Settings that a study's file may change after a run was made."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run so far."""

    status: Status
    reason: str = ""
    """Why it failed, is damaged, or failed once before."""
    observations: float = 0.0
    updates: float = 0.0
    peak: float = -math.inf
    """Best smoothed score."""
    crossings: dict[float, float | None] = dataclasses.field(default_factory=dict)
    """Goal -> observations at which the smoothed score first reached it; None: not yet."""
    noise: dict[float, tuple[float, float, float]] = dataclasses.field(default_factory=dict)
    """Goal -> noise scale there, its step-weighted mean until there, share of those steps where it was known."""

    @property
    def final(self) -> bool:
        """Whether nothing more will be run."""
        return self.status in ("done", "failed")


def read(
    folder: Path, planned: TrainConfig, goals: Sequence[float], failures: Path, start_score: float | None
) -> Outcome:
    """The outcome of the run in `folder`, which need not exist.

    Args:
        folder: the run's directory.
        planned: what the study wants it to be; its `observations` and `stop_score` say when it is done.
        goals: scores.
        failures: file of the reasons it failed for, a JSON string a line; need not exist.
        start_score: what came before this score is left out of noise-scale means.
    """
    reasons = read_failures(failures)
    found = _read_directory(folder, planned, goals, start_score)
    if found.status == "done":
        return found
    if len(reasons) >= ATTEMPTS:
        return dataclasses.replace(found, status="failed", reason=reasons[-1])
    if reasons and not found.reason:
        return dataclasses.replace(found, reason=f"failed once: {reasons[-1]}")
    return found


def read_failures(path: Path) -> list[str]:
    """Reasons of a run's failures, oldest first; a line cut short by a kill is passed over."""
    reasons = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            reasons.append(str(json.loads(line)))
        except json.JSONDecodeError:
            continue
    return reasons


def difference(stored: TrainConfig, planned: TrainConfig) -> str:
    """The first setting in which a run on disk is not the planned one, in words; empty when there is none."""
    for field in dataclasses.fields(TrainConfig):
        was, now = getattr(stored, field.name), getattr(planned, field.name)
        if was != now and field.name not in MAY_DIFFER:
            return f"was made with {field.name}={was}, the study now says {now}"
    if stored.observations > planned.observations:
        return f"was made for {stored.observations:,.0f} observations, the study now says {planned.observations:,.0f}"
    return ""


def _read_directory(
    folder: Path, planned: TrainConfig, goals: Sequence[float], start_score: float | None
) -> Outcome:
    config_path, database = folder / "config.toml", folder / "metrics.db"
    checkpoints = any((folder / "checkpoints").glob("*.ckpt"))
    if not config_path.is_file() or not database.is_file():
        if checkpoints or (database.is_file() and not config_path.is_file()):
            missing = "config.toml" if not config_path.is_file() else "metrics.db"
            return Outcome("damaged", f"{missing} is gone")
        return Outcome("pending")
    try:
        stored = configs.load(config_path)
    except UserError as error:
        return Outcome("damaged", f"made by another version? {error}")
    if differs := difference(stored, planned):
        return Outcome("damaged", differs)
    try:
        metrics, episodes = read_table(database, "metrics"), read_table(database, "episodes")
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        if not checkpoints and "no such table" in str(error):
            return Outcome("pending")
        return Outcome("damaged", f"metrics.db can't be read ({' '.join(str(error).split())})")
    if metrics.empty:
        return Outcome("partial")
    try:
        found = _measured(metrics, episodes, goals, planned.stop_halflife, start_score)
    except ValueError as error:
        return Outcome("damaged", f"metrics.db makes no sense: {error}")
    stopped = planned.stop_score is not None and found.peak >= planned.stop_score
    if stopped or found.observations >= planned.observations:
        return found
    if not checkpoints and found.observations > 2 * stored.checkpoint_every:
        return Outcome("damaged", "its checkpoints are gone")
    return dataclasses.replace(found, status="partial")


def _measured(
    metrics: pd.DataFrame,
    episodes: pd.DataFrame,
    goals: Sequence[float],
    halflife: float,
    start_score: float | None,
) -> Outcome:
    x, score = episodes["observations"].to_numpy(dtype=float), episodes["score"].to_numpy(dtype=float)
    smoothed = smooth(x, score, halflife)
    crossings = {goal: crossing_of(x, smoothed, goal) for goal in goals}
    at_goals = noise_scale_at_goals(_interleaved(metrics, episodes), goals, halflife, start_score)
    noise = {
        float(goal): (float(local), float(mean), float(share))
        for goal, local, mean, share in zip(
            at_goals["goal"],
            at_goals["noise_scale"],
            at_goals["mean_noise_scale"],
            at_goals["known_share"],
            strict=True,
        )
    }
    last = metrics.iloc[-1]
    return Outcome(
        "done",
        observations=float(last["observations"]),
        updates=float(last["update"]),
        peak=float(smoothed.max()) if smoothed.size else -math.inf,
        crossings=crossings,
        noise=noise,
    )


def _interleaved(metrics: pd.DataFrame, episodes: pd.DataFrame) -> pd.DataFrame:
    """Metric rows and finished games as one table, so that noise is read off where the games say the goal was met.

    Games carry the update of the metric row before them: all steps then weigh on the metric rows.
    """
    x = metrics["observations"].to_numpy(dtype=float)
    before = np.searchsorted(x, episodes["observations"].to_numpy(dtype=float), side="left") - 1
    updates = np.concatenate([[0.0], metrics["update"].to_numpy(dtype=float)])
    games = pd.DataFrame(
        {"observations": episodes["observations"], "score": episodes["score"], "update": updates[before + 1]}
    )
    rows = metrics[["observations", "update", "noise_scale"]].assign(score=np.nan)
    both: Any = pd.concat(
        [games.assign(noise_scale=np.nan), rows[["observations", "score", "update", "noise_scale"]]]
    )
    return pd.DataFrame(both.sort_values("observations", kind="stable").reset_index(drop=True))
