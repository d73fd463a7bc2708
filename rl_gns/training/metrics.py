"""The run's database: one SQLite file, one writer, write-ahead log, a transaction per metric row.

`update` is in every table that of the metric row something was written with, so that one cut drops all that is newer
than a checkpoint. Tables: `metrics` (everything that the seed determines, so that two equal runs have equal tables),
`episodes` (every finished game), `noise_parts` (noise scale of parts of the loss, where asked for), `ladder` (games
against scripts, where asked for), `timing` (what the clock says).
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import pandas as pd

from rl_gns.errors import RunStopped

COLUMNS = (
    "observations",
    "score",
    "games",
    "noise_scale",
    "noise_scale_low",
    "noise_scale_high",
    "signal",
    "noise",
    "policy_loss",
    "value_loss",
    "entropy",
    "information",
    "grad_norm",
    "clip_fraction",
    "approx_kl",
    "explained_variance",
    "learning_rate",
    "policy_lag",
)
PHASES = ("emulate", "act", "learn", "measure")
TIMING = ("seconds", "sps", *PHASES)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS metrics ("update" INTEGER PRIMARY KEY, {", ".join(f"{c} REAL" for c in COLUMNS)});
CREATE TABLE IF NOT EXISTS timing ("update" INTEGER PRIMARY KEY, {", ".join(f"{c} REAL" for c in TIMING)});
CREATE TABLE IF NOT EXISTS episodes ("update" INTEGER, observations INTEGER, stream INTEGER, score REAL, length REAL);
CREATE TABLE IF NOT EXISTS noise_parts ("update" INTEGER, observations INTEGER, part TEXT, noise_scale REAL,
    noise_scale_low REAL, noise_scale_high REAL, signal REAL, noise REAL);
CREATE TABLE IF NOT EXISTS ladder ("update" INTEGER, observations INTEGER, opponent TEXT, games REAL, wins REAL,
    score REAL, rating REAL, rating_deviation REAL, opponent_rating REAL);
"""
_METRICS = f'("update", {", ".join(COLUMNS)})'
"""By name: a column that an older version lacked was added at the end, wherever it stands in COLUMNS."""
PATIENCE = 60.0
"""Seconds to wait for somebody else's transaction on the database, as of a shell, before the run stops."""
TABLES = ("metrics", "timing", "episodes", "noise_parts", "ladder")


def _number(value: float | None) -> float | None:
    """SQLite keeps no NaN: it would become NULL unasked; say so once, here."""
    return None if value is None or math.isnan(value) else float(value)


class MetricsWriter:
    """The one writer of a run's metrics.db."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
        except sqlite3.Error as error:
            raise RunStopped(f"{path} could not be opened: {error}") from error
        self._guard("PRAGMA journal_mode=WAL")
        self._guard("PRAGMA synchronous=FULL")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._guard(statement)
        known = {row[1] for row in self._guard("PRAGMA table_info(metrics)")}
        for name in COLUMNS:
            if name not in known:  # a run of an older version
                self._guard(f"ALTER TABLE metrics ADD COLUMN {name} REAL")

    def _guard(self, statement: str, values: tuple[float | int | str | None, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.DatabaseError as error:  # also of a file that is damaged, or no database
            raise RunStopped(f"{self.path} could not be written: {error}; what it held is kept") from error

    def write(
        self,
        update: int,
        row: Mapping[str, float],
        timing: Mapping[str, float],
        episodes: Iterable[tuple[int, int, float, float]],
        parts: Iterable[tuple[str, Mapping[str, float]]] = (),
    ) -> None:
        """Append one metric row with the games finished since the last, in one transaction.

        Args:
            update: optimizer updates so far.
            row: values of COLUMNS; missing ones are stored as NULL.
            timing: values of TIMING.
            episodes: (observations, stream, score, length) of each game finished since the last row.
            parts: (name, noise columns) for each measured part.

        Raises:
            RunStopped: the disk is full or read-only; the row is absent as a whole.
        """
        self._guard("BEGIN IMMEDIATE")
        try:
            self._insert("metrics", (update, *(_number(row.get(name)) for name in COLUMNS)), _METRICS)
            self._insert("timing", (update, *(_number(timing.get(name)) for name in TIMING)))
            for episode in episodes:
                self._insert("episodes", (update, *episode))
            names = ("noise_scale", "noise_scale_low", "noise_scale_high", "signal", "noise")
            for part, values in parts:
                cells = (_number(values.get(name)) for name in names)
                self._insert("noise_parts", (update, row["observations"], part, *cells))
            self._guard("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _insert(self, table: str, values: tuple[float | int | str | None, ...], names: str = "") -> None:
        self._guard(f"INSERT INTO {table} {names} VALUES ({', '.join('?' * len(values))})", values)

    def write_ladder(self, update: int, observations: int, rows: Iterable[tuple[str | float, ...]]) -> None:
        """Append rows (opponent, games, wins, score, rating, its deviation, opponent's rating), in one transaction."""
        self._guard("BEGIN IMMEDIATE")
        try:
            for row in rows:
                self._insert("ladder", (update, observations, *row))
            self._guard("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # a disk that fails here too is not what to tell of
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @property
    def newest(self) -> int:
        """Updates at the newest metric row, 0 without one."""
        return int(self._guard('SELECT MAX("update") FROM metrics').fetchone()[0] or 0)

    def drop_after(self, update: int) -> None:
        """Forget all rows newer than a checkpoint, in one transaction."""
        self._guard("BEGIN IMMEDIATE")
        for table in TABLES:
            self._guard(f'DELETE FROM {table} WHERE "update" > ?', (update,))
        self._guard("COMMIT")

    def close(self) -> None:
        """Fold the log into the file and close it."""
        self._db.close()


def read_only(path: Path) -> str:
    """The database's address for reading; quoted, since a # or ? in a folder's name would end it early."""
    return f"{path.absolute().as_uri()}?mode=ro"


def read_table(path: Path, table: str) -> pd.DataFrame:
    """One table of a run's database, also while the run is writing, or from a folder that can't be written."""
    if table not in TABLES:
        raise ValueError(f"no table {table!r}; there are {', '.join(TABLES)}")
    # A write-ahead log's index must be writable; without a log, the file alone is the whole truth.
    whole = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    with closing(sqlite3.connect(read_only(path) + "&immutable=1" * whole, uri=True)) as db:
        frame = pd.read_sql_query(f"SELECT * FROM {table} ORDER BY rowid", db)
    return frame.astype(
        {c: float for c in frame.columns if c not in ("update", "stream", "part", "opponent")}
    )
