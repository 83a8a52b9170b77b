"""Pictures of a run on its way."""

from collections.abc import Callable

from ludus.trainer import Callback, Trainer


class Snapshot(Callback):
    """Calls draw(turn) on the first and the last turn and `count` times between, always with the same latents."""

    def __init__(self, draw: Callable[[int], None], *, count: int = 10):
        self.draw, self.count = draw, count

    def start(self, trainer: Trainer) -> None:
        if trainer.turn == 0:
            self.draw(0)

    def after(self, trainer: Trainer) -> None:
        share = lambda turn: turn * self.count // trainer.steps  # noqa: E731
        if share(trainer.turn) > share(trainer.turn - 1):
            self.draw(trainer.turn)
