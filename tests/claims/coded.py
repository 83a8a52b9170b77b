"""What the claims on encoders and decoders share: a small game and its formula row by row; linear games, whose bound is
exact, in a world whose evidence is known.
"""

import torch
from by_hand import N
from torch import nn
from torch.func import functional_call

from ludus.callbacks.annealing import Annealing
from ludus.data.sampler import Sampler
from ludus.game import Batch
from ludus.networks.decoders import Decoder
from ludus.networks.encoders import Encoder
from ludus.networks.laws import DiagonalGaussian
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian
from ludus.trainer import Trainer
from ludus.worlds.linear_gaussian import LinearGaussian

D, d, K = 3, 2, 2  # numbers in x, z and c


# A small game at random weights, and its formula row by row


def encoder_and_network(posterior="gaussian"):
    """An encoder of x and a network z -> x, conditional, at random weights."""
    torch.manual_seed(0)
    options = {"width": 7, "depth": 2, "activation": "tanh"}
    encoder = Encoder(MlpDiscriminator((D,), K, **options), d, (D,), K, posterior=posterior)
    network = MlpGenerator((D,), d, K, **options)
    for name, p in (*encoder.named_parameters(), *network.named_parameters()):
        nn.init.normal_(p, std=0.12 if name.startswith("flow") else 0.5)  # the flow's layers are wider
    return encoder, network


def game_of(method, posterior="gaussian", **options):
    """A conditional game of a learned σ = e^-0.5 in float64, and a batch for it."""
    encoder, network = encoder_and_network(posterior)
    decoder = Decoder(network, (D,))
    nn.init.constant_(decoder.log_sigma, -0.05)
    return method(encoder, decoder, Gaussian(dimension=d), **options).double(), batch_of()


def batch_of():
    torch.manual_seed(1)
    return Batch(torch.randn(N, D).double(), torch.randn(N, K).double())


class ByHand:
    """What the networks of a game give for one row, as functions of copies `w` of its parameters."""

    def __init__(self, game):
        self.game, self.w = game, {name: p.detach().clone().requires_grad_() for name, p in game.named_parameters()}

    def network(self, path, *row):
        mine = {name.removeprefix(f"{path}."): p for name, p in self.w.items() if name.startswith(f"{path}.")}
        return functional_call(self.game.get_submodule(path), mine, tuple(r[None] for r in row))[0]

    def code(self, x, c):
        """The numbers of q(z|x)."""
        return self.w["encoder.head.weight"] @ self.network("encoder.features", x, c) + self.w["encoder.head.bias"]

    def log_likelihood(self, x, z, c):
        sigma = 1e-3 + torch.exp(10 * self.w["decoder.log_sigma"])
        return log_normal(x, self.network("decoder.network", z, c), sigma)

    def gradient(self, cost):
        return torch.autograd.grad(cost, list(self.w.values()))


def log_normal(x, mean, sd):
    """log N(x; mean, sd²), summed over the entries one by one."""
    sd = sd.expand_as(x)
    return sum(-(((a - m) / s) ** 2) / 2 - s.log() - torch.log(torch.tensor(2 * torch.pi, dtype=a.dtype)) / 2
               for a, m, s in zip(x, mean, sd))  # fmt: skip


# Linear games


class Same(nn.Module):
    def forward(self, x, c=None):
        return x


class Affine(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)

    def forward(self, z, c=None):
        return self.layer(z)


class Exact(nn.Module):
    """The posterior of a world with orthogonal W, moved by `shift` of its sds and `widened`: diagonal."""

    def __init__(self, world, widened=1.0, shift=0.0):
        super().__init__()
        self.world, self.widened, self.shift = world, widened, shift

    def forward(self, x, c=None):
        mean, covariance = self.world.posterior(x)
        std = covariance.diagonal().sqrt().expand_as(mean)
        return DiagonalGaussian(mean + self.shift * std, (self.widened * std).log())


def orthogonal_world(D=6, d=3, sigma=0.5):
    g = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(D, d, generator=g, dtype=torch.float64)).Q
    return LinearGaussian(Q * torch.linspace(0.5, 2, d), torch.randn(D, generator=g, dtype=torch.float64), sigma)


def exact_game(method, world, *, widened=1.0, shift=0.0, **options):
    """The world's own decoder, and its posterior for an encoder, or one that is wrong in a known way."""
    D, d = world.W.shape
    network = Affine(d, D).double()
    with torch.no_grad():
        network.layer.weight.copy_(world.W)
        network.layer.bias.copy_(world.mu)
    decoder = Decoder(network, (D,), sigma=world.sigma)
    return method(Exact(world, widened, shift), decoder, Gaussian(dimension=d), **options).double()


def linear_game(method, D, d, prior, *, posterior="gaussian", sigma="shared", **options):
    """A linear encoder and a linear decoder, to be trained."""
    torch.manual_seed(0)
    encoder = Encoder(Same(), d, (D,), posterior=posterior)
    return method(encoder, Decoder(Affine(d, D), (D,), sigma=sigma), prior(dimension=d), **options)


def trained(game, x, steps, lr=0.02):
    """The game after so many turns, each on all of x; the rate ends at 0, so that the noise of z averages out."""
    annealing = Annealing(hold=0.3, decay=0.0)
    Trainer(game, Sampler(x, batch=len(x)), [annealing], steps=steps, lr=lr, betas=(0.9, 0.99)).run()
    return game


@torch.no_grad()
def linear_elbo(game, x):
    """The bound of a linear game, (B,): log p(x|z) is quadratic in z, so that its mean over q is that over the 2d
    points mean ± √d std e_j, which have the first three moments of q."""
    q = game.posterior(x)
    ends = q.mean.shape[1] ** 0.5 * torch.eye(q.mean.shape[1]).to(x)
    z = q.mean + q.std * torch.cat([ends, -ends])[:, None]
    return game.likelihood(z).log_prob(x).mean(0) - q.kl().sum(1)


def with_covariance(spectrum, n, dtype=torch.float32):
    """Rows (n, D) whose sample covariance (over n) has exactly these eigenvalues, in random directions, about 1."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, len(spectrum), generator=g, dtype=torch.float64)
    white = torch.linalg.qr(x - x.mean(0)).Q * n**0.5
    directions = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=g, dtype=torch.float64)).Q
    return (white * torch.as_tensor(spectrum, dtype=torch.float64).sqrt() @ directions.T + 1).to(dtype)
