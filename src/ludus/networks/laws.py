"""What an encoder and a decoder return: laws of latents and of data, so that a bound reads like its formula."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ludus.errors import UserError


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag std²), one for each row: mean and log_std (B, d)."""

    mean: Tensor
    log_std: Tensor
    deterministic = implicit = False

    @property
    def std(self) -> Tensor:
        return self.log_std.exp()

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """z = mean + std ε, (*shape, B, d), with the gradient (Kingma & Welling 2014)."""
        noise = torch.randn(*shape, *self.mean.shape, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.std * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) in nats, z (..., B, d) -> (..., B)."""
        off = (z - self.mean) * (-self.log_std).exp()
        return -(0.5 * off.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self) -> Tensor:
        """KL(q ‖ N(0, 1)) of each latent, ½ (mean² + std² − 1 − 2 log std), (B, d)."""
        return 0.5 * (self.mean.square() + (2 * self.log_std).exp() - 1) - self.log_std


@dataclass(frozen=True)
class Point:
    """All of q(z|x) in one place, mean (B, d): an encoder that is a function."""

    mean: Tensor
    deterministic, implicit = True, False

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.mean)

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        return self.mean.expand(*shape, *self.mean.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        raise UserError("this encoder gives one z for an x, and no law: it has no log_prob (vae and iwae have)")


@dataclass(frozen=True)
class Warped:
    """q(z|x) of z = base.mean + base.std · f(ε, h), ε ~ N(0, 1), f invertible: a flow, which is `warp`, given h."""

    base: DiagonalGaussian
    warp: Distribution
    deterministic = implicit = False
    MOMENTS = 256  # draws

    @property
    def mean(self) -> Tensor:
        """From 256 draws: there is no closed form."""
        return self.rsample((self.MOMENTS,)).mean(0)

    @property
    def std(self) -> Tensor:
        """From 256 draws."""
        return self.rsample((self.MOMENTS,)).std(0)

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        return self.base.mean + self.base.std * self.warp.rsample(shape)

    def log_prob(self, z: Tensor) -> Tensor:
        off = (z - self.base.mean) * (-self.base.log_std).exp()
        return self.warp.log_prob(off) - self.base.log_std.sum(-1)


@dataclass(frozen=True)
class Implicit:
    """q(z|x) of z = z₀ + Σ_i a_i v_i, v_i drawn by a network from noise: it can be drawn from, and has no density.

    offset z₀ (B, d);  scales a (M, B, d);  basis: n -> n draws of each of the M independent v_i, (M, n, d).
    """

    offset: Tensor
    scales: Tensor
    basis: Callable[[int], Tensor]
    deterministic, implicit = False, True
    MOMENTS = 512  # draws

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z (B, d). The v_i know nothing of x, so that one set of draws serves all B."""
        v = self.basis(self.MOMENTS)
        variance = (self.scales.square() * v.var(1, keepdim=True)).sum(0)
        return self.offset + (self.scales * v.mean(1, keepdim=True)).sum(0), variance.sqrt()

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def std(self) -> Tensor:
        return self.moments[1]

    def rsample(self, shape: tuple[int, ...] = ()) -> Tensor:
        v = self.basis(math.prod((*shape, len(self.offset)))).unflatten(1, (*shape, len(self.offset)))
        scales = self.scales.view(len(v), *(1,) * len(shape), *self.offset.shape)
        return self.offset + (scales * v).sum(0)

    def log_prob(self, z: Tensor) -> Tensor:
        raise UserError("this encoder draws z from noise: its law has no density that could be computed, only samples")


def divergence(q: DiagonalGaussian | Warped, prior: nn.Module, z: Tensor) -> Tensor:
    """KL(q ‖ p) in nats of each latent (B, d), p = N(0, 1); of a flow of all together (B, 1), log q(z|x) − log p(z) at
    the one draw z of q, which is unbiased."""
    if isinstance(q, DiagonalGaussian):
        return q.kl()
    return (q.log_prob(z) - prior.log_prob(z))[:, None]


Law = DiagonalGaussian | Point | Warped | Implicit  # q(z|x), whatever it is


@dataclass(frozen=True)
class Pixels:
    """p(x|z) = Π_i p(x_i|z) over the pixels i that are not masked.

    each: the law of u = x · scale + offset, (..., B, *shape);  offset, scale: from the network's range to the units
    in which the law is one (counts, for Poisson);  mask (*shape): 0 where there is no detector.
    """

    each: Distribution
    offset: Tensor
    scale: Tensor
    mask: Tensor | None

    @property
    def mean(self) -> Tensor:
        """E[x|z] in the network's range."""
        return self._seen((self.each.mean - self.offset) / self.scale)

    def sample(self) -> Tensor:
        """x ~ p(x|z), without a gradient."""
        return self._seen((self.each.sample() - self.offset) / self.scale)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x|z) in nats, x (B, *shape) -> (..., B): of a count a probability, else a density."""
        logs = self.each.log_prob(x * self.scale + self.offset)
        if self.mask is not None:
            logs = logs.masked_fill(~self.mask, 0.0)
        return logs.flatten(logs.dim() - x.dim() + 1).sum(-1)  # all but (..., B)

    def _seen(self, x: Tensor) -> Tensor:
        return x if self.mask is None else x * self.mask
