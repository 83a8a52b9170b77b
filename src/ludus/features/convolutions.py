"""A convolutional network that nobody trained: it sees texture, noise, blur and scale, whatever the images are."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ludus import seeds
from ludus.errors import UserError
from ludus.features.extractor import Extractor, checked, digest, pick, scale_of, scale_of_channels

MAPS, STRIDES, GRID = (16, 32), (1, 2), 2  # 2·2·(16 + 32) = 192 features, whatever the images' size
BIAS = 0.3  # sd; without, features of c·x would be c times those of x
ROWS, PIXELS = 5000, 1 << 17  # fitted to; in one batch


def fit(x: np.ndarray, seed: int = 0) -> Extractor:
    """192 features: roots of the means, over the quarters of an image, of h_1 = relu(W_1 ∗ x + b_1) and of
    h_2 = relu(W_2 ∗ h_1 + b_2). The root takes the long tail off maps that few images light.

    3×3 kernels, 16 maps and then 32 of stride 2; each W is √2 times a semi-orthogonal matrix and b ~ N(0, 0.3²), drawn
    by the seed. Each channel of x (n, H, W, C) enters with mean 0 and sd 1 over the rows fitted to (5,000 at most);
    features are z-scored by them, an sd at least 1 % of the median. Random embeddings where the data are far from
    photographs: Naeem et al. 2020, arXiv:2002.09797.

    Raises UserError for points.
    """
    x = checked(x)
    if x.ndim != 4:
        raise UserError(f"convolutions are of images (n, H, W, C), these are points {x.shape}")
    rows, layers = pick(x, ROWS, seed), network(x.shape[3], seed)
    unit = scale_of_channels(rows)

    @torch.no_grad()
    def raw(block: np.ndarray) -> np.ndarray:
        found, step = [], max(1, PIXELS // (block.shape[1] * block.shape[2]))
        for start in range(0, len(block), step):
            planes = unit(np.asarray(block[start : start + step], float)).transpose(0, 3, 1, 2)
            found.append(pooled(layers, torch.from_numpy(np.ascontiguousarray(planes, np.float32))))
        return np.concatenate(found).astype(float)

    whole = scale_of(raw(rows))
    weights = [p.detach().numpy() for p in layers.parameters()]
    identity = {
        "name": "convolutions", "seed": seed, "sha256": digest(rows, *weights), "fitted to": len(rows),
        "preprocessing": "each channel standardised; random 3×3 convolutions; z-scored by the rows fitted to",
    }  # fmt: skip
    return Extractor("convolutions", identity, lambda block: whole(raw(block)), x.shape[1:])


def network(channels: int, seed: int) -> nn.ModuleList:
    layers = nn.ModuleList()
    with seeds.forked(torch.device("cpu"), seed):
        for maps, stride in zip(MAPS, STRIDES):
            layer = nn.Conv2d(channels, maps, 3, stride=stride, padding=1)
            nn.init.orthogonal_(layer.weight, gain=2**0.5)
            nn.init.normal_(layer.bias, std=BIAS)
            layers.append(layer)
            channels = maps
    return layers


def pooled(layers: nn.ModuleList, h: torch.Tensor) -> np.ndarray:
    """Roots of the maps' means over a grid of 2×2, layer by layer: (B, 192)."""
    found = []
    for layer in layers:
        h = functional.relu(layer(h))
        found.append(functional.adaptive_avg_pool2d(h, GRID).flatten(1))
    return torch.cat(found, 1).sqrt().numpy()
