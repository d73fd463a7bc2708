"""The noise scale B_noise = tr(HΣ)/(GᵀHG), H a Hessian or a Fisher matrix, without forming any matrix.

All that is needed of H are the numbers vᵀHv for v the units' gradients and their mean, one product with H
each (Pearlmutter 1994). H must not come from the same data as the gradients: if it did, the fluctuations of
both would be correlated and neither tr(HΣ) nor GᵀHG be unbiased. `split_moments` takes the gradients of one
half of the units with the H of the other half, and the other way round.

It knows losses and log-probabilities as tensors with a graph behind them; not policies or rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rl_gns.noise.moments import Moments, moments
from rl_gns.noise.parts import Gradient


def hessian_forms(loss: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Gradient]) -> Tensor:
    """vᵀHv for each vector, H the Hessian of `loss`; [len(vectors)] float64 on the CPU.

        Hv = ∇(∇L · v)

    Exact where the loss is twice differentiable; at a ReLU's kink the second derivative is taken as 0. One
    backward pass that keeps its graph, then one through that graph per vector. May be negative: H need not
    be positive.

    Source: Pearlmutter 1994, Neural Computation 6:147.

    Args:
        loss: 0-d, with its graph.
        parameters: those H is taken over; one the loss does not depend on counts as 0.
        vectors: shaped as the parameters.
    """
    slopes = torch.autograd.grad(
        loss, list(parameters), create_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.stack([_dot(_derivative(slopes, v, parameters), v) for v in vectors]).cpu()


def fisher_forms(log_prob: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Gradient]) -> Tensor:
    """vᵀFv for each vector, F = mean over rows of ∇log π ∇log πᵀ; [len(vectors)] float64 on the CPU.

        vᵀFv = mean of (Jv)²,    J = ∂ log π / ∂θ [rows, P],    Jv = ∂(uᵀJv)/∂u

    The Jacobian-vector product comes from two backward passes, the second through the first with respect to
    the weights u of the rows, so that every layer autograd knows will do. Unbiased for the Fisher matrix of
    the states seen where the actions were drawn from π itself; else it is the empirical one.

    Source: Amari 1998 for F; Kakade 2001 for its use with policies.

    Args:
        log_prob: log π(a|s) of any shape, one per observation, with its graph.
        parameters: those F is taken over; F is 0 for one that log π does not depend on.
        vectors: shaped as the parameters.
    """
    u = torch.ones_like(log_prob, requires_grad=True)
    pulled = torch.autograd.grad(
        log_prob, list(parameters), u, create_graph=True, allow_unused=True, materialize_grads=True
    )
    pushed = [_derivative(pulled, v, [u])[0] for v in vectors]
    return torch.stack([jv.double().square().mean() for jv in pushed]).cpu()


def split_moments(
    gradients: Sequence[Gradient], forms: Callable[[int, Sequence[Gradient]], Tensor]
) -> Moments:
    """Unbiased (GᵀMG, tr(MΣ)) from n units, M = E Mⱼ the expected curvature of a unit.

    Units are split in halves A and B. With M_B = mean of Mⱼ over B,

        qᵢ = gᵢᵀ M_B gᵢ for i in A,    q = ḡ_Aᵀ M_B ḡ_A,    moments(qᵢ, q)

    and the same with A and B exchanged; the mean of both, weighted by n_A - 1 and n_B - 1. Costs a graph and
    n / 2 + 1 products for every unit, each on that unit's data alone: n / 2 + 1 passes over the batch. Holds
    all n gradients.

    Args:
        gradients: n >= 4, the mean gradient of each unit, all at the same weights.
        forms: (j, vectors) -> vᵀ Mⱼ v for each vector, Mⱼ of the data of unit j alone.

    Returns:
        signal an estimate of GᵀMG, noise one of tr(MΣ) with Σ of ONE unit.

    Raises:
        ValueError: fewer than four units.
    """
    n = len(gradients)
    if n < 4:
        raise ValueError(f"curvature and gradients need two units each, so at least four in all, got {n}")
    first, second = range(n // 2), range(n // 2, n)
    found = []
    for mine, theirs in ((first, second), (second, first)):
        mean = [torch.stack(tensors).mean(0) for tensors in zip(*(gradients[i] for i in mine), strict=True)]
        vectors = [*(gradients[i] for i in mine), mean]
        q = torch.stack([forms(j, vectors) for j in theirs]).double().mean(0)
        found.append((len(mine) - 1, moments(q[:-1], q[-1])))
    weight = sum(w for w, _ in found)
    return Moments(
        sum(w * m.signal for w, m in found) / weight, sum(w * m.noise for w, m in found) / weight, n
    )


def _derivative(of: Gradient, along: Gradient, with_respect_to: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """∂(of · along)/∂(with_respect_to), keeping the graph; zeros where nothing depends on it."""
    product = sum(((a * b).sum() for a, b in zip(of, along, strict=True)), torch.zeros(()))
    if not product.requires_grad:
        return tuple(torch.zeros_like(x) for x in with_respect_to)
    return torch.autograd.grad(
        product, list(with_respect_to), retain_graph=True, allow_unused=True, materialize_grads=True
    )


def _dot(a: Gradient, b: Gradient) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).double().sum()
