"""What `rl-gns fronts` shows of runs that something else trained: tables, sentences, figures. It fits nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from rl_gns.report import figures, sentences
from rl_gns.report.style import rendered
from rl_gns.studies.fits import FRONT_SHOWN, RATE_SHOWN, Fits, titled
from rl_gns.studies.own_tables import NO_GOAL
from rl_gns.studies.store import put
from rl_gns.studies.words import counted, ends, rounded, spread


def text(fits: Fits) -> str:
    """Tables first, then what they say, a sentence or two a front."""
    table, rows = fits.table, fits.fronts
    batches = sorted(table["batch"].unique())
    runs = table[["num_envs", "rollout", "learning_rate", "seed"]].drop_duplicates()
    parts = [
        f"{counted(len(runs), 'run')}, {counted(len(batches), 'batch size')} from {batches[0]:,} to "
        f"{batches[-1]:,}"
    ]
    shown = [name for name in FRONT_SHOWN if _told(rows, name)]
    parts.append(
        titled("Fronts: S = S_min (1 + B_crit/B), S updates and B observations per update", rows, shown)
    )
    if table["learning_rate"].notna().any():
        rates = [name for name in RATE_SHOWN if _told(fits.rates, name)]
        parts.append(titled("Learning rates: ε*/(1 + B*/B)^a", fits.rates, rates))
        parts.append(sentences.learning_rates(fits))
    parts += [_said(row) for _, row in rows.iterrows()]
    if len(fits.rollouts):
        parts += [
            titled("Two axes: critical number of environments", fits.rollouts),
            *sentences.two_axes(fits)[:1],
        ]
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


def _said(row: pd.Series) -> str:
    where = [] if row["goal"] == NO_GOAL else [f"goal {row['goal']:g}"]
    where += [] if row["rollout"] == 1 else [f"rollouts of {row['rollout']}"]
    begin = f"{', '.join(where)}: " if where else ""
    if math.isnan(row["b_crit"]):
        bounds = ends(row["b_crit_low"], row["b_crit_high"], "")
        return f"{begin}{row['note']}" + (f"; critical batch: {bounds} observations" if bounds else "")
    line = (
        f"{begin}critical batch {spread(row, 'b_crit')} observations: at this batch a run takes twice the "
        f"least updates, {rounded(row['s_min'])}, and twice the least observations, {spread(row, 'e_min')}"
    )
    law = row["best_law"]
    if law and law not in ("hyperbola", "can't tell"):
        line += f"; but {law.replace('_', ' ')} describes these runs better (AIC)"
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
