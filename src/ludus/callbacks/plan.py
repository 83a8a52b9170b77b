"""How long a run will take, said before it starts; or how many turns fit into the minutes that there are."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from ludus.ranges import Positive
from ludus.terminal import duration
from ludus.trainer import Callback, Trainer

TRIAL_TURNS = 3
LOOKS = (0.02, 0.05, 0.1, 0.3, 0.6, 0.9, 0.97, 1.0)  # of the minutes or the turns, when the number is corrected


class Plan(Callback):
    """Times a few turns, undoes them exactly, and says when the run will end.

    Args:
        minutes: if given, `steps` is set to fit (counting what an interrupted run has used already) and corrected
            on the way as the measured pace settles. The number in force is part of every checkpoint.
    """

    def __init__(self, say: Callable[[str], None], *, minutes: Positive | None = None):
        self.say, self.minutes = say, minutes

    def start(self, trainer: Trainer) -> None:
        self.began = time.monotonic() - trainer.seconds
        if trainer.turn >= trainer.steps:
            return
        pace = _pace(trainer)
        if self.minutes and trainer.turn == 0:
            trainer.steps = max(1, round(60 * self.minutes / pace))
        left = (trainer.steps - trainer.turn) * pace
        end = datetime.now() + timedelta(seconds=left)
        self.say(
            f"{trainer.steps - trainer.turn:,} turns of {trainer.sampler.batch}, {1000 * pace:.3g} ms each: "
            f"about {duration(left)}, until {end:%H:%M}"
        )
        self.looks = [share for share in LOOKS if share > self._done(trainer)] if self.minutes else []

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def _done(self, trainer: Trainer) -> float:
        """The share of the minutes that are over, or that of the turns: the trial turns may have been slow ones."""
        return max(self.elapsed / (60 * self.minutes), trainer.turn / trainer.steps)

    def before(self, trainer: Trainer) -> None:
        if self.looks and self._done(trainer) > self.looks[0]:
            self.looks.pop(0)
            trainer.steps = max(trainer.turn + 1, round(trainer.turn * 60 * self.minutes / self.elapsed))


def _pace(trainer: Trainer) -> float:
    """Seconds a turn, over trial turns whose every trace is undone."""
    tensors, numbers = trainer.state()
    tensors = {name: value.clone() for name, value in tensors.items()}
    trainer.step()  # the first one warms up
    began = time.perf_counter()
    for _ in range(TRIAL_TURNS):
        trainer.step()
    trainer.check_losses()  # waits for an accelerator too
    pace = (time.perf_counter() - began) / TRIAL_TURNS
    trainer.load(tensors, numbers)
    return pace
