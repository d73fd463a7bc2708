"""What the policy's layers gave while acting, kept for the update: with the same weights it need not be computed again.

On-policy learning with one step per rollout (A2C) runs every observation through the network twice, to act and to
learn. `recording` keeps the outputs of linear and convolution layers, which are nearly all of a forward pass;
`replaying` lets a forward pass over the whole rollout take them from memory, while the backward pass is computed as
ever. Layers that were not seen, or were used twice in a pass, are computed again. Memory: the layers' outputs, 86 kB
an observation for `nature`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Recall:
    """Memory of one rollout's forward passes. The weights must not change between recording and replaying."""

    def __init__(self, policy: nn.Module, steps: int, streams: int) -> None:
        """`policy` is called `steps` times with [N, ...] observations while recording, with [N * steps, ...] after.

        With steps = 0 nothing is ever kept. N = `streams`; they may come in several calls, each with its rows.
        """
        self._steps, self._streams, self._time = steps, streams, -1
        self._rows, self._calls, self._seen = slice(None), 0, 0
        self._outputs: dict[int, Tensor] = {}
        self._times: dict[int, list[int]] = {}
        for module in policy.modules() if steps else ():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.register_forward_hook(self._keep)

    @contextmanager
    def recording(self, t: int, rows: slice = slice(None)) -> Iterator[None]:
        """Keep what the layers give in this forward pass, that of step t for these rows."""
        if t == 0 and not rows.start:
            self._times, self._calls, self._seen = {}, 0, 0
        self._time, self._rows = t, rows
        self._calls += 1
        self._seen += len(range(self._streams)[rows])
        try:
            yield
        finally:
            self._time = -1

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """A forward pass over rows ordered [N, steps] takes what was recorded."""
        if not self._steps or self._seen != self._steps * self._streams:
            yield
            return
        whole = list(range(1, self._calls + 1))  # once in each call
        known = {
            key: self._outputs[key].flatten(0, 1) for key, times in self._times.items() if times == whole
        }
        with _Replay(known):
            yield

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        t = self._time
        if t < 0:
            return
        key = id(module.weight)
        fits = output.shape[0] == len(range(self._streams)[self._rows])
        self._times.setdefault(key, []).append(self._calls if fits else 0)
        if not fits:
            return
        kept = self._outputs.get(key)
        if kept is None:
            n, shape = self._streams, output.shape[1:]
            if output.dim() == 4:  # pictures lie channels last, as the layers after want them
                c, h, w = shape
                kept = output.new_empty(n, self._steps, h, w, c).permute(0, 1, 4, 2, 3)
            else:
                kept = output.new_empty(n, self._steps, *shape)
            self._outputs[key] = kept
        kept[self._rows, t] = output


class _Replay(TorchFunctionMode):
    """Gives the outputs in `known`, by id() of the weight, in place of computing them."""

    def __init__(self, known: dict[int, Tensor]) -> None:
        super().__init__()
        self.known = known

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear or func is torch.conv2d:
            weight = kwargs["weight"] if "weight" in kwargs else args[1]
            output = self.known.get(id(weight))
            x = kwargs["input"] if "input" in kwargs else args[0]
            if output is not None and output.shape[0] == x.shape[0] and not kwargs:
                output = output.to(x.dtype)  # recorded in bfloat16, perhaps; the backward pass is x's
                if not torch.is_grad_enabled():
                    return output
                if func is F.linear:
                    return _Linear.apply(output, *args)
                if not isinstance(args[4] if len(args) > 4 else 0, str):
                    return _Conv2d.apply(output, *args)
        return func(*args, **kwargs)


class _Linear(torch.autograd.Function):
    """`F.linear` whose output is known."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        delta, (x, weight) = grads[0], ctx.saved_tensors
        on_x, on_weight, on_bias = (*ctx.needs_input_grad[1:], False)[:3]
        flat = delta.reshape(-1, delta.shape[-1])
        found = (
            None,
            delta @ weight if on_x else None,
            flat.T @ x.reshape(-1, x.shape[-1]) if on_weight else None,
            flat.sum(0) if on_bias else None,
        )
        return found[: len(ctx.needs_input_grad)]


class _Conv2d(torch.autograd.Function):
    """`F.conv2d` whose output is known."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = (
            None if bias is None else [len(bias)],
            *(_pair(value) for value in (stride, padding, dilation)),
            *(False, [0, 0], groups),
        )
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        mask = [*ctx.needs_input_grad[1:], False][:3]
        found = torch.ops.aten.convolution_backward.default(grads[0], x, weight, *ctx.settings, mask)
        return (None, *found, *[None] * 4)[: len(ctx.needs_input_grad)]


def _pair(value: Any) -> list[int]:
    return [value] * 2 if isinstance(value, int) else list(cast("tuple[int, ...]", value)) * (3 - len(value))
