"""One run on several processes: how they find one another, and what of the run each of them holds.

    torchrun --nproc-per-node 2 -m rl_gns train moba:5v5 --algo ppo --num-envs 4096 --out runs/big

Rank r of R has the r-th of R equal runs of the environments, and of the noise groups. Environments draw by their
number, actions by their stream's, so all ranks together do what one process would; sums over them differ from its own
in rounding. Rank 0 writes the run's directory.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from agents.ranks import Ranks
from rl_gns.errors import UserError
from rl_gns.training.config import TrainConfig

FIRST = {"moba": "first_world", "atari": "first_env", "gym": "first_env"}
"""By what name each kind of environment is told the number of its first one."""
PATIENCE = datetime.timedelta(days=1)
"""For one another: rank 0 alone plays the ladder's games and writes checkpoints. Who dies is noticed at once."""


def by_torchrun() -> bool:
    """Whether this is one of several processes that torchrun started; batch systems set WORLD_SIZE alone."""
    told = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in told) and os.environ["WORLD_SIZE"] != "1"


def processes_here() -> int:
    """How many of a run's processes are on this machine, this one among them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if by_torchrun() else 1


@contextmanager
def together() -> Iterator[Ranks]:
    """Join the processes that torchrun started with this one, for as long as a run lasts; alone, do nothing."""
    if not by_torchrun() or dist.is_initialized():
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()


def shared_out(config: TrainConfig, ranks: Ranks) -> tuple[int, int, dict[str, Any]]:
    """(environments, noise groups, options of theirs) of this rank.

    Raises:
        UserError: what can't be shared out evenly, or at all.
    """
    num_envs, groups, options = config.num_envs or 1, config.groups, config.environment_options()
    if ranks.count == 1:
        return num_envs, groups, options
    first = FIRST.get(config.env.partition(":")[0])
    if first is None:
        raise UserError(f"{config.env} can't be shared by {ranks.count} processes: start it without torchrun")
    if num_envs % ranks.count or groups % ranks.count:
        raise UserError(
            f"{ranks.count} processes must divide num_envs={num_envs} and noise_groups={groups}: choose both so"
        )
    if config.parts or config.correlation_every:
        raise UserError(
            f"noise_parts and correlation_every are measured by one process, here are {ranks.count}: leave them out"
        )
    mine = num_envs // ranks.count
    return mine, groups // ranks.count, {**options, first: int(options.get(first, 0)) + ranks.rank * mine}


def join_states(state: Any, ranks: Ranks) -> Any:
    """The environments' states of all ranks as a checkpoint holds them: on rank 0; a part of them elsewhere."""
    return state if ranks.count == 1 else {"ranks": ranks.to_first(state)}


def own_state(state: Any, ranks: Ranks) -> Any:
    """This rank's part of what `join_states` made.

    Raises:
        UserError: it is of another number of processes.
    """
    parts = state.get("ranks") if isinstance(state, dict) else None
    count = 1 if parts is None else len(parts)
    if count != ranks.count:
        how = "without torchrun" if count == 1 else f"with torchrun --nproc-per-node {count}"
        raise UserError(f"the checkpoint is of {count} processes, here are {ranks.count}: go on {how}")
    return state if parts is None else parts[ranks.rank]


def variance(values: Tensor, ranks: Ranks) -> Tensor:
    """Sample variance of all ranks' values."""
    if ranks.count == 1:
        return values.var()
    wide = values.double()
    count, total = ranks.sum(torch.stack([wide.new_tensor(wide.numel()), wide.sum()]))
    return ranks.sum((wide - total / count).square().sum()) / (count - 1)
