"""A study on disk: its file, its results folder, and the table derived from its run directories.

    RESULTS/runs/ID/              one directory per run (see `rl_gns.training.saved`)
    RESULTS/logs/ID.log           what the run printed
    RESULTS/failures/ID.jsonl     why it failed, a line per attempt
    RESULTS/lock                  held by the driver
    finished/ID.tar.xz            beside the file: finished runs, packed to be committed (see `packed`); those of the
                                  studies that `runs_of` names count too

Nothing else is stored: the table can't disagree with the runs.
"""

from __future__ import annotations

import dataclasses
import difflib
import fcntl
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rl_gns.errors import UserError
from rl_gns.studies import packed, results, spec
from rl_gns.studies import plan as plans
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.results import Outcome
from rl_gns.studies.spec import StudySpec
from rl_gns.training.config import TrainConfig
from rl_gns.training.metrics import read_table

COLUMNS = [
    "id",
    "num_envs",
    "rollout",
    "batch",
    "learning_rate",
    "seed",
    "goal",
    "observations",
    "updates",
    "censored",
    "noise_scale",
    "mean_noise_scale",
    "known_share",
    "status",
    "reason",
    "peak",
    "information",
]


@dataclasses.dataclass(frozen=True)
class Study:
    """A study file and its results folder, which need not exist yet."""

    path: Path
    results: Path
    spec: StudySpec

    @property
    def name(self) -> str:
        """The study's name: that of its folder, or of its file when it is not called study.toml."""
        return self.path.resolve().parent.name if self.path.name == spec.FILE_NAME else self.path.stem

    def folder(self, run: PlannedRun) -> Path:
        """The run's directory."""
        return self.results / "runs" / run.id

    def failures(self, run: PlannedRun) -> Path:
        """The file of the run's failures."""
        return self.results / "failures" / f"{run.id}.jsonl"

    @property
    def finished(self) -> Path:
        """The folder of packed runs, beside the file."""
        return _beside(self.path, "finished")

    def archive(self, run: PlannedRun) -> Path:
        """The run, packed: here, or where a study that `runs_of` names has it; here if it is nowhere yet."""
        own = self._own_archive(run)
        others = [_beside(_file(self.path.parent / other), "finished") for other in self.spec.runs_of]
        found = (own, *(folder / own.name for folder in others))
        return next((path for path in found if path.is_file()), own)

    def _own_archive(self, run: PlannedRun) -> Path:
        return self.finished / f"{run.id}{packed.SUFFIX}"

    def outcome(self, run: PlannedRun) -> Outcome:
        """What the run came to so far, in its directory or packed."""
        return results.read(
            self.folder(run),
            run.config,
            self.spec.goals,
            self.failures(run),
            self.spec.start_score,
            self.archive(run),
            self.spec.budget(run.batch),
        )

    def plan(self, outcomes: Mapping[str, Outcome] | None = None) -> list[PlannedRun]:
        """Every run known to be needed; without `outcomes` they are read from disk."""
        return plans.plan(self.spec, self.outcomes() if outcomes is None else outcomes)

    def outcomes(self) -> dict[str, Outcome]:
        """What every planned run came to, reading each directory once."""
        found: dict[str, Outcome] = {}
        while missing := [run for run in plans.plan(self.spec, found) if run.id not in found]:
            found |= {run.id: self.outcome(run) for run in missing}
        return found

    def table(self, outcomes: Mapping[str, Outcome] | None = None) -> pd.DataFrame:
        """One row per run of the grid and goal; without `outcomes` they are read from disk.

        Returns:
            Columns id, num_envs, rollout, batch, learning_rate, seed, goal; observations and updates at which the
            smoothed score first reached the goal or, where `censored`, those made without reaching it (0 for a
            run not begun); noise_scale (observations) there and mean_noise_scale, its step-weighted mean until
            there, with known_share, the share of steps where it was known; status (pending, partial, done,
            failed, damaged), reason, peak, the best smoothed score, and information, I(a; s) in nats where the goal was
            reached, NaN of runs that did not measure it.
        """
        outcomes = self.outcomes() if outcomes is None else outcomes
        rows: list[dict[str, Any]] = []
        for run in self.plan(outcomes):
            if not run.in_grid:
                continue
            outcome = outcomes[run.id]
            for goal in self.spec.goals:
                rows.append(_row(run, outcome, goal))
        return pd.DataFrame(rows, columns=COLUMNS)

    def read(self, run: PlannedRun, table: str, outcome: Outcome) -> pd.DataFrame:
        """One table of the run, such as "metrics" or "noise_parts", from where its outcome was read.

        A table that the run wrote nothing into is empty and may be without columns.
        """
        if not outcome.packed:
            return read_table(self.folder(run) / "metrics.db", table)
        try:
            return packed.unpack(self.archive(run)).table(table)
        except KeyError:
            return pd.DataFrame()

    def metrics(self, run: PlannedRun | str) -> pd.DataFrame:
        """The metric rows of a run, or of the one with that id; packed or not.

        Raises:
            UserError: the study has no such run.
        """
        if isinstance(run, str):
            planned = {each.id: each for each in self.plan()}
            if run not in planned:
                near = difflib.get_close_matches(run, planned, n=1)
                raise UserError(
                    f"{self.name} has no run '{run}'" + (f"; did you mean '{near[0]}'?" if near else "")
                )
            run = planned[run]
        return self.read(run, "metrics", self.outcome(run))

    def correlation(self, run: PlannedRun, outcome: Outcome) -> dict[str, Any]:
        """What the run measured of the correlation within its rollouts; empty where it did not."""
        if outcome.packed:
            return packed.unpack(self.archive(run)).correlation
        return packed.correlation_of(self.folder(run))

    def pack(self, outcomes: Mapping[str, Outcome] | None = None) -> list[Path]:
        """Pack every finished run that is not packed yet. Returns the files written.

        A run whose process has not let go of it is left for the next time.

        Raises:
            UserError, RunStopped: as `packed.pack`; what was packed before stays.
        """
        outcomes = self.outcomes() if outcomes is None else outcomes
        written = []
        for run in self.plan(outcomes):
            outcome = outcomes[run.id]
            if outcome.status != "done" or outcome.packed or _held(self.folder(run) / "lock"):
                continue
            own = self._own_archive(run)  # never into another study's folder
            if packed.pack(self.folder(run), own):
                written.append(own)
        return written

    def command(self, run: PlannedRun) -> str:
        """The command line that repeats the run by itself."""
        default = TrainConfig()
        words = ["rl-gns", "train", run.config.env]
        for field in dataclasses.fields(TrainConfig):
            value = getattr(run.config, field.name)
            if field.name == "env" or value == getattr(default, field.name):
                continue
            option = "--" + field.name.replace("_", "-")
            if isinstance(value, bool):
                words.append(option if value else "--no-" + option[2:])
            elif isinstance(value, dict):
                words += [option, *(str(word) for pair in value.items() for word in pair)]
            else:
                words += [option, f"{value:.12g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)


def _held(lock: Path) -> bool:
    """Whether a process is training the run."""
    if not lock.is_file():
        return False
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _row(run: PlannedRun, outcome: Outcome, goal: float) -> dict[str, Any]:
    at = outcome.crossings.get(goal)
    made = outcome.observations if at is None else at
    noise_scale, mean, share = outcome.noise.get(goal, (math.nan, math.nan, math.nan))
    return {
        "id": run.id,
        "num_envs": run.num_envs,
        "rollout": run.rollout,
        "batch": run.batch,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "goal": goal,
        "observations": made,
        "updates": made / run.batch,
        "censored": at is None,
        "noise_scale": noise_scale,
        "mean_noise_scale": mean,
        "known_share": share,
        "status": outcome.status,
        "reason": outcome.reason,
        "peak": outcome.peak if math.isfinite(outcome.peak) else math.nan,
        "information": outcome.information.get(goal, math.nan),
    }


def load_study(path: str | Path, results: str | Path | None = None) -> Study:
    """Open a study.

    Args:
        path: the study's file, or a folder with a study.toml.
        results: the results folder. Default: `results` beside the file.

    Raises:
        UserError: there is no such file, or it is no study.
    """
    path = _file(Path(path))
    if not path.is_file():
        raise UserError(f"there is no study file {path}")
    folder = _beside(path, "results") if results is None else Path(results)
    study = Study(path, folder, spec.load(path))
    for key in ("runs_of", "against"):
        for other in getattr(study.spec, key):
            if not _file(path.parent / other).is_file():
                raise UserError(f"{path}: {key} names {other}, where there is no study file")
    return study


def _file(path: Path) -> Path:
    return path / spec.FILE_NAME if path.is_dir() else path


def _beside(file: Path, name: str) -> Path:
    """A folder of a study; that of one in a file of its own is called after it."""
    return file.parent / (name if file.name == spec.FILE_NAME else f"{file.stem}-{name}")
