"""What claims are tested on: one study's fits, or the paper's own fronts in the same form. It judges nothing."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rl_gns.analysis import Front, fit_front, paper_fronts, paper_noise_scale, paper_task
from rl_gns.analysis.claims import Draws, deviates, of_interval
from rl_gns.studies.fits import Fits, fit
from rl_gns.studies.fitting import fit_study
from rl_gns.studies.predictors import readings
from rl_gns.studies.results import Outcome
from rl_gns.studies.seeds import over_seeds
from rl_gns.studies.study import COLUMNS, Study
from rl_gns.studies.transient import spikes

Key = tuple[int, float]
"""(rollout, goal)."""
ROLLOUT = 5
"""The paper's."""
READ = 1.08
"""How well the paper's noise scales could be read off its figures (4 %, two standard deviations)."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """One task's results."""

    name: str
    fits: Fits
    task: str | None = None
    """The paper's name of it; None where it is none of the paper's."""
    atari: bool = False
    start_score: float | None = None
    parts: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """`predictors.readings`."""
    transient: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """`transient.spikes`."""
    seed: int = 0
    owned: bool = True
    """False for the paper's own numbers, which have no runs here."""

    @property
    def keys(self) -> list[Key]:
        """Of the fronts, ascending."""
        return sorted(self.fits.front_of)

    @property
    def hardest(self) -> list[Key]:
        """Of each rollout length, the hardest goal whose critical batch can be told."""
        known = [key for key in self.keys if self.fits.front_of[key].b_crit is not None]
        return [max(key for key in known if key[0] == length) for length in sorted({key[0] for key in known})]

    def points(self, key: Key) -> pd.DataFrame:
        """The best runs of a goal, see `fits.best_points`."""
        points = self.fits.points
        return points[(points["rollout"] == key[0]) & (points["goal"] == key[1])]

    def runs(self, *keys: Key) -> list[str]:
        """STUDY/ID of the runs that the fronts of these goals rest on; all of them without a key."""
        if not self.owned:
            return []
        some = [self.points(key) for key in keys] if keys else [self.fits.points]
        return sorted({f"{self.name}/{name}" for part in some for name in part["id"]})

    def deviates(self, source: str) -> NDArray[np.float64]:
        """Draws of one source of chance of this scope."""
        return deviates(self.seed, f"{self.name}/{source}")

    def b_crit(self, key: Key) -> Draws | None:
        """The goals of one rollout length share their runs, so their errors are taken to go together."""
        front = self.fits.front_of[key]
        if front.b_crit is None:
            return None
        return of_interval(
            front.b_crit, front.b_crit_low, front.b_crit_high, self.deviates(f"b_crit/{key[0]}")
        )

    def noise(self, key: Key, name: str) -> Draws | None:
        """`noise_scale` or `mean_noise_scale` at a goal over its runs; the interval is over seeds and batch sizes, on
        which the noise scale is not to depend."""
        met = self.points(key)
        met = met[~met["censored"]]
        if not self.owned and met[name].notna().any():
            value = float(met[name].iloc[0])
            return of_interval(value, value / READ, value * READ, self.deviates(f"{name}/{key}"))
        found = over_seeds(met[name], met["num_envs"])
        if math.isnan(found.value):
            return None
        return of_interval(found.value, found.low, found.high, self.deviates(f"{name}/{key}"))

    def published(self) -> pd.DataFrame:
        """The paper's goals of this task: goal, critical_batch, simple_noise_scale, fitted, e_min; empty for others.

        critical_batch is the published line; fitted and e_min follow from the plotted points, and fitted parts from
        the line on Beam Rider.
        """
        scale = paper_noise_scale()
        return scale[scale["task"] == self.task].merge(_papers_fits(), on=["task", "goal"], how="left")


def coverage(scope: Scope) -> str:
    """Why a claim about a whole run can't be told; empty where the goals reach as far as the paper's."""
    goals = sorted({key[1] for key in scope.keys})
    if scope.task is None:
        return "none of the paper's tasks in its data: no whole run to compare with"
    theirs = scope.published()["goal"]
    if goals[-1] < 0.8 * theirs.max():
        return f"goals reach {goals[-1]:g} of the paper's {theirs.max():g}"
    return "" if goals[0] <= theirs.min() else f"goals begin at {goals[0]:g}, the paper's at {theirs.min():g}"


def of_study(
    study: Study, outcomes: Mapping[str, Outcome] | None = None, fits: Fits | None = None, seed: int = 0
) -> Scope:
    """The scope of a study; what is missing is read and fitted. Raises UserError as `fits.fit`."""
    outcomes = study.outcomes() if outcomes is None else outcomes
    fits = fit_study(study, seed, outcomes=outcomes) if fits is None else fits
    spec = study.spec
    return Scope(
        study.name,
        fits,
        paper_task(spec.env),
        spec.env.startswith("atari:"),
        spec.start_score,
        readings(study, outcomes, fits),
        spikes(study, outcomes, fits),
        seed,
    )


def of_paper(task: str, seed: int = 0, bootstrap: int = 1000) -> Scope:
    """The paper's own digitised fronts of one task, as if they were a study of one seed without learning rates."""
    fronts = paper_fronts()
    theirs = fronts[fronts["task"] == task]
    scale = paper_noise_scale().set_index(["task", "goal"])["simple_noise_scale"]
    rows = []
    for _, row in theirs.iterrows():
        batch, goal = int(row["batch_observations"]), float(row["goal"])
        made, noise = float(row["updates"]) * batch, float(scale.get((task, goal), math.nan))
        cell = [f"B{batch}", batch // ROLLOUT, ROLLOUT, batch, math.nan, 1, goal, made, float(row["updates"])]
        rows.append([*cell, False, noise, math.nan, math.nan, "done", "", goal, math.nan])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Scope(
        f"paper: {task}", fit(table, seed, bootstrap), task, task != "dota_1v1", seed=seed, owned=False
    )


@functools.cache  # a page asks for it a dozen times
def _papers_fits() -> pd.DataFrame:
    rows = []
    for (task, goal), cell in paper_fronts().groupby(["task", "goal"]):
        front: Front = fit_front(cell["batch_observations"], cell["updates"], bootstrap=0)
        rows.append({"task": task, "goal": goal, "fitted": front.b_crit, "e_min": front.e_min})
    return pd.DataFrame(rows)


def cell_means(points: pd.DataFrame) -> pd.DataFrame:
    """Batch sizes all of whose seeds reached the goal: batch, log_updates (mean over seeds), seeds; ascending."""
    whole = points.groupby("batch").filter(lambda cell: not cell["censored"].any())
    if whole.empty:
        return pd.DataFrame(columns=["batch", "log_updates", "seeds"])
    grouped = whole.assign(log_updates=np.log(whole["updates"])).groupby("batch")["log_updates"]
    return grouped.agg(["mean", "size"]).reset_index().set_axis(["batch", "log_updates", "seeds"], axis=1)
