"""What a trunk's features become. A discriminator is `logits(head(features(x, c)))`."""

import torch
from torch import Tensor


def logits(h: Tensor) -> Tensor:
    """(B, 1) -> (B,), in at least float32: a loss of bfloat16 logits would lose its gradient."""
    return h.squeeze(1).to(torch.promote_types(h.dtype, torch.float32))
