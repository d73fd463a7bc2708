"""The limit's formula by hand, and the bare work on a size small enough to count."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


def test_the_formula_by_hand() -> None:
    from limits import best

    parts = {"emulate": 3e-4, "pictures": 1e-4, "copy": 0.0, "act": 2e-4, "learn": 9e-4, "step": 5e-4}
    assert best(parts, cores=2) == pytest.approx(2 / 2e-3)
    assert best(parts, cores=2, strict=True) == pytest.approx(2 / 1.9e-3)
    # On a GPU emulation is what takes longer than acting, and learning comes after.
    assert best(parts, cores=2, on_device=True) == pytest.approx(1 / (2e-4 + 1.4e-3))
    assert best({**parts, "to_device": 3e-4}, cores=2, on_device=True) == pytest.approx(1 / (5e-4 + 1.4e-3))


def test_share_is_taken_round_by_round() -> None:
    from limits import said, share

    found = share([50, 90, 40], [100, 100, 50])
    assert found == {"median": 0.8, "low": 0.5, "high": 0.9}
    assert said(found) == "80 % of the limit (50-90)"
    # Neighbours in time are not the same time: a share above 1 is shown as it is.
    assert said(share([50, 60, 90], [100, 50, 100])) == "90 % of the limit (50-120)"


def test_bare_work_does_every_part() -> None:
    from bare_work import PARTS, BareWork, Size
    from limits import best

    work = BareWork(Size("a2c", 4, 8), cores=2)
    try:
        parts = work.turn()
    finally:
        work.close()
    assert set(parts) == set(PARTS)
    assert all(parts[part] > 0 for part in ("emulate", "act", "learn", "step", "copy"))
    assert 1e-6 < parts["act"] < parts["learn"] * 20
    assert 1 < best(parts, 2) < 1e5


@pytest.mark.parametrize(
    ("algo", "forward", "updates"), [("a2c", 9 * 4 + 32, 1), ("ppo", 9 * 4 + 4 * 32, 16)]
)
def test_work_of_an_update_is_the_algorithms(algo: str, forward: int, updates: int) -> None:
    """Rows through the network: (T + 1) x N act; A2C goes back once; PPO does 4 epochs of 4 minibatches besides."""
    from bare_work import Arithmetic, Size

    work = Arithmetic(Size(algo, 4, 8))
    rows: list[int] = []
    steps: list[int] = []
    during: set[str | None] = set()
    timed, now = work.timed, [None]

    @contextmanager
    def noting(seconds: dict[str, float], part: str) -> Iterator[None]:
        now[0] = part  # type: ignore[call-overload]
        with timed(seconds, part):
            yield
        now[0] = None

    work.timed = noting  # type: ignore[method-assign]
    work.policy.register_forward_hook(lambda *_: during.add(now[0]))
    work.policy.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[0]))
    work.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    seconds: dict[str, float] = {}
    work.update(seconds)
    assert sum(rows) == forward
    assert len(steps) == updates
    assert set(seconds) == {"act", "learn", "step"}
    # A2C's forward pass over the whole batch is the one it acted with: in no part a second time.
    assert during == {"act", None if algo == "a2c" else "learn"}


def test_a_part_adds_up(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import bare_work

    work = bare_work.Arithmetic.__new__(bare_work.Arithmetic)
    monkeypatch.setattr(bare_work, "time", clock)
    monkeypatch.setattr(work, "finish", lambda: None)
    seconds: dict[str, float] = {}
    for _ in range(3):
        with work.timed(seconds, "learn"):
            clock.now += 2.0
    assert seconds == {"learn": 6.0}


def test_emulation_by_hand(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven decisions among two games are four rounds, an eighth of which is not counted."""
    import bare_work

    class Game:
        def act(self, code: int) -> None:
            clock.now += 1.0

        def game_over(self) -> bool:
            return False

        def step(self, action: int) -> None:
            clock.now += 6.0

    work = bare_work.Emulation.__new__(bare_work.Emulation)
    work.bare, work.games, work.actions = [Game(), Game()], [Game(), Game()], [0]  # type: ignore[list-item]
    work.random = np.random.default_rng(0)
    work.newest, work.stack = np.zeros((2, 1)), np.zeros((2, 4, 1))
    monkeypatch.setattr(bare_work, "time", clock)
    seconds = {"emulate": 100.0}
    work.run(7, seconds)
    assert seconds == {"emulate": 100.0 + 7 * 4.0, "pictures": 7 * 2.0, "copy": 0.0}


class Answers:
    """A worker's connection: 8 seconds of each part from a core alone, `together` from threads on all."""

    def __init__(self, together: float) -> None:
        self.together = together

    def send(self, order: tuple[int, bool]) -> None:
        self.order = order

    def recv(self) -> dict[str, float]:
        from bare_work import PARTS

        assert self.order[0] == 3
        return dict.fromkeys(PARTS, self.together if self.order[1] else 8.0)


@pytest.mark.parametrize(("together", "cheaper"), [(1.0, 2.0), (9.0, 8.0)])
def test_core_seconds_an_observation(together: float, cheaper: float) -> None:
    """Two cores do 3 updates of 4 x 2 each; a thread on both counts twice, and only where that is less."""
    from bare_work import BareWork, Size

    work = BareWork.__new__(BareWork)
    work.size, work.cores, work._arithmetic = Size("a2c", 4, 2), 2, True
    work._workers = [(None, Answers(together)), (None, Answers(together))]  # type: ignore[list-item]
    row = work.turn(3)
    assert {part: row[part] for part in ("emulate", "pictures", "copy")} == dict.fromkeys(
        ("emulate", "pictures", "copy"), 8 / 24
    )
    assert {part: row[part] for part in ("act", "learn", "step")} == dict.fromkeys(
        ("act", "learn", "step"), cheaper / 24
    )


class Worked:
    """In the place of `BareWork`: rows as given, a warm-up first, on two cores."""

    cores = 2

    def __init__(self, size: Any, game: str = "pong", arithmetic: bool = True) -> None:
        self.asked: list[int] = []
        self.left = iter([1e9, 1.0, 2.0, 9.0])

    def turn(self, updates: int = 1) -> dict[str, float]:
        from bare_work import PARTS

        self.asked.append(updates)
        return dict.fromkeys(PARTS, next(self.left)) | {"pictures": 0.5, "copy": 0.5}

    def close(self) -> None:
        self.asked.append(0)


def test_limits_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    import limits

    made: list[Worked] = []
    monkeypatch.setattr(limits, "BareWork", lambda *a, **k: made.append(Worked(*a, **k)) or made[-1])
    row = limits.measure(limits.Size("a2c", 16, 5), "pong", "cpu", rounds=3)
    assert made[0].asked == [1, 4, 4, 4, 0]
    assert row["seconds"]["act"] == 2.0
    assert (row["limit"], row["limit_low"], row["limit_high"]) == (2 / 9, 2 / 37, 2 / 5)
    assert (row["limit_strict"], row["emulation"], row["emulation_strict"]) == (2 / 8, 2 / 3, 2 / 2)
    turn, close = limits.contender("ppo", 8, 128, updates=6)
    next(made[1].left)
    assert turn() == 2 / 5
    close()
    assert made[1].asked == [6, 0]


def test_arithmetic_by_hand(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over 16 rows takes 8 s here, and over 80 rows 40 s: two a second."""
    import limits
    import torch

    class Passes:
        def __init__(self, size: Any, device: str) -> None:
            self.obs = torch.zeros(80, 1)

        def finish(self) -> None:
            pass

        def act(self) -> None:
            clock.now += 8.0
            torch.zeros(16, 5) @ torch.zeros(5, 3)

        def loss(self, rows: int) -> Any:
            clock.now += 40.0
            torch.zeros(rows, 5) @ torch.zeros(5, 3)
            return SimpleNamespace(backward=lambda: None)

    monkeypatch.setattr(limits, "time", clock)
    monkeypatch.setattr(limits, "Arithmetic", Passes)
    threads = torch.get_num_threads()
    try:
        found = limits.arithmetic_rates(limits.Size("a2c", 16, 5), 1)
        assert found["forward, acting"] == found["forward and backward"] == 2.0
        flops = 2 * 5 * 3 * 2.0 / 1e9
        assert found["forward, acting, GFLOP/s"] == pytest.approx(flops)
        assert found["forward and backward, GFLOP/s"] == pytest.approx(flops)
        ticks = iter(range(100))
        monkeypatch.setattr(limits, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
        assert limits.multiply_rate(1, rows=8) == 2 * 8**3 / 1e9
    finally:
        torch.set_num_threads(threads)


def test_the_table_is_in_microseconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import limits
    from bare_work import PARTS

    row = {"size": "a2c 16x5", "seconds": dict.fromkeys(PARTS, 5e-6) | {"act": 387e-6}}
    row |= {
        "limit": 1784.0,
        "limit_low": 1697.0,
        "limit_high": 1789.0,
        "limit_strict": 1860.0,
        "emulation": 7356.0,
    }
    monkeypatch.setattr(limits, "measure", lambda *_: row)
    monkeypatch.setattr(limits, "arithmetic_rates", lambda *_: {})
    monkeypatch.setattr(limits, "copy_rates", lambda *_: {})
    monkeypatch.setattr(limits, "multiply_rate", lambda *_: 75.0)
    monkeypatch.setattr(sys, "argv", ["limits.py", "--sizes", "a2c-16x5"])
    limits.main()
    cells = capsys.readouterr().out.splitlines()[2].split()
    assert cells == [
        "a2c",
        "16x5",
        *["5.0"] * 3,
        "387.0",
        *["5.0"] * 2,
        "1,784",
        "1,697-1,789",
        "1,860",
        "7,356",
    ]
