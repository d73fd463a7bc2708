"""Which rows of a study's table count, and which of several runs stands for a seed. It reads tables only."""

from __future__ import annotations

import pandas as pd


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that are done; a failed one counts where it had reached the goal, and is no bound where it had not."""
    return table[(table["status"] == "done") | ((table["status"] == "failed") & ~table["censored"])]


def best_of(runs: pd.DataFrame) -> pd.Series:
    """The run with the fewest updates to the goal; where none reached it, the one that made most: the best bound."""
    met = runs[~runs["censored"]]
    return met.iloc[int(met["updates"].argmin())] if len(met) else runs.iloc[int(runs["updates"].argmax())]
