"""From tables to fronts and laws: when goals were reached, critical batches, learning-rate and rollout laws.

NumPy, SciPy and pandas only. It reads tables and never trains, and imports nothing else of the project.
"""

from rl_gns.analysis.aggregate import Interval, bootstrap_interval, iqm
from rl_gns.analysis.dynamics import (
    Cost,
    adaptive_batch,
    fixed_batch,
    gamma,
    local_noise_scale,
    turning_point,
)
from rl_gns.analysis.fronts import Front, fit_front
from rl_gns.analysis.goals import first_crossing, smooth
from rl_gns.analysis.joins import noise_scale_at_goals, smoothed_noise_scale, step_weighted_mean
from rl_gns.analysis.laws import LearningRateLaw, fit_learning_rates
from rl_gns.analysis.paper import paper_fronts, paper_noise_scale, paper_task
from rl_gns.analysis.predicted import Parting, PredictedAxis, parting, predict_axis
from rl_gns.analysis.rollout_fit import fit_rollouts
from rl_gns.analysis.rollouts import RolloutLaw, design_effect, exchange_rate
from rl_gns.analysis.tradeoff import Tradeoff, tradeoff

__all__ = [
    "Cost",
    "Front",
    "Interval",
    "LearningRateLaw",
    "Parting",
    "PredictedAxis",
    "RolloutLaw",
    "Tradeoff",
    "adaptive_batch",
    "bootstrap_interval",
    "design_effect",
    "exchange_rate",
    "first_crossing",
    "fit_front",
    "fit_learning_rates",
    "fit_rollouts",
    "fixed_batch",
    "gamma",
    "iqm",
    "local_noise_scale",
    "noise_scale_at_goals",
    "paper_fronts",
    "paper_noise_scale",
    "paper_task",
    "parting",
    "predict_axis",
    "smooth",
    "smoothed_noise_scale",
    "step_weighted_mean",
    "tradeoff",
    "turning_point",
]
