"""One run in a process of its own: train or go on, write why it failed, end when the driver does.

Exit codes: 0 finished or asked to stop, 1 the run could not go on, 2 its settings can't be used, 3 the disk is full,
5 another process is at it.
The reason is the last line of the log. Preloaded by the pool's fork server, so that a run does not wait for torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from rl_gns.errors import RunStopped, UserError
from rl_gns.studies.store import BUSY, DISK_FULL, is_full
from rl_gns.training import config as configs
from rl_gns.training import locking
from rl_gns.training.config import TrainConfig
from rl_gns.training.run import train

LOCK_PATIENCE = 120.0
"""Seconds to wait for a run that an earlier driver's process is still checkpointing."""
FREE = ("observations", "stop_score", "threads", "device")
"""What a study may ask of a run that has begun, also where that is a setting's default."""


def run_in_process(
    config: TrainConfig, folder: Path, log: Path, wait_for_driver: Callable[[], object]
) -> None:
    """Body of a worker process; exits. `wait_for_driver` blocks until the driver is gone."""
    os.setsid()  # Ctrl-C is the driver's to hand on
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    threading.Thread(target=_stop_with, args=(wait_for_driver,), daemon=True).start()
    code = attempt(config, folder)
    with contextlib.suppress(OSError):  # the log may be on the full disk too
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def attempt(config: TrainConfig, folder: Path) -> int:
    """Train `folder` to its end, from its newest checkpoint where there is one. Returns an exit code."""
    try:
        if not _wait_for_lock(folder):
            _say(f"another process is training {folder}")
            return BUSY
        resume = (folder / "config.toml").is_file()
        if resume:
            config = as_begun(config, configs.load(folder / "config.toml"))
        if not resume and folder.exists():
            shutil.rmtree(folder)  # killed before it wrote its settings: nothing was learnt yet
        train(config, folder, resume=resume, given=FREE)
    except UserError as error:
        _say(str(error))
        return 2
    except BaseException as error:
        if not isinstance(error, RunStopped):
            _say("".join(traceback.format_exception(error)))
        name = "" if isinstance(error, RunStopped) else f"{type(error).__name__}: "
        _say(name + " ".join(str(error).split()))
        return DISK_FULL if is_full(error) else 1
    return 0


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def as_begun(planned: TrainConfig, stored: TrainConfig) -> TrainConfig:
    """The settings a run began with, and of the plan only what may change: a larger budget, a harder last goal."""
    return dataclasses.replace(stored, **{name: getattr(planned, name) for name in FREE})


def last_line(log: Path) -> str:
    """The reason in a log."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


def _stop_with(wait_for_driver: Callable[[], object]) -> None:
    wait_for_driver()
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_lock(folder: Path) -> bool:
    """Returns whether nobody holds it now."""
    path, patience = folder / "lock", time.monotonic() + LOCK_PATIENCE
    while path.is_file():
        with path.open("a") as file:  # a network file system locks only what may be written
            if locking.take(file, folder):
                return True
        if time.monotonic() > patience:
            return False
        time.sleep(0.2)
    return True
