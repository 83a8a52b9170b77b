"""Penalties on the discriminator's slope ∇ₓf, where f is its logit (or a critic's value).

f must treat each row of a batch on its own (no batch norm): one derivative of Σᵢ f(xᵢ) then holds every row's slope.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Critic = Callable[[Tensor], Tensor]


def value_and_slope(f: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), (B,), and its gradient ∇ₓf(x), (B, D), differentiable; one forward pass serves both.

    Where f sees m rows as one (`networks.lenses`), (B/m,) and the slope in all of a pack, (B/m, m·D).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = f(x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, slope.reshape(len(value), -1)


def half_square(slope: Tensor) -> Tensor:
    """½ E|∇ₓf|²: with weight γ this is R1 on real data and R2 on generated data (Mescheder et al. 2018)."""
    return slope.square().sum(1).mean() / 2


def r1(f: Critic, x: Tensor, fake: Tensor, pack: int = 1) -> Tensor:
    """½ E|∇f(x)|² on real data x."""
    return half_square(value_and_slope(f, x)[1])


def r2(f: Critic, x: Tensor, fake: Tensor, pack: int = 1) -> Tensor:
    """½ E|∇f(G(z))|² on generated data."""
    return half_square(value_and_slope(f, fake)[1])


def gradient_penalty(
    f: Critic, x: Tensor, fake: Tensor, pack: int = 1, target: float = 1.0, one_sided: bool = False
) -> Tensor:
    """E(|∇f(x̂)| − target)², x̂ uniform on the lines from real to generated points (Gulrajani et al. 2017).

    pack: as many rows as f sees as one share a line, from a real to a generated pack. One-sided: only a slope above
    the target costs, E max(0, |∇f(x̂)| − target)² (Petzka et al. 2018).
    """
    t = torch.rand(len(x) // pack, *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device).repeat_interleave(pack, 0)
    slope = value_and_slope(f, torch.lerp(x, fake.detach(), t))[1]
    excess = slope.norm(dim=1) - target
    return (excess.relu() if one_sided else excess).square().mean()


PENALTIES: dict[str, Callable[[Critic, Tensor, Tensor, int], Tensor]] = {
    "r1": r1,
    "r2": r2,
    "gradient_penalty": gradient_penalty,
    "gradient_penalty_one_sided": partial(gradient_penalty, one_sided=True),
}


class Lazily(nn.Module):
    """Takes a penalty on every n-th move only, n times as strong (Karras et al. 2020, arXiv:1912.04958).

    The mean over n moves is the penalty's, at little more than 1/n of its price. The count of moves is a buffer, so
    that a resumed run goes on with it; nothing is kept for n = 1.
    """

    def __init__(self, n: int):
        super().__init__()
        self.n = n
        self.register_buffer("moves", torch.zeros((), dtype=torch.int64), persistent=n > 1)

    @property
    def factor(self) -> int:
        """What the penalty is multiplied by before this move: n on every n-th, else 0."""
        return self.n if self.n == 1 or (int(self.moves) + 1) % self.n == 0 else 0

    def moved(self) -> None:
        """Counts a move."""
        self.moves += 1
