"""Adaptive discriminator augmentation."""

import torch
from torch import Tensor

from ludus.errors import UserError
from ludus.ranges import Positive, Share
from ludus.trainer import Callback, Trainer

EVERY = 4  # turns between two looks, as in the paper
MOST = 0.75  # from here on the augmentation can leak: see networks.lenses.augmented


class ADA(Callback):
    """Steers the lens's `augment`, p, so that the discriminator stays as sure as `target` (Karras et al. 2020).

        p ← p + sign(r − target) · (images seen) / images,  held to [0, ¾];   r = 2 accuracy − 1

    With few images the discriminator learns them by heart and grows sure of everything; augmenting more often makes
    that harder. The paper's r is E sign a(x), the real half; the accuracy that every method measures is used here,
    since a critic's zero means nothing: r = ½ E[sign a(x) − sign a(x̃)] for `gan`, and E sign(a(x) − a(x̃)) where
    real and generated are only compared. p is logged beside the accuracy, and is part of every checkpoint.

    Args:
        target: None leaves p alone; the paper's is 0.6.    images: this many take p from 0 to 1 at the fastest.
    """

    def __init__(self, *, target: Share | None = None, images: Positive = 500_000.0):
        self.target, self.images = target, images
        self.p: float | None = None

    def start(self, trainer: Trainer) -> None:
        if self.target is None:
            return
        if self.p is None:
            self.p = trainer.game.discriminator.augment
        trainer.game.discriminator.augment = self.p

    def after(self, trainer: Trainer) -> None:
        if self.target is None or "discriminator" not in trainer.losses:
            return
        seen = trainer.losses["discriminator"].seen
        if "accuracy" not in seen:
            raise UserError("ada steers by the discriminator's accuracy, and this method measures none: leave it out")
        if trainer.turn % EVERY == 0:
            over = 2 * float(seen["accuracy"]) - 1 - self.target
            self.p += ((over > 0) - (over < 0)) * EVERY * trainer.sampler.batch / self.images
            self.p = trainer.game.discriminator.augment = min(MOST, max(0.0, self.p))
        seen["augment"] = torch.tensor(self.p)

    def state(self) -> dict[str, Tensor]:
        return {} if self.p is None else {"ada/p": torch.tensor(self.p, dtype=torch.float64)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        if "ada/p" in tensors:
            self.p = float(tensors["ada/p"])
