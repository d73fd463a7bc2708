"""What the paper claims of fronts, tested on one scope: the hyperbola, its two limits, its rivals, learning rates.

Numbers of claims (P1, L1 …) and bands are those of the project's checklist, set from the paper's own digitised spread,
which each claim states in brackets. It judges fits; it fits nothing but the control with one learning rate for all.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rl_gns.analysis import Interval, fit_front, gamma, local_noise_scale
from rl_gns.analysis._profile import Points, mean_squares, minimise
from rl_gns.analysis.claims import (
    CANT_TELL,
    FAIL,
    PASS,
    Band,
    Claim,
    Draws,
    claim,
    combined,
    of_contrast,
    of_interval,
    of_residual,
    ratio,
    share,
    unknown,
)
from rl_gns.analysis.fronts import TOLD
from rl_gns.studies.fits import aic_lead
from rl_gns.studies.scope import Key, Scope, cell_means, coverage
from rl_gns.studies.words import counted

FAR = 5.0
"""How far beyond the critical batch a batch size counts as large, or below it as small."""
RESIDUAL, TAIL = Band(high=0.12), Band(high=0.20)
LARGE, UPTURN = Band(1 / 1.15, 1.15), Band(1 / 1.5, 1.9)
SPEED_UP, BEST_LAW = Band(2.5, 250), Band(low=0.9)
GAMMA_DRAWS = 400
EXPONENT, GAMMA = Band(0.4, 1.1), Band(0.5, 1.0)
SAYS = {
    "P1": "batch sizes span decades (paper: 10-12 sizes over 2.7-3.3; asked: 8 sizes)",
    "P1b": "share of best learning rates that are interior",
    "P2": "rms residual of ln S around the hyperbola, median over fronts (paper 0.088)",
    "P2b": "rms residual of ln S, 90th percentile over fronts (paper 0.149)",
    "P3": "large batches collapse: S at the second largest over S at the largest",
    "P4": "small batches collapse: E at the smallest over E at the largest up to B_crit/5",
    "P5": "speed-up in updates from the smallest to the largest batch",
    "P6": "share of fronts on which the hyperbola beats power law, S as 1/B and a constant by more than 2 in AIC",
    "L1": "exponent a of the learning-rate law ε*/(1 + B*/B)^a",
    "L1b": "B* of the learning-rate law over B_simple",
    "L2": "one learning rate for all batches shifts B_crit (control; 1: it does not)",
    "A1": "γ of the adaptive batch from the fronts' own growth",
}


LEFT = 5
"""Batch sizes that a curve without those asked about must have left: with fewer, chance alone makes it useless."""


def residuals(scope: Scope) -> list[Draws]:
    """The rms residual of every front with at least four batch sizes."""
    found = []
    for key in scope.keys:
        front, sizes = scope.fits.front_of[key], len(cell_means(scope.points(key)))
        if front.b_crit is not None and front.rms_log_residual is not None and sizes >= 4:
            z = scope.deviates(f"residual/{key[0]}")
            found.append(of_residual(front.rms_log_residual, _sd(scope, key)[1] + 2, 2, z))
    return found


def ninetieth(values: np.ndarray, axis: int) -> np.ndarray:
    """The 90th percentile, for `combined`."""
    return np.asarray(np.quantile(values, 0.9, axis=axis))


def front_claims(scope: Scope) -> list[Claim]:
    """All of this file's claims on one scope."""
    rows = [*_protocol(scope), *_residual(scope), _large(scope), _small(scope), _speed_up(scope)]
    rows += [aic([scope], scope.name), _gamma(scope)]
    return [*rows, *_rates(scope), _one_rate(scope)] if scope.owned else rows


def _protocol(scope: Scope) -> list[Claim]:
    points = scope.fits.points
    reached = points[~points["censored"]].groupby("rollout")["batch"]
    decades = float(np.log10(reached.max() / reached.min()).min()) if len(reached) else math.nan
    sizes = int(reached.nunique().min()) if len(reached) else 0
    exact, band = Interval(decades, decades, decades), Band(low=2.1)
    first = claim("P1", SAYS["P1"], scope.name, band, exact, f"{sizes} batch sizes", scope.runs())
    if first.verdict == PASS and sizes < 8:
        first = replace(first, verdict=FAIL, why=f"{sizes} batch sizes, asked are 8")
    met = points[~points["censored"] & points["learning_rate"].notna()]
    if met.empty:
        return [first]
    interior = 1 - float(met["at_edge"].mean())
    why = f"{int(met['at_edge'].sum())} of {len(met)} are the least or greatest tried"
    exact = Interval(interior, interior, interior)
    return [first, claim("P1b", SAYS["P1b"], scope.name, Band(low=1), exact, why, scope.runs())]


def _residual(scope: Scope) -> list[Claim]:
    found = residuals(scope)
    rows = []
    for code, band, function in (("P2", RESIDUAL, np.median), ("P2b", TAIL, ninetieth)):
        if not found:
            why = "no front with a critical batch and four batch sizes"
            rows.append(unknown(code, SAYS[code], scope.name, band, why, scope.runs()))
            continue
        measured = combined(found, function).interval
        why = counted(len(found), "front")
        rows.append(claim(code, SAYS[code], scope.name, band, measured, why, scope.runs()))
    return rows


def _sd(scope: Scope, key: Key, without: tuple[float, ...] = ()) -> tuple[float, int]:
    """Standard deviation of one point's ln S around its front, and its degrees of freedom.

    Of batch sizes around the curve where these scatter more than the seeds within them do, else of seeds: seeds of one
    batch size share its rates and whatever else is particular to it (see `analysis._profile`). The curve is fitted
    `without` some batch sizes where it is these that are asked about and enough others are left.
    """
    met = scope.points(key)
    met = met[~met["censored"] & ~met["batch"].isin(without)].sort_values(["batch", "updates"])
    sizes, n = int(met["batch"].nunique()), len(met)
    if without and sizes < LEFT:
        return _sd(scope, key)
    if sizes < 3:
        return math.nan, 0
    points = Points(met["batch"].to_numpy(dtype=float), np.log(met["updates"].to_numpy(dtype=float)))
    squares = float(points.at(minimise(points)).objective[0])
    between, within = mean_squares(squares, points.log_y, points.cells, 2)
    by_size = between > within or n == sizes
    freedom = sizes - 2 if by_size else n - sizes
    return max(math.sqrt(float(between if by_size else within)), 0.01), freedom


def _contrast(scope: Scope, key: Key, first: int, second: int, per_observation: bool, source: str) -> Draws:
    """S, or E, at one of the front's batch sizes over that at another."""
    cells = cell_means(scope.points(key))
    one, two = cells.iloc[first], cells.iloc[second]
    value = float(one["log_updates"] - two["log_updates"])
    value += math.log(one["batch"] / two["batch"]) if per_observation else 0.0
    sd, freedom = _sd(scope, key, (float(one["batch"]), float(two["batch"])))
    z = scope.deviates(f"{source}/{key[0]}")
    return of_contrast(value, sd, (int(one["seeds"]), int(two["seeds"])), freedom, z)


def large(scope: Scope) -> dict[Key, Draws]:
    """S at the second largest batch over S at the largest, of goals for which both are far above B_crit."""
    found = {}
    for key in scope.keys:
        front, cells = scope.fits.front_of[key], cell_means(scope.points(key))
        if front.b_crit is not None and len(cells) > 3 and cells["batch"].iloc[-2] >= FAR * front.b_crit:
            found[key] = _contrast(scope, key, -2, -1, False, "large")
    return found


def small(scope: Scope) -> dict[Key, Draws]:
    """E at the smallest batch over E at the largest of those far below B_crit, of goals with two of them."""
    found = {}
    for key in scope.keys:
        front, cells = scope.fits.front_of[key], cell_means(scope.points(key))
        count = 0 if front.b_crit is None else int((cells["batch"] <= front.b_crit / FAR).sum())
        if count >= 2:
            found[key] = _contrast(scope, key, 0, count - 1, True, "small")
    return found


def _large(scope: Scope) -> Claim:
    found = large(scope)
    if not found:
        why = f"no goal has two batch sizes at or above {FAR:g} B_crit"
        return unknown("P3", SAYS["P3"], scope.name, LARGE, why, scope.runs())
    measured = combined(list(found.values()), np.median).interval
    return claim("P3", SAYS["P3"], scope.name, LARGE, measured, _over(list(found)), scope.runs(*found))


def _small(scope: Scope) -> Claim:
    found = small(scope)
    if not found:
        why = f"no goal has two batch sizes at or below B_crit/{FAR:g}"
        return unknown("P4", SAYS["P4"], scope.name, UPTURN, why, scope.runs())
    why = f"{_over(list(found))}; 1.5, or 1.9 as an upturn at the very smallest batch"
    measured = combined(list(found.values()), np.median).interval
    return claim("P4", SAYS["P4"], scope.name, UPTURN, measured, why, scope.runs(*found))


def _speed_up(scope: Scope) -> Claim:
    used = [key for key in scope.keys if len(cell_means(scope.points(key))) >= 3 and _sd(scope, key)[1]]
    if not used:
        why = "no front with three batch sizes and a residual"
        return unknown("P5", SAYS["P5"], scope.name, SPEED_UP, why, scope.runs())
    found = [_contrast(scope, key, 0, -1, False, "speed-up") for key in used]
    measured = combined(found, np.median).interval
    return claim("P5", SAYS["P5"], scope.name, SPEED_UP, measured, _over(used), scope.runs(*used))


def aic(scopes: list[Scope], name: str) -> Claim:
    """P6 over the fronts of one scope or of several; fronts are counted as if they were independent.

    Where neither the hyperbola nor a rival leads by more than 2 the front may be either's: the upper end counts it.
    """
    fronts = [(scope, key, scope.fits.front_of[key]) for scope in scopes for key in scope.keys]
    used = [entry for entry in fronts if entry[2].aic and len(cell_means(entry[0].points(entry[1]))) >= 6]
    leads = [aic_lead(front) for _, _, front in used]
    hits, open_ = sum(lead > TOLD for lead in leads), sum(abs(lead) <= TOLD for lead in leads)
    runs = [run for scope, key, _ in used for run in scope.runs(key)]
    if not used:
        return unknown(
            "P6", SAYS["P6"], name, BEST_LAW, "no front with six batch sizes that all seeds reached", runs
        )
    measured = share(hits, len(used))._replace(high=share(hits + open_, len(used)).high)
    why = f"{hits} of {counted(len(used), 'front')}" + (f", can't tell on {open_} more" if open_ else "")
    return claim("P6", SAYS["P6"], name, BEST_LAW, measured, why, runs)


def _rates(scope: Scope) -> list[Claim]:
    rates = scope.fits.rates
    goals = rates.groupby("rollout")["goal"].transform("max") if len(rates) else rates
    hardest = rates[rates["goal"] == goals] if len(rates) else rates
    told = (
        hardest[hardest["exponent_low"].notna() & hardest["exponent_high"].notna()]
        if len(hardest)
        else hardest
    )
    laws = told.to_dict("records")
    keys = [(int(law["rollout"]), float(law["goal"])) for law in laws]
    why = "; ".join(sorted(set(hardest["note"]) - {""})) if len(hardest) else ""
    if not keys:
        return [unknown("L1", SAYS["L1"], scope.name, EXPONENT, why, scope.runs())]
    exponents = [
        of_interval(
            law["exponent"], law["exponent_low"], law["exponent_high"], scope.deviates(f"exponent/{key[0]}")
        )
        for key, law in zip(keys, laws, strict=True)
    ]
    measured = combined(exponents, np.median).interval
    rows = [claim("L1", SAYS["L1"], scope.name, EXPONENT, measured, _over(keys), scope.runs(*keys))]
    found, used = [], []
    for key, law in zip(keys, laws, strict=True):
        noise = scope.noise(key, "mean_noise_scale")
        if noise is not None and not math.isnan(law["batch"]):
            low, high = (None if math.isnan(end) else end for end in (law["batch_low"], law["batch_high"]))
            found.append(ratio(of_interval(law["batch"], low, high, scope.deviates(f"B*/{key[0]}")), noise))
            used.append(key)
    band = Band(high=3)
    if found:
        measured = combined(found, np.median).interval
        return [*rows, claim("L1b", SAYS["L1b"], scope.name, band, measured, _over(used), scope.runs(*used))]
    return [
        *rows,
        unknown("L1b", SAYS["L1b"], scope.name, band, why or "B_simple is unknown", scope.runs(*keys)),
    ]


def _one_rate(scope: Scope) -> Claim:
    """The negative control: the rate tried at most batch sizes, alone, against the tuned front of the hardest goal."""
    table, says, band = scope.fits.table, SAYS["L2"], "not 1"
    if not scope.hardest or table["learning_rate"].isna().all():
        return unknown("L2", says, scope.name, band, "no tuned front to compare with", scope.runs())
    key = scope.hardest[0]
    done = table[(table["rollout"] == key[0]) & (table["goal"] == key[1]) & (table["status"] == "done")]
    sizes = done[~done["censored"]].groupby("learning_rate")["batch"].nunique()
    tuned = scope.fits.front_of[key]
    most = 0 if sizes.empty else int(sizes.max())
    if most < 4 or tuned.b_crit is None:
        why = f"no learning rate was tried at four batch sizes that reached the goal (at most {most})"
        return unknown("L2", says, scope.name, band, why, scope.runs(key))
    rate = float(sizes.index.to_numpy(dtype=float)[int(sizes.to_numpy().argmax())])
    one = done[done["learning_rate"] == rate]
    some = [f"{scope.name}/{name}" for name in one["id"]] + scope.runs(key)
    held = fit_front(one["batch"], one["updates"], one["censored"].to_numpy(bool), scope.seed)
    why = f"rate {rate:g} at {most} batch sizes, goal {key[1]:g}"
    if held.b_crit is None:
        return unknown("L2", says, scope.name, band, f"{why}: {held.note}", some)
    other = of_interval(held.b_crit, held.b_crit_low, held.b_crit_high, scope.deviates("one rate"))
    tuned_draws = scope.b_crit(key)
    assert tuned_draws is not None
    measured = ratio(other, tuned_draws).interval
    apart = measured.low > 1 or measured.high < 1
    why = why if apart else f"the interval holds 1; {why}"
    return Claim("L2", says, scope.name, band, measured, PASS if apart else CANT_TELL, why, tuple(some))


def _gamma(scope: Scope) -> Claim:
    found = [
        value for length in sorted({key[0] for key in scope.keys}) if (value := _gamma_of(scope, length))
    ]
    if not found:
        why = "fewer than two goals with a critical batch, the later ones taking longer"
        return unknown("A1", SAYS["A1"], scope.name, GAMMA, why, scope.runs())
    why = "an upper bound: finer goals can only lower it"
    measured = combined(found, np.median).interval
    # Chance apart in each goal's front can only lower γ: its draws may all lie below it.
    measured = measured._replace(high=max(measured.high, measured.value))
    made = claim("A1", SAYS["A1"], scope.name, GAMMA, measured, why, scope.runs())
    if missing := coverage(scope):
        return made.because(f"{missing}; {why}")
    return made if made.verdict == FAIL or not scope.owned else made.because(why)


def _gamma_of(scope: Scope, length: int) -> Draws | None:
    """γ with S_min and E_min moved along with each goal's B_crit: γ is a contrast between goals."""
    curves = []
    for key in (key for key in scope.keys if key[0] == length):
        front, met = scope.fits.front_of[key], scope.points(key)
        if front.b_crit is None or front.s_min is None:
            continue
        z = scope.deviates(f"gamma/{key}")[:GAMMA_DRAWS]
        b = of_interval(front.b_crit, front.b_crit_low, front.b_crit_high, z)
        middle = float(np.exp(np.log(met[~met["censored"]]["batch"]).mean()))
        at = front.s_min * (1 + front.b_crit / middle)
        draws = np.concatenate([[front.b_crit], b.replicas])
        with np.errstate(divide="ignore"):  # B_crit may be drawn 0, and infinite
            curves.append((at / (1 + draws / middle), at / (1 / draws + 1 / middle)))
    if len(curves) < 2:
        return None
    s_min, e_min = np.array(curves).transpose(1, 2, 0)
    whole = np.isfinite(s_min).all(1) & np.isfinite(e_min).all(1) & (s_min > 0).all(1) & (e_min > 0).all(1)
    if not whole[0] or len(local_noise_scale(s_min[0], e_min[0], skip=True)[0]) < 2:
        return None
    values = [
        gamma(*local_noise_scale(s, e, skip=True)) if ok else math.nan
        for s, e, ok in zip(s_min, e_min, whole, strict=True)
    ]
    return Draws(values[0], np.array(values[1:]))


def _over(keys: list[Key]) -> str:
    goals = list(dict.fromkeys(f"{key[1]:g}" for key in keys))
    lengths = sorted({key[0] for key in keys})
    rollouts = f"rollouts of {', '.join(map(str, lengths))}"
    if len(goals) == 1:
        return f"goal {goals[0]}" + (f", median over {rollouts}" if len(lengths) > 1 else "")
    return f"median over goals {', '.join(goals)}" + (f" at {rollouts}" if len(lengths) > 1 else "")
