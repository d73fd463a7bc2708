"""What each figure of a study shows, said in plain sentences from the fitted numbers. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rl_gns.analysis.claims import Claim
from rl_gns.analysis.fronts import TOLD
from rl_gns.analysis.laws import EXPONENT_BOUNDS
from rl_gns.studies.fits import Fits
from rl_gns.studies.own_tables import NO_GOAL
from rl_gns.studies.words import counted, ends, rounded, said, short, spread


def fronts(fits: Fits, rollout: int) -> str:
    """Critical batches of one rollout length, and on how many fronts the law is told to be the best one."""
    rows = fits.fronts[fits.fronts["rollout"] == rollout]
    known = rows[rows["b_crit"].notna()]
    values = [f"{spread(row, 'b_crit')} at {row['goal']:g}" for _, row in known.iterrows()]
    parts = [f"B_crit is {', '.join(values)}." if values else "B_crit can't be told at any goal."]
    for note, some in rows[rows["b_crit"].isna()].groupby("note"):
        goals = ", ".join(f"{goal:g}" for goal in some["goal"])
        parts.append(f"At {goals}: {note}.")
    compared = rows[rows["best_law"] != ""]
    if len(compared):
        best = compared["best_law"].tolist()
        wins, open_ = best.count("hyperbola"), best.count("can't tell")
        parts.append(
            f"By more than {TOLD:g} in AIC the hyperbola is the best of four laws on {wins} of "
            f"{counted(len(compared), 'front')}, another (a power law, S as 1/B, a constant) on "
            f"{len(compared) - wins - open_}; on {open_} it can't be told. "
            f"Typical residual of ln S: {compared['rms_log_residual'].median():.2f}."
        )
    bounds = int(rows["censored"].sum())
    if bounds:
        count = "counts as a lower bound" if bounds == 1 else "count as lower bounds"
        parts.append(f"{counted(bounds, 'seed')} did not reach the goal and {count}.")
    return " ".join(parts)


def smoothing(found: pd.DataFrame, halflife: float) -> str:
    """What the hardest goal's front is without the lag of a trailing average, of `smoothing_table`; "" where empty."""
    own = found[(found["average"] == "centred") & (found["halflife"] == halflife)]
    if own.empty:
        return ""
    rows = own[(own["goal"] == own["goal"].max()) & own["b_crit"].notna()]
    several = own["rollout"].nunique() > 1
    values = [
        f"B_crit is {spread(row, 'b_crit')} and E_min {spread(row, 'e_min')}"
        + (f" with rollouts of {row['rollout']}" if several else "")
        for _, row in rows.iterrows()
    ]
    told = "; ".join(values) if values else "B_crit can't be told"
    return (
        f"To score {own['goal'].max():g} read by centred averages of as many games, which don't lag as the study's "
        f"trailing ones do (by up to {short(halflife / math.log(2))} observations): {told}."
    )


def held_out(fits: Fits) -> str:
    """The hardest goal's fronts by the rates that the other seeds chose; "" where there are none that can be told."""
    found = fits.held_out
    if found.empty:
        return ""
    goal = fits.hardest(found["goal"])
    rows = found[found["goal"] == goal]
    parts = []
    for rollout, pair in rows.groupby("rollout"):
        others, own = (pair[pair["rates"] == rates].iloc[0] for rates in ("others", "own"))
        values = [
            f"{name} {spread(others, column)} in place of {spread(own, column)}"
            for name, column in (("B_crit", "b_crit"), ("E_min", "e_min"))
            if pair[column].notna().any()
        ]
        where = f" with rollouts of {rollout}" if rows["rollout"].nunique() > 1 else ""
        parts += [f"{', '.join(values)}{where}"] if values else []
    if not parts:
        return ""
    begin = "With" if goal == NO_GOAL else f"To score {goal:g}, with"
    return (
        f"The best of several rates is also the luckiest. {begin} the rate of each seed chosen by what the other seeds "
        f"took, in place of its own result: {'; '.join(parts)}."
    )


def critical_batch(fits: Fits) -> str:
    """Noise scale over critical batch."""
    ratio = fits.fronts["ratio"].dropna()
    if ratio.empty:
        return "No front gives both a critical batch and a noise scale."
    within = int(((ratio >= 0.1) & (ratio <= 10)).sum())
    return (
        f"Mean B_simple over B_crit: median {rounded(ratio.median())}, from {rounded(ratio.min())} to "
        f"{rounded(ratio.max())} over {counted(len(ratio), 'front')}; {within} of them within a "
        "factor of 10 of one, which is what the theory claims. The paper's own, at the hardest goals of Atari games, "
        "are 1.1 to 6.7."
    )


def learning_rates(fits: Fits) -> str:
    """How the best rate of the hardest goal grows with the batch, and how many were at an edge."""
    cells = fits.cells[fits.cells["learning_rate"].notna()]
    if cells.empty:
        return "No goal was reached."
    goal = fits.hardest(cells["goal"])
    hardest = cells[cells["goal"] == goal].sort_values("batch")
    first, last = hardest.iloc[0], hardest.iloc[-1]
    met = fits.points[~fits.points["censored"]]
    parts = [
        f"{'The' if goal == NO_GOAL else f'To score {goal:g} the'} best rate goes from {_rate(first)} at a batch of "
        f"{short(first['batch'])} to {_rate(last)} at {short(last['batch'])}.",
        f"{int(met['at_edge'].sum())} of {len(met)} best rates are the least or greatest tried: bounds, not optima.",
    ]
    told = fits.rates[fits.rates["batch"].notna()] if "batch" in fits.rates else fits.rates[:0]
    if len(told):
        least, most = float(told["exponent"].min()), float(told["exponent"].max())
        exponents = f"a is {least:.3g}" if least == most else f"a from {least:.3g} to {most:.3g}"
        parts.append(f"B* can be told on {len(told)} of {counted(len(fits.rates), 'front')}, {exponents}.")
        if edges := int(told["exponent"].isin(EXPONENT_BOUNDS).sum()):
            both = " or ".join(f"{end:g}" for end in EXPONENT_BOUNDS)
            parts.append(
                f"On {edges} of them a is at an end of what is searched, {both}: a bound, no estimate."
            )
    else:
        parts.append("B* can't be told on any front.")
    return " ".join(parts)


def _rate(row: pd.Series) -> str:
    """A cell's best learning rate; where all its seeds have the same there is no scatter to make an interval of."""
    if row["reached"] > 1 and rounded(row["learning_rate_low"]) == rounded(row["learning_rate_high"]):
        return f"{rounded(row['learning_rate'])} (the same in {counted(int(row['reached']), 'seed')})"
    return spread(row, "learning_rate")


def two_axes(fits: Fits) -> list[str]:
    """Which axis wins at an equal batch, and where the prediction parts from the measurement."""
    lines = []
    if len(fits.exchange):
        goal = fits.hardest(fits.exchange["goal"])
        rows = fits.exchange[fits.exchange["goal"] == goal].sort_values("batch")
        wins = []
        for word, some in rows.groupby("wins", sort=False):
            batches = ", ".join(
                f"{short(row['batch'])} ({rounded(row['ratio'])}, {ends(row['low'], row['high'])})"
                for _, row in some.iterrows()
            )
            wins.append(f"{word} at {batches}")
        first = rows.iloc[0]
        where = "" if goal == NO_GOAL else f", to score {goal:g}"
        lines.append(
            f"Which wins at an equal batch{where}: {'; '.join(wins)}. In brackets: updates with rollouts "
            f"of {first['longer']} over updates with rollouts of {first['shorter']}; below 1 the longer ones win."
        )
    if fits.prediction is not None:
        lines += fits.prediction.sentences(fits.predicted)
    else:
        lines.append(
            "No prediction from a measured design effect: give the study a [correlation] table and run it again."
        )
    return lines


def equal_batch(fits: Fits) -> str:
    """The longest rollouts against the shortest at every batch that both have, to the hardest goal that has a ratio."""
    found = fits.equal_batch[fits.equal_batch["ratio"].notna()]
    if found.empty:
        return "No ratio at an equal batch can be told: at every batch some seed did not reach the goals."
    goal = found["goal"].max()
    rows = found[found["goal"] == goal]
    pair = rows[["shorter", "longer"]].sort_values(["shorter", "longer"], ascending=[True, False]).iloc[0]
    rows = rows[(rows["shorter"] == pair["shorter"]) & (rows["longer"] == pair["longer"])]
    ratios = [
        f"{said(row['ratio'], row['low'], row['high'])} at {short(row['batch'])}"
        for _, row in rows.iterrows()
    ]
    return (
        f"To score {goal:g}, seeds against seeds and without a law, updates with rollouts of {pair['longer']} over "
        f"updates with rollouts of {pair['shorter']} at an equal batch: {', '.join(ratios)}; below 1 the longer ones "
        "win."
    )


def against(fits: Fits) -> str:
    """What other studies' runs took to the hardest goal that they share with these, over what these took."""
    lines = []
    for other, all_of_it in fits.against.groupby("other", sort=False) if len(fits.against) else []:
        goal = fits.hardest(all_of_it["goal"])
        rows = all_of_it[all_of_it["goal"] == goal].sort_values(["rollout", "batch"])
        several = rows["rollout"].nunique() > 1
        parts = []
        for _, row in rows.iterrows():
            where = f" at a batch of {short(row['batch'])}"
            where += f" and rollouts of {row['rollout']}" if several else ""
            value = spread(row, "ratio", none="")
            because = f" ({row['note']})" if value and row["note"] else ""
            parts.append((value or row["note"]) + where + because)
        lines.append(
            f"To score {goal:g} {other} takes, in observations over what these runs take: {'; '.join(parts)}."
        )
    return " ".join(lines)


def noise_scale(fits: Fits, judged: Sequence[Claim] = ()) -> str:
    """Whether the noise scale at equal score depends on the batch: claim N7, beside the ends of the hardest goal's.

    What single batches have differs by chance too, so that the largest over the least says nothing.
    """
    cells = fits.cells[fits.cells["noise_scale"].notna()]
    if cells.empty:
        return "The noise scale is known at no goal."
    shortest = fits.cells[fits.cells["rollout"] == cells["rollout"].min()]
    goal = shortest[shortest["noise_scale"].notna()]["goal"].max()
    rows = shortest[(shortest["goal"] == goal) & (shortest["reached"] > 0)].sort_values("batch")
    known, unknown = rows[rows["noise_scale"].notna()], rows[rows["noise_scale"].isna()]
    values = [
        f"{spread(row, 'noise_scale')} at a batch of {short(row['batch'])}" for _, row in _ends_of(known)
    ]
    parts = [f"Where score {goal:g} is reached the noise scale is {' and '.join(values)}."]
    if len(unknown):
        parts.append(f"It is unknown at {', '.join(short(batch) for batch in unknown['batch'])}.")
    for claim in (claim for claim in judged if claim.code == "N7"):
        if claim.measured.value > 0:
            parts.append(
                f"Over an eightfold batch at tuned rates it changes by a factor of {said(*claim.measured)} "
                f"({claim.why}; claim N7: {claim.verdict}). Theory has it independent of the batch, 1."
            )
        else:
            parts.append(f"How it changes with the batch can't be told: {claim.why}.")
    return " ".join(parts)


def _ends_of(rows: pd.DataFrame) -> list[tuple[Any, pd.Series]]:
    """Its first and last row, once where they are the same."""
    return list(rows.iloc[sorted({0, len(rows) - 1})].iterrows())
