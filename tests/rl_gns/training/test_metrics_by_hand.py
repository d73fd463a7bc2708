"""The writer alone: what it commits is on the disk, whole or absent, each value under its own name."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rl_gns.errors import RunStopped
from rl_gns.training import metrics
from rl_gns.training.metrics import COLUMNS, MetricsWriter, read_table


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[MetricsWriter]:
    made = MetricsWriter(tmp_path / "metrics.db")
    yield made
    made.close()


def test_values_go_by_name_into_a_table_that_lacked_a_column_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    older = ", ".join(f"{name} REAL" for name in COLUMNS if name != "entropy")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f'CREATE TABLE metrics ("update" INTEGER PRIMARY KEY, {older})')
    wanted = {name: float(i) for i, name in enumerate(COLUMNS)}
    writer = MetricsWriter(path)
    writer.write(7, wanted, {}, [])
    writer.close()
    assert read_table(path, "metrics").to_dict("records") == [{"update": 7, **wanted}]


def test_what_is_committed_outlasts_a_loss_of_power(writer: MetricsWriter) -> None:
    said = [writer._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert said == ["wal", 2]


def test_a_row_that_is_interrupted_is_absent_and_the_next_is_whole(writer: MetricsWriter) -> None:
    def interrupted(value: Any) -> Iterator[Any]:
        yield value
        raise KeyboardInterrupt

    game, rung = (20, 0, 1.0, 2.0), ("laner", 4.0, 1.0, 0.25, 0.0, 1.0, 0.0)
    with pytest.raises(KeyboardInterrupt):
        writer.write(1, {"observations": 20.0}, {}, interrupted(game))
    with pytest.raises(KeyboardInterrupt):
        writer.write_ladder(1, 20, interrupted(rung))
    assert writer.newest == 0
    writer.write(2, {"observations": 40.0}, {}, [game])
    writer.write_ladder(2, 40, [rung])
    assert writer.newest == 2
    for table in ("metrics", "timing", "episodes", "ladder"):
        assert read_table(writer.path, table)["update"].tolist() == [2], table


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    with pytest.raises(RunStopped, match=r"metrics.db could not be written: file is not a database"):
        MetricsWriter(path)


@pytest.mark.parametrize("log", [False, True])
def test_in_a_folder_that_cannot_be_written_the_file_alone_is_read_unless_there_is_a_log(
    writer: MetricsWriter, monkeypatch: pytest.MonkeyPatch, log: bool
) -> None:
    writer.write(1, {"observations": 20.0}, {}, [])
    if not log:
        writer.close()
    asked: list[str] = []
    connect = sqlite3.connect

    def noted(address: str, **options: Any) -> sqlite3.Connection:
        asked.append(address)
        return connect(address, **options)

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(metrics.sqlite3, "connect", noted)
    assert read_table(writer.path, "metrics")["update"].tolist() == [1]
    assert [address.endswith("mode=ro&immutable=1") for address in asked] == [not log]
