"""What a discriminator learns: the ratio of the densities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.callbacks.annealing import Annealing
from ludus.data.sampler import Sampler
from ludus.figures.save import COLOURS, blank, styled
from ludus.methods.gan import GAN
from ludus.networks.mlp import MlpDiscriminator
from ludus.networks.priors import Gaussian
from ludus.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN, SD = 1.0, 1.2  # of the model; the data are N(0, 1)
X = torch.linspace(-8, 8, 1601, dtype=torch.float64)


def log_normal(x: Tensor, mean: float, sd: float) -> Tensor:
    return -(((x - mean) / sd) ** 2) / 2 - math.log(sd) - math.log(2 * math.pi) / 2


def optimal_logit(x: Tensor) -> Tensor:
    """a* = σ⁻¹(D*) = log p/q, of data p = N(0, 1) and model q = N(1, 1.2²): a parabola."""
    return log_normal(x, 0, 1) - log_normal(x, MEAN, SD)


class _Model(nn.Module):
    """G(z) = mean + sd z; its one parameter is never moved."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(MEAN))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.mean + SD * z


def trained_logit(x: Tensor, steps: int = 1000) -> Tensor:
    """The logit at x (n,) of a discriminator that has only seen samples: 100,000 of the data, any number of fakes."""
    with seeds.forked(torch.device("cpu"), 0):
        game = GAN(_Model(), MlpDiscriminator((1,), width=32, depth=2), Gaussian(dimension=1))
        sampler = Sampler(torch.randn(100_000, 1), batch=2000)
    options = {"steps": steps, "lr": 1e-2, "every": {"generator": steps + 1}}
    Trainer(game, sampler, [Annealing(decay=0.01)], **options).run()
    with torch.no_grad():
        return game.discriminator(x.float()[:, None]).double()


def error(logit: Tensor) -> float:
    """Root mean square of a logit at X against log p/q, under (p + q)/2: where there is something to be learnt from."""
    density = (log_normal(X, 0, 1).exp() + log_normal(X, MEAN, SD).exp()) / 2
    return (density * (logit - optimal_logit(X)) ** 2 / density.sum()).sum().sqrt().item()


def density_ratio() -> Figure:
    """The optimal discriminator D* = p/(p + q), its logit log p/q, and a discriminator trained on samples alone.

    It is right where there are samples. Beyond them it goes on as its network does, and the generator follows it there.
    """
    p, q, learnt = log_normal(X, 0, 1).exp(), log_normal(X, MEAN, SD).exp(), trained_logit(X)
    figure = blank(1900, 860)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        scale, base = (2, 0) if axes is left else (12, -10)
        for name, density, colour in (("data p", p, "#cfd3d8"), ("model q", q, "#f0d3c0")):
            axes.fill_between(X, base, base + scale * density, color=colour, linewidth=0, alpha=0.7, label=name)
    left.plot(X, p / (p + q), color=COLOURS[0], linewidth=1.5, label="D* = p/(p + q)")
    left.plot(X, learnt.sigmoid(), "--", color=COLOURS[1], linewidth=1.5, label="D, trained on samples")
    right.plot(X, optimal_logit(X), color=COLOURS[0], linewidth=1.5, label="a* = log p/q")
    right.plot(X, learnt, "--", color=COLOURS[1], linewidth=1.5, label="a, trained on samples")
    left.set(xlim=(-8, 8), ylim=(0, 1))
    right.set(xlim=(-8, 8), ylim=(-10, 3))
    styled(left, "the discriminator", "x", "D(x)")
    beneath = f"x   (root mean square error under (p + q)/2: {error(learnt):.3f})"
    styled(right, "its logit is the log density ratio", beneath, "a(x)")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.93, wspace=0.14)
    return figure
