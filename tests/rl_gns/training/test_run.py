"""A run's directory, tables, commands for people, evaluation."""

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pandas as pd
import pytest

import rl_gns
from rl_gns.cli import main
from rl_gns.errors import RunStopped, UserError
from rl_gns.training import config as configs
from rl_gns.training.evaluate import _Film, evaluate
from rl_gns.training.loop import Trainer


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> rl_gns.Run:
    config = rl_gns.TrainConfig(
        env="atari:pong", num_envs=4, observations=5000, log_every=250, checkpoint_every=2000
    )
    return rl_gns.train(config, tmp_path_factory.mktemp("runs") / "pong", quiet=True)


def test_directory_holds_what_the_design_says(pong: rl_gns.Run) -> None:
    names = {p.name for p in pong.path.iterdir()}
    assert {"config.toml", "metrics.db", "checkpoints", "tensorboard"} <= names
    stored = tomllib.loads((pong.path / "config.toml").read_text())
    assert stored["train"]["num_envs"] == 4
    assert stored["train"]["learning_rate"] == 7e-4
    assert stored["versions"]["torch"]
    assert len(list((pong.path / "checkpoints").iterdir())) == 2
    assert not list(pong.path.glob("**/*.tmp"))


def test_metrics_have_the_public_columns(pong: rl_gns.Run) -> None:
    frame = rl_gns.load_run(pong.path).metrics()
    wanted = {
        "observations",
        "update",
        "score",
        "noise_scale",
        "noise_scale_low",
        "noise_scale_high",
        "signal",
        "noise",
    }
    assert wanted | {"policy_loss", "value_loss", "entropy", "sps"} <= set(frame.columns)
    assert len(frame) == 20
    assert frame["observations"].tolist() == [20 * u for u in frame["update"]]
    assert frame["observations"].is_monotonic_increasing
    assert (frame[["emulate", "act", "learn"]].sum(axis=1) < 1.05).all()
    known = frame.dropna(subset=["noise_scale"])
    assert (known["noise_scale_low"] <= known["noise_scale"]).all()
    assert (known["noise_scale"] <= known["noise_scale_high"]).all()
    ratio = 5 * known["noise"] / known["signal"]
    np.testing.assert_allclose(ratio, known["noise_scale"], rtol=1e-9)


def test_games_are_whole_and_unclipped(pong: rl_gns.Run) -> None:
    games = pong.episodes()
    assert len(games) >= 4
    assert games["score"].between(-21, 21).all()
    assert (games["length"] > 700).all()  # a lost game of Pong takes about 760 decisions


def test_same_seed_same_rows_other_seed_other_rows(tmp_path: Path) -> None:
    def rows(name: str, seed: int) -> pd.DataFrame:
        config = rl_gns.TrainConfig(
            env="gym:CartPole-v1", num_envs=4, observations=2000, log_every=200, seed=seed, tensorboard=False
        )
        run = rl_gns.train(config, tmp_path / name, quiet=True)
        return run.metrics().drop(columns=["seconds", "sps", "emulate", "act", "learn", "measure"])

    first = rows("a", 1)
    pd.testing.assert_frame_equal(first, rows("b", 1))
    assert not first.equals(rows("c", 2))


def test_a_run_killed_before_it_had_settings_starts_anew(tmp_path: Path) -> None:
    for name in ("lock", "config.tmp"):
        (tmp_path / name).touch()
    config = rl_gns.TrainConfig(env="gym:CartPole-v1", num_envs=4, observations=200, tensorboard=False)
    assert rl_gns.train(config, tmp_path, quiet=True).config.num_envs == 4
    (tmp_path / "config.toml").unlink()
    with pytest.raises(UserError, match="already exists"):
        rl_gns.train(config, tmp_path, quiet=True)


def test_tensorboard_mirrors_the_rows(pong: rl_gns.Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(pong.path / "tensorboard")).Reload()
    scalars = board.Scalars("signal")
    frame = pong.metrics()
    assert [s.step for s in scalars] == frame["observations"].astype(int).tolist()
    np.testing.assert_allclose([s.value for s in scalars], frame["signal"], rtol=1e-6)


def test_rl_gns_noise_prints_a_table_and_draws(pong: rl_gns.Run, tmp_path: Path, capsys) -> None:
    main(["noise", str(pong.path), "--figure", str(tmp_path / "n.png"), "--rows", "5"])
    printed = capsys.readouterr().out
    assert "noise scale" in printed
    assert (
        len(printed.strip().splitlines()) == 2 + 1 + 5 + 1 + 1
    )  # what the columns are, their names, rows, what is seen, figure
    picture = imageio.imread(tmp_path / "n.png")
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50


def test_eval_plays_whole_games_and_films_one(pong: rl_gns.Run, tmp_path: Path, capsys) -> None:
    main(["eval", str(pong.path), "--episodes", "2", "--video", str(tmp_path / "game.mp4")])
    printed = capsys.readouterr().out
    assert "game 1: score -" in printed
    with imageio.get_reader(tmp_path / "game.mp4") as film:
        frames = [frame for _, frame in zip(range(300), film, strict=False)]
    assert frames[0].shape == (420, 320, 3)
    assert np.abs(frames[50].astype(int) - frames[250].astype(int)).max() > 50  # something moves


def test_a_picture_of_numbers_is_refused_in_words(tmp_path: Path) -> None:
    with (
        closing(_Film(tmp_path / "game.gif", 30)) as film,
        pytest.raises(UserError, match="draws pictures of float64, where a film needs uint8"),
    ):
        film.show(np.zeros((4, 4, 3)))


def test_eval_repeats_with_its_seed(pong: rl_gns.Run) -> None:
    assert evaluate(pong, 1, seed=4) == evaluate(pong, 1, seed=4)


def test_games_beyond_the_sixteenth_are_of_no_other_seed(tmp_path: Path) -> None:
    config = rl_gns.TrainConfig(env="gym:CartPole-v1", num_envs=2, observations=100, tensorboard=False)
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    games = evaluate(run, 22, seed=0)
    assert games[16:] != evaluate(run, 6, seed=16)
    assert games == evaluate(run, 22, seed=0)
    longest = int(max(game.length for game in games))
    assert evaluate(run, 22, seed=0, max_decisions=longest) == games
    with pytest.raises(
        UserError, match=r"[0-9]+ of 16 games of gym:CartPole-v1 had not ended after [0-9]+ decisions"
    ):
        evaluate(run, 16, seed=0, max_decisions=int(max(game.length for game in games[:16])) - 1)
    with pytest.raises(UserError, match="max_decisions must be at least 1, got 0"):
        evaluate(run, 1, max_decisions=0)


def test_envs_lists_names_that_work(capsys) -> None:
    main(["envs"])
    names = capsys.readouterr().out.split()
    assert {"atari:pong", "atari:space_invaders", "gym:CartPole-v1", "solvable:chain"} <= set(names)


def test_help_does_not_wait_for_torch() -> None:
    program = (
        "import sys\nfrom rl_gns.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_a_worker_killed_while_games_are_restored_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rl_gns.TrainConfig(
        env="atari:pong", num_envs=4, observations=200, env_options={"workers": 2}, tensorboard=False
    )
    rl_gns.train(config, tmp_path / "run", quiet=True)
    restore = Trainer.load_state_dict

    def after_a_kill(trainer: Trainer, state: dict) -> None:
        worker = trainer.env._crew.workers[0]
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        restore(trainer, state)

    monkeypatch.setattr(Trainer, "load_state_dict", after_a_kill)
    with pytest.raises(RunStopped, match=r"ended \(exit code -9\); go on from .*ckpt with --resume") as error:
        rl_gns.train(config, tmp_path / "run", resume=True, quiet=True)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(Trainer, "load_state_dict", restore)
    rl_gns.train(config, tmp_path / "run", resume=True, quiet=True)


def test_workers_do_not_load_torch() -> None:
    program = "import sys, envs.atari_worker\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("env", ["gym:CartPole-v1", "atari:pong"])
def test_a_stop_before_the_first_update_leaves_a_run_that_can_be_gone_on_with(
    env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rl_gns.TrainConfig(env=env, num_envs=4, observations=200, log_every=100, tensorboard=False)
    rl_gns.train(config, tmp_path / "whole", quiet=True)
    save = configs.save

    def stopped(*arguments: Any) -> None:
        save(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(configs, "save", stopped)
        rl_gns.train(config, tmp_path / "stopped", quiet=True)
    assert not list((tmp_path / "stopped").glob("checkpoints/*"))
    rl_gns.train(config, tmp_path / "stopped", resume=True, quiet=True)
    rows = [rl_gns.load_run(tmp_path / name).metrics() for name in ("whole", "stopped")]
    names = ["observations", "score", "policy_loss", "noise_scale"]
    assert rows[0][names].equals(rows[1][names])


def test_the_noise_of_a_run_needs_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is under way has none for a while; a finished one may have lost them to somebody's disk."""
    config = rl_gns.TrainConfig(
        env="solvable:bandit", observations=2000, tensorboard=False, threads=1, log_every=100
    )
    run = rl_gns.train(config, tmp_path / "run", quiet=True)
    shutil.rmtree(run.path / "checkpoints")
    assert run.correlation().empty
    words = ["rl-gns", "noise", str(run.path), "--rows", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words)
        main()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("2,000"))
    assert line  # of one row, the newest
    (run.path / "metrics.db").write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    for name in ("-wal", "-shm"):
        (run.path / f"metrics.db{name}").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"metrics.db can't be read: file is not a database"):
        run.metrics()


def test_what_is_to_be_kept_oftener_than_checkpoints_are_written_is_written_too(tmp_path: Path) -> None:
    config = rl_gns.TrainConfig(
        env="gym:CartPole-v1", num_envs=8, observations=1000, keep_every=300, device="cpu", tensorboard=False
    )
    rl_gns.train(config, tmp_path / "run", quiet=True)
    assert [int(file.stem) for file in sorted((tmp_path / "run" / "kept").iterdir())] == [320, 600, 920]
