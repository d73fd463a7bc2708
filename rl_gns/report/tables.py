"""The tables of a study's page: values with their intervals in one cell, and every run with its command."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from rl_gns.report import sentences
from rl_gns.report.page import Table
from rl_gns.studies.fits import AGAINST, HELD_OUT, Fits
from rl_gns.studies.plan import PlannedRun
from rl_gns.studies.results import Outcome
from rl_gns.studies.study import Study
from rl_gns.studies.words import counted, spread

SMOOTHING = "Fronts by average of the score: E_min has its lag"


def tables(fits: Fits, runs: pd.DataFrame, smoothing: pd.DataFrame, halflife: float) -> list[Table]:
    """Every table of the page that is not about claims; the rows of `Every run` have the ids that `run_links` names.

    halflife: the study's, of which `smoothing` is said in words.
    """
    extra = [
        "determined",
        *(name for name in fits.fronts if str(name).startswith("aic_") and name != "aic_lead"),
        *(
            name for name in ["information"] if fits.fronts[name].isna().all()
        ),  # older runs, real-valued actions
    ]
    shown: list[tuple[str, pd.DataFrame]] = [
        (
            "Fronts",
            fits.fronts.drop(columns=extra).assign(best_law=fits.fronts["best_law"].str.replace("_", " ")),
        ),
        (SMOOTHING, smoothing),
        (HELD_OUT, fits.held_out),
        ("Learning-rate laws", fits.rates),
        ("Critical number of environments", fits.rollouts),
        ("Critical number of environments, predicted", fits.predicted),
        ("Equal batch: updates, longer over shorter rollouts", fits.exchange.rename(columns=_RATIO)),
        ("Equal batch: the same over seeds, without a law", fits.equal_batch.rename(columns=_RATIO)),
        (AGAINST, fits.against),
        ("Adaptive batch", fits.turning),
        ("Every cell, over seeds", fits.cells),
    ]
    said = {
        SMOOTHING: sentences.smoothing(smoothing, halflife),
        HELD_OUT: sentences.held_out(fits),
        AGAINST: sentences.against(fits),
    }
    found = [
        Table(title, to_html(merged(frame)), said.get(title, "")) for title, frame in shown if len(frame)
    ]
    return [
        *found,
        Table("Every run", re.sub(r"<tr>(\s*<td>([^<]*)</td>)", r'<tr id="run-\2">\1', to_html(runs))),
    ]


def with_notes(claims: str) -> str:
    """The table of claims with its notes as links to the paragraphs of `run_links`."""
    return re.sub(r"<td>\[(\d+)\]</td>", r'<td><a href="#runs-\1">[\1]</a></td>', claims)


def run_links(named: pd.DataFrame) -> str:
    """A paragraph per note of `claims.notes`, each run a link to its row."""
    parts = []
    for number, some in named.groupby("note"):
        ids = [html.escape(run.partition("/")[2]) for run in some["run"]]
        links = " ".join(f'<a href="#run-{name}">{name}</a>' for name in ids)
        parts.append(f'<p class="ids" id="runs-{number}">[{number}] {counted(len(ids), "run")}: {links}</p>')
    return "\n".join(parts)


_RATIO = {"low": "ratio_low", "high": "ratio_high"}


def merged(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with every x, x_low and x_high in one column of text."""
    shown: dict[str, Any] = {}
    for name in map(str, frame.columns):
        stem = name.removesuffix("_low").removesuffix("_high")
        if stem != name and stem in frame.columns:
            continue
        if f"{name}_low" in frame.columns and f"{name}_high" in frame.columns:
            shown[name] = [spread(row, name, none="–") for _, row in frame.iterrows()]
        else:
            shown[name] = frame[name]
    return pd.DataFrame(shown)


def runs_table(study: Study, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """One row per run, also those made for measuring the correlation: how it ended, and the command that repeats it.

    Returns:
        Columns run, status, reason, updates, observations, best_score, to_GOAL (observations, NaN where not
        reached), command.
    """
    rows = []
    for run in study.plan(outcomes):
        outcome = outcomes[run.id]
        row: dict[str, Any] = {"run": run.id, "status": outcome.status, "reason": outcome.reason}
        row |= {"updates": outcome.updates, "observations": outcome.observations}
        row["best_score"] = outcome.peak if math.isfinite(outcome.peak) else math.nan
        for goal in study.spec.goals:
            at = outcome.crossings.get(goal)
            row[f"to_{goal:g}"] = math.nan if at is None else at
        rows.append({**row, "command": study.command(run)})
    return pd.DataFrame(rows)


def progress_table(study: Study, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """How far each cell is, slowest first; empty once every run is final.

    Returns:
        Columns num_envs, rollout, runs, done, failed, partial, pending, rates (tried so far), best_score, and hardest,
        the hardest goal reached so far.
    """
    runs = study.plan(outcomes)
    if all(outcomes[run.id].final for run in runs):
        return pd.DataFrame()
    rows = []
    cells: dict[tuple[int, int], list[PlannedRun]] = {}
    for run in runs:
        cells.setdefault((run.num_envs, run.rollout), []).append(run)
    for (num_envs, rollout), some in cells.items():
        found = [outcomes[run.id] for run in some]
        status = [outcome.status for outcome in found]
        reached = [goal for outcome in found for goal, at in outcome.crossings.items() if at is not None]
        peak = max(outcome.peak for outcome in found)
        row: dict[str, Any] = {"num_envs": num_envs, "rollout": rollout, "runs": len(some)}
        row |= {word: status.count(word) for word in ("done", "failed", "partial", "pending")}
        row["rates"] = len({run.learning_rate for run in some})
        row["best_score"] = peak if math.isfinite(peak) else math.nan
        rows.append({**row, "hardest": max(reached, default=math.nan)})
    return pd.DataFrame(rows)


def to_html(frame: pd.DataFrame, words: bool = False) -> str:
    """A table; numbers to three digits, NaN as a dash. words: its cells are mostly text."""

    def shown(value: float) -> str:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    escaped = frame.rename(columns=lambda name: html.escape(str(name).replace("_", " ")))
    return escaped.to_html(
        index=False, float_format=shown, na_rep="–", border=0, escape=True, classes="words" if words else None
    )
