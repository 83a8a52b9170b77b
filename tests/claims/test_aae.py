"""What the adversarial autoencoder's paper states: three moves, an encoder with two owners, a prior of any shape."""

import math

import numpy as np
import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import D, K, d, log_normal
from hybrid import Hand, networks, ready, says_fake, says_real
from torch import nn

from games import data_of, trainer_of
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.aae import AAE
from ludus.networks.decoders import Decoder
from ludus.networks.priors import Gaussian, Mixture, SwissRoll


def small_game(posterior, **options):
    encoder, network, discriminator = networks(posterior, blind=True, sees=((d,), K))
    decoder = Decoder(network, (D,))
    nn.init.constant_(decoder.log_sigma, -0.05)
    game, batch = ready(AAE(encoder, decoder, discriminator, Gaussian(dimension=d), **options))
    if options:
        game.prior.log_prob = Gaussian(dimension=d).log_prob
    return game, batch


def by_the_paper(game, batch):
    hand, offset = Hand(game), game.offset
    costs = {"autoencoder": [], "discriminator": [], "encoder": []}
    torch.manual_seed(0)
    noise = torch.randn(N, d, dtype=torch.float64)
    for x, c, z_p, e in zip(*batch, game.prior.z, noise):
        code = hand.code(x)
        z = code[:d] + code[d:].exp() * e if len(code) == 2 * d else code

        def logit(z, c=c):
            extra = -sum(v**2 + math.log(2 * math.pi) for v in z) / 2 if offset else 0
            return hand.logit(z, c) + extra

        sigma = 1e-3 + torch.exp(10 * hand.w["decoder.log_sigma"])
        costs["autoencoder"].append(-log_normal(x, hand.network("decoder.network", z, c), sigma))
        costs["discriminator"].append(says_real(logit(z_p)) + says_fake(logit(z)))
        costs["encoder"].append(says_real(logit(z)))
    mean = {name: sum(rows) / N for name, rows in costs.items()}
    owns = {"autoencoder": ("encoder", "decoder"), "discriminator": ("discriminator",), "encoder": ("encoder",)}
    return {name: hand.of(mean[name], *roles) for name, roles in owns.items()}


@pytest.mark.parametrize("name", ["autoencoder", "discriminator", "encoder"])
@pytest.mark.parametrize(("posterior", "options"), [("point", {}), ("gaussian", {}), ("point", {"offset": True})])
def test_every_player_has_the_papers_gradient(posterior, options, name):
    game, batch = small_game(posterior, **options)
    game.prior.sample = lambda n, c=None: game.prior.z[:n]
    assert_same(gradient_of(game, name, batch), by_the_paper(game, batch)[name])


def test_the_encoder_moves_twice_a_turn_with_two_optimisers():
    trainer = trainer_of("aae", data_of((2,)))
    assert list(trainer.players) == ["autoencoder", "discriminator", "encoder"]
    shared = set(map(id, trainer.parameters["autoencoder"])) & set(map(id, trainer.parameters["encoder"]))
    assert shared == set(map(id, trainer.game.encoder.parameters()))
    assert trainer.optimisers["autoencoder"] is not trainer.optimisers["encoder"]


def test_the_encoder_is_never_told_the_condition():
    game = trainer_of("aae", data_of((2,), "classes")).game
    x = torch.randn(5, 2)
    assert torch.equal(game.posterior(x, torch.eye(3)[[0] * 5]).mean, game.posterior(x, torch.eye(3)[[1] * 5]).mean)
    assert game.encoder.features.condition == 0 and game.discriminator.condition == 3


# Priors that are no Gaussian


@pytest.mark.parametrize("prior", [Mixture(5), Mixture()])
def test_the_mixture_has_the_density_that_it_draws_from(prior):
    """On a grid: the density sums to 1, and gives the share of 100,000 draws in each of 40×40 cells."""
    side = torch.linspace(-10, 10, 401, dtype=torch.float64)
    middles = (side[1:] + side[:-1]) / 2
    cells = torch.cartesian_prod(middles, middles)
    mass = prior.double().log_prob(cells).exp() * (20 / 400) ** 2
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    torch.manual_seed(0)
    n, z = 100_000, prior.sample(100_000).numpy()
    edges = np.linspace(-10, 10, 41)
    counts = np.histogram2d(z[:, 0], z[:, 1], [edges, edges])[0]
    expected = n * mass.view(40, 10, 40, 10).sum((1, 3)).numpy()
    kept = expected > 20
    chi_square = ((counts - expected) ** 2 / expected)[kept].sum()
    assert abs(chi_square - kept.sum()) < 4 * math.sqrt(2 * kept.sum())
    assert kept.sum() > 100


@pytest.mark.parametrize("Prior", [Mixture, SwissRoll])
def test_each_class_has_a_place_of_its_own(Prior):
    """Nearly every draw of a class is nearest to draws of the same class; unknown ones come from everywhere."""
    prior, k = Prior(4), 4
    torch.manual_seed(0)
    labels = torch.arange(k).repeat(100)
    z, again = (prior.sample(len(labels), nn.functional.one_hot(labels, k).float()) for _ in range(2))
    nearest = labels[torch.cdist(again, z).argmin(1)]
    assert (nearest == labels).float().mean() > 0.9
    unknown = prior.sample(4000, torch.full((4000, k), math.nan))
    share = torch.bincount(labels[torch.cdist(unknown, z).argmin(1)], minlength=k) / 4000
    assert (share - 1 / k).abs().max() < 0.05  # 4 standard errors are 0.027; a nearest neighbour errs near borders


def test_the_swiss_roll_is_even_along_its_length():
    """t² is uniform, and the noise has sd 0.1: a Kolmogorov-Smirnov distance below its 1 % point, 1.63 / √n."""
    prior = SwissRoll().double()
    prior.NOISE = 0.0
    torch.manual_seed(0)
    u = (prior.sample(4000).norm(dim=1) / prior.RADIUS).square().sort().values
    steps = torch.arange(1, 4001, dtype=torch.float64) / 4000
    assert max((steps - u).max(), (u - steps + 1 / 4000).max()) < 1.63 / math.sqrt(4000)


def test_codes_of_labelled_and_unlabelled_rows_are_compared_with_their_own_part_of_the_prior():
    """Semi-supervised shaping: the prior's draws beside a known class are of that class, the others of all."""
    seen = {}
    data = data_of((2,), "classes")
    data.c[::2] = np.nan
    trainer = trainer_of("aae", data, **{"prior.name": "mixture"})
    game = trainer.game
    game.logits = lambda z, c: seen.setdefault(len(seen), (z, c))[0][:, 0]
    c = torch.cat([torch.eye(3)[[2] * 50], torch.full((50, 3), math.nan)])
    game.discriminator_loss(Batch(torch.randn(100, 2), c))
    z, told = seen[0]
    place = torch.cdist(z, game.prior.RADIUS * game.prior.outwards).argmin(1)
    assert (place[:50] == 2).all() and len(place[50:].unique()) == 3 and torch.equal(told[:50], c[:50])


def test_values_are_no_classes():
    """Two numbers beside each row say nothing about petals: the prior is the mixture of all."""
    assert trainer_of("aae", data_of((2,), "values"), **{"prior.name": "mixture"}).game.prior.classes == 0
    assert trainer_of("aae", data_of((2,), "classes"), **{"prior.name": "mixture"}).game.prior.classes == 3


@pytest.mark.parametrize("method", ["aae", "bigan", "gan"])
def test_pictures_show_what_was_trained(method):
    """p(z|c) is one law: with a place for each class, samples and means come from the same place."""
    game = trainer_of(method, data_of((2,), "classes"), **{"prior.name": "mixture"}).game
    taken = []
    draw = game.prior.sample
    game.prior.sample = lambda n, c=None: taken.append(c) or draw(n, c)
    c = torch.eye(3)[[1] * 16]
    game.sample(16, c)
    for player in game.players.values():
        player.loss(Batch(torch.randn(16, 2), c))
    assert taken and all(each is not None and torch.equal(each, c) for each in taken)


# Refusals


def test_what_does_not_fit_is_refused():
    for settings, why in [
        ({"prior.name": "fitted"}, "prior that stays as it is"),
        ({"prior.name": "uniform", "encoder.posterior": "noise"}, "tails, this prior has none"),
        ({"prior.name": "uniform", "method.offset": True}, "adds log p"),
        ({"prior.name": "swiss_roll", "method.offset": True}, "adds log p"),
        ({"lens.augment": 0.5}, "are points"),
        ({"lens.noise": 0.5, "method.offset": True}, "as it is, which a lens"),
    ]:
        with pytest.raises(UserError, match=why):
            trainer_of("aae", data_of((2,)), **settings)
    with pytest.raises(UserError, match="this discriminator sees latents"):
        trainer_of("aae", data_of(), **{"lens.augment": 0.5})


@pytest.mark.parametrize("settings", [
    {"prior.name": "uniform"}, {"encoder.posterior": "noise"}, {"prior.name": "swiss_roll"},
    {"prior.name": "mixture", "method.offset": True}, {"lens.noise": 0.1, "lens.pack": 2},
])  # fmt: skip
@pytest.mark.parametrize("condition", [None, "classes"])
def test_its_choices_play(settings, condition):
    trainer = trainer_of("aae", data_of(condition=condition), **settings)
    trainer.step()
    trainer.check_finite()
