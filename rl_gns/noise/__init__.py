"""Measures the gradient noise scale while a policy trains; needs nothing else of the project."""

from rl_gns.noise.groups import backward_in_groups, plain_backward
from rl_gns.noise.meter import NoiseScale, NoiseScaleMeter
from rl_gns.noise.moments import Moments, moments

__all__ = [
    "Moments",
    "NoiseScale",
    "NoiseScaleMeter",
    "backward_in_groups",
    "moments",
    "plain_backward",
]
