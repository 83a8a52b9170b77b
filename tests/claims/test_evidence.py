"""What is proven of the evidence and its estimates, where log p(x) is exactly known: probabilistic PCA.

Everything is in float64 and seeded. A tolerance of 4 means 4 standard errors.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from ludus.errors import UserError
from ludus.inference import evidence
from ludus.inference.evidence import ais, importance, pareto, reverse_ais
from ludus.worlds.linear_gaussian import LinearGaussian, kept


def world(d: int = 4, D: int = 12, sigma: float = 0.5, seed: int = 0) -> LinearGaussian:
    g = torch.Generator().manual_seed(seed)
    W, mu = torch.randn(D, d, generator=g, dtype=torch.float64), torch.randn(D, generator=g, dtype=torch.float64)
    return LinearGaussian(W, mu, sigma)


def drawn(w: LinearGaussian, n: int, seed: int = 1):
    """x, z and log p(x); the global generator, from which the estimates draw, is seeded too, and differently."""
    torch.manual_seed(seed + 1000)  # the same seed would give the prior's first draws the very z behind x
    x, z = w.sample(n, torch.Generator().manual_seed(seed))
    return x, z, w.log_evidence(x)


def posterior(w: LinearGaussian, x, widened: float = 1.0) -> MultivariateNormal:
    mean, covariance = w.posterior(x)
    return MultivariateNormal(mean, covariance * widened**2)


def prior(like) -> Independent:
    return Independent(Normal(torch.zeros_like(like), 1.0), 1)


def error(t):
    """The standard error of the mean."""
    return t.std(0) / len(t) ** 0.5


# The world


def test_the_world_is_a_normal_law_with_the_posterior_that_conditioning_gives():
    w = world()
    x, _, exact = drawn(w, 7)
    C = w.W @ w.W.T + w.sigma**2 * torch.eye(12)
    torch.testing.assert_close(exact, MultivariateNormal(w.mu, C).log_prob(x), rtol=0, atol=1e-10)
    gain = torch.linalg.solve(C, w.W).T
    mean, covariance = w.posterior(x)
    torch.testing.assert_close(mean, (x - w.mu) @ gain.T, rtol=0, atol=1e-10)
    torch.testing.assert_close(covariance, torch.eye(4, dtype=torch.float64) - gain @ w.W, rtol=0, atol=1e-10)


def test_samples_have_the_worlds_moments():
    w, n = world(d=2, D=3), 100_000
    pair = torch.cat(w.sample(n, torch.Generator().manual_seed(0)), 1)
    W, one = w.W, torch.eye(2, dtype=torch.float64)
    C = torch.cat([torch.cat([W @ W.T + w.sigma**2 * torch.eye(3), W], 1), torch.cat([W.T, one], 1)])
    mean = torch.cat([w.mu, torch.zeros(2, dtype=torch.float64)])
    assert ((pair.mean(0) - mean).abs() < 4 * (C.diagonal() / n).sqrt()).all()
    assert ((pair.T.cov() - C).abs() < 4 * ((C.diagonal().outer(C.diagonal()) + C.square()) / n).sqrt()).all()


# The lecture's identity, and the bounds


@pytest.mark.parametrize("q_of", ["posterior", "too wide", "mean field", "prior", "anywhere"])
def test_the_evidence_is_the_elbo_and_the_divergence_from_the_posterior(q_of):
    """log p(x) = E_q log p(x|z) − KL(q ‖ p(z)) + KL(q ‖ p(z|x)) for any q, each term in closed form."""
    w = world()
    x, _, exact = drawn(w, 5)
    truth = posterior(w, x)
    m, S = truth.mean, truth.covariance_matrix
    root = torch.randn(4, 4, dtype=torch.float64)
    m, S = {
        "posterior": (m, S),
        "too wide": (m, 2.25 * S),
        "mean field": (m, torch.diag_embed(1 / truth.precision_matrix.diagonal(dim1=1, dim2=2))),
        "prior": (0 * m, torch.eye(4, dtype=torch.float64)),
        "anywhere": (m + torch.randn_like(m), root @ root.T + 0.1 * torch.eye(4)),
    }[q_of]
    q = MultivariateNormal(m, S)
    spread = (w.W.T @ w.W * S).sum((-2, -1)) / (2 * w.sigma**2)  # what the variance of q adds to |x − W z|² / 2σ²
    reconstruction = Normal(m @ w.W.T + w.mu, w.sigma).log_prob(x).sum(1) - spread
    nothing = MultivariateNormal(torch.zeros_like(m), torch.eye(4, dtype=torch.float64))
    elbo = reconstruction - kl_divergence(q, nothing)
    gap = kl_divergence(q, truth)
    torch.testing.assert_close(elbo + gap, exact, rtol=0, atol=1e-6)
    assert (gap.abs() < 1e-10).all() if q_of == "posterior" else (gap > 0.01).all()

    log_weights = (lambda z: w.log_joint(x, z) - q.log_prob(z))(q.sample((4000,)))  # and one draw's weight is the ELBO
    assert ((log_weights.mean(0) - elbo).abs() <= 4 * error(log_weights) + 1e-10).all()


@pytest.mark.parametrize("k", [1, 2, 30])
def test_with_the_exact_posterior_any_number_of_draws_is_exact(k):
    w = world()
    x, _, exact = drawn(w, 6)
    q = posterior(w, x)
    z = q.sample((k,))
    value, ess, k_hat = importance(w.log_joint(x, z) - q.log_prob(z))
    torch.testing.assert_close(value, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(ess, torch.full_like(ess, k))
    assert k_hat.isnan().all()  # equal weights have no tail


def test_more_draws_raise_the_bound_towards_the_evidence():
    """q is r = 1.5 times as wide as the posterior, d = 4. For k = 1 the gap is KL(q ‖ p(z|x)) = ½ d (r² − 1 − log r²);
    for many draws Var w / 2k, with Var w = (r² / √(2r² − 1))^d − 1 = 1.092 for weights of mean 1.
    """
    w = world()
    x, _, exact = drawn(w, 1)
    q, repeats = posterior(w, x, widened=1.5), 2000
    log_weights = (lambda z: w.log_joint(x, z) - q.log_prob(z))(q.sample((1000, repeats)))[..., 0]
    # 1000 draws are 1000 / k times k of them, whose bounds are averaged
    gaps = [
        importance(log_weights.reshape(k, -1)).value.reshape(-1, repeats).mean(0) - exact for k in (1, 10, 100, 1000)
    ]
    for fewer, more in pairwise(gaps):
        assert ((more - fewer).mean() > 4 * error(more - fewer)).all()
    assert gaps[0].mean().item() == pytest.approx(-2 * (1.25 - math.log(2.25)), abs=4 * error(gaps[0]).item())
    for k, gap in ((100, gaps[2]), (1000, gaps[3])):  # the next order is about 1 / k of this one
        assert gap.mean().item() == pytest.approx(-1.092 / (2 * k), abs=4 * error(gap).item())


def test_draws_from_the_prior_are_hopeless_and_the_diagnostics_say_so():
    """The posterior is 10⁻²⁰ of the prior's volume: no draw of 1000 comes near it, and k̂ and the ESS know."""
    w = world(d=20, D=40, sigma=0.5)
    x, _, exact = drawn(w, 20)
    z = torch.randn(1000, 20, 20, dtype=torch.float64)
    value, ess, k_hat = importance(w.log_joint(x, z) - prior(z).log_prob(z))
    assert (value < exact - 100).all()
    assert ess.median() < 2 and k_hat.min() > 0.7


# Effective sample size and Pareto shape


def test_effective_sample_size_is_k_for_equal_weights_and_one_for_a_single_one():
    log_weights = torch.zeros(50, 3, dtype=torch.float64) - 800
    log_weights[0, 1], log_weights[:25, 2] = 0, -math.inf
    torch.testing.assert_close(importance(log_weights).ess, torch.tensor([50.0, 1.0, 25.0], dtype=torch.float64))


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.2])
def test_the_shape_of_a_known_tail_is_found(shape):
    """500 columns of 5000 generalised Pareto weights; n = 213 of each are fitted, and ½ has the weight of 10 more.

    The shape's standard error is that of maximum likelihood, (1 + ξ) / √n, and its bias is of order 1 / n.
    """
    torch.manual_seed(0)
    u = torch.rand(5000, 500, dtype=torch.float64)
    k_hat = pareto(((u**-shape - 1) / shape).log())
    n = 213
    free = k_hat * (n + 10) / n - 10 * 0.5 / n  # without the prior
    assert free.std().item() == pytest.approx((1 + shape) / n**0.5, rel=4 / (2 * 500) ** 0.5)
    assert free.mean().item() == pytest.approx(shape, abs=4 * error(free).item() + 3 / n)


def test_the_fit_is_arvizs():
    """Golden numbers of psislw of arviz 0.22.0."""
    u, i = (torch.arange(2000).double() + 0.5) / 2000, torch.arange(1000).double()
    assert pareto(-0.6 * u.log()[:, None]).item() == pytest.approx(0.5882563194150895, abs=1e-9)
    assert pareto(0.3 * u.log()[:, None]).item() == pytest.approx(-0.8759997312701212, abs=1e-9)
    assert pareto((i[:60] ** 2).cos()[:, None]).item() == pytest.approx(-0.9591333135371969, abs=1e-9)


def test_a_proposal_that_is_too_narrow_is_told_from_one_that_is_too_wide():
    """With sds of r the posterior's the weights of d latents have ξ = 1 − r² for r < 1, and a bound for r > 1.

    r = 0.4: ξ = 0.84. The fit is slow to reach it in several dimensions, so its verdict is asserted, not its value.
    """
    w = world()
    x, _, _ = drawn(w, 200)
    narrow, wide = posterior(w, x, widened=0.4), posterior(w, x, widened=1.5)
    k_narrow, k_wide = (pareto(w.log_joint(x, z) - q.log_prob(z)) for q in (narrow, wide) for z in [q.sample((1000,))])
    assert k_narrow.median() > 0.7 > 0.5 > k_wide.max()


def test_no_shape_without_a_tail_and_a_huge_one_where_weights_underflow():
    torch.manual_seed(0)
    assert pareto(torch.randn(24, 2)).isnan().all() and not pareto(torch.randn(25, 2)).isnan().any()
    assert pareto(1e-14 * torch.randn(1000, 2, dtype=torch.float64)).isnan().all()
    assert (pareto(1000 * torch.randn(1000, 2)) > 5).all()


# Annealed importance sampling


def test_from_the_prior_a_thousand_temperatures_come_within_a_fifth_of_a_nat():
    """On average over 20 rows, whose standard error is 0.05."""
    w = world(d=6)
    x, z, exact = drawn(w, 20)
    done = []
    value, ess, k_hat = ais(lambda z: w.log_joint(x, z), prior(z), temperatures=1000, chains=8, count=done.append)
    assert abs((value - exact).mean()) < 0.2
    assert ((ess >= 1) & (ess <= 8)).all() and k_hat.isnan().all()
    assert done == list(range(1, 1001))


def test_a_sharp_posterior_is_reached_from_the_prior_too():
    """σ = 0.1: a tenth of the prior's width in each of 8 latents and less. Equal temperatures end 33 nats too low."""
    w = world(d=8, D=20, sigma=0.1)
    x, z, exact = drawn(w, 10)
    gap = ais(lambda z: w.log_joint(x, z), prior(z), temperatures=300, chains=8).value - exact
    assert -5 < gap.mean() < 3 * error(gap)


def test_forward_and_reverse_bracket_the_evidence():
    """x is the model's own, and all reverse chains start from its z; more temperatures close the bracket."""
    w = world(d=6)
    x, z, exact = drawn(w, 30)
    widths = []
    for temperatures in (30, 300):
        low = ais(lambda z: w.log_joint(x, z), prior(z), temperatures, chains=4).value - exact
        high = reverse_ais(lambda z: w.log_joint(x, z), z.expand(4, -1, -1), prior(z), temperatures).value - exact
        assert low.mean() < 3 * error(low) and high.mean() > -3 * error(high)
        widths.append(high.mean() - low.mean())
        if temperatures == 30:  # where the bracket is wide, each side is on its own side beyond doubt
            assert low.mean() < -3 * error(low) and high.mean() > 3 * error(high)
    assert widths[1] < widths[0] / 3


@pytest.mark.parametrize(("temperatures", "step"), [(3, 0.3), (10, 1.5)])
def test_however_badly_a_chain_mixes_its_mean_weight_is_the_evidence(temperatures, step):
    """Few temperatures and a bad step, from the posterior moved by 1.5 of its sds; 25,000 equal rows.

    A lone chain that set its own step would be 20 % off after 10 temperatures.
    """
    w = world(d=2, D=3)
    x, _, exact = drawn(w, 1)
    x = x.expand(25_000, -1)
    truth = posterior(w, x)
    start = MultivariateNormal(truth.mean + 1.5 * truth.stddev, truth.covariance_matrix)
    how = dict(temperatures=temperatures, leapfrog=3, step=step)
    forward = ais(lambda z: w.log_joint(x, z), start, chains=2, **how).value
    reverse = reverse_ais(lambda z: w.log_joint(x, z), truth.sample((2,)), start, **how).value
    for weights in ((forward - exact).exp(), (exact - reverse).exp()):
        assert weights.mean().item() == pytest.approx(1, abs=4 * error(weights).item())
        assert weights.std() > 0.5  # else there would be nothing to average


def test_from_the_posterior_itself_there_is_nothing_to_anneal():
    w = world()
    x, _, exact = drawn(w, 5)
    value, ess, _ = ais(lambda z: w.log_joint(x, z), posterior(w, x), temperatures=20, chains=3)
    torch.testing.assert_close(value, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(ess, torch.full_like(ess, 3))


def test_each_row_finds_its_own_step(monkeypatch):
    """Posteriors of sd 1 and 0.02 at once, and a first step that suits neither: both settle at the acceptance asked."""
    torch.manual_seed(0)
    target = Independent(Normal(torch.zeros(2, 5, dtype=torch.float64), torch.tensor([[1.0], [0.02]])), 1)
    start = prior(torch.zeros(2, 5, dtype=torch.float64))
    rates, move = [], evidence._hamiltonian

    def watched(*args):
        z, rate = move(*args)
        rates.append(rate)
        return z, rate

    monkeypatch.setattr(evidence, "_hamiltonian", watched)
    ais(target.log_prob, start, temperatures=600, chains=2, step=0.01, target=0.8)
    late = torch.stack(rates[200:]).mean((0, 1))
    assert ((late - 0.8).abs() < 0.05).all()


def test_the_step_is_in_sds_of_the_start():
    """In units of z that differ by 10³ between latents the walk is the same, and so is the estimate."""
    w = world()
    x, z, _ = drawn(w, 3)
    unit = torch.tensor([2.0**-10, 1, 8, 2.0**10], dtype=torch.float64)  # powers of 2 round nothing

    def value(unit):
        torch.manual_seed(0)
        start = Independent(Normal(torch.zeros_like(z), unit.expand_as(z)), 1)
        return ais(lambda z: w.log_joint(x, z / unit) - unit.log().sum(), start, temperatures=50, chains=3).value

    torch.testing.assert_close(value(unit), value(torch.ones_like(unit)), rtol=0, atol=1e-6)


def test_a_path_that_flies_off_is_refused_and_a_density_of_another_shape_is_told():
    w = world()
    x, z, exact = drawn(w, 3)
    value = ais(lambda z: w.log_joint(x, z), prior(z), temperatures=200, chains=2, step=1e200).value
    assert value.isfinite().all() and (value < exact + 5).all()
    with pytest.raises(UserError, match="has shape"):
        ais(lambda z: w.log_joint(x, z), Normal(torch.zeros_like(z), 1.0))


# How many latents a linear VAE keeps

SPECTRUM = torch.tensor([8, 4, 2, 1, 0.5, 0.25], dtype=torch.float64)


def trained(sigma: float | None, beta: float, d: int = 4) -> tuple[int, float]:
    """The number of used latents and σ² of a linear β-VAE whose exact loss was lowered, on data of SPECTRUM."""
    g = torch.Generator().manual_seed(0)
    D = len(SPECTRUM)
    W, V = (0.3 * torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((D, d), (d, D)))
    log_e, log_s = torch.zeros(d, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    free = [t.requires_grad_() for t in (W, V, log_e)] + ([log_s.requires_grad_()] if sigma is None else [])
    optimiser = torch.optim.LBFGS(
        free, max_iter=3000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def kl():
        return (log_e.exp() + (V.square() @ SPECTRUM) - 1 - log_e) / 2

    def loss():
        optimiser.zero_grad()
        s = log_s.exp() if sigma is None else torch.tensor(sigma**2)
        residual = ((torch.eye(D) - W @ V).square() @ SPECTRUM).sum() + (W.square() @ log_e.exp()).sum()
        value = residual / (2 * s) + D / 2 * s.log() + beta * kl().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return int((kl() > 1e-3).sum()), log_s.exp().item()


@pytest.mark.parametrize(("sigma", "beta", "k"), [(0.6, 1, 4), (1.2, 1, 3), (1.2, 2, 2), (1.2, 4, 1), (1.2, 6, 0)])
def test_a_linear_vae_of_given_sigma_keeps_what_rises_above_its_noise(sigma, beta, k):
    assert kept(SPECTRUM, 4, sigma, beta) == k == trained(sigma, beta)[0]


@pytest.mark.parametrize(("beta", "k"), [(0.5, 4), (1, 4), (1.4, 3), (1.8, 2), (2.5, 1), (3.5, 0)])
def test_a_linear_vae_that_learns_its_sigma_keeps_what_is_consistent_with_it(beta, k):
    assert kept(SPECTRUM, 4, None, beta) == k
    used, s = trained(None, beta)
    assert used == k
    assert s == pytest.approx(SPECTRUM[k:].sum().item() / (len(SPECTRUM) - k * beta), rel=1e-4)


def test_a_learned_sigma_collapses_nothing_at_beta_one_and_order_does_not_matter():
    assert kept(torch.tensor([1.0, 9.0, 2.0, 4.0]), 3) == 3
    assert kept(torch.ones(5), 3) == 0  # white data: nothing rises above the noise
    assert kept(torch.tensor([3.0, 0.0, 0.0]), 2) == 1


def test_the_world_keeps_its_own_latents():
    w = LinearGaussian(torch.diag(torch.tensor([3.0, 1.0, 0.0])), torch.zeros(3), 1.0)  # eigenvalues 10, 2, 1
    assert [w.active(beta) for beta in (0.5, 1, 3, 11)] == [3, 2, 1, 0]
