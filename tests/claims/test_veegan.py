"""What VEEGAN's paper states: algorithm 1, the joint ratio, the bound (Srivastava et al. 2017); and its third role."""

import math

import numpy as np
import pytest
import torch
from by_hand import Fixed, N, assert_same, gradient_of
from torch import nn
from torch.func import functional_call

import ludus
from games import data_of, trainer_of
from ludus import recipe as recipes
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.veegan import VEEGAN
from ludus.networks.encoders import Encoder
from ludus.networks.laws import Point
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.pairs import joined

D, K = 3, 2  # numbers in z and in c
WEIGHT, SPREAD = 0.6, 0.7


def small_game():
    torch.manual_seed(0)
    options = {"width": 7, "depth": 2, "activation": "tanh"}
    generator = MlpGenerator((2,), D, K, **options)
    discriminator = MlpDiscriminator((2,), D + K, **options)
    encoder = Encoder(MlpDiscriminator((2,), K, **options), D, (2,), K, posterior="point")
    for p in (*generator.parameters(), *discriminator.parameters(), *encoder.parameters()):
        nn.init.normal_(p, std=0.7)
    game = VEEGAN(generator, discriminator, encoder, Fixed(torch.randn(N, D)), weight=WEIGHT, spread=SPREAD).double()
    return game, Batch(torch.randn(N, 2).double(), torch.randn(N, K).double())


def by_the_paper(game, batch, name):
    """The gradient of algorithm 1, of one player's weights, everybody else's cut off: losses row by row."""
    w = {n: p.detach().clone().requires_grad_() for n, p in getattr(game, name).named_parameters()}

    def call(role, x, c):
        weights = w if role == name else dict(getattr(game, role).named_parameters())
        out = functional_call(getattr(game, role), weights, (x[None], c[None]))
        return (out.mean if role == "encoder" else out)[0]

    costs = {"discriminator": [], "encoder": [], "generator": []}
    torch.manual_seed(0)
    for x, c, z, noise in zip(batch.x, batch.c, game.prior.z, torch.randn(N, D, dtype=torch.float64)):
        fake = call("generator", z, c)
        back = call("encoder", fake, c)
        made = call("discriminator", fake, torch.cat([z, c]))
        found = call("discriminator", x, torch.cat([call("encoder", x, c) + SPREAD * noise, c]))
        distance = sum((a - b) ** 2 for a, b in zip(z, back))
        costs["discriminator"].append(-torch.sigmoid(made).log() - (1 - torch.sigmoid(found)).log())
        costs["encoder"].append(distance)
        costs["generator"].append(made + WEIGHT * distance)
    return torch.autograd.grad(sum(costs[name]) / N, list(w.values())), sum(costs[name]).item() / N


@pytest.mark.parametrize("name", ["discriminator", "encoder", "generator"])
def test_every_player_has_its_line_of_algorithm_1(name):
    game, batch = small_game()
    gradient, cost = by_the_paper(game, batch, name)
    assert_same(gradient_of(game, name, batch), gradient)
    torch.manual_seed(0)
    assert getattr(game, f"{name}_loss")(batch).total.item() == pytest.approx(cost, rel=1e-12)


def test_the_generators_loss_at_the_best_discriminator_is_the_papers_bound():
    """E a* over generated pairs is KL(q(x|z) p(z) ‖ p(z|x) p(x)), the upper bound of equation 5.

    A world where it is known: p(x) = N(0, s²), G(z) = g z + n with n ~ N(0, t²), F(x) = f x with spread r. The
    ratio a* is a quadratic form in (x, z), and KL that of two normals of covariance P (generated) and Q (real):
    ½ [tr(Q⁻¹P) − 2 + log |Q|/|P|].
    """
    s, g, t, f, r = 1.3, 0.8, 0.5, 0.6, 0.4
    made = np.array([[g**2 + t**2, g], [g, 1]])
    real = np.array([[s**2, f * s**2], [f * s**2, f**2 * s**2 + r**2]])
    form = np.linalg.inv(real) - np.linalg.inv(made)
    constant = math.log(np.linalg.det(real) / np.linalg.det(made))
    kl = (np.trace(np.linalg.inv(real) @ made) - 2 + constant) / 2

    class Noisy(nn.Module):
        def __init__(self, slope, sd):
            super().__init__()
            self.slope, self.sd = slope, sd

        def forward(self, a, c=None):
            return self.slope * a + self.sd * torch.randn_like(a)

    class Back(nn.Module):
        def forward(self, x, c=None):
            return Point(f * x)

    class Ratio(nn.Module):
        def forward(self, x, c=None):
            pair = torch.cat([x, c], 1)
            return ((pair @ torch.tensor(form)) * pair).sum(1) / 2 + constant / 2

    class Normal(nn.Module):
        def sample(self, n, c=None):
            return torch.randn(n, 1, dtype=torch.float64)

    n = 200_000
    game = VEEGAN(Noisy(g, t), Ratio(), Back(), Normal(), weight=0.0, spread=r)
    torch.manual_seed(0)
    batch = Batch(s * torch.randn(n, 1, dtype=torch.float64))
    # the variance of a quadratic form ½ zᵀ A z of a normal is ½ tr (A P A P)
    se = math.sqrt(np.trace(form @ made @ form @ made) / 2 / n)
    assert game.generator_loss(batch).total.item() == pytest.approx(kl, abs=4 * se)
    assert kl > 20 * se  # else it would agree with 0
    # and the discriminator's loss, lowest of all there: 10 % more or less of the ratio is worse
    costs = {}
    for scale in (0.9, 1.0, 1.1):
        torch.manual_seed(1)
        game.discriminator.forward = lambda x, c=None, scale=scale: scale * Ratio()(x, c)
        costs[scale] = game.discriminator_loss(batch).total.item()
    assert costs[1.0] < min(costs[0.9], costs[1.1])


# An encoder, and a discriminator of pairs, from a recipe


@pytest.mark.parametrize("condition", [None, "classes"])
@pytest.mark.parametrize("network", ["mlp", "small", "dcgan", "resnet"])
def test_one_network_is_named_for_every_role(network, condition):
    data = data_of((1, 8, 8), condition)
    recipe = recipes.complete(recipes.draft("veegan", network=network), "images", len(data.x))
    assert {recipe[role]["name"] for role in ("generator", "discriminator", "encoder")} == {network}
    game = recipes.build(recipe, data.form)
    k = data.form.conditions
    assert game.discriminator.condition == k + game.prior.dimension and game.generator.condition == k
    x, c = torch.randn(3, 1, 8, 8), torch.zeros(3, k) if k else None
    assert game.encoder(x, c).mean.shape == (3, game.prior.dimension)


def test_the_pairs_matter():
    """Another z beside the same x gives another logit."""
    game = trainer_of("veegan", data_of()).game.eval()
    x, z = torch.randn(4, 1, 8, 8), torch.randn(4, game.prior.dimension)
    assert not torch.equal(game.logits(x, z, None), game.logits(x, z.roll(1, 0), None))
    assert torch.equal(joined(z, None), z)
    assert torch.equal(joined(z, torch.ones(4, 2)), torch.cat([z, torch.ones(4, 2)], 1))


def test_a_minibatch_layer_of_the_encoder_is_refused():
    with pytest.raises(UserError, match="each row on its own"):
        trainer_of("veegan", data_of(), **{"encoder.minibatch": "deviation"})


def test_an_encoder_with_a_law_is_refused():
    with pytest.raises(UserError, match=r"encoder\.posterior=point"):
        trainer_of("veegan", data_of(), **{"encoder.posterior": "gaussian"})


class Mine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width)

    def forward(self, x, c=None):
        return self.layer(x)


def test_an_encoder_of_the_users_own(tmp_path):
    """It gives features: the head to z is put on it."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    options = {"settings": {"prior.dimension": 4, "snapshot.count": 0}, "steps": 3}
    run = ludus.train("veegan", x, encoder=Mine(3), run=tmp_path / "run", **options)
    assert run.sample(5).shape == (5, 2)
    again = ludus.load(tmp_path / "run", encoder=Mine(3))
    assert np.array_equal(again.encode(x).mean, run.encode(x).mean)
