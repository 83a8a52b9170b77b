"""Small networks for images on a CPU: few convolutions, and no batch norm unless asked for (R1 and R2 are per sample).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ludus.errors import unknown
from ludus.networks.heads import head, logits
from ludus.networks.layers import Crop, Trunk, given, halved, he, image, inputs, normal, positive, range_of, unit_norms


class SmallGenerator(nn.Module):
    """(z, known(c)) -> dense `hidden` -> `width`×⌈H/4⌉×⌈W/4⌉ -> two 3×3 convolutions, each with a pixel shuffle by 2.

    Leaky ReLU 0.2 between; the result is cropped centrally to H×W; tanh if `bounded`. All convolutions run on the
    small grids, which is what makes it fast; the maps after the first shuffle are 2/3 `width`. 0.68 M parameters for
    28×28 and latent 64, most of them in the second dense layer, which grows as H·W: for large images take `resnet`.
    The pixel shuffle is that of Shi et al. 2016 (arXiv:1609.05158). norm: "batch" puts batch norm before all leaky
    ReLUs but the last.
    forward(z (B, latent), c (B, K) | None) -> (B, C, H, W). Raises UserError where the data are no images.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int,
        condition: int = 0,
        bounded: bool = False,
        *,
        width: int = 48,
        hidden: int = 256,
        norm: Literal["none", "batch"] = "none",
    ):
        super().__init__()
        self.shape, self.latent, self.condition, self.bounded = shape, latent, condition, bounded
        self.width, self.hidden, self.norm = width, hidden, norm
        channels, height, length = image(shape, "small")
        positive(width=width, hidden=hidden)
        grid, half = (width, halved(height, 2), halved(length, 2)), max(1, 2 * width // 3)
        self.body = nn.Sequential(
            nn.Linear(latent + inputs(condition), hidden),
            *normed(norm, nn.BatchNorm1d, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, grid[0] * grid[1] * grid[2]),
            *normed(norm, nn.BatchNorm1d, grid[0] * grid[1] * grid[2]),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, grid),
            nn.Conv2d(width, 4 * half, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.2),
        ).apply(he)
        self.out = nn.Sequential(
            normal(nn.Conv2d(half, 4 * channels, 3, padding=1)),
            nn.PixelShuffle(2),
            Crop(height, length),
            range_of(bounded),
        )

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.out(self.body(torch.cat([z, given(c, self.condition, z)], 1)))


class SmallDiscriminator(nn.Module):
    """Three 3×3 convolutions of stride 2 with `width`, 2 `width`, 4 `width` maps, then dense `hidden`; leaky ReLU 0.2.

    c enters as `layers.Trunk` says. 0.155 M parameters for 28×28. minibatch: a layer of `heads` before the last one;
    spectral: `layers.unit_norms`; norm: "batch" puts batch norm before all leaky ReLUs but the first.
    forward(x (B, C, H, W), c (B, K) | None) -> logits (B,), at least float32; `features` gives (B, hidden). Raises
    UserError where the data are no images.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        condition: int = 0,
        *,
        width: int = 16,
        hidden: int = 128,
        minibatch: Literal["none", "discrimination", "deviation"] = "none",
        spectral: bool = False,
        norm: Literal["none", "batch"] = "none",
    ):
        super().__init__()
        self.shape, self.condition = shape, condition
        self.width, self.hidden, self.norm = width, hidden, norm
        self.minibatch, self.spectral = minibatch, spectral
        channels, height, length = image(shape, "small")
        positive(width=width, hidden=hidden)
        rest = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            *normed(norm, nn.BatchNorm2d, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            *normed(norm, nn.BatchNorm2d, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * halved(height, 3) * halved(length, 3), hidden),
            *normed(norm, nn.BatchNorm1d, hidden),
            nn.LeakyReLU(0.2),
        )
        first = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        self.features = Trunk(first.apply(he), rest.apply(he), condition, hidden)
        self.head = head(hidden, minibatch, normal)
        if spectral:
            unit_norms(self)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return logits(self.head(self.features(x, c)))


def normed(norm: str, layer: type[nn.Module], n: int) -> list[nn.Module]:
    """Batch norm of n maps, or nothing. UserError for another norm."""
    if norm not in ("none", "batch"):
        raise unknown("norm", norm, ["none", "batch"])
    return [layer(n)] if norm == "batch" else []
