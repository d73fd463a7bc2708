"""Settings that do nothing in a run of another algorithm or world: a new run that is given one is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig, resolve

OWNED = {
    "a2c": ("rmsprop", "rmsprop_decay", "rmsprop_eps", "rmsprop_start"),
    "ppo": ("clip", "epochs", "minibatches", "normalize_advantage"),
    "moba": ("past_share", "snapshot_every", "past_selves", "ladder_games"),
}
"""Settings by whose they are; those that `resolve` refuses elsewhere by themselves are not among them."""


def idle(config: TrainConfig) -> dict[str, str]:
    """Settings that do nothing in such a run, by name: whose they are."""
    here = (config.algo, config.env.partition(":")[0])
    return {name: owner for owner, names in OWNED.items() if owner not in here for name in names}


def refuse_idle(config: TrainConfig) -> None:
    """Of a new run: refuse settings that would do nothing, unless they say what would be there anyway.

    Raises:
        UserError: one line naming the first; also what `resolve` raises.
    """
    owners = idle(config)
    unset: dict[str, Any] = {
        field.name: field.default for field in dataclasses.fields(config) if field.name in owners
    }
    filled = resolve(dataclasses.replace(config, **unset))
    for name, owner in owners.items():
        value = getattr(config, name)
        if value not in (unset[name], getattr(filled, name)):
            here = config.env if owner == "moba" else config.algo
            raise UserError(f"{name}={value} is for {owner}, {here} does nothing with it: leave it out")
