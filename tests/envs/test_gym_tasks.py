"""Tasks as people write them: unpicklable, drawing from NumPy's stream, with one buffer, with infos of all kinds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import envs
import rl_gns
from envs.batched import EnvError
from rl_gns.errors import RunStopped, UserError
from rl_gns.training.config import resolve
from rl_gns.training.loop import Trainer

LENGTH = 5


class Task(gymnasium.Env[np.ndarray, int]):
    """Counts its steps into the one buffer it has, up to a time limit of its own."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, **ways: Any) -> None:
        self.ways, self.steps, self.games, self.buffer = ways, 0, 0, np.zeros(2, np.float32)
        if ways.get("unpicklable"):
            self.of_its_own = lambda: None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if self.ways.get("bad_reset"):
            raise ValueError("no level\nfile")
        self.games += 1
        if self.games > self.ways.get("games", math.inf):
            self.of_its_own = lambda: None
        self.steps, self.buffer[:] = 0, (0, 100)
        return self.buffer, {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.buffer[:] = self.steps
        if self.ways.get("elsewhere"):
            self.buffer[1] = np.random.random() + random.random()  # noqa: NPY002
        if self.steps == self.ways.get("nan_at"):
            self.buffer[1] = np.nan
        first = int(self.np_random.integers(2))
        info = {"path": np.zeros(self.steps + 10 * first), "why": "wall" if first else 7, "n": {"a": 1}}
        won = self.steps == self.ways.get("wins_at")
        return self.buffer, 1.0, won, self.steps == LENGTH, info


@pytest.fixture
def task() -> Iterator[Callable[..., str]]:
    names: list[str] = []

    def make(**ways: Any) -> str:
        names.append(f"AsWritten-v{len(names)}")
        gymnasium.register(names[-1], partial(Task, **ways))
        return f"gym:{names[-1]}"

    yield make
    for name in names:
        del gymnasium.registry[name]


def config(env: str, **settings: Any) -> rl_gns.TrainConfig:
    fixed = {"num_envs": 4, "rollout": 5, "observations": 400, "tensorboard": False, "threads": 1}
    return rl_gns.TrainConfig(env=env, **{**fixed, **settings})


def test_the_last_observation_of_a_game_is_not_the_next_games_first(task: Callable[..., str]) -> None:
    """Infos that no two tasks have alike do not matter meanwhile."""
    with envs.make(task(), 4, seed=1) as env:
        env.reset()
        for _ in range(3):
            for _ in range(LENGTH - 1):
                assert env.step(torch.zeros(4, dtype=torch.int64)).final_obs is None
            last = env.step(torch.zeros(4, dtype=torch.int64))
            assert last.truncated.all()
            assert last.final_obs is not None
            assert torch.equal(last.final_obs, torch.full((4, 2), float(LENGTH)))
            assert torch.equal(last.obs, torch.tensor([[0.0, 100.0]] * 4))


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("unpicklable", r"can't be snapshotted \(.*lambda"),
        ("elsewhere", "can't be snapshotted: the same game gone on with twice went two ways"),
        ("bad_reset", r"failed in a reset \(ValueError: no level file\)"),
    ],
)
def test_what_cannot_be_checkpointed_is_refused_before_it_is_trained_on(
    task: Callable[..., str], tmp_path: Path, way: str, says: str
) -> None:
    name = task(**{way: True})
    before = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    with pytest.raises(UserError, match=says) as refused:
        rl_gns.train(config(name), tmp_path / "run", quiet=True)
    assert "\n" not in str(refused.value)
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index]  # noqa: NPY002
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    rl_gns.train(config(task()), tmp_path / "run", quiet=True)  # the name is not lost


def test_a_finished_run_whose_games_cannot_be_kept_has_its_weights(
    task: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = rl_gns.train(config(task(games=9)), tmp_path / "run")
    assert "this run can be evaluated, but not gone on with" in " ".join(capsys.readouterr().err.split())
    assert all(bool(tensor.isfinite().all()) for tensor in run.checkpoint()["policy"].values())
    with pytest.raises(UserError, match="holds no games"):
        rl_gns.train(config(run.config.env, observations=800), tmp_path / "run", resume=True, quiet=True)


def test_one_that_is_not_finished_says_where_to_go_on(task: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(RunStopped, match=r"can't be snapshotted .*; no checkpoint was written yet"):
        rl_gns.train(config(task(games=9), checkpoint_every=300), tmp_path / "run", quiet=True)


def test_an_observation_that_is_no_number_is_not_blamed_on_the_rate(
    task: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(RunStopped, match="an observation of the environment is not finite"):
        rl_gns.train(config(task(nan_at=3)), tmp_path / "run", quiet=True)


def test_a_restored_task_closes_the_one_it_replaces_and_a_proof_its_own(
    task: Callable[..., str], monkeypatch: Any
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(Task, "close", lambda self: closed.append(1))
    with envs.make(task(), 2) as env:
        env.reset()
        state = env.state_dict()
        assert len(closed) == 2  # those that a snapshot is proved by
        env.load_state_dict(state)
        assert len(closed) == 4
    assert len(closed) == 6
    with pytest.raises(EnvError):
        env.load_state_dict({"spec": "other", "return": [0]})


def test_what_a_snapshots_proof_draws_is_put_back(task: Callable[..., str]) -> None:
    with envs.make(task(elsewhere=True), 1) as env:
        env.reset()
        before = random.getstate()
        with pytest.raises(EnvError, match="went two ways"):
            env.state_dict()
        assert random.getstate() == before


def test_games_that_are_broken_off_by_a_reset_are_not_counted_on(task: Callable[..., str]) -> None:
    with envs.make(task(), 2) as env:
        env.reset()
        env.step(torch.zeros(2, dtype=torch.int64))
        env.reset()
        for _ in range(LENGTH):
            step = env.step(torch.zeros(2, dtype=torch.int64))
        assert (step.score.tolist(), step.length.tolist()) == ([LENGTH] * 2, [LENGTH] * 2)


def test_a_snapshot_of_more_tasks_is_refused(task: Callable[..., str]) -> None:
    name = task()
    with envs.make(name, 3) as three, envs.make(name, 2) as two:
        three.reset()
        two.reset()
        with pytest.raises(EnvError, match=f"the snapshot is of 3 x {name}, not of 2 x"):
            two.load_state_dict(three.state_dict())


def test_a_game_that_ends_by_itself_at_its_time_limit_is_not_cut(task: Callable[..., str]) -> None:
    with envs.make(task(wins_at=LENGTH), 2) as env:
        env.reset()
        for _ in range(LENGTH):
            step = env.step(torch.zeros(2, dtype=torch.int64))
        assert step.terminated.all()
        assert not step.truncated.any()


def test_a_game_that_was_cut_is_worth_its_last_observation_and_no_other(task: Callable[..., str]) -> None:
    trainer = Trainer(resolve(config(task(), rollout=LENGTH + 1, device="cpu")))
    try:
        trainer.begin()
        trainer.collector.collect(0)
        with torch.no_grad():
            worth = trainer.policy(torch.full((4, 2), float(LENGTH)))[1]
            other = trainer.policy(torch.tensor([[0.0, 100.0]] * 4))[1]
        torch.testing.assert_close(trainer.rollout.bootstrap[LENGTH - 1], worth)
        assert not torch.allclose(worth, other)
        trainer.rollout.bootstrap[LENGTH - 1] = 0
        assert not trainer.rollout.bootstrap.any()
    finally:
        trainer.close()
