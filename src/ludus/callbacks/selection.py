"""Which checkpoint is the best: its samples say it, never a loss, which in a game of two is no measure of them."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d

from ludus import seeds
from ludus.data.sampler import binarised
from ludus.features.extractor import scale_of
from ludus.game import Batch, Game
from ludus.metrics.kernel import kernel_estimate
from ludus.metrics.rows import Estimate

FEWEST, MOST = 50, 1000  # held-out rows that say anything, and that are looked at
AT_ONCE = 64  # samples drawn together, to bound memory
FEATURES, FILTERS, CELLS = 64, 32, 4


class Judge:
    """The unbiased kernel distance of a game's samples to held-out rows, with its standard error.

    As many samples as rows; rows, conditions and latents are the same each time, and so is most of the distance's
    chance. None where fewer than 50 rows are held out, or a sample is not finite. The game is left as it was.

    Args:
        game: whose samples are judged.    x: training rows.    held: held-out rows; without c, the game is told none.
        binarise: as the sampler does.
    """

    def __init__(self, game: Game, x: Tensor, held: Batch, binarise: bool = False):
        self.game, self.x, self.held, self.binarise = game, x, held, binarise

    def __call__(self) -> Estimate | None:
        if len(self.held.x) < FEWEST:
            return None
        features, real, c = self.known
        with seeds.measuring(self.game, seed=0):
            parts = [self.game.sample(len(rows), None if c is None else c[rows])
                     for rows in torch.arange(len(real), device=self.x.device).split(AT_ONCE)]  # fmt: skip
            found = features(torch.cat(parts))
        return kernel_estimate(found, real) if np.isfinite(found).all() else None

    @cached_property
    def known(self) -> tuple[Callable[[Tensor], np.ndarray], np.ndarray, Tensor | None]:
        """Features, those of the held-out rows, and their conditions."""
        with seeds.measuring(self.game, seed=0):
            train, held = (torch.randperm(len(each))[:MOST].to(each.device) for each in (self.x, self.held.x))
            x, real = (binarised(each) if self.binarise else each for each in (self.x[train], self.held.x[held]))
            raw = cosines(x) if x.dim() == 2 else textures(x)
            unit = scale_of(raw(x))
            return lambda x: unit(raw(x)), unit(raw(real)), None if self.held.c is None else self.held.c[held]


def textures(x: Tensor) -> Callable[[Tensor], np.ndarray]:
    """128 features of pictures (n, C, H, W): 64 random projections of themselves, and 64 of |w ∗ x| averaged over 4×4
    cells, for 32 random filters w of 3×3 with sum 0: of the pictures alone, noise and blur would go unseen."""
    filters = torch.randn(FILTERS, x.shape[1], 3, 3)
    filters = (filters - filters.mean((2, 3), keepdim=True)).to(x)
    whole, cells = (torch.randn(n, FEATURES).to(x) for n in (math.prod(x.shape[1:]), FILTERS * CELLS**2))

    def features(x: Tensor) -> np.ndarray:
        maps = (conv2d(each, filters, padding=1).abs() for each in x.split(AT_ONCE))
        texture = torch.cat([adaptive_avg_pool2d(each, CELLS) for each in maps])
        return _array(torch.cat([x.flatten(1) @ whole, texture.flatten(1) @ cells], 1))

    return features


def cosines(x: Tensor) -> Callable[[Tensor], np.ndarray]:
    """64 random waves cos(w·x + b) over points (n, D) in units of their sd: w ~ N(0, 1/s²), of four widths s from ½ to
    1/16 of the median distance (Rahimi & Recht 2007). Of the points themselves the distance would see three moments and
    no more, which a ring of eight modes and a Gaussian have in common."""
    sd = torch.where(x.std(0) > 0, x.std(0), 1.0)
    s = float(torch.pdist((x / sd).cpu()).median()) * 0.5 ** torch.arange(1, 5).repeat(FEATURES // 4).to(x)
    w, b = torch.randn(x.shape[1], FEATURES).to(x) / (s * sd[:, None]), 2 * math.pi * torch.rand(FEATURES).to(x)
    return lambda x: _array((x @ w + b).cos())


def _array(features: Tensor) -> np.ndarray:
    return features.double().cpu().numpy()
