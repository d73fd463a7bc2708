"""`rl-gns fronts TABLE…`: fronts of runs that something else trained. Parses, calls, prints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from rl_gns.errors import UserError

DRAWN = (".png", ".svg", ".pdf")
"""Endings of figures, here and in `rl-gns noise`."""


@dataclasses.dataclass(frozen=True)
class Fronts:
    """Critical batches from tables of runs that something else trained."""

    tables: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="TABLE...")] = ()
    """CSV or Parquet: a row per run (batch, updates or observations to the goal) or rows along runs (batch,
    observations, score)."""
    goals: tuple[float, ...] = ()
    """Scores to reach. Rows along runs need them; of a row per run they choose among its goals."""
    halflife: float | None = None
    """Of the score's smoothing, in observations. Default: a 50th of the longest run."""
    centred: tyro.conf.FlagCreatePairsOff[bool] = False
    """Average scores over both sides: it does not lag, as an average of what came before does."""
    start_score: float | None = None
    """With a noise scale along runs: leave out of its means what came before this score."""
    lower: tyro.conf.FlagCreatePairsOff[bool] = False
    """The lower score is the better one, as with a loss."""
    fewest: int = 20
    """Rows along runs: scores of a run before one counts, since a lucky game is no goal reached; 1 for evaluations."""
    columns: tuple[str, ...] = ()
    """What the tables call our columns, as observations=global_step score=episodic_return."""
    figure: Path | None = None
    """Where to draw (.png, .svg, .pdf). Default: TABLE-fronts.png beside the first table."""
    to: Path | None = None
    """Write all tables into this folder too, as CSV and Parquet."""
    seed: int = 0
    """Of the bootstrap."""

    def run(self) -> None:
        """Read, fit, print, draw."""
        from rl_gns.report import fronts
        from rl_gns.studies import own_columns, own_tables
        from rl_gns.studies.fits import fit
        from rl_gns.studies.store import write_tables

        if self.seed < 0:
            raise UserError(f"seed must not be negative, got {self.seed}")
        if self.figure is not None and self.figure.suffix not in DRAWN:
            raise UserError(f"the figure must end in .png, .svg or .pdf, got {self.figure}")
        frame = own_columns.read(self.tables, _pairs(self.columns))
        table = own_tables.runs_table(
            frame, self.goals, self.halflife, self.start_score, self.lower, self.fewest, self.centred
        )
        fits = fit(table, self.seed, lower=self.lower)
        print(fronts.text(fits))
        if self.to is not None:
            write_tables(self.to, fits.tables())
            print(f"\ntables, as CSV and Parquet: {self.to}: {', '.join(fits.tables())}")
        path = self.figure or self.tables[0].with_name(f"{_name(self.tables[0])}-fronts.png")
        for drawn in fronts.draw(fits, path):
            print(f"figure: {drawn}")


def _name(table: Path) -> str:
    """A table's name without its endings; other dots are its own, as in lr0.1.csv."""
    for endings in ((".gz", ".bz2", ".zip", ".xz", ".zst"), (".csv", ".parquet"), (".monitor",)):
        table = table.with_suffix("") if table.suffix in endings else table
    return table.name


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"columns are given as OURS=THEIRS, e.g. observations=global_step, got '{word}'")
        pairs[ours] = theirs
    return pairs
