"""What an encoder is: a trunk, and a head for the numbers of q(z|x)."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from ludus.errors import UserError, unknown
from ludus.networks.check import trunk_of
from ludus.networks.laws import DiagonalGaussian, Implicit, Law, Point, Warped
from ludus.ranges import Count

POSTERIORS = ("gaussian", "flow", "point", "noise")


class Encoder(nn.Module):
    """q(z | x, c) from the features of x: their trunk, and a linear layer for the law's numbers.

    posterior: "gaussian", N(mean, diag std²);  "flow", a Gaussian bent by `transforms` affine couplings that see the
        features (zuko's NICE; Rezende & Mohamed 2015, arXiv:1505.05770), which costs a Monte-Carlo KL;  "point";
        "noise", z = z₀ + Σ_i a_i v_i(ε_i) over `basis` small networks v_i: any shape, no density, moments for a song
        (Mescheder et al. 2017, section 3.2).
    network: (x, c) -> features (B, width): a discriminator of the library, whose own head is not kept, or a network of
        the user's own.    shape, condition: of the data.    latent: d.    squashed: z in [-1, 1], by a tanh.
    forward(x (B, *shape), c (B, K) | None) -> a law of z (B, d), see `networks.laws`. Raises UserError where the
    network mixes rows by a minibatch layer, or zuko is not installed.
    """

    LEAST, MOST = -9.0, 5.0  # log std of a latent: beyond these float32 has nothing to say

    def __init__(
        self,
        network: nn.Module,
        latent: int,
        shape: tuple[int, ...],
        condition: int = 0,
        squashed: bool = False,
        *,
        posterior: Literal["gaussian", "flow", "point", "noise"] = "gaussian",
        transforms: Count = 3,
        basis: Count = 16,
    ):
        super().__init__()
        if posterior not in POSTERIORS:
            raise unknown("posterior", posterior, POSTERIORS)
        if squashed and posterior != "point":
            raise UserError(
                f"encoder.posterior={posterior} has tails, this prior has none: prior.name=gaussian, or posterior=point"
            )
        self.latent, self.squashed, self.posterior = latent, squashed, posterior
        self.transforms, self.basis = transforms, basis
        self.features, width = trunk_of("encoder", network, shape, condition)
        numbers = {"point": 1, "gaussian": 2, "flow": 2, "noise": 1 + basis}
        self.head = nn.Linear(width, numbers[posterior] * latent)
        self.flow = _flow(latent, width, transforms) if posterior == "flow" else None
        self.noise = _Basis(basis, latent) if posterior == "noise" else None

    def forward(self, x: Tensor, c: Tensor | None = None) -> Law:
        h = self.features(x, c)
        numbers = self.head(h)
        if self.posterior == "point":
            return Point(numbers.tanh() if self.squashed else numbers)
        if self.noise is not None:
            offset, *scales = numbers.chunk(1 + self.basis, 1)
            return Implicit(offset, elu(torch.stack(scales)) + 1, self.noise)
        mean, log_std = numbers.chunk(2, 1)
        gaussian = DiagonalGaussian(mean, log_std.clamp(self.LEAST, self.MOST))
        return gaussian if self.flow is None else Warped(gaussian, self.flow(h))


class _Basis(nn.Module):
    """M networks ε_i -> v_i, of `WIDTH` units in two hidden layers, side by side: n -> v (M, n, d)."""

    NOISE, WIDTH = 8, 64  # numbers in each ε_i; units

    def __init__(self, m: int, latent: int):
        super().__init__()
        sizes = (self.NOISE, self.WIDTH, self.WIDTH, latent)
        self.weights = nn.ParameterList(torch.randn(m, a, b) * (1 / a) ** 0.5 for a, b in pairwise(sizes))
        self.biases = nn.ParameterList(torch.randn(m, 1, b) for b in sizes[1:-1])  # of the last, z₀ has the sum
        with torch.no_grad():
            self.weights[-1] /= m**0.5

    def forward(self, n: int) -> Tensor:
        first, *rest = self.weights
        v = torch.randn(len(first), n, self.NOISE, dtype=first.dtype, device=first.device) @ first
        for weight, bias in zip(rest, self.biases):
            v = elu(v + bias) @ weight
        return v


def _flow(latent: int, width: int, transforms: int) -> nn.Module:
    """Couplings, fast both ways: autoregressive transforms take d passes in one of the two that a bound needs."""
    if latent < 2:
        raise UserError("posterior 'flow' couples one half of the latents to the other: it needs two at least")
    try:
        from zuko.flows import NICE
    except ImportError:
        raise UserError("posterior 'flow' needs zuko: pip install 'ludus[flow]'") from None
    return NICE(latent, context=width, transforms=transforms, hidden_features=(64, 64))
