"""What is proven of the IWAE: its loss row by row, one draw is the VAE, more draws are nearer to the evidence."""

import math
from itertools import pairwise

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import ByHand, d, encoder_and_network, exact_game, game_of, log_normal, orthogonal_world
from torch import nn
from torch.distributions import Independent, Normal

from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.iwae import IWAE
from ludus.methods.vae import VAE
from ludus.networks.decoders import Decoder
from ludus.networks.laws import Warped
from ludus.networks.priors import Gaussian, Uniform


def by_the_formula(game, batch, k, seed=0):
    """−E log 1/k Σ_i p(x|z_i) p(z_i) / q(z_i|x), row by row, and its gradient."""
    hand, rows = ByHand(game), []
    torch.manual_seed(seed)
    noise = torch.randn(k, N, d, dtype=torch.float64)
    for i, (x, c) in enumerate(zip(*batch)):
        mean, log_std = hand.code(x, c).chunk(2)
        w = 0
        for draw in noise[:, i]:
            z = mean + log_std.exp() * draw
            prior, q = log_normal(z, 0 * z, torch.ones(())), log_normal(z, mean, log_std.exp())
            w = w + torch.exp(hand.log_likelihood(x, z, c) + prior - q)
        rows.append(-torch.log(w / k))
    cost = sum(rows) / N
    return hand.gradient(cost), cost.item()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_loss_and_every_gradient_are_those_of_the_formula(k):
    game, batch = game_of(IWAE, k=k)
    gradient, cost = by_the_formula(game, batch, k)
    assert_same(gradient_of(game, "autoencoder", batch), gradient)
    torch.manual_seed(0)
    assert game.loss(batch).total.item() == pytest.approx(cost, rel=1e-12)


class NoClosedForm(nn.Module):
    """A Gaussian encoder that a VAE takes for a flow, so that its KL is log q(z|x) − log p(z) at the one z."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, c=None):
        q = self.encoder(x, c)
        return Warped(q, Independent(Normal(torch.zeros_like(q.mean), 1.0), 1))


def test_with_one_draw_it_is_the_vae_whose_divergence_is_taken_at_that_draw():
    """Under the same seed, the loss and every gradient."""
    (iwae, batch), (vae, _) = game_of(IWAE, k=1), game_of(VAE)
    for game in (iwae, vae):
        game.encoder = NoClosedForm(game.encoder)
    found = []
    for game in (iwae, vae):
        gradient = gradient_of(game, "autoencoder", batch)
        torch.manual_seed(0)
        loss = game.loss(batch)
        found.append((gradient, loss.total.item(), loss.seen["elbo"].item()))
    assert_same(found[0][0], found[1][0])
    assert found[0][1:] == pytest.approx(found[1][1:], rel=1e-12)


# Where the evidence is known


@pytest.mark.parametrize("k", [1, 2, 50])
def test_with_the_exact_posterior_any_number_of_draws_is_the_evidence(k):
    world = orthogonal_world()
    x, _ = world.sample(20, torch.Generator().manual_seed(1))
    loss = exact_game(IWAE, world, k=k).loss(Batch(x))
    assert -loss.total.item() == pytest.approx(world.log_evidence(x).mean().item(), abs=1e-10)
    assert loss.seen["elbo"].item() == pytest.approx(-loss.total.item(), abs=1e-10)


def test_more_draws_raise_the_bound_towards_the_evidence():
    """q is r = 1.5 times as wide as the posterior, d = 3. With k = 1 the bound is short of log p(x) by
    KL(q ‖ p(z|x)) = ½ d (r² − 1 − log r²), with many draws by Var w / 2k, Var w = (r² / √(2r² − 1))^d − 1 for weights
    of mean 1. 8,000 equal rows; to 4 standard errors, of weights whose law is bounded.
    """
    world, n = orthogonal_world(), 8000
    x, _ = world.sample(1, torch.Generator().manual_seed(1))
    exact, gaps, errors = world.log_evidence(x).item(), [], []
    torch.manual_seed(0)
    for k in (1, 2, 5, 50):
        game = exact_game(IWAE, world, widened=1.5, k=k)
        with torch.no_grad():
            bounds = torch.stack([-game.loss(Batch(x.expand(n // 40, -1))).total for _ in range(40)])
        gaps.append(exact - bounds.mean().item())
        errors.append(bounds.std().item() / 40**0.5)
    for (more, error), (less, other) in pairwise(zip(gaps, errors)):
        assert more - less > 4 * math.hypot(error, other)
    assert gaps[0] == pytest.approx(1.5 * (1.5**2 - 1 - math.log(1.5**2)), abs=4 * errors[0])
    variance = (1.5**2 / math.sqrt(2 * 1.5**2 - 1)) ** 3 - 1
    assert gaps[3] == pytest.approx(variance / 100, abs=4 * errors[3] + 1 / 50**2)  # the next order


def test_a_point_and_a_prior_with_a_border_are_refused():
    for posterior, prior, why in [("point", Gaussian, "needs a density"), ("gaussian", Uniform, "measures")]:
        encoder, network = encoder_and_network(posterior)
        with pytest.raises(UserError, match=f"iwae {why}"):
            IWAE(encoder, Decoder(network, (3,)), prior(dimension=d))


def test_a_turn_draws_k_codes_for_each_row():
    """Seen by the decoder as (k, B, d), and by nobody else."""
    game, batch = game_of(IWAE, k=4)
    seen = []
    game.decoder.register_forward_hook(lambda module, given, out: seen.append(given[0].shape))
    game.loss(batch)
    assert seen == [(4, N, d)]
