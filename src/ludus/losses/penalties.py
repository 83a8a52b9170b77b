"""Penalties on the discriminator's slope ∇ₓf, where f is its logit (or a critic's value).

f must treat each row of a batch on its own (no batch norm): one derivative of Σᵢ f(xᵢ) then holds every row's slope.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Critic = Callable[[Tensor], Tensor]


def value_and_slope(f: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), (B,), and its gradient ∇ₓf(x), (B, D), differentiable; one forward pass serves both."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = f(x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value, slope.flatten(1)


def half_square(slope: Tensor) -> Tensor:
    """½ E|∇ₓf|²: with weight γ this is R1 on real data and R2 on generated data (Mescheder et al. 2018)."""
    return slope.square().sum(1).mean() / 2


def r1(f: Critic, x: Tensor, fake: Tensor) -> Tensor:
    """½ E|∇f(x)|² on real data x."""
    return half_square(value_and_slope(f, x)[1])


def r2(f: Critic, x: Tensor, fake: Tensor) -> Tensor:
    """½ E|∇f(G(z))|² on generated data."""
    return half_square(value_and_slope(f, fake)[1])


def gradient_penalty(f: Critic, x: Tensor, fake: Tensor, target: float = 1.0) -> Tensor:
    """E(|∇f(x̂)| − target)², x̂ uniform on the lines from real to generated points (Gulrajani et al. 2017)."""
    t = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
    slope = value_and_slope(f, torch.lerp(x, fake.detach(), t))[1]
    return (slope.norm(dim=1) - target).square().mean()


PENALTIES: dict[str, Callable[[Critic, Tensor, Tensor], Tensor]] = {"r1": r1, "r2": r2}
