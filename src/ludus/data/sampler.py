"""Shuffled batches of data that live on the training device."""

import torch
from torch import Tensor

from ludus.errors import UserError
from ludus.game import Batch
from ludus.ranges import Count


class Sampler:
    """Draws batches without replacement, epoch by epoch; the whole state is (seed, epoch, position).

    x is (n, ...) and c (n, K) or None, both already on the training device, where they are indexed. The order
    of an epoch depends on nothing but (seed, epoch), so a resumed run sees the same batches; the incomplete
    batch at an epoch's end is dropped (other rows each time).
    binarise: a pixel is black or white with its grey value as the probability, drawn anew each time it is seen
    (dynamic binarisation; Salakhutdinov & Murray 2008): what MNIST's likelihoods are quoted for.
    """

    def __init__(self, x: Tensor, c: Tensor | None = None, seed: int = 0, *, batch: Count = 64, binarise: bool = False):
        if not 1 <= batch <= len(x):
            raise UserError(f"batch {batch} does not fit {len(x)} training examples; give --batch {len(x)} or less")
        if binarise and x.abs().max() > 1:
            raise UserError("sampler.binarise takes grey values for probabilities: it needs data.scaling=minmax")
        self.x, self.c, self.batch, self.seed, self.binarise = x, c, batch, seed, binarise
        self.seek(epoch=0, position=0)

    @property
    def state(self) -> dict[str, int]:
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def seek(self, epoch: int, position: int, seed: int | None = None) -> None:
        """Goes to a position of an epoch: what `state` held, or a new seed."""
        self.seed = self.seed if seed is None else seed
        self.epoch, self.position = epoch, position
        order = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        self.order = torch.randperm(len(self.x), generator=order).to(self.x.device)

    def __next__(self) -> Batch:
        if self.position + self.batch > len(self.x):
            self.seek(self.epoch + 1, 0)
        rows = self.order[self.position : self.position + self.batch]
        self.position += self.batch
        x = self.x[rows]
        return Batch(binarised(x) if self.binarise else x, None if self.c is None else self.c[rows])


def binarised(x: Tensor) -> Tensor:
    """x of [-1, 1] as −1 or 1, drawn anew at each call: 1 with probability (x + 1) / 2."""
    return 2 * torch.bernoulli((x + 1) / 2) - 1
