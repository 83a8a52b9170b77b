"""Adversarial costs, as functions of logits a = σ⁻¹(D); least squares and hinge take a itself for the output.

Each is a mean over the batch and carries no factor ½: the lecture's J is half of what stands here.
Everything is computed from logits, so that minimax and heuristic stay finite, value and gradient, at a = ±100.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


def real(a: Tensor) -> Tensor:
    """−E log D on real data."""
    return softplus(-a).mean()


def fake(a: Tensor) -> Tensor:
    """−E log(1 − D) on generated data."""
    return softplus(a).mean()


def minimax(a: Tensor) -> Tensor:
    """E log(1 − D(G(z))): the zero-sum game. Its slope −σ(a) vanishes where D is sure of a fake."""
    return -softplus(a).mean()


def heuristic(a: Tensor) -> Tensor:
    """−E log D(G(z)): the generator maximises the log-probability of the discriminator being mistaken."""
    return softplus(-a).mean()


def maximum_likelihood(a: Tensor) -> Tensor:
    """−E exp(σ⁻¹(D(G(z)))) = −E D/(1−D): at D = D*, its gradient is that of KL(data‖model).

    Never clamped, since a clamp would falsify the gradient: where it overflows, the game has diverged.
    """
    return -torch.exp(a).mean()


def least_squares(a: Tensor, label: float = 1.0) -> Tensor:
    """E(a − label)², the label of real being 1 and of fake −1, so that 0 is undecided, as in every other cost.

    Mao et al. 2017 take 1 and 0 for the outcome: the same game for (a + 1) / 2, at a quarter of the cost.
    """
    return (a - label).square().mean()


def hinge(a: Tensor, label: float) -> Tensor:
    """E max(0, 1 − label·a): nothing more is won beyond a margin of 1 (Lim & Ye 2017)."""
    return relu(1 - label * a).mean()


def score(a: Tensor) -> Tensor:
    """−E a: what the generator lowers against a hinge, or against a critic."""
    return -a.mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """|E f(x) − E f(G(z))|² of features (B, K): the generator meets the means alone (Salimans et al. 2016)."""
    return (real.mean(0) - fake.mean(0)).square().sum()


def relativistic(a: Tensor, b: Tensor) -> Tensor:
    """E softplus(−(a − b)): lowers until each a exceeds the b that it is paired with (Jolicoeur-Martineau 2018)."""
    return softplus(b - a).mean()


def accuracy(a_real: Tensor, a_fake: Tensor) -> Tensor:
    """Share of the batch that the discriminator tells right, D(x) > ½ and D(G(z)) < ½."""
    return ((a_real > 0).float().mean() + (a_fake < 0).float().mean()) / 2


def ordered(a: Tensor, b: Tensor) -> Tensor:
    """Share of the pairs in which a exceeds b: the accuracy of a critic, whose zero means nothing."""
    return (a > b).float().mean()


COSTS: dict[str, Callable[[Tensor], Tensor]] = {  # the generator's
    "minimax": minimax,
    "heuristic": heuristic,
    "maximum_likelihood": maximum_likelihood,
    "least_squares": least_squares,
    "hinge": score,
}
AGAINST: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {  # the discriminator's: real, fake
    "minimax": (real, fake),
    "heuristic": (real, fake),
    "maximum_likelihood": (real, fake),
    "feature_matching": (real, fake),
    "least_squares": (partial(least_squares, label=1.0), partial(least_squares, label=-1.0)),
    "hinge": (partial(hinge, label=1.0), partial(hinge, label=-1.0)),
}
