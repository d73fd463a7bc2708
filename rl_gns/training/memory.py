"""How much memory a rollout and a gradient take, said before any is taken."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from torch import Tensor, nn

from agents.memory import Seen
from agents.rollout import Rollout
from envs.moba.memory import free_bytes
from rl_gns.errors import UserError


def rollout_bytes(
    steps: int,
    streams: int,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *,
    stacked: bool = False,
    memory: int = 0,
) -> int:
    """Bytes of the storage for [steps, streams]."""
    nowhere = Rollout.empty(
        steps, streams, observation_space, action_space, torch.device("meta"), stacked=stacked, memory=memory
    )
    return sum(tensor.nbytes for tensor in nowhere.state_dict().values())


def refuse_if_too_big(
    steps: int,
    streams: int,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    device: torch.device,
    free: int | None = None,
    *,
    stacked: bool = False,
    memory: int = 0,
    count: int = 1,
) -> None:
    """Raises UserError, with the length that fits, if `count` rollouts do not fit into `free` bytes (None: ask)."""
    each = rollout_bytes(steps, streams, observation_space, action_space, stacked=stacked, memory=memory)
    need = count * each
    if free is None:
        free = free_bytes(device)
    if need > free:
        fits = int(steps * free / need)
        raise UserError(
            f"{'a rollout' if count == 1 else f'{count} rollouts'} of {steps} decisions of {streams} streams "
            f"{'takes' if count == 1 else 'take'} {need / 2**30:.1f} GiB, {free / 2**30:.1f} "
            f"GiB are free on {device}: use rollout {max(fits, 1)} or less, or fewer environments"
        )


def pass_bytes(policy: nn.Module, obs: Tensor | Seen) -> int:
    """Bytes per observation that a gradient pass over many `obs` [rows, ...] holds at its peak.

    What autograd keeps of the forward pass, and as much again for gradients and what is in between.
    """
    own = {p.untyped_storage().data_ptr() for p in (*policy.parameters(), *policy.buffers())}
    kept: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(storage)  # else another tensor could be put where this one was, and not be counted
        return saved.detach()  # a node that saved its own output would keep itself alive for ever

    alive: list[Any] = []
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        policy(obs)
    return max(1, 2 * sum(kept.values()) // len(obs))


def chunk_that_fits(
    asked: int | None, batch: int, rollout: int, each: int, device: torch.device, free: int | None = None
) -> int:
    """Observations whose gradient is taken at once: `asked`, or else all, or what half of the free memory holds.

    Args:
        asked: the setting.
        batch: observations of a gradient; more are never taken at once.
        rollout: decisions of one stream, the least that a measured gradient is made of.
        each: bytes an observation takes, see `pass_bytes`.
        device: whose memory is asked about.
        free: bytes that are free (None: ask).

    Raises:
        UserError: not even one stream's rollout, or not the chunk that was asked for, fits.
    """
    free = free_bytes(device) if free is None else free
    fits = free // each
    least = min(rollout, batch)
    if asked is None and fits >= least:
        # Half of it: other processes, and what this one keeps besides, want some too. But not where all fits: then
        # a run should not depend on how much memory happened to be free.
        return batch if fits >= batch else max(fits // 2, least)
    wanted = min(asked or least, batch)
    if wanted > fits:
        raise UserError(
            f"the gradient of {wanted} observations at once takes {wanted * each / 2**30:.2g} GiB beside the rollout, "
            f"{free / 2**30:.2g} GiB are free on {device}: use chunk {max(fits, 1)} or less"
            + (", or a shorter rollout" if fits < least else "")
        )
    return wanted
