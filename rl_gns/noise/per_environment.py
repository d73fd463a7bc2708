"""Every environment's squared gradient norm out of the one backward pass that trains.

`F.linear`, `F.conv2d` and `F.layer_norm` run through `layer_norms` while the loss is computed. The parameters
they do not account for (a bare `nn.Parameter`, a weight used twice, another layer) get their units' gradients
by further backward passes through the same graph, cut down to them. Knows nothing of policies or rollouts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import CheckpointError

from rl_gns.noise.groups import RefuseBatchNorm, refuse_complex
from rl_gns.noise.layer_norms import RULES, Capture, Layout, RowCheck, row_norms, widened
from rl_gns.noise.moments import Moments, moments

UNITS_AT_ONCE = 16
_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_WARNED: WeakSet[nn.Module] = WeakSet()
_PROBED: WeakKeyDictionary[nn.Module, set[tuple[Any, ...]]] = WeakKeyDictionary()
"""Losses whose rows were found where they belong, by layout, mode and code: looking costs a backward pass."""


def per_environment_backward(
    loss_fn: Callable[[], Tensor],
    module: nn.Module,
    *,
    units: int | None = None,
    dim: int | None = None,
    scale: float = 1.0,
    allow_unused: bool = False,
) -> tuple[Tensor, Tensor]:
    """Backward through the mean of all losses, which also returns the squared gradient norm of every unit.

        gᵢ = ∇ mean(losses of unit i)     .grad += scale · Σ gᵢ / n     returns ([|gᵢ|²], |Σ gᵢ / n|²)

    `.grad` ends up as after `(scale * loss_fn().mean()).backward()`: added to what it held. To take a batch
    in C chunks of whole environments, call this for each with `scale = 1 / C`, join the squared norms and
    take the squared norm of the mean from `.grad`.

    Exact when the loss of a row depends on no other row and every layer has the rows of the loss, in their
    order, as its leading dimension(s); the first call with a module and a loss makes sure of both, for one
    backward pass more. Weights of linear, 2-D convolution and layer-norm layers used once add
    little to the cost (least when a unit's rows are consecutive: a loss [N, T] and `dim=0`). Any other
    parameter is exact too, but costs n backward passes from the loss down to it; where most of a module is of
    that kind, `functional_backward` does it in one. Norms precede any clipping.

    Source: McCandlish et al. 2018, A.1, for the use; Gray et al. 2024, arXiv 2411.00999, for norms of single
    examples inside the backward pass.

    Args:
        loss_fn: computes the forward pass and returns one loss per observation, [T, N] if time-major.
        module: holds the parameters to measure, each reached by the loss.
        units: n >= 2, a divisor of N: unit i is the i-th run of N / n environments (or streams). Default N.
        dim: the dimension of the loss that runs over environments; by default the last.
        scale: of the gradient left in `.grad`; what is returned does not depend on it.
        allow_unused: let there be parameters that the loss does not depend on; their gradient is 0.

    Returns:
        [n] squared norms and the 0-d squared norm of the mean gradient, float64, on the parameters' device.

    Raises:
        ValueError: a reduced loss, units that don't divide or fewer than two, a parameter that the loss does
            not depend on, batch norm, rows in another order than the losses, several losses a row without `dim`,
            activation checkpointing, parameters of several devices or dtypes. `.grad` is then as it was.

    Under autocast and through `torch.compile` no layer has a rule, which a warning says: exact all the same, at n
    backward passes, and through `torch.compile` rows that depend on one another are not noticed.
    """
    try:
        return _backward(loss_fn, module, units, dim, scale, allow_unused)
    except CheckpointError:
        raise ValueError(
            "activation checkpointing runs layers again within the backward pass, where they can't be measured: "
            "use backward_in_groups"
        ) from None


def _backward(
    loss_fn: Callable[[], Tensor],
    module: nn.Module,
    units: int | None,
    dim: int | None,
    scale: float,
    allow_unused: bool,
) -> tuple[Tensor, Tensor]:
    refuse_batch_norm(module)
    names = trainable(module)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, got {scale}")
    capture = Capture()
    with _Intercept(capture, {id(p) for p in names}):
        loss = loss_fn()
    layout = _layout(loss, units, -1 if dim is None else dim)
    nodes = nodes_at_leaves(loss)
    if allow_unused:
        names = {p: name for p, name in names.items() if id(p) in nodes}
    for parameter, name in names.items():
        if id(parameter) not in nodes:
            raise ValueError(
                f"the loss does not depend on parameter '{name}': freeze it with requires_grad_(False) (or, "
                "behind an activation checkpoint: use_reentrant=False and backward_in_groups)"
            )
    capture.covered = {id(p) for p in names if _accounts_for(nodes[id(p)], capture, layout)}
    capture.checked = {i for ids, shape in capture.unruled.items() if layout.leads(shape, 1) for i in ids}
    capture.checked |= {id(p) for p in names if _sees_rows(nodes[id(p)], capture, layout)}
    if dim is None:
        _one_loss_a_row(layout, capture)
    if not capture.covered:
        _warn_of_further_passes(module, capture, layout)
    form = layout, module.training, getattr(loss_fn, "__code__", type(loss_fn))
    if (capture.covered or capture.checked) and form not in _PROBED.setdefault(module, set()):
        _probe(loss, layout, capture, names)
        _PROBED[module].add(form)
    capture.layout = layout
    others = [p for p in names if id(p) not in capture.covered]
    unit_sq, mean_sq = _by_further_passes(loss, layout, others, capture)
    (loss.mean() * scale).backward()
    # The rules saw shares of the scaled mean over the batch; a unit's own mean is n / scale times its share.
    if capture.unit_sq:
        unit_sq += torch.stack(capture.unit_sq).double().sum(0) * (layout.units / scale) ** 2
        mean_sq += torch.cat(capture.mean_norms).double().square().sum() / scale**2
    return unit_sq, mean_sq


def per_environment_moments(
    loss_fn: Callable[[], Tensor], module: nn.Module, *, units: int | None = None, dim: int | None = None
) -> Moments:
    """`per_environment_backward`, returning its moments: the noise is that of ONE unit.

    For the noise of one environment when a unit holds m, use `.regrouped(m)`.
    """
    return moments(*per_environment_backward(loss_fn, module, units=units, dim=dim))


class _Intercept(RefuseBatchNorm):
    """Sends layers whose parameters are measured through their rules, whichever module calls them."""

    def __init__(self, capture: Capture, parameters: set[int]) -> None:
        super().__init__()
        self.capture, self.parameters = capture, parameters

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        if rule is not None and torch.is_grad_enabled():
            measured = [a for a in (*args, *kwargs.values()) if id(a) in self.parameters]
            if measured:
                given = args[0] if args else kwargs["input"]
                self.capture.shapes.append(tuple(given.shape))
                # Within a loss's own vmap or grad no rule can run: the parameter takes further passes.
                if not torch.compiler.is_compiling() and _is_wrapped(given):
                    return super().__torch_function__(func, types, args, kwargs)
                # Autocast would run the layer in another dtype than the rule does.
                if not torch.is_autocast_enabled(measured[0].device.type):
                    out = rule(self.capture, *args, **kwargs)
                    if out is not None:
                        return out
                else:
                    out = super().__torch_function__(func, types, args, kwargs)
                    ids = tuple(id(p) for p in measured)
                    self.capture.unruled[ids] = tuple(out.shape)
                    return RowCheck.apply(self.capture, ids, out)
        return super().__torch_function__(func, types, args, kwargs)


def _one_loss_a_row(layout: Layout, capture: Capture) -> None:
    """Refuse a loss [rows, components]: its last dimension, taken by default, is none of environments."""
    shape = layout.shape
    for given in capture.shapes if len(shape) > 1 else ():
        # A square loss may be [T, N] with a layer of its own for steps, where others see the rows.
        square = shape[0] == shape[-1] and any(layout.leads(other, 1) for other in capture.shapes)
        if given[0] == shape[0] and not (layout.leads(given, 1) or square):
            raise ValueError(
                f"the loss has shape {shape} but a layer was given {given[0]} rows: return one loss per row, as "
                "loss.mean(1), or say which dimension runs over environments, as dim=0"
            )


def _warn_of_further_passes(module: nn.Module, capture: Capture, layout: Layout) -> None:
    """Say once of a module that autocast or torch.compile keep its layers from being measured in the one pass."""
    compiled = any(
        getattr(m, "_compiled_call_impl", None) or hasattr(m, "_orig_mod") for m in module.modules()
    )
    if module in _WARNED or not (compiled or capture.unruled):
        return
    _WARNED.add(module)
    why = "through torch.compile" if compiled else "under autocast"
    unseen = "; rows that depend on one another are not noticed" if compiled else ""
    warnings.warn(
        f"no layer can be measured in the one pass {why}, so each measurement costs {layout.units} backward passes"
        f"{unseen}: backward_in_groups with a few groups may be faster",
        stacklevel=4,
    )


def refuse_batch_norm(module: nn.Module) -> None:
    """Raise ValueError where a module's rows depend on one another."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            raise ValueError(
                f"samples are not independent through BatchNorm: replace '{name}' or set it to eval mode"
            )


def trainable(module: nn.Module) -> dict[Tensor, str]:
    """Parameters that require a gradient, with their names; ValueError where none does or they don't agree."""
    names: dict[Tensor, str] = {p: name for name, p in module.named_parameters() if p.requires_grad}
    if not names:
        raise ValueError("no parameter of the module requires a gradient: nothing to measure")
    first = next(iter(names))
    for p, name in names.items():
        refuse_complex(p, f"parameter '{name}'")
        if p.device != first.device or p.dtype != first.dtype:
            raise ValueError(
                f"parameter '{name}' is {p.dtype} on {p.device}, '{names[first]}' is {first.dtype} "
                f"on {first.device}: all parameters must agree"
            )
    return names


def _layout(loss: Tensor, units: int | None, dim: int) -> Layout:
    if loss.dim() == 0:
        raise ValueError("loss_fn returned a single number (0-d): return one loss per observation")
    if not loss.requires_grad:
        raise ValueError("the loss depends on no parameter (computed under no_grad?)")
    if not -loss.dim() <= dim < loss.dim():
        raise ValueError(f"the loss of shape {tuple(loss.shape)} has no dimension {dim}")
    dim %= loss.dim()
    environments = loss.shape[dim]
    units = environments if units is None else units
    if units < 2:
        raise ValueError(f"the noise needs at least two units to compare, got {units}")
    if environments % units or loss.numel() == 0:
        raise ValueError(f"{environments} environments do not divide into {units} units of equal size")
    outer = math.prod(loss.shape[:dim])
    return Layout(tuple(loss.shape), outer, units, loss.numel() // (outer * units))


def nodes_at_leaves(loss: Tensor) -> dict[int, list[Any]]:
    """id() of each leaf of the graph -> the nodes that hand it a gradient, one entry each time they do."""
    found: dict[int, list[Any]] = {}
    stack, seen = [loss.grad_fn], {loss.grad_fn}
    while stack:
        node = stack.pop()
        for below, _ in node.next_functions:  # type: ignore[union-attr]
            variable = getattr(below, "variable", None)
            if variable is not None:
                found.setdefault(id(variable), []).append(node)
            elif below is not None and below not in seen:
                seen.add(below)
                stack.append(below)
    return found


def _accounts_for(nodes: list[Any], capture: Capture, layout: Layout) -> bool:
    """Whether a rule of this pass is the only one to hand a gradient, over rows laid out as the loss's."""
    node = nodes[0]
    ours = len(nodes) == 1 and getattr(node, "capture", None) is capture
    return ours and layout.leads(node.shape, node.kept)


def _sees_rows(nodes: list[Any], capture: Capture, layout: Layout) -> bool:
    """Whether all rules that hand it a gradient, of a weight used twice as well, have rows laid out as the loss's."""
    ours = [node for node in nodes if getattr(node, "capture", None) is capture]
    return bool(ours) and all(layout.leads(node.shape, node.kept) for node in ours)


def _probe(loss: Tensor, layout: Layout, capture: Capture, names: dict[Tensor, str]) -> None:
    """The second unit's losses alone must send gradients to that unit's rows alone, in every layer with a rule.

    Raises ValueError where rows lie in another order than the losses, or depend on one another.
    """
    own = torch.zeros(layout.outer, layout.units, layout.inner, dtype=torch.bool, device=loss.device)
    own[:, 1] = True
    capture.foreign = ~own.flatten()
    parameters = [p for p in names if id(p) in capture.covered | capture.checked]
    ends = own.view(loss.shape).to(loss.dtype)
    torch.autograd.grad(loss, parameters, ends, retain_graph=True, allow_unused=True)
    capture.foreign = None
    for parameter, name in names.items():
        if id(parameter) in capture.misplaced:
            raise ValueError(
                f"a loss reaches other rows than its own at '{name}': flatten observations in the order of the "
                f"losses {tuple(loss.shape)} (environment by environment: return [N, T] with dim=0), and let no "
                "row depend on another"
            )


def _by_further_passes(
    loss: Tensor, layout: Layout, parameters: list[Tensor], capture: Capture
) -> tuple[Tensor, Tensor]:
    """`parameters`' part of the units' squared norms and of the mean's, by a backward pass per unit."""
    unit_sq = torch.zeros(layout.units, dtype=torch.float64, device=loss.device)
    mean_sq = unit_sq.new_zeros(())
    if not parameters:
        return unit_sq, mean_sq
    capture.further = True
    totals = [widened(torch.zeros_like(p)) for p in parameters]
    for i in range(0, layout.units, UNITS_AT_ONCE):
        n = min(UNITS_AT_ONCE, layout.units - i)
        ends = loss.new_zeros(n, layout.outer, layout.units, layout.inner)
        for k in range(n):
            ends[k, :, i + k] = 1.0 / (layout.outer * layout.inner)
        grads = _pulled_back(loss, parameters, ends.view(n, *loss.shape))
        for total, grad in zip(totals, grads, strict=True):
            unit_sq[i : i + n] += widened(grad.reshape(n, -1)).square().sum(1)
            total += grad.sum(0)
    capture.further = False
    for total in totals:
        mean_sq += (row_norms(total.flatten()) / layout.units).double().square().sum()
    return unit_sq, mean_sq


def _pulled_back(loss: Tensor, parameters: list[Tensor], ends: Tensor) -> list[Tensor]:
    """Gradients [n, *parameter] for n `ends` [n, *loss]; one by one where autograd can't batch them."""
    try:
        grads = torch.autograd.grad(loss, parameters, ends, retain_graph=True, is_grads_batched=True)
        if not any(grad.is_sparse for grad in grads):
            return list(grads)
    except CheckpointError:
        raise
    except RuntimeError:
        pass
    each = [torch.autograd.grad(loss, parameters, end, retain_graph=True) for end in ends]
    return [torch.stack([grad.to_dense() for grad in grads]) for grads in zip(*each, strict=True)]
