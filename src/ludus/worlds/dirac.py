"""The Dirac-GAN: the smallest game that shows which ways of playing converge (Mescheder et al. 2018)."""

from typing import final

import torch
from torch import Tensor, nn

from ludus.game import Batch
from ludus.networks.heads import logits
from ludus.networks.priors import Gaussian


@final
class Dirac:
    """All data at the point 0 of the line, p(x) = δ(x)."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """n copies of it: x (n, 1) float32, all 0; nothing random is drawn."""
        return Batch(torch.zeros(n, 1))


@final
class Point(nn.Module):
    """A generator that always gives one point, G(z) = θ. forward(z (B, d)) -> (B, 1)."""

    def __init__(self, theta: float = 1.0):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.theta.expand(len(z), 1)


@final
class Slope(nn.Module):
    """A discriminator whose logit is a line through 0, a(x) = ψ x. forward(x (B, 1)) -> (B,)."""

    def __init__(self, psi: float = 1.0):
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(float(psi)))

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return logits(self.psi * x)


def dirac(theta: float = 1.0, psi: float = 1.0) -> tuple[Point, Slope, Gaussian]:
    """Generator, discriminator and prior of the game at (θ, ψ): what a method's first three arguments take.

    Data at 0, G(z) = θ and a(x) = ψ x have one equilibrium, (0, 0), and the radius √(θ² + ψ²) tells whether
    play converges. To first order the GAN only turns round it, with eigenvalues ±i/2: gradient steps of size h,
    simultaneous, then move outwards by √(1 + h²/4) a turn. R1 of weight γ damps, −γ/2 ± √(γ²/4 − 1/4), and converges.

    Mescheder et al. have the discriminator high on the generated point, as the lecture's WGAN has. Where it is high on
    real data (gan, wgan_gp, r3gan) their start (1, 1) is θ = 1, ψ = −1.

    Reference: Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually Converge?, ICML 2018.
    """
    return Point(theta), Slope(psi), Gaussian(dimension=1)
