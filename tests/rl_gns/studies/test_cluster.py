"""A Ray cluster gives the table that this machine gives, also when a node dies in mid-study."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rl_gns.errors import UserError
from rl_gns.studies.cluster import RayPool
from rl_gns.studies.driver import drive
from rl_gns.studies.study import Study, load_study

TEXT = """
env = "gym:CartPole-v1"
goals = [18, 400]
observations = 6_000
halflife = 400
[grid]
num_envs = [4, 16]
rollout = [5]
learning_rate = [2e-3]
seeds = [1, 2]
[train]
rmsprop = "torch"
checkpoint_every = 600
"""


def study_in(folder: Path) -> Study:
    folder.mkdir()
    (folder / "study.toml").write_text(TEXT)
    return load_study(folder)


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--cluster needs Ray: pip install -e '\.\[cluster\]'"):
        drive(study_in(tmp_path / "study"), cluster="auto", quiet=True)


@pytest.fixture
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Nodes:
    """A Ray of two nodes, of which one is gone."""

    def __init__(self) -> None:
        self.joined: list[str] = []

    def is_initialized(self) -> bool:
        return bool(self.joined)

    def init(self, address: str, **_: Any) -> None:
        self.joined.append(address)

    def nodes(self) -> list[dict[str, Any]]:
        big, gone = {"CPU": 7.0, "GPU": 1.0}, {"CPU": 64.0}
        return [
            {"Alive": True, "Resources": {"CPU": 3.0}},
            {"Alive": True, "Resources": big},
            {"Alive": False, "Resources": gone},
        ]


def test_room_is_counted_node_by_node_and_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 processors are no room for one run of 8."""
    monkeypatch.setitem(sys.modules, "ray", Nodes())
    assert RayPool(tmp_path, "auto", None, 2).slots == 1 + 3
    assert RayPool(tmp_path, "auto", 2, 2).slots == 2
    assert RayPool(tmp_path, "auto", None, 3, on_gpu=True, per_gpu=4).slots == 2
    many = RayPool(tmp_path, "auto", None, 1, on_gpu=True, per_gpu=93)
    monkeypatch.setattr(
        many._ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 200.0, "GPU": 2.0}}]
    )
    assert many.slots == 186  # 2 / (1 / 93) is a little less
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", Nodes())
    for threads, on_gpu, said in ((8, False, "8 processors"), (8, True, "8 processors and a GPU")):
        with pytest.raises(UserError, match=f"no node of the Ray cluster has {said}"):
            RayPool(tmp_path, "auto", None, threads, on_gpu=on_gpu)


def test_no_run_per_gpu_is_refused_on_a_cluster_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Nodes())
    path = study_in(tmp_path / "study").path
    path.write_text(f'{TEXT}device = "cuda"\n')
    with pytest.raises(UserError, match="jobs-per-gpu must be at least 1, got 0"):
        drive(load_study(path), cluster="auto", jobs_per_gpu=0, quiet=True)


@pytest.mark.slow
def test_two_nodes_one_killed(tmp_path: Path, cluster: Any) -> None:
    local = study_in(tmp_path / "local")
    drive(local, jobs=2, quiet=True)
    study = study_in(tmp_path / "cluster")
    doomed = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)

    def kill() -> None:
        limit = time.monotonic() + 120
        while len(list(study.results.glob("runs/*/checkpoints/*.ckpt"))) < 2 and time.monotonic() < limit:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    drive(study, cluster=cluster.address, quiet=True)
    killer.join()
    pd.testing.assert_frame_equal(study.table(), local.table(), check_exact=True)
    assert set(study.table()["status"]) == {"done"}
    assert not list((study.results / "failures").iterdir())
    logs = [path.read_text() for path in (study.results / "logs").iterdir()]
    assert sum("resuming" in log or "before its first checkpoint" in log for log in logs) >= 1
