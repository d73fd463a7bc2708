"""The critical number of environments predicted from the design effect measured in one cell's runs, beside the law.

It reads run directories; it trains nothing. Which runs is a rule that looks at no result but the cell's best learning
rate: `plan.correlation_cell`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from rl_gns.analysis import Interval, Parting, PredictedAxis, RolloutLaw, parting, predict_axis
from rl_gns.studies.plan import PlannedRun, best_rate, cell_found, correlation_cell, correlation_runs
from rl_gns.studies.results import Outcome
from rl_gns.studies.seeds import over_seeds
from rl_gns.studies.study import Study
from rl_gns.studies.words import ends, spread
from rl_gns.training.correlation import gram_of


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the chosen runs say of every rollout length of the study."""

    runs: tuple[str, ...]
    """Ids of the runs it rests on: one learning rate, all seeds that measured."""
    num_envs: int
    rollout: int
    """The longest one: shorter ones are read off its last steps."""
    moments: pd.DataFrame
    """Per run and rollout length: id, rollout, signal, noise, design_effect."""
    axis: PredictedAxis
    parts: pd.DataFrame
    """Noise scale of the loss's terms at the end of these runs: part, runs, noise_scale with _low and _high over seeds
    (NaN where it is unknown in all), at_least (the least of the lower bounds)."""

    @property
    def rule(self) -> str:
        """How the runs were chosen, as a sentence."""
        return (
            f"Predicted from {', '.join(self.runs)}: the longest rollout, the median number of environments, the best "
            f"learning rate there, all seeds; with correlation measured while they train."
        )

    def _parts_sentence(self) -> list[str]:
        parts = []
        for _, row in self.parts.iterrows():
            if math.isnan(row["noise_scale"]):
                bound = ends(row["at_least"], math.nan, "")
                parts.append(f"{row['part']} unknown" + (f", {bound}" if bound else ""))
            else:
                parts.append(f"{row['part']} {spread(row, 'noise_scale')}")
        what = "Simple noise scale at the end of these runs, of each term of the loss alone, in observations"
        return [f"{what}: {', '.join(parts)}."] if parts else []

    def sentences(self, predicted: pd.DataFrame) -> list[str]:
        """Where prediction and measurement part, for the hardest goal; `predicted` is `Fits.predicted`."""
        lines = [self.rule, *self._parts_sentence()]
        if predicted.empty:
            return [*lines, "There is no measured law to compare it with."]
        rows = predicted[predicted["goal"] == predicted["goal"].max()]
        goal = float(rows["goal"].iloc[0])
        lines.append(
            f"Level, goal {goal:g}: {_words(rows, 'verdict', 'ratio', 'units of the measured number')}"
        )
        shorter = rows[rows["rollout"] != self.rollout]
        if len(shorter):
            lines.append(
                f"Shape, each divided by its own value at rollouts of {self.rollout}: "
                + _words(shorter, "shape_verdict", "shape_ratio", "units of the measured one")
            )
        lines.append(
            "They agree where the whole interval lies within a factor of three, and part where none of it does."
        )
        return lines


def predict(
    study: Study, outcomes: Mapping[str, Outcome], seed: int = 0, bootstrap: int = 1000
) -> Prediction | None:
    """Read the runs of the correlation cell; None where none of them has measured anything yet."""
    rows: list[dict[str, Any]] = []
    runs = measured_runs(study, outcomes)
    for run in runs:
        gram = gram_of(study.correlation(run, outcomes[run.id]))
        if gram is None:
            continue
        for length in study.spec.rollout:
            found = gram.predict(length)
            rows.append(
                {
                    "id": run.id,
                    "rollout": length,
                    "signal": found.signal,
                    "noise": found.noise,
                    "design_effect": found.design_effect,
                }
            )
    if not rows:
        return None
    moments = pd.DataFrame(rows)
    lengths = sorted(study.spec.rollout)
    signal, noise = (
        moments.pivot(index="id", columns="rollout", values=name)[lengths].to_numpy()
        for name in ("signal", "noise")
    )
    axis = predict_axis(lengths, signal, noise, seed, bootstrap)
    names = tuple(dict.fromkeys(moments["id"]))
    parts = pd.DataFrame(_parts(study, runs, outcomes, seed))
    return Prediction(names, runs[0].num_envs, runs[0].rollout, moments, axis, parts)


def _parts(
    study: Study, runs: list[PlannedRun], outcomes: Mapping[str, Outcome], seed: int
) -> list[dict[str, Any]]:
    """Each run's last reading of each part: its meter remembers most of a run this short."""
    readings = [study.read(run, "noise_parts", outcomes[run.id]) for run in runs]
    found = [some.groupby("part").tail(1) for some in readings if len(some)]
    if not found:
        return []
    last = pd.concat(found, ignore_index=True)
    return [
        {
            "part": str(part),
            "runs": len(some),
            **_columns("noise_scale", over_seeds(some["noise_scale"])),
            "at_least": float(some["noise_scale_low"].min()),
        }
        for part, some in last.groupby("part")
    ]


def measured_runs(study: Study, outcomes: Mapping[str, Outcome]) -> list[PlannedRun]:
    """The runs made for measuring; without a [correlation] in the file, those of the grid where they measured too."""
    if study.spec.correlation is not None:
        return correlation_runs(study.spec, outcomes)
    num_envs, rollout = correlation_cell(study.spec)
    if num_envs < 2 or not study.spec.config(num_envs, rollout, 1e-3, study.spec.seeds[0]).correlation_every:
        return []
    best = best_rate(cell_found(study.spec, num_envs, rollout, outcomes), study.spec.goals)
    same = (num_envs, rollout, best)
    return [run for run in study.plan(outcomes) if (run.num_envs, run.rollout, run.learning_rate) == same]


def compare(laws: Mapping[float, RolloutLaw], prediction: Prediction) -> pd.DataFrame:
    """One row per goal and rollout length of its law.

    Returns:
        Columns goal, rollout; measured and predicted critical number of environments with _low and _high; ratio,
        ratio_low, ratio_high (predicted over measured) and verdict ("part", "agree" or "can't tell", see
        `Parting.verdict`); the same with shape_ for both divided by their values at the longest rollout; design_effect.
    """
    effect = prediction.moments.groupby("rollout")["design_effect"].mean()
    rows = []
    for goal, law in sorted(laws.items()):
        for length in law.s_min:
            level = parting(law, prediction.axis, length)
            row: dict[str, Any] = {"goal": goal, "rollout": length}
            row |= _columns("measured", level.measured) | _columns("predicted", level.predicted)
            row |= _columns("ratio", level.ratio) | {"verdict": level.verdict}
            if prediction.rollout in law.s_min:
                shape: Parting = parting(law, prediction.axis, length, prediction.rollout)
                row |= _columns("shape_measured", shape.measured)
                row |= _columns("shape_predicted", shape.predicted)
                row |= _columns("shape_ratio", shape.ratio) | {"shape_verdict": shape.verdict}
            rows.append({**row, "design_effect": float(effect.loc[length])})
    return pd.DataFrame(rows)


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _words(rows: pd.DataFrame, verdict: str, ratio: str, what: str) -> str:
    """E.g. "they part at rollouts of 5 (3.7, 3.2 to 4.5) and agree at 10, 20"."""
    parts = []
    for word, says in (("part", "they part"), ("agree", "they agree"), ("can't tell", "can't tell")):
        some = [
            f"{row['rollout']} ({spread(row, ratio).replace(' (', ', ', 1).removesuffix(')')})"
            if math.isfinite(row[ratio])
            else str(row["rollout"])
            for _, row in rows[rows[verdict] == word].iterrows()
        ]
        if some:
            parts.append(f"{says} at rollouts of {', '.join(some)}")
    return f"{'; '.join(parts)} (in brackets: the prediction in {what} and its interval)."
