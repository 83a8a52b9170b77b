"""What the WGAN paper states: the signs, the clipped critic, and how often it moves (Arjovsky et al. 2017)."""

import copy

import pytest
import torch
from by_hand import added, assert_same, fakes, game_of, gradient_of, through_samples, through_values

from ludus.data.sampler import Sampler
from ludus.game import Game, Loss, Player
from ludus.methods.wgan import WGAN
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian
from ludus.trainer import Trainer
from ludus.worlds.dirac import Dirac, dirac

TURNS = 25


class Gulrajani(Game):
    """The clipped critic with the signs of Gulrajani's code: high on real data."""

    def __init__(self, generator, discriminator, prior, clip, n_critic):
        super().__init__()
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.clip, self.n_critic = clip, n_critic

    @property
    def players(self):
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss, after=self.clip_weights),
            "generator": Player([self.generator], self.generator_loss, every=self.n_critic),
        }

    def sample(self, n, c=None):
        return self.generator(self.prior.sample(n), c)

    def discriminator_loss(self, batch):
        f, fake = self.discriminator, self.shown(batch)
        return Loss({"disc": f(fake).mean() - f(batch.x).mean()})

    def generator_loss(self, batch):
        return Loss({"gen": -self.discriminator(self.live(batch)).mean()})

    @torch.no_grad()
    def clip_weights(self):
        for p in self.discriminator.parameters():
            p.clamp_(-self.clip, self.clip)


def networks():
    torch.manual_seed(0)
    return MlpGenerator((2,), 3, width=8), MlpDiscriminator((2,), width=8), Gaussian(dimension=3)


def negated(critic):
    critic = copy.deepcopy(critic)
    with torch.no_grad():
        for p in critic.head.parameters():
            p.neg_()
    return critic


def trainer_of(game, **options):
    torch.manual_seed(1)
    return Trainer(game.double(), Sampler(torch.randn(64, 2).double() + 1, batch=16), **options)


def snapshot(module):
    return [p.detach().clone() for p in module.parameters()]


def moved(before, module):
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters()))


@pytest.mark.parametrize("optimiser", ["rmsprop", "sgd", "adam"])
def test_arjovskys_signs_are_gulrajanis_with_the_critics_last_layer_negated(optimiser):
    options = {"clip": 0.1, "n_critic": 5}
    generator, critic, prior = networks()
    ours = trainer_of(WGAN(generator, critic, prior, **options), lr=1e-2, optimiser=optimiser)
    twin = Gulrajani(copy.deepcopy(generator), negated(critic), copy.deepcopy(prior), **options)
    theirs = trainer_of(twin, lr=1e-2, optimiser=optimiser)

    start = snapshot(ours.game.generator)
    for _ in range(10 * TURNS):
        ours.step()
        theirs.step()
    assert moved(start, ours.game.generator)
    for a, b in zip(ours.game.generator.parameters(), theirs.game.generator.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(ours.game.discriminator.parameters(), negated(theirs.game.discriminator).parameters()):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_critic_is_low_on_real_data_and_minus_its_loss_is_a_multiple_of_the_distance():
    """Data at 0, model at 3: their distance is 3, and the best line of slope at most 0.1 reads 0.1 of it."""
    game = WGAN(*dirac(theta=3.0, psi=0.0), clip=0.1, n_critic=10**9).double()
    trainer = Trainer(game, Sampler(Dirac().sample(4).x.double(), batch=4), steps=10, lr=0.1, optimiser="sgd")
    trainer.run()
    terms = trainer.losses["discriminator"].terms
    assert -(terms["real"] + terms["fake"]).item() == pytest.approx(0.1 * 3, abs=1e-12)
    assert terms["real"] < -terms["fake"]
    assert trainer.losses["discriminator"].seen["accuracy"] == 1  # for it, low is right


def test_every_critic_weight_is_bounded_after_every_move():
    generator, critic, prior = networks()
    trainer = trainer_of(WGAN(generator, critic, prior, clip=0.03), lr=1e-2, optimiser="rmsprop")
    assert max(p.abs().max() for p in critic.parameters()) > 0.03
    for _ in range(TURNS):
        trainer.step()
        assert max(p.abs().max() for p in critic.parameters()) <= 0.03
    assert max(p.abs().max() for p in generator.parameters()) > 0.03  # the generator's are left alone


@pytest.mark.parametrize("n_critic", [1, 5])
def test_the_critic_moves_n_critic_times_for_each_move_of_the_generator(n_critic):
    generator, critic, prior = networks()
    trainer = trainer_of(WGAN(generator, critic, prior, n_critic=n_critic), lr=1e-3, optimiser="rmsprop")
    turns = {"generator": [], "discriminator": []}
    for turn in range(1, TURNS + 1):
        before = {name: snapshot(getattr(trainer.game, name)) for name in turns}
        trainer.step()
        for name in turns:
            if moved(before[name], getattr(trainer.game, name)):
                turns[name].append(turn)
    assert turns["discriminator"] == list(range(1, TURNS + 1))
    assert turns["generator"] == list(range(n_critic, TURNS + 1, n_critic))


# Gradient destinations


def test_the_critic_gets_its_mean_on_real_minus_its_mean_on_generated_data():
    game, batch = game_of(WGAN)
    f, fake = game.discriminator, fakes(game, batch)
    expected = added(
        through_values(f, *batch, torch.ones_like),
        through_values(f, fake, batch.c, lambda a: -torch.ones_like(a)),
    )
    assert_same(gradient_of(game, "discriminator", batch), expected)


def test_the_generator_gets_the_critics_mean_through_its_samples():
    game, batch = game_of(WGAN)
    assert_same(gradient_of(game, "generator", batch), through_samples(game, batch, torch.ones_like))
