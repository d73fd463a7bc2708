"""The driver's view: runs done, running, failed; time left; best so far. Live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study
from rl_gns.training.metrics import read_only
from rl_gns.training.progress import say

PLAIN_EVERY = 15.0
LOOK_EVERY = 2.0


class View:
    """Shows a study while it runs; a context manager.

    With `look` it reads how far each run is from the databases that are being written. Those of runs on other machines
    are let alone: SQLite's write-ahead log does not bear a reader on one machine and a writer on another.
    """

    def __init__(self, console: Console, study: Study, look: bool = True) -> None:
        self._console, self._study, self._look = console, study, look
        self._live: Live | None = None
        self._began = time.monotonic()
        self._looked = -math.inf
        self._printed = -math.inf
        self._first: float | None = None

    def __enter__(self) -> View:
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError, SystemExit):  # the terminal is gone
                self._live.__exit__(None, None, None)
            self._live = None

    def show(
        self, runs: list[PlannedRun], outcomes: Mapping[str, Outcome], active: Mapping[str, PlannedRun]
    ) -> None:
        """Refresh, at most every two seconds."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY or self._console.quiet:
            return
        self._looked = now
        far = {
            name: progress(self._study.folder(run), run.config.observations) if self._look else 0.0
            for name, run in active.items()
        }
        share = self.share(runs, outcomes, far)
        self._first = share if self._first is None else self._first
        pace = (share - self._first) / (now - self._began) if now > self._began else 0.0
        left = clock((1 - share) / pace) if pace > 0 else "--:--"
        leader = best(runs, outcomes, self._study.spec.goals)
        line = f"{counts(runs, outcomes, active)}  {share:4.0%}  {left} left  {leader}".rstrip()
        if self._live is not None:
            rows = [Text(f"  {name:28} {ratio:4.0%}") for name, ratio in list(far.items())[:12]]
            self._live.update(Group(Text(line), ProgressBar(total=1.0, completed=share, width=60), *rows))
        elif now - self._printed >= PLAIN_EVERY:
            self._printed = now
            self.note(line)

    def share(
        self, runs: list[PlannedRun], outcomes: Mapping[str, Outcome], far: Mapping[str, float]
    ) -> float:
        """Share of the runs known so far that is done; `auto` may still add some."""
        done = sum(
            1.0 if run.id in outcomes and outcomes[run.id].final else far.get(run.id, 0.0) for run in runs
        )
        return done / max(len(runs), 1)

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if line:
            say(self._console, line)

    def summary(self, runs: list[PlannedRun], outcomes: Mapping[str, Outcome]) -> None:
        """What became of the study; every failed run with its reason."""
        self.note(
            f"{self._study.name}: {counts(runs, outcomes, {})}  {best(runs, outcomes, self._study.spec.goals)}"
        )
        for line in failures(runs, outcomes):
            self.note(line)


def counts(runs: list[PlannedRun], outcomes: Mapping[str, Outcome], active: Mapping[str, PlannedRun]) -> str:
    """E.g. "12 of 40 runs done, 2 running, 1 failed"."""
    status = [outcomes[run.id].status for run in runs if run.id in outcomes]
    parts = [f"{status.count('done')} of {len(runs)} runs done"]
    if active:
        parts.append(f"{len(active)} running")
    parts += [f"{status.count(word)} {word}" for word in ("failed", "damaged") if word in status]
    return ", ".join(parts)


def failures(runs: list[PlannedRun], outcomes: Mapping[str, Outcome]) -> list[str]:
    """A line for every run that failed or is damaged."""
    bad = [(run.id, outcomes[run.id]) for run in runs if run.id in outcomes]
    return [
        f"{outcome.status}: {name}: {outcome.reason}"
        for name, outcome in bad
        if outcome.status in ("failed", "damaged")
    ]


def best(runs: list[PlannedRun], outcomes: Mapping[str, Outcome], goals: tuple[float, ...]) -> str:
    """The fewest observations to the hardest goal reached so far."""
    for goal in reversed(goals):
        reached = [
            (at, run.id)
            for run in runs
            if run.id in outcomes and (at := outcomes[run.id].crossings.get(goal)) is not None
        ]
        if reached:
            at, name = min(reached)
            return f"best: score {goal:g} in {at:,.0f} observations ({name})"
    peaks = [(outcomes[run.id].peak, run.id) for run in runs if run.id in outcomes]
    if peaks and math.isfinite(max(peaks)[0]):
        return f"best: score {max(peaks)[0]:.1f} ({max(peaks)[1]}), no goal reached yet"
    return ""


def progress(folder: Path, total: float) -> float:
    """How far a running run is, 0 to 1."""
    try:
        with closing(sqlite3.connect(read_only(folder / "metrics.db"), uri=True, timeout=0.2)) as db:
            row = db.execute("SELECT MAX(observations) FROM metrics").fetchone()
    except sqlite3.Error:
        return 0.0
    return min(1.0, (row[0] or 0.0) / total)


def clock(seconds: float) -> str:
    """H:MM:SS."""
    whole = int(seconds)
    return f"{whole // 3600:d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def status_text(study: Study) -> str:
    """What `rl-gns study status` prints."""
    outcomes = study.outcomes()
    runs = study.plan(outcomes)
    lines = [f"{study.name}: {counts(runs, outcomes, {})}", best(runs, outcomes, study.spec.goals)]
    for run in runs:
        if outcomes[run.id].status == "partial":
            share = outcomes[run.id].observations / run.config.observations
            lines.append(f"partial: {run.id}: {share:.0%} {outcomes[run.id].reason}".rstrip())
    return "\n".join(line for line in [*lines, *failures(runs, outcomes)] if line)
