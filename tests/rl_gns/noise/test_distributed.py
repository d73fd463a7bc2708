"""Moments over real processes against one process that holds all environments.

Run as a script, this file is what each process does: `test_distributed.py FOLDER [INIT_METHOD RANK RANKS]`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rl_gns.noise import backward_in_groups, moments
from rl_gns.noise.distributed import accumulated_moments, distributed_moments
from rl_gns.noise.per_environment import per_environment_backward

T, N, INPUTS = 3, 8, 5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """Layers with and without a rule of their own, and a parameter that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(INPUTS, 9), nn.LayerNorm(9), nn.Tanh(), nn.Linear(9, 2))
        self.scale = nn.Parameter(torch.tensor([0.7, 1.3]))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale + self.frozen


def losses(net: nn.Module, environments: slice) -> Tensor:
    """[T, n], each environment with its own data, whichever process it is in."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(T, N, INPUTS, generator=g), torch.randn(T, N, 2, generator=g)
    x, y = x[:, environments], y[:, environments]
    return (net(x.flatten(0, 1)) - y.flatten(0, 1)).square().sum(1).view(y.shape[:2])


def flat_grad(net: nn.Module) -> list[float]:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad]).tolist()


def measured_as(kind: str, rank: int, ranks: int) -> dict[str, Any]:
    """Moments and gradient of one rank, by one way of taking the local pass."""
    net, size = Net(), N // ranks
    mine = slice(rank * size, (rank + 1) * size)
    if kind == "one pass":
        norms = per_environment_backward(lambda: losses(net, mine), net)[0]
    elif kind == "in chunks":
        starts = range(mine.start, mine.stop, 2)
        norms = torch.cat(
            [
                per_environment_backward(
                    lambda i=i: losses(net, slice(i, i + 2)), net, scale=1 / len(starts)
                )[0]
                for i in starts
            ]
        )
    elif kind == "one unit per rank":
        losses(net, mine).mean().backward()
        norms = torch.tensor(flat_grad(net)).square().sum()
    elif kind == "wrapped for data parallelism":
        wrapped = DistributedDataParallel(net)
        with wrapped.no_sync():
            norms = per_environment_backward(lambda: losses(wrapped, mine), wrapped)[0]
    found = distributed_moments(norms, net.parameters())
    return {"moments": list(found), "grad": flat_grad(net)}


def raised(norms: Tensor, net: nn.Module) -> str:
    try:
        distributed_moments(norms, net.named_parameters())
    except ValueError as error:
        return str(error)
    return "nothing"


def run_rank(folder: str, rank: int, ranks: int) -> None:
    torch.set_num_threads(1)
    kinds = ["one pass", "in chunks", "wrapped for data parallelism"]
    found: dict[str, Any] = {}
    if ranks > 1:
        kinds.append("one unit per rank")
        net = Net()
        per_environment_backward(lambda: losses(net, slice(0, 4)), net)
        before = flat_grad(net)
        found["unequal"] = raised(torch.ones(4 + rank), net)
        found["kept"] = flat_grad(net) == before
        if rank == 1:
            net.scale.grad = None
        found["missing"] = raised(torch.ones(4), net)
    # After the errors: they must leave no rank out of step.
    found |= {kind: measured_as(kind, rank, ranks) for kind in kinds}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


def main() -> None:
    folder, *rest = sys.argv[1:]
    if rest:
        method, rank, ranks = rest[0], int(rest[1]), int(rest[2])
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=ranks)
    else:
        dist.init_process_group("gloo")  # by what torchrun has set
    run_rank(folder, dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
    # torch's wrapper for data parallelism keeps the group's threads beyond its end, and one that gives back a tensor
    # while the interpreter shuts down is aborted (in one of eighteen runs here): so there is no shutting down.
    sys.stdout.flush()
    os._exit(0)


def launch(folder: Path, ranks: int, torchrun: bool) -> list[dict[str, Any]]:
    """What every rank found."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    if torchrun:
        options = ["--standalone", f"--nproc-per-node={ranks}"]
        commands = [[str(Path(sys.executable).with_name("torchrun")), *options, __file__, str(folder)]]
    else:
        method = f"file://{folder}/rendezvous"
        commands = [
            [sys.executable, __file__, str(folder), method, str(rank), str(ranks)] for rank in range(ranks)
        ]
    running = [
        subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for c in commands
    ]
    try:
        for process in running:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


SLOW = pytest.mark.slow  # four processes on two cores


@pytest.mark.parametrize(
    ("ranks", "torchrun"),
    [
        (2, True),
        (2, False),
        *(pytest.param(*case, marks=SLOW) for case in ((1, True), (1, False), (4, True), (4, False))),
    ],
)
def test_equals_one_process_with_all_environments(tmp_path, ranks, torchrun):
    found = launch(tmp_path, ranks, torchrun)
    net = Net()
    alone = backward_in_groups(
        lambda e: losses(net, e), [slice(i, i + 1) for i in range(N)], net.parameters()
    )
    expected = torch.tensor(flat_grad(net))
    for kind in ("one pass", "in chunks", "wrapped for data parallelism"):
        signal, noise, units = found[0][kind]["moments"]
        assert signal == pytest.approx(alone.signal, rel=1e-5)
        assert noise == pytest.approx(alone.noise, rel=1e-5)
        assert units == N
        torch.testing.assert_close(torch.tensor(found[0][kind]["grad"]), expected, rtol=1e-5, atol=1e-7)
    assert all(rank[kind] == found[0][kind] for rank in found for kind in rank if kind in measured(found))
    if ranks > 1:
        size = N // ranks
        groups = [slice(i, i + size) for i in range(0, N, size)]
        fewer = backward_in_groups(lambda e: losses(net, e), groups, net.parameters())
        assert found[0]["one unit per rank"]["moments"] == pytest.approx(list(fewer), rel=1e-5)
        counts = ", ".join(str(4 + rank) for rank in range(ranks))
        assert {rank["unequal"] for rank in found} == {
            f"the ranks have {counts} units: give each rank equally many"
        }
        assert all(rank["kept"] for rank in found)
        messages = [rank["missing"] for rank in found]
        assert messages[0] == "rank 1 has no gradient to average: see its own error"
        assert messages[1].startswith("parameter 'scale' of shape (2,) has no gradient")


def measured(found: list[dict[str, Any]]) -> list[str]:
    return [kind for kind, value in found[0].items() if isinstance(value, dict)]


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_chunks_of_environments_in_one_process(chunks):
    net, size = Net(), N // chunks
    loop = [torch.autograd.grad(losses(net, slice(i, i + 1)).mean(), trainable(net)) for i in range(N)]
    rows = torch.stack([torch.cat([g.flatten() for g in grads]) for grads in loop]).double()
    expected = moments(rows.square().sum(1), rows.mean(0).square().sum())
    norms = []
    for i in range(0, N, size):
        part = slice(i, i + size)
        norms.append(per_environment_backward(lambda part=part: losses(net, part), net, scale=1 / chunks)[0])
    for found in (
        accumulated_moments(torch.cat(norms), net.parameters()),
        distributed_moments(torch.cat(norms), net.named_parameters()),  # no group: the same
    ):
        assert list(found) == pytest.approx(list(expected), rel=1e-5)


def test_a_gradient_that_was_there_before_is_refused():
    """`.grad` of the chunks on top of the update before is no mean of theirs, and the noise came out below 0."""
    net = Net()
    for _ in range(9):
        losses(net, slice(0, N)).mean().backward()
    norms = [
        per_environment_backward(lambda i=i: losses(net, slice(i, i + 4)), net, scale=0.5)[0] for i in (0, 4)
    ]
    for function in (accumulated_moments, distributed_moments):
        with pytest.raises(ValueError, match=r"more than the mean of its units.*zero_grad\(\) before them"):
            function(torch.cat(norms), net.parameters())


def test_the_mean_of_the_chunks_own_moments_is_another_number():
    """Its noise is right but its signal is that of fewer units: noisier. Here they must differ at all."""
    net = Net()
    halves = [
        backward_in_groups(
            lambda e: losses(net, e), [slice(i, i + 1) for i in range(h, h + 4)], net.parameters()
        )
        for h in (0, 4)
    ]
    whole = backward_in_groups(
        lambda e: losses(net, e), [slice(i, i + 1) for i in range(N)], net.parameters()
    )
    assert sum(m.signal for m in halves) / 2 != pytest.approx(whole.signal, rel=1e-3)


@pytest.fixture
def beside(monkeypatch):
    """beside(answers, gradient) -> the groups that are asked, as the second of two ranks; the first's part is given."""

    def known(answers: list[Tensor], gradient: Tensor) -> list[Any]:
        asked: list[Any] = []

        def all_gather(into: list[Tensor], value: Tensor, group: Any = None) -> None:
            asked.append(group)
            into[0].copy_(answers.pop(0))
            into[1].copy_(value)

        def all_reduce(value: Tensor, group: Any = None) -> None:
            asked.append(group)
            value += gradient

        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda group=None: asked.append(group) or 2)
        monkeypatch.setattr(dist, "all_gather", all_gather)
        monkeypatch.setattr(dist, "all_reduce", all_reduce)
        return asked

    return known


def test_the_ranks_of_a_group_are_asked_and_no_others(beside):
    mine, theirs = torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([[1.0, 2.0], [2.0, 0.0]])
    asked = beside([torch.tensor([1, 4, 0]), torch.tensor([9.0])], theirs.flatten())
    p, group = nn.Parameter(torch.zeros(2, 2)), object()
    p.grad = mine.clone()
    found = distributed_moments(mine.square().sum(), [p], group)
    mean = (mine + theirs) / 2
    assert list(found) == pytest.approx(list(moments([9.0, 26.0], mean.square().sum())))
    assert torch.equal(p.grad, mean)
    assert set(map(id, asked)) == {id(group)}


def test_gradients_of_another_size_are_refused_before_they_are_averaged(beside):
    beside([torch.tensor([2, 5, 0])], torch.ones(4))
    p = nn.Parameter(torch.zeros(4))
    p.grad = torch.ones(4)
    with pytest.raises(ValueError, match="the ranks have 5, 4 gradient elements"):
        distributed_moments(torch.ones(2), [p])
    assert torch.equal(p.grad, torch.ones(4))


@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 6), (torch.float32, 6), (torch.float64, 12)])
def test_squares_are_summed_in_no_fewer_digits_than_gradients_have(dtype, digits):
    p = nn.Parameter(torch.zeros(1000, dtype=dtype))
    p.grad = torch.full((1000,), 1.1, dtype=dtype) * (1 + 1e-8)
    exact = p.grad.double().square().sum()
    found = accumulated_moments(exact.expand(3), [p])
    assert found.signal == pytest.approx(float(exact), rel=10**-digits)


def test_sparse_gradients_are_refused_before_they_are_averaged(beside):
    beside([torch.tensor([4, 10, 0])], torch.ones(10))
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.arange(3)).sum().backward()
    with pytest.raises(ValueError, match="sparse=False"):
        distributed_moments(torch.ones(4), table.parameters())
    assert table.weight.grad.is_sparse


def trainable(net: nn.Module) -> list[Tensor]:
    return [p for p in net.parameters() if p.requires_grad]


def test_bad_input_is_refused_in_one_line():
    net = Net()
    for function in (accumulated_moments, distributed_moments):
        with pytest.raises(
            ValueError, match=r"parameter 0 of shape \(2,\) has no gradient: run the"
        ) as error:
            function(torch.ones(4), net.parameters())
        assert "\n" not in str(error.value)
        with pytest.raises(ValueError, match="nothing to measure"):
            function(torch.ones(4), [net.frozen])
        double = nn.Parameter(torch.ones(2, dtype=torch.float64))
        elsewhere = nn.Parameter(torch.ones(2, device="meta"))
        first = nn.Parameter(torch.ones(2))
        for p in (first, double, elsewhere):
            p.grad = torch.ones_like(p)
        for other, what in ((double, "torch.float64 on cpu"), (elsewhere, "torch.float32 on meta")):
            with pytest.raises(ValueError, match=f"the gradient of parameter 1 is {what}, the first is"):
                function(torch.ones(4), [first, other])
    losses(net, slice(0, N)).mean().backward()
    with pytest.raises(ValueError, match="at least two units"):
        accumulated_moments(torch.ones(1), net.parameters())


if __name__ == "__main__":
    main()
