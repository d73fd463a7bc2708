"""What a run loses to its optimizer's start, and when to say so before it is trained."""

from __future__ import annotations

from agents.optimizers import updates_lost
from rl_gns.training.config import TrainConfig

WORTH_TELLING = 0.2
"""Share of a run's updates, or of a front's S_min."""


def lost_at_start(config: TrainConfig) -> float:
    """Updates that a run's optimizer takes from it where gradients are small; 0 of all but TensorFlow's RMSProp."""
    if config.algo != "a2c" or config.rmsprop != "tensorflow":
        return 0.0
    return updates_lost(config.rmsprop_decay, config.rmsprop_eps, config.rmsprop_start)


def hint(config: TrainConfig) -> str:
    """One line for a run, `config` resolved, of whose updates that is a share `WORTH_TELLING`; empty of others."""
    lost, updates = lost_at_start(config), config.observations / config.batch
    if not 0 < WORTH_TELLING * updates <= lost:
        return ""
    return (
        f"of this run's {updates:,.0f} updates RMSProp's start takes up to {lost:,.0f}, in which next to nothing is "
        "learnt; --rmsprop torch has no such wait (docs/runs.md)"
    )
