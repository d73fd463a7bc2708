"""What each figure of a study shows, said in plain sentences from the fitted numbers. It draws nothing."""

from __future__ import annotations

import math

import pandas as pd

from rl_gns.report.style import short
from rl_gns.studies.fits import Fits


def fronts(fits: Fits, rollout: int) -> str:
    """Critical batches of one rollout length, and how well the law holds."""
    rows = fits.fronts[fits.fronts["rollout"] == rollout]
    known = rows[rows["b_crit"].notna()]
    said = [f"{spread(row, 'b_crit')} at {row['goal']:g}" for _, row in known.iterrows()]
    parts = [f"B_crit is {', '.join(said)}." if said else "B_crit can't be told at any goal."]
    for note, some in rows[rows["b_crit"].isna()].groupby("note"):
        goals = ", ".join(f"{goal:g}" for goal in some["goal"])
        parts.append(f"At {goals}: {note}.")
    compared = rows[rows["best_law"] != ""]
    if len(compared):
        wins = int((compared["best_law"] == "hyperbola").sum())
        parts.append(
            f"The hyperbola is the best of four laws by AIC on {wins} of {len(compared)} fronts; "
            f"typical residual of ln S: {compared['rms_log_residual'].median():.2f}."
        )
    bounds = int(rows["censored"].sum())
    if bounds:
        parts.append(f"{bounds} seeds did not reach their goal and count as lower bounds.")
    return " ".join(parts)


def critical_batch(fits: Fits) -> str:
    """Noise scale over critical batch."""
    ratio = fits.fronts["ratio"].dropna()
    if ratio.empty:
        return "No front gives both a critical batch and a noise scale."
    within = int(((ratio >= 0.1) & (ratio <= 10)).sum())
    return (
        f"Mean B_simple over B_crit: median {ratio.median():.2g}, from {ratio.min():.2g} to {ratio.max():.2g} over "
        f"{len(ratio)} fronts; {within} of them within a factor of 10 of one, which is what the "
        f"theory claims. The paper's own, at the hardest goals of Atari games, are 1.1 to 6.7."
    )


def learning_rates(fits: Fits) -> str:
    """How the best rate of the hardest goal grows with the batch, and how many were at an edge."""
    cells = fits.cells[fits.cells["learning_rate"].notna()]
    if cells.empty:
        return "No goal was reached."
    goal = cells["goal"].max()
    hardest = cells[cells["goal"] == goal].sort_values("batch")
    first, last = hardest.iloc[0], hardest.iloc[-1]
    met = fits.points[~fits.points["censored"]]
    parts = [
        f"To score {goal:g} the best rate goes from {spread(first, 'learning_rate')} at a batch of "
        f"{short(first['batch'])} to {spread(last, 'learning_rate')} at {short(last['batch'])}.",
        f"{int(met['at_edge'].sum())} of {len(met)} best rates are the least or greatest tried: bounds, not optima.",
    ]
    told = fits.rates[fits.rates["batch"].notna()] if "batch" in fits.rates else fits.rates[:0]
    if len(told):
        exponents = f"a from {told['exponent'].min():.2g} to {told['exponent'].max():.2g}"
        parts.append(f"B* can be told on {len(told)} of {len(fits.rates)} fronts, {exponents}.")
    else:
        parts.append("B* can't be told on any front.")
    return " ".join(parts)


def two_axes(fits: Fits) -> list[str]:
    """Which axis wins at an equal batch, and where the prediction parts from the measurement."""
    lines = []
    if len(fits.exchange):
        goal = fits.exchange["goal"].max()
        rows = fits.exchange[fits.exchange["goal"] == goal].sort_values("batch")
        said = []
        for word, some in rows.groupby("wins", sort=False):
            batches = ", ".join(
                f"{short(row['batch'])} ({row['ratio']:.2g}, {row['low']:.2g} to {row['high']:.2g})"
                for _, row in some.iterrows()
            )
            said.append(f"{word} at {batches}")
        first = rows.iloc[0]
        lines.append(
            f"Which wins at an equal batch, to score {goal:g}: {'; '.join(said)}. In brackets: updates with rollouts "
            f"of {first['longer']} over updates with rollouts of {first['shorter']}; below 1 the longer ones win."
        )
    if fits.prediction is not None:
        lines += fits.prediction.sentences(fits.predicted)
    else:
        lines.append(
            "No prediction from a measured design effect: give the study a [correlation] table and run it again."
        )
    return lines


def noise_scale(fits: Fits) -> str:
    """Whether the noise scale at equal score depends on the batch, at the hardest goal and shortest rollout."""
    cells = fits.cells[fits.cells["noise_scale"].notna()]
    if cells.empty:
        return "The noise scale is known at no goal."
    shortest = cells[cells["rollout"] == cells["rollout"].min()]
    rows = shortest[shortest["goal"] == shortest["goal"].max()].sort_values("batch")
    first, last = rows.iloc[0], rows.iloc[-1]
    factor = rows["noise_scale"].max() / rows["noise_scale"].min()
    return (
        f"Where score {first['goal']:g} is reached the noise scale is {spread(first, 'noise_scale')} at a batch of "
        f"{short(first['batch'])} and {spread(last, 'noise_scale')} at {short(last['batch'])}; over all batches it "
        f"varies {factor:.2g} times. Theory has it independent of the batch at well-tuned learning rates."
    )


def spread(row: pd.Series, name: str) -> str:
    """E.g. "62 (4 to 410)"; without the brackets where there is no interval."""
    value, low, high = (float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    if not math.isfinite(value):
        return "unknown"
    if not (math.isfinite(low) or math.isfinite(high)):
        return rounded(value)
    if not math.isfinite(high):
        return f"{rounded(value)} (at least {rounded(low)})"
    if not math.isfinite(low):
        return f"{rounded(value)} (at most {rounded(high)})"
    return f"{rounded(value)} ({rounded(low)} to {rounded(high)})"


def rounded(value: float) -> str:
    """Two digits, or three where the first is 1: what such intervals are worth."""
    if value == 0:
        return "0"
    order = math.floor(math.log10(abs(value)))
    return short(round(value, 2 - order if abs(value) < 2 * 10**order else 1 - order))
