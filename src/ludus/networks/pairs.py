"""Networks of games on pairs (x, z)."""

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.errors import UserError


def joined(z: Tensor, c: Tensor | None) -> Tensor:
    """The condition under which a discriminator sees the pair (x, z): z (B, d) in front of c (B, K), (B, d + K).

    So every conditional discriminator is one of pairs, and z enters it where c does.
    """
    return z if c is None else torch.cat([z, c.to(z.dtype)], 1)


class Reconstructor(nn.Module):
    """z = W features(x, c) + b: the trunk of a discriminator with a head of d numbers in place of its logit.

    network: a discriminator of the library; its own head is not kept.    latent: d.
    forward(x (B, *shape), c (B, K) | None) -> (B, d). Raises UserError where that head has a minibatch layer.
    """

    def __init__(self, network: nn.Module, latent: int):
        super().__init__()
        if network.minibatch != "none":
            raise UserError("a reconstructor maps each row on its own: it has no minibatch layer")
        self.features = network.features
        shape, condition = network.shape, network.condition
        with seeds.measuring(network):
            width = self.features(torch.zeros(2, *shape), torch.zeros(2, condition) if condition else None).shape[1]
        self.head = nn.Linear(width, latent)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.head(self.features(x, c))
