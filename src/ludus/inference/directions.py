"""Directions in a latent space along which what is generated changes, and whether more than along any other."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ludus.errors import UserError

KINDS = ("pca", "ganspace", "sefa", "supervised")
CONTROLS, STARTS = 20, 32  # random directions, and the z from which each direction is walked
AT_ONCE = 256  # rows that go through a network together
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

Decode = Callable[[Tensor, Tensor | None], Tensor]  # z (n, d), c (n, K) | None -> x (n, ...)


class Directions(NamedTuple):
    """k directions of z (d,), what is known of each, and what a direction drawn at random would do.

    Where an effect is no larger than the control, the picture changes no more along that direction than along any.
    """

    vectors: Tensor  # (k, d), of length 1
    spread: Tensor  # (k,) standard deviation of z along each; a walk of ±3 of them stays where the model was trained
    share: Tensor  # (k,) of the variance that each explains, or R² on held-out rows
    effect: Tensor  # (k,) root mean square change of x from one standard deviation of a latent below z to one above
    control: tuple[float, float]  # mean and standard deviation of the effects of random directions, of the same length


def pca(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k principal axes (k, d) of codes z (n, d), and the share of their variance along each."""
    off = (z - z.mean(0)).double()
    return _singular(off, k, "the codes do not vary")


def sefa(layer: nn.Module, d: int, k: int) -> tuple[Tensor, Tensor]:
    """The right singular vectors (k, d) of A, the weight by which the first layer acts on z, A z.

    They are the n that make |A n| large, and the shares are s² / Σ s²: of the variance of A z, for z of one variance in
    all directions. No data, no draws (Shen & Zhou 2021, arXiv:2007.06600).
    """
    return _singular(_weight(layer, d).double(), k, "the first layer's weight is 0")


def ganspace(h: Tensor, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Directions (k, d) along which the first k principal components of an early layer's activations h (n, m) grow.

    With z (n, d) and y (n, k) the components, whitened, they are the rows of argmin_U |z − z̄ − y U|², normalised; y is
    orthogonal, so that U = yᵀ (z − z̄) / n. The shares are those of the variance of h (Härkönen et al. 2020,
    arXiv:2004.02546).
    """
    h, z = (h - h.mean(0)).double(), (z - z.mean(0)).double()
    values, axes = torch.linalg.eigh(h @ h.mT)  # n × n, however many activations there are
    values, axes = values.flip(0).clamp_min(0), axes.flip(1)
    k = min(k, z.shape[1], int((values > 1e-10 * values[0]).sum()))
    if k < 1:
        raise UserError("the activations do not vary with z: nothing was learnt")
    return _upright(axes[:, :k].mT @ z), values[:k] / values.sum()


def supervised(factors: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The direction (k, d) in which each of k factors (n, k) grows, by linear regression on z (n, d), and its R².

    f = a + b · z by least squares on four rows of five. The direction is S b, S the covariance of z: of all moves that
    raise f by as much the smallest, counted in standard deviations of z. (b itself would lead out of the codes, along
    latents that hardly vary.) R² is on the other rows, 1 − Σ (f − f̂)² / Σ (f − f̄)², below 0 where the regression says
    less than the mean does. Which rows these are is drawn.
    """
    factors, z = factors.double(), z.double()
    held = torch.randperm(len(z)) % 5 == 4
    if (n := int((~held).sum())) <= z.shape[1] + 1:
        raise UserError(f"{len(z)} rows are too few: {n} of them for a regression on {z.shape[1]} latents")
    if (constant := (factors[~held].std(0) == 0) | (factors[held].std(0) == 0)).any():
        raise UserError(f"factor {int(constant.nonzero()[0])} is constant: there is nothing to regress")
    ones = torch.ones_like(z[:, :1])
    wide = torch.cat([z, ones], 1)
    b = torch.linalg.lstsq(wide[~held], factors[~held], driver="gelsd").solution  # a latent may be constant
    rest = factors[held] - wide[held] @ b
    total = factors[held] - factors[held].mean(0)
    off = z[~held] - z[~held].mean(0)
    return _unit((off.mT @ (off @ b[:-1])).mT), 1 - rest.square().sum(0) / total.square().sum(0)


def measured(
    decode: Decode,
    z: Tensor,
    c: Tensor | None,
    vectors: Tensor,
    share: Tensor,
    live: Tensor | None = None,
    limit: float | None = None,
) -> Directions:
    """What is known of vectors (k, d) with z (n, d) as they are drawn, by walks of `decode` from some of them.

    c (n, K): of each z.    live (*shape): the pixels that count, all by default.    limit: of |z_j|, if any.
    """
    spread = ((z - z.mean(0)).double() @ vectors.mT).std(0)
    step = float(z.double().var(0).mean().sqrt())
    random = _unit(torch.randn(CONTROLS, z.shape[1], dtype=torch.double))
    some = torch.randperm(len(z))[:STARTS]  # data may come in an order
    z, c = z[some], None if c is None else c[some].repeat(2, 1)

    def effect(v: Tensor) -> float:
        ends = torch.cat([z + v, z - v])
        above, below = decode(ends if limit is None else ends.clamp(-limit, limit), c).double().chunk(2)
        change = above - below
        return float((change if live is None else change[:, live]).square().mean().sqrt())

    effects, of_random = (torch.tensor([effect(step * v.to(z)) for v in each]) for each in (vectors, random))
    return Directions(vectors, spread, share, effects, (float(of_random.mean()), float(of_random.std())))


class Early(NamedTuple):
    """Where z enters a network."""

    layer: nn.Module  # the first layer with weights that is given z
    h: Tensor  # (n, m) what comes of it, as the next layer with weights is given it: after a norm and a bend


def early(network: nn.Module, decode: Decode, z: Tensor, c: Tensor | None = None) -> Early:
    """The first layer that is given z (n, d), alone or in front of a condition, found by running `decode` on it.

    network: what `decode` runs through. Raises UserError where no layer is given z.
    """
    calls, found = [], []
    hooks = [
        layer.register_forward_hook(lambda layer, args, output: calls.append((layer, args[0], output)))
        for layer in network.modules()
        if isinstance(layer, LAYERS)
    ]
    try:
        for rows in (slice(i, i + AT_ONCE) for i in range(0, len(z), AT_ONCE)):
            calls.clear()
            decode(z[rows], None if c is None else c[rows])
            found.append(_early(calls, z[rows]))
    finally:
        for hook in hooks:
            hook.remove()
    return Early(found[0].layer, torch.cat([part.h for part in found]))


def _early(calls: list[tuple[nn.Module, Tensor, Tensor]], z: Tensor) -> Early:
    """The same from the calls of one pass: a layer, what it was given, what it gave."""
    calls = [(layer, *(part.flatten(1)[-len(z) :] for part in parts)) for layer, *parts in calls]  # less a reference
    for i, (layer, given, output) in enumerate(calls):
        if given.shape[1] >= z.shape[1] and torch.equal(given[:, : z.shape[1]], z):
            return Early(layer, calls[i + 1][1] if i + 1 < len(calls) else output)
    raise UserError("no linear layer or convolution of this network is given z as it is: pca and supervised need none")


def _weight(layer: nn.Module, d: int) -> Tensor:
    """A (m, d), by which a layer that is given z as 1 × 1 maps, or as a vector, acts on it."""
    if isinstance(layer, nn.Linear):
        return layer.weight[:, :d]
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1:
        return layer.weight[:d].flatten(1).mT
    raise UserError(f"sefa takes a weight that acts on z: the first layer here is {type(layer).__name__}; try ganspace")


def _singular(matrix: Tensor, k: int, why: str) -> tuple[Tensor, Tensor]:
    """The first k right singular vectors that are not null, and their shares of Σ s²."""
    _, s, vectors = torch.linalg.svd(matrix, full_matrices=False)
    k = min(k, int((s > 1e-6 * s[0]).sum()))
    if k < 1:
        raise UserError(f"{why}: no direction stands out")
    return _upright(vectors[:k]), s[:k].square() / s.square().sum()


def _upright(vectors: Tensor) -> Tensor:
    """Unit vectors whose largest entry is positive: a principal axis has no sign of its own."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return _unit(vectors * largest.sign())


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-30)
