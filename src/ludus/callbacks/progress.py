"""Where a run is, for whoever is watching: a terminal, a notebook, or a log file."""

import contextlib
import sys
import time

from ludus.callbacks.log import row
from ludus.callbacks.plan import duration
from ludus.trainer import Callback, Trainer

LINES_EVERY = 5.0  # seconds, in a log file
FRAMES_EVERY = 0.2  # on a screen


class Progress(Callback):
    """Turns, pace, time left, the losses by name: one line redrawn on a screen, a line now and then in a file."""

    stop = staticmethod(lambda: None)

    def start(self, trainer: Trainer) -> None:
        self.show, self.stop, self.period = _display()
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
    done = trainer.turn / trainer.steps
    bar = "█" * round(20 * done) + "░" * (20 - round(20 * done))
    losses = "  ".join(
        f"{name}: " + " ".join(f"{term} {value:.3g}" for term, value in terms.items())
        for name, terms in row(trainer)["losses"].items()
    )
    left = duration((trainer.steps - trainer.turn) / pace)
    rate = f"{pace:.3g} turns/s, {pace * trainer.sampler.batch:.3g} images/s"
    return f"{bar} {trainer.turn:,}/{trainer.steps:,}  {rate}, {left} left  {losses}"


def _display():
    """(show a line, stop, seconds between lines) for where standard error leads."""
    if "ipykernel" in sys.modules:
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        return lambda text: handle.update({"text/plain": text}, raw=True), lambda: None, FRAMES_EVERY
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        live = Live(console=Console(stderr=True), auto_refresh=False)
        live.start()
        return lambda text: live.update(Text(text), refresh=True), live.stop, FRAMES_EVERY
    return _print, lambda: None, LINES_EVERY


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # whoever read our standard error may be gone; the run goes on
        print(text, file=sys.stderr, flush=True)
