"""The practical's networks (TensorFlow's DCGAN tutorial, after Radford et al. 2015, arXiv:1511.06434)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ludus.errors import UserError, unknown
from ludus.networks.heads import head, logits
from ludus.networks.layers import (
    Crop,
    Dropout,
    Trunk,
    VirtualNorm,
    WithReference,
    given,
    glorot,
    halved,
    image,
    inputs,
    positive,
    range_of,
    unit_norms,
)

NORMS = {  # of the dense layer, of the maps
    "batch": (nn.BatchNorm1d, nn.BatchNorm2d),
    "virtual": (VirtualNorm, VirtualNorm),
    "none": (nn.Identity, nn.Identity),
}


class DcganGenerator(nn.Module):
    """dense -> a×⌈H/4⌉×⌈W/4⌉, then transposed 5×5 convolutions to b (stride 1), c (stride 2) and C (stride 2) maps.

    (a, b, c) = `widths`. No biases; batch norm and leaky ReLU 0.3 after all but the last; cropped centrally to H×W;
    tanh if `bounded`. (z, known(c)) is the input. Weights start as in Keras (Glorot); batch norm is torch's (momentum
    0.1, ε 1e-5), since Keras' slower average (0.01) would lag behind in a run of a few hundred turns. Batch norm mixes
    the samples of a batch: it needs at least two.
    norm: "batch";  "virtual", as `layers.VirtualNorm` has it, which mixes none;  "none", with biases in its place.
    forward(z (B, latent), c (B, K) | None) -> (B, C, H, W). Raises UserError where the data are no images.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int,
        condition: int = 0,
        bounded: bool = False,
        *,
        widths: tuple[int, int, int] = (256, 128, 64),
        norm: Literal["batch", "virtual", "none"] = "batch",
    ):
        super().__init__()
        self.shape, self.latent, self.condition, self.bounded = shape, latent, condition, bounded
        self.widths, self.norm = widths, norm
        channels, height, length = image(shape, "dcgan")
        positive(widths=widths)
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        dense_norm, map_norm = NORMS[norm]
        first, second, third = widths
        grid = (first, halved(height, 2), halved(length, 2))
        n = grid[0] * grid[1] * grid[2]
        bias = norm == "none"
        same = {"padding": 2, "bias": bias}  # 5×5: keeps the size at stride 1 ...
        double = same | {"stride": 2, "output_padding": 1}  # ... and doubles it exactly at stride 2
        body = nn.Sequential(
            nn.Linear(latent + inputs(condition), n, bias=bias),
            dense_norm(n),
            nn.LeakyReLU(0.3),
            nn.Unflatten(1, grid),
            nn.ConvTranspose2d(first, second, 5, **same),
            map_norm(second),
            nn.LeakyReLU(0.3),
            nn.ConvTranspose2d(second, third, 5, **double),
            map_norm(third),
            nn.LeakyReLU(0.3),
            nn.ConvTranspose2d(third, channels, 5, **double),
            Crop(height, length),
            range_of(bounded),
        ).apply(glorot)
        self.body = WithReference(body, latent + inputs(condition)) if norm == "virtual" else body

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(torch.cat([z, given(c, self.condition, z)], 1))


class DcganDiscriminator(nn.Module):
    """Two 5×5 convolutions of stride 2, each with leaky ReLU 0.3 and dropout, then flatten and dense 1.

    `widths` are their maps. c enters as `layers.Trunk` says. Weights start as in Keras (Glorot, biases 0). The padding
    is 2 on every side, where Keras pads even sizes by 1 and 2: the same sizes and counts, shifted by one pixel.
    minibatch: a layer of `heads` before the last one;  spectral: `layers.unit_norms`.
    forward(x (B, C, H, W), c (B, K) | None) -> logits (B,), at least float32; `features` gives the flattened maps
    (B, width). Raises UserError where the data are no images.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        condition: int = 0,
        *,
        widths: tuple[int, int] = (64, 128),
        dropout: float = 0.3,
        minibatch: Literal["none", "discrimination", "deviation"] = "none",
        spectral: bool = False,
    ):
        super().__init__()
        self.shape, self.condition = shape, condition
        self.widths, self.dropout = widths, dropout
        self.minibatch, self.spectral = minibatch, spectral
        channels, height, length = image(shape, "dcgan")
        positive(widths=widths)
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}: it must be at least 0 and below 1")
        first, second = widths
        width = second * halved(height, 2) * halved(length, 2)
        rest = nn.Sequential(
            nn.LeakyReLU(0.3),
            Dropout(dropout),
            nn.Conv2d(first, second, 5, stride=2, padding=2),
            nn.LeakyReLU(0.3),
            Dropout(dropout),
            nn.Flatten(),
        )
        self.features = Trunk(nn.Conv2d(channels, first, 5, stride=2, padding=2), rest, condition, width)
        self.head = head(width, minibatch)
        self.apply(glorot)
        if spectral:
            unit_norms(self)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return logits(self.head(self.features(x, c)))
