"""What the paper of infoGAN states: who gets the gradient of L_I, and L_I ≤ I(k; x) ≤ H(k)."""

import math

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import D, K
from hybrid import OPTIONS, Hand, says_fake, says_real
from torch import nn

from games import data_of, trainer_of
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.infogan import InfoGAN
from ludus.networks.codes import Codes, Recogniser
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator

LAMBDA = 0.7


def game_of(**options):
    """A conditional infoGAN at random weights in float64 with two categories, two values and noise, and a batch."""
    torch.manual_seed(0)
    prior = Codes(categories=(3, 2), values=2, noise=1)
    generator, discriminator = MlpGenerator((D,), 8, K, **OPTIONS), MlpDiscriminator((D,), K, **OPTIONS)
    recogniser = Recogniser(discriminator, prior, (D,), K, hidden=5)
    game = InfoGAN(generator, discriminator, recogniser, prior, weight=LAMBDA, **options).double()
    for p in game.parameters():
        nn.init.normal_(p, std=0.5)
    z = prior.sample(N)
    prior.sample = lambda n, c=None: z
    return game, Batch(torch.randn(N, D).double(), torch.randn(N, K).double()), z


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_every_player_has_the_papers_gradient(name):
    """L_I goes to D's trunk and Q on the one side, and to G on the other; Q sees generated data alone."""
    game, batch, zs = game_of()
    hand, costs = Hand(game), {"discriminator": [], "generator": []}
    for x, c, z in zip(*batch, zs):
        fake = hand.network("generator", z, c)
        numbers = hand.network("recogniser", hand.network("discriminator.features", fake, c))
        log_q = (numbers[:3].log_softmax(0) * z[:3]).sum() + (numbers[3:5].log_softmax(0) * z[3:5]).sum()
        log_q = log_q - ((z[5:7] - numbers[5:]) ** 2).sum() / 2
        costs["discriminator"].append(says_real(hand.logit(x, c)) + says_fake(hand.logit(fake, c)) - LAMBDA * log_q)
        costs["generator"].append(says_real(hand.logit(fake, c)) - LAMBDA * log_q)
    owned = {"discriminator": ["discriminator", "recogniser"], "generator": ["generator"]}[name]
    assert_same(gradient_of(game, name, batch), hand.of(sum(costs[name]) / N, *owned))


class Channel(nn.Module):
    """x is one of four, one-hot, drawn by rows of p (classes of k, 4)."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, z, c=None):
        k = len(self.p)
        return nn.functional.one_hot(torch.multinomial(self.p[z[:, :k].argmax(1)], 1)[:, 0], 4).to(z)


class Table(nn.Module):
    """Features are x itself."""

    def features(self, x, c=None):
        return x

    def forward(self, x, c=None):
        return x.sum(1)


def finite(n=100_000):
    """Three classes of k through a channel; z, x, and the exact I(k; x) and posterior of k."""
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.05, 0.05, 0.1, 0.8]])
    joint = p / 3
    information = (joint * (joint / (joint.sum(0) / 3)).log()).sum()
    prior = Codes(categories=(3,), values=0, noise=0)
    game = InfoGAN(Channel(p), Table(), nn.Linear(4, 3, bias=False), prior)
    torch.manual_seed(0)
    z, x = game.drawn(Batch(torch.zeros(n, 4)))
    return game, z, x, information, (joint / joint.sum(0))


def test_the_bound_is_tight_at_the_posterior_and_holds_for_any_q():
    """L_I ≤ I(k; x) ≤ H(k), equal where Q is p(k|x): means over 100,000 draws, to 4 standard errors."""
    game, z, x, information, posterior = finite()
    with torch.no_grad():
        game.recogniser.weight.copy_(posterior.log())
        rows = game.prior.entropy + game.prior.log_prob(game.recognise(x), z)[0]
        error = rows.std() / len(rows) ** 0.5
        assert (rows.mean() - information).abs() < 4 * error
        assert information < game.prior.entropy == pytest.approx(math.log(3))
        for seed in range(20):
            nn.init.normal_(game.recogniser.weight, generator=torch.Generator().manual_seed(seed))
            rows = game.prior.entropy + game.prior.log_prob(game.recognise(x), z)[0]
            assert rows.mean() < information + 4 * rows.std() / len(rows) ** 0.5


def test_a_category_that_is_shown_has_all_its_entropy():
    """The trained Q of a generator that shows k reaches H(k), and never more."""
    prior = Codes(categories=(3,), values=0, noise=0)
    game = InfoGAN(Channel(torch.eye(3, 4)), Table(), nn.Linear(4, 3), prior)
    torch.manual_seed(0)
    descent = torch.optim.Adam(game.recogniser.parameters(), 0.1)
    for _ in range(300):
        _, found, seen = game.judged(*game.drawn(Batch(torch.zeros(256, 4))), None)
        assert seen["categories"] < math.log(3)
        descent.zero_grad()
        (-found).backward()
        descent.step()
    assert seen["categories"] > math.log(3) - 0.01


def test_the_prior_is_what_it_says():
    torch.manual_seed(0)
    prior = Codes(categories=(4, 2), values=3, noise=5)
    z = prior.sample(40_000)
    assert z.shape == (40_000, prior.dimension) and prior.numbers == 9
    for codes, k in zip(prior.parts(z[:, :9])[0], (4, 2)):
        assert (codes.sum(1) == 1).all() and (codes.mean(0) - 1 / k).abs().max() < 4 * (1 / k / 40_000) ** 0.5
    values = z[:, 6:9]
    assert values.abs().max() <= 1 and (values.var(0) - 1 / 3).abs().max() < 4 * (4 / 45 / 40_000) ** 0.5
    logs = prior.log_prob(torch.zeros(2, 9), z[:2])
    assert logs[0].tolist() == pytest.approx([-math.log(8)] * 2)
    gaussian = torch.distributions.Normal(torch.zeros(3), 1)
    torch.testing.assert_close(logs[1], gaussian.log_prob(z[:2, 6:9]).sum(1))


def test_what_does_not_fit_is_refused():
    for settings, why in [
        ({"prior.name": "gaussian"}, "prior.name=codes"),
        ({"prior.categories": [1]}, "two classes"),
        ({"prior.categories": [], "prior.values": 0}, "one code at least"),
        ({"lens.pack": 2}, "lens.pack=1"),
        ({"discriminator.minibatch": "deviation"}, "own"),
    ]:
        with pytest.raises(UserError, match=why):
            trainer_of("infogan", data_of((2,)), **settings)
