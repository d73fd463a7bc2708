"""Weight gradients taken unit by unit: the layers that have a rule, as autograd functions.

Each function's forward is the plain layer. Its backward computes the gradient of the input once for the whole
batch and returns the weight gradient of a plain backward, but notes the squared norm of every unit's share.
Knows nothing of losses or of environments; `per_environment` decides which layers run through here.

Rows are laid out [outer, units, inner]: [T, N/m, m] for a rollout [T, N] whose units are m environments each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

WRITE_COST = 24  # multiply-adds in the time of writing, squaring and adding up one float, on a CPU core
MATERIALISED_AT_ONCE = 1 << 18  # floats; a unit's weight gradient is read back while it is still in the cache
COPIED_AT_ONCE = 1 << 21  # floats; beyond it fresh memory costs more than further kernel calls


class Layout(NamedTuple):
    """Where a unit's rows lie in the batch."""

    shape: tuple[int, ...]
    """Shape of the loss, one entry per row."""
    outer: int
    units: int
    inner: int

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.outer * self.units * self.inner

    def leads(self, shape: tuple[int, ...], kept: int) -> bool:
        """If `shape` less its last `kept` dimensions begins with the rows, flat or shaped as the loss."""
        lead = shape[: len(shape) - kept]
        return lead[:1] == (self.rows,) or lead[: len(self.shape)] == self.shape

    def by_unit(self, x: Tensor, width: int) -> Tensor:
        """[rows, ..., width] -> [units, r, width], every unit's r vectors together; copies where it must."""
        if self.outer > 1:
            x = x.reshape(self.outer, self.units, -1, width).transpose(0, 1)
        return x.reshape(self.units, -1, width)

    def blocks(self, pictures: Tensor, steps: int) -> Iterator[list[Tensor]]:
        """Each unit's rows of pictures [rows, C, H, W], `steps` of the outer dimension a block."""
        if self.outer == 1:
            yield from ([unit] for unit in pictures.split(self.inner))
            return
        channels_last = pictures.is_contiguous(memory_format=torch.channels_last)
        x = pictures.permute(0, 2, 3, 1) if channels_last else pictures  # a copy then keeps the memory format
        for unit in x.unflatten(0, (self.outer, self.units, self.inner)).unbind(1):
            blocks = [part.flatten(0, 1) for part in unit.split(steps)]
            yield [block.permute(0, 3, 1, 2) for block in blocks] if channels_last else blocks


class Capture:
    """What a backward pass is asked for, and the squared norms noted so far."""

    def __init__(self) -> None:
        self.layout: Layout | None = None  # unknown until the forward has returned the loss
        self.covered: set[int] = set()  # id() of the parameters whose squared norms the rules note
        self.further = False  # in a pass for the other parameters nothing is noted
        self.foreign: Tensor | None = None  # [rows] in a probing pass: rows that no gradient may come to
        self.unruled: dict[tuple[int, ...], tuple[int, ...]] = {}  # output shapes of layers without a rule
        self.checked: set[int] = (
            set()
        )  # id() of parameters without a rule whose layers' rows are looked at too
        self.misplaced: set[int] = set()  # id() of the parameters of layers where one did
        self.shapes: list[tuple[int, ...]] = []  # of what the layers of measured parameters were given
        self.unit_sq: list[Tensor] = []
        self.mean_norms: list[Tensor] = []

    def look(self, ids: tuple[int, ...], delta: Tensor) -> None:
        """In a probing pass, note whether a gradient of a layer's output came to a foreign row."""
        if self.foreign is not None and not (self.covered | self.checked).isdisjoint(ids):
            reached = (delta.reshape(len(self.foreign), -1).abs() > 0).any(1)  # nan is not
            if bool((reached & self.foreign).any()):
                self.misplaced.update(ids)

    def noting(self, ids: tuple[int, int]) -> Layout | None:
        """The layout when the squared norms of one of the parameters `ids` are wanted, else None."""
        return None if self.further or self.covered.isdisjoint(ids) else self.layout

    def wanted(self, ids: tuple[int, int], needs: tuple[bool, bool]) -> tuple[bool, bool]:
        """Which of two parameters need a gradient in this pass."""
        first, second = (
            need and not (self.further and i in self.covered) for i, need in zip(ids, needs, strict=True)
        )
        return first, second

    def note(self, parameter: int, unit_sq: Tensor, mean: Tensor) -> None:
        """Take one parameter's squared norms [units] and its gradient, if they are wanted."""
        if parameter in self.covered:
            self.unit_sq.append(unit_sq)
            self.mean_norms.append(row_norms(mean))


def row_norms(x: Tensor) -> Tensor:
    """[n, ...] -> [n], the norm of each row; [n] as it is.

    Norms are taken row by row since the CPU's norm kernel adds up in sequence: 5e-5 off at a million float32.
    Of half precision they are float32.
    """
    dtype = torch.float32 if x.dtype.itemsize < 4 else None
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), dtype=dtype) if x.dim() > 1 else x


def widened(x: Tensor) -> Tensor:
    """Half precision as float32, whose squares neither vanish nor overflow; the others as they are."""
    return x.float() if x.dtype.itemsize < 4 else x


def linear_gradient(x: Tensor, delta: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Gradient Σ δ xᵀ [out, in] of a linear layer's weight, and the squared norms [units] of the shares.

    With a unit's r inputs X [r, in] and output gradients Δ [r, out], |ΔᵀX|² = Σ (XXᵀ ∘ ΔΔᵀ), which forms no
    unit's gradient and is cheap while r is small; else the units' gradients are formed and added up, in place
    of the batch's.

    Source: Goodfellow 2015, arXiv 1510.01799, for r = 1.

    Args:
        x: [rows, ..., in].
        delta: [rows, ..., out].
        layout: of the rows.
    """
    out, width = delta.shape[-1], x.shape[-1]
    X, D = layout.by_unit(x, width), layout.by_unit(delta, out)
    r = X.shape[1]
    if r * r * (width + out) <= WRITE_COST * width * out:
        X, D = widened(X), widened(D)
        unit_sq = (torch.bmm(X, X.mT) * torch.bmm(D, D.mT)).sum((1, 2))
        return delta.reshape(-1, out).T @ x.reshape(-1, width), unit_sq.clamp_(min=0)
    total, sq = x.new_zeros(out, width), []
    step = max(1, MATERIALISED_AT_ONCE // (width * out))
    for i in range(0, layout.units, step):
        parts = torch.bmm(D[i : i + step].mT, X[i : i + step])
        sq.append(row_norms(parts.flatten(0, 1)).view(parts.shape[:2]).square().sum(1))
        total += parts[0] if len(parts) == 1 else parts.sum(0)
    return total, torch.cat(sq)


def summed_gradient(parts: Tensor, layout: Layout, width: int) -> tuple[Tensor, Tensor]:
    """Σ parts [width] over parts [rows, ..., width], and the squared norms [units] of the units' sums."""
    sums = layout.by_unit(parts, width).sum(1)
    return sums.sum(0), widened(sums).square().sum(1)


class RowCheck(torch.autograd.Function):
    """The identity: looks at the rows of a layer that has no rule in this pass, as under autocast."""

    @staticmethod
    def forward(ctx: Any, capture: Capture, ids: tuple[int, ...], y: Tensor) -> Tensor:
        """y [rows, ...]."""
        ctx.capture, ctx.ids = capture, ids
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient as it came."""
        ctx.capture.look(ctx.ids, grads[0])
        return None, None, grads[0]


class LinearRule(torch.autograd.Function):
    """`F.linear` whose backward notes squared norms."""

    @staticmethod
    def forward(ctx: Any, capture: Capture, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x [rows, ..., in]."""
        ctx.save_for_backward(x, weight)
        ctx.capture, ctx.ids, ctx.shape, ctx.kept = capture, (id(weight), id(bias)), tuple(x.shape), 1
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias."""
        delta, (x, weight), capture = grads[0], ctx.saved_tensors, ctx.capture
        capture.look(ctx.ids, delta)
        grad_x = delta @ weight if ctx.needs_input_grad[1] else None
        on_weight, on_bias = capture.wanted(ctx.ids, ctx.needs_input_grad[2:])
        layout = capture.noting(ctx.ids)
        out, width = delta.shape[-1], x.shape[-1]
        grad_weight = grad_bias = None
        if layout is None:
            grad_weight = delta.reshape(-1, out).T @ x.reshape(-1, width) if on_weight else None
            grad_bias = delta.reshape(-1, out).sum(0) if on_bias else None
            return None, grad_x, grad_weight, grad_bias
        if on_weight:
            grad_weight, unit_sq = linear_gradient(x, delta, layout)
            capture.note(ctx.ids[0], unit_sq, grad_weight)
        if on_bias:
            grad_bias, unit_sq = summed_gradient(delta, layout, out)
            capture.note(ctx.ids[1], unit_sq, grad_bias)
        return None, grad_x, grad_weight, grad_bias


class Conv2dRule(torch.autograd.Function):
    """`F.conv2d` whose backward notes squared norms: a weight gradient per unit, in place of the batch's."""

    @staticmethod
    def forward(
        ctx: Any,
        capture: Capture,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        """x [rows, C, H, W]."""
        ctx.save_for_backward(x, weight)
        ctx.capture, ctx.ids, ctx.shape, ctx.kept = capture, (id(weight), id(bias)), tuple(x.shape), 3
        bias_shape = None if bias is None else [len(bias)]
        ctx.settings = (bias_shape, stride, padding, dilation, False, [0, 0], groups)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias."""
        delta, (x, weight), capture = grads[0], ctx.saved_tensors, ctx.capture
        capture.look(ctx.ids, delta)
        settings, backward = ctx.settings, torch.ops.aten.convolution_backward.default
        on_x, on_weight, on_bias = ctx.needs_input_grad[1:4]
        layout = capture.noting(ctx.ids)
        if layout is None:
            mask = [on_x, *capture.wanted(ctx.ids, (on_weight, on_bias))]
            return (
                None,
                *(backward(delta, x, weight, *settings, mask) if any(mask) else [None] * 3),
                *[None] * 4,
            )
        grad_x = backward(delta, x, weight, *settings, [True, False, False])[0] if on_x else None
        grad_weight = grad_bias = None
        if on_weight:
            norms, mask = [], [False, True, False]
            run = (x.numel() + delta.numel()) // (layout.outer * layout.units)
            steps = max(1, COPIED_AT_ONCE // run)
            for blocks, deltas in zip(layout.blocks(x, steps), layout.blocks(delta, steps), strict=True):
                pairs = zip(blocks, deltas, strict=True)
                share = _sum_in_place([backward(d, b, weight, *settings, mask)[1] for b, d in pairs])
                norms.append(row_norms(share))
                grad_weight = share if grad_weight is None else grad_weight.add_(share)
            capture.note(ctx.ids[0], torch.stack(norms).square().sum(1), grad_weight)
        if on_bias:
            grad_bias, unit_sq = summed_gradient(delta.sum((2, 3)), layout, delta.shape[1])
            capture.note(ctx.ids[1], unit_sq, grad_bias)
        return None, grad_x, grad_weight, grad_bias, *[None] * 4


def _sum_in_place(parts: list[Tensor]) -> Tensor:
    for part in parts[1:]:
        parts[0].add_(part)
    return parts[0]


class LayerNormRule(torch.autograd.Function):
    """`F.layer_norm` whose backward notes squared norms."""

    @staticmethod
    def forward(
        ctx: Any,
        capture: Capture,
        x: Tensor,
        shape: list[int],
        weight: Tensor,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        """x [rows, ..., *shape]."""
        y, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        ctx.capture, ctx.ids, ctx.shape, ctx.kept = (
            capture,
            (id(weight), id(bias)),
            tuple(x.shape),
            len(shape),
        )
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight, bias."""
        delta, (x, mean, rstd, weight, bias), capture = grads[0], ctx.saved_tensors, ctx.capture
        capture.look(ctx.ids, delta)
        on_x, _, on_weight, on_bias = ctx.needs_input_grad[1:5]
        on_weight, on_bias = capture.wanted(ctx.ids, (on_weight, on_bias))
        layout, shape = capture.noting(ctx.ids), weight.shape
        mask = [on_x, on_weight and layout is None, on_bias and layout is None]
        grad_x = grad_weight = grad_bias = None
        if any(mask):
            grad_x, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward.default(
                delta, x, list(shape), mean, rstd, weight, bias, mask
            )
        if layout is not None and on_weight:
            flat, unit_sq = summed_gradient(delta * ((x - mean) * rstd), layout, weight.numel())
            grad_weight = flat.view(shape)
            capture.note(ctx.ids[0], unit_sq, grad_weight)
        if layout is not None and on_bias:
            flat, unit_sq = summed_gradient(delta, layout, weight.numel())
            grad_bias = flat.view(shape)
            capture.note(ctx.ids[1], unit_sq, grad_bias)
        return None, grad_x, None, grad_weight, grad_bias, None


def _linear(capture: Capture, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    return cast(Tensor, LinearRule.apply(capture, input, weight, bias))


def _conv2d(
    capture: Capture,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor | None:
    if input.dim() != 4:
        return None
    if padding == "valid":
        padding = 0
    elif padding == "same":
        reach = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
        if any(n % 2 for n in reach):
            return None
        padding = (reach[0] // 2, reach[1] // 2)
    settings = _pair(stride), _pair(padding), _pair(dilation), groups
    return cast(Tensor, Conv2dRule.apply(capture, input, weight, bias, *settings))


def _layer_norm(
    capture: Capture,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor | None:
    if weight is None:
        return None
    return cast(Tensor, LayerNormRule.apply(capture, input, list(normalized_shape), weight, bias, eps))


def _pair(value: Any) -> list[int]:
    pair = [value] * 2 if isinstance(value, int) else list(value)
    return pair * 2 if len(pair) == 1 else pair


RULES: dict[Any, Callable[..., Tensor | None]] = {
    F.linear: _linear,
    torch.conv2d: _conv2d,
    F.layer_norm: _layer_norm,
}
"""Function -> the same with a rule, called as `rule(capture, *arguments)`; returns None where it has none."""
