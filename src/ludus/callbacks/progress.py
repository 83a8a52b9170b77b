"""Where a run is, for whoever is watching: a terminal, a notebook, or a log file."""

import time

from ludus.callbacks.log import row
from ludus.terminal import bar, display, duration
from ludus.trainer import Callback, Trainer


class Progress(Callback):
    """Turns, pace, time left, the losses by name: one line redrawn on a screen, a line now and then in a file."""

    stop = staticmethod(lambda: None)

    def start(self, trainer: Trainer) -> None:
        self.show, self.stop, self.period = display()
        self.first, self.began = trainer.turn, time.monotonic()
        self.shown = self.began

    def after(self, trainer: Trainer) -> None:
        now = time.monotonic()
        if now - self.shown > self.period or trainer.turn == trainer.steps:
            self.shown = now
            self.show(line(trainer, (trainer.turn - self.first) / max(now - self.began, 1e-9)))

    def close(self, trainer: Trainer) -> None:
        self.stop()


def line(trainer: Trainer, pace: float) -> str:
    """One line of text; `pace` is in turns per second."""
    losses = "  ".join(
        f"{name}: " + " ".join(f"{term} {value:.3g}" for term, value in terms.items())
        for name, terms in row(trainer)["losses"].items()
    )
    left = duration((trainer.steps - trainer.turn) / pace)
    rate = f"{pace:.3g} turns/s, {pace * trainer.sampler.batch:.3g} images/s"
    return f"{bar(trainer.turn, trainer.steps)}  {rate}, {left} left  {losses}"
