"""How probable a model finds data: estimates of the evidence log p(x) = log ∫ p(x|z) p(z) dz, and what to trust.

Every estimate is the logarithm of an average of weights whose expectation is p(x): low in expectation, by Jensen, and
by the less the more equal the weights.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from ludus.errors import UserError
from ludus.game import HasLikelihood
from ludus.networks.laws import DiagonalGaussian

PILOTS = 2  # chains beside the others that set the step, and are left out of the estimate
GAIN = 0.2  # log of the step per unit of acceptance, so at most ×1.07 and ÷1.14 a temperature
LEAST = 1e-3  # standard deviation of a proposal: a q that shrank to a point proposes nothing else
FLAT = 1e-3  # the largest weights are one number where they differ by less, relatively: rounding has no tail


class Evidence(NamedTuple):
    """Estimates for B rows of data."""

    value: Tensor  # (B,) nats
    ess: Tensor  # (B,) (Σw)² / Σw²: as many equal weights would be as good; 1 (one weight is all) to k
    k_hat: Tensor  # (B,) shape of the weights' tail: see `pareto`


class Start(Protocol):
    """Where annealing starts: a distribution of torch's kind, usually q(z|x) or the prior. Its `stddev` is used."""

    def sample(self, shape: tuple[int, ...]) -> Tensor: ...  # (chains,) -> (chains, B, d)
    def log_prob(self, z: Tensor) -> Tensor: ...  # (chains, B, d) -> (chains, B)


def evidence(game: HasLikelihood, x: Tensor, c: Tensor | None, method: str, draws: int) -> Evidence:
    """log p(x|c) of a game by `importance` of draws from its encoder, or by `ais` that starts there and has so many
    temperatures. Of an implicit q, and for ais of any, the Gaussian with its moments stands in."""
    q = game.posterior(x, c)
    if q.implicit:
        q = DiagonalGaussian(q.mean, q.std.clamp_min(LEAST).log())

    def log_joint(z: Tensor) -> Tensor:
        return game.likelihood(z, c).log_prob(x) + game.prior.log_prob(z)

    if method == "iwae":
        z = q.rsample((draws,))
        return importance(log_joint(z) - q.log_prob(z))
    return ais(log_joint, Independent(Normal(q.mean, q.std), 1), draws)


def importance(log_weights: Tensor) -> Evidence:
    """log 1/k Σ_i w_i, w_i = p(x, z_i) / q(z_i|x), z_i ~ q(z|x): the importance weighted bound.

    `log_weights` is (k, B) in nats. k = 1 is the ELBO of one draw, more draws only raise the expectation, and any k is
    exact where q is the posterior. Burda, Grosse, Salakhutdinov 2016, arXiv:1509.00519.
    """
    return Evidence(_log_mean(log_weights), _ess(log_weights), pareto(log_weights))


def pareto(log_weights: Tensor) -> Tensor:
    """Shape ξ of the generalised Pareto law of the largest weights: log weights (k, B) -> (B,).

    Moments of order 1/ξ and above are infinite: beyond ½ the weights' variance is, and beyond 0.7 an average of fewer
    than very many is not to be trusted. The fit is that of Zhang & Stephens 2009 (Technometrics 51, 316) to the
    min(k/5, 3√k) largest, drawn towards ½ with the weight of ten of them (Vehtari et al. 2024, arXiv:1507.02646).
    NaN where k < 25, and where the largest weights are equal (to 10⁻³, relatively), as with an exact q.
    """
    k, n = len(log_weights), math.ceil(min(len(log_weights) / 5, 3 * len(log_weights) ** 0.5))
    if k < 25:
        return log_weights.new_full(log_weights.shape[1:], math.nan)
    top = log_weights.double().topk(n + 1, 0).values.flip(0)
    weights = (top - top[-1]).exp()
    x = (weights[1:] - weights[0]).clamp_min(1e-300)  # over the threshold, smallest first; some may have underflowed
    # the one free parameter, b = −ξ / scale, on a grid; ξ follows from it, and the mean of b over the likelihood
    m = 30 + math.isqrt(n)
    grid = 1 - (m / (torch.arange(1, m + 1, dtype=x.dtype, device=x.device) - 0.5)).sqrt()
    b = 1 / x[-1] + grid[:, None] / (3 * x[(n + 2) // 4 - 1])
    shape = torch.stack([(-row * x).log1p().mean(0) for row in b])
    likelihood = n * ((-b / shape).log() - shape - 1)
    shape = (-(likelihood.softmax(0) * b).sum(0) * x).log1p().mean(0)
    k_hat = (n * shape + 10 * 0.5) / (n + 10)
    return k_hat.masked_fill(x[-1] < FLAT, math.nan).to(log_weights.dtype)


def ais(
    log_joint: Callable[[Tensor], Tensor],
    start: Start,
    temperatures: int = 1000,
    chains: int = 8,
    leapfrog: int = 10,
    step: float = 0.1,
    target: float = 0.65,
    count: Callable[[int], None] = lambda done: None,
) -> Evidence:
    """Annealed importance sampling: from z ~ q to the posterior in small steps, each weighed.

        π_β(z) ∝ q(z)^(1−β) p(x, z)^β,    log w = Σ_t (β_t − β_{t−1}) [log p(x, z_{t−1}) − log q(z_{t−1})],

    and a Hamiltonian move that leaves π_{β_t} as it is takes z_{t−1} to z_t. The mean of w is p(x) however badly the
    chains mix, so `value` (the log of their mean) is low in expectation; k_hat is NaN. β_t = (t / `temperatures`)³ goes
    slowly where a prior first meets the data; equal steps can be tens of nats worse.

    log_joint: z (chains, B, d) -> log p(x, z) (chains, B) in nats, each entry from its own z.
    start: q; its density outside its support is −∞, not an error.
    leapfrog, step, target: steps per move; the first step, in sd of q; the acceptance towards which every row's own
    step is adapted, by two more chains that do not count: a chain that set its own step would bias its weight.
    count: hears how many temperatures are done.

    Draws from torch's global generator. Raises UserError for densities of another shape. Neal 2001, Statistics and
    Computing 11, 125; Wu, Burda, Salakhutdinov, Grosse 2017, arXiv:1611.04273.
    """
    log_w = _walk(log_joint, start, start.sample((chains,)), _schedule(temperatures), leapfrog, step, target, count)
    return Evidence(_log_mean(log_w), _ess(log_w), torch.full_like(log_w[0], math.nan))


def reverse_ais(
    log_joint: Callable[[Tensor], Tensor],
    z_exact: Tensor,
    start: Start,
    temperatures: int = 1000,
    leapfrog: int = 10,
    step: float = 0.1,
    target: float = 0.65,
    count: Callable[[int], None] = lambda done: None,
) -> Evidence:
    """The same walk from the posterior back to q: high in expectation, so that with `ais` it brackets log p(x).

    The mean of the reverse weight is 1 / p(x), if z_exact (chains, B, d) are exact draws of p(z|x). For x that the
    model itself made there is one, the z that x was made from, which all chains may share. Arguments as for `ais`.
    Grosse, Ghahramani, Adams 2015, arXiv:1511.02543.
    """
    log_w = _walk(log_joint, start, z_exact, _schedule(temperatures)[::-1], leapfrog, step, target, count)
    return Evidence(-_log_mean(log_w), _ess(log_w), torch.full_like(log_w[0], math.nan))


def _schedule(temperatures: int) -> list[float]:
    return [(t / temperatures) ** 3 for t in range(temperatures + 1)]


@torch.no_grad()
def _walk(log_joint, start, z, betas, leapfrog, step, target, count) -> Tensor:
    """The log weights (chains, B) of a walk through π_β from z (chains, B, d)."""
    z = torch.cat([start.sample((PILOTS,)), z])
    for name, density in {"log_joint": log_joint, "start.log_prob": start.log_prob}.items():
        if (shape := density(z).shape) != z.shape[:-1]:
            raise UserError(f"{name} of z {tuple(z.shape)} has shape {tuple(shape)}: it should be (chains, B)")
    sd = getattr(start, "stddev", torch.ones_like(z[0]))
    steps, log_w = torch.full_like(z[0, :, :1], step), torch.zeros_like(z[..., 0])  # (B, 1) and (PILOTS + chains, B)
    for done, (last, beta) in enumerate(pairwise(betas), 1):
        at = partial(_at, log_joint, start, beta)
        ratio, value, slope = at(z)
        log_w += (beta - last) * ratio
        if done < len(betas) - 1:  # a move after the last weight would change nothing
            z, rate = _hamiltonian(at, z, value, slope, leapfrog, steps * sd)
            steps = steps * (GAIN * (rate[:PILOTS].mean(0)[:, None] - target)).exp()
        count(done)
    return log_w[PILOTS:]


def _at(log_joint, start, beta: float, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At z: log p(x, z) − log q(z); log π_β(z) but for a constant; its slope."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        q, p = start.log_prob(z), log_joint(z)
        value = (1 - beta) * q + beta * p
        (slope,) = torch.autograd.grad(value.sum(), z)
    return (p - q).detach(), value.detach(), slope


def _hamiltonian(at, z, value, slope, leapfrog: int, size: Tensor) -> tuple[Tensor, Tensor]:
    """One Hamiltonian Monte Carlo move of z (chains, B, d), and the probability (chains, B) of taking it.

    at is `_at` at one β; `value` and `slope` are what it gives at z. size (B, d): the leapfrog step.
    """
    v, end = torch.randn_like(z), z
    before = value - v.square().sum(-1) / 2
    for _ in range(leapfrog):
        v = v + size / 2 * slope
        end = end + size * v
        _, value, slope = at(end.nan_to_num(0, 0, 0))  # where a path has flown off v has too, and the move is refused
        v = v + size / 2 * slope
    rate = (value - v.square().sum(-1) / 2 - before).clamp_max(0).exp().nan_to_num(0)
    return torch.where((torch.rand_like(rate) < rate)[..., None], end, z), rate


def _log_mean(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def _ess(log_weights: Tensor) -> Tensor:
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
