"""From x to z without an encoder: the z whose picture is nearest to x, by descent from several starts."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MEMORY = 10  # steps of each row that its inverse Hessian is built from
EDGE = 0.99  # a bounded start beyond it is moved there: where tanh is flat it would stay


class Inversion(NamedTuple):
    """For each of n rows the z that was found, and how far its picture is from x: root mean squares over the pixels.

    Restarts that end far apart say that there are local minima, and more restarts may find a better one. Restarts that
    agree on a large residual say that the model cannot make this x.
    """

    z: Tensor  # (n, d) the best of the restarts
    residual: Tensor  # (n,)
    restarts: Tensor  # (n, R) the residual of each; the first from the encoder's guess, where there is one


def invert(
    decode: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    *,
    live: Tensor | None = None,
    bounded: bool = False,
    weight: float = 0.0,
    steps: int = 400,
    count: Callable[[float], None] = lambda done: None,
) -> Inversion:
    """z* = argmin_z  1/m Σ_i (x_i − G(z)_i)² + weight · |z|² / d  over the m live pixels, the best of R descents a row.

    A bounded z is tanh ζ, and ζ is what moves (Zhu et al. 2016, arXiv:1609.03552). Each descent is L-BFGS of its own,
    all go on side by side. weight > 0 gives, with a standard Gaussian prior, the most probable z for pixels of a
    standard deviation √(weight · m / d) each.

    decode: G, z (R · n, d) -> (R · n, *shape), the n rows R times over; it mixes no rows.    x (n, *shape).
    start (R, n, d): where the descents begin.    live (*shape): the pixels that count, all by default.
    bounded: z in [-1, 1].    steps: evaluations of G and its gradient, in each descent.
    count: hears what share of them is done.
    """
    restarts, n = start.shape[:2]
    live = torch.ones(x.shape[1:], dtype=torch.bool, device=x.device) if live is None else live
    x = x[:, live].repeat(restarts, 1)

    def squares(z: Tensor) -> Tensor:
        return (decode(z)[:, live] - x).square().mean(1)

    def cost(free: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            free = free.detach().requires_grad_()
            z = free.tanh() if bounded else free
            value = squares(z) + weight * z.square().mean(1)
            (slope,) = torch.autograd.grad(value.sum(), free)
        return value.detach(), slope

    first = start.flatten(0, 1)
    free = descend(cost, first.clamp(-EDGE, EDGE).atanh() if bounded else first, steps, count)
    z = free.tanh() if bounded else free
    with torch.no_grad():
        value = squares(z).view(restarts, n)
        best = (value + weight * z.square().mean(1).view(restarts, n)).argmin(0)
    rows = torch.arange(n, device=x.device)
    return Inversion(z.view(start.shape)[best, rows], value[best, rows].sqrt(), value.mT.sqrt())


def descend(
    cost: Callable[[Tensor], tuple[Tensor, Tensor]],
    z: Tensor,
    steps: int,
    count: Callable[[float], None] = lambda done: None,
) -> Tensor:
    """The lowest z (rows, d) that L-BFGS finds for each row, in so many evaluations of its cost and slope.

    Each row has its own history and its own step: one that went uphill is tried again at a third of the length while
    the others go on (Nocedal & Wright 2006, algorithm 7.5, with a backtracking line search).
    """
    value, slope = cost(z)
    moved, turned = (z.new_zeros(MEMORY, *z.shape) for _ in range(2))  # of z and of the slope, the latest last
    way, length = -slope, 1 / slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
    for done in range(1, steps):
        new = z + length * way
        new_value, new_slope = cost(new)
        down = new_value <= value + 1e-4 * (length * way * slope).sum(1)
        s, y = new - z, new_slope - slope
        bent = down & ((s * y).sum(1) > 1e-8 * y.square().sum(1))  # only upward curvature is kept
        moved = torch.where(bent[:, None], torch.cat([moved[1:], s[None]]), moved)
        turned = torch.where(bent[:, None], torch.cat([turned[1:], y[None]]), turned)
        z, slope = torch.where(down[:, None], new, z), torch.where(down[:, None], new_slope, slope)
        value = torch.where(down, new_value, value)
        newton = -_inverse_hessian(moved, turned, slope)
        way = torch.where(down[:, None], newton, way)
        length = torch.where(down[:, None], torch.ones_like(length), length / 3)
        count((done + 1) / steps)
        if length.max() < 1e-6:  # no row finds anything lower: float32 is used up
            break
    return z


def _inverse_hessian(s: Tensor, y: Tensor, slope: Tensor) -> Tensor:
    """H · slope from the last steps s and changes of slope y, (MEMORY, rows, d): the two loops of L-BFGS."""
    curvature = (s * y).sum(2, keepdim=True)
    rho = torch.where(curvature > 0, 1 / curvature, 0)  # a step that is not there yet changes nothing
    q, alphas = slope, []
    for i in reversed(range(len(s))):
        alphas.append(rho[i] * (s[i] * q).sum(1, keepdim=True))
        q = q - alphas[-1] * y[i]
    size = curvature[-1] / y[-1].square().sum(1, keepdim=True)
    q = torch.where(curvature[-1] > 0, size, 1) * q
    for i, alpha in enumerate(reversed(alphas)):
        q = q + s[i] * (alpha - rho[i] * (y[i] * q).sum(1, keepdim=True))
    return q
