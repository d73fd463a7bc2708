"""Drive a study to its end: plan, start, collect, retry, plan again. One driver per results folder.

All it knows it reads back from the run directories, so it may be killed at any moment and started again. It must not
know whether runs are processes here or tasks of a cluster.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

import envs
from rl_gns.errors import RunStopped, UserError
from rl_gns.studies.devices import JOBS_PER_GPU, Devices, gpu_count
from rl_gns.studies.local import Ended, Executor, LocalPool, processors
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.results import ATTEMPTS, Outcome, Status, read_failures
from rl_gns.studies.store import is_full
from rl_gns.studies.study import Study
from rl_gns.studies.view import View
from rl_gns.training import locking

POLL = 0.5
LEAST_FREE = 256 << 10
"""Bytes; what fails with less is blamed on the disk: SQLite calls a full one an input/output error now and then."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


def drive(
    study: Study,
    jobs: int | None = None,
    cluster: str | None = None,
    *,
    threads: int | None = None,
    jobs_per_gpu: int = JOBS_PER_GPU,
    retry_failed: bool = False,
    quiet: bool = False,
) -> int:
    """Run what is missing, until nothing is, or until SIGINT (every run checkpoints first).

    Args:
        study: what to run.
        jobs: runs at once at most. Default: one per processor, or what the cluster has room for.
        cluster: address of a Ray cluster ("auto", "local", "ray://…"); None runs on this machine.
        threads: processors that a run uses. Default: this machine's shared out to its jobs; one on a cluster.
        jobs_per_gpu: runs that share a GPU, where the study's device is one; they are spread over all GPUs.
        retry_failed: forget earlier failures first.
        quiet: no live view.

    Returns:
        How many of its runs have failed.

    Raises:
        UserError: the environment can't be made, another driver is at it, the results folder can't be written, a run
            on disk is not the planned one, jobs, threads or jobs_per_gpu < 1, no such GPU, no Ray installed.
        RunStopped: the disk is full.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs must be at least 1, got {jobs}")
    if threads is not None and threads < 1:
        raise UserError(f"threads must be at least 1, got {threads}")
    if jobs_per_gpu < 1:
        raise UserError(f"jobs-per-gpu must be at least 1, got {jobs_per_gpu}")
    try:
        for name in ("runs", "logs", "failures"):
            (study.results / name).mkdir(parents=True, exist_ok=True)
        with _lock(study.results):
            if retry_failed:
                for path in (study.results / "failures").glob("*.jsonl"):
                    path.unlink()
            outcomes = _prepare(study)
            _check_environment(study, outcomes)
            device = study.spec.device
            if cluster is None:
                devices = Devices(device, 0 if device == "cpu" else gpu_count(), jobs_per_gpu)
                executor: Executor = LocalPool(study.results, jobs, devices)
                threads = threads or max(1, processors() // executor.slots)
            else:
                from rl_gns.studies.cluster import RayPool

                threads, on_gpu = threads or 1, device.startswith("cuda")
                executor = RayPool(study.results, cluster, jobs, threads, on_gpu, jobs_per_gpu)
            view = View(Console(stderr=True, quiet=quiet), study, look=cluster is None)
            return _drive(study, executor, threads, outcomes, view)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise UserError(
                f"the results folder {study.results} can't be written ({error.strerror}): give --out"
            ) from None
        what = "free some space and start" if is_full(error) else "start"
        raise RunStopped(
            f"{study.results}: {error.strerror or error}; {what} again, nothing is lost"
        ) from error


def _check_environment(study: Study, outcomes: dict[str, Outcome]) -> None:
    """Raises UserError where no run could begin: better one line than a failure of each of them."""
    waiting = [run for run in study.plan(outcomes) if not _final(outcomes, run)]
    if not waiting:
        return
    config = waiting[0].config
    try:
        envs.make(config.env, 1, **config.environment_options()).close()
    except ValueError as error:  # EnvError, GameError
        raise UserError(f"{study.path}: {error}") from None


def _prepare(study: Study) -> dict[str, Outcome]:
    """What is on disk. Refuses runs of another version or other settings; sets half deleted ones aside."""
    outcomes = study.outcomes()
    for run in study.plan(outcomes):
        outcomes[run.id] = _usable(study, run, outcomes[run.id])
    return outcomes


def _usable(study: Study, run: PlannedRun, outcome: Outcome) -> Outcome:
    if outcome.status != "damaged":
        return outcome
    if outcome.packed and study.archive(run).parent != study.finished:
        raise UserError(f"{outcome.reason}; take back the change, or leave that study out of runs_of")
    if outcome.packed:
        raise UserError(
            f"{outcome.reason}; remove that file and the run is made anew, or take back the change"
        )
    folder = study.folder(run)
    if outcome.reason.startswith(("was made", "made by")):
        raise UserError(f"{folder} {outcome.reason}; move it away, or choose another folder with --out")
    aside = _set_aside(folder)
    print(f"{run.id} is made anew: {outcome.reason}; what was there is {aside}", file=sys.stderr)
    return study.outcome(run)


def _set_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    return folder.rename(aside)


def _drive(study: Study, executor: Executor, threads: int, outcomes: dict[str, Outcome], view: View) -> int:
    active: dict[str, PlannedRun] = {}
    stopping = False
    with view:
        try:
            while True:
                for run in study.plan(outcomes):
                    if run.id not in outcomes:
                        outcomes[run.id] = _usable(study, run, study.outcome(run))
                runs = study.plan(outcomes)
                waiting = [run for run in runs if run.id not in active and not _final(outcomes, run)]
                if not waiting and not active:
                    break
                for run in waiting[: max(executor.slots - len(active), 0)]:
                    executor.start(run, threads)
                    active[run.id] = run
                view.show(runs, outcomes, active)
                for ended in executor.ended(POLL):
                    del active[ended.run.id]
                    if ended.disk_full or (ended.reason and _free(study.results) < LEAST_FREE):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    outcomes[ended.run.id] = _settle(study, ended)
        except KeyboardInterrupt:
            stopping = True
            raise
        finally:
            if active:
                view.note("stopping: every run writes a checkpoint" if stopping else "")
                executor.stop()
        runs = study.plan(outcomes)
        view.summary(runs, outcomes)
    return sum(outcomes[run.id].status == "failed" for run in runs)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _final(outcomes: dict[str, Outcome], run: PlannedRun) -> bool:
    return run.id in outcomes and outcomes[run.id].final


def _settle(study: Study, ended: Ended) -> Outcome:
    """Note a failure on disk before anything else can happen to it."""
    outcome = _readable(study, ended.run)
    if outcome.status == "done" or not ended.counts:
        return outcome
    path = study.failures(ended.run)
    reason = ended.reason or outcome.reason or "stopped before its end"
    with path.open("a") as file:
        file.write(json.dumps(reason) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return _readable(study, ended.run)


def _readable(study: Study, run: PlannedRun) -> Outcome:
    """The outcome; one run that can't be read just now ends no night."""
    try:
        return study.outcome(run)
    except UserError as error:
        status: Status = "failed" if len(read_failures(study.failures(run))) >= ATTEMPTS else "partial"
        return Outcome(status, str(error))


@contextmanager
def _lock(results: Path) -> Iterator[None]:
    with (results / "lock").open("a+") as file:
        if not locking.take(file, results):
            file.seek(0)
            owner = file.read().strip()
            raise UserError(
                f"another driver is running the study in {results}"
                + (f" (process {owner})" if owner else "")
                + "; wait for it or stop it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
