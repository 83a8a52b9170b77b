"""Why the evidence is intractable, and what bounds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ludus.figures.save import COLOURS, blank, styled
from ludus.worlds.linear_gaussian import LinearGaussian

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIMENSIONS, PIXELS, SIGMA, ROWS = (1, 2, 4, 8), 20, 0.1, 50
DRAWS = tuple(4**i for i in range(9))  # 1 to 65,536
WIDTHS = torch.linspace(0.3, 3.0, 109, dtype=torch.float64)


def world(d: int) -> LinearGaussian:
    """d latents seen through 20 pixels, W of orthogonal columns of length 1: the posterior is N(·, s² I)."""
    draws = torch.Generator().manual_seed(d)
    W = torch.linalg.qr(torch.randn(PIXELS, d, dtype=torch.float64, generator=draws)).Q
    return LinearGaussian(W, torch.zeros(PIXELS, dtype=torch.float64), SIGMA)


def shortfall(d: int, proposal: str) -> Tensor:
    """log p(x) less its estimate from DRAWS of the "prior", or of the "posterior" made 1.5 times too wide, of 50 x."""
    here, draws = world(d), torch.Generator().manual_seed(100 + d)
    x, _ = here.sample(ROWS, draws)
    mean, covariance = here.posterior(x)
    sd = 1.5 * covariance[0, 0].sqrt()
    if proposal == "prior":
        mean, sd = torch.zeros_like(mean), torch.ones_like(sd)
    sums, done = torch.full((ROWS,), -torch.inf, dtype=torch.float64), 0
    found = []
    q = torch.distributions.Independent(torch.distributions.Normal(mean, sd.expand_as(mean)), 1)
    for n in DRAWS:
        noise = torch.randn(n - done, ROWS, d, dtype=torch.float64, generator=draws)
        z = mean + sd * noise
        log_w = here.log_joint(x, z) - q.log_prob(z)
        sums, done = torch.cat([sums[None], log_w]).logsumexp(0), n
        found.append(here.log_evidence(x) - (sums - torch.log(torch.tensor(float(n)))))
    return torch.stack(found)


class Bound(NamedTuple):
    """A Gaussian q of the right mean and a width that is wrong: nats, at each of WIDTHS."""

    evidence: float
    elbo: Tensor
    kl: Tensor  # KL(q(z|x) ‖ p(z|x))


def bounds(d: int = 2) -> Bound:
    """The variational identity log p(x) = ELBO + KL(q ‖ p(z|x)) at one x, each of the three computed by itself."""
    here = world(d)
    x, _ = here.sample(1, torch.Generator().manual_seed(5))
    mean, covariance = here.posterior(x)
    true = covariance[0, 0].sqrt()
    sd = WIDTHS * true
    # E_q log p(x, z): log p(x, z) is quadratic in z, with the posterior's curvature
    expected = here.log_joint(x, mean) - d * sd.square() / (2 * true.square())
    entropy = d * (sd.log() + 0.5 * torch.log(torch.tensor(2 * torch.pi)) + 0.5)
    kl = d * (WIDTHS.square() / 2 - 0.5 - WIDTHS.log())
    return Bound(float(here.log_evidence(x)), expected + entropy, kl)


def evidence() -> Figure:
    """Why p(x) = ∫ p(x|z) p(z) dz is called intractable, and the lower bound that a VAE raises in its place (ELBO).

    Draws of the prior hardly ever meet the posterior, and what is missed is missing from the estimate.
    """
    figure = blank(1900, 860)
    left, right = figure.subplots(1, 2)
    for colour, d in zip(COLOURS, DIMENSIONS):
        off = shortfall(d, "prior").median(1).values
        left.plot(DRAWS, off, "o-", color=colour, ms=3, linewidth=1.2, label=f"prior, {d} latent{'s' * (d > 1)}")
    off = shortfall(8, "posterior").median(1).values
    left.plot(DRAWS, off, "s--", color="#22262b", ms=3, linewidth=1.2, label="a q 1.5 times too wide, 8 latents")
    left.set(xscale="log", yscale="symlog", ylim=(-0.1, 3e4))
    styled(left, "what Monte Carlo misses of log p(x)", "draws of z for one x", "log p(x) − estimate, nats (median x)")
    found = bounds()
    right.axhline(found.evidence, color="#22262b", linewidth=1, label="log p(x)")
    right.plot(WIDTHS, found.elbo, color=COLOURS[0], linewidth=1.5, label="ELBO")
    right.fill_between(WIDTHS, found.elbo, found.evidence, color=COLOURS[1], alpha=0.25, label="KL(q(z|x) ‖ p(z|x))")
    styled(right, "the variational identity", "standard deviation of q / that of p(z|x)", "nats")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.93, wspace=0.14)
    return figure
