"""What an encoder is: a trunk, and a head for the numbers of q(z|x)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.errors import UserError, unknown
from ludus.networks.check import called
from ludus.networks.laws import DiagonalGaussian, Point, Warped
from ludus.ranges import Count


class Encoder(nn.Module):
    """q(z | x, c) from the features of x: their trunk, and a linear layer for the law's numbers.

    posterior: "gaussian", N(mean, diag std²);  "flow", a Gaussian bent by `transforms` affine couplings that see the
        features (zuko's NICE; Rezende & Mohamed 2015, arXiv:1505.05770), which costs a Monte-Carlo KL;  "point".
    network: (x, c) -> features (B, width): a discriminator of the library, whose own head is not kept, or a network of
        the user's own.    shape, condition: of the data.    latent: d.
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
        *,
        posterior: Literal["gaussian", "flow", "point"] = "gaussian",
        transforms: Count = 3,
    ):
        super().__init__()
        if posterior not in ("gaussian", "flow", "point"):
            raise unknown("posterior", posterior, ["gaussian", "flow", "point"])
        if getattr(network, "minibatch", "none") != "none":
            raise UserError("an encoder maps each row on its own: it has no minibatch layer")
        self.latent, self.posterior, self.transforms = latent, posterior, transforms
        self.features = network.features if hasattr(network, "minibatch") else network  # the library's, or one's own
        with seeds.measuring(network):
            c = torch.zeros(2, condition) if condition else None
            found = called("encoder", "x", self.features, torch.zeros(2, *shape), c)
        if found.dim() != 2:
            raise UserError(f"the encoder's network gave {tuple(found.shape)} for 2 rows: features are (batch, width)")
        width = found.shape[1]
        self.head = nn.Linear(width, latent if posterior == "point" else 2 * latent)
        self.flow = _flow(latent, width, transforms) if posterior == "flow" else None

    def forward(self, x: Tensor, c: Tensor | None = None) -> DiagonalGaussian | Point | Warped:
        h = self.features(x, c)
        numbers = self.head(h)
        if self.posterior == "point":
            return Point(numbers)
        mean, log_std = numbers.chunk(2, 1)
        gaussian = DiagonalGaussian(mean, log_std.clamp(self.LEAST, self.MOST))
        return gaussian if self.flow is None else Warped(gaussian, self.flow(h))


def _flow(latent: int, width: int, transforms: int) -> nn.Module:
    """Couplings, fast both ways: autoregressive transforms take d passes in one of the two that a bound needs."""
    if latent < 2:
        raise UserError("posterior 'flow' couples one half of the latents to the other: it needs two at least")
    try:
        from zuko.flows import NICE
    except ImportError:
        raise UserError("posterior 'flow' needs zuko: pip install 'ludus[flow]'") from None
    return NICE(latent, context=width, transforms=transforms, hidden_features=(64, 64))
