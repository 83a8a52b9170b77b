"""What a decoder is: a generator's network, and the law of each pixel about what it gives."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Laplace, NegativeBinomial, Normal, Poisson

from ludus.errors import UserError, unknown
from ludus.networks.laws import Pixels

LIKELIHOODS = ("gaussian", "laplace", "bernoulli", "poisson", "negative_binomial")
LEAST = 1e-3  # standard deviation, in the network's range: below it a constant pixel would have an infinite density
GAIN = 10.0  # a learned logarithm is GAIN times its parameter: Adam moves all parameters at one pace, too slow here


class Decoder(nn.Module):
    """p(x | z, c): pixels that are independent, given h = network(z, c), one number a pixel.

        gaussian            N(h, σ²)                        laplace    of location h and standard deviation σ
        bernoulli           P(u = 1) = 1 / (1 + e^−h), for data in [0, 1]
        poisson             counts of mean s · log(1 + e^h), s the data's scale
        negative_binomial   counts of this mean m and variance m + m² / r, one r for all pixels, learned

    Poisson, negative binomial: u = x · scale + offset are the user's own numbers. Bernoulli: u runs from 0 to 1 over
    the range of the data; a value between is taken as a probability of 1, and the cross-entropy is then no likelihood.

    Args:
        network: (z, c) -> (B, *shape), or (B, 2 C, ...) where σ is predicted.    shape: of the data, (C, H, W) or (D,).
        offset, scale: from the network's range to the user's, one number or one a dimension.    bounded: whether that
            range is [-1, 1].    pixels: "mask" and "sigma" (*shape), what the data say of each pixel, if they do.
        sigma: σ in the user's units; or learned: "shared" by all pixels, one for each of the "pixels", "predicted" by
            the network; or "given" with the data, data.sigma.
    forward(z (..., B, d), c (B, K) | None) -> Pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        offset: tuple[float, ...] = (0.0,),
        scale: float = 1.0,
        bounded: bool = False,
        pixels: dict[str, np.ndarray] | None = None,
        *,
        likelihood: Literal["gaussian", "laplace", "bernoulli", "poisson", "negative_binomial"] = "gaussian",
        sigma: float | Literal["shared", "pixels", "predicted", "given"] = "shared",
    ):
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise unknown("likelihood", likelihood, LIKELIHOODS)
        self.continuous = likelihood in ("gaussian", "laplace")
        self.counts = likelihood in ("poisson", "negative_binomial")
        if sigma != "shared" and not self.continuous:
            raise UserError(f"decoder.sigma belongs to gaussian and laplace: {likelihood} has a width of its own")
        self.network, self.shape, self.likelihood, self.sigma = network, tuple(shape), likelihood, sigma
        pixels = pixels or {}
        if likelihood == "bernoulli":  # 0 to 1 over the range of the data
            if not bounded and (scale != 1 or any(offset)):
                raise UserError("bernoulli is for data in [0, 1]: set data.scaling=minmax, or none if they are")
            offset, scale = ((0.5,), 0.5) if bounded else ((0.0,), 1.0)
        elif self.continuous:
            self.unit, offset, scale = scale, (0.0,), 1.0
        else:
            self.rate = scale
        self.register_buffer("offset", torch.tensor(offset if len(offset) > 1 else offset[0]), persistent=False)
        self.register_buffer("scale", torch.tensor(float(scale)), persistent=False)
        mask = torch.from_numpy(pixels["mask"]) if "mask" in pixels else None
        self.register_buffer("mask", mask, persistent=False)
        self._learns(pixels)

    def _learns(self, pixels: dict[str, np.ndarray]) -> None:
        """What the law has of its own: a parameter, or σ as it was given, in the network's range."""
        if self.likelihood == "negative_binomial":
            self.log_r = nn.Parameter(torch.tensor(math.log(10.0) / GAIN))
        if not self.continuous or self.sigma == "predicted":
            return
        if self.sigma in ("shared", "pixels"):
            self.log_sigma = nn.Parameter(torch.zeros(() if self.sigma == "shared" else self.shape))
        elif self.sigma == "given":
            if "sigma" not in pixels:
                raise UserError("decoder.sigma=given: give the standard deviations as data.sigma=x.npy")
            self.register_buffer("fixed", torch.from_numpy(pixels["sigma"]) / self.unit, persistent=False)
        elif isinstance(self.sigma, str) or not self.sigma > 0:
            raise UserError(f"decoder.sigma = {self.sigma!r}: a number above 0, shared, pixels, predicted or given")
        else:
            self.register_buffer("fixed", torch.tensor(self.sigma / self.unit), persistent=False)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Pixels:
        flat = z.flatten(0, -2)
        repeated = c if c is None or len(c) == len(flat) else c.repeat(len(flat) // len(c), 1)
        h = self.network(flat, repeated)
        numbers = 2 if self.sigma == "predicted" else 1
        if h.shape[1:] != (asked := (numbers * self.shape[0], *self.shape[1:])):
            asked = ", ".join(map(str, asked))
            raise UserError(f"the decoder's network gave {tuple(h.shape)}: it is asked for (batch, {asked})")
        h = h.unflatten(0, z.shape[:-1])
        return Pixels(self._law(h), self.offset, self.scale, self.mask)

    def _law(self, h: Tensor) -> Distribution:
        if self.continuous:
            location, sigma = self._location_and_sigma(h)
            if self.likelihood == "gaussian":
                return Normal(location, sigma, validate_args=False)
            return Laplace(location, sigma / math.sqrt(2), validate_args=False)
        if self.likelihood == "bernoulli":
            return Bernoulli(logits=h, validate_args=False)
        mean = self.rate * nn.functional.softplus(h) + 1e-6  # float32 rounds the softplus to 0 from h = -104 on
        if self.likelihood == "poisson":
            return Poisson(mean, validate_args=False)
        r = (GAIN * self.log_r).exp()
        return NegativeBinomial(r, logits=mean.log() - GAIN * self.log_r, validate_args=False)

    def _location_and_sigma(self, h: Tensor) -> tuple[Tensor, Tensor]:
        if self.sigma == "predicted":
            location, log_sigma = h.chunk(2, h.dim() - len(self.shape))
            return location, LEAST + log_sigma.clamp(max=5.0).exp()
        if self.sigma in ("shared", "pixels"):
            return h, (LEAST + (GAIN * self.log_sigma).exp()).expand_as(h)
        return h, self.fixed.expand_as(h)

    def misfit(self, x: Tensor) -> tuple[tuple[int, ...], str] | None:
        """The index of the first number of x (n, *shape) that the law cannot give, and why; None if there is none."""
        if self.continuous:
            return None
        u = x * self.scale + self.offset
        if self.likelihood == "bernoulli":
            bad, why = (u < -1e-6) | (u > 1 + 1e-6), "outside [0, 1], over which bernoulli is"
        else:
            close = 1e-3 + 2e-7 * float(self.rate)  # float32, in the network's range and back
            bad, why = (u < -close) | ((u - u.round()).abs() > close), f"no count, which {self.likelihood} is for"
        if self.mask is not None:
            bad = bad & self.mask
        if not bad.any():
            return None
        where = tuple(int(i) for i in bad.nonzero()[0])
        return where, f"{float(u[where]):.6g} is {why}"
