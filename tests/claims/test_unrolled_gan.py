"""What the unrolled GAN's paper states (Metz et al. 2017). On the Dirac-GAN: test_dirac.py."""

import math

import pytest
import torch
from by_hand import assert_same, game_of, gradient_of
from torch import nn
from torch.func import functional_call

from games import data_of, same, trainer_of, weights
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.gan import GAN
from ludus.methods.unrolled_gan import UnrolledGAN
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian

COSTS = ["minimax", "heuristic"]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_without_steps_it_is_the_plain_gan_bit_for_bit(cost, network):
    """Ten turns on images with conditions; dcgan has batch norm in the generator and dropout in the discriminator."""
    settings = {"generator.name": network, "discriminator.name": network, "method.cost": cost, "trainer.steps": 10}
    plain = trainer_of("gan", data_of(condition="classes"), **settings)
    unrolled = trainer_of("unrolled_gan", data_of(condition="classes"), **settings, **{"method.unroll": 0})
    for trainer in (plain, unrolled):
        trainer.run()
    plain, unrolled = ((weights(t.game), t.losses) for t in (plain, unrolled))
    assert unrolled[0].keys() <= plain[0].keys()
    assert same(unrolled[0], {name: plain[0][name] for name in unrolled[0]})
    for name, loss in unrolled[1].items():
        assert loss == plain[1][name]


@pytest.mark.parametrize("unroll", [1, 3])
@pytest.mark.parametrize("cost", COSTS)
def test_the_generators_gradient_is_that_of_its_cost_after_the_steps(cost, unroll):
    """By central differences of the cost, the discriminator's steps being taken outside any graph.

    Along a unit vector, ε = 10⁻⁵ leaves an error of ε² and rounding of 10⁻¹⁶ / ε: both about 10⁻¹⁰.
    """
    rate, eps = 0.7, 1e-5
    game, batch = game_of(UnrolledGAN, cost=cost, unroll=unroll, rate=rate)
    found = gradient_of(game, "generator", batch)

    def cost_at(step):
        """−f or −E log D(x̃) at θ + step · direction, after the discriminator's steps against it."""
        w = {n: p.detach() + step * d for (n, p), d in zip(game.generator.named_parameters(), direction)}
        fake = functional_call(game.generator, w, (game.prior.sample(len(batch.x)), batch.c)).detach()
        psi = {n: p.detach().clone().requires_grad_() for n, p in game.discriminator.named_parameters()}

        def log_d(x, sign):
            return torch.sigmoid(sign * functional_call(game.discriminator, psi, (x, batch.c))).log().mean()

        for _ in range(unroll):
            slopes = torch.autograd.grad(-log_d(batch.x, 1) - log_d(fake, -1), list(psi.values()))
            psi = {n: (p - rate * g).detach().requires_grad_() for (n, p), g in zip(psi.items(), slopes)}
        return (log_d(batch.x, 1) + log_d(fake, -1) if cost == "minimax" else -log_d(fake, 1)).item()

    torch.manual_seed(1)
    for _ in range(3):
        direction = [torch.randn_like(p) for p in game.generator.parameters()]
        length = math.sqrt(sum(d.square().sum() for d in direction))
        direction = [d / length for d in direction]
        slope = (cost_at(eps) - cost_at(-eps)) / (2 * eps)
        along = sum((g * d).sum() for g, d in zip(found, direction)).item()
        assert along == pytest.approx(slope, abs=1e-8)
        assert abs(slope) > 1e-3

    direction = [torch.zeros_like(p) for p in game.generator.parameters()]
    assert game.generator_loss(batch).total.item() == pytest.approx(cost_at(0), rel=1e-12)


def test_after_many_steps_the_gradient_is_the_plain_one_at_the_best_discriminator():
    """Under minimax ∂f/∂ψ vanishes at D*, and with it what the steps add (section 2.4)."""
    torch.manual_seed(0)
    batch = Batch(torch.randn(64, 2).double())
    torch.manual_seed(1)
    # a logit that is linear in x: f is convex in ψ, with its minimum where no line separates the two sets
    line = nn.Sequential(nn.Linear(2, 1, bias=True), nn.Flatten(0))

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = line

        def forward(self, x, c=None):
            return self.line(x)

    generator = MlpGenerator((2,), 3, width=8, depth=2, activation="tanh")

    class Same(Gaussian):
        def sample(self, n, c=None):
            return draws[:n]

    draws = torch.randn(64, 3).double()
    gradients = {}
    for unroll in (0, 1, 400):
        game = UnrolledGAN(generator, Line(), Same(dimension=3), cost="minimax", unroll=unroll, rate=0.9).double()
        gradients[unroll] = gradient_of(game, "generator", batch)
        best = game.unrolled(batch, game.sample(64))
    plain = UnrolledGAN(generator, Line(), Same(dimension=3), cost="minimax", unroll=0).double()
    with torch.no_grad():
        for name, value in best.items():
            dict(plain.discriminator.named_parameters())[name].copy_(value)
    assert max(g.abs().max() for g in gradient_of(plain, "discriminator", batch)) < 1e-9  # that is D*
    assert_same(gradients[400], gradient_of(plain, "generator", batch))
    for few in (0, 1):
        worst = max((a - b).abs().max() for a, b in zip(gradients[few], gradients[400]))
        assert worst > 1e-2


@pytest.mark.parametrize("cost", COSTS)
def test_the_discriminator_moves_as_the_plain_one(cost):
    options = {"cost": cost}
    found = gradient_of(*_with_batch(UnrolledGAN, unroll=4, **options), seed=2)
    assert_same(found, gradient_of(*_with_batch(GAN, **options), seed=2))


def _with_batch(method, **options):
    game, batch = game_of(method, **options)
    return game, "discriminator", batch


def test_looking_ahead_moves_nobody():
    game, batch = game_of(UnrolledGAN, unroll=5, rate=0.5)
    before = weights(game)
    gradient_of(game, "generator", batch)
    assert same(before, weights(game))


def test_a_spectral_norm_and_a_minibatch_layer_can_be_unrolled():
    """Their weights are parametrised, and one layer mixes rows; both are functions of ψ all the same."""
    options = {"spectral": True, "minibatch": "discrimination"}
    torch.manual_seed(0)
    generator = MlpGenerator((2,), 3, width=8, depth=2)
    game = UnrolledGAN(generator, MlpDiscriminator((2,), width=8, depth=2, **options), Gaussian(dimension=3), rate=0.5)
    batch = Batch(torch.randn(8, 2))
    plain = gradient_of(UnrolledGAN(generator, game.discriminator, game.prior, unroll=0), "generator", batch)
    found = gradient_of(game, "generator", batch)
    assert all(g.isfinite().all() for g in found)
    assert max((a - b).abs().max() for a, b in zip(plain, found)) > 1e-4


def test_batch_norm_is_refused():
    discriminator = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(UserError, match="take that out"):
        UnrolledGAN(nn.Linear(2, 2), discriminator, Gaussian(dimension=2))


def test_a_generator_on_one_mode_is_told_where_the_discriminator_goes_next():
    """Data at ±1, all generated rows at 1, a discriminator that has not noticed: only unrolling pulls them off.

    The logit is ψ x. At ψ = 0 the plain generator has no gradient at all. One step against it makes
    ψ¹ = rate (E x − θ) / 2 = −rate θ / 2, and −E log D(x̃) = log(1 + e^(−ψ¹ θ)) then has the slope
    σ(−ψ¹ θ) · rate · θ at θ, which points to the other mode.
    """
    rate, theta = 0.8, 1.0

    class Point(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor(theta))

        def forward(self, z, c=None):
            return self.theta.expand(len(z), 1)

    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.psi = nn.Parameter(torch.tensor(0.0))

        def forward(self, x, c=None):
            return self.psi * x[:, 0]

    batch = Batch(torch.tensor([[1.0], [-1.0]] * 3).double())
    for unroll, expected in ((0, 0.0), (1, rate * theta / (1 + math.exp(-rate * theta**2 / 2)))):
        game = UnrolledGAN(Point(), Slope(), Gaussian(dimension=1), unroll=unroll, rate=rate).double()
        (slope,) = gradient_of(game, "generator", batch)
        assert slope.item() == pytest.approx(expected, abs=1e-12)
