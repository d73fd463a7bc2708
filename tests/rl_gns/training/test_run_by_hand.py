"""What decides when a run logs, saves, stops and goes on, each by itself; and what a second process does of it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.ranks import Ranks
from rl_gns.errors import UserError
from rl_gns.training import config as configs
from rl_gns.training import rows, run
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

BANDIT = TrainConfig(env="solvable:bandit", num_envs=4, rollout=5, threads=1, tensorboard=False)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    configs.save(resolve(TrainConfig(env="gym:CartPole-v1")), tmp_path / "config.toml", {})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("observations", 5e5),
        ("device", "cpu"),
        ("threads", 3),
        ("checkpoint_every", 7.0),
        ("keep_every", 7.0),
        ("tensorboard", False),
        ("stop_score", 5.0),
        ("chunk", 64),
    ],
)
def test_what_may_be_another_when_a_run_goes_on(stored: Path, name: str, value: Any) -> None:
    asked = TrainConfig(**{name: value})
    assert getattr(run._settings_to_resume(stored, asked, []), name) != value
    assert getattr(run._settings_to_resume(stored, asked, [name]), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2),
        ("learning_rate", 1.0),
        ("log_every", 7.0),
        ("noise_budget", 0.5),
        ("env_options", {"sutton_barto_reward": True}),
    ],
)
def test_what_may_not(stored: Path, name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"was trained with {name}="):
        run._settings_to_resume(stored, TrainConfig(**{name: value}), [name])


class Second(Ranks):
    def __init__(self) -> None:
        self.count, self.rank = 2, 1


@contextmanager
def second() -> Iterator[Ranks]:
    yield Second()


def test_what_is_not_the_default_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(run, "_train_together", lambda *arguments: told.append(arguments))
    run.train(TrainConfig(seed=3, num_envs=4))
    run.train(TrainConfig(seed=3), given=["observations"])
    assert [arguments[-1] for arguments in told] == [["num_envs", "seed"], ["observations"]]


def test_a_second_process_is_quiet_and_the_firsts_directory_is_not_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").touch()
    followed: list[Any] = []
    monkeypatch.setattr(run, "together", second)
    monkeypatch.setattr(run, "_follow", lambda *arguments: followed.append(arguments))
    run.train(BANDIT, tmp_path)
    assert followed == [(resolve(BANDIT), tmp_path, False)]


def test_who_follows_goes_on_from_the_checkpoint_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run.train(dataclasses.replace(BANDIT, observations=100), tmp_path / "run", quiet=True)
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    began: list[float] = []
    update = Trainer.update

    def noted(trainer: Trainer) -> None:
        began.append(trainer.observations)
        update(trainer)

    monkeypatch.setattr(Trainer, "update", noted)
    longer = dataclasses.replace(made.config, observations=140)
    run._follow(longer, made.path, resume=True)
    assert began == [100, 120]
    began.clear()
    run._follow(longer, made.path, resume=False)
    assert began[0] == 0
    assert {path: path.stat().st_mtime_ns for path in made.path.rglob("*")} == before


@pytest.mark.parametrize(("observations", "saves"), [(250, [100, 200, 260]), (200, [100, 200])])
def test_a_state_is_saved_when_it_is_due_and_at_the_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observations: int, saves: list[int]
) -> None:
    found: list[int] = []
    monkeypatch.setattr(run, "_save", lambda trainer, *_: found.append(trainer.observations))
    config = dataclasses.replace(BANDIT, observations=observations, checkpoint_every=100)
    run.train(config, tmp_path / "run", quiet=True)
    assert found == saves


def test_what_is_due_every_so_often_is_due_at_multiples() -> None:
    assert [run._next(at, 250) for at in (0, 249, 250, 260)] == [250, 250, 500, 500]


def test_a_run_whose_budget_came_down_below_where_it_is_has_a_row_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trainer.update

    def stopped(trainer: Trainer) -> None:
        update(trainer)
        if trainer.updates == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "update", stopped)
    config = dataclasses.replace(BANDIT, observations=1000, log_every=500)
    made = run.train(config, tmp_path / "run", quiet=True)
    assert made.metrics().empty
    for _ in range(2):
        run.train(dataclasses.replace(config, observations=40), made.path, resume=True, quiet=True)
        assert made.metrics()["observations"].tolist() == [60]


def test_signals_are_noted_until_a_second_interrupt_and_then_somebody_elses_again() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.getsignal(number) for number in numbers]
    with run._stop_on_signals() as stop:
        assert not stop
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_checkpoint_that_lacks_something_is_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(BANDIT, observations=40)
    made = run.train(config, tmp_path / "run", quiet=True)

    def lacking(trainer: Trainer, state: dict[str, Any]) -> None:
        raise KeyError("meter")

    monkeypatch.setattr(Trainer, "load_state_dict", lacking)
    before = (made.path / "config.toml").read_bytes()
    longer = dataclasses.replace(config, observations=80)
    with pytest.raises(UserError, match="lacks 'meter': it is of another version; start the run anew"):
        run.train(longer, made.path, resume=True, quiet=True)
    assert (made.path / "config.toml").read_bytes() == before, "it can't go on with them"
    monkeypatch.undo()
    run.train(longer, made.path, resume=True, quiet=True)
    assert "observations = 80" in (made.path / "config.toml").read_text()


@pytest.mark.parametrize("moved", [False, True])
def test_random_numbers_that_begin_anew_on_another_kind_of_device_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moved: bool
) -> None:
    config = dataclasses.replace(BANDIT, observations=40)
    made = run.train(config, tmp_path / "run", quiet=True)
    monkeypatch.setattr(run, "of_another_kind", lambda *_: moved)
    run.train(config, made.path, resume=True)
    assert ("random numbers begin anew on cpu" in capsys.readouterr().err) is moved


@pytest.mark.parametrize(
    ("said", "commit"), [("{here}\nabc\n", "abc"), ("/elsewhere\nabc\n", "unknown"), ("", "unknown")]
)
def test_the_commit_is_that_of_this_repository_alone(
    monkeypatch: pytest.MonkeyPatch, said: str, commit: str
) -> None:
    here = Path(run.__file__).resolve().parents[2]
    answer = SimpleNamespace(stdout=said.format(here=here))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert run._facts()["versions"]["commit"] == commit


def test_a_runs_default_name() -> None:
    assert run.default_name(resolve(TrainConfig(env="atari:pong"))) == "pong-a2c-n16-t5-lr0.0007-s1"
    slashed = resolve(TrainConfig(env="gym:a/B-v0", algo="ppo", num_envs=2, learning_rate=1e-4, seed=7))
    assert run.default_name(slashed) == "a_B-v0-ppo-n2-t128-lr0.0001-s7"


def test_only_numbers_that_are_known_are_mirrored() -> None:
    seen: list[Any] = []
    board = SimpleNamespace(add_scalar=lambda *scalar: seen.append(scalar))
    rows.mirror(board, {"observations": 40.0, "score": float("nan"), "signal": 2.0}, 9.0, 40)
    assert seen == [("signal", 2.0, 40), ("sps", 9.0, 40)]
