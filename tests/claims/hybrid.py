"""What the claims on GANs with encoders share: small networks at random weights, and the paper's losses row by row."""

import torch
from by_hand import Fixed, N
from coded import ByHand, D, K, d
from torch import nn

from ludus.game import Batch
from ludus.networks.encoders import Encoder
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator

OPTIONS = {"width": 7, "depth": 2, "activation": "tanh"}


def networks(posterior="gaussian", *, blind=False, sees=((D,), K)):
    """An encoder, a generator and a discriminator of the shape and the condition `sees`, at random weights."""
    torch.manual_seed(0)
    k = 0 if blind else K
    encoder = Encoder(MlpDiscriminator((D,), k, **OPTIONS), d, (D,), k, posterior=posterior, basis=3)
    generator, discriminator = MlpGenerator((D,), d, K, **OPTIONS), MlpDiscriminator(*sees, **OPTIONS)
    for network in (encoder, generator, discriminator):
        for p in network.parameters():
            nn.init.normal_(p, std=0.5)
    return encoder, generator, discriminator


def ready(game):
    """The game in float64 with latents that are always the same, and a batch for it."""
    game = game.double()
    torch.manual_seed(1)
    game.prior = Fixed(torch.randn(N, d).double())
    return game, Batch(torch.randn(N, D).double(), torch.randn(N, K).double())


class Hand(ByHand):
    """The networks of a game on one row."""

    def gaussian(self, x, c):
        """Mean and log std of q(z|x)."""
        return self.code(x, c).chunk(2)

    def code(self, x, *c):
        head = self.w["encoder.head.weight"], self.w["encoder.head.bias"]
        return head[0] @ self.network("encoder.features", x, *c) + head[1]

    def logit(self, x, c):
        return self.network("discriminator", x, c)

    def of(self, cost, *roles):
        """The gradient of a cost, in the parameters of some networks."""
        mine = [p for role in roles for name, p in self.w.items() if name.startswith(f"{role}.")]
        return torch.autograd.grad(cost, mine, retain_graph=True)


def log_sigmoid(a):
    return torch.log(1 / (1 + torch.exp(-a)))


def says_real(a):
    """−log D."""
    return -log_sigmoid(a)


def says_fake(a):
    """−log(1 − D)."""
    return -log_sigmoid(-a)
