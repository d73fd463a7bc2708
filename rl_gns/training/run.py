"""Training a run: its directory is begun or gone on with, checkpointed, and left whole whatever ends it."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

import envs
from agents.ranks import Ranks
from rl_gns.errors import RunStopped, UserError
from rl_gns.training import checkpoint, locking, optimizer_start
from rl_gns.training import config as configs
from rl_gns.training.config import TrainConfig
from rl_gns.training.idle import refuse_idle
from rl_gns.training.loop import Trainer
from rl_gns.training.metrics import MetricsWriter
from rl_gns.training.progress import Progress, say
from rl_gns.training.rows import Log, mirrored, writing
from rl_gns.training.saved import Run
from rl_gns.training.sharing import together
from rl_gns.training.sources import of_another_kind

FREE_ON_RESUME = {
    "observations",
    "device",
    "threads",
    "checkpoint_every",
    "keep_every",
    "tensorboard",
    "stop_score",
    "chunk",
}
"""Settings that may change when a run is resumed; the learning rate's linear schedule follows `observations`."""

_NEWEST_ROW = "newest_row"
"""In a checkpoint: updates at the newest metric row that its run had written."""

BEFORE_SETTINGS = {"lock", "config.tmp"}
"""What a run that was killed before it had settings leaves; there is nothing to resume, so it may start anew."""


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    given: Collection[str] | None = None,
) -> Run:
    """Train until `config.observations`, or until SIGINT, SIGTERM or SIGHUP, which checkpoint first.

    Under torchrun every process calls it alike; they share the worlds, and the first one writes (see `sharing`).

    Args:
        config: settings; None fields take the algorithm's defaults.
        out: the run's directory; by default runs/NAME made of the main settings.
        resume: go on from the newest complete checkpoint of `out`; the run's own settings hold, and those given
            here that differ from them are refused, but for `observations` and a few more.
        quiet: print nothing.
        given: settings of `config` that are meant when a run is resumed. Default: those that are not the defaults.

    Returns:
        The run. `Run.path` is its directory.

    Raises:
        UserError: settings or directory can't be used.
        RunStopped: the run could not go on; what it had written stays.
    """
    if not isinstance(config, TrainConfig):
        raise UserError(f"train takes a TrainConfig, as rl_gns.TrainConfig(env={config!r}), not {config!r}")
    with together() as ranks:
        if given is None:
            default = TrainConfig()
            names = [field.name for field in dataclasses.fields(TrainConfig)]
            given = [name for name in names if getattr(config, name) != getattr(default, name)]
        return _train_together(config, out, resume, quiet or ranks.rank > 0, ranks, given)


def _train_together(
    config: TrainConfig,
    out: str | Path | None,
    resume: bool,
    quiet: bool,
    ranks: Ranks,
    given: Collection[str],
) -> Run:
    console = Console(stderr=True, quiet=quiet)
    if not resume:
        refuse_idle(config)
    path = Path(out) if out is not None else Path("runs") / default_name(configs.resolve(config))
    if resume:
        config = _settings_to_resume(path, config, given)
    else:
        config = configs.resolve(config)
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: choose another --out")
        in_the_way = path.exists() and any(entry.name not in BEFORE_SETTINGS for entry in path.iterdir())
        if ranks.rank == 0 and in_the_way:
            raise UserError(f"{path} already exists: go on with --resume, or choose another --out")
    if ranks.rank > 0:
        return _follow(config, path, resume)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the run's directory {path} can't be made: {error.strerror}") from None
    with _lock(path):
        try:
            return _train(config, path, resume, console, quiet)
        except (
            envs.WorkerDied
        ) as error:  # while games were loaded, restored or saved; in a step `_loop` says it
            raise RunStopped(f"{error}; {_way_on(path / 'checkpoints')}") from error


def _way_on(checkpoints: Path) -> str:
    kept = checkpoint.files(checkpoints)
    return f"go on from {kept[-1].name} with --resume" if kept else "no checkpoint was written yet"


def _follow(config: TrainConfig, path: Path, resume: bool) -> Run:
    """What a process does that shares a run and writes nothing of it."""
    with _training(config) as (trainer, stop):
        if resume and checkpoint.files(path / "checkpoints"):
            trainer.load_state_dict(checkpoint.newest(path / "checkpoints")[1])
        _loop(trainer, stop, None, None, path, Console(quiet=True), quiet=True)
    return Run(path, config)


def _save_settings(config: TrainConfig, path: Path) -> None:
    with writing(path / "config.toml"):
        configs.save(config, path / "config.toml", _facts())


def _train(config: TrainConfig, path: Path, resume: bool, console: Console, quiet: bool) -> Run:
    with _training(config) as (trainer, stop):
        if not resume:
            try:
                trainer.begin()
            except envs.EnvError as error:  # now, and not when the first checkpoint is due
                raise UserError(str(error)) from None
        goes_on = resume and bool(checkpoint.files(path / "checkpoints"))
        if not goes_on:
            _save_settings(config, path)
            if line := optimizer_start.hint(config):
                say(console, line, "yellow")
        with closing(MetricsWriter(path / "metrics.db")) as writer:
            if goes_on:
                _take_up(trainer, writer, path, console)
            elif resume:
                say(console, f"{path} was stopped before its first checkpoint: starting at the beginning")
                writer.drop_after(-1)
            with mirrored(path / "tensorboard", trainer.observations, config.tensorboard) as board:
                _loop(trainer, stop, writer, board, path, console, quiet)
    return Run(path, config)


def _take_up(trainer: Trainer, writer: MetricsWriter, path: Path, console: Console) -> None:
    """Put `trainer` where the run's newest checkpoint is, and forget the rows after it."""
    found, state, warnings = checkpoint.newest(path / "checkpoints")
    for line in warnings:
        say(console, line, "yellow")
    try:
        trainer.load_state_dict(state)
    except KeyError as error:
        raise UserError(f"{found} lacks {error}: it is of another version; start the run anew") from None
    except ValueError as error:
        if isinstance(error, UserError | envs.EnvError):
            raise
        raise UserError(f"{found} can't be gone on with: {error}; start the run anew") from None
    _check_rows(writer, state, found)
    if of_another_kind(trainer.generator, state["generator"]):
        anew = f"random numbers begin anew on {trainer.device}"
        say(console, f"{path} was trained on another kind of device: {anew}", "yellow")
    # Only now: settings that the run can't go on with leave its own as they were.
    _save_settings(trainer.config, path)
    writer.drop_after(trainer.updates)
    say(console, f"resuming {path} at {trainer.observations:,} observations ({found.name})")


def _check_rows(writer: MetricsWriter, state: Mapping[str, Any], found: Path) -> None:
    """Raises UserError where the database lacks rows from before the checkpoint: nothing makes them again."""
    if writer.newest < state.get(_NEWEST_ROW, 0):  # which older versions did not keep
        raise UserError(
            f"{writer.path} ends at {writer.newest:,} updates, and {found.name} has rows up to "
            f"{state[_NEWEST_ROW]:,}: put back the database that belongs to it (with metrics.db-wal, if it had one), "
            "or start the run anew"
        )


@contextmanager
def _training(config: TrainConfig) -> Iterator[tuple[Trainer, list[int]]]:
    """A trainer, and the signals that asked it to stop, caught until all it has is saved and closed."""
    trainer = Trainer(config)
    with _stop_on_signals() as stop:
        try:
            yield trainer, stop
        finally:
            trainer.close()


def _loop(
    trainer: Trainer,
    stop: list[int],
    writer: MetricsWriter | None,
    board: Any,
    path: Path,
    console: Console,
    quiet: bool,
) -> None:
    """Update until done or until `stop` holds a signal, writing on the way; the last state is saved."""
    config, folder = trainer.config, path / "checkpoints"
    next_log = _next(trainer.observations, config.log_every)
    next_checkpoint = _next(trainer.observations, config.checkpoint_every, config.keep_every)
    climber = _climber(trainer) if config.ladder_every > 0 and writer is not None else None
    started = time.monotonic()
    log = Log(trainer, writer, board, started)
    saved = -1
    with Progress(console, quiet) as progress:
        try:
            while not trainer.done and not trainer.ranks.any(bool(stop), trainer.device):
                trainer.update()
                if trainer.observations >= next_log or trainer.done:
                    progress.show(log.row())
                    if log.warning:
                        say(console, log.warning, "yellow")
                    next_log = _next(trainer.observations, config.log_every)
                if writer is not None and climber is not None and climber.due:
                    writer.write_ladder(trainer.updates, trainer.observations, climber.rows())
                if trainer.observations >= next_checkpoint:
                    _save(trainer, writer, folder)
                    saved = trainer.observations
                    next_checkpoint = _next(trainer.observations, config.checkpoint_every, config.keep_every)
        except RunStopped as error:
            kept = checkpoint.files(folder)
            where = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
            raise RunStopped(f"{error}; {where}") from error.__cause__
        except (RuntimeError, envs.EnvError) as error:
            raise RunStopped(f"{' '.join(str(error).split())}; {_way_on(folder)}") from error
    if trainer.done and writer is not None and writer.newest < trainer.updates:
        log.row()  # resumed beyond a budget or goal that has come down since
    if (
        trainer.updates and saved != trainer.observations
    ):  # before the first there is nothing yet, not even games
        try:
            _save(trainer, writer, folder)
        except envs.EnvError as error:
            if not trainer.done:
                raise RunStopped(f"{' '.join(str(error).split())}; {_way_on(folder)}") from error
            say(console, f"{error}: this run can be evaluated, but not gone on with", "yellow")
            _save(trainer, writer, folder, games=False)
    if stop and not trainer.done:
        on = f"go on with: rl-gns train --resume --out {shlex.quote(str(path))}"
        say(console, f"stopped at {trainer.observations:,} observations; {on}")


def _save(trainer: Trainer, writer: MetricsWriter | None, folder: Path, games: bool = True) -> None:
    """All processes have a part in the state; the one that writes saves it."""
    state = trainer.state_dict(games)
    if writer is not None:
        state[_NEWEST_ROW] = writer.newest
        checkpoint.keep(checkpoint.save(folder, trainer.observations, state), trainer.config.keep_every)


def _climber(trainer: Trainer) -> Any:
    from rl_gns.training.ladder import Climber  # most runs need neither the scripts nor the ratings

    return Climber(trainer)


def _next(observations: int, *every: float) -> float:
    """The next multiple of one of `every` above 0, so that a resumed run logs at the same updates."""
    return min((observations // one + 1) * one for one in every if one > 0)


def default_name(config: TrainConfig) -> str:
    """E.g. pong-a2c-n16-t5-lr0.0007-s1."""
    game = config.env.partition(":")[2].replace("/", "_")
    return (
        f"{game}-{config.algo}-n{config.num_envs}-t{config.rollout}-lr{config.learning_rate:g}-s{config.seed}"
    )


def _settings_to_resume(path: Path, asked: TrainConfig, given: Collection[str]) -> TrainConfig:
    if not (path / "config.toml").is_file():
        raise UserError(f"{path} is no run: it has no config.toml")
    stored = configs.load(path / "config.toml")
    options = configs.switched(asked.env_options)
    moved = configs.lifted(dataclasses.replace(asked, env=stored.env, env_options=options))
    asked = dataclasses.replace(moved, env=asked.env)
    elsewhere = {name for name in configs.LIFTED if name not in asked.env_options and name in options}
    given = {*given, *elsewhere} - ({"env_options"} if elsewhere and not asked.env_options else set())
    changes = {}
    for name in given:
        value, was = getattr(asked, name), getattr(stored, name)
        if value == was:
            continue
        if name not in FREE_ON_RESUME:
            raise UserError(
                f"{path} was trained with {name}={was}, not {value}: leave that setting out, or start a new run"
            )
        changes[name] = value
    return configs.resolve(dataclasses.replace(stored, **changes))


def _facts() -> dict[str, Any]:
    versions = {}
    for name in ("rl-gns", "torch", "ale-py", "gymnasium", "numpy", "opencv-python-headless"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        top, commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[
            :2
        ]
        if Path(top).resolve() != root:  # an installed package in somebody else's repository
            commit = ""
    except (OSError, ValueError):  # no git, or no repository here
        commit = ""
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
    return {"versions": {**versions, "commit": commit or "unknown"}, "machine": machine}


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with writing(path / "lock"):
        file = (path / "lock").open("w")
    with file:
        if not locking.take(file, path):
            raise UserError(f"another process is training {path}")
        yield


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """A list that is non-empty once SIGINT, SIGTERM or SIGHUP came; a second SIGINT interrupts at once."""
    stop: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.append(number)

    try:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # its terminal was closed; nohup has it ignored
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread: signals are somebody else's
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
