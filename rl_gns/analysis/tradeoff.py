"""What another batch size would be worth, where the critical batch is known or taken to be the noise scale."""

from __future__ import annotations

import math
from typing import NamedTuple


class Tradeoff(NamedTuple):
    """To the same goal, as multiples of what the batch there is takes."""

    updates: float
    observations: float


def tradeoff(batch: float, other: float, b_crit: float) -> Tradeoff:
    """Updates and observations at a batch `other` over those at `batch`: S = S_min (1 + B_crit/B), E = B S.

    McCandlish et al. 2018, equation 2.11 (S/S_min - 1)(E/E_min - 1) = 1 solved for S at a batch B = E/S.

    Args:
        batch: observations per update, > 0.
        other: the batch it is changed to, > 0.
        b_crit: critical batch in observations, >= 0; inf where noise is all there is.

    Raises:
        ValueError: a batch that is not positive and finite, a negative critical batch, or NaN.
    """
    if not (0 < batch < math.inf and 0 < other < math.inf):
        raise ValueError(f"batches must be positive and finite, got {batch} and {other}")
    if not b_crit >= 0:
        raise ValueError(f"a critical batch is not negative, got {b_crit}")
    if b_crit == math.inf:
        return Tradeoff(batch / other, 1.0)
    return Tradeoff((1 + b_crit / other) / (1 + b_crit / batch), (other + b_crit) / (batch + b_crit))
