"""What joins the fronts of a study: rollout lengths by one law, goals by the turning point. It reads tables only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from rl_gns.analysis import (
    Front,
    Interval,
    RolloutLaw,
    exchange_rate,
    fit_rollouts,
    gamma,
    local_noise_scale,
    turning_point,
)
from rl_gns.studies.seeds import UNKNOWN, ratio_of


def two_axes(
    points: pd.DataFrame, seed: int, bootstrap: int
) -> tuple[dict[float, RolloutLaw], list[dict[str, Any]], list[dict[str, Any]]]:
    """Per goal the law that joins the rollout lengths, its critical environments, and the exchange at equal batch."""
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
                group["num_envs"],
                group["rollout"],
                group["updates"],
                seed=seed,
                bootstrap=min(bootstrap, 400),
                censored=group["censored"],
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
                    "correlation_time": number(law.correlation_time),
                    "correlation_time_low": number(law.correlation_time_low),
                    "correlation_time_high": number(law.correlation_time_high),
                    "note": _note(law, group),
                }
            )
        exchange += _exchange_rows(goal, law, met)
    return laws, rollouts, exchange


def _note(law: RolloutLaw, group: pd.DataFrame) -> str:
    """What the law leaves open, and the rollout lengths it says nothing of because no run met the goal."""
    left = sorted(set(group["rollout"]) - set(law.s_min))
    unmet = f"no run met the goal at rollouts of {', '.join(map(str, left))}" if left else ""
    return "; ".join(filter(None, (law.note, unmet)))


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


def equal_batch(points: pd.DataFrame) -> list[dict[str, Any]]:
    """Per goal and batch: updates with each longer rollout over those with the shortest, over seeds and without a law.

    A study's best runs stand for their seeds; where a seed did not reach the goal there is no ratio, which is said.
    """
    rows = []
    for (goal, batch), group in points.groupby(["goal", "batch"]):
        shortest, *longer = sorted(group["rollout"].unique())
        for length in longer:
            some, than = (group[group["rollout"] == each] for each in (length, shortest))
            missed = int(some["censored"].sum() + than["censored"].sum())
            ratio = UNKNOWN if missed else ratio_of(some["updates"], than["updates"])
            rows.append(
                {
                    "goal": goal,
                    "batch": batch,
                    "longer": length,
                    "shorter": shortest,
                    "seeds": len(some),
                    "seeds_shorter": len(than),
                    "ratio": ratio.value,
                    "low": ratio.low,
                    "high": ratio.high,
                    "wins": verdict(ratio),
                    "note": f"{missed} of {len(some) + len(than)} seeds did not reach it" if missed else "",
                }
            )
    return rows


def verdict(ratio: Interval) -> str:
    """Which is worth more at an equal batch, from S(longer rollout) / S(shorter one)."""
    if ratio.low > 1:
        return "more environments"
    return "longer rollouts" if ratio.high < 1 else "can't tell"


def turning(front_of: dict[tuple[int, float], Front], lower: bool = False) -> list[dict[str, Any]]:
    """Per rollout length: γ, the turning point and what an adaptive batch would save; goals rise, `lower`: fall."""
    rows = []
    for rollout in sorted({key[0] for key in front_of}):
        fitted = [
            (front.s_min, front.e_min)
            for (length, _), front in sorted(front_of.items(), reverse=lower)
            if length == rollout and front.b_crit is not None
        ]
        if len(fitted) < 2:
            continue
        s_min, e_min = zip(*fitted, strict=True)
        pieces = local_noise_scale(s_min, e_min, skip=True)
        if (
            len(pieces[0]) < 2
        ):  # the first goal's front takes longer than all others': of one piece γ is 1, whatever
            continue
        share = gamma(*pieces)
        turn = turning_point(share)
        rows.append(
            {
                "rollout": rollout,
                "goals": len(pieces[0]),
                "gamma": share,
                "turning_point": turn,
                "saving": 1 - turn / 2,
            }
        )
    return rows


def number(value: float | None) -> float:
    """NaN for None."""
    return math.nan if value is None else float(value)


def front_numbers(front: Front) -> dict[str, float]:
    """What every table of fronts says of one, NaN where it can't be told.

    Returns:
        s_min (updates), e_min and b_crit (observations) with _low and _high, and rms_log_residual.
    """
    names = (
        "s_min",
        "e_min",
        "e_min_low",
        "e_min_high",
        "b_crit",
        "b_crit_low",
        "b_crit_high",
        "rms_log_residual",
    )
    return {name: number(getattr(front, name)) for name in names}
