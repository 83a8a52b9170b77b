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
        """log p(z) = -½ (|z|² + d log 2π) in nats, (n, d) -> (n,)."""
        return -0.5 * (z.square().sum(1) + self.dimension * math.log(2 * math.pi))


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
        """log p(z) = -d log 2 in nats inside the cube, -∞ outside, (n, d) -> (n,)."""
        outside = (z.abs() > 1).any(1)
        return z.new_full((len(z),), -self.dimension * math.log(2)).masked_fill(outside, -math.inf)
