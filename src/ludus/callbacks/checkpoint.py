"""Checkpoints of a run, on disk."""

import time
from pathlib import Path

from ludus.runs import store
from ludus.trainer import Callback, Trainer


class Checkpoint(Callback):
    """Saves the run before its first turn, whenever `seconds` have passed, and when it stops.

    Only a state whose losses and parameters are finite is saved, so divergence never overwrites a good checkpoint.

    Args:
        seconds: between saves.    keep: newest checkpoints kept, at least two.
    """

    def __init__(self, run: Path, *, seconds: float = 60.0, keep: int = 2):
        self.run, self.seconds, self.keep = run, seconds, keep
        self.saved: int | None = None  # the turn that is on disk

    def start(self, trainer: Trainer) -> None:
        if trainer.turn not in store.turns(self.run):
            self.save(trainer)
        self.saved, self.last = trainer.turn, time.monotonic()

    def after(self, trainer: Trainer) -> None:
        if time.monotonic() - self.last > self.seconds:
            self.save(trainer)

    def end(self, trainer: Trainer) -> None:
        if self.saved != trainer.turn:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        trainer.check_finite()
        tensors, numbers = trainer.state()
        store.save(self.run, trainer.turn, {name: t.detach().cpu().numpy() for name, t in tensors.items()}, numbers)
        store.prune(self.run, max(2, self.keep))
        self.saved, self.last = trainer.turn, time.monotonic()
