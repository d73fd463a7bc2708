"""From a study's table to fronts and laws, joined with the noise scale of the runs. It reads tables only.

For every goal, cell (environments x rollout) and seed the learning rate that reached the goal in the fewest updates
stands for that cell (McCandlish et al. 2018, A.3); different goals may be served by different rates. Where no rate
reached it, the cell is censored at the most updates made. That choice favours cells with more rates tried: by about
0.1 in ln S for three to seven nearly tied ones.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.analysis import (
    Front,
    Interval,
    LearningRateLaw,
    RolloutLaw,
    exchange_rate,
    fit_front,
    fit_learning_rates,
    fit_rollouts,
    gamma,
    local_noise_scale,
    turning_point,
)
from rl_gns.errors import UserError


@dataclasses.dataclass(frozen=True)
class Fits:
    """All that follows from a study's table, as tables and as the fitted objects."""

    table: pd.DataFrame
    """`Study.table()`."""
    points: pd.DataFrame
    """The best run of each goal, cell and seed: see `best_points`."""
    fronts: pd.DataFrame
    """Per rollout and goal: the front, its interval, AIC, and the noise scale beside it."""
    rates: pd.DataFrame
    """Per rollout and goal: the learning-rate law."""
    rollouts: pd.DataFrame
    """Per goal and rollout: critical number of environments by the law that joins the rollout lengths."""
    exchange: pd.DataFrame
    """Per goal, batch and pair of rollout lengths: updates with the longer over updates with the shorter one."""
    turning: pd.DataFrame
    """Per rollout: γ and what an adaptive batch would save."""
    front_of: dict[tuple[int, float], Front]
    rate_law_of: dict[tuple[int, float], LearningRateLaw]
    rollout_law_of: dict[float, RolloutLaw]

    def text(self) -> str:
        """What `rl-gns study fit` prints."""
        parts = [_title("Fronts: S = S_min (1 + B_crit/B), per rollout length", self.fronts, FRONT_SHOWN)]
        parts.append(_title("Learning rates: ε*/(1 + B*/B)^a", self.rates, RATE_SHOWN))
        if len(self.rollouts):
            parts.append(_title("Two axes: critical number of environments", self.rollouts, None))
            parts.append(_title("Equal batch: updates, longer over shorter rollout", self.exchange, None))
        if len(self.turning):
            parts.append(_title("Adaptive batch: γ and what it would save", self.turning, None))
        return "\n\n".join(parts)

    def write(self, folder: Path) -> list[Path]:
        """Write every table as CSV into `folder`. Returns the files.

        Raises:
            UserError: the folder can't be written.
        """
        written = []
        for name in ("table", "points", "fronts", "rates", "rollouts", "exchange", "turning"):
            path = folder / f"{name}.csv"
            try:
                getattr(self, name).to_csv(path, index=False)
            except OSError as error:
                raise UserError(f"{path} can't be written: {error.strerror or error}") from None
            written.append(path)
        return written


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
    "best_law",
    "note",
]
RATE_SHOWN = ["rollout", "goal", "rate", "batch", "batch_low", "batch_high", "exponent", "note"]


def fit(table: pd.DataFrame, seed: int = 0, bootstrap: int = 1000) -> Fits:
    """Fit everything that the finished runs of `table` allow.

    Args:
        table: `Study.table()`.
        seed: of the bootstraps; same table and seed give the same bytes.
        bootstrap: replicas.

    Raises:
        UserError: no run has finished.
    """
    points = best_points(table)
    if points.empty:
        raise UserError(
            "no run has finished yet: rl-gns study run FILE first (rl-gns study status says how far it is)"
        )
    front_of: dict[tuple[int, float], Front] = {}
    rate_law_of: dict[tuple[int, float], LearningRateLaw] = {}
    fronts, rates = [], []
    for key in sorted(set(zip(points["rollout"].tolist(), points["goal"].tolist(), strict=True))):
        cell = points[(points["rollout"] == key[0]) & (points["goal"] == key[1])]
        front = fit_front(cell["batch"], cell["updates"], cell["censored"].to_numpy(bool), seed, bootstrap)
        front_of[key] = front
        fronts.append({"rollout": key[0], "goal": key[1], **_front_row(front, cell)})
        law, row = _rate_row(cell, seed, bootstrap)
        if law is not None:
            rate_law_of[key] = law
        rates.append({"rollout": key[0], "goal": key[1], **row})
    rollout_law_of, rollouts, exchange = _two_axes(points, seed, bootstrap)
    return Fits(
        table,
        points,
        pd.DataFrame(fronts),
        pd.DataFrame(rates),
        pd.DataFrame(rollouts),
        pd.DataFrame(exchange),
        pd.DataFrame(_turning(front_of)),
        front_of,
        rate_law_of,
        rollout_law_of,
    )


def best_points(table: pd.DataFrame) -> pd.DataFrame:
    """The run that stands for each goal, cell and seed.

    Returns:
        Rows of `table` with `at_edge` (the best rate is the least or greatest tried: censored rows are False).
        A failed run counts where it had reached the goal, and is no bound where it had not.
    """
    usable = table[(table["status"] == "done") | ((table["status"] == "failed") & ~table["censored"])]
    rows = []
    for (_, _, _, _), group in usable.groupby(["rollout", "goal", "num_envs", "seed"]):
        met = group[~group["censored"]]
        best = met["updates"].argmin() if len(met) else group["updates"].argmax()
        row = (met if len(met) else group).iloc[int(best)].copy()
        ladder = sorted(group["learning_rate"])
        row["at_edge"] = bool(len(met)) and row["learning_rate"] in (ladder[0], ladder[-1])
        rows.append(row)
    points = pd.DataFrame(rows, columns=[*table.columns, "at_edge"])
    points = points[points["updates"] > 0] if len(points) else points
    types = {"censored": bool, "at_edge": bool, "rollout": int, "num_envs": int, "batch": int, "seed": int}
    return points.astype(types).reset_index(drop=True)


def _front_row(front: Front, cell: pd.DataFrame) -> dict[str, Any]:
    met = cell[~cell["censored"]]
    row: dict[str, Any] = {
        name: _number(getattr(front, name))
        for name in ("s_min", "e_min", "b_crit", "b_crit_low", "b_crit_high", "rms_log_residual")
    }
    row |= {"points": front.points, "censored": front.censored, "determined": front.determined}
    row["noise_scale"] = _geometric_mean(met["noise_scale"])
    row["mean_noise_scale"] = _geometric_mean(met["mean_noise_scale"])
    row["known_share"] = float(met["known_share"].mean()) if len(met) else math.nan
    row["ratio"] = row["mean_noise_scale"] / row["b_crit"]
    row["rates_at_edge"] = int(met["at_edge"].sum())
    row |= {f"aic_{name}": value for name, value in front.aic.items()}
    row["best_law"] = min(front.aic, key=lambda name: front.aic[name]) if front.aic else ""
    row["note"] = f"can't tell: {front.note}" if front.b_crit is None else front.note
    return row


def _rate_row(cell: pd.DataFrame, seed: int, bootstrap: int) -> tuple[LearningRateLaw | None, dict[str, Any]]:
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
        law = fit_learning_rates(met["batch"], met["learning_rate"], seed, bootstrap)
    except ValueError as error:
        return None, {**dict.fromkeys(names, math.nan), "note": f"can't tell: {error}"}
    row: dict[str, Any] = {name: _number(getattr(law, name)) for name in names}
    return law, {**row, "note": f"can't tell B*: {law.note}" if law.batch is None else law.note}


def _two_axes(
    points: pd.DataFrame, seed: int, bootstrap: int
) -> tuple[dict[float, RolloutLaw], list[dict[str, Any]], list[dict[str, Any]]]:
    laws: dict[float, RolloutLaw] = {}
    rollouts: list[dict[str, Any]] = []
    exchange: list[dict[str, Any]] = []
    if points["rollout"].nunique() < 2:
        return laws, rollouts, exchange
    for goal_key, group in points.groupby("goal"):
        goal = float(str(goal_key))
        met = group[~group["censored"]]
        try:
            law = fit_rollouts(
                met["num_envs"], met["rollout"], met["updates"], seed=seed, bootstrap=min(bootstrap, 400)
            )
        except ValueError as error:
            rollouts.append({"goal": goal, "note": f"can't tell: {error}"})
            continue
        laws[goal] = law
        for length in law.s_min:
            n_crit = law.n_crit(length)
            rollouts.append(
                {
                    "goal": goal,
                    "rollout": length,
                    "s_min": law.s_min[length],
                    "n_crit": n_crit.value,
                    "n_crit_low": n_crit.low,
                    "n_crit_high": n_crit.high,
                    "correlation_time": _number(law.correlation_time),
                    "correlation_time_low": _number(law.correlation_time_low),
                    "correlation_time_high": _number(law.correlation_time_high),
                    "note": law.note,
                }
            )
        exchange += _exchange_rows(goal, law, met)
    return laws, rollouts, exchange


def _exchange_rows(goal: float, law: RolloutLaw, met: pd.DataFrame) -> list[dict[str, Any]]:
    lengths = sorted(law.s_min)
    shared = [set(met["batch"][met["rollout"] == length]) for length in (lengths[0], lengths[-1])]
    batches = sorted(shared[0] & shared[1]) or [float(np.exp(np.log(met["batch"]).mean()))]
    rows = []
    for batch in batches:
        ratio = exchange_rate(law, batch, lengths[-1], lengths[0])
        rows.append(
            {
                "goal": goal,
                "batch": batch,
                "longer": lengths[-1],
                "shorter": lengths[0],
                "ratio": ratio.value,
                "low": ratio.low,
                "high": ratio.high,
                "wins": verdict(ratio),
            }
        )
    return rows


def verdict(ratio: Interval) -> str:
    """Which is worth more at an equal batch, from S(longer rollout) / S(shorter one)."""
    if ratio.low > 1:
        return "more environments"
    return "longer rollouts" if ratio.high < 1 else "can't tell"


def _turning(front_of: dict[tuple[int, float], Front]) -> list[dict[str, Any]]:
    rows = []
    for rollout in sorted({key[0] for key in front_of}):
        fitted = [
            (front.s_min, front.e_min)
            for (length, _), front in sorted(front_of.items())
            if length == rollout and front.b_crit is not None
        ]
        if len(fitted) < 2:
            continue
        s_min, e_min = zip(*fitted, strict=True)
        share = gamma(*local_noise_scale(s_min, e_min, skip=True))
        turn = turning_point(share)
        rows.append(
            {
                "rollout": rollout,
                "goals": len(fitted),
                "gamma": share,
                "turning_point": turn,
                "saving": 1 - turn / 2,
            }
        )
    return rows


def _geometric_mean(values: pd.Series) -> float:
    known = values.dropna()
    return float(np.exp(np.log(known).mean())) if len(known) else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _title(title: str, frame: pd.DataFrame, columns: list[str] | None) -> str:
    shown = frame if columns is None else frame[[name for name in columns if name in frame]]
    return f"{title}\n{shown.to_string(index=False, float_format=_short, na_rep='-')}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
