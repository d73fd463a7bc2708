"""Runs as processes of this machine. It must not know which runs a study needs, only how to keep some going."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rl_gns.studies.devices import Devices
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.store import BUSY, DISK_FULL
from rl_gns.training.config import TrainConfig


class Ended(NamedTuple):
    """A run whose process ended, finished or not."""

    run: PlannedRun
    reason: str
    """Why it failed; empty when it ended of itself without complaint."""
    counts: bool = True
    """Whether a failure is the run's own, and not its machine's."""
    disk_full: bool = False
    """Whether it could not write: neither would any other run."""


class Executor(Protocol):
    """What the driver asks of a pool of processes or a cluster."""

    @property
    def slots(self) -> int:
        """Runs that can go on at once."""

    def start(self, run: PlannedRun, threads: int) -> None:
        """Begin or go on with a run."""

    def ended(self, timeout: float) -> list[Ended]:
        """Runs that ended since the last call; waits up to `timeout` seconds for one."""

    def stop(self) -> None:
        """Ask all runs to checkpoint and end, and wait for them."""


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


class LocalPool:
    """Up to `jobs` worker processes, each with a share of the processors or of a GPU.

    Workers are forked from a server that has loaded torch once. They end, after a checkpoint, when this process
    does, however it ends.
    """

    def __init__(self, results: Path, jobs: int | None, devices: Devices) -> None:
        """jobs: runs at once at most. Default: one per processor, and no more than the GPUs take."""
        limit = processors() if jobs is None else jobs
        self._results, self._devices = results, devices
        self.slots = limit if devices.slots is None else min(limit, devices.slots)
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["rl_gns.studies.worker"])
        self._processes: dict[str, tuple[PlannedRun, BaseProcess]] = {}

    def start(self, run: PlannedRun, threads: int) -> None:
        """Fork a worker for `run`."""
        config = dataclasses.replace(run.config, threads=threads, device=self._devices.take(run.id))
        arguments = (config, self._results / "runs" / run.id, self._results / "logs" / f"{run.id}.log")
        process = self._context.Process(target=_work, args=arguments, name=run.id)
        process.start()
        self._processes[run.id] = run, process

    def ended(self, timeout: float) -> list[Ended]:
        """See `Executor`."""
        from multiprocessing.connection import wait

        wait([process.sentinel for _, process in self._processes.values()], timeout)
        found = []
        for name, (run, process) in list(self._processes.items()):
            if process.is_alive():
                continue
            process.join()
            del self._processes[name]
            self._devices.give_back(name)
            found.append(ended(run, process.exitcode, self._reason(run, process.exitcode)))
        return found

    def stop(self) -> None:
        """SIGTERM, which makes a run checkpoint."""
        for _, process in self._processes.values():
            process.terminate()
        for _, process in self._processes.values():
            process.join()
        self._processes.clear()

    def _reason(self, run: PlannedRun, code: int | None) -> str:
        from rl_gns.studies.worker import last_line

        if code == 0:
            return ""
        if code is not None and code < 0:
            return f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        return last_line(self._results / "logs" / f"{run.id}.log") or f"ended with exit code {code}"


def ended(run: PlannedRun, code: int | None, reason: str) -> Ended:
    """What a worker's exit code says. A full disk, or another process at work on the run, is no failure of it."""
    return Ended(
        run, "" if code == 0 else reason, counts=code not in (DISK_FULL, BUSY), disk_full=code == DISK_FULL
    )


def _work(config: TrainConfig, folder: Path, log: Path) -> None:
    from rl_gns.studies import worker

    parent = multiprocessing.parent_process()
    assert parent is not None
    worker.run_in_process(config, folder, log, parent.join)
