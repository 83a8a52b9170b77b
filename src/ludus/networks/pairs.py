"""Networks of games on pairs (x, z)."""

import torch
from torch import Tensor


def joined(z: Tensor, c: Tensor | None) -> Tensor:
    """The condition under which a discriminator sees the pair (x, z): z (B, d) in front of c (B, K), (B, d + K).

    So every conditional discriminator is one of pairs, and z enters it where c does.
    """
    return z if c is None else torch.cat([z, c.to(z.dtype)], 1)
