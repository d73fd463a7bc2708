"""A run's rows as they are written: into its database, its TensorBoard mirror, and in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rl_gns.errors import RunStopped
from rl_gns.training.loop import Trainer
from rl_gns.training.metrics import PHASES, MetricsWriter
from rl_gns.training.progress import describe

ROWS_BLIND = 3
"""Rows on end that find a network blind before it is said: it should be none."""


class Log:
    """Writes metric rows, with the time that passed since the row before."""

    def __init__(self, trainer: Trainer, writer: MetricsWriter | None, board: Any, started: float) -> None:
        self.trainer, self.writer, self.board, self.started = trainer, writer, board, started
        self.clock, self.before = started, trainer.observations
        self._blind = 0

    def row(self) -> str:
        """Write one; returns it in words."""
        trainer, now = self.trainer, time.monotonic()
        passed = max(now - self.clock, 1e-9)
        timing = {name: trainer.seconds[name] / passed for name in PHASES}
        sps = (trainer.observations - self.before) / passed
        row, episodes = trainer.take_row()
        parts = trainer.parts.rows()
        if self.writer is not None:
            seconds = {"seconds": now - self.started, "sps": sps, **timing}
            self.writer.write(trainer.updates, row, seconds, episodes, parts)
        if self.board is not None:
            scales = {f"noise_parts/{part}": values["noise_scale"] for part, values in parts}
            with writing(Path(self.board.log_dir)):
                mirror(self.board, row | scales, sps, trainer.observations)
        reading = trainer.meter.read()
        score = None if not trainer.tally.recent else trainer.tally.score
        self._blind = self._blind + 1 if trainer.look.same else 0
        self.clock, self.before = time.monotonic(), trainer.observations
        trainer.seconds = dict.fromkeys(PHASES, 0.0)
        return describe(trainer.observations, trainer.config.observations, sps, score, str(reading), timing)

    @property
    def warning(self) -> str:
        """A line for the row that makes it certain that the network is dead; empty at all others."""
        if self._blind != ROWS_BLIND or self.trainer.config.network == "blind":
            return ""
        return (
            f"at {self.trainer.observations:,} observations the network makes the same of whatever it is shown, "
            "actions and value: its units are dead, as they may be after steps that were too long, and stay so; start "
            "again with a lower --learning-rate (docs/runs.md)"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full or read-only disk ends the run in one line."""
    try:
        yield
    except OSError as error:
        raise RunStopped(f"{path} could not be written: {error.strerror or error}") from error


def board_of(folder: Path, observations: int) -> Any:
    """A TensorBoard writer, which forgets what an earlier process wrote after so many observations."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=observations + 1)


@contextmanager
def mirrored(folder: Path, observations: int, wanted: bool) -> Iterator[Any]:
    """A run's TensorBoard mirror while it is trained, None where none is `wanted`."""
    if not wanted:
        yield None
        return
    with writing(folder):
        board = board_of(folder, observations)
    try:
        yield board
    except BaseException:
        with suppress(OSError):  # that of the mirror is not what to tell of
            board.close()
        raise
    with writing(folder):
        board.close()


def mirror(board: Any, row: dict[str, float], sps: float, observations: int) -> None:
    """Put what a row knows onto the mirror; NaN is not drawn."""
    for name, value in {**row, "sps": sps}.items():
        if name != "observations" and value == value:
            board.add_scalar(name, value, observations)
