"""What the paper claims of the noise scale, tested on one scope: the published numbers, growth, ratio, independence.

Numbers of claims and bands as in `front_claims`. Claims about a whole run are not told from early goals: they say so
and give the paper's own number over the same goals where it has one.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rl_gns.analysis import Interval
from rl_gns.analysis.claims import (
    WITHIN_THREE,
    Band,
    Claim,
    Draws,
    claim,
    combined,
    of_interval,
    of_slope,
    ratio,
    unknown,
)
from rl_gns.studies.front_claims import _over
from rl_gns.studies.predictors import OWN, pooled, rows_of
from rl_gns.studies.scope import Key, Scope, coverage
from rl_gns.studies.seeds import over_seeds
from rl_gns.studies.words import counted, ends, rounded

GROWTH, FLAT = Band(low=4), Band(0.7, 2.5)
RATIO, MEAN_RATIO, ALIKE = Band(3, 12), Band(0.7, 8), Band(0.5, 2)
SPIKE, PARTS = Band(low=5), Band(3, 30)
START = Band(50, 2000)
SPAN = 8.0
SAYS = {
    "N1": "B_crit over the published one",
    "N1e": "E_min over the published one",
    "N3": "growth of B_crit from the first to the hardest goal",
    "N4": "growth of B_simple from the first goal (the paper's: from its least) to the hardest",
    "N5": "B_simple over B_crit at equal score, median over goals (paper 6.2)",
    "N5p": "B_simple of all runs together, known or not, over B_crit at equal score, median over goals (paper 6.2)",
    "N6": "step-weighted mean of B_simple over B_crit at the hardest goal (paper 1.1-6.7)",
    "N7": "B_simple at equal score: change over an eightfold batch at tuned rates",
    "N8": "early transient: greatest B_simple before the start score over the least after",
    "N9": "policy's over value's noise scale at the hardest goal",
    "F2": "B_crit at the first goal, Atari (Table 1: 100-1,000 at the start, twofold slack)",
    "X1": "critical environments, predicted by one cell's design effect over measured: level",
    "X2": "the same relative to the longest rollout: shape",
}


def ratios(scope: Scope) -> list[tuple[Key, Draws]]:
    """B_simple over B_crit at equal score, of every front where both are known."""
    found = []
    for key in scope.keys:
        noise, b_crit = scope.noise(key, "noise_scale"), scope.b_crit(key)
        if noise is not None and b_crit is not None:
            found.append((key, ratio(noise, b_crit)))
    return found


def noise_claims(scope: Scope) -> list[Claim]:
    """All of this file's claims on one scope."""
    rows = [_grown(scope, "N3"), _grown(scope, "N4"), _ratio(scope)]
    if scope.owned:
        rows += [
            *_published(scope),
            _together(scope),
            _mean(scope),
            _alike(scope),
            _transient(scope),
            _parts(scope),
        ]
    if scope.atari:
        rows.append(_start(scope))
    return [*rows, *_axes(scope)]


def _published(scope: Scope) -> list[Claim]:
    if not scope.atari or scope.task == "dota_1v1":
        return []
    theirs = {float(row["goal"]): row for row in scope.published().to_dict("records")}
    rows = []
    for key in scope.keys:
        if key[0] != 5 or key[1] not in theirs:
            continue
        goal, front = f"at goal {key[1]:g}", scope.fits.front_of[key]
        line, fitted = theirs[key[1]]["critical_batch"], theirs[key[1]]["fitted"]
        both = f"line {line:,.0f}" + ("" if math.isnan(fitted) else f", its plotted points {fitted:,.0f}")
        measured = _over_published(front.b_crit, front.b_crit_low, front.b_crit_high, line)
        rows.append(claim("N1", SAYS["N1"], scope.name, WITHIN_THREE, measured, both, scope.runs(key), goal))
        e_min = theirs[key[1]]["e_min"]
        if math.isnan(e_min):  # a line without plotted points: Beam Rider's 9000
            continue
        measured = _over_published(front.e_min, front.e_min_low, front.e_min_high, e_min)
        why = f"published {rounded(e_min)}; band as N1's"
        rows.append(claim("N1e", SAYS["N1e"], scope.name, WITHIN_THREE, measured, why, scope.runs(key), goal))
    if not rows:
        why = "none of the goals has a published front in the digitised data"
        rows.append(unknown("N1", SAYS["N1"], scope.name, WITHIN_THREE, why, scope.runs()))
    return rows


def _over_published(value: float | None, low: float | None, high: float | None, published: float) -> Interval:
    if value is None and low is None and high is None:
        return Interval(math.nan, math.nan, math.nan)
    ends = (0.0 if low is None else low / published, math.inf if high is None else high / published)
    return Interval(math.nan if value is None else value / published, *ends)


def _grown(scope: Scope, code: str) -> Claim:
    band = FLAT if scope.task == "pong" else GROWTH
    found, used = [], []
    for length in sorted({key[0] for key in scope.keys}):
        values = []
        for key in (key for key in scope.keys if key[0] == length):
            value = scope.b_crit(key) if code == "N3" else scope.noise(key, "noise_scale")
            values += [] if value is None else [(key, value)]
        if len(values) > 1:
            # The first goal lies above the random policy's score, after the transient by rule. Chosen after looking,
            # a least goal lies below the last where nothing grows too. The paper's curves are without such scatter,
            # and their first goals lie within the transient.
            least = code == "N4" and not scope.owned
            first = min(values[:-1], key=lambda entry: entry[1].value) if least else values[0]
            last = values[-1]
            again = of_interval(*last[1].interval, scope.deviates(f"growth/{code}/{length}"))
            found.append(ratio(again, first[1]))
            used += [first[0], last[0]]
    if not found:
        return unknown(code, SAYS[code], scope.name, band, "known at fewer than two goals", scope.runs())
    measured = combined(found, np.median).interval
    goals = f"from {min(key[1] for key in used):g} to {max(key[1] for key in used):g}"
    made = claim(code, SAYS[code], scope.name, band, measured, goals, scope.runs(*used))
    missing = coverage(scope)
    if not missing:
        return made
    theirs = _papers_growth(scope, code, used)
    return made.because(f"{missing}; {goals}{theirs}")


def _papers_growth(scope: Scope, code: str, used: list[Key]) -> str:
    name = "critical_batch" if code == "N3" else "simple_noise_scale"
    published = dict(zip(scope.published()["goal"], scope.published()[name], strict=True))
    first, last = (published.get(end(key[1] for key in used)) for end in (min, max))
    return f", where the paper's grows {last / first:.2g}-fold" if first and last else ""


def _ratio(scope: Scope) -> Claim:
    found = ratios(scope)
    if not found:
        why = "no goal has both a critical batch and a noise scale"
        return unknown("N5", SAYS["N5"], scope.name, RATIO, why, scope.runs())
    keys = [key for key, _ in found]
    measured = combined([draws for _, draws in found], np.median).interval
    why = _over(keys)
    if scope.owned:
        met = pd.concat([scope.points(key) for key in keys])
        met = met[~met["censored"]]
        why += f"; known in {int(met['noise_scale'].notna().sum())} of {len(met)} readings there"
    return claim("N5", SAYS["N5"], scope.name, RATIO, measured, why, scope.runs(*keys))


def _together(scope: Scope) -> Claim:
    """N5 without the choice that leaving unknown ones out is."""
    found, used = [], []
    for key in scope.keys:
        b_crit = scope.b_crit(key)
        value = pooled(rows_of(scope, key, OWN))
        if b_crit is not None and not math.isnan(value.value):
            found.append(ratio(of_interval(*value, scope.deviates(f"together/{key[0]}")), b_crit))
            used.append(key)
    if not found:
        why = "no goal has both a critical batch and runs that together know a noise scale"
        return unknown("N5p", SAYS["N5p"], scope.name, RATIO, why, scope.runs())
    measured = combined(found, np.median).interval
    lost = sum(math.isinf(one.value) for one in found)
    why = _over(used) + (f"; at {lost} of them no signal is left" if lost else "")
    return claim("N5p", SAYS["N5p"], scope.name, RATIO, measured, why, scope.runs(*used))


def _mean(scope: Scope) -> Claim:
    found, used, known = [], [], []
    for key in scope.hardest:
        noise, b_crit = scope.noise(key, "mean_noise_scale"), scope.b_crit(key)
        if noise is not None and b_crit is not None:
            found.append(ratio(noise, b_crit))
            used.append(key)
            met = scope.points(key)
            known.append(float(met[~met["censored"]]["known_share"].mean()))
    if not found:
        why = "no goal has both a critical batch and a mean noise scale"
        return unknown("N6", SAYS["N6"], scope.name, MEAN_RATIO, why, scope.runs())
    why = f"{_over(used)}; known on {np.mean(known):.0%} of the updates"
    measured = combined(found, np.median).interval
    return claim("N6", SAYS["N6"], scope.name, MEAN_RATIO, measured, why, scope.runs(*used))


def _alike(scope: Scope) -> Claim:
    """A line through ln B_simple over ln B: its change over an eightfold batch, whichever way."""
    found, used = [], []
    for length in sorted({key[0] for key in scope.keys}):
        for key in sorted((key for key in scope.keys if key[0] == length), reverse=True):
            met = scope.points(key)
            met = met[~met["censored"] & (met["noise_scale"] > 0)]
            if met["batch"].nunique() >= 3 and met["batch"].max() >= SPAN * met["batch"].min():
                cells = met.assign(y=np.log(met["noise_scale"])).groupby("batch")["y"].mean()
                x = np.log(cells.index.to_numpy(dtype=float)) / math.log(SPAN)
                found.append(of_slope(x, cells.to_numpy(), scope.deviates(f"alike/{length}")))
                used.append(key)
                break
    if not found:
        why = "B_simple is known at no goal over three batch sizes that span a factor of 8"
        return unknown("N7", SAYS["N7"], scope.name, ALIKE, why, scope.runs())
    measured = combined(found, np.median).interval
    return claim("N7", SAYS["N7"], scope.name, ALIKE, measured, _over(used), scope.runs(*used))


def _transient(scope: Scope) -> Claim:
    if scope.start_score is None:
        why = "the study has no start_score: nothing is excluded"
        return unknown("N8", SAYS["N8"], scope.name, SPIKE, why, scope.runs())
    rows = scope.transient.dropna() if len(scope.transient) else scope.transient
    rule = f"what came before score {scope.start_score:g} is left out of every mean"
    if rows.empty:
        return unknown("N8", SAYS["N8"], scope.name, SPIKE, f"B_simple is unknown before it or after; {rule}")
    bounds = int(rows["is_bound"].sum())
    extremes = f"greatest over least reading of {counted(len(rows), 'run')}, above 1 where nothing changed too; {rule}"
    if bounds:
        extremes = f"{bounds} of them know a lower bound only; {extremes}"
    runs = [f"{scope.name}/{name}" for name in rows["id"]]
    found = over_seeds(rows["ratio"])
    if bounds:
        found = found._replace(high=math.inf)
    return claim("N8", SAYS["N8"], scope.name, SPIKE, found, extremes, runs)


def _parts(scope: Scope) -> Claim:
    parts = scope.parts[scope.parts["part"].isin(["policy", "value"])] if len(scope.parts) else scope.parts
    if parts.empty:
        return unknown(
            "N9", SAYS["N9"], scope.name, PARTS, "the parts were not measured in these runs", scope.runs()
        )
    for goal in sorted(parts["goal"].unique(), reverse=True):
        some = parts[parts["goal"] == goal]
        wide = some.pivot_table(index="id", columns="part", values="mean")
        if {"policy", "value"} <= set(wide.columns) and len(known := wide.dropna()):
            value = over_seeds(known["policy"] / known["value"])
            runs = [f"{scope.name}/{name}" for name in known.index]
            why = f"goal {goal:g}, {counted(len(known), 'run')}"
            return claim("N9", SAYS["N9"], scope.name, PARTS, value, why, runs)
    bounds = parts.groupby("part")["at_least"].min()
    known = [f"{part} {ends(bound, math.nan)}" for part, bound in bounds.items() if bound > 0]
    why = "no run knows both" + (f" ({', '.join(known)})" if known else "")
    return unknown("N9", SAYS["N9"], scope.name, PARTS, why, scope.runs())


def _start(scope: Scope) -> Claim:
    keys = [key for key in scope.keys if key[0] == 5]
    if not keys:
        return unknown("F2", SAYS["F2"], scope.name, START, "no rollouts of 5", scope.runs())
    front = scope.fits.front_of[keys[0]]
    measured = _over_published(front.b_crit, front.b_crit_low, front.b_crit_high, 1.0)
    return claim("F2", SAYS["F2"], scope.name, START, measured, f"goal {keys[0][1]:g}", scope.runs(keys[0]))


def _axes(scope: Scope) -> list[Claim]:
    """The new axis, at the hardest goal: within three, as N1."""
    predicted: pd.DataFrame = scope.fits.predicted
    if predicted.empty:
        return []
    rows = []
    hardest = predicted[predicted["goal"] == predicted["goal"].max()].sort_values("rollout")
    ids = [f"{scope.name}/{name}" for name in (scope.fits.prediction.runs if scope.fits.prediction else ())]
    for code, stem in (("X1", "ratio"), ("X2", "shape_ratio")):
        if stem not in hardest:
            continue
        for row in hardest.to_dict("records"):
            if code == "X2" and hardest["rollout"].max() / row["rollout"] <= WITHIN_THREE.high:
                continue  # the law allows no shape that the band would not hold
            measured = Interval(row[stem], row[f"{stem}_low"], row[f"{stem}_high"])
            runs = (*ids, *scope.runs((int(row["rollout"]), float(row["goal"]))))
            why, where = f"goal {row['goal']:g}", f"rollouts of {row['rollout']}"
            rows.append(claim(code, SAYS[code], scope.name, WITHIN_THREE, measured, why, runs, where))
    return rows
