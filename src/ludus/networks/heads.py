"""What a trunk's features become. A discriminator is `logits(head(features(x, c)))`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ludus.errors import unknown


def logits(h: Tensor) -> Tensor:
    """(B, 1) -> (B,), in at least float32: a loss of bfloat16 logits would lose its gradient."""
    return h.squeeze(1).to(torch.promote_types(h.dtype, torch.float32))


class Discrimination(nn.Module):
    """Minibatch discrimination: features f (B, width) -> (f, o), o (B, KERNELS): how near the other rows are.

        o_ib = 1 / (B − 1) Σ_{j ≠ i} exp(−|M_ib − M_jb|₁),    M_i = f_i T, a KERNELS × SIZE matrix

    A generator of few modes makes near rows, which the discriminator now sees (Salimans et al. 2016). The paper sums
    where this takes the mean, and counts j = i: with the mean, o says the same at any B, and is 0 for a row alone.
    """

    KERNELS, SIZE = 16, 5
    adds = KERNELS

    def __init__(self, width: int):
        super().__init__()
        self.T = nn.Linear(width, self.KERNELS * self.SIZE, bias=False)

    def forward(self, f: Tensor) -> Tensor:
        entries = self.T(f).unflatten(1, (self.KERNELS, self.SIZE)).permute(2, 1, 0).contiguous()
        # an entry of M at a time takes half the time of all at once; torch.cdist has no second derivative
        distance = sum((m[:, :, None] - m[:, None, :]).abs() for m in entries)  # (KERNELS, B, B)
        near = (-distance).exp().sum(2).mT - 1
        return torch.cat([f, near / max(len(f) - 1, 1)], 1)


class Deviation(nn.Module):
    """Minibatch standard deviation: features f (B, width) -> (f, s), s (B, 1) the same for every row.

        s = 1 / width Σ_k √(Var_i f_ik + 10⁻⁸),    the variance over the rows, with 1 / B

    Without a parameter it tells a batch that varies too little (Karras et al. 2018, arXiv:1710.10196).
    """

    adds = 1

    def __init__(self, width: int):
        super().__init__()

    def forward(self, f: Tensor) -> Tensor:
        s = (f.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([f, s.expand(len(f), 1)], 1)


MINIBATCH = {"discrimination": Discrimination, "deviation": Deviation}  # layers that mix the rows of a batch


def head(
    width: int, minibatch: str = "none", start: Callable[[nn.Linear], nn.Linear] = lambda layer: layer
) -> nn.Module:
    """Features (B, width) -> (B, 1): linear, after a minibatch layer if there is one; `start` initialises the linear.

    Raises UserError where there is no such layer.
    """
    if minibatch == "none":
        return start(nn.Linear(width, 1))
    if minibatch not in MINIBATCH:
        raise unknown("minibatch layer", minibatch, ["none", *MINIBATCH])
    layer = MINIBATCH[minibatch](width)
    return nn.Sequential(layer, start(nn.Linear(width + layer.adds, 1)))
