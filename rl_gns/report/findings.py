"""A page's title and what it begins with: three to five findings, made from the fitted numbers. It fits nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rl_gns.analysis.claims import CANT_TELL, Claim
from rl_gns.studies.results import Outcome
from rl_gns.studies.scope import ROLLOUT, Key, Scope
from rl_gns.studies.spec import StudySpec
from rl_gns.studies.study import Study
from rl_gns.studies.words import counted, said
from rl_gns.training.seeing import BLIND

KINDS = {"atari": "Atari's {}", "gym": "{}", "moba": "the MOBA world's {}"}


def title(spec: StudySpec) -> str:
    """The file's own, else what is trained and how far."""
    if spec.title:
        return spec.title
    kind, _, name = spec.env.partition(":")
    words = name.replace("_", " ").title() if kind == "atari" else name
    env = KINDS.get(kind, kind + " {}").format(words) if name else kind
    goals = [f"{goal:g}" for goal in spec.goals]
    scores = " and ".join([", ".join(goals[:-1]), goals[-1]] if len(goals) > 1 else goals)
    varied = "batch size and rollout length" if len(spec.rollout) > 1 else "batch size"
    return f"{env} under {str(spec.algo).upper()}: updates to score {scores} over {varied}"


def findings(
    study: Study, scope: Scope, judged: Sequence[Claim], outcomes: Mapping[str, Outcome]
) -> list[str]:
    """Critical batch, least observations, noise scale, residual, and what can't be told, a line each."""
    lines = [_limits(scope, "B_crit", "b_crit", "critical_batch"), _limits(scope, "E_min", "e_min", "e_min")]
    by_code = {claim.code: claim for claim in judged}
    noise = by_code.get("N5")
    if noise is not None and not math.isnan(noise.measured.value):
        lines.append(
            f"B_simple where a goal is reached, over B_crit: {said(*noise.measured)}; the paper mostly has 3 to 12."
        )
    residual = by_code.get("P2")
    if residual is not None and not math.isnan(residual.measured.value):
        lines.append(
            f"ln S scatters around the hyperbola by {said(*residual.measured)}, median over fronts; the paper's by "
            "0.088."
        )
    lines.append(_seen(scope))
    return [*(line for line in lines if line), _untold(study, scope, judged, outcomes)]


def compared(scope: Scope) -> list[Key]:
    """Of each rollout length the goals that the paper has too and the hardest one, where B_crit can be told."""
    theirs = set(scope.published()["goal"]) if scope.task is not None else set()
    told = [key for key in scope.keys if scope.fits.front_of[key].b_crit is not None]
    return [key for key in told if (key[0] == ROLLOUT and key[1] in theirs) or key in scope.hardest]


def published(scope: Scope, key: Key, name: str) -> float:
    """The paper's number at this goal, NaN where it has none; its rollouts are of 5."""
    if scope.task is None or key[0] != ROLLOUT:
        return math.nan
    rows = scope.published()
    rows = rows[rows["goal"] == key[1]]
    return float(rows[name].iloc[0]) if len(rows) else math.nan


def _limits(scope: Scope, symbol: str, name: str, theirs: str) -> str:
    several = len({key[0] for key in scope.keys}) > 1
    values: dict[float, list[str]] = {}
    for key in compared(scope):
        front = scope.fits.front_of[key]
        value, low, high = (getattr(front, column) for column in (name, f"{name}_low", f"{name}_high"))
        if value is None:
            continue
        text = said(value, math.nan if low is None else low, math.nan if high is None else high)
        paper = published(scope, key, theirs)
        text += "" if math.isnan(paper) else f", published {said(paper, math.nan, math.nan)}"
        values.setdefault(key[1], []).append(text + (f" with rollouts of {key[0]}" if several else ""))
    goals = [f"to score {goal:g} it is {'; '.join(some)}" for goal, some in values.items()]
    return (
        f"{symbol}, in observations: {'; '.join(goals)}." if goals else f"{symbol} can't be told at any goal."
    )


def _seen(scope: Scope) -> str:
    """How far the goals take eyes; "" where no run measured it."""
    met = scope.fits.points[~scope.fits.points["censored"]]
    told = []
    for goal, information in met.groupby("goal")["information"]:
        if (count := int(information.count())) == 0:
            continue
        value = float(information.median())
        told.append(
            f"{value:.2g} at score {goal:g}{' (blind play)' * (value < BLIND)}, median of {count} of "
            f"{counted(len(information), 'best run')}"
        )
    if not told:
        return ""
    return f"Of what policies do, a rollout's observations decide I(a; s) in nats: {'; '.join(told)}."


def _untold(study: Study, scope: Scope, judged: Sequence[Claim], outcomes: Mapping[str, Outcome]) -> str:
    parts = [f"{sum(claim.verdict == CANT_TELL for claim in judged)} of {counted(len(judged), 'claim')}"]
    unknown = [key for key in scope.keys if scope.fits.front_of[key].b_crit is None]
    if unknown:
        parts.append(f"B_crit on {len(unknown)} of {counted(len(scope.keys), 'front')}")
    met = scope.fits.points[~scope.fits.points["censored"]]
    if len(met) and (edges := int(met["at_edge"].sum())):
        parts.append(
            f"the optimum of {edges} of {counted(len(met), 'learning rate')}, the least or greatest tried"
        )
    plan = study.plan(outcomes)
    if missing := sum(not outcomes[run.id].final for run in plan):
        parts.append(f"what {missing} of {counted(len(plan), 'run')} that are not finished will add")
    return f"Can't be told: {'; '.join(parts)}."
