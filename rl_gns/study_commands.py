"""`rl-gns study {run,status,fit,report,pack,claims} FILE`: parses, calls, prints. `cli` turns errors into one line."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

import tyro

from rl_gns.errors import RunStopped, UserError


@dataclasses.dataclass(frozen=True)
class _OnStudy:
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The study's TOML file, or a folder with a study.toml."""
    out: Path | None = None
    """The results folder. Default: `results` beside the file."""


@dataclasses.dataclass(frozen=True)
class StudyRun(_OnStudy):
    """Run what is missing of a study; started again after a stop or a kill, it goes on where it was."""

    jobs: int | None = None
    """Runs at once at most. Default: one per processor, or what the cluster has room for."""
    threads: int | None = None
    """Processors that a run uses. Default: this machine's, shared out to the jobs (one on a cluster); beside other work
    leave it some, since torch slows down tenfold where its threads have to wait."""
    jobs_per_gpu: int = 4
    """Runs that share a GPU, where the study's [train] says device = "cuda": each run gets the least loaded GPU."""
    cluster: str | None = None
    """Address of a Ray cluster (auto, or HOST:PORT); without it, processes of this machine."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the runs and what they will cost, from a short speed measurement, and stop."""
    retry_failed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try failed runs again."""
    quiet: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show no progress."""

    def run(self) -> None:
        """Run, or say what a run would cost."""
        from rl_gns.studies.study import load_study

        study = load_study(self.file, self.out)
        if self.dry_run:
            from rl_gns.studies.speed import estimate

            print(estimate(study, self.jobs, retry_failed=self.retry_failed))
            return
        from rl_gns.studies.driver import drive

        failed = drive(
            study,
            self.jobs,
            self.cluster,
            threads=self.threads,
            jobs_per_gpu=self.jobs_per_gpu,
            retry_failed=self.retry_failed,
            quiet=self.quiet,
        )
        where = shlex.join([str(self.file), *(["--out", str(self.out)] if self.out is not None else [])])
        print(f"table: rl-gns study fit {where}\npage:  rl-gns study report {where}")
        if failed:
            raise RunStopped(f"{failed} of its runs failed: rl-gns study status {where} says why")


@dataclasses.dataclass(frozen=True)
class StudyStatus(_OnStudy):
    """Say how far a study is and which runs failed."""

    def run(self) -> None:
        """Print it."""
        from rl_gns.studies.study import load_study
        from rl_gns.studies.view import status_text

        print(status_text(load_study(self.file, self.out)))


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise UserError(f"seed must not be negative, got {seed}")


@dataclasses.dataclass(frozen=True)
class StudyFit(_OnStudy):
    """Fit fronts and laws to what has finished; print them and write tables into the results folder."""

    seed: int = 0
    """Of the bootstrap."""
    smoothing: tyro.conf.FlagCreatePairsOff[bool] = False
    """Fit the fronts with shorter half-lives and centred averages too: what hangs on how scores are smoothed?"""

    def run(self) -> None:
        """Fit, print, write."""
        from rl_gns.report import sentences
        from rl_gns.report.tables import SMOOTHING
        from rl_gns.studies.fits import titled
        from rl_gns.studies.fitting import fit_study, report_folder, unfinished
        from rl_gns.studies.smoothing import smoothing_table
        from rl_gns.studies.store import write_tables
        from rl_gns.studies.study import load_study

        study = load_study(self.file, self.out)
        outcomes = study.outcomes()
        _check_seed(self.seed)
        fits = fit_study(study, self.seed, outcomes=outcomes)
        tables = fits.tables()
        if said := unfinished(study, outcomes):
            print(f"{said}\n")
        print(fits.text())
        if self.smoothing:
            tables["smoothing"] = smoothing_table(study, outcomes, self.seed)
            print("\n" + titled(SMOOTHING, tables["smoothing"]))
            print("\n" + sentences.smoothing(tables["smoothing"], study.spec.halflife))
        folder = report_folder(study) / "tables"
        write_tables(folder, tables)
        print(f"\ntables, as CSV and Parquet: {folder}: {', '.join(tables)}")


@dataclasses.dataclass(frozen=True)
class StudyReport(_OnStudy):
    """Write the study's page: one HTML file with every figure and table in it; figures and tables beside it too."""

    page: Path | None = None
    """Where to write it. Default: report/report.html in the results folder."""
    seed: int = 0
    """Of the bootstrap."""

    def run(self) -> None:
        """Fit, draw, write."""
        from rl_gns.report.study import report
        from rl_gns.studies.study import load_study

        _check_seed(self.seed)
        print(f"page: {report(load_study(self.file, self.out), self.page, self.seed)}")


@dataclasses.dataclass(frozen=True)
class StudyPack(_OnStudy):
    """Pack finished runs into `finished` beside the file, small enough to commit; packed runs are never repeated."""

    def run(self) -> None:
        """Pack, and say what came of it."""
        from rl_gns.studies.study import load_study

        study = load_study(self.file, self.out)
        outcomes = study.outcomes()
        written = study.pack(outcomes)
        runs = study.plan(outcomes)
        packed = [study.archive(run) for run in runs if study.archive(run).is_file()]
        here = [path for path in packed if path.parent == study.finished]
        size = sum(path.stat().st_size for path in here) / 1e6
        others = f", {len(packed) - len(here)} more in other studies'" if len(here) < len(packed) else ""
        print(
            f"{len(written)} runs packed; {len(here)} of {len(runs)} are now in {study.finished}, {size:.1f} MB{others}"
        )


@dataclasses.dataclass(frozen=True)
class StudyClaims:
    """Test what the paper claims on one study or several: claim, band, measured with interval, verdict."""

    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE...")] = ()
    """Studies' TOML files, or their folders. What is packed beside a file counts."""
    paper: tyro.conf.FlagCreatePairsOff[bool] = False
    """Add the paper's own digitised Atari fronts, one study a game."""
    to: Path | None = None
    """Write the tables into this folder, as CSV and Parquet, with the run ids behind every number."""
    into: Path | None = None
    """Put chart and table into this Markdown page, between its markers; the chart is a file in `figures` beside it."""
    seed: int = 0
    """Of the bootstraps and draws."""

    def run(self) -> None:
        """Judge, print, write."""
        from rl_gns.analysis import paper_fronts
        from rl_gns.report import claims
        from rl_gns.studies.scope import of_paper, of_study
        from rl_gns.studies.study import load_study

        _check_seed(self.seed)
        scopes = [of_study(load_study(file), seed=self.seed) for file in self.files]
        games = [task for task in paper_fronts()["task"].unique() if task != "dota_1v1"] if self.paper else []
        scopes += [of_paper(task, self.seed) for task in games]
        if not scopes:
            raise UserError("name at least one study's file, or give --paper")
        if len({scope.name for scope in scopes}) < len(scopes):
            raise UserError("two studies have the same name: a run's id would not say which it is of")
        if self.to is not None:
            tables = claims.write(scopes, self.to)
            print(f"tables, as CSV and Parquet: {self.to}: {', '.join(tables)}\n")
        if self.into is not None:
            claims.into(self.into, scopes)
            print(f"page: {self.into}")
        else:
            print(claims.markdown(scopes))


COMMANDS: dict[str, Any] = {
    "run": StudyRun,
    "status": StudyStatus,
    "fit": StudyFit,
    "report": StudyReport,
    "pack": StudyPack,
    "claims": StudyClaims,
}


@dataclasses.dataclass(frozen=True)
class StudyCommand:
    """Many runs from one file: environment count x rollout length to fronts and a report."""

    action: Annotated[
        Annotated[StudyRun, tyro.conf.subcommand("run")]
        | Annotated[StudyStatus, tyro.conf.subcommand("status")]
        | Annotated[StudyFit, tyro.conf.subcommand("fit")]
        | Annotated[StudyReport, tyro.conf.subcommand("report")]
        | Annotated[StudyPack, tyro.conf.subcommand("pack")]
        | Annotated[StudyClaims, tyro.conf.subcommand("claims")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()
