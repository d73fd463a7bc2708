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
from typing import Literal

import numpy as np
import pandas as pd

from rl_gns.analysis import smooth, step_weighted_mean
from rl_gns.analysis.goals import crossing_of
from rl_gns.errors import UserError
from rl_gns.studies.packed import unpack
from rl_gns.training import checkpoint
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.metrics import read_table
from rl_gns.training.stopping import FEWEST_GAMES

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
    "noise_budget",
    "correlation_every",
    "correlation_envs",
    "noise_parts",
    "noise_parts_every",
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
    information: dict[float, float] = dataclasses.field(default_factory=dict)
    """Goal -> I(a; s) there, in nats: how far actions depend on what is seen. NaN where the run did not measure it."""
    start: float | None = None
    """Observations at which the smoothed score passed the study's start score: 0 without one, None before it did."""
    first: float | None = None
    """Observations at which a score was believed first: a goal reached there may have been reached long before."""
    packed: bool = dataclasses.field(default=False, compare=False)
    """Whether it was read from a committed archive, not from a run's directory."""

    @property
    def final(self) -> bool:
        """Whether nothing more will be run."""
        return self.status in ("done", "failed")


def read(
    folder: Path,
    planned: TrainConfig,
    goals: Sequence[float],
    failures: Path,
    start_score: float | None,
    archive: Path | None = None,
    most: float = 0.0,
) -> Outcome:
    """The outcome of the run in `folder`, which need not exist.

    What is finished in the directory counts first, then what is packed, then the directory as far as it is.

    Args:
        folder: the run's directory.
        planned: what the study wants it to be; its `observations` and `stop_score` say when it is done.
        goals: scores.
        failures: file of the reasons it failed for, a JSON string a line; need not exist.
        start_score: what came before this score is left out of noise-scale means.
        archive: the run packed, see `packed`; need not exist.
        most: budget that a run made before may have had, if more than `planned` has now.
    """
    reasons = read_failures(failures)
    found = _read_directory(folder, planned, goals, start_score, most)
    if found.status == "done":
        return found
    if found.status == "damaged" and found.reason.startswith("was made"):
        return found  # what it failed of was another run's
    if archive is not None and archive.is_file():
        packed = _read_archive(archive, planned, goals, start_score, most)
        if packed.status != "partial":
            return packed
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
    """The first setting in which a run on disk is not the planned one, in words; empty when there is none.

    A budget may differ, as what came after the planned one is cut off, but not where it stretches a schedule of rates.
    """
    names = sorted(
        (field.name for field in dataclasses.fields(TrainConfig)), key=lambda name: name != "stop_halflife"
    )
    for name in names:
        was, now = getattr(stored, name), getattr(planned, name)
        scheduled = name == "observations" and planned.schedule != "constant"
        if was != now and (scheduled or name not in MAY_DIFFER):
            why = " (halflife, which by default follows observations: write it down)" * (
                name == "stop_halflife"
            )
            return f"was made with {name}={was}, the study now says {now}{why}"
    return ""


def _read_directory(
    folder: Path, planned: TrainConfig, goals: Sequence[float], start_score: float | None, most: float
) -> Outcome:
    config_path, database = folder / "config.toml", folder / "metrics.db"
    checkpoints = bool(checkpoint.files(folder / "checkpoints"))
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
        if _passing(error):
            raise UserError(f"{database} can't be read just now ({error}): is it in use?") from None
        return Outcome("damaged", f"metrics.db can't be read ({' '.join(str(error).split())})")
    if metrics.empty:
        return Outcome("partial")
    try:
        most = max(most, planned.observations)
        found = _measured(metrics, episodes, goals, planned.stop_halflife, start_score, most)
    except ValueError as error:
        return Outcome("damaged", f"metrics.db makes no sense: {error}")
    if _finished(found, planned) and not (planned.correlation_every and _unsaved(folder, metrics)):
        return found
    if not checkpoints and found.observations > 2 * stored.checkpoint_every:
        return Outcome("damaged", "its checkpoints are gone")
    return dataclasses.replace(found, status="partial")


def _read_archive(
    path: Path, planned: TrainConfig, goals: Sequence[float], start_score: float | None, most: float
) -> Outcome:
    """What is packed; partial where the study now asks for more, which no archive can give."""
    try:
        run = unpack(path)
        if differs := difference(run.config, planned):
            raise ValueError(differs)
        metrics, episodes, most = run.table("metrics"), run.table("episodes"), max(most, planned.observations)
        found = _measured(metrics, episodes, goals, planned.stop_halflife, start_score, most)
    except (ValueError, KeyError) as error:
        return Outcome("damaged", f"{path} {error}", packed=True)
    return dataclasses.replace(found, status="done" if _finished(found, planned) else "partial", packed=True)


def _passing(error: Exception) -> bool:
    """Whether a file that can't be read now may be readable later: in use, not to be opened, a disk that failed."""
    code = getattr(error, "sqlite_errorcode", getattr(error.__cause__, "sqlite_errorcode", None))
    busy = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
    return code is not None and code & 0xFF in busy


def _unsaved(folder: Path, metrics: pd.DataFrame) -> bool:
    """Whether the newest checkpoint, which alone holds the correlation, is older than the newest row."""
    kept = checkpoint.files(folder / "checkpoints")
    return not kept or int(kept[-1].stem) < metrics["observations"].iloc[-1]


def _finished(found: Outcome, planned: TrainConfig) -> bool:
    stopped = planned.stop_score is not None and found.peak >= planned.stop_score
    return stopped or found.observations >= planned.observations


def _measured(
    metrics: pd.DataFrame,
    episodes: pd.DataFrame,
    goals: Sequence[float],
    halflife: float,
    start_score: float | None,
    most: float,
) -> Outcome:
    """What a run came to within `most` observations, which one made for a larger budget may have passed."""
    made = float(metrics["observations"].iloc[-1])
    updates = float(metrics["update"].iloc[-1])
    if made > most:
        updates, made = updates * most / made, most
        episodes = episodes[episodes["observations"] <= most]
    x, smoothed = smoothed_scores(episodes, halflife)
    crossings = {goal: crossing_of(x, smoothed, goal) for goal in goals}
    start = 0.0 if start_score is None else crossing_of(x, smoothed, start_score)
    return Outcome(
        "done",
        observations=made,
        updates=updates,
        peak=float(smoothed.max()) if smoothed.size else -math.inf,
        crossings=crossings,
        start=start,
        first=float(x[0]) if x.size else None,
        noise={
            goal: noise_until(metrics, at, halflife, start)
            for goal, at in crossings.items()
            if at is not None and start is not None
        },
        information={
            goal: information_at(metrics, at, halflife) for goal, at in crossings.items() if at is not None
        },
    )


def smoothed_scores(
    episodes: pd.DataFrame, halflife: float, centred: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Observations at which games ended and the score smoothed there, from the game on that is believed first.

    Args:
        episodes: a run's games, columns observations and score.
        halflife: of the smoothing, in observations.
        centred: whether to average over both sides, as `analysis.smooth` does; the runs themselves never do.
    """
    x, score = episodes["observations"].to_numpy(dtype=float), episodes["score"].to_numpy(dtype=float)
    smoothed = smooth(x, score, halflife, centred)
    believed = np.searchsorted(x, x, side="right") >= FEWEST_GAMES
    return x[believed], smoothed[believed]


def information_at(metrics: pd.DataFrame, at: float, halflife: float) -> float:
    """Mean I(a; s) in nats of the rows within `halflife` of `at` observations; NaN where none has it.

    The theory has no word of it: it says whether a policy that sees nothing could have come there.
    """
    if "information" not in metrics:  # a run of an older version
        return math.nan
    near = (metrics["observations"] - at).abs() <= halflife
    return float(metrics["information"][near].mean())


def noise_until(
    metrics: pd.DataFrame, at: float, halflife: float, start: float = 0.0
) -> tuple[float, float, float]:
    """Noise scale at `at` observations, its step-weighted mean from `start` to there, and the share known.

    As `analysis.noise_scale_at_goals`, for a crossing that is known already: the local value is interpolated in
    ln B_simple and NaN when no known row lies within `halflife`; unknown rows carry no weight in the mean.
    """
    x, noise_scale = (
        metrics["observations"].to_numpy(dtype=float),
        metrics["noise_scale"].to_numpy(dtype=float),
    )
    steps = np.diff(metrics["update"].to_numpy(dtype=float), prepend=0.0)
    known = np.isfinite(noise_scale) & (noise_scale > 0)
    local = mean = share = math.nan
    if known.any() and np.abs(x[known] - at).min() <= halflife:
        local = float(np.exp(np.interp(at, x[known], np.log(noise_scale[known]))))
    # The row that a goal falls into counts: in a run of few updates it may be the only one.
    span = (x > start) & (np.concatenate([[0.0], x[:-1]]) < at)
    if steps[span].sum() > 0:
        share = float(steps[span & known].sum() / steps[span].sum())
    seen = span & known & (steps > 0)
    if seen.any():
        mean = step_weighted_mean(noise_scale[seen], steps[seen])
    return local, mean, share
