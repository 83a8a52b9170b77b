"""Maximum likelihood, its reverse, and what a GAN lowers: one Gaussian fitted to two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ludus.figures.save import COLOURS, blank, styled
from ludus.worlds.mixtures import Mixture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X = torch.linspace(-60, 60, 2401, dtype=torch.float64)  # the trapezium rule is exact to rounding for such integrands
STEP = 0.05


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum() * STEP


def _jsd(log_p: Tensor, log_q: Tensor) -> Tensor:
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    return (_kl(log_p, log_mean) + _kl(log_q, log_mean)) / 2


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "KL(p‖q)": _kl,
    "KL(q‖p)": lambda log_p, log_q: _kl(log_q, log_p),
    "JSD(p, q)": _jsd,
}
SAYS = {
    "KL(p‖q)": "maximum likelihood: covers all",
    "KL(q‖p)": "the reverse: chooses one",
    "JSD(p, q)": "minimax at D*: covers, or is caught in one",
}


class Fit(NamedTuple):
    """A minimum: the divergence in nats, and the Gaussian that has it."""

    value: float
    mean: float
    sd: float


def log_normal(mean: Tensor, log_sd: Tensor) -> Tensor:
    """log N(x; mean, sd²) at X."""
    return -(((X - mean) / log_sd.exp()) ** 2) / 2 - log_sd - math.log(2 * math.pi) / 2


def two(separation: float) -> Tensor:
    """log p at X: two Gaussians of equal weight and sd 1, their means `separation` apart about 0."""
    return Mixture(torch.tensor([[-separation / 2], [separation / 2]]), 1.0).log_prob(X[:, None])


def fits(name: str, separation: float) -> list[Fit]:
    """The minima over the mean and sd of q, found from one mode and from between the two, the lowest first.

    A minimum on the right mode mirrors the one on the left and is left out.
    """
    log_p, found = two(separation), []
    for start in ((-separation / 2, 0.0), (-0.1, math.log(math.hypot(1, separation / 2)))):
        mean, log_sd = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in start)
        optimiser = torch.optim.LBFGS(
            [mean, log_sd], max_iter=500, tolerance_grad=1e-11, tolerance_change=1e-15, line_search_fn="strong_wolfe"
        )

        def lower(mean=mean, log_sd=log_sd, optimiser=optimiser) -> Tensor:
            optimiser.zero_grad()
            value = DIVERGENCES[name](log_p, log_normal(mean, log_sd))
            value.backward()
            return value

        optimiser.step(lower)
        fit = Fit(lower().item(), mean.item(), log_sd.exp().item())
        if all(abs(fit.sd - other.sd) > 1e-4 for other in found):
            found.append(fit)
    return sorted(found)


def divergences() -> Figure:
    """One Gaussian fitted to two under KL(p‖q), KL(q‖p) and JSD.

    Maximum likelihood matches mean and variance and covers both; the reverse KL chooses one from 5.6 sd on. JSD covers
    until the two are 8.5 sd apart, but from 5.6 on has a second minimum on one, where a generator may be caught.
    """
    separation, near = 8.0, X.abs() < 9
    figure = blank(1900, 1240)
    places = figure.add_gridspec(2, 3, left=0.06, right=0.985, bottom=0.09, top=0.95, wspace=0.12, hspace=0.36)
    below, at = figure.add_subplot(places[1, :]), torch.linspace(0.5, 12, 93).tolist()
    for i, (name, colour) in enumerate(zip(DIVERGENCES, COLOURS)):
        axes = figure.add_subplot(places[0, i])
        axes.fill_between(X[near], two(separation)[near].exp(), color="#cfd3d8", linewidth=0)
        for fit, line in zip(fits(name, separation), ("-", "--")):
            q = log_normal(torch.tensor(fit.mean), torch.tensor(math.log(fit.sd))).exp()
            axes.plot(X[near], q[near], line, color=colour, linewidth=1.5, label=f"{fit.value:.3f}")
        axes.set(xlim=(-9, 9), ylim=(0, 0.45))
        axes.legend(frameon=False, fontsize=8, loc="upper right", title="nats", title_fontsize=8)
        styled(axes, name, SAYS[name], "")
        found = [fits(name, s) for s in at]
        for line, which, label in (("-", 0, name), ("--", 1, None)):
            for covers in (True, False):  # two branches, each a line of its own
                kept = [f[which] if len(f) > which else None for f in found]
                sd = [f.sd if f and (abs(f.mean) < 0.01) == covers else math.nan for f in kept]
                below.plot(at, sd, line, color=colour, linewidth=1.3, label=label if covers else None)
    below.set(xlim=(0, 12), ylim=(0, 6.5))
    title = "sd of the fitted Gaussian; solid: the lowest minimum, dashed: the other one"
    styled(below, title, "distance between the two, in their sd", "")
    below.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
