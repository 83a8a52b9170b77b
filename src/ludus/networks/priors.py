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

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws, (n, dimension)."""
        return torch.randn(n, self.dimension, dtype=self.like.dtype, device=self.like.device)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) = -½ (|z|² + d log 2π) in nats, (..., d) -> (...)."""
        return -0.5 * (z.square().sum(-1) + self.dimension * math.log(2 * math.pi))


class Uniform(nn.Module):
    """z ~ U[-1, 1] in `dimension` independent entries. Samples take the dtype and device the module was moved to."""

    bounded = True  # an encoder's z must then be squashed

    def __init__(self, *, dimension: int = 64):
        super().__init__()
        positive(dimension=dimension)
        self.dimension = dimension
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
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

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws, (n, dimension)."""
        return self.law.sample((n,)).to(self.mean.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (..., d) -> (...)."""
        return self.law.log_prob(z.double()).to(z.dtype)


class Mixture(nn.Module):
    """Petals about the origin of a plane: K Gaussians with means on a circle of radius 4, sd 1 outwards, 0.4 across.

    Where the data have K classes, z of class k is drawn from petal k, else from any: codes brought to this prior lie in
    a place for each class (Makhzani et al. 2015, figure 4). Without classes K = 10.
    """

    dimension, RADIUS, OUT, ACROSS = 2, 4.0, 1.0, 0.4

    def __init__(self, classes: int = 0):
        super().__init__()
        self.classes = classes
        angle = 2 * math.pi * torch.arange(classes or 10) / (classes or 10)
        self.register_buffer("outwards", torch.stack([angle.cos(), angle.sin()], 1), persistent=False)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws (n, 2), of the classes in c (n, K) where these are known."""
        out = self.outwards[part(n, c if self.classes else None, len(self.outwards), self.outwards)]
        r, s = torch.randn(2, n, 1, dtype=out.dtype, device=out.device)
        return (self.RADIUS + self.OUT * r) * out + self.ACROSS * s * across(out)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats of the whole mixture, (..., 2) -> (...)."""
        z = z[..., None, :]
        r, s = ((z * axis).sum(-1) for axis in (self.outwards, across(self.outwards)))
        logs = -0.5 * (((r - self.RADIUS) / self.OUT).square() + (s / self.ACROSS).square())
        return (logs - math.log(2 * math.pi * self.OUT * self.ACROSS)).logsumexp(-1) - math.log(len(self.outwards))


class SwissRoll(nn.Module):
    """A spiral in a plane, z = t (cos 3πt, sin 3πt) · 4 + noise of sd 0.1, t = √u, u ~ U[0, 1]: evenly along the roll.

    Where the data have K classes, class k is the k-th of K equal pieces (Makhzani et al. 2015, figure 4).
    """

    dimension, RADIUS, NOISE = 2, 4.0, 0.1

    def __init__(self, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws (n, 2), of the classes in c (n, K) where these are known."""
        u = torch.rand(n, dtype=self.like.dtype, device=self.like.device)
        if self.classes:
            u = (part(n, c, self.classes, self.like) + u) / self.classes
        t = u.sqrt()
        angle = 3 * math.pi * t
        z = self.RADIUS * t[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return z + self.NOISE * torch.randn_like(z)


def across(axis: Tensor) -> Tensor:
    """Unit vectors (..., 2), turned by a right angle."""
    return torch.stack([-axis[..., 1], axis[..., 0]], -1)


def part(n: int, c: Tensor | None, parts: int, like: Tensor) -> Tensor:
    """Which of the parts of a prior each of n draws is of, (n,): its class, or any where c (n, K) does not say."""
    drawn = torch.randint(parts, (n,), device=like.device)
    if c is None:
        return drawn
    return torch.where(c.isnan().any(1), drawn, c.nan_to_num().argmax(1))
