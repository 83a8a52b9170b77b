"""Residual networks without normalisation, as R3GAN has them (Huang et al. 2024, arXiv:2501.05441)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ludus.errors import UserError
from ludus.networks.heads import head, logits
from ludus.networks.layers import Crop, Trunk, given, halved, image, inputs, normal, positive, range_of, unit_norms

GAIN = math.sqrt(2 / (1 + 0.2**2))  # keeps the variance through a leaky ReLU 0.2


class _Block(nn.Module):
    """x + f(x), f = 1×1 to 2 `width` -> grouped 3×3 -> 1×1 back, leaky ReLU 0.2 before the second and the third.

    Fixup (Zhang et al. 2019, arXiv:1901.09321) instead of normalisation: the last convolution starts at zero, the two
    before it are scaled by n_blocks^(-1/4), so that the first updates of the whole network do not grow with its depth.
    """

    def __init__(self, width: int, groups: int, n_blocks: int):
        super().__init__()
        wide, gain = 2 * width, GAIN * n_blocks**-0.25
        if wide % groups:
            raise UserError(f"groups={groups} does not divide the {wide} maps of a block of width {width}")
        self.body = nn.Sequential(
            normal(nn.Conv2d(width, wide, 1), gain),
            nn.LeakyReLU(0.2),
            normal(nn.Conv2d(wide, wide, 3, padding=1, groups=groups), gain),
            nn.LeakyReLU(0.2),
            normal(nn.Conv2d(wide, width, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Basis(nn.Module):
    """A learned picture for each of the maps: a (B, width) -> a ⊙ basis (B, width, h, w), or its transpose back."""

    def __init__(self, width: int, grid: tuple[int, int], *, transpose: bool):
        super().__init__()
        self.transpose = transpose
        # Either way the output has the variance of the input.
        self.basis = nn.Parameter(torch.randn(width, *grid) / math.sqrt(math.prod(grid) if transpose else 1))

    def forward(self, a: Tensor) -> Tensor:
        return (a * self.basis).sum((2, 3)) if self.transpose else a[:, :, None, None] * self.basis


def _halvings(shape: tuple[int, int, int], n_stages: int) -> int:
    """How often an image is halved: at every step between stages, as long as 4 pixels of its shorter side are left."""
    return max(n for n in range(n_stages) if n == 0 or halved(min(shape[1:]), n) >= 4)


def _resize(n_in: int, n_out: int, factor: nn.Module | None) -> list[nn.Module]:
    change = [normal(nn.Conv2d(n_in, n_out, 1, bias=False))] if n_in != n_out else []
    return change + ([factor] if factor else [])


class ResnetGenerator(nn.Module):
    """A learned basis ⊙ linear(z, known(c)), then stages of residual blocks, each at twice the size of the one before.

    widths: the maps of each stage, coarsest first;  blocks: residual blocks a stage;  groups: of the 3×3 convolutions.
    Between stages a 1×1 convolution where the width changes, and bilinear doubling. The first grid is H×W halved
    len(widths) - 1 times (rounded up), but not below 4 on its shorter side: then the first stages share one size. A 1×1
    convolution makes the C channels, which are cropped centrally to H×W; tanh if `bounded`.
    forward(z (B, latent), c (B, K) | None) -> (B, C, H, W). Raises UserError where the data are no images or `groups`
    does not divide twice a width.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int,
        condition: int = 0,
        bounded: bool = False,
        *,
        widths: tuple[int, ...] = (64, 64, 64, 64),
        blocks: int = 1,
        groups: int = 8,
    ):
        super().__init__()
        self.shape, self.latent, self.condition, self.bounded = shape, latent, condition, bounded
        self.widths, self.blocks, self.groups = widths, blocks, groups
        channels, height, length = image(shape, "resnet")
        positive(widths=widths, blocks=blocks, groups=groups)
        times = _halvings(shape, len(widths))
        layers = [
            normal(nn.Linear(latent + inputs(condition), widths[0])),
            _Basis(widths[0], (halved(height, times), halved(length, times)), transpose=False),
        ]
        for i, width in enumerate(widths):
            if i:
                double = nn.Upsample(scale_factor=2, mode="bilinear") if i >= len(widths) - times else None
                layers += _resize(widths[i - 1], width, double)
            layers += [_Block(width, groups, len(widths) * blocks) for _ in range(blocks)]
        layers += [normal(nn.Conv2d(widths[-1], channels, 1)), Crop(height, length), range_of(bounded)]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(torch.cat([z, given(c, self.condition, z)], 1))


class ResnetDiscriminator(nn.Module):
    """The generator's mirror: 1×1 from the C channels, stages at H×W, H/2×W/2, ..., a basis on the last, a linear head.

    widths: the maps of each stage, coarsest first as in the generator;  blocks, groups: as there. Halving is the mean
    of 2×2 pixels. c enters as `layers.Trunk` says. minibatch: a layer of `heads` before the last one;  spectral:
    `layers.unit_norms`, which ends Fixup: the blocks' last convolutions then start like the others.
    forward(x (B, C, H, W), c (B, K) | None) -> logits (B,), at least float32; `features` gives (B, widths[0]). Raises
    UserError where the data are no images or `groups` does not divide twice a width.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        condition: int = 0,
        *,
        widths: tuple[int, ...] = (64, 64, 64, 64),
        blocks: int = 1,
        groups: int = 8,
        minibatch: Literal["none", "discrimination", "deviation"] = "none",
        spectral: bool = False,
    ):
        super().__init__()
        self.shape, self.condition = shape, condition
        self.widths, self.blocks, self.groups = widths, blocks, groups
        self.minibatch, self.spectral = minibatch, spectral
        channels, height, length = image(shape, "resnet")
        positive(widths=widths, blocks=blocks, groups=groups)
        times = _halvings(shape, len(widths))
        fine_to_coarse = list(widths)[::-1]
        layers = []
        for i, width in enumerate(fine_to_coarse):
            if i:
                half = nn.AvgPool2d(2, ceil_mode=True) if i <= times else None
                layers += _resize(fine_to_coarse[i - 1], width, half)[::-1]
            layers += [_Block(width, groups, len(widths) * blocks) for _ in range(blocks)]
        layers.append(_Basis(widths[0], (halved(height, times), halved(length, times)), transpose=True))
        first = normal(nn.Conv2d(channels, fine_to_coarse[0], 1))
        self.features = Trunk(first, nn.Sequential(*layers), condition, widths[0])
        self.head = head(widths[0], minibatch, normal)
        if spectral:
            unit_norms(self)
            spectral_norm(layers[-1], "basis")  # as a convolution of one group a map

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return logits(self.head(self.features(x, c)))
