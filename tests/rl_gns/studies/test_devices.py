"""Runs are spread over GPUs that needn't be here: only their number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl_gns.errors import UserError
from rl_gns.studies.devices import Devices
from rl_gns.studies.driver import drive
from rl_gns.studies.local import LocalPool
from rl_gns.studies.study import load_study

STUDY = """
env = "gym:CartPole-v1"
goals = [20]
observations = 1_000
[grid]
num_envs = [4]
rollout = [5]
learning_rate = [1e-3]
seeds = [1, 2, 3, 4, 5]
[train]
device = "{device}"
"""


def test_least_loaded_first_and_given_back() -> None:
    devices = Devices("cuda", gpus=2, per_gpu=3)
    assert devices.slots == 6
    assert [devices.take(name) for name in "abcd"] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    devices.give_back("a")
    devices.give_back("c")
    assert [devices.take(name) for name in "efg"] == ["cuda:0", "cuda:0", "cuda:0"]


@pytest.mark.parametrize(
    ("asked", "gpus", "slots", "device"),
    [("cpu", 0, None, "cpu"), ("auto", 0, None, "cpu"), ("auto", 1, 4, "cuda:0"), ("cuda:1", 2, 4, "cuda:1")],
)
def test_what_is_asked(asked: str, gpus: int, slots: int | None, device: str) -> None:
    devices = Devices(asked, gpus)
    assert devices.slots == slots
    assert {devices.take(name) for name in "ab"} == {device}


@pytest.mark.parametrize(("asked", "gpus"), [("cuda", 0), ("cuda:2", 2)])
def test_gpus_that_are_not_there(asked: str, gpus: int) -> None:
    with pytest.raises(UserError, match=f"'{asked}' can't be used here: there are {gpus} GPUs"):
        Devices(asked, gpus)


def test_none_per_gpu() -> None:
    with pytest.raises(UserError, match="jobs-per-gpu must be at least 1, got 0"):
        Devices("cuda", 1, 0)


class Started:
    """Stands in for a process: remembers the settings it was started with."""

    configs: list[Any] = []  # noqa: RUF012

    def __init__(self, target: Any, args: tuple[Any, ...], name: str) -> None:
        self.configs.append(args[0])

    def start(self) -> None: ...


def test_pool_hands_each_run_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(device="cuda"))
    study = load_study(tmp_path)
    pool = LocalPool(study.results, jobs=5, devices=Devices("cuda", gpus=2, per_gpu=2))
    assert pool.slots == 4
    monkeypatch.setattr(Started, "configs", [])
    monkeypatch.setattr(pool._context, "Process", Started)
    for run in study.plan({})[: pool.slots]:
        pool.start(run, threads=3)
    assert [config.device for config in Started.configs] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert {config.threads for config in Started.configs} == {3}


def test_without_a_gpu_a_study_for_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl_gns.studies.driver.gpu_count", lambda: 0)
    (tmp_path / "study.toml").write_text(STUDY.format(device="cuda"))
    with pytest.raises(UserError, match="'cuda' can't be used here: there are 0 GPUs"):
        drive(load_study(tmp_path), quiet=True)
