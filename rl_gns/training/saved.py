"""One run is one directory, and the directory is the only truth about the run.

config.toml     every setting, and the versions and machine it ran on
metrics.db      metric rows, finished games, timing (see `metrics.py`)
checkpoints/    the newest two (see `checkpoint.py`)
kept/           those that `keep_every` keeps
tensorboard/    a mirror of the metric rows
lock            held by the process that trains it
"""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd

from rl_gns.errors import UserError
from rl_gns.training import checkpoint
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.correlation import autocorrelation, predictions
from rl_gns.training.metrics import read_table


@dataclasses.dataclass(frozen=True)
class Run:
    """A run on disk, finished or not. Tables raise UserError where its database can't be read."""

    path: Path
    config: TrainConfig

    def metrics(self) -> pd.DataFrame:
        """One row per log interval: update, observations, score, noise scale and interval, loss parts, sps …."""
        return self._table("metrics").merge(self._table("timing"), on="update", how="left")

    def episodes(self) -> pd.DataFrame:
        """One row per finished game: update (of its metric row), observations, stream, score, length."""
        return self._table("episodes")

    def noise_parts(self) -> pd.DataFrame:
        """Noise scale of the loss's parts where they were asked for: update, observations, part, noise columns."""
        return self._table("noise_parts")

    def ladder(self) -> pd.DataFrame:
        """Games against scripts where `ladder_every` asked: observations, opponent, games, wins, score, rating …."""
        return self._table("ladder")

    def _table(self, name: str) -> pd.DataFrame:
        try:
            return read_table(self.path / "metrics.db", name)
        except (sqlite3.Error, pd.errors.DatabaseError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"{self.path / 'metrics.db'} can't be read: {reason}") from None

    def correlation(self) -> pd.DataFrame:
        """Predictions for other rollout lengths from the correlation measured so far (see `--correlation-every`)."""
        return predictions(self._correlation_state())

    def autocorrelation(self) -> tuple[pd.Series, float]:
        """Of single observations' gradients within a rollout, by lag, and the integrated correlation time in steps."""
        return autocorrelation(self._correlation_state())

    def _correlation_state(self) -> Any:
        """Empty where it is not measured, and before the first checkpoint."""
        asked = self.config.correlation_every > 0
        there = asked and bool(checkpoint.files(self.path / "checkpoints"))
        return self.checkpoint().get("correlation", {}) if there else {}

    def checkpoint(self, file: str | Path | None = None) -> dict[str, Any]:
        """The newest complete checkpoint's state, or that of one `file`, of `kept` perhaps.

        Raises:
            UserError: it is no complete checkpoint, or there is none.
        """
        if file is None:
            return checkpoint.newest(self.path / "checkpoints")[1]
        try:
            return checkpoint.read(Path(file))
        except (ValueError, OSError) as error:
            raise UserError(f"{file} can't be used: {error}") from None


def load_run(path: str | Path) -> Run:
    """Open a run's directory.

    Raises:
        UserError: it is none.
    """
    path = Path(path)
    if not (path / "config.toml").is_file() or not (path / "metrics.db").is_file():
        raise UserError(f"{path} is no run: it has no config.toml and metrics.db")
    return Run(path, configs.load(path / "config.toml"))
