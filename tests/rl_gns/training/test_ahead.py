"""Learning while the next rollout is collected: the algorithm does not depend on who is faster, and goes on exactly."""

import copy
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.ranks import Ranks
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer
from rl_gns.training.metrics import COLUMNS, MetricsWriter, read_table
from rl_gns.training.threads import check_overlap

ATARI = {"env": "atari:breakout", "num_envs": 5, "rollout": 8, "start_spread": 40}
CARTPOLE = {"env": "gym:CartPole-v1", "num_envs": 4, "rollout": 8}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make() -> Iterator[Callable[..., Trainer]]:
    made: list[Trainer] = []

    def one(**settings: Any) -> Trainer:
        fixed = {"minibatches": 1, "epochs": 2, "overlap": "learn", "threads": 2, "noise_budget": 1.0}
        made.append(Trainer(resolve(TrainConfig(**{**fixed, **settings}))))
        return made[-1]

    yield one
    for trainer in made:
        trainer.close()


class Inline:
    """Does what it is given at once, so that a rollout is collected before the learner begins."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        threads = torch.get_num_threads()
        done.set_result(work(*arguments))
        torch.set_num_threads(threads)
        return done

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(
    "settings", [{"algo": "a2c", **ATARI}, {"algo": "ppo", **ATARI}, {"algo": "ppo", **CARTPOLE}]
)
def test_equals_its_slow_twin_bit_for_bit(make: Callable[..., Trainer], settings: dict[str, Any]) -> None:
    trainer, twin = make(**settings), make(**settings)
    assert twin.ahead is not None
    twin.ahead._thread = Inline()  # type: ignore[assignment]
    for _ in range(8):
        trainer.update()
        twin.update()
    assert trainer.tally.episodes == twin.tally.episodes
    assert repr(trainer.take_row()) == repr(twin.take_row())  # NaN equals NaN
    for a, b in zip(trainer.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_who_acts_is_one_update_old(make: Callable[..., Trainer], algo: str) -> None:
    trainer = make(algo=algo, **CARTPOLE, learning_rate=0.01)
    trainer.update()
    for _ in range(3):
        old = copy.deepcopy(trainer.policy)
        learnt = trainer.observations
        trainer.update()
        assert trainer.observations == learnt + 32
        waiting = trainer.collector.rollout
        assert waiting is not trainer.rollout
        with torch.no_grad():
            before, now = (
                policy(waiting.batch(0.99, 1.0).flat().observations())[1] for policy in (old, trainer.policy)
            )
        value = waiting.value.T.flatten()
        torch.testing.assert_close(value, before)
        assert (value - now).abs().max() > 1e-3
        assert trainer.take_row()[0]["policy_lag"] == 1


def test_it_learns_from_every_rollout_once_and_in_order(make: Callable[..., Trainer]) -> None:
    trainer = make(algo="a2c", **CARTPOLE)
    last: tuple[torch.Tensor, torch.Tensor] | None = None
    for _ in range(8):
        trainer.update()
        obs = trainer.rollout.batch(0.99, 1.0).observations()
        if (
            last is not None
        ):  # cart-pole: the cart is where its speed took it, 0.02 s after the rollout before
            before, over = last
            torch.testing.assert_close(obs[0, ~over, 0], (before[:, 0] + 0.02 * before[:, 1])[~over])
        last = obs[-1].clone(), (trainer.rollout.terminated | trainer.rollout.truncated)[-1].clone()
    games = trainer.take_row()[1]
    assert games == sorted(games)
    assert all(0 < observations <= trainer.observations for observations, *_ in games)


@pytest.mark.parametrize("settings", [{"algo": "a2c", **ATARI}, {"algo": "ppo", **ATARI}])
def test_a_snapshot_goes_on_bit_for_bit(make: Callable[..., Trainer], settings: dict[str, Any]) -> None:
    trainer, other = make(**settings), make(**settings, seed=5)
    for _ in range(3):
        trainer.update()
    other.load_state_dict(copy.deepcopy(trainer.state_dict()))
    for _ in range(5):
        trainer.update()
        other.update()
    for a, b in zip(trainer.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert repr(trainer.take_row()) == repr(other.take_row())


def test_a_failure_of_the_emulators_ends_the_update(make: Callable[..., Trainer]) -> None:
    trainer = make(algo="a2c", **ATARI)
    trainer.update()
    trainer.env._crew.workers[0].kill()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="exit code -9"):
        trainer.update()


def test_the_learners_threads_are_its_own(make: Callable[..., Trainer]) -> None:
    trainer = make(algo="a2c", **CARTPOLE)
    trainer.update()
    assert torch.get_num_threads() == 2


def test_several_processes_are_refused(make: Callable[..., Trainer]) -> None:
    trainer = make(algo="a2c", **CARTPOLE)
    ranks = Ranks()
    ranks.count = 2
    with pytest.raises(UserError, match="one process") as caught:
        check_overlap(trainer.config, trainer.env, ranks)
    assert "\n" not in str(caught.value)


def test_a_database_without_the_lag_gets_its_column(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    older = ", ".join(f"{name} REAL" for name in COLUMNS if name != "policy_lag")
    with sqlite3.connect(path) as db:
        db.execute(f'CREATE TABLE metrics ("update" INTEGER PRIMARY KEY, {older})')
        db.execute(f"INSERT INTO metrics VALUES ({', '.join('1' * len(COLUMNS))})")
    writer = MetricsWriter(path)
    writer.write(2, {"observations": 5.0, "policy_lag": 1.0}, {}, [])
    writer.close()
    found = read_table(path, "metrics")
    assert found["update"].tolist() == [1, 2]
    assert found["policy_lag"].isna().tolist() == [True, False]
