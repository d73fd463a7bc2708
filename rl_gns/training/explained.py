"""How much of a rollout's returns its values explain, over all updates between two metric rows."""

from __future__ import annotations

import math

from agents.ranks import Ranks
from agents.rollout import Batch
from rl_gns.training.sharing import variance

RETURNS, RESIDUALS = "returns_variance", "residual_variance"


def variances(batch: Batch, ranks: Ranks) -> dict[str, float]:
    """Of a rollout's returns, and of what the values leave of them."""
    residuals = batch.returns - batch.value
    return {RETURNS: float(variance(batch.returns, ranks)), RESIDUALS: float(variance(residuals, ranks))}


def explained(means: dict[str, float]) -> float:
    """1 - Var(returns - value) / Var(returns), taking both out of `means` over updates.

    Not a mean of ratios, as many a rollout's returns hardly vary. NaN where all of them vary by rounding alone.
    """
    returns, residuals = (means.pop(name, 0.0) for name in (RETURNS, RESIDUALS))
    return 1 - residuals / returns if returns > 1e-10 * residuals else math.nan
