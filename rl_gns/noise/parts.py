"""Noise scales of parts of a gradient: of some of its parameters, or in another metric than the plain one.

The two formulas of `moments` hold for every symmetric bilinear form. With qᵢ = gᵢᵀ M gᵢ and q = ḡᵀ M ḡ over n
independent units they give

    signal = (n q - mean qᵢ) / (n - 1) = mean over i≠j of gᵢᵀ M gⱼ     E signal = Gᵀ M G
    noise  = n / (n - 1) · (mean qᵢ - q)                               E noise  = tr(M Σ)

with M the identity (B_simple), one that keeps some parameters only, P² of an optimizer's diagonal
preconditioner P, a Hessian or a Fisher matrix (`curvature.py`). M must not depend on the gᵢ.

It knows gradients as lists of tensors; not losses, policies or which optimizer it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rl_gns.noise.moments import Moments, moments

Gradient = Sequence[Tensor]
"""One tensor per parameter, in a fixed order."""


class FormSums:
    """Takes units' gradients one by one; holds one sum of them, and inner products per parameter tensor.

    As the products are kept apart for each parameter, one pass gives the moments of every group of
    parameters: those of disjoint groups add up to those of their union.
    """

    def __init__(self, weights: Gradient | None = None) -> None:
        """weights: the diagonal of a preconditioner P, shaped as the parameters; M = P². None for M = 1."""
        self._weights = weights
        self._products: list[Tensor] = []
        self._sum: list[Tensor] = []

    def add(self, gradient: Gradient) -> None:
        """Take in one unit's gradient; it is not kept."""
        g = list(gradient)
        if self._weights is not None:
            g = list(torch._foreach_mul(g, list(self._weights)))
        self._products.append(_squares(g))
        if self._sum:
            torch._foreach_add_(self._sum, g)
        else:
            self._sum = [x.clone() for x in g]

    def moments(self, which: Iterable[int] | None = None) -> Moments:
        """Moments over the parameters at the places `which`, by default all; noise is that of ONE unit.

        Raises:
            ValueError: fewer than two units.
        """
        n = len(self._products)
        if n < 2:
            raise ValueError(f"the noise needs at least two units to compare, got {n}")
        # One transfer for all units; in float64, for signal is a small difference of large norms.
        table = torch.stack([*self._products, _squares(list(torch._foreach_div(self._sum, float(n))))])
        table = table.cpu().double()
        if which is not None:
            table = table[:, list(which)]
        return moments(table[:-1].sum(1), table[-1].sum())


def layer_groups(names: Sequence[str], transparent: Sequence[str] = ("torso",)) -> dict[str, list[int]]:
    """Parameter names -> places of each layer's parameters, in the order of the names.

    A layer is what the first component names: `value.weight` belongs to `value`, a bare `log_std` to
    `log_std`. Containers named in `transparent` are looked through: `torso.conv1.weight` belongs to `conv1`,
    unless that name is taken outside them.
    """
    groups: dict[str, list[int]] = {}
    outside = {name.split(".")[0] for name in names}
    for place, name in enumerate(names):
        head, *rest = name.split(".")
        inner = head in transparent and len(rest) > 1
        if inner:
            head = rest[0] if rest[0] not in outside else f"{head}.{rest[0]}"
        groups.setdefault(head, []).append(place)
    return groups


def inverse_root(
    second_moments: Gradient, eps: float, *, inside: bool = False, scale: float = 1.0
) -> list[Tensor]:
    """The diagonal preconditioner P of an optimizer that divides by the root of the mean square v.

        P = 1 / (√(v·scale) + eps)      or, with eps `inside` the root, P = 1 / √(v·scale + eps)

    Adam and torch's RMSProp have the first, TensorFlow's RMSProp the second. Adam's bias correction is
    scale = 1 / (1 - β₂ᵗ) after t steps. McCandlish et al. 2018 (footnotes 7 and 10) tried dividing by Adam's
    root before taking norms and report mixed results.

    Args:
        second_moments: v, one tensor per parameter.
        eps: > 0.
        inside: whether eps sits under the root.
        scale: what v is multiplied with first.
    """
    v = [x.detach() * scale for x in second_moments]
    if inside:
        return [(x + eps).rsqrt() for x in v]
    return [(x.sqrt() + eps).reciprocal() for x in v]


def _squares(g: list[Tensor]) -> Tensor:
    """[parameters] squared norms, on the device; row by row, as the CPU's norm kernel adds up in sequence."""
    rows = [torch.linalg.vector_norm(x.flatten(1), dim=1) if x.dim() > 1 else x for x in g]
    return torch.stack([norms.square().sum() for norms in rows])
