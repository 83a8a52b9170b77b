"""The three generator costs compared: how steep each is, and on how many samples of a batch the steepness rests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ludus.figures.save import COLOURS, FAINT, blank, styled
from ludus.losses.adversarial import COSTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("minimax", "heuristic", "maximum_likelihood")
LABELS = {name: name.replace("_", " ") for name in NAMES}
Z = torch.linspace(-15, 15, 3001, dtype=torch.float64)  # the trapezium rule is exact to rounding for such integrands
MASS = torch.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi) * 0.01


def value_and_slope(name: str, a: Tensor) -> tuple[Tensor, Tensor]:
    """The lecture's J⁽ᴳ⁾ of one sample and ∂J⁽ᴳ⁾/∂a, at its logits a = σ⁻¹(D(G(z))), (n,): half of the library's."""
    a = a.detach().requires_grad_()
    value = torch.vmap(COSTS[name])(a[:, None]) / 2
    return value.detach(), torch.autograd.grad(value.sum(), a)[0]


def generator_costs() -> Figure:
    """The three generator costs against D(G(z)), and their slopes in the logit.

    The lecture's J, ½ included. Minimax and maximum likelihood are flat where D is sure of a fake (left), only the
    heuristic cost is steep there; maximum likelihood puts nearly all of its slope on what D takes for real (right).
    """
    figure = blank(1900, 860)
    left, right = figure.subplots(1, 2)
    d = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    a = torch.linspace(-8, 8, 401, dtype=torch.float64)
    for name, colour in zip(NAMES, COLOURS):
        left.plot(d, value_and_slope(name, d.logit())[0], color=colour, linewidth=1.5, label=LABELS[name])
        right.plot(a, value_and_slope(name, a)[1].abs(), color=colour, linewidth=1.5, label=LABELS[name])
    left.set(xlim=(0, 1), ylim=(-10, 4))
    right.set(xlim=(-8, 8), ylim=(0, 2))
    styled(left, "what the generator lowers", "D(G(z))", "J⁽ᴳ⁾")
    styled(right, "how steep it is in the logit", "a = σ⁻¹(D(G(z)))", "|∂J⁽ᴳ⁾/∂a|")
    for x, word, side in ((-7.8, "D is sure of a fake", "left"), (7.8, "D is fooled", "right")):
        right.text(x, 1.9, word, fontsize=8, color=FAINT, ha=side)
    left.legend(frameon=False, fontsize=8, loc="lower left")
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.93, wspace=0.16)
    return figure


def share(weights: Tensor, mass: Tensor | float) -> Tensor:
    """(E w)² / E w²: the share of samples that would do as well if they alone carried the gradient, all equally."""
    return (mass * weights).sum(-1) ** 2 / (mass * weights**2).sum(-1)


def carried(name: str, m: float) -> tuple[float, float]:
    """E|∂J/∂a| and the share of samples that carry it: data N(0, 1), model N(m, 1), D = D*.

    There a = log p/q = −m²/2 − m z for the sample x̃ = m + z, and the gradient in m is −m ∂J/∂a on every sample, so the
    slopes are all that differs between them. Under maximum likelihood the mean is ½ and the share e^(−m²), exactly.
    """
    w = value_and_slope(name, -(m**2) / 2 - m * Z)[1].abs()
    return (MASS * w).sum().item(), share(w, MASS).item()


def batches(name: str, m: float, n: int, trials: int) -> Tensor:
    """The share in each of `trials` batches of n samples; none is below 1/n."""
    z = torch.randn(trials, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = value_and_slope(name, (-(m**2) / 2 - m * z).flatten())[1].abs().view(trials, n)
    return share(w, 1 / n)


def gradient_share() -> Figure:
    """The share of a batch that carries the generator's gradient, and the gradient's size, under the three costs.

    The "variance reduction" remark made exact: data N(0, 1), model N(m, 1), optimal discriminator. Minimax loses its
    gradient as the model moves off; under maximum likelihood the mean slope stays ½ but the share falls as e^(−m²).
    A batch soon lacks the rare samples that should carry it (dots above their line), so most batches have too little.
    """
    n, at = 256, torch.linspace(0, 4, 17, dtype=torch.float64)
    figure = blank(1900, 860)
    left, right = figure.subplots(1, 2)
    fine = torch.linspace(0, 4, 81, dtype=torch.float64)
    for name, colour in zip(NAMES, COLOURS):
        mean, part = zip(*(carried(name, m) for m in fine.tolist()))
        left.plot(fine, mean, color=colour, linewidth=1.5, label=LABELS[name])
        right.plot(fine, part, color=colour, linewidth=1.5, label=LABELS[name])
        seen = [batches(name, m, n, 200).mean() for m in at.tolist()]
        right.plot(at, seen, "o", color=colour, markersize=3)
    right.axhline(1 / n, color=FAINT, linewidth=0.6, linestyle=":")
    right.text(0.05, 1.15 / n, f"one sample of {n}", fontsize=7, color=FAINT)
    right.text(2.35, 0.0065, "e^(−m²)", fontsize=8, color=COLOURS[2])
    left.set(xlim=(0, 4), ylim=(0, 0.55))
    right.set(xlim=(0, 4), ylim=(1e-4, 1.5), yscale="log")
    styled(left, "mean slope, E|∂J⁽ᴳ⁾/∂a|", "m: how far the model N(m, 1) is from the data N(0, 1)", "")
    beneath = f"m   (lines: exact; dots: the mean over 200 batches of {n})"
    styled(right, "share of the samples that carry it", beneath, "")
    left.legend(frameon=False, fontsize=8, loc="lower left")
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.93, wspace=0.16)
    return figure
