"""What is proven of the autoencoder: a linear one is PCA, and its prior has the moments of the codes."""

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import Affine, ByHand, Same, batch_of, d, encoder_and_network, linear_game, trained, with_covariance

from games import data_of, recipe_of, trainer_of
from ludus import recipe as recipes
from ludus.errors import UserError
from ludus.methods.ae import AE
from ludus.networks.decoders import Decoder
from ludus.networks.encoders import Encoder
from ludus.networks.priors import Fitted, Gaussian


def small_game():
    encoder, network = encoder_and_network("point")
    return AE(encoder, Decoder(network, (3,)), Fitted(dimension=d)).double()


def test_the_loss_and_every_gradient_are_those_of_the_formula():
    """−E log p(x | E(x)), row by row."""
    game, batch = small_game(), batch_of()
    hand = ByHand(game)
    cost = -sum(hand.log_likelihood(x, hand.code(x, c), c) for x, c in zip(*batch)) / N
    assert_same(gradient_of(game, "autoencoder", batch), hand.gradient(cost))
    assert game.loss(batch).total.item() == pytest.approx(cost.item(), rel=1e-12)


@pytest.mark.parametrize("sigma", ["shared", 0.5])
def test_a_linear_autoencoder_is_principal_components(sigma):
    """No linear map of rank 2 leaves less than the eigenvalues from the third on (Eckart & Young 1936); whether σ is
    learned or given, the loss falls with the squared error."""
    spectrum = [5.0, 2.0, 0.8, 0.5, 0.3, 0.2]
    x = with_covariance(spectrum, 400)
    game = trained(linear_game(AE, 6, 2, Fitted, posterior="point", sigma=sigma), x, steps=800)
    with torch.no_grad():
        residual = (x - game.decode(game.posterior(x).mean)).double().square().sum(1).mean().item()
    best = sum(spectrum[2:])
    assert best * (1 - 1e-5) < residual < 1.01 * best


# The prior


def test_the_fitted_moments_are_those_of_the_codes():
    """After many batches the mean is one of 2/PACE − 1 of them in effect: to 4 standard errors of so many rows."""
    mean, root = torch.tensor([3.0, -1.0]), torch.tensor([[2.0, 0.0], [0.7, 0.5]])
    covariance, prior, batch = root @ root.T, Fitted(dimension=2), 64
    torch.manual_seed(0)
    for _ in range(2000):  # of where it began 0.99²⁰⁰⁰ = 2 · 10⁻⁹ are left
        prior.observe(mean + torch.randn(batch, 2) @ root.T)
    rows = batch * (2 / Fitted.PACE - 1)
    variance = covariance.diagonal()
    assert ((prior.mean - mean).abs() < 4 * (variance / rows).sqrt()).all()
    of_product = variance.outer(variance) + covariance.square()  # of a product of two entries of a normal vector
    drift = covariance / rows  # the mean that is subtracted is itself off by so much
    assert ((prior.covariance - covariance).abs() < 4 * (of_product / rows).sqrt() + drift.abs()).all()

    n = 100_000
    z = prior.sample(n)
    assert ((z.mean(0) - prior.mean).abs() < 4 * (variance / n).sqrt()).all()
    assert ((z.T.cov() - prior.covariance).abs() < 4 * (of_product / n).sqrt()).all()


def test_codes_in_a_plane_can_be_drawn_from():
    """Their covariance has no inverse; what is drawn leaves the plane by less than 10⁻² of their width."""
    prior, line = Fitted(dimension=3), torch.tensor([1.0, 2.0, -1.0])
    torch.manual_seed(0)
    for _ in range(3000):
        prior.observe(torch.randn(50, 1) * line)
    z = prior.sample(1000)
    along = z @ line / line.norm()
    off = (z.square().sum(1) - along.square()).clamp_min(0).sqrt()
    assert along.std().item() == pytest.approx(6**0.5, rel=0.2) and off.max() < 0.01 * along.std()
    assert prior.log_prob(z).isfinite().all()


def test_after_a_move_the_prior_has_seen_the_codes_of_that_move():
    trainer = trainer_of("ae", data_of(n=64), **{"sampler.batch": 64})
    before = trainer.game.encoder(trainer.sampler.x).mean.detach()
    trainer.step()
    prior = trainer.game.prior
    torch.testing.assert_close(prior.mean, 0.01 * before.mean(0))
    torch.testing.assert_close(prior.covariance, 0.99 * torch.eye(4) + 0.01 * before.T @ before / len(before))


def test_it_draws_from_its_own_codes_and_from_nothing_else():
    with pytest.raises(UserError, match="ae encodes x to a point"):
        AE(Encoder(Same(), 2, (3,)), Decoder(Affine(2, 3), (3,)), Fitted(dimension=2))
    with pytest.raises(UserError, match="a law that is fitted to its codes"):
        AE(Encoder(Same(), 2, (3,), posterior="point"), Decoder(Affine(2, 3), (3,)), Gaussian(dimension=2))
    data = data_of()
    for setting in ({"encoder.posterior": "gaussian"}, {"prior.name": "gaussian"}):
        with pytest.raises(UserError, match="ae "):
            recipes.build(recipe_of("ae", data, **setting), data.form)
