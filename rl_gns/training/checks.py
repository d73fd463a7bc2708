"""What settings must be. Each check raises UserError: one line naming the setting, its value and what it must be."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING

from rl_gns.errors import UserError
from rl_gns.training import part_costs

if TYPE_CHECKING:
    from rl_gns.training.config import TrainConfig


def check_counts(config: TrainConfig, *names: str) -> None:
    """Whole numbers from 1 on."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name} must be a whole number of at least 1, got {value}")


def check_memory(config: TrainConfig) -> None:
    """`sequence`, of a network that remembers, and what else such a network can't do."""
    if config.network != "entities-lstm":
        if config.sequence is not None:
            raise UserError(
                f"sequence={config.sequence} is for a network with memory: use network entities-lstm"
            )
        return
    if config.correlation_every:
        raise UserError("correlation_every takes decisions one by one: use a network without memory")
    sequence, rollout = config.sequence or 0, config.rollout or 1
    if sequence < 1 or rollout % sequence:
        raise UserError(f"sequence must be at least 1 and divide rollout={rollout}, got {sequence}")


def check_minibatches(config: TrainConfig, learnt: int) -> None:
    """ppo's minibatches of so many observations learnt from in a rollout: as many in each, of whole sequences."""
    parts, sequence = config.minibatches or 1, config.sequence or 1
    if config.algo != "ppo":
        return
    if learnt % parts:
        raise UserError(
            f"minibatches={parts} does not divide the {learnt:,} observations learnt from per update"
        )
    if learnt // parts % sequence:
        raise UserError(
            f"minibatches={parts} cuts sequences of {sequence} decisions apart: a minibatch has {learnt // parts} "
            "observations; choose both so that it is a multiple"
        )


def check(config: TrainConfig) -> None:
    """Every number of a configuration whose defaults are filled in."""
    for name in ("seed", "num_envs", "device", "spec"):
        if name in config.env_options:
            raise UserError(f"{name} is no option of an environment: give it as a setting of the run")
    check_counts(config, "num_envs", "rollout", "epochs", "minibatches")
    positive = (
        "observations",
        "learning_rate",
        "log_every",
        "checkpoint_every",
        "clip",
        "rmsprop_eps",
        "stop_halflife",
    )
    for name in positive:
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} must be a positive number, got {value}")
    if config.seed < 0:
        raise UserError(f"seed must not be negative, got {config.seed}")
    if not 0 <= config.rmsprop_decay < 1:
        raise UserError(f"rmsprop_decay must be at least 0 and below 1, got {config.rmsprop_decay}")
    if not (math.isfinite(config.rmsprop_start) and config.rmsprop_start >= 0):
        raise UserError(f"rmsprop_start must not be negative, got {config.rmsprop_start}")
    if config.rmsprop == "torch" and config.rmsprop_start != 1:
        raise UserError("rmsprop_start is for --rmsprop tensorflow: torch's mean square begins at 0")
    for name in ("gamma", "gae_lambda"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"{name} must lie between 0 and 1, got {getattr(config, name)}")
    for name in ("value_coef", "entropy_coef", "max_grad_norm"):
        if not (math.isfinite(getattr(config, name)) and getattr(config, name) >= 0):
            raise UserError(f"{name} must not be negative, got {getattr(config, name)}")
    if not (math.isfinite(config.keep_every) and config.keep_every >= 0):
        raise UserError(f"keep_every must not be negative, got {config.keep_every}")
    if config.correlation_every < 0:
        raise UserError(f"correlation_every must not be negative, got {config.correlation_every}")
    if config.correlation_every and min(config.correlation_envs, config.num_envs or 1) < 2:
        raise UserError(
            "correlation_every needs correlation_envs and num_envs of at least 2: one rollout has no peer"
        )
    budget = config.noise_budget or 0.0
    if not 0 <= budget <= 1:
        raise UserError(f"noise_budget is a share of the run between 0 and 1, got {config.noise_budget}")
    if not 0 < config.confidence < 1:
        raise UserError(f"confidence must lie between 0 and 1, got {config.confidence}")
    if config.noise_halflife is not None and not 0 < config.noise_halflife < math.inf:
        raise UserError(
            f"noise_halflife must be a positive number of observations, got {config.noise_halflife}"
        )
    _check_opponents(config)
    if config.stop_score is not None and not math.isfinite(config.stop_score):
        raise UserError(f"stop_score must be a finite score, got {config.stop_score}")
    if config.chunk is not None and config.chunk < 1:
        raise UserError(f"chunk must be at least 1 observation, got {config.chunk}")
    if config.threads is not None and config.threads < 1:
        raise UserError(f"threads must be at least 1, got {config.threads}")
    groups, num_envs = config.noise_groups, config.num_envs or 0
    if groups is not None and (groups < 2 or num_envs % groups):
        divisors = [k for k in range(2, num_envs + 1) if num_envs % k == 0]
        choice = ", ".join(map(str, divisors[:8])) or "none: use at least 2 environments"
        raise UserError(
            f"noise_groups must be at least 2 and divide num_envs={num_envs}, got {groups}; choose from {choice}"
        )
    part_costs.check(config.parts, config.groups, config.noise_parts_every, budget)
    if not config.env.startswith("moba:"):  # there the world says how many streams are learnt from
        check_minibatches(config, config.batch)


def _check_opponent_name(config: TrainConfig) -> None:
    from envs.moba.opponents import OPPONENTS  # other worlds need not know them

    if config.opponents in (None, "self", *OPPONENTS):
        return
    near = difflib.get_close_matches(str(config.opponents), ["self", *OPPONENTS], n=1)
    raise UserError(
        f"opponents: there is no {config.opponents!r}, only self, {', '.join(OPPONENTS)}"
        + (f"; did you mean {near[0]}?" if near else "")
    )


def _check_opponents(config: TrainConfig) -> None:
    """Raises UserError for self-play settings that fit neither the environment nor one another."""
    if not config.env.startswith("moba:"):
        for name in ("opponents", "ladder_every", "sparring"):
            if getattr(config, name):
                raise UserError(f"{name}={getattr(config, name)} is for moba: {config.env} has no other side")
        return
    _check_opponent_name(config)
    if config.stop_score is not None and config.self_play and config.past_share == 0:
        raise UserError(
            f"stop_score={config.stop_score:g} is never reached: with past_share 0 every game is against itself, "
            "and not scored"
        )
    if not 0 <= config.past_share <= 1:
        raise UserError(f"past_share is a share of the worlds between 0 and 1, got {config.past_share}")
    if not (math.isfinite(config.snapshot_every) and config.snapshot_every > 0):
        raise UserError(f"snapshot_every must be a positive number, got {config.snapshot_every}")
    if not (math.isfinite(config.ladder_every) and config.ladder_every >= 0):
        raise UserError(f"ladder_every must not be negative, got {config.ladder_every}")
    if config.ladder_games < 1:
        raise UserError(f"ladder_games must be at least 1, got {config.ladder_games}")
    if config.past_selves < 1:
        raise UserError(f"past_selves must be at least 1, got {config.past_selves}")
    if config.opponents is not None and config.env_options.get("opponent", "none") != "none":
        raise UserError("the other side is given twice: use opponents or the environment's option opponent")
    if config.sparring and not config.sparring.strip(" ,"):
        raise UserError(f"sparring={config.sparring!r} names no script")
    if config.sparring and not (config.self_play and config.past_share > 0):
        raise UserError(
            f"sparring={config.sparring} plays in worlds of past selves: it needs self-play and a past_share above 0"
        )
    if config.self_play and config.past_share > 0 and not config.past_worlds(config.groups):
        least = math.floor(0.5 / config.past_share) + 1
        raise UserError(
            f"past_share={config.past_share:g} is no whole world in each noise group: use at least {least} worlds "
            f"a group (num_envs={config.num_envs}, noise_groups={config.groups}), or past_share 0"
        )
