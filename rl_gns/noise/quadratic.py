"""The noisy quadratic: the one loss on which every claim about the noise scale has an exact answer.

    L(θ) = θᵀ H θ / 2,      gradient of one example g = H θ + ξ,  E ξ = 0,  cov(ξ) = Σ

It is the model behind B_noise (McCandlish et al. 2018, sec. 2.2) and behind the temperature law (App. C). It
knows nothing of networks or environments; all results are float64 and, but for `sample_gradient`, exact.

App. C prints B_simple = (B/ε) tr(Σ)/tr(H²Σ) and B_noise = (B/ε) tr(HΣ)/tr(H³Σ). That does not solve its own
stationarity condition M H + H M = (ε/B) Σ for the covariance M of θ, from which 2 tr(H^{k+1} M) = (ε/B)
tr(H^k Σ). With E|G|² = tr(H² M) and E GᵀHG = tr(H³ M) it gives, to leading order in ε,

    B_simple = (2B/ε) tr(Σ)/tr(HΣ),      B_noise = (2B/ε) tr(HΣ)/tr(H²Σ),      E L = (ε/B) tr(Σ)/4.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


class NoisyQuadratic:
    """H and Σ, and what follows from them. All θ are [P]; steps are θ - ε (mean gradient of B examples)."""

    def __init__(self, hessian: Tensor, noise: Tensor) -> None:
        """hessian: H [P, P] symmetric positive definite; noise: Σ [P, P] of one example's gradient, semidefinite.

        Raises ValueError otherwise.
        """
        self.hessian, self.noise = hessian.double(), noise.double()
        for name, matrix in (("the Hessian", self.hessian), ("the noise covariance", self.noise)):
            if matrix.dim() != 2 or not torch.allclose(matrix, matrix.T):
                raise ValueError(f"{name} must be a symmetric matrix, got {list(matrix.shape)}")
        if self.hessian.shape != self.noise.shape:
            raise ValueError(f"H is {list(hessian.shape)} but Σ is {list(noise.shape)}")
        self._eigenvalues, self._basis = torch.linalg.eigh(self.hessian)
        variances, axes = torch.linalg.eigh(self.noise)
        if float(variances[0]) < -1e-8 * float(variances[-1].abs()):
            raise ValueError("the noise covariance must not have negative variances")
        self._noise_root = axes * variances.clamp_min(0).sqrt()
        if float(self._eigenvalues[0]) <= 0:
            raise ValueError("the Hessian must be positive definite, or steps have no best length")

    @classmethod
    def from_examples(cls, hessian: Tensor, shifts: Tensor) -> NoisyQuadratic:
        """Examples with losses (θ - c)ᵀ H (θ - c)/2, drawn evenly from the rows c of `shifts` [n, P], mean 0.

        An example's gradient is Hθ - Hc, so Σ = H Σ_c H. Raises ValueError for shifts whose mean is not 0.
        """
        c = shifts.double()
        if not torch.allclose(c.mean(0), torch.zeros(c.shape[1], dtype=torch.float64), atol=1e-9):
            raise ValueError("the examples' shifts must have mean 0, or the minimum is not at 0")
        g = c @ hessian.double()
        return cls(hessian, g.T @ g / len(g))

    def loss(self, theta: Tensor) -> float:
        """θᵀHθ/2."""
        return float(theta @ self.hessian @ theta / 2)

    def gradient(self, theta: Tensor) -> Tensor:
        """G = Hθ, [P]."""
        return self.hessian @ theta

    def sample_gradient(self, theta: Tensor, batch: int, generator: Generator) -> Tensor:
        """Mean gradient [P] of `batch` examples with Gaussian ξ."""
        z = torch.randn(len(theta), dtype=torch.float64, generator=generator)
        return self.gradient(theta) + self._noise_root @ z / batch**0.5

    # One step from θ (sec. 2.2)

    def b_simple(self, theta: Tensor) -> float:
        """tr(Σ)/|G|²; equation 2.9."""
        return float(self.noise.trace() / self.gradient(theta).square().sum())

    def b_noise(self, theta: Tensor) -> float:
        """tr(HΣ)/(GᵀHG); equation 2.8."""
        return float((self.hessian @ self.noise).trace()) / self._curvature(theta)

    def expected_change(self, theta: Tensor, step: float, batch: float) -> float:
        """E L(θ - ε g_B) - L(θ) = -ε |G|² + ε²/2 (GᵀHG + tr(HΣ)/B)."""
        g = self.gradient(theta)
        noise = float((self.hessian @ self.noise).trace()) / batch
        return -step * float(g @ g) + step**2 / 2 * (self._curvature(theta) + noise)

    def best_step(self, theta: Tensor, batch: float) -> float:
        """ε_opt(B) = ε_max/(1 + B_noise/B) with ε_max = |G|²/(GᵀHG); `batch` may be infinite."""
        g = self.gradient(theta)
        return float(g @ g) / self._curvature(theta) / (1 + self.b_noise(theta) / batch)

    def best_improvement(self, theta: Tensor, batch: float) -> float:
        """ΔL_opt(B) = ΔL_max/(1 + B_noise/B) with ΔL_max = |G|⁴/(2 GᵀHG); equation 2.7."""
        g = self.gradient(theta)
        return float(g @ g) ** 2 / (2 * self._curvature(theta)) / (1 + self.b_noise(theta) / batch)

    # Many steps of SGD at one ε and B (App. C)

    def covariance_after(self, covariance: Tensor, step: float, batch: float, steps: int) -> Tensor:
        """Covariance of θ [P, P] after `steps` of SGD: M ← (I - εH) M (I - εH) + (ε²/B) Σ, in closed form."""
        rate = 1 - step * self._eigenvalues
        decay = (rate[:, None] * rate) ** steps
        start = self._basis.T @ covariance.double() @ self._basis
        stay = self._basis.T @ self.stationary_covariance(step, batch) @ self._basis
        return self._basis @ (decay * start + (1 - decay) * stay) @ self._basis.T

    def stationary_covariance(self, step: float, batch: float) -> Tensor:
        """The M [P, P] that M = (I - εH) M (I - εH) + (ε²/B) Σ keeps; exact in ε.

        In H's eigenbasis M_ij = (ε/B) Σ_ij / (λ_i + λ_j - ε λ_i λ_j).

        Raises ValueError for ε >= 2/λ_max, where SGD diverges.
        """
        values = self._eigenvalues
        if not 0 < step < 2 / float(values[-1]):
            raise ValueError(f"SGD needs 0 < step < 2/λ_max = {2 / float(values[-1]):.4g}, got {step:.4g}")
        rotated = self._basis.T @ self.noise @ self._basis
        denominator = values[:, None] + values - step * values[:, None] * values
        return self._basis @ (step / batch * rotated / denominator) @ self._basis.T

    def b_simple_of(self, covariance: Tensor) -> float:
        """tr(Σ)/E|G|² with θ of mean 0 and this covariance: a ratio of averages, as a meter reports it."""
        return float(self.noise.trace() / (self.hessian @ self.hessian @ covariance).trace())

    def b_noise_of(self, covariance: Tensor) -> float:
        """tr(HΣ)/E[GᵀHG] with θ of mean 0 and this covariance."""
        cubed = self.hessian @ self.hessian @ self.hessian
        return float((self.hessian @ self.noise).trace() / (cubed @ covariance).trace())

    def b_simple_at_equilibrium(self, step: float, batch: float) -> float:
        """(2B/ε) tr(Σ)/tr(HΣ), the leading order of `b_simple_of(stationary_covariance(step, batch))`."""
        return 2 * batch / step * float(self.noise.trace() / (self.hessian @ self.noise).trace())

    def b_noise_at_equilibrium(self, step: float, batch: float) -> float:
        """(2B/ε) tr(HΣ)/tr(H²Σ), the leading order likewise."""
        h_noise = self.hessian @ self.noise
        return 2 * batch / step * float(h_noise.trace() / (self.hessian @ h_noise).trace())

    def _curvature(self, theta: Tensor) -> float:
        g = self.gradient(theta)
        return float(g @ self.hessian @ g)
