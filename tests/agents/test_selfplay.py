"""The pool of past selves: quality, draws, who is forgotten, restoring."""

import math

import pytest
import torch
from torch import nn

from agents.selfplay import QUALITY_STEP, PastSelves


def numbered(value: float) -> nn.Module:
    policy = nn.Linear(1, 1, bias=False)
    nn.init.constant_(policy.weight, value)
    return policy


def test_quality_by_hand() -> None:
    pool = PastSelves(3)
    for i in range(2):
        pool.add(numbered(i))
    assert pool.probabilities() == {0: 0.5, 1: 0.5}
    pool.beaten(0, 0.5)  # by η / (N p) = 0.01 / (2 · 0.5)
    assert pool.quality == {0: pytest.approx(-QUALITY_STEP), 1: 0.0}
    p = 1 / (1 + math.exp(QUALITY_STEP))
    assert pool.probabilities()[0] == pytest.approx(p)
    pool.beaten(0, p)
    assert pool.quality[0] == pytest.approx(-QUALITY_STEP - QUALITY_STEP / (2 * p))
    pool.beaten(0, 0.5)  # drawn before it was beaten at all
    assert pool.quality[0] == pytest.approx(-2 * QUALITY_STEP - QUALITY_STEP / (2 * p))
    pool.add(numbered(2))
    assert pool.quality[2] == 0.0  # the best so far


@pytest.mark.parametrize("members", [2, 5, 16])
def test_many_games_against_one_that_falls_move_it_no_further_than_their_number(members: int) -> None:
    """Those under way were drawn when it was likely: weighed by what it is now, the 110th win divided by 0."""
    pool = PastSelves(members)
    for i in range(members):
        pool.add(numbered(i))
    p = pool.probabilities()[0]
    for _ in range(1000):
        pool.beaten(0, p)
    assert pool.quality[0] == pytest.approx(-1000 * QUALITY_STEP)
    assert 0 < pool.probabilities()[0] < 1e-4
    assert set(pool.draw(1000, torch.Generator().manual_seed(0))) == set(range(1, members))


def test_the_most_beaten_is_forgotten_and_the_oldest_of_equals() -> None:
    pool = PastSelves(2)
    for i in range(3):
        pool.add(numbered(i))
    assert list(pool.weights) == [1, 2]
    pool.beaten(2, 0.5)
    pool.add(numbered(3))
    assert list(pool.weights) == [1, 3]
    assert float(pool.weights[1]["weight"]) == 1.0


def test_a_new_self_is_met_as_often_as_the_best_where_all_have_been_beaten() -> None:
    pool = PastSelves(3)
    for i in range(2):
        pool.add(numbered(i))
    pool.quality = {0: -0.7, 1: -0.3}
    pool.add(numbered(2))
    assert pool.quality == {0: -0.7, 1: -0.3, 2: -0.3}


def test_a_snapshot_is_a_copy() -> None:
    policy, pool = numbered(1.0), PastSelves(2)
    pool.add(policy)
    nn.init.constant_(policy.weight, 5.0)
    assert float(pool.weights[0]["weight"]) == 1.0


def test_draws_follow_the_probabilities() -> None:
    pool = PastSelves(3)
    for i in range(3):
        pool.add(numbered(i))
    pool.quality[1] = -1.0
    drawn = pool.draw(20_000, torch.Generator().manual_seed(0))
    for member, p in pool.probabilities().items():
        assert drawn.count(member) / 20_000 == pytest.approx(p, abs=0.02)


def test_restored_it_goes_on_alike() -> None:
    pool = PastSelves(2)
    for i in range(3):
        pool.add(numbered(i))
    pool.beaten(1, 0.5)
    other = PastSelves(2)
    other.load_state_dict(pool.state_dict())
    for each in (pool, other):
        each.add(numbered(9))
    assert pool.quality == other.quality
    assert list(pool.weights) == list(other.weights)
    assert pool.draw(20, torch.Generator().manual_seed(0)) == other.draw(20, torch.Generator().manual_seed(0))


def test_bad_pools() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PastSelves(0)
    with pytest.raises(ValueError, match="empty"):
        PastSelves(1).draw(1)
