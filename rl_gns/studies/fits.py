"""From a study's table to fronts and laws, joined with the noise scale of the runs. It reads tables only.

For every goal, cell (environments x rollout) and seed the learning rate that reached the goal in the fewest updates
stands for that cell (McCandlish et al. 2018, A.3); different goals may be served by different rates. Where no rate
reached it, the cell is censored at the most updates made. That choice favours cells with more rates tried: by about
0.1 in ln S for three to seven nearly tied ones; `held_out` is the same fronts without it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.analysis import Front, Interval, LearningRateLaw, RolloutLaw, fit_front, fit_learning_rates
from rl_gns.analysis.fronts import TOLD
from rl_gns.analysis.laws import EXPONENT_BOUNDS
from rl_gns.errors import UserError
from rl_gns.studies.axes import equal_batch, front_numbers, number, turning, two_axes
from rl_gns.studies.choice import best_of, usable
from rl_gns.studies.held_out import held_out_table
from rl_gns.studies.predicted import Prediction, compare
from rl_gns.studies.seeds import over_seeds


@dataclasses.dataclass(frozen=True)
class Fits:
    """All that follows from a study's table, as tables and as the fitted objects."""

    table: pd.DataFrame
    """`Study.table()`."""
    points: pd.DataFrame
    """The best run of each goal, cell and seed: see `best_points`."""
    cells: pd.DataFrame
    """Per goal, rollout and environment count: updates, learning rate and noise scale over the seeds."""
    fronts: pd.DataFrame
    """Per rollout and goal: the front, its interval, AIC, and the noise scale beside it."""
    rates: pd.DataFrame
    """Per rollout and goal: the learning-rate law."""
    rollouts: pd.DataFrame
    """Per goal and rollout: critical number of environments by the law that joins the rollout lengths."""
    exchange: pd.DataFrame
    """Per goal and batch, by the law that joins the lengths: updates with the longest over those with the shortest."""
    turning: pd.DataFrame
    """Per rollout: γ and what an adaptive batch would save."""
    front_of: dict[tuple[int, float], Front]
    rate_law_of: dict[tuple[int, float], LearningRateLaw]
    rollout_law_of: dict[float, RolloutLaw]
    predicted: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """Per goal and rollout: critical environments by the joint law beside those predicted from one cell's runs."""
    prediction: Prediction | None = None
    """The runs that `predicted` rests on."""
    equal_batch: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """The same over seeds and without a law, for each longer rollout: see `axes.equal_batch`."""
    against: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """Other studies' runs beside these, see `against.compare`."""
    held_out: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """Fronts by each seed's own best rate beside those by the other seeds' choice, see `held_out.held_out_table`."""
    lower: bool = False
    """Whether a lower score is the better one, and the lowest goal the hardest."""
    left_out: str = ""
    """Which planned runs are on disk and can't be counted, in words; empty when there are none."""
    doubts: tuple[str, ...] = ()
    """What makes crossings of goals wrong, a line each, see `fitting.at_first`."""

    def hardest(self, goals: pd.Series) -> float:
        """The hardest of these goals."""
        return float(goals.min() if self.lower else goals.max())

    def text(self) -> str:
        """What `rl-gns study fit` prints."""
        parts = [self.left_out] if self.left_out else []
        parts += [titled("Fronts: S = S_min (1 + B_crit/B), per rollout length", self.fronts, FRONT_SHOWN)]
        parts += self.doubts
        parts.append(titled("Learning rates: ε*/(1 + B*/B)^a", self.rates, RATE_SHOWN))
        if len(self.held_out):
            parts.append(titled(HELD_OUT, self.held_out))
        if len(self.rollouts):
            parts.append(titled("Two axes: critical number of environments", self.rollouts))
            by_law = "Equal batch: updates, longer over shorter rollout, by one law"
            parts.append(titled(by_law, self.exchange))
        if len(self.equal_batch):
            parts.append(titled("Equal batch: the same over seeds, without a law", self.equal_batch))
        if len(self.against):
            parts.append(titled(AGAINST, self.against, AGAINST_SHOWN))
        if self.prediction is not None:
            parts.append(
                titled("Two axes, predicted: critical environments", self.predicted, PREDICTED_SHOWN)
            )
            parts.append("\n".join(self.prediction.sentences(self.predicted)))
        if len(self.turning):
            parts.append(titled("Adaptive batch: γ and what it would save", self.turning))
        return "\n\n".join(parts)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Name -> every table that is not empty."""
        names = (
            "table",
            "points",
            "cells",
            "fronts",
            "rates",
            "held_out",
            "rollouts",
            "exchange",
            "equal_batch",
            "against",
            "predicted",
            "turning",
        )
        found = {name: getattr(self, name) for name in names}
        if self.prediction is not None:
            found |= {"moments": self.prediction.moments, "parts": self.prediction.parts}
        return {name: table for name, table in found.items() if len(table)}


HELD_OUT = "Luck in the best rates: fronts by each seed's own best, and by the rate that was best for the other seeds"
AGAINST = "Against other studies: observations to a goal"
AGAINST_SHOWN = [
    "other",
    "rollout",
    "goal",
    "batch",
    "observations",
    "other_observations",
    "ratio",
    "ratio_low",
    "ratio_high",
    "note",
]
FRONT_SHOWN = [
    "rollout",
    "goal",
    "s_min",
    "e_min",
    "b_crit",
    "b_crit_low",
    "b_crit_high",
    "rms_log_residual",
    "points",
    "censored",
    "noise_scale",
    "mean_noise_scale",
    "aic_lead",
    "best_law",
    "note",
]
PREDICTED_SHOWN = [
    "goal",
    "rollout",
    "measured",
    "measured_low",
    "measured_high",
    "predicted",
    "predicted_low",
    "predicted_high",
    "ratio",
    "verdict",
    "design_effect",
]
RATE_SHOWN = ["rollout", "goal", "rate", "batch", "batch_low", "batch_high", "exponent", "note"]


def fit(
    table: pd.DataFrame,
    seed: int = 0,
    bootstrap: int = 1000,
    prediction: Prediction | None = None,
    lower: bool = False,
) -> Fits:
    """Fit everything that the finished runs of `table` allow.

    Args:
        table: `Study.table()`; one of an older version may be without information.
        seed: of the bootstraps; same table and seed give the same bytes.
        bootstrap: replicas.
        prediction: what `predicted.predict` reads of the study, to be put beside the two axes.
        lower: whether a lower score is the better one.

    Raises:
        UserError: no run has finished.
    """
    if "information" not in table:
        table = table.assign(information=math.nan)
    points = best_points(table)
    if points.empty:
        raise UserError(
            "no run has finished yet: rl-gns study run FILE first (rl-gns study status says how far it is)"
        )
    front_of: dict[tuple[int, float], Front] = {}
    rate_law_of: dict[tuple[int, float], LearningRateLaw] = {}
    fronts, rates = [], []
    resolution = max(rate_spacing(table) / math.sqrt(12), 0.01)
    for key in sorted(set(zip(points["rollout"].tolist(), points["goal"].tolist(), strict=True))):
        cell = points[(points["rollout"] == key[0]) & (points["goal"] == key[1])]
        front = fit_front(cell["batch"], cell["updates"], cell["censored"].to_numpy(bool), seed, bootstrap)
        front_of[key] = front
        fronts.append({"rollout": key[0], "goal": key[1], **_front_row(front, cell, seed)})
        law, row = _rate_row(cell, seed, bootstrap, resolution)
        if law is not None:
            rate_law_of[key] = law
        rates.append({"rollout": key[0], "goal": key[1], **row})
    rollout_law_of, rollouts, exchange = two_axes(points, seed, bootstrap)
    return Fits(
        table,
        points,
        cell_table(points, seed),
        pd.DataFrame(fronts),
        pd.DataFrame(rates),
        pd.DataFrame(rollouts),
        pd.DataFrame(exchange),
        pd.DataFrame(turning(front_of, lower)),
        front_of,
        rate_law_of,
        rollout_law_of,
        pd.DataFrame() if prediction is None else compare(rollout_law_of, prediction),
        prediction,
        pd.DataFrame(equal_batch(points)),
        held_out=held_out_table(table, points, seed, bootstrap),
        lower=lower,
    )


def best_points(table: pd.DataFrame) -> pd.DataFrame:
    """The run that stands for each goal, cell and seed.

    Returns:
        Rows of `table` with `at_edge` (the best rate is the least or greatest that any seed of the cell tried, also in
        a run that failed: censored rows are False). A failed run counts where it had reached the goal, and is no bound
        where it had not.
    """
    tried = table[table["status"].isin(("done", "failed"))].groupby(["rollout", "num_envs"])["learning_rate"]
    ends = {key: (rates.min(), rates.max()) for key, rates in tried}
    rows = []
    for (rollout, _, num_envs, _), group in usable(table).groupby(["rollout", "goal", "num_envs", "seed"]):
        row = best_of(group).copy()
        row["at_edge"] = not row["censored"] and row["learning_rate"] in ends[rollout, num_envs]
        rows.append(row)
    points = pd.DataFrame(rows, columns=[*table.columns, "at_edge"])
    points = points[points["updates"] > 0] if len(points) else points
    types = {"censored": bool, "at_edge": bool, "rollout": int, "num_envs": int, "batch": int, "seed": int}
    return points.astype(types).reset_index(drop=True)


def cell_table(points: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Averages over the seeds of each goal, rollout and environment count, with 95 % intervals.

    Returns:
        Columns goal, rollout, num_envs, batch, seeds, reached (seeds that met the goal), and value, _low and _high of
        updates, observations, learning_rate, noise_scale and mean_noise_scale over those that did (see `over_seeds`).
    """
    rows = []
    for (goal, rollout, num_envs), cell in points.groupby(["goal", "rollout", "num_envs"]):
        met = cell[~cell["censored"]]
        row: dict[str, Any] = {"goal": goal, "rollout": rollout, "num_envs": num_envs}
        row |= {"batch": int(cell["batch"].iloc[0]), "seeds": len(cell), "reached": len(met)}
        for name in ("updates", "observations", "learning_rate", "noise_scale", "mean_noise_scale"):
            row |= _interval_columns(name, over_seeds(met[name]))
        rows.append(row)
    return pd.DataFrame(rows)


def _interval_columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _front_row(front: Front, cell: pd.DataFrame, seed: int) -> dict[str, Any]:
    met = cell[~cell["censored"]]
    row: dict[str, Any] = {**front_numbers(front)}
    row |= {"points": front.points, "censored": front.censored, "determined": front.determined}
    for name in ("noise_scale", "mean_noise_scale"):
        row |= _interval_columns(name, over_seeds(met[name], met["num_envs"]))
    row["known_share"] = float(met["known_share"].mean()) if len(met) else math.nan
    row["information"] = float(met["information"].median())
    row["ratio"] = row["mean_noise_scale"] / row["b_crit"]
    row["rates_at_edge"] = int(met["at_edge"].sum())
    row |= {f"aic_{name}": value for name, value in front.aic.items()}
    row["aic_lead"] = aic_lead(front)
    row["best_law"] = best_law(front)
    row["note"] = f"can't tell: {front.note}" if front.b_crit is None else front.note
    return row


def aic_lead(front: Front) -> float:
    """By how much the hyperbola's AIC is below that of its best rival; NaN where there is no AIC."""
    rivals = [value for name, value in front.aic.items() if name != "hyperbola"]
    return min(rivals) - front.aic["hyperbola"] if rivals else math.nan


def best_law(front: Front) -> str:
    """The law whose AIC is below all others' by more than `TOLD`; "can't tell" where none is, "" without AIC."""
    if not front.aic:
        return ""
    first, second = sorted(front.aic, key=lambda name: front.aic[name])[:2]
    return first if front.aic[second] - front.aic[first] > TOLD else "can't tell"


def rate_spacing(table: pd.DataFrame) -> float:
    """ln of the usual ratio of neighbouring learning rates that were tried; 0 where no batch tried two."""
    steps = [
        np.diff(np.log(np.unique(rates.dropna())))
        for _, rates in table.groupby(["rollout", "num_envs"])["learning_rate"]
    ]
    every = np.concatenate(steps) if steps else np.empty(0)
    return float(np.median(every)) if every.size else 0.0


def _rate_row(
    cell: pd.DataFrame, seed: int, bootstrap: int, resolution: float
) -> tuple[LearningRateLaw | None, dict[str, Any]]:
    names = (
        "rate",
        "batch",
        "batch_low",
        "batch_high",
        "exponent",
        "exponent_low",
        "exponent_high",
        "rms_log_residual",
    )
    met = cell[~cell["censored"]]
    try:
        law = fit_learning_rates(met["batch"], met["learning_rate"], seed, bootstrap, resolution=resolution)
    except ValueError as error:
        return None, {**dict.fromkeys(names, math.nan), "note": f"can't tell: {error}"}
    row: dict[str, Any] = {name: number(getattr(law, name)) for name in names}
    notes = [f"can't tell B*: {law.note}" if law.batch is None else law.note]
    if law.exponent in EXPONENT_BOUNDS:
        notes.append(f"a is at the end of what is searched, {law.exponent:g}")
    return law, {**row, "note": "; ".join(note for note in notes if note)}


def titled(title: str, frame: pd.DataFrame, columns: list[str] | None = None) -> str:
    """A table as text under its title; columns: those shown, None: all."""
    if frame.empty:
        return f"{title}\nnone can be told yet"
    shown = frame if columns is None else frame[[name for name in columns if name in frame]]
    return f"{title}\n{shown.to_string(index=False, float_format=_short, na_rep='-')}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
