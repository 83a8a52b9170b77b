"""Learning rates and weights as functions of the turn."""

import math

from ludus.ranges import NotNegative, Share
from ludus.trainer import Callback, Trainer


class Annealing(Callback):
    """Before each turn sets the learning rates, and named numbers of the game, to pure functions of turn / steps.

    A value is held for a share `hold` of the turns and then follows half a cosine to its end. Nothing is
    remembered, so nothing has to be restored; a run extended to more steps follows the longer curve from where it is.

    Args:
        hold: share of the turns before anything changes.
        decay: the learning rates end at this multiple of where they began.
        values: numbers of the game, (first, last), by name: {"gamma": (1.0, 0.1), "discriminator.noise": (0.5, 0.0)}.
    """

    def __init__(
        self, *, hold: Share = 0.0, decay: NotNegative = 1.0, values: dict[str, tuple[float, float]] | None = None
    ):
        self.hold, self.decay, self.values = hold, decay, values or {}

    def start(self, trainer: Trainer) -> None:
        self.before(trainer)  # a resumed run's trial turns are like those that follow

    def before(self, trainer: Trainer) -> None:
        done = trainer.turn / trainer.steps
        gone = max(0.0, done - self.hold) / (1 - self.hold) if self.hold < 1 else 0.0
        for name, optimiser in trainer.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = trainer.rates[name] * _between(1.0, self.decay, gone)
        for name, (first, last) in self.values.items():
            module, _, number = name.rpartition(".")
            setattr(trainer.game.get_submodule(module), number, _between(first, last, gone))


def _between(first: float, last: float, gone: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * gone)) / 2
