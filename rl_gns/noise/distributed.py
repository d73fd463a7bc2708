"""Moments of a batch that was taken in parts: one after another (accumulation), or on the ranks of a group.

A part is a number of whole units and the mean gradient over them. Moments are no average over the parts: a
part's own mean gradient is noisier than the batch's. So the squared norms of all units are joined, and the
norm of the mean is taken after the gradients are averaged. Knows nothing of losses or of how ranks were
started; without an initialised process group there is one rank.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from rl_gns.noise.groups import Parameters, refuse_complex
from rl_gns.noise.moments import Moments, moments

_ROUNDING = 0.01  # of gradients in half precision


def accumulated_moments(unit_sq_norms: Tensor, parameters: Parameters) -> Moments:
    """Moments of all units, where `.grad` holds their mean gradient; the noise is that of ONE unit.

        norms = [per_environment_backward(loss_of(part), module, scale=1 / C)[0] for part in C equal parts]
        accumulated_moments(torch.cat(norms), module.parameters())

    equals one pass over the whole batch, to rounding.

    Args:
        unit_sq_norms: [n] squared gradient norms, n >= 2, of units with equally many observations each.
        parameters: tensors or (name, tensor) pairs; those that do not require a gradient are left out.

    Raises:
        ValueError: fewer than two units, a parameter without a gradient, no parameters, gradients of several
            devices or dtypes, a `.grad` that can't be these units' mean: it held something before.
    """
    grads = _gradients(parameters)
    return _of_a_mean(unit_sq_norms.flatten(), _sq_norm(grads))


def distributed_moments(
    unit_sq_norms: Tensor, parameters: Parameters, group: dist.ProcessGroup | None = None
) -> Moments:
    """Average `.grad` over R ranks in place; return the moments of all R · K units, the same on every rank.

        gᵢ of K local units     .grad = Σ gᵢ / K on entry, Σ gᵢ / (R K) over all ranks on return

    What one process with all R · K units would find, to rounding. It averages gradients itself: use the bare
    module, or DistributedDataParallel under `no_sync()`, for the local pass. Every rank must call it. Where
    one rank has something wrong, all raise, so that none is left waiting.

    Source: McCandlish et al. 2018, A.1, with units in the place of devices.

    Args:
        unit_sq_norms: [K] squared gradient norms of this rank's units, K the same on all ranks; K = 1 will do
            where R >= 2. All units have equally many observations.
        parameters: tensors or (name, tensor) pairs, in the same order on all ranks; those that do not require
            a gradient are left out.
        group: a process group, by default the whole world.

    Raises:
        ValueError: ranks with different numbers of units or of gradient elements, a parameter without a
            gradient, fewer than two units in all, a `.grad` that can't be these units' mean. `.grad` is then as it
            was, but for the last two.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return accumulated_moments(unit_sq_norms, parameters)
    ranks = dist.get_world_size(group)
    error: ValueError | None = None
    grads: list[Tensor] = []
    try:
        grads = _gradients(parameters)
        if any(g.is_sparse for g in grads):
            grads = []
            raise ValueError("ranks can't average a sparse gradient: give the embedding sparse=False")
    except ValueError as found:
        error = found
    device = grads[0].device if grads else unit_sq_norms.device
    norms = unit_sq_norms.detach().flatten().to(device, torch.float64)
    _agree(norms.numel(), sum(g.numel() for g in grads), error, device, group)

    mean = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(mean, group=group)
    mean /= ranks
    for grad, part in zip(grads, mean.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))
    everyone = [torch.empty_like(norms) for _ in range(ranks)]
    dist.all_gather(everyone, norms, group=group)
    return _of_a_mean(torch.cat(everyone), _sq_norm(grads))


def _of_a_mean(unit_sq_norms: Tensor, mean_sq_norm: float) -> Moments:
    """No mean is larger than what it is the mean of: |Σ gᵢ/n|² ≤ Σ |gᵢ|²/n."""
    found, at_most = moments(unit_sq_norms, mean_sq_norm), float(unit_sq_norms.double().mean())
    if mean_sq_norm > at_most * (1 + _ROUNDING):
        raise ValueError(
            f".grad has a squared norm of {mean_sq_norm:.3g}, more than the mean of its units' {at_most:.3g}: "
            "zero_grad() before them, and scale=1/C for each of C parts"
        )
    return found


def _agree(
    units: int,
    elements: int,
    error: ValueError | None,
    device: torch.device,
    group: dist.ProcessGroup | None,
) -> None:
    """Raise on every rank unless all have the same numbers and none has an error."""
    mine = torch.tensor([units, elements, error is not None], device=device)
    all_ranks = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(all_ranks, mine, group=group)
    if error is not None:
        raise error
    rows = [r.tolist() for r in all_ranks]
    if failed := [rank for rank, row in enumerate(rows) if row[2]]:
        raise ValueError(f"rank {failed[0]} has no gradient to average: see its own error")
    for column, what in ((0, "units"), (1, "gradient elements")):
        if len({row[column] for row in rows}) > 1:
            counts = ", ".join(str(row[column]) for row in rows)
            raise ValueError(f"the ranks have {counts} {what}: give each rank equally many")


def _gradients(parameters: Parameters) -> list[Tensor]:
    grads: list[Tensor] = []
    for i, item in enumerate(parameters):
        name, p = (
            (f"parameter {i}", item) if isinstance(item, Tensor) else (f"parameter '{item[0]}'", item[1])
        )
        if not p.requires_grad:
            continue
        refuse_complex(p, name)
        if p.grad is None:
            raise ValueError(f"{name} of shape {tuple(p.shape)} has no gradient: run the backward pass first")
        if grads and (p.grad.device != grads[0].device or p.grad.dtype != grads[0].dtype):
            raise ValueError(
                f"the gradient of {name} is {p.grad.dtype} on {p.grad.device}, the first is {grads[0].dtype} "
                f"on {grads[0].device}: all gradients must agree"
            )
        grads.append(p.grad)
    if not grads:
        raise ValueError("no parameter requires a gradient: nothing to measure")
    return grads


def _sq_norm(grads: list[Tensor]) -> float:
    # sum() adds up pairwise, which the CPU's norm kernels do not: 1e-7 off where those are 1e-4 off.
    parts = [g.to(g.dtype if g.dtype == torch.float64 else torch.float32).square().sum() for g in grads]
    return math.fsum(torch.stack(parts).tolist())
