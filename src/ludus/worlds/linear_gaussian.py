"""The world of probabilistic PCA: a linear decoder whose evidence and posterior are exactly known."""

import math
from typing import final

import torch
from torch import Tensor


@final
class LinearGaussian:
    """Probabilistic PCA: z ~ N(0, I_d), x = W z + μ + σ ε, ε ~ N(0, I_D), so that x ~ N(μ, W Wᵀ + σ² I).

    `W` is (D, d) and `mu` (D,), in one dtype, which is the world's precision; `sigma` is σ > 0 in the units of x.
    Tipping & Bishop 1999, Journal of the Royal Statistical Society B 61, 611.
    """

    def __init__(self, W: Tensor, mu: Tensor, sigma: float):
        self.W = W
        self.mu = mu
        self.sigma = sigma

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws of the pair: x (n, D) and the z (n, d) that it came from, an exact draw of its posterior."""
        D, d = self.W.shape
        z = torch.randn(n, d, generator=generator, dtype=self.W.dtype)
        noise = torch.randn(n, D, generator=generator, dtype=self.W.dtype)
        return z @ self.W.T + self.mu + self.sigma * noise, z

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z) in nats; x (B, D) and z (..., B, d) -> (..., B)."""
        D, d = self.W.shape
        residual = (x - self.mu - z @ self.W.T) / self.sigma
        squares = residual.square().sum(-1) + z.square().sum(-1)
        return -squares / 2 - (D + d) / 2 * math.log(2 * math.pi) - D * math.log(self.sigma)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z|x) = N(M⁻¹ Wᵀ (x − μ), σ² M⁻¹) with M = Wᵀ W + σ² I: mean (B, d), covariance (d, d), the same for all."""
        M = self.W.T @ self.W + self.sigma**2 * torch.eye(self.W.shape[1], dtype=self.W.dtype)
        inverse = torch.linalg.inv(M)
        return (x - self.mu) @ self.W @ inverse, self.sigma**2 * inverse

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) in nats, x (B, D) -> (B,).

        Bayes' rule, p(x) = p(x, z) / p(z|x), holds at every z. At the posterior's mean all is sums of squares: nothing
        cancels, and no D × D matrix is inverted.
        """
        mean, covariance = self.posterior(x)
        return self.log_joint(x, mean) + torch.logdet(2 * math.pi * covariance) / 2

    def active(self, beta: float = 1.0) -> int:
        """How many latents a linear β-VAE of the same d and σ keeps of this world's data: see `kept`."""
        eigenvalues = torch.linalg.svdvals(self.W).square() + self.sigma**2  # of the covariance of x; the others are σ²
        return kept(eigenvalues, self.W.shape[1], self.sigma, beta)


def kept(eigenvalues: Tensor, d: int, sigma: float | None = None, beta: float = 1.0) -> int:
    """How many of its d latents a linear β-VAE keeps; the others collapse to the prior, at the optimum.

    It lowers E_q |x − W z − μ|² / 2σ² + D log σ + β KL(q ‖ p(z)). λ₁ ≥ λ₂ ≥ ... being all D eigenvalues of the data's
    covariance,
        σ given:   i ≤ d is kept where λ_i > β σ²
        learned:   i ≤ d is kept where λ_i > β / D Σ_j min(λ_j, λ_i)

    At the best q and for a given σ, W sees the likelihood of probabilistic PCA with noise β σ², which keeps what rises
    above its noise (β = 1: Lucas et al. 2019, arXiv:1911.02469; Tipping & Bishop 1999). With k kept the best σ² is
    (Σ_{j>k} λ_j) / (D − k β); k changes with it, but the loss falls before that σ² and rises after it, so its slope at
    σ² = λ_i / β says whether λ_i > β σ²: the second line. With β = 1, a learned σ keeps all that exceed the smallest.
    """
    values = eigenvalues.double().clamp_min(0).sort(descending=True).values
    first = values[:d]
    if sigma is not None:
        return int((first > beta * sigma**2).sum())
    return int((first > beta * torch.minimum(values, first[:, None]).mean(1)).sum())
