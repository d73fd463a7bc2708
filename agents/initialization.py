"""First weights of every network here."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import nn

SQRT2 = math.sqrt(2.0)
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float = SQRT2) -> Layer:
    """Give `layer` an orthogonal weight with `gain` (Saxe et al. 2013) and a zero bias; returns it."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
