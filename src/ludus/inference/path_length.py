"""How fast the picture changes on the way from one latent to another."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from ludus.metrics.rows import Estimate


def path_length(f: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, slerp: bool = True) -> Estimate:
    """E |J_f(z) (b − a)|² over pairs of draws a, b (n, d) of the prior, z anywhere on the way between them.

    The perceptual path length E |f(z + ε (b − a)) − f(z)|² / ε² of Karras et al. 2019 (arXiv:1812.04948), ε → 0, and no
    pair left out. For a linear f(z) = W z and a standard Gaussian prior it is 2 |W|²_F. Short is smooth; shortest of
    all is a generator that always gives the same.

    f: z (B, d) -> (B, ...), each row from its own z: pictures, or features of them, for the distance is L2.
    slerp: on the great circle, as `between` has it; else on the straight line.
    Draws from torch's global generator. The error is that of the mean over pairs.
    """
    return mean(squares(f, a, b, slerp))


def squares(f: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, slerp: bool = True) -> Tensor:
    """|J_f(z) (b − a)|² of each pair, (n,) float64, by one derivative in forward mode."""
    z = between(a, b) if slerp else torch.lerp(a, b, torch.rand_like(a[:, :1]))
    return jvp(f, (z,), (b - a,))[1].flatten(1).double().square().sum(1)


def between(a: Tensor, b: Tensor) -> Tensor:
    """A random place on the way from each a to its b (n, d): the slerp of `latents.interpolate`, row by row."""
    t = torch.rand_like(a[:, :1])
    lengths = [each.norm(dim=1, keepdim=True) for each in (a, b)]
    first, second = (each / length.clamp_min(1e-12) for each, length in zip((a, b), lengths))
    angle = (first * second).sum(1, keepdim=True).clamp(-1, 1).acos()
    circle = (((1 - t) * angle).sin() * first + (t * angle).sin() * second) / angle.sin()
    return torch.where(angle.sin() < 1e-3, torch.lerp(a, b, t), torch.lerp(*lengths, t) * circle)


def mean(values: Tensor) -> Estimate:
    """Of independent values (n,)."""
    return Estimate(float(values.mean()), float(values.std() / len(values) ** 0.5))
