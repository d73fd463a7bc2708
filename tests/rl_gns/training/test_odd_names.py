"""Folders and files of unlikely names: a run must be read where it lies, and its files told from others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import rl_gns
from rl_gns.cli import main
from rl_gns.studies.view import progress
from rl_gns.training import checkpoint

CONFIG = rl_gns.TrainConfig(
    env="gym:CartPole-v1",
    num_envs=4,
    observations=2000,
    log_every=100,
    checkpoint_every=500,
    keep_every=500,
    tensorboard=False,
    threads=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rl_gns.Run:
    return rl_gns.train(CONFIG, tmp_path_factory.mktemp("odd") / "lr#2?x%41 ü", quiet=True)


def test_a_run_is_read_where_it_lies(run: rl_gns.Run) -> None:
    """In a database's address # and ? end the path, and %41 is an A."""
    assert run.metrics()["observations"].iloc[-1] == 2000
    assert progress(run.path, 4000) == 0.5
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name], "nothing was made beside it"


def test_a_copy_of_a_checkpoint_under_a_name_is_none(run: rl_gns.Run, tmp_path: Path) -> None:
    """Resumed is the newest by its number; the copy is left alone, also in `kept`."""
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    folder = path / "checkpoints"
    first, last = checkpoint.files(folder)
    for copy in (folder / "best.ckpt", path / "kept" / "best.ckpt"):
        shutil.copy(first, copy)
    assert checkpoint.newest(folder)[0] == last
    main(["train", "--resume", "--out", str(path), "--observations", "3000", "--quiet"])
    assert [file.stem.lstrip("0") for file in checkpoint.files(folder)] == ["2500", "3000"]
    assert [file.stem.lstrip("0") for file in checkpoint.files(path / "kept")][-2:] == ["2500", "3000"]


def test_states_are_equal_bit_for_bit() -> None:
    nan = torch.tensor([1.0, float("nan")])
    assert checkpoint.equal({"a": [nan]}, {"a": [nan.clone()]})
    assert not checkpoint.equal(nan, torch.tensor([1.0, 2.0]))
    assert not checkpoint.equal(torch.tensor(1), torch.tensor(1.0))
    assert not checkpoint.equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not checkpoint.equal(torch.zeros(2), torch.zeros(1, 2))
    assert not checkpoint.equal(torch.zeros(1), 0.0)


@pytest.mark.parametrize(
    ("config", "says"),
    [(b"\xff\xfe[train]\n", "is no run's config.toml"), (b"train = 5\n", "it has no [train]")],
)
def test_a_config_that_is_none_is_told(
    run: rl_gns.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: bytes, says: str
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(run.path / "metrics.db", tmp_path / "run")
    (tmp_path / "run" / "config.toml").write_bytes(config)
    with pytest.raises(SystemExit) as stopped:
        main(["noise", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_a_figure_that_can_t_be_written_is_told(
    run: rl_gns.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["noise", str(run.path), "--figure", str(tmp_path / "folder.png")])
    assert stopped.value.code == 2
    assert "folder.png can't be written: Is a directory" in capsys.readouterr().err


def test_a_run_that_starts_anew_before_its_first_checkpoint_has_no_row_twice_on_its_board(
    tmp_path: Path,
) -> None:
    """Killed before it had saved anything it is resumed at 0, and what it wrote by then counts no more."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = rl_gns.TrainConfig(env="gym:CartPole-v1", num_envs=4, observations=400, log_every=20, threads=1)
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    shutil.rmtree(run.path / "checkpoints")
    rl_gns.train(config, run.path, resume=True, quiet=True)
    board = EventAccumulator(str(run.path / "tensorboard"), purge_orphaned_data=True)
    board.Reload()
    steps = [event.step for event in board.Scalars("sps")]
    assert steps == sorted(set(steps))
    assert len(steps) == len(run.metrics())
