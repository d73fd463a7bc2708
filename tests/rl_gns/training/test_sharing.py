"""Two processes that share a run do what one does: games, gradient, noise; their weights are the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.ranks import Ranks
from rl_gns.errors import UserError
from rl_gns.training import sharing
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer
from rl_gns.training.saved import load_run

WORK = """
import json, sys, torch, torch.distributed as dist
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer

torch.set_num_threads(1)
rank, count, store, out = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]
settings, updates = json.loads(sys.argv[5]), int(sys.argv[6])
if count > 1:
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=count)
config = TrainConfig(
    learning_rate=1e-4, noise_budget=1.0, seed=3, observations=10**6, threads=1, device="cpu", **settings
)
trainer = Trainer(resolve(config))
if config.env.startswith("moba:"):  # other observations are float32
    trainer.policy.double()
moments, seen = [], []
for _ in range(updates):
    trainer.update()
    moments.append(list(trainer.backward.moments))
    seen += [trainer.env.observation().clone(), trainer.rollout.actions.transpose(0, 1).clone()]
row, episodes = trainer.take_row()
found = {
    "weights": trainer.policy.state_dict(), "moments": moments, "row": row, "episodes": episodes, "seen": seen,
    "state": trainer.state_dict(),
}
if trainer.selfplay is not None:
    found |= {"playing": trainer.selfplay.playing, "quality": trainer.selfplay.pool.quality}
torch.save(found, out)
trainer.close()
if count > 1:
    dist.destroy_process_group()
"""
MOBA: dict[str, Any] = {
    "env": "moba:2v2",
    "num_envs": 8,
    "rollout": 8,
    "noise_groups": 2,
    "past_share": 0.5,
    "snapshot_every": 150,
    "sparring": "laner",
    "chunk": 50,
    "env_options": {"game_length": 10, "threads": 1, "lanes": 1},
}
ATARI: dict[str, Any] = {"env": "atari:pong", "algo": "a2c", "num_envs": 4, "rollout": 5, "noise_groups": 4}
GYM: dict[str, Any] = {"env": "gym:CartPole-v1", "algo": "ppo", "num_envs": 4, "rollout": 8, "minibatches": 2}


def work(folder: Path, count: int, settings: dict[str, Any], updates: int) -> list[dict[str, Any]]:
    """What each of `count` processes found."""
    outs = [folder / f"{count}-{rank}.pt" for rank in range(count)]
    store, told = str(folder / f"store-{count}"), (json.dumps(settings), str(updates))
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", WORK, str(rank), str(count), store, str(out), *told])
        for rank, out in enumerate(outs)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0] * count
    return [torch.load(out, weights_only=False) for out in outs]


@pytest.mark.parametrize(
    ("settings", "updates"),
    [  # past the end of the second games, of 75 decisions; the first are cut short
        pytest.param({**MOBA, "algo": "ppo"}, 20, marks=pytest.mark.slow),
        pytest.param({**MOBA, "algo": "a2c"}, 20, marks=pytest.mark.slow),
        (ATARI, 4),
        (GYM, 12),
    ],
    ids=["moba-ppo", "moba-a2c", "atari-a2c", "gym-ppo"],
)
def test_two_ranks_do_what_one_process_does(tmp_path: Path, settings: dict[str, Any], updates: int) -> None:
    [one] = work(tmp_path, 1, settings, updates)
    ranks = work(tmp_path, 2, settings, updates)
    rounding = 1e-5 if settings["env"] == MOBA["env"] else 1e-3
    for first, second in zip(one["seen"], zip(*(rank["seen"] for rank in ranks), strict=True), strict=True):
        assert torch.equal(
            first, torch.cat(second)
        )  # the same worlds, the same actions: the same observations
    for rank in ranks:
        for name, weight in ranks[0]["weights"].items():
            assert torch.equal(rank["weights"][name], weight)  # the same bits
            torch.testing.assert_close(weight, one["weights"][name], rtol=rounding, atol=rounding / 1000)
        found, wanted = torch.tensor(rank["moments"]), torch.tensor(one["moments"])
        torch.testing.assert_close(found[:, 1:], wanted[:, 1:], rtol=rounding, atol=0)
        # The signal is a small difference of squared norms of the noise's size, and rounds as they do.
        assert ((found[:, 0] - wanted[:, 0]).abs() <= rounding / 10 * wanted[:, 1]).all()
        assert rank["episodes"] == one["episodes"]
        assert len(rank["episodes"]) > 0 or settings is ATARI
        assert (rank.get("playing"), rank.get("quality")) == (one.get("playing"), one.get("quality"))
        for name, value in one["row"].items():
            assert rank["row"][name] == pytest.approx(value, rel=rounding, abs=rounding / 100, nan_ok=True), (
                name
            )
    parts, whole = ranks[0]["state"]["env"]["ranks"], one["state"]["env"]
    for name in ("units", "obs", "return"):
        if name in whole:
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    if "playing" in one:
        assert len(set(one["playing"])) > 1  # a script and several past selves
    assert ranks[1]["state"]["env"]["ranks"] == []


def rl_gns(*arguments: str, count: int = 1) -> str:
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    )
    done = subprocess.run(
        [sys.executable, "-P", *launch, "-m", "rl_gns", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_torchrun_writes_one_run_and_goes_on(tmp_path: Path) -> None:
    settings = (
        "train moba:1v1 --algo ppo --num-envs 16 --rollout 16 --noise-groups 4 --threads 1 --log-every 500"
    )
    settings += " --past-share 0.25 --noise-budget 1 --env-options game_length 10 threads 1"
    for name, processes in (("one", 1), ("whole", 2)):
        words = ("--out", str(tmp_path / name), "--observations", "4000")
        rl_gns(*settings.split(), *words, count=processes)
    out = ["--out", str(tmp_path / "two")]
    rl_gns(*settings.split(), *out, "--observations", "2000", count=2)
    said = rl_gns("train", "--resume", "--observations", "4000", *out, count=2)
    assert said.count("curve: rl-gns noise") == 1, said
    one, whole, two = (load_run(tmp_path / name) for name in ("one", "whole", "two"))
    a, b, c = one.metrics(), whole.metrics(), two.metrics()
    assert len(a) == len(b) == len(c) >= 7
    assert whole.episodes().equals(two.episodes())
    for column in (
        "observations",
        "games",
        "signal",
        "noise",
        "policy_loss",
        "value_loss",
        "information",
        "explained_variance",
    ):
        assert c[column].equals(b[column]), column
        # Rounding differs, and is amplified tenfold from row to row: from the fifth on the runs part.
        few, theirs = a[column].to_numpy()[:4], b[column].to_numpy()[:4]
        assert theirs == pytest.approx(few, rel=2e-3, abs=1e-5, nan_ok=True), column
    said = rl_gns("train", "--resume", "--observations", "5000", "--out", str(tmp_path / "two"))
    assert "the checkpoint is of 2 processes, here are 1: go on with torchrun --nproc-per-node 2" in said


class Two(Ranks):
    """The second of two, with nobody to talk to."""

    def __init__(self) -> None:
        self.count, self.rank = 2, 1


def test_worlds_are_shared_out_by_number() -> None:
    config = resolve(TrainConfig(env="moba:1v1", algo="ppo", num_envs=80, env_options={"first_world": 100}))
    assert sharing.shared_out(config, Two()) == (40, 4, {"start_spread": 4500, "first_world": 140})
    config = resolve(
        TrainConfig(env="gym:CartPole-v1", num_envs=16, noise_groups=8, env_options={"first_env": 3})
    )
    assert sharing.shared_out(config, Two()) == (8, 4, {"first_env": 11})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"env": "solvable:chain"}, "can't be shared by 2 processes: start it without torchrun"),
        ({"num_envs": 9, "noise_groups": 3, "past_share": 0.0}, "must divide num_envs=9 and noise_groups=3"),
        (
            {"num_envs": 12, "noise_groups": 3, "past_share": 0.0},
            "must divide num_envs=12 and noise_groups=3",
        ),
        ({"noise_parts": "policy"}, "measured by one process"),
        ({"correlation_every": 1}, "measured by one process"),
    ],
)
def test_what_can_not_be_shared(settings: dict[str, Any], words: str) -> None:
    config = resolve(TrainConfig(**{"env": "moba:1v1", "algo": "ppo", "num_envs": 16, **settings}))
    with pytest.raises(UserError, match=words) as caught:
        sharing.shared_out(config, Two())
    assert "\n" not in str(caught.value)


def test_a_state_of_another_number_of_processes() -> None:
    with pytest.raises(UserError, match="of 3 processes, here are 2: go on with torchrun --nproc-per-node 3"):
        sharing.own_state({"ranks": [1, 2, 3]}, Two())
    with pytest.raises(UserError, match="of 1 processes, here are 2: go on without torchrun"):
        sharing.own_state({"units": 1}, Two())
    assert sharing.own_state({"ranks": [1, 2]}, Two()) == 2


class Second(Ranks):
    """The second of two, whose pieces the first has."""

    def __init__(self) -> None:
        self.rank, self.count = 1, 2
        self.told: list[Any] = []

    def to_first(self, state: Any) -> list[Any]:
        self.told.append(state)
        return []


def test_each_rank_keeps_what_its_own_past_selves_remember() -> None:
    config = TrainConfig(
        env="moba:1v1",
        algo="ppo",
        num_envs=8,
        rollout=8,
        past_share=0.5,
        network="entities-lstm",
        sequence=8,
        threads=1,
        env_options={"threads": 1},
    )
    trainer = Trainer(resolve(config))
    try:
        selfplay = trainer.selfplay
        assert selfplay is not None
        trainer.update()
        alone = selfplay.state_dict()
        mine = selfplay._memory.state.clone()
        assert mine.abs().sum() > 0
        selfplay.ranks = Second()
        assert torch.equal(selfplay.state_dict() and selfplay.ranks.told[0]["state"], mine)
        both = {"ranks": [{"state": mine + 1}, {"state": mine + 2}]}
        selfplay.load_state_dict(alone | {"memory": both}, 0, 0)
        assert torch.equal(selfplay._memory.state, mine + 2)
        selfplay.load_state_dict(alone | {"memory": mine}, 0, 0)  # of a version before
        assert torch.equal(selfplay._memory.state, mine)
    finally:
        trainer.close()


def test_a_batch_systems_world_size_alone_is_not_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with sharing.together() as ranks:
        assert ranks.count == 1
    monkeypatch.setenv("RANK", "1")
    assert not sharing.by_torchrun()
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert sharing.by_torchrun()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not sharing.by_torchrun()


@pytest.mark.parametrize("gpus", [0, 2])
def test_processes_are_together_for_as_long_as_a_run_lasts(
    monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(sharing, "by_torchrun", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(sharing.torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(sharing.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(sharing.torch.cuda, "set_device", done.append)
    monkeypatch.setattr(sharing.dist, "init_process_group", lambda how, timeout: done.append((how, timeout)))
    monkeypatch.setattr(sharing.dist, "destroy_process_group", lambda: done.append("over"))
    with pytest.raises(RuntimeError), sharing.together():
        raise RuntimeError
    how = [1, ("cpu:gloo,cuda:nccl", sharing.PATIENCE)] if gpus else [("gloo", sharing.PATIENCE)]
    assert done == [*how, "over"]


def test_a_group_that_was_there_before_a_run_outlasts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(sharing, "by_torchrun", lambda: True)
    monkeypatch.setattr(sharing, "Ranks", Two)
    monkeypatch.setattr(sharing.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(sharing.dist, "init_process_group", lambda *_, **__: done.append("begun"))
    monkeypatch.setattr(sharing.dist, "destroy_process_group", lambda: done.append("over"))
    with sharing.together() as ranks:
        assert ranks.rank == 1
    assert done == []


def test_the_variance_of_two_processes_values_is_that_of_all() -> None:
    mine, others = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 9.0, 11.0])
    both = torch.cat([mine, others])

    class One(Ranks):
        def __init__(self) -> None:
            self.count, self.rank = 2, 0
            around = (others.double() - both.double().mean()).square().sum()
            self.theirs = [torch.tensor([3.0, 22.0], dtype=torch.float64), around]

        def sum(self, value: torch.Tensor) -> torch.Tensor:
            return value + self.theirs.pop(0)

    assert float(sharing.variance(mine, One())) == pytest.approx(float(both.var()))
