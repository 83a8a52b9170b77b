"""The exponential moving average of a game."""

import copy

import torch
from torch import Tensor

from ludus.game import Game
from ludus.ranges import Positive
from ludus.trainer import Callback, Trainer, under


class Averaging(Callback):
    """Keeps an average of the whole game, float buffers included; samples are drawn from it.

    After each turn of B images, average ← λ·average + (1 − λ)·game with λ = ½^(B / half_life). The half-life is at
    most `share` of the images seen so far: otherwise the untrained network would dominate a short run.

    Args:
        half_life: in images.    share: of the images seen so far.
    """

    def __init__(self, game: Game, *, half_life: Positive = 500_000.0, share: Positive = 0.05):
        self.half_life, self.share = half_life, share
        self.game = copy.deepcopy(game).requires_grad_(False).eval()

    @torch.no_grad()
    def after(self, trainer: Trainer) -> None:
        batch = trainer.sampler.batch
        fresh = 1 - 0.5 ** (batch / min(self.half_life, self.share * batch * trainer.turn))
        now = trainer.game.state_dict()
        for name, average in self.game.state_dict().items():
            if average.is_floating_point():
                average.lerp_(now[name], fresh)
            else:
                average.copy_(now[name])

    def state(self) -> dict[str, Tensor]:
        return {f"average/{name}": value for name, value in self.game.state_dict().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.game.load_state_dict(under("average/", tensors))
