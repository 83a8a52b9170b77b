"""Adversarial costs, as functions of logits a = σ⁻¹(D).

Each is a mean over the batch and carries no factor ½: the lecture's J is half of what stands here.
Everything is computed from logits, so that minimax and heuristic stay finite, value and gradient, at a = ±100.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus


def real(a: Tensor, smoothing: float = 0.0) -> Tensor:
    """−E[α log D + (1−α) log(1−D)] on real data, α = 1 − smoothing (one-sided, Salimans et al. 2016)."""
    return softplus(-a).mean() if smoothing == 0 else (softplus(-a) + smoothing * a).mean()


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


def relativistic(a: Tensor, b: Tensor) -> Tensor:
    """E softplus(−(a − b)): lowers until each a exceeds the b that it is paired with (Jolicoeur-Martineau 2018)."""
    return softplus(b - a).mean()


def accuracy(a_real: Tensor, a_fake: Tensor) -> Tensor:
    """Share of the batch that the discriminator tells right, D(x) > ½ and D(G(z)) < ½."""
    return ((a_real > 0).float().mean() + (a_fake < 0).float().mean()) / 2


def ordered(a: Tensor, b: Tensor) -> Tensor:
    """Share of the pairs in which a exceeds b: the accuracy of a critic, whose zero means nothing."""
    return (a > b).float().mean()


COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "heuristic": heuristic,
    "maximum_likelihood": maximum_likelihood,
}
