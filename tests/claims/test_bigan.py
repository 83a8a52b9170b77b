"""What the papers of BiGAN and ALI state: the inverse objective, one player for two networks, E and G as inverses; and
BiGAN's baselines, the latent regressors.
"""

import itertools
import math

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import D, K, d
from hybrid import Hand, networks, ready, says_fake, says_real
from torch import nn

from games import data_of, trainer_of
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.bigan import BiGAN
from ludus.methods.latent_regressor import LatentRegressor
from ludus.networks.laws import Point
from ludus.networks.priors import Gaussian

# Gradients


@pytest.mark.parametrize("name", ["discriminator", "encoder_generator"])
@pytest.mark.parametrize("posterior", ["point", "gaussian"])  # BiGAN, ALI
def test_every_player_has_the_papers_gradient(posterior, name):
    game, batch = ready(BiGAN(*networks(posterior, sees=((D,), d + K)), Gaussian(dimension=d)))
    hand, costs = Hand(game), {"discriminator": [], "encoder_generator": []}
    torch.manual_seed(0)
    noise = torch.randn(N, d, dtype=torch.float64)
    for x, c, z, e in zip(*batch, game.prior.z, noise):
        numbers = hand.code(x, c)
        code = numbers[:d] + numbers[d:].exp() * e if posterior == "gaussian" else numbers
        a_real = hand.logit(x, torch.cat([code, c]))
        a_fake = hand.logit(hand.network("generator", z, c), torch.cat([z, c]))
        costs["discriminator"].append(says_real(a_real) + says_fake(a_fake))
        costs["encoder_generator"].append(says_fake(a_real) + says_real(a_fake))
    owned = {"discriminator": ["discriminator"], "encoder_generator": ["encoder", "generator"]}[name]
    assert_same(gradient_of(game, name, batch), hand.of(sum(costs[name]) / N, *owned))


def test_the_penalty_is_that_of_the_slope_in_both():
    """γ/2 E|∇a|² over x and z, on (x, ẑ) and on (x̃, z): values from row-by-row derivatives."""
    game, batch = ready(BiGAN(*networks("point", sees=((D,), d + K)), Gaussian(dimension=d), gamma=0.7))
    hand, found = Hand(game), game.discriminator_loss(batch).terms

    def slope(x, z, c):
        x, z = x.detach().requires_grad_(), z.detach().requires_grad_()
        by_x, by_z = torch.autograd.grad(hand.logit(x, torch.cat([z, c])), [x, z])
        return 0.7 / 2 * (sum(by_x**2) + sum(by_z**2)).item() / N

    rows = list(zip(*batch, game.prior.z))
    real = sum(slope(x, hand.code(x, c), c) for x, c, _ in rows)
    fake = sum(slope(hand.network("generator", z, c), z, c) for _, c, z in rows)
    assert found["r1"].item() == pytest.approx(real, rel=1e-10)
    assert found["r2"].item() == pytest.approx(fake, rel=1e-10)


@pytest.mark.parametrize("name", ["discriminator", "encoder", "generator"])
@pytest.mark.parametrize("weight", [0.0, 0.25])  # LR, joint LR
def test_every_player_of_the_latent_regressor(weight, name):
    game, batch = ready(LatentRegressor(*networks("point"), Gaussian(dimension=d), weight=weight))
    hand, costs = Hand(game), {"discriminator": [], "encoder": [], "generator": []}
    for x, c, z in zip(*batch, game.prior.z):
        fake = hand.network("generator", z, c)
        distance = sum((a - b) ** 2 for a, b in zip(z, hand.code(fake, c)))
        costs["discriminator"].append(says_real(hand.logit(x, c)) + says_fake(hand.logit(fake, c)))
        costs["encoder"].append(distance)
        costs["generator"].append(says_real(hand.logit(fake, c)) + weight * distance)
    assert_same(gradient_of(game, name, batch), hand.of(sum(costs[name]) / N, name))


# The solution


class Map(nn.Module):
    """A function of three things, which are one-hot, as an encoder or as a generator."""

    def __init__(self, images, law):
        super().__init__()
        self.table, self.law = torch.eye(3, dtype=torch.float64)[list(images)], law

    def forward(self, a, c=None):
        return self.law(a @ self.table)


class Best(nn.Module):
    """log p(x, E(x)) / p(G(z), z) on the nine pairs, each told with 1e-9 more, so that it is finite."""

    def __init__(self, e, g):
        super().__init__()
        real, fake = torch.full((2, 3, 3), 1e-9, dtype=torch.float64)
        for i in range(3):
            real[i, e[i]] += 1 / 3
            fake[g[i], i] += 1 / 3
        self.ratio = (real / fake).log()

    def forward(self, x, c=None):
        return ((x @ self.ratio) * c).sum(1)


def test_encoder_and_generator_are_inverse_exactly_where_the_discriminator_is_helpless():
    """Theorem 2 on a finite set: of all 27 × 27 pairs of maps between three x and three z, at the best discriminator
    the six that are inverse to each other reach log 4, and no others do: there the cost is log 4 − 2 JSD.
    """
    things = torch.eye(3, dtype=torch.float64)
    maps = list(itertools.product(range(3), repeat=3))
    solutions = []
    for e, g in itertools.product(maps, maps):
        game = BiGAN(Map(e, Point), Map(g, nn.Identity()), Best(e, g), Gaussian(dimension=3))
        game.prior.sample = lambda n, c=None: things
        cost = game.discriminator_loss(Batch(things)).total.item()
        shared = sum(e[x] == z and g[z] == x for x in range(3) for z in range(3)) / 3
        assert cost == pytest.approx(shared * math.log(4), abs=1e-6)  # deterministic maps: 1 − JSD / log 2 = shared
        solutions += [(e, g)] if cost > math.log(4) - 1e-6 else []
    assert len(solutions) == 6
    assert all(g[e[x]] == x for e, g in solutions for x in range(3))


def test_the_labels_exchanged_have_the_same_solution_and_a_livelier_gradient():
    """At a pair that the discriminator is sure of, a = 20, the zero-sum cost has slope σ(−20), this one σ(20)."""
    game, batch = ready(BiGAN(*networks("point", sees=((D,), d + K)), Gaussian(dimension=d)))
    a = torch.full((N,), 20.0, dtype=torch.float64, requires_grad=True)
    game.discriminator.forward = lambda x, c=None: a if torch.equal(x, batch.x) else -a
    slope = torch.autograd.grad(game.encoder_generator_loss(batch).total, a)[0] * N / 2
    assert slope[0].item() == pytest.approx(1 / (1 + math.exp(-20)), rel=1e-12)


# From a recipe


def test_the_discriminator_sees_pairs_and_a_bounded_prior_squashes_the_encoder():
    trainer = trainer_of("bigan", data_of(condition="classes"), **{"prior.name": "uniform"})
    game = trainer.game
    assert game.discriminator.condition == 3 + game.prior.dimension
    for p in game.encoder.head.parameters():
        nn.init.normal_(p, std=100.0)
    assert game.posterior(torch.randn(9, 1, 8, 8), torch.eye(3)[[0] * 9]).mean.abs().max() <= 1
    trainer.step()


@pytest.mark.parametrize("method", ["bigan", "latent_regressor"])
def test_what_does_not_fit_is_refused(method):
    with pytest.raises(UserError, match="tails, this prior has none" if method == "bigan" else "to a point|tails"):
        trainer_of(method, data_of((2,)), **{"prior.name": "uniform", "encoder.posterior": "gaussian"})


@pytest.mark.parametrize("posterior", ["gaussian", "noise"])
def test_ali_plays(posterior):
    trainer = trainer_of("bigan", data_of(condition="classes"), **{"encoder.posterior": posterior})
    trainer.step()
    trainer.check_finite()
