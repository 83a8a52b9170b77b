"""Pictures of a run on its way."""

from collections.abc import Callable

from ludus.ranges import Many
from ludus.trainer import Callback, Trainer


class Snapshot(Callback):
    """Calls draw(turn) before the first turn and `count` times on the way, the last time at the end; never if 0."""

    def __init__(self, draw: Callable[[int], None], *, count: Many = 10):
        self.draw, self.count = draw, count

    def start(self, trainer: Trainer) -> None:
        if self.count and trainer.turn == 0:
            self.draw(0)

    def after(self, trainer: Trainer) -> None:
        share = lambda turn: turn * self.count // trainer.steps  # noqa: E731
        if share(trainer.turn) > share(trainer.turn - 1):
            self.draw(trainer.turn)
