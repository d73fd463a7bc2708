"""Which noise scale comes closest to the critical batch: every part that the runs measured, beside each front's B_crit.

It reads runs and fits; what a part is, `rl_gns.noise` says. A noise scale is taken where the goal is reached and as
the mean over the updates until then, which is what the theory compares with B_crit (McCandlish et al. 2018, D.1).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from rl_gns.analysis import Interval
from rl_gns.analysis.claims import Draws, combined, of_interval, ratio
from rl_gns.studies.fits import Fits
from rl_gns.studies.results import Outcome, noise_until
from rl_gns.studies.seeds import UNKNOWN, over_seeds
from rl_gns.studies.study import Study
from rl_gns.studies.words import counted, ends, said

if TYPE_CHECKING:
    from rl_gns.studies.scope import Key, Scope

OWN = "B_simple"
"""Of the training gradient at every update; `total` is the same measured with the other parts, more rarely."""
EFFECT = "design effect"
NAMES = {
    OWN: "B_simple of the training gradient",
    "policy": "B_simple, policy loss alone",
    "value": "B_simple, value loss alone",
    "entropy": "B_simple, entropy bonus alone",
    "total": "B_simple of the whole loss, measured with its parts",
    "optimizer": "B_simple in the optimizer's metric",
    "normalized": "B_simple, every update counted alike",
    "fisher": "B_noise, Fisher-weighted",
    "hessian": "B_noise, Hessian-weighted",
    "normalized/policy": "policy loss alone, every update counted alike",
    "normalized/value": "value loss alone, every update counted alike",
    "normalized/optimizer": "the optimizer's metric, every update counted alike",
    "normalized/fisher": "Fisher-weighted, every update counted alike",
    EFFECT: "B_simple by one cell's design effect",
}
QUANTITIES = {
    "mean": "mean over updates until the goal",
    "local": "where the goal is reached",
    "pooled": "all runs together where the goal is reached, whether they know theirs or not",
}
COLUMNS = [
    *("id", "rollout", "num_envs", "batch", "seed", "goal", "part"),
    *("local", "mean", "known_share", "at_least", "signal", "noise"),
]


def readings(study: Study, outcomes: Mapping[str, Outcome], fits: Fits) -> pd.DataFrame:
    """One row per goal, run that serves it or repeats one that does, and part.

    Returns:
        Columns id, rollout, num_envs, batch, seed, goal, part; local and mean noise scale in observations, the share
        of updates where it was known, and at_least, the least lower bound of those where it was not (NaN: none);
        signal and noise of one unit, as smoothed there (NaN: not measured until then).
    """
    met = fits.points[~fits.points["censored"]]
    serving: dict[str, list[float]] = {}
    for name, goal in zip(met["id"], met["goal"], strict=True):
        serving.setdefault(name, []).append(float(goal))
    rows: list[list[Any]] = []
    for run in study.plan(outcomes):
        # Runs made for measuring repeat runs of the grid, so they count for every goal that they reach.
        goals = serving.get(run.id, []) if run.in_grid else list(study.spec.goals)
        outcome = outcomes[run.id]
        if not goals or outcome.start is None:
            continue
        parts = study.read(run, "noise_parts", outcome)
        tables = {str(part): some for part, some in parts.groupby("part")} if len(parts) else {}
        if run.in_grid:
            tables[OWN] = study.read(run, "metrics", outcome)
        for goal in goals:
            at = outcome.crossings.get(goal)
            if at is None:
                continue
            for part, table in tables.items():
                if "/" in part and part not in NAMES:
                    continue  # families: layers/…, epochs/…
                reading = noise_until(table, at, study.spec.halflife, outcome.start)
                until = table[(table["observations"] <= at) & table["noise_scale"].isna()]
                key = [run.id, run.rollout, run.num_envs, run.batch, run.seed, goal, part]
                rows.append([*key, *reading, float(until["noise_scale_low"].min()), *_moments(table, at)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _moments(table: pd.DataFrame, at: float) -> tuple[float, float]:
    until = table[(table["observations"] <= at) & table["signal"].notna() & table["noise"].notna()]
    return (
        (float(until["signal"].iloc[-1]), float(until["noise"].iloc[-1]))
        if len(until)
        else (math.nan, math.nan)
    )


def pooled(rows: pd.DataFrame) -> Interval:
    """Noise scale of the runs together, those included that do not know their own.

        xᵣ = signal / (signal + noise) of a run      x = Σ wᵣ xᵣ / Σ wᵣ      T (1 - x) / x

    with w the environments: averages over equally many observations have a variance that goes as the inverse of the
    batch where noise rules. Runs are compared by their shares, since a run whose value loss jumps may have a thousand
    times the others' |G|² and would be all that their sums say. The interval is Student's t over runs.

    Args:
        rows: rollout (the same T in all), num_envs, signal and noise of one environment's gradient; NaN is left out.

    Returns:
        In observations; an infinite upper end where the signal can't be told from 0, infinite itself where it came out
        no larger, and 0 where the noise did. NaN where not one run is known, or x is below 0 for certain; no ends with
        one run.
    """
    known = rows[rows["signal"].notna() & (rows["signal"] + rows["noise"] > 0)]
    if known.empty:
        return UNKNOWN
    length, weight = float(known["rollout"].iloc[0]), known["num_envs"].to_numpy(dtype=float)
    signal, noise = (known[name].to_numpy(dtype=float) for name in ("signal", "noise"))
    share, weight = signal / (signal + noise), weight / weight.sum()
    mean = float(weight @ share)
    value = length * max(0.0, 1 - mean) / mean if mean > 0 else math.inf
    if len(known) == 1:
        return Interval(value, math.nan, math.nan)
    runs = 1 / float(weight @ weight)  # how many of equal weight they amount to
    error = math.sqrt(float(weight**2 @ (share - mean) ** 2) * runs / (runs - 1))
    far = float(stdtrit(runs - 1, 0.975)) * error
    if mean + far <= 0:
        return UNKNOWN
    most = length * max(0.0, 1 - mean + far) / (mean - far) if mean > far else math.inf
    return Interval(value, length * max(0.0, 1 - mean - far) / (mean + far), most)


def table(scope: Scope) -> pd.DataFrame:
    """One row per front with a B_crit, predictor and quantity.

    Returns:
        Columns study, rollout, goal, predictor, quantity; noise_scale, b_crit and ratio with _low and _high, infinite
        where the runs together have no signal;
        known_share, at_least, runs (how many) and ids.
    """
    rows = []
    for key in scope.keys:
        b_crit = scope.b_crit(key)
        if b_crit is None:
            continue
        for (part, quantity), value in _measured(scope, key).items():
            row: dict[str, Any] = {"study": scope.name, "rollout": key[0], "goal": key[1]}
            row |= {"predictor": part, "quantity": quantity}
            row |= _columns("noise_scale", value) | _columns("b_crit", b_crit)
            row |= _columns("ratio", None if value is None else ratio(value, b_crit))
            some = rows_of(scope, key, part)
            row["known_share"] = float(some["known_share"].mean()) if len(some) else math.nan
            row["at_least"] = float(some["at_least"].min()) if len(some) else math.nan
            row |= {"runs": some["id"].nunique(), "ids": " ".join(sorted(set(some["id"])))}
            rows.append(row)
    return pd.DataFrame(rows)


def rows_of(scope: Scope, key: Key, part: str) -> pd.DataFrame:
    """The `readings` of one part on one front, perhaps none."""
    parts = scope.parts
    if parts.empty:
        return pd.DataFrame(columns=COLUMNS)
    return parts[(parts["rollout"] == key[0]) & (parts["goal"] == key[1]) & (parts["part"] == part)]


def _measured(scope: Scope, key: Key) -> dict[tuple[str, str], Draws | None]:
    found: dict[tuple[str, str], Draws | None] = {}
    names = [part for part in NAMES if len(scope.parts) and part in set(scope.parts["part"])]
    for part in names:
        some = rows_of(scope, key, part)
        for quantity in QUANTITIES:
            value = pooled(some) if quantity == "pooled" else over_seeds(some[quantity], some["num_envs"])
            z = scope.deviates(f"{part}/{quantity}/{key}")
            found[part, quantity] = of_interval(*value, z) if value.value > 0 else None
    predicted = scope.fits.predicted
    if len(predicted):
        row = predicted[(predicted["rollout"] == key[0]) & (predicted["goal"] == key[1])]
        if len(row) and math.isfinite(row["predicted"].iloc[0]):
            ends = [
                float(row[name].iloc[0]) * key[0] for name in ("predicted", "predicted_low", "predicted_high")
            ]
            found[EFFECT, "mean"] = of_interval(
                ends[0], ends[1], ends[2], scope.deviates(f"{EFFECT}/{key[0]}")
            )
    return found


def closest(scopes: list[Scope]) -> pd.DataFrame:
    """Over all fronts of all scopes, how far each predictor is from B_crit.

    A predictor is its mean over the updates until the goal; where that is unknown in every run, that of all runs
    together (`pooled`). Fronts where these have no signal are counted, not averaged: the average then reads low.

    Returns:
        One row per predictor, closest first: predictor, fronts (where it is known), pooled (of those, by all
        runs together), lost (fronts without a signal), of (fronts with a B_crit), ratio with _low and _high
        (geometric mean over the fronts known), and spread, the standard deviation of ln ratio.
    """
    found: dict[str, list[Draws]] = {}
    by_pooling: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    of = 0
    for scope in scopes:
        for key in scope.keys:
            b_crit = scope.b_crit(key)
            if b_crit is None:
                continue
            of += 1
            values = _measured(scope, key)
            for part in dict.fromkeys(part for part, _ in values):
                mean, together = values.get((part, "mean")), values.get((part, "pooled"))
                known = together if mean is None else mean
                found.setdefault(part, [])
                if known is not None and math.isinf(known.value):
                    lost[part] += 1
                elif known is not None:
                    found[part].append(ratio(known, b_crit))
                    by_pooling[part] += mean is None
    rows = []
    for part, parts in found.items():
        row: dict[str, Any] = {
            "predictor": part,
            "fronts": len(parts),
            "pooled": by_pooling[part],
            "lost": lost[part],
            "of": of,
        }
        row |= _columns("ratio", combined(parts, _geometric) if parts else None)
        logs = np.log([one.value for one in parts])
        rows.append({**row, "spread": float(logs.std(ddof=1)) if len(parts) > 1 else math.nan})
    names = ["predictor", "fronts", "pooled", "lost", "of", "ratio", "ratio_low", "ratio_high", "spread"]
    order = pd.DataFrame(rows, columns=names)
    return order.iloc[np.argsort(np.abs(np.log(order["ratio"].to_numpy(dtype=float))))].reset_index(drop=True)


def sentence(order: pd.DataFrame) -> str:
    """Which comes closest, by how much, and which is within a factor of two for certain: by its whole interval.

    Closest is whose average is nearest to one, whether or not its interval has two ends, among those known on more than
    half of the fronts; those known on fewer that are closer there come next. Where none is certain and the closest has
    no two ends, the closest that has them is named too.
    """
    known = order[order["ratio"].notna()]
    if known.empty:
        return "No predictor can be put beside a critical batch yet."
    wide = known[2 * known["fronts"] > known["of"]]
    broad = known if wide.empty else wide
    best = broad.iloc[0]
    place = known["predictor"].tolist().index(best["predictor"])
    closest_is = f"{_named(best)}, at {_ratio(best)}"
    low, high = best["ratio_low"], best["ratio_high"]
    sure = broad.iloc[:1] if wide.empty else wide  # of those known on few fronts no other than the closest
    sure = sure[(sure["ratio_low"] >= 0.5) & (sure["ratio_high"] <= 2)]
    if len(sure) and sure.iloc[0]["predictor"] == best["predictor"]:
        parts = [f"{_begun(closest_is)}, comes closest and is within a factor of two."]
    elif len(sure):
        name = _begun(_named(sure.iloc[0]))
        parts = [
            f"{name} is within a factor of two of B_crit, at {_ratio(sure.iloc[0])}; nearer to it, but not for "
            f"certain, is {closest_is}."
        ]
    elif high < 0.5 or low > 2:
        parts = [f"None comes within a factor of two of B_crit; the closest is {closest_is}."]
    else:
        parts = [f"None is certain to be within a factor of two of B_crit; the closest is {closest_is}."]
    bounded = broad[np.isfinite(broad["ratio_high"]) & (broad["ratio_low"] > 0)]
    if sure.empty and len(bounded) and bounded.iloc[0]["predictor"] != best["predictor"]:
        other = bounded.iloc[0]
        parts.append(f"Of those whose interval has two ends it is {_named(other)}, at {_ratio(other)}.")
    if place:
        closer = "; ".join(f"{_named(row)}, {_ratio(row)}" for _, row in known.iloc[:place].iterrows())
        parts.append(f"Closer on the few fronts where they are known: {closer}.")
    missing = [NAMES.get(name, name) for name in order[order["ratio"].isna()]["predictor"]]
    parts += [f"Unknown on every front: {'; '.join(missing)}."] if missing else []
    return " ".join(parts)


def _begun(words: str) -> str:
    return words[0].upper() + words[1:]


def _named(row: pd.Series) -> str:
    return str(NAMES.get(row["predictor"], row["predictor"]))


def _ratio(row: pd.Series) -> str:
    fronts = f"{row['fronts']} of {counted(row['of'], 'front')}"
    lost = f", no signal on {row['lost']} more" if row["lost"] else ""
    interval = ends(row["ratio_low"], row["ratio_high"])
    return f"{said(row['ratio'], math.nan, math.nan)} times B_crit ({interval}; {fronts}{lost})"


def _geometric(values: np.ndarray, axis: int) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(values).mean(axis))


def _columns(name: str, draws: Draws | None) -> dict[str, float]:
    if draws is None:
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    value, low, high = draws.interval
    return {name: value, f"{name}_low": low, f"{name}_high": high}
