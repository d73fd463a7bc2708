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
    """A run on disk, finished or not."""

    path: Path
    config: TrainConfig

    def metrics(self) -> pd.DataFrame:
        """One row per log interval: update, observations, score, noise scale and interval, loss parts, sps …."""
        database = self.path / "metrics.db"
        return read_table(database, "metrics").merge(read_table(database, "timing"), on="update", how="left")

    def episodes(self) -> pd.DataFrame:
        """One row per finished game: update (of its metric row), observations, stream, score, length."""
        return read_table(self.path / "metrics.db", "episodes")

    def noise_parts(self) -> pd.DataFrame:
        """Noise scale of the loss's parts where they were asked for: update, observations, part, noise columns."""
        return read_table(self.path / "metrics.db", "noise_parts")

    def ladder(self) -> pd.DataFrame:
        """Games against scripts where `ladder_every` asked: observations, opponent, games, wins, score, rating …."""
        return read_table(self.path / "metrics.db", "ladder")

    def correlation(self) -> pd.DataFrame:
        """Predictions for other rollout lengths from the correlation measured so far (see `--correlation-every`)."""
        return predictions(self.checkpoint().get("correlation", {}))

    def autocorrelation(self) -> tuple[pd.Series, float]:
        """Of single observations' gradients within a rollout, by lag, and the integrated correlation time in steps."""
        return autocorrelation(self.checkpoint().get("correlation", {}))

    def checkpoint(self, file: Path | None = None) -> dict[str, Any]:
        """The newest complete checkpoint's state, or that of one `file`, of `kept` perhaps.

        Raises:
            UserError: it is no complete checkpoint, or there is none.
        """
        if file is None:
            return checkpoint.newest(self.path / "checkpoints")[1]
        try:
            return checkpoint.read(file)
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
