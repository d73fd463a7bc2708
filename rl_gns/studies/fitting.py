"""From a study on disk to its fits: the table, the prediction beside it, and where what follows is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.predicted import predict
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study


def fit_study(
    study: Study, seed: int = 0, bootstrap: int = 1000, outcomes: Mapping[str, Outcome] | None = None
) -> Fits:
    """Fit all that the finished runs allow, see `fits.fit`; without `outcomes` they are read from disk."""
    outcomes = study.outcomes() if outcomes is None else outcomes
    return fit(study.table(outcomes), seed, bootstrap, predict(study, outcomes, seed, bootstrap))


def report_folder(study: Study) -> Path:
    """Where page, figures and tables go unless told otherwise; small enough to be kept with the study's file."""
    return study.results / "report"
