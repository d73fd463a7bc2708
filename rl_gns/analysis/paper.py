"""The digitised fronts and noise scales of McCandlish et al. 2018 (arXiv 1812.06162), Figs. 11-13, as tables.

Data only; `data/README.md` says how they were read and how well.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd


def paper_fronts() -> pd.DataFrame:
    """Updates to a goal over batch sizes, one row per marker.

    Returns:
        Columns task, goal (score), batch_observations (observations), updates. Each call returns a fresh
        table.
    """
    return _read("paper_fronts.csv")


def paper_noise_scale() -> pd.DataFrame:
    """Published critical batch and simple noise scale at each goal.

    Returns:
        Columns task, goal (score), critical_batch, simple_noise_scale (both observations; NaN where not
        plotted).
    """
    return _read("paper_noise_scale.csv")


def _read(name: str) -> pd.DataFrame:
    with (files("rl_gns.analysis") / "data" / name).open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def paper_task(env: str) -> str | None:
    """The paper's name of the task that an environment's specification means; None where it is none of the paper's."""
    prefix, _, name = env.partition(":")
    if prefix != "atari":
        return None
    plain = name.lower().replace("-", "").replace("_", "")
    tasks = dict.fromkeys(paper_noise_scale()["task"])
    return next((task for task in tasks if task.replace("_", "") == plain), None)
