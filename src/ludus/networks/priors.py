"""Priors p(z) over the latent space."""

import math

import torch
from torch import Tensor, nn

from ludus.networks.layers import positive


class Gaussian(nn.Module):
    """z ~ N(0, 1) in `dimension` independent entries. Samples take the dtype and device the module was moved to."""

    def __init__(self, *, dimension: int = 64):
        super().__init__()
        positive(dimension=dimension)
        self.dimension = dimension
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def sample(self, n: int) -> Tensor:
        """n draws, (n, dimension)."""
        return torch.randn(n, self.dimension, dtype=self.like.dtype, device=self.like.device)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) = -½ (|z|² + d log 2π) in nats, (..., d) -> (...)."""
        return -0.5 * (z.square().sum(-1) + self.dimension * math.log(2 * math.pi))


class Uniform(nn.Module):
    """z ~ U[-1, 1] in `dimension` independent entries. Samples take the dtype and device the module was moved to."""

    def __init__(self, *, dimension: int = 64):
        super().__init__()
        positive(dimension=dimension)
        self.dimension = dimension
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def sample(self, n: int) -> Tensor:
        """n draws, (n, dimension)."""
        return 2 * torch.rand(n, self.dimension, dtype=self.like.dtype, device=self.like.device) - 1

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) = -d log 2 in nats inside the cube, -∞ outside, (..., d) -> (...)."""
        outside = (z.abs() > 1).any(-1)
        return z.new_full(z.shape[:-1], -self.dimension * math.log(2)).masked_fill(outside, -math.inf)


class Fitted(nn.Module):
    """z ~ N(m, S), m and S being the moments of the codes that it was shown: a law for an encoder that follows none.

    `observe` moves both towards a batch's by a hundredth, as batch norm does. Drawing from a law fitted afterwards is
    what makes a generator of an autoencoder (Ghosh et al. 2020, arXiv:1903.12436).
    """

    PACE = 0.01

    def __init__(self, *, dimension: int = 64):
        super().__init__()
        positive(dimension=dimension)
        self.dimension = dimension
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("covariance", torch.eye(dimension))

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        off = z - self.mean
        self.mean.lerp_(z.mean(0), self.PACE)
        self.covariance.lerp_(off.mT @ off / len(z), self.PACE)

    @property
    def law(self) -> torch.distributions.MultivariateNormal:
        covariance = self.covariance.double()  # codes may lie in a plane, which float32 does not tell from a fold
        floor = 1e-6 * covariance.trace() + 1e-12
        covariance = covariance + floor * torch.eye(self.dimension).to(covariance)
        return torch.distributions.MultivariateNormal(self.mean.double(), covariance, validate_args=False)

    def sample(self, n: int) -> Tensor:
        """n draws, (n, dimension)."""
        return self.law.sample((n,)).to(self.mean.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (..., d) -> (...)."""
        return self.law.log_prob(z.double()).to(z.dtype)
