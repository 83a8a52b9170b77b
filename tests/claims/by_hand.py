"""What the claims on gradients share: a small game at random weights, and its gradients worked out row by row.

No loss of the library is used here: a player's gradient is a mean over rows of a number from the paper times a Jacobian
of the network.
"""

import torch
from torch import nn
from torch.func import functional_call, grad, jacrev

from ludus.data.sampler import Sampler
from ludus.game import Batch
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.trainer import Trainer

N = 6  # rows of a batch


class Fixed(nn.Module):
    """A prior that always draws the same z."""

    def __init__(self, z):
        super().__init__()
        self.register_buffer("z", z)

    def sample(self, n, c=None):
        return self.z[:n]


def game_of(method, **options):
    """A conditional game at random weights in float64, and a batch for it."""
    torch.manual_seed(0)
    generator = MlpGenerator((2,), 3, 2, width=7, depth=2, activation="tanh")
    discriminator = MlpDiscriminator((2,), 2, width=7, depth=2, activation="tanh")
    for p in (*generator.parameters(), *discriminator.parameters()):
        nn.init.normal_(p, std=0.7)
    game = method(generator, discriminator, Fixed(torch.randn(N, 3)), **options).double()
    return game, Batch(torch.randn(N, 2).double(), torch.randn(N, 2).double())


def gradient_of(game, name, batch, seed=0):
    """A player's gradient as the trainer takes it."""
    trainer = Trainer(game, Sampler(*batch, batch=N))
    torch.manual_seed(seed)
    trainer.gradient(name, batch)
    assert all(p.grad is None for p in game.parameters())  # nothing is left with anybody else
    return trainer.gradients[name]


def fakes(game, batch):
    return game.sample(len(batch.x), batch.c).detach()


def _rows(module, derivative, *rows):
    """derivative(f)(w, *row) for every row, f(w, *row) being the module's output on one row at parameters w."""

    def f(parameters, *row):
        return functional_call(module, parameters, tuple(r[None] for r in row))[0]

    parameters = {name: p.detach() for name, p in module.named_parameters()}
    return [derivative(f)(parameters, *row) for row in zip(*rows)]


def _mean(weights, jacobians):
    """The mean over rows of weight · Jacobian, by parameter: weights are (B, *output), Jacobians (*output, *w)."""
    rows = [[torch.tensordot(w, j, w.dim()) for j in jacobian.values()] for w, jacobian in zip(weights, jacobians)]
    return [sum(parts) / len(rows) for parts in zip(*rows)]


def slopes(module, x, c):
    """s = ∇ₓa on every row, (B, D)."""
    return torch.stack(_rows(module, lambda f: grad(f, argnums=1), x, c))


def through_values(module, x, c, weight):
    """E weight(a) ∂a/∂w: the gradient of a discriminator's cost that has derivative `weight` in the logit."""
    return _mean(weight(module(x, c).detach()), _rows(module, jacrev, x, c))


def through_slopes(module, x, c, weight):
    """E weight(s) · ∂s/∂w, s = ∇ₓa: the gradient of a penalty that has derivative `weight` in the slope."""
    return _mean(weight(slopes(module, x, c)), _rows(module, lambda f: jacrev(grad(f, argnums=1)), x, c))


def through_samples(game, batch, weight):
    """E weight(a) ∇ₓa · ∂x̃/∂w: the gradient of a generator's cost, derivative `weight` in the logit."""
    fake = fakes(game, batch)
    weights = weight(game.discriminator(fake, batch.c).detach())[:, None] * slopes(game.discriminator, fake, batch.c)
    return _mean(weights, _rows(game.generator, jacrev, game.prior.sample(N), batch.c))


def added(*gradients):
    return [sum(parts) for parts in zip(*gradients, strict=True)]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert max(a.abs().max() for a in found) > 1e-3  # zeros would agree with anything
