"""The limit's formula by hand, and the bare work on a size small enough to count."""

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
    work.policy.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[0]))
    work.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    seconds: dict[str, float] = {}
    work.update(seconds)
    assert sum(rows) == forward
    assert len(steps) == updates
    assert set(seconds) == {"act", "learn", "step"}
