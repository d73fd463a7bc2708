"""What `rl-gns fronts` shows of runs that something else trained: tables, sentences, figures. It fits nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from rl_gns.report import figures, sentences
from rl_gns.report.style import rendered
from rl_gns.studies.fits import FRONT_SHOWN, RATE_SHOWN, Fits, titled
from rl_gns.studies.own_tables import AT_FIRST, CUT, LAGGED, NO_GOAL, WITHIN, WITHIN_CUT
from rl_gns.studies.store import put
from rl_gns.studies.words import counted, ends, rounded, spread

LAWS = {"power_law": "a power law", "linear": "1/batch", "constant": "a constant"}
"""Rivals of the hyperbola, as a sentence names them."""


def text(fits: Fits) -> str:
    """Tables first, then what they say, a sentence or two a front."""
    table, rows = fits.table, fits.fronts
    batches = sorted(table["batch"].unique())
    runs = table[["num_envs", "rollout", "learning_rate", "seed"]].drop_duplicates()
    sizes = f", {batches[0]:,}" if len(batches) == 1 else f" from {batches[0]:,} to {batches[-1]:,}"
    parts = [f"{counted(len(runs), 'run')}, {counted(len(batches), 'batch size')}{sizes}"]
    shown = [name for name in FRONT_SHOWN if _told(rows, name)]
    parts.append(
        titled("Fronts: S = S_min (1 + B_crit/B), S updates and B observations per update", rows, shown)
    )
    if table["learning_rate"].notna().any():
        rates = [name for name in RATE_SHOWN if _told(fits.rates, name)]
        parts.append(titled("Learning rates: ε*/(1 + B*/B)^a", fits.rates, rates))
        parts.append(sentences.learning_rates(fits))
        parts += [luck] if (luck := sentences.held_out(fits)) else []
    for _, row in rows.iterrows():
        begin = _begin(row, rows["rollout"].nunique() > 1)
        of_it = (fits.points["rollout"] == row["rollout"]) & (fits.points["goal"] == row["goal"])
        met = fits.points[of_it & ~fits.points["censored"]]
        nothing = len(met) and (met["reason"] == AT_FIRST).all()
        parts += [begin + line for line in ([] if nothing else [_said(row)]) + _doubts(met)]
    if len(fits.rollouts):
        axes = [str(name) for name in fits.rollouts if name == "rollout" or _told(fits.rollouts, str(name))]
        parts.append(titled("Two axes: critical number of environments", fits.rollouts, axes))
        if len(fits.exchange):
            parts.append(sentences.two_axes(fits)[0])
    if len(fits.turning):
        turning = [str(name) for name in fits.turning if _told(fits.turning, str(name))]
        parts.append(titled("Adaptive batch: γ and what it would save", fits.turning, turning))
    return "\n\n".join(parts)


def _told(rows: pd.DataFrame, name: str) -> bool:
    """Whether a column says anything of these runs."""
    if name not in rows:
        return False
    if name == "rollout":
        return rows[name].nunique() > 1
    if name == "goal":
        return not (rows[name] == NO_GOAL).all()
    return not (rows[name].isna().all() if rows[name].dtype.kind == "f" else (rows[name] == "").all())


def _begin(row: pd.Series, several: bool) -> str:
    """Which front a sentence is about; several: whether there are other rollout lengths than its own."""
    where = [] if row["goal"] == NO_GOAL else [f"goal {row['goal']:g}"]
    where += [f"rollouts of {row['rollout']}"] if several or row["rollout"] != 1 else []
    return f"{', '.join(where)}: " if where else ""


def _doubts(met: pd.DataFrame) -> list[str]:
    """What makes the crossings of one front's runs wrong, if anything does."""
    lines = []
    for reason, some in met.groupby("reason"):
        line = f"careful: {len(some)} of {counted(len(met), 'run')} reached it {reason}"
        if reason == AT_FIRST:
            lines.append(
                f"{line}, perhaps long before: it takes a harder goal, or --lower if the lower score is better"
            )
        elif str(reason).startswith(WITHIN):
            most = max(1.0, float(f"{some['observations'].min() / LAGGED:.2g}"))
            lines.append(
                f"{line}, of which smoothing lags by 1.4: better --centred, or --halflife {most:.0f} or less"
            )
        elif str(reason).startswith(WITHIN_CUT):
            most = max(1.0, float(f"{some['observations'].min() / CUT:.2g}"))
            lines.append(
                f"{line}, too near to the start for a centred average: better --halflife {most:.0f} or less"
            )
    return lines


def _said(row: pd.Series) -> str:
    if math.isnan(row["b_crit"]):
        bounds = ends(row["b_crit_low"], row["b_crit_high"], "")
        return f"{row['note']}" + (f"; critical batch: {bounds} observations" if bounds else "")
    line = (
        f"critical batch {spread(row, 'b_crit')} observations: at this batch a run takes twice the "
        f"least updates, {rounded(row['s_min'])}, and twice the least observations, {spread(row, 'e_min')}"
    )
    law = row["best_law"]
    if law in LAWS:
        line += f"; but {LAWS[law]} describes these runs better (AIC)"
    for name, what in (("mean_noise_scale", "mean until there"), ("noise_scale", "at that score")):
        if not math.isnan(row[name]):
            over = rounded(row[name] / row["b_crit"])
            return f"{line}; B_simple, {what}, {spread(row, name)}, {over} times it"
    return line


def draw(fits: Fits, path: Path) -> list[Path]:
    """Draw a figure per rollout length, named by it where there are several. Returns the files; raises as `put`."""
    lengths = sorted(int(length) for length in fits.points["rollout"].unique())
    written = []
    for length in lengths:
        figure = figures.fronts(fits, length)
        if (fits.points["goal"] == NO_GOAL).all():
            for legend in list(figure.legends):
                legend.remove()
        own = path if len(lengths) == 1 else path.with_stem(f"{path.stem}-t{length}")
        written.append(put(own, rendered(figure, path.suffix.removeprefix("."))))
    return written
