"""Shuffled batches of data that live on the training device, or are brought there from where they are read."""

import torch
from torch import Tensor

from ludus.data.stream import Stream
from ludus.errors import UserError
from ludus.game import Batch
from ludus.ranges import Count, Share


class Sampler:
    """Draws batches without replacement, epoch by epoch; the whole state is (seed, epoch, position).

    x is (n, ...) and c (n, K) or None, both already on the training device, where they are indexed. The order
    of an epoch depends on nothing but (seed, epoch), so a resumed run sees the same batches; the incomplete
    batch at an epoch's end is dropped (other rows each time).
    stream: where the rows come from if they are larger than memory; x is then some of them, and c still of all.
    binarise: a pixel is black or white with its grey value as the probability, drawn anew each time it is seen
    (dynamic binarisation; Salakhutdinov & Murray 2008): what MNIST's likelihoods are quoted for.
    labelled: this share of each batch comes first and is drawn with replacement from the rows whose c is known in full,
    as (seed, epoch, position) say; the rest is as ever. Where few rows are labelled, most batches would have none.
    """

    def __init__(
        self,
        x: Tensor,
        c: Tensor | None = None,
        seed: int = 0,
        stream: Stream | None = None,
        *,
        batch: Count = 64,
        binarise: bool = False,
        labelled: Share = 0.0,
    ):
        self.n = len(x if stream is None else stream)
        if not 1 <= batch <= self.n:
            raise UserError(f"batch {batch} does not fit {self.n} training examples; give --batch {self.n} or less")
        if binarise and x.abs().max() > 1:
            raise UserError("sampler.binarise takes grey values for probabilities: it needs data.scaling=minmax")
        if labelled and stream is not None:
            raise UserError(f"sampler.labelled = {labelled:g} draws rows from all over the data, and these are read in "
                            "blocks, larger than memory: say sampler.labelled=0, or pick rows with data.n")  # fmt: skip
        self.x, self.c, self.batch, self.seed, self.binarise = x, c, batch, seed, binarise
        self.stream = stream
        self.labelled, self.first = labelled, round(labelled * batch)  # rows of a batch that are sure to be labelled
        self.known = _labelled_rows(c, labelled, batch) if self.first else None
        self.seek(epoch=0, position=0)

    @property
    def state(self) -> dict[str, int]:
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def seek(self, epoch: int, position: int, seed: int | None = None) -> None:
        """Goes to a position of an epoch: what `state` held, or a new seed."""
        self.seed = self.seed if seed is None else seed
        self.epoch, self.position = epoch, position
        key = (self.seed * 1_000_003 + epoch) % 2**63
        order = torch.Generator().manual_seed(key)
        if self.stream is not None:
            self.order = torch.from_numpy(self.stream.order(key))
            return
        self.order = torch.randperm(self.n, generator=order).to(self.x.device)
        if self.known is not None:
            n = self.n // (self.batch - self.first)  # batches of an epoch
            again = torch.randint(len(self.known), (n, self.first), generator=order)
            self.again = self.known[again.to(self.x.device)]

    def __next__(self) -> Batch:
        step = self.batch - self.first
        if self.position + step > self.n:
            self.seek(self.epoch + 1, 0)
        rows = self.order[self.position : self.position + step]
        if self.known is not None:
            rows = torch.cat([self.again[self.position // step], rows])
        x = self.x[rows] if self.stream is None else self._read(rows)
        self.position += step  # not before: where reading fails, nothing has happened
        return Batch(binarised(x) if self.binarise else x, None if self.c is None else self.c[rows])

    def _read(self, rows: Tensor) -> Tensor:
        x = torch.from_numpy(self.stream.take(rows.numpy())).to(self.x.device)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def close(self) -> None:
        """Ends what is read ahead."""
        if self.stream is not None:
            self.stream.close()


def _labelled_rows(c: Tensor | None, share: float, batch: int) -> Tensor:
    """The numbers of the rows that are known in full. Raises UserError where there are none."""
    known = torch.zeros(0) if c is None else (~c.isnan().any(1)).nonzero()[:, 0]
    if not len(known):
        why = "the data come without a condition" if c is None else "no training row's condition is known"
        raise UserError(f"sampler.labelled = {share:g} is a share of each batch with labels, and {why}")
    if round(share * batch) == batch:
        raise UserError(f"sampler.labelled = {share:g} leaves a batch of {batch} no row for the others: give less")
    return known


def binarised(x: Tensor) -> Tensor:
    """x of [-1, 1] as −1 or 1, drawn anew at each call: 1 with probability (x + 1) / 2."""
    return 2 * torch.bernoulli((x + 1) / 2) - 1
