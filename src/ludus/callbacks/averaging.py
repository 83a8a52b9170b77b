"""The exponential moving average of a game."""

import copy

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.game import Game
from ludus.networks.check import batch_norm
from ludus.ranges import Positive
from ludus.trainer import Callback, Trainer, under


class Averaging(Callback):
    """Keeps an average of the whole game, float buffers included; samples are drawn from it.

    After each turn of B images, average ← λ·average + (1 − λ)·game with λ = ½^(B / half_life). The half-life is at
    most `share` of the images seen so far: otherwise the untrained network would dominate a short run.

    Args:
        half_life: in images.    share: of the images seen so far.
    """

    FRESH = 32  # batches for batch norm's statistics

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

    def end(self, trainer: Trainer) -> None:
        """Batch norm's statistics of the average itself, once a run is done: the average of statistics is of networks
        that it is none of (Donahue et al. 2017 compute them anew before each evaluation)."""
        if trainer.turn < trainer.steps or not batch_norm(self.game):
            return
        game, sampler = copy.deepcopy(self.game).requires_grad_(True).train(), copy.copy(trainer.sampler)
        layers = {
            name: layer for name, layer in game.named_modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats
        }  # fmt: skip
        for layer in layers.values():
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
        with seeds.forked(trainer.device, seed=0), torch.enable_grad():
            for _ in range(self.FRESH):
                batch = next(sampler)
                for player in game.players.values():
                    player.loss(batch)
        for name, layer in layers.items():
            if layer.num_batches_tracked:
                self.game.get_submodule(name).load_state_dict(layer.state_dict())

    def state(self) -> dict[str, Tensor]:
        return {f"average/{name}": value for name, value in self.game.state_dict().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.game.load_state_dict(under("average/", tensors))
