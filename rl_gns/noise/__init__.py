"""Measures the gradient noise scale while a policy trains; needs nothing else of the project."""

from rl_gns.noise.correlation import RolloutGram, per_observation_gradients, rollout_correlation
from rl_gns.noise.distributed import distributed_moments
from rl_gns.noise.functional import functional_backward
from rl_gns.noise.groups import backward_in_groups, plain_backward
from rl_gns.noise.meter import NoiseScale, NoiseScaleMeter
from rl_gns.noise.moments import Moments, moments
from rl_gns.noise.per_environment import per_environment_backward, per_environment_moments
from rl_gns.noise.quadratic import NoisyQuadratic

__all__ = [
    "Moments",
    "NoiseScale",
    "NoiseScaleMeter",
    "NoisyQuadratic",
    "RolloutGram",
    "backward_in_groups",
    "distributed_moments",
    "functional_backward",
    "moments",
    "per_environment_backward",
    "per_environment_moments",
    "per_observation_gradients",
    "plain_backward",
    "rollout_correlation",
]
