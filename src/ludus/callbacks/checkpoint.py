"""Checkpoints of a run, on disk."""

import time
from collections.abc import Callable
from pathlib import Path

from ludus.ranges import Count, NotNegative
from ludus.runs import store
from ludus.runs.disk import StoreError
from ludus.trainer import Callback, Trainer


class Checkpoint(Callback):
    """Saves the run before its first turn, whenever `seconds` have passed, and when it stops.

    Only a state whose losses and parameters are finite is saved, so divergence never overwrites a good checkpoint.
    A save that fails on the way (a full disk) is said and tried again after `seconds`; the third failure ends the run.

    Args:
        seconds: between saves.    keep: newest checkpoints kept, at least two.
    """

    def __init__(self, run: Path, say: Callable[[str], None], *, seconds: NotNegative = 60.0, keep: Count = 2):
        self.run, self.say, self.seconds, self.keep = run, say, seconds, keep
        self.failures = 0

    def start(self, trainer: Trainer) -> None:
        if trainer.turn not in store.turns(self.run):
            self.save(trainer)
        self.last = time.monotonic()

    def after(self, trainer: Trainer) -> None:
        if time.monotonic() - self.last > self.seconds:
            try:
                self.save(trainer)
            except StoreError as error:
                self.failures, self.last = self.failures + 1, time.monotonic()
                if self.failures == 3:
                    raise
                self.say(f"{error}; the run goes on and tries again in {self.seconds:.0f} s")

    def end(self, trainer: Trainer) -> None:
        self.save(trainer)  # also a turn that is saved: the average may have been completed since

    def save(self, trainer: Trainer) -> None:
        trainer.check_finite()
        tensors, numbers = trainer.state()
        store.save(self.run, trainer.turn, {name: t.detach().cpu().numpy() for name, t in tensors.items()}, numbers)
        store.prune(self.run, max(2, self.keep))
        self.last, self.failures = time.monotonic(), 0
