"""Every unit's gradient by `torch.func`: for any module that can be called as a function of its parameters.

`per_environment` reads norms out of the backward pass that trains and has rules for some layers. Here nothing is
known of layers: the gradient is a function of (parameters, one unit's data), and `vmap` runs it over the units. It
knows nothing of policies or rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_leaves, tree_map

from rl_gns.noise.layer_norms import row_norms
from rl_gns.noise.per_environment import nodes_at_leaves, refuse_batch_norm, trainable

Network = Callable[..., Any]
"""The module as a function of its inputs, with the parameters that are differentiated."""


def functional_backward(
    loss_fn: Callable[[Network, Any], Tensor],
    module: nn.Module,
    units: Any,
    *,
    at_once: int = 8,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Gradients of all units by `vmap(grad(...))`; returns their squared norms and that of their mean.

        gᵢ = ∇ mean(loss_fn(network, units[i]))    .grad += scale · Σ gᵢ / n    returns ([|gᵢ|²], |Σ gᵢ / n|²)

    What `per_environment_backward` returns and leaves in `.grad`, to rounding, whatever the module is made of:
    layers used twice, bare parameters, recurrence written in tensor operations. `loss_fn` must be free of side
    effects and of control flow on the data, as `vmap` asks. Holds the gradients of `at_once` units.

    Args:
        loss_fn: (network, one unit's data) -> one loss per observation of that unit. It must call `network`, with
            what the module is called with, and not the module itself.
        module: holds the parameters to measure.
        units: tensor, or any nesting of tuples, lists and dicts of tensors, [n, ...] each: unit i is entry i.
        at_once: units whose gradients are computed together.
        scale: of the gradient left in `.grad`; what is returned does not depend on it.

    Returns:
        [n] squared norms and the 0-d squared norm of the mean gradient, float64, on the parameters' device.

    Raises:
        ValueError: a reduced loss, fewer than two units, units of unequal number, batch norm, parameters of
            several devices or dtypes, a parameter the loss does not depend on, a module that `vmap` can't run (one
            that asks for a memory format; a cuDNN recurrence). `.grad` is then
            as it was.
    """
    refuse_batch_norm(module)
    names = trainable(module)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, got {scale}")
    if not isinstance(at_once, int) or at_once < 1:
        raise ValueError(f"at_once must be a whole number of units, at least 1, got {at_once}")
    leaves = tree_leaves(units)
    lengths = sorted({len(x) if isinstance(x, Tensor) and x.dim() else 0 for x in leaves})
    if len(lengths) != 1 or lengths == [0]:
        raise ValueError(f"units must be tensors of one length, an entry for each unit; theirs are {lengths}")
    n = lengths[0]
    if n < 2:
        raise ValueError(f"the noise needs at least two units to compare, got {n}")
    _check_loss(loss_fn(module, _take(units, 0)), names)
    calls: list[bool] = []

    def unit_loss(parameters: dict[str, Tensor], unit: Any) -> Tensor:
        def network(*args: Any, **kwargs: Any) -> Any:
            calls.append(True)
            return functional_call(module, parameters, args, kwargs)

        return loss_fn(network, unit).mean()

    gradients = vmap(grad(unit_loss), in_dims=(None, 0), randomness="different")
    point = {name: p.detach() for p, name in names.items()}
    totals = {name: torch.zeros_like(p) for name, p in point.items()}
    unit_sq = []
    for i in range(0, n, at_once):
        try:
            found = gradients(point, _take(units, slice(i, i + at_once)))
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(
                f"torch.func cannot run this module over units ({str(error).splitlines()[0]}): "
                "use per_environment_backward, or backward_in_groups"
            ) from error
        if not calls:
            raise ValueError(
                "loss_fn did not call the network it was given: it must not use the module itself"
            )
        unit_sq.append(torch.stack([_squares(g) for g in found.values()]).sum(0))
        for name, g in found.items():
            totals[name] += g.sum(0)
    mean_sq = torch.stack([_squares(total[None] / n) for total in totals.values()]).sum()
    for p, name in names.items():
        share = totals[name] * (scale / n)
        p.grad = share if p.grad is None else p.grad + share
    return torch.cat(unit_sq), mean_sq


def _take(units: Any, index: int | slice) -> Any:
    return tree_map(lambda x: x[index], units)


def _squares(grads: Tensor) -> Tensor:
    """[n, ...] -> [n] squared norms in float64; row by row, as the CPU's norm kernel adds up in sequence."""
    rows = row_norms(grads.flatten(0, -2)) if grads.dim() > 2 else grads
    return rows.reshape(len(grads), -1).double().square().sum(1)


def _check_loss(loss: Tensor, names: dict[Tensor, str]) -> None:
    """Of one unit, with the module as it is."""
    if loss.dim() == 0:
        raise ValueError("loss_fn returned a single number (0-d): return one loss per observation")
    if not loss.requires_grad:
        raise ValueError("the loss depends on no parameter (computed under no_grad?)")
    reached = nodes_at_leaves(loss)
    for p, name in names.items():
        if id(p) not in reached:
            raise ValueError(
                f"the loss does not depend on parameter '{name}': freeze it with requires_grad_(False)"
            )
