"""What is shared among processes without any being started: draws, rows, chunks of a gradient."""

import pytest
import torch
from torch import nn

from agents.backward import InChunks
from agents.distributions import Branching, Categorical, Gaussian, Share
from agents.ranks import ALONE, Ranks


def source() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def branching(logits: torch.Tensor) -> Branching:
    parts = Categorical(logits[:, 3:].unflatten(1, (2, 4)))
    return Branching(Categorical(logits[:, :3]), [parts], [torch.tensor([0, 1, -1])])


@pytest.mark.parametrize(
    "make",
    [Categorical, branching, lambda x: Gaussian(x, torch.zeros(11))],
    ids=["one", "branching", "gaussian"],
)
def test_shares_of_the_draws_are_the_draws(make) -> None:
    logits = torch.randn(10, 11, generator=source())
    whole = make(logits).sample(source())
    for rows in (
        torch.arange(4),
        torch.arange(4, 10),
        torch.tensor([7, 2]),
        torch.tensor([], dtype=torch.int64),
    ):
        assert torch.equal(make(logits[rows]).sample(Share(source(), 10, rows)), whole[rows])


class One(Ranks):
    """The second of three, 4 rows each."""

    def __init__(self) -> None:
        self.count, self.rank = 3, 1


def test_a_ranks_rows_are_counted_from_its_first() -> None:
    drawn = torch.tensor([11, 4, 0, 7, 3, 8])
    assert One().own(drawn, 4).tolist() == [0, 3]
    assert ALONE.own(drawn, 12) is drawn


def test_alone_there_is_nobody_to_ask() -> None:
    value = torch.ones(2)
    assert ALONE.sum(value) is value
    assert ALONE.gather("a") == ["a"]
    assert ALONE.any(True, torch.device("cpu")) is True


@pytest.mark.parametrize("chunk", [1, 3, 7, 20])
def test_chunks_of_uneven_size_weigh_by_their_streams(chunk: int) -> None:
    policy = nn.Linear(3, 1).double()
    rows = torch.randn(5, 7, 3, generator=source(), dtype=torch.float64)

    def loss_of(streams: slice) -> torch.Tensor:
        return policy(rows[:, streams]).squeeze(-1).square()

    InChunks(policy, 7, chunk)(loss_of)
    found = policy.weight.grad.clone()
    policy.zero_grad()
    loss_of(slice(None)).mean().backward()
    torch.testing.assert_close(found, policy.weight.grad)
