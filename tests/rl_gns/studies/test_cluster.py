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
