"""What the VAE-GAN's paper states: who gets which gradient (Larsen et al. 2016, algorithm 1)."""

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import d
from hybrid import Hand, networks, ready, says_fake, says_real

from games import data_of, trainer_of
from ludus.data.sampler import Sampler
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.vae_gan import VAEGAN
from ludus.networks.features import layer_of
from ludus.networks.priors import Gaussian
from ludus.trainer import Trainer

GAMMA = 0.3
CASES = {
    "the published runs": {},
    "the printed formula": {"fakes": "both"},
    "the safe variant": {"cost": "heuristic"},
    "another layer": {"layer": "features.body.1", "fakes": "both"},
}


def small_game(options):
    encoder, generator, discriminator = networks()
    return ready(VAEGAN(encoder, generator, discriminator, Gaussian(dimension=d), gamma=GAMMA, **options))


def by_the_paper(game, batch):
    """The gradients of the three players, every loss a sum over numbers written out row by row."""
    hand = Hand(game)
    first = "discriminator.features.body.0"

    def features(x, c):
        if game.layer == "convolution":  # there is none
            return hand.network("discriminator.features", x, c)
        seen = torch.cat([x, c, torch.zeros(1, dtype=x.dtype)])  # nothing of c is missing
        return torch.tanh(hand.w[f"{first}.weight"] @ seen + hand.w[f"{first}.bias"])

    kl, mismatch, l_gan, raises = [], [], [], []
    torch.manual_seed(0)
    for x, c, z_p, noise in zip(*batch, game.prior.z, torch.randn(N, d, dtype=torch.float64)):
        mean, log_std = hand.gaussian(x, c)
        x_tilde = hand.network("generator", mean + log_std.exp() * noise, c)
        fakes = [hand.network("generator", z_p, c)] + ([x_tilde] if game.fakes == "both" else [])
        kl.append(sum((m**2 + torch.exp(2 * s) - 1) / 2 - s for m, s in zip(mean, log_std)))
        mismatch.append(sum((a - b) ** 2 for a, b in zip(features(x, c), features(x_tilde, c))) / 2)
        a_fakes = [hand.logit(fake, c) for fake in fakes]
        l_gan.append(-says_real(hand.logit(x, c)) - sum(map(says_fake, a_fakes)))
        raises.append(sum(map(says_real, a_fakes)))
    kl, mismatch, l_gan, raises = (sum(rows) / N for rows in (kl, mismatch, l_gan, raises))
    adversarial = raises if game.cost == "heuristic" else l_gan
    return {
        "encoder": hand.of(kl + mismatch, "encoder"),
        "generator": hand.of(GAMMA * mismatch + (1 - GAMMA) * adversarial, "generator"),
        "discriminator": hand.of(-l_gan, "discriminator"),
    }


def test_the_layer_is_the_last_convolution_unless_there_is_none():
    of = lambda network: trainer_of("vae_gan", data_of(), **{"discriminator.name": network}).game  # noqa: E731
    for network, layer in {"small": "features.rest.3", "dcgan": "features.rest.2", "mlp": "features"}.items():
        game = of(network)
        assert layer_of(game.discriminator, game.layer) == layer
        assert game.mismatch(Batch(torch.ones(2, 1, 8, 8)), torch.zeros(2, 1, 8, 8)) > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["encoder", "generator", "discriminator"])
def test_every_player_has_the_papers_gradient(case, name):
    game, batch = small_game(CASES[case])
    assert_same(gradient_of(game, name, batch), by_the_paper(game, batch)[name])


@pytest.mark.parametrize("name", ["encoder", "generator", "discriminator"])
def test_the_gradients_are_the_same_after_gates(name):
    """A margin of 0.02 about log 2 holds one side or the other on most turns; nothing of that stays behind."""
    game, batch = small_game({"fakes": "both"})
    trainer = Trainer(game, Sampler(*batch, batch=N), steps=10, lr=0.02, balance=0.02)
    moved = {name: 0 for name in trainer.players}
    for _ in range(10):
        before = [p.clone() for p in trainer.game.parameters()]
        trainer.step()
        for who, owned in trainer.parameters.items():
            old = [b for b, p in zip(before, trainer.game.parameters()) if any(p is q for q in owned)]
            moved[who] += any(not torch.equal(a, b) for a, b in zip(old, owned))
    assert moved["encoder"] == 10 and min(moved["generator"], moved["discriminator"]) < 10
    assert_same(gradient_of(game, name, batch), by_the_paper(game, batch)[name])


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"unknown layer of the discriminator 'features\.body\.9'.*features\.body\.0"):
        trainer_of("vae_gan", data_of((2,)), **{"method.layer": "features.body.9"})


def test_an_encoder_without_a_density_is_refused():
    for posterior in ("point", "noise"):
        with pytest.raises(UserError, match="vae_gan needs a density of z"):
            trainer_of("vae_gan", data_of((2,)), **{"encoder.posterior": posterior})


def test_no_lens_comes_between_features_of_the_same_x():
    """Noise and augmentation differ from draw to draw: x would be unlike itself."""
    for lens in ({"lens.noise": 0.5}, {"lens.augment": 0.7}, {"lens.pack": 2}):
        game = trainer_of("vae_gan", data_of(), **lens).game
        batch = Batch(torch.randn(4, 1, 8, 8))
        assert game.mismatch(batch, batch.x) == 0 < game.mismatch(batch, batch.x + 1)


def test_a_layer_of_unit_norm_is_a_layer():
    settings = {"discriminator.name": "mlp", "discriminator.spectral": True, "method.layer": "features.body.0"}
    game = trainer_of("vae_gan", data_of((2,)), **settings).game
    assert game.mismatch(Batch(torch.zeros(2, 2)), torch.ones(2, 2)) > 0


def test_a_layer_seen_through_a_lens():
    trainer = trainer_of("vae_gan", data_of(), **{"method.layer": "features.rest.1", "lens.noise": 0.1, "lens.pack": 2})
    trainer.step()
    trainer.check_finite()
