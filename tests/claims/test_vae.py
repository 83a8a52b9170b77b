"""What is proven of the VAE: its loss row by row, β, C and free bits; the bound and probabilistic PCA; the flow."""

import importlib.util
import math

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import (
    ByHand,
    Same,
    d,
    encoder_and_network,
    exact_game,
    game_of,
    linear_elbo,
    linear_game,
    orthogonal_world,
    trained,
    with_covariance,
)
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from games import data_of, same, trainer_of, weights
from ludus.doctor.measure import Gauge
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.vae import VAE
from ludus.networks.decoders import Decoder
from ludus.networks.encoders import Encoder
from ludus.networks.laws import DiagonalGaussian
from ludus.networks.priors import Gaussian, Uniform
from ludus.worlds.linear_gaussian import LinearGaussian, kept

with_zuko = pytest.mark.skipif(importlib.util.find_spec("zuko") is None, reason="zuko is not installed")


def error(t):
    """The standard error of the mean."""
    return t.std(0) / len(t) ** 0.5


# The loss


def by_the_formula(game, batch, beta, capacity, free_bits, seed=0):
    """−E log p(x|z) + β |Σ_j max(λ, mean KL_j) − C|, row by row, and its gradient."""
    hand, rows, kls = ByHand(game), [], []
    torch.manual_seed(seed)
    for x, c, noise in zip(*batch, torch.randn(N, d, dtype=torch.float64)):
        mean, log_std = hand.code(x, c).chunk(2)
        rows.append(-hand.log_likelihood(x, mean + log_std.exp() * noise, c))
        kls.append([(m**2 + torch.exp(2 * s) - 1) / 2 - s for m, s in zip(mean, log_std)])
    each = [sum(column) / N for column in zip(*kls)]
    counted = sum(max(kl, torch.tensor(free_bits)) if free_bits else kl for kl in each)
    cost = sum(rows) / N + beta * (abs(counted - capacity) if capacity else counted)
    return hand.gradient(cost), cost.item(), [kl.item() for kl in each]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 0.0},
        {"beta": 4.0},
        {"beta": 3.0, "capacity": 0.4},  # below the KL
        {"beta": 3.0, "capacity": 25.0},  # above it: the KL is raised
        {"free_bits": 1.0},  # between the two latents' KL
        {"beta": 2.0, "capacity": 5.0, "free_bits": 1.0},
    ],
)
def test_the_loss_and_every_gradient_are_those_of_the_formula(options):
    game, batch = game_of(VAE, **options)
    gradient, cost, kls = by_the_formula(game, batch, game.beta, game.capacity, game.free_bits)
    assert_same(gradient_of(game, "autoencoder", batch), gradient)
    torch.manual_seed(0)
    loss = game.loss(batch)
    assert loss.total.item() == pytest.approx(cost, rel=1e-12)
    assert loss.seen["nats"].item() == pytest.approx(sum(kls), rel=1e-12)
    bound = -loss.terms["reconstruction"].item() - sum(kls)  # whatever β, C and λ are
    assert loss.seen["elbo"].item() == pytest.approx(bound, rel=1e-12)
    assert min(kls) < 1.0 < max(kls) and 0.4 < sum(kls) < 5.0  # the cases are what they say


def test_beta_one_no_capacity_and_no_free_bits_are_the_vae_bit_for_bit():
    """Minus the bound is lowered, and nothing else; also over a run."""
    game, batch = game_of(VAE)
    loss = game.loss(batch)
    assert torch.equal(loss.total, -loss.seen["elbo"])
    said = {"method.beta": 1.0, "method.capacity": 0.0, "method.free_bits": 0.0}
    plain, beta, other = (trainer_of("vae", data_of(), **s) for s in ({}, said, {"method.beta": 4.0}))
    for trainer in (plain, beta, other):
        for _ in range(5):
            trainer.step()
    assert same(weights(plain.game), weights(beta.game))
    assert not same(weights(plain.game), weights(other.game))


def test_a_latent_below_its_free_bits_is_not_pulled_to_the_prior():
    game, batch = game_of(VAE, free_bits=1.0)
    below = game.posterior(*batch).kl().mean(0) < 1.0
    assert below.sum() == 1
    kl = game.loss(batch).terms["kl"]
    by_weight = torch.autograd.grad(kl, game.encoder.head.weight)[0].unflatten(0, (2, d)).abs().sum((0, 2))
    assert torch.equal(by_weight == 0, below)
    assert kl.item() == pytest.approx(1.0 + game.posterior(*batch).kl().mean(0)[~below].item(), rel=1e-12)


@pytest.mark.parametrize(
    ("encoder", "prior", "options", "why"),
    [
        ("point", Gaussian, {}, "needs a density of z"),
        ("gaussian", Uniform, {}, "prior.name=gaussian"),
    ],
)
def test_what_has_no_meaning_is_refused(encoder, prior, options, why):
    encoder, network = encoder_and_network(encoder)
    with pytest.raises(UserError, match=why):
        VAE(encoder, Decoder(network, (3,)), prior(dimension=d), **options)


def test_the_divergence_of_a_gaussian_is_torchs_and_that_of_many_draws():
    """100,000 draws for each of 5 rows, to 4 standard errors."""
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64))
    torch.testing.assert_close(q.kl(), kl_divergence(Normal(q.mean, q.std), Normal(0.0, 1.0)), rtol=1e-12, atol=1e-12)
    z = q.rsample((100_000,))
    ratio = q.log_prob(z) - Gaussian(dimension=3).log_prob(z)
    assert ((ratio.mean(0) - q.kl().sum(1)).abs() < 4 * error(ratio)).all()


# The bound, where the evidence is known


def test_with_the_exact_posterior_the_bound_is_the_evidence():
    """log p(x, z) − log q(z|x) is log p(x) at every z, and so is the bound in closed form; the loss is unbiased."""
    world = orthogonal_world()
    x, _ = world.sample(50, torch.Generator().manual_seed(1))
    game, exact = exact_game(VAE, world), world.log_evidence(x)
    torch.manual_seed(0)
    q = game.posterior(x)
    z = q.rsample((7,))
    weight = game.likelihood(z).log_prob(x) + game.prior.log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(weight, exact.expand_as(weight), rtol=0, atol=1e-10)
    torch.testing.assert_close(linear_elbo(game, x), exact, rtol=0, atol=1e-10)
    with torch.no_grad():
        losses = torch.stack([game.loss(Batch(x)).total for _ in range(400)])
    assert -losses.mean().item() == pytest.approx(exact.mean().item(), abs=4 * error(losses).item())


@pytest.mark.parametrize(("widened", "shift"), [(1.5, 0.0), (0.5, 0.0), (1.0, 0.7), (2.0, -1.0)])
def test_of_a_wrong_encoder_the_bound_falls_short_by_its_divergence_from_the_posterior(widened, shift):
    """log p(x) = bound + KL(q ‖ p(z|x)), of two Gaussians: ½ d (r² − 1 − log r² + shift²)."""
    world = orthogonal_world()
    x, _ = world.sample(8, torch.Generator().manual_seed(1))
    game = exact_game(VAE, world, widened=widened, shift=shift)
    q = game.posterior(x)
    gap = kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.std**2)), MultivariateNormal(*world.posterior(x)))
    torch.testing.assert_close(linear_elbo(game, x) + gap, world.log_evidence(x), rtol=0, atol=1e-10)
    assert gap[0].item() == pytest.approx(1.5 * (widened**2 - 1 - math.log(widened**2) + shift**2), rel=1e-10)


def ppca(spectrum, d):
    """The largest log likelihood a row of probabilistic PCA, and its σ (Tipping & Bishop 1999, equations 3 and 8)."""
    rest = sum(spectrum[d:]) / len(spectrum[d:])
    logs = sum(math.log(value) for value in spectrum[:d]) + len(spectrum[d:]) * math.log(rest)
    return -(len(spectrum) * (math.log(2 * math.pi) + 1) + logs) / 2, math.sqrt(rest)


def test_a_trained_linear_vae_is_probabilistic_pca():
    """Its bound, exactly computed, is below the largest likelihood, by less than 0.05 nats; and so is its σ."""
    spectrum = [6.0, 2.5, 0.7, 0.5, 0.3]
    x = with_covariance(spectrum, 400)
    game = trained(linear_game(VAE, 5, 2, Gaussian), x, steps=1200)
    best, sigma = ppca(spectrum, 2)
    bound = linear_elbo(game.double(), x.double()).mean().item()
    assert best - 0.05 < bound < best
    assert game.likelihood(torch.zeros(1, 2).double()).each.stddev[0, 0].item() == pytest.approx(sigma, rel=0.03)


def test_a_linear_vae_keeps_the_latents_that_theory_says_and_fewer_nats_as_beta_grows():
    """Kept is λ > β σ²: of 8, 4, 2, 1, ½ and σ² = 1.44 three at β = 1, two at 2, one at 4. Of a kept one the nats are
    ½ log λ / β σ²: the best q is the posterior of probabilistic PCA with noise β σ².
    """
    spectrum, sigma = [8.0, 4.0, 2.0, 1.0, 0.5], 1.2
    x, found = with_covariance(spectrum, 400), []
    for beta in (1.0, 2.0, 4.0):
        game = trained(linear_game(VAE, 5, 4, Gaussian, sigma=sigma, beta=beta), x, steps=700)
        with torch.no_grad():
            q = game.posterior(x)
        found.append((int((q.mean.var(0) > 0.01).sum()), q.kl().sum(1).mean().item()))
        assert found[-1][0] == kept(torch.tensor(spectrum), 4, sigma, beta)
        nats = sum(math.log(max(1, value / (beta * sigma**2))) / 2 for value in spectrum[:4])
        assert found[-1][1] == pytest.approx(nats, abs=0.05)  # the noise of training
    assert [active for active, _ in found] == [3, 2, 1]
    assert found[0][1] > found[1][1] > found[2][1]


def test_at_the_optimum_the_nats_of_each_latent_are_those_of_the_formula_in_float32():
    """W = U (Λ − σ²)^½ and the posterior, in closed form: of a kept latent ½ log λ/σ² nats, of the others none; as many
    are active as eigenvalues exceed σ², and the doctor counts so."""
    spectrum, sigma = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5], dtype=torch.float64), 1.2
    x = with_covariance(spectrum, 400)
    U = torch.linalg.eigh(x.double().T.cov(correction=0)).eigenvectors.flip(1)[:, :4]
    W = U * (spectrum[:4] - sigma**2).clamp_min(0).sqrt()
    game = exact_game(VAE, LinearGaussian(W.float(), x.double().mean(0).float(), sigma)).float()
    q, nats = game.posterior(x), (spectrum[:4] / sigma**2).log().clamp_min(0) / 2
    assert q.mean.dtype == torch.float32
    torch.testing.assert_close(q.kl().mean(0).double(), nats, rtol=0, atol=1e-6)
    found = Gauge(Batch(x), Batch(x[:0]), len(x)).measure(game)
    assert found["active"] == kept(spectrum, 4, sigma) == (spectrum[:4] > sigma**2).sum() == 3
    assert found["kl"] == pytest.approx(nats.tolist(), abs=5e-4)  # as many digits as are logged


# A posterior that is a flow


def bent(rows):
    """q(z|x) of a flow at random weights."""
    encoder, _ = encoder_and_network("flow")
    encoder = encoder.double()
    torch.manual_seed(2)
    return encoder(torch.randn(rows, 3).double(), torch.randn(rows, 2).double())


@with_zuko
def test_the_density_of_a_flow_is_the_bases_over_the_jacobian():
    """log q(z) = log N(ε; 0, 1) − log |det ∂z/∂ε|, the Jacobian by autograd."""
    for i in range(4):
        q = bent(4)
        base, inverse = q.base, q.warp.transform.inv
        noise = torch.randn(4, d, dtype=torch.float64)

        def row(e, i=i, base=base, inverse=inverse, noise=noise):
            rows = torch.cat([noise[:i], e[None], noise[i + 1 :]])
            return (base.mean + base.std * inverse(rows))[i]

        jacobian = torch.autograd.functional.jacobian(row, noise[i])
        expected = Normal(0.0, 1.0).log_prob(noise[i]).sum() - jacobian.slogdet().logabsdet
        z = base.mean + base.std * inverse(noise)
        torch.testing.assert_close(q.log_prob(z)[i], expected, rtol=0, atol=1e-10)
        assert abs(jacobian.slogdet().logabsdet - base.log_std[i].sum()) > 1e-3  # the flow has one of its own


@with_zuko
def test_the_draws_of_a_flow_have_its_density():
    """On a grid over z of one row: its integral is 1, and the share of draws in each quarter is the density's."""
    q, n = bent(1), 40_000
    torch.manual_seed(0)
    with torch.no_grad():
        middle, half, z = q.mean[0], 8 * q.std[0], q.rsample((n,))[:, 0]
        steps = (torch.arange(600, dtype=torch.float64) + 0.5) / 300 - 1  # no line of it is a quarter's border
        grid = middle + half * torch.cartesian_prod(steps, steps)
        mass = q.log_prob(grid[:, None])[:, 0].exp() * half.prod() / 300**2
    assert mass.sum().item() == pytest.approx(1, abs=1e-3)
    quarters = lambda t: (t > middle).double() @ torch.tensor([1.0, 2.0], dtype=torch.float64)  # noqa: E731
    for quarter in range(4):
        share = mass[quarters(grid) == quarter].sum().item()
        found = (quarters(z) == quarter).double().mean().item()
        assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n) + 1e-3)  # and the integral's


@with_zuko
def test_many_draws_of_a_flow_are_as_many_rows():
    q = bent(3)
    z = q.rsample((5,))
    torch.testing.assert_close(q.log_prob(z), torch.stack([q.log_prob(each) for each in z]), rtol=0, atol=1e-12)


@with_zuko
def test_each_row_has_a_bend_of_its_own():
    """The flow sees x and c: from the same noise another z, also in units of the row's own mean and std."""
    q = bent(2)
    z = q.warp.transform.inv(torch.ones(2, d, dtype=torch.float64))
    assert (z[0] - z[1]).abs().max() > 0.1


@with_zuko
def test_a_flow_has_two_latents_at_least():
    with pytest.raises(UserError, match="two at least"):
        Encoder(Same(), 1, (3,), posterior="flow")


class Valley(nn.Module):
    """z -> z₂ − z₁²: what is seen of z leaves a curved valley."""

    def forward(self, z, c=None):
        return z[:, 1:] - z[:, :1].square()


@with_zuko
def test_a_flow_follows_a_posterior_that_no_gaussian_fits():
    """p(z | x = −1) lies along z₂ = z₁² − 1. log p(x) is an integral over a grid, which both bounds stay below."""
    x = torch.full((128, 1), -1.0)
    decoder, gaps = Decoder(Valley(), (1,), sigma=0.2), {}
    steps = torch.linspace(-6, 6, 1201)
    z = torch.cartesian_prod(steps, steps)
    joint = decoder(z).log_prob(x[:1]) + Gaussian(dimension=2).log_prob(z)
    exact = joint.double().logsumexp(0) + 2 * math.log(12 / 1200)
    for posterior in ("gaussian", "flow"):
        torch.manual_seed(1)
        game = VAE(Encoder(Same(), 2, (1,), posterior=posterior), decoder, Gaussian(dimension=2))
        trained(game, x, steps=500)
        with torch.no_grad():
            q = game.posterior(x[:1])
            z = q.rsample((20_000,))
            gaps[posterior] = exact - (decoder(z).log_prob(x[:1]) + game.prior.log_prob(z) - q.log_prob(z))[:, 0]
    for gap in gaps.values():
        assert gap.mean() > -4 * error(gap)
    better = gaps["gaussian"].mean() - gaps["flow"].mean()
    assert better > 4 * (error(gaps["gaussian"]).square() + error(gaps["flow"]).square()).sqrt()
    assert gaps["flow"].mean() < gaps["gaussian"].mean() / 2
