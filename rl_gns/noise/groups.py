"""The backward pass that trains, done group by group so that its squared norms give the moments.

A group is one or more whole environments. The gradient of a batch is the mean of its groups' gradients, so
measuring costs K norms and nothing else. It knows nothing of losses, rollouts or optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rl_gns.noise.moments import Moments, moments

Group = TypeVar("Group")
Parameters = Iterable[Tensor | tuple[str, Tensor]]


def backward_in_groups(
    loss_fn: Callable[[Group], Tensor], groups: Sequence[Group], parameters: Parameters
) -> Moments:
    """Set `.grad` to the mean gradient over K groups; return its moments, the noise being that of ONE group.

        gᵢ = ∇ mean(loss_fn(groups[i]))      .grad = Σ gᵢ / K      moments(|gᵢ|², |.grad|²)

    As `zero_grad(set_to_none=True)` and a backward through the mean of all losses would: what `.grad` held is
    replaced. Use `Moments.regrouped(m)` where a group holds m environments and the noise of one is wanted.
    The device is waited for once, at the end. Gradients are taken before any clipping.

    Source: McCandlish et al. 2018, A.1 (the data-parallel estimate, a group in the place of a device).

    Args:
        loss_fn: group -> one loss per observation, of any shape but 0-d: not reduced. Each group has as many.
        groups: K >= 2 disjoint sets of whole environments, in whatever form `loss_fn` takes: slices, indices.
        parameters: tensors or (name, tensor) pairs; those that do not require a gradient are left alone, as
            backward does. Post-accumulate hooks (DistributedDataParallel's among them) do not run.

    Raises:
        ValueError: fewer than two groups, groups of unequal size, a reduced loss, a parameter the loss does
            not depend on, parameters of several devices or dtypes, batch norm in training mode.
    """
    if len(groups) < 2:
        raise ValueError(f"the noise needs at least two groups to compare, got {len(groups)}")
    unit_sq_norms: list[Tensor] = []
    mean = _accumulate(loss_fn, groups, parameters, lambda grads: unit_sq_norms.append(_sq_norms(grads)))
    # Sums over parameters are made in float64 on the CPU: signal is a small difference of large norms.
    sq_norms = torch.stack([*unit_sq_norms, _sq_norms(mean)]).cpu().double().sum(dim=1)
    return moments(sq_norms[:-1], sq_norms[-1])


def plain_backward(
    loss_fn: Callable[[Group], Tensor], groups: Sequence[Group], parameters: Parameters
) -> None:
    """Set `.grad` as `backward_in_groups` does, bit for bit, without measuring; one group is enough.

    Args and Raises as there.
    """
    _accumulate(loss_fn, groups, parameters, lambda grads: None)


def _accumulate(
    loss_fn: Callable[[Group], Tensor],
    groups: Sequence[Group],
    parameters: Parameters,
    observe: Callable[[list[Tensor]], None],
) -> list[Tensor]:
    """Show each group's gradient to `observe`, leave their mean in `.grad` and return it."""
    names, tensors = _trainable(parameters)
    if len(groups) == 0:
        raise ValueError("no groups: a gradient needs at least one")
    # Zeros and not the first group's gradient: autograd may hand out one tensor for two parameters.
    mean = [torch.zeros_like(p) for p in tensors]
    size = 0
    for i, group in enumerate(groups):
        with nullcontext() if i else RefuseBatchNorm():
            losses = loss_fn(group)
        _check_losses(losses, i, size)
        size = losses.numel()
        grads = list(torch.autograd.grad(losses.mean(), tensors, allow_unused=True))
        for name, grad in zip(names, grads, strict=True):
            if grad is None:
                raise ValueError(f"the loss of group {i} does not depend on {name}: leave that parameter out")
        observe(grads)
        torch._foreach_add_(mean, grads)
    torch._foreach_div_(mean, float(len(groups)))
    for p, grad in zip(tensors, mean, strict=True):
        p.grad = grad
    return mean


class RefuseBatchNorm(TorchFunctionMode):
    """Raises ValueError where rows are made to depend on one another; other functions pass."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch meanwhile."""
        kwargs = kwargs or {}
        if func in (F.batch_norm, torch.batch_norm) and (kwargs.get("training") or True in args[5:6]):
            raise ValueError("samples are not independent through BatchNorm: use LayerNorm or GroupNorm")
        return func(*args, **kwargs)


def _trainable(parameters: Parameters) -> tuple[list[str], list[Tensor]]:
    names: list[str] = []
    tensors: list[Tensor] = []
    for i, item in enumerate(parameters):
        name, p = (
            (f"parameter {i}", item) if isinstance(item, Tensor) else (f"parameter '{item[0]}'", item[1])
        )
        if p.requires_grad:
            names.append(f"{name} of shape {tuple(p.shape)}")
            tensors.append(p)
    if not tensors:
        raise ValueError("no parameter requires a gradient: nothing to measure")
    for name, p in zip(names, tensors, strict=True):
        refuse_complex(p, name)
        if p.device != tensors[0].device or p.dtype != tensors[0].dtype:
            raise ValueError(
                f"{name} is {p.dtype} on {p.device}, the first is {tensors[0].dtype} on {tensors[0].device}: "
                "all parameters must agree"
            )
    if len({id(p) for p in tensors}) < len(tensors):
        raise ValueError("a parameter is given twice: its gradient would count twice in the norm")
    return names, tensors


def refuse_complex(p: Tensor, name: str) -> None:
    """Raise ValueError for a tensor whose squares are no squared norms."""
    if p.is_complex():
        raise ValueError(f"{name} is complex: hold its parts in a real one, joined by torch.view_as_complex")


def _check_losses(losses: Tensor, group: int, size: int) -> None:
    if losses.dim() == 0:
        raise ValueError(
            f"loss_fn returned a single number for group {group}: return one loss per observation"
        )
    if losses.numel() == 0:
        raise ValueError(f"group {group} has no observations")
    if size and losses.numel() != size:
        raise ValueError(
            f"group {group} has {losses.numel()} observations, those before have {size}: use equal groups"
        )
    if not losses.requires_grad:
        raise ValueError(f"the loss of group {group} depends on no parameter (computed under no_grad?)")


def _sq_norms(grads: list[Tensor]) -> Tensor:
    """[parameters] squared norms, still on the device."""
    dtype = torch.float64 if grads[0].dtype == torch.float64 else torch.float32
    if grads[0].device.type == "cpu":
        # The CPU's norm kernels add up in sequence: 1e-4 off at 1.7 million elements; sum() is 1e-7 off.
        return torch.stack([g.to(dtype).square().sum() for g in grads])
    return torch.stack(torch._foreach_norm(grads, 2, dtype)).square()
