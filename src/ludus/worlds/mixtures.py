"""Small worlds in the plane whose density is exactly known: a ring and a grid of Gaussians, one Gaussian, a spiral."""

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from ludus.game import Batch


@final
class Mixture:
    """Isotropic Gaussian mixture with equal weights, p(x) = 1/K Σ_k N(x; m_k, σ² I).

    `means` is (K, D), `sd` is σ in the same units.
    """

    def __init__(self, means: Tensor, sd: float):
        self.means = means
        self.sd = sd

    def sample(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """n draws: x (n, D) float32 and c (n, K), one-hot of the component that x came from."""
        which = torch.randint(len(self.means), (n,), generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator)
        c = torch.nn.functional.one_hot(which, len(self.means)).float()
        return Batch(self.means[which] + self.sd * noise, c)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, x (B, D) -> (B,), in the precision of x."""
        k, d = self.means.shape
        squared = (x[:, None] - self.means.to(x)).square().sum(-1)
        each = -squared / (2 * self.sd**2) - d / 2 * math.log(2 * math.pi * self.sd**2)
        return each.logsumexp(1) - math.log(k)


@final
class Spiral:
    """Noisy spiral of two turns, x = t/4π · (cos t, sin t) + σ ε, with t = 4π √u and u uniform on [0, 1].

    The root spreads the points nearly evenly along the curve. The radius ends at 1; `sd` is σ.
    """

    def __init__(self, sd: float = 0.02):
        self.sd = sd

    @staticmethod
    def curve(u: Tensor) -> tuple[Tensor, Tensor]:
        """The angle t (n, 1) and the point (n, 2) of the curve at u (n,)."""
        t = 4 * math.pi * u.sqrt()[:, None]
        return t, t / (4 * math.pi) * torch.cat([t.cos(), t.sin()], 1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """n draws: x (n, 2) float32 and c (n, 1), the angle t in radians, 0 to 4π."""
        t, point = self.curve(torch.rand(n, generator=generator))
        return Batch(point + self.sd * torch.randn(n, 2, generator=generator), t)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, x (B, 2) -> (B,), by the midpoint rule in u, whose 1,024 points lie closer than σ."""
        nodes = self.curve((torch.arange(1024) + 0.5) / 1024)[1]
        return Mixture(nodes, self.sd).log_prob(x)


def ring() -> Mixture:
    """8 modes on a circle of radius 1, sd 0.01, the first at (1, 0).

    The circle is cut in 8 without its end point: `linspace(0, 2π, 8)` with it gives 7 distinct modes, a bug that
    the unrolled GAN's published notebook has (Metz et al. 2016, arXiv:1611.02163).
    """
    angle = torch.arange(8) * (2 * math.pi / 8)
    return Mixture(torch.stack([angle.cos(), angle.sin()], 1), 0.01)


def grid() -> Mixture:
    """25 modes at {-4, -2, 0, 2, 4}², sd 0.05 (Srivastava et al. 2017, VEEGAN, arXiv:1705.07761)."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(line, line), 0.05)


def gaussian() -> Mixture:
    """The standard normal in the plane, N(0, I): one mode."""
    return Mixture(torch.zeros(1, 2), 1.0)


def spiral() -> Spiral:
    """Two turns, sd 0.02, conditioned on the angle."""
    return Spiral()


WORLDS: dict[str, Callable[[], Mixture | Spiral]] = {
    "ring": ring,
    "grid": grid,
    "spiral": spiral,
    "gaussian": gaussian,
}
