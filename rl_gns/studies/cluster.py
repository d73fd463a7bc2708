"""Runs as tasks of a Ray cluster: the same study file, the same results folder, the same worker code.

All nodes need this package and must see the results folder under the same path (a shared file system). A run whose
node dies goes on elsewhere from its newest checkpoint; that is not the run's failure, so it does not use up its
retry. The run's own lock keeps a node that was only thought dead from training it twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from pathlib import Path
from typing import Any

from rl_gns.errors import UserError
from rl_gns.studies.devices import JOBS_PER_GPU
from rl_gns.studies.local import Ended, ended
from rl_gns.studies.plan import PlannedRun
from rl_gns.training.config import TrainConfig

STOP_PATIENCE = 600.0
"""Seconds in which runs that were asked to stop may end an update and write their checkpoint."""
UNSEEN = 4
"""What a task returns on a node that does not see the results folder."""


class RayPool:
    """An `Executor` on a Ray cluster; imports Ray when made."""

    def __init__(
        self,
        results: Path,
        address: str,
        jobs: int | None,
        threads: int,
        on_gpu: bool = False,
        per_gpu: int = JOBS_PER_GPU,
    ) -> None:
        """address: "auto" or HOST:PORT of a running cluster; jobs: runs at once at most; per_gpu: runs a GPU takes.

        Raises:
            UserError: Ray is not installed, there is no cluster at the address, or no node of it could take a run.
        """
        try:
            import ray
        except ImportError:
            raise UserError("--cluster needs Ray: pip install -e '.[cluster]' in the clone, or ray") from None
        self._ray, self._results, self._jobs, self._threads = ray, results.resolve(), jobs, threads
        self._per_gpu = per_gpu if on_gpu else 0
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:120]
                raise UserError(
                    f"no Ray cluster at {address!r} ({reason}): start one with ray start --head"
                ) from None
        self._tasks: dict[Any, tuple[PlannedRun, int]] = {}
        if not self._room():  # Ray would wait for such a node for ever, without a word
            wanted = f"{threads} processors" + (" and a GPU" if on_gpu else "")
            raise UserError(
                f"no node of the Ray cluster has {wanted}, which a run takes (--threads, the study's device)"
            )

    @property
    def slots(self) -> int:
        """Runs the nodes alive now have processors and GPUs for."""
        return max(1, self._room() if self._jobs is None else min(self._room(), self._jobs))

    def _room(self) -> int:
        room = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            here = int(has.get("CPU", 0)) // self._threads
            if self._per_gpu:
                here = min(here, int(has.get("GPU", 0) * self._per_gpu))
            room += here
        return room

    def start(self, run: PlannedRun, threads: int) -> None:
        """Submit `run`."""
        # Ray shows each task the GPU it was given and no other: there it is "cuda".
        device, share = ("cuda", 1 / self._per_gpu) if self._per_gpu else ("cpu", 0.0)
        config = dataclasses.replace(run.config, threads=threads, device=device)
        task = self._ray.remote(num_cpus=threads, num_gpus=share, max_retries=0)(_work)
        folder, log = self._results / "runs" / run.id, self._results / "logs" / f"{run.id}.log"
        self._tasks[task.remote(config, folder, log, self._results)] = run, self._dead_nodes()

    def ended(self, timeout: float) -> list[Ended]:
        """See `Executor`.

        Raises:
            UserError: a node does not see the results folder.
        """
        if not self._tasks:
            return []
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout)
        found = []
        for task in ready:
            run, dead_before = self._tasks.pop(task)
            try:
                code, reason = self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                died = self._node_died(dead_before)
                found.append(Ended(run, "its node died" if died else type(error).__name__, counts=not died))
                continue
            if code == UNSEEN:
                raise UserError(reason)
            found.append(ended(run, code, reason))
        return found

    def stop(self) -> None:
        """Interrupt all tasks, which makes their runs checkpoint, and wait for them."""
        for task in self._tasks:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=False)
        self._ray.wait(list(self._tasks), num_returns=max(len(self._tasks), 1), timeout=STOP_PATIENCE)
        self._tasks.clear()

    def _dead_nodes(self) -> int:
        return sum(not node["Alive"] for node in self._ray.nodes())

    def _node_died(self, before: int) -> bool:
        # The worker's end is noticed at once, the node's only after missed heartbeats.
        limit = time.monotonic() + 15
        while (died := self._dead_nodes() > before) is False and time.monotonic() < limit:
            time.sleep(0.5)
        return died


def _work(config: TrainConfig, folder: Path, log: Path, results: Path) -> tuple[int, str]:
    """Body of a task: (exit code as `worker.attempt`, reason)."""
    from rl_gns.studies import worker

    if not (results / "lock").is_file():
        node = os.uname().nodename
        return (
            UNSEEN,
            f"node {node} does not see {results}: put it on a file system that all nodes share (--out)",
        )
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = worker.attempt(config, folder)
    return code, worker.last_line(log)
