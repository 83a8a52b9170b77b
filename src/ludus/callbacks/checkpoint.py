"""Checkpoints of a run, on disk."""

import time
from collections.abc import Callable
from pathlib import Path

from ludus.metrics.rows import Estimate
from ludus.ranges import Count, NotNegative
from ludus.runs import best, store
from ludus.runs.best import Judged
from ludus.runs.disk import StoreError
from ludus.trainer import Callback, Trainer


class Checkpoint(Callback):
    """Saves the run before its first turn, whenever `seconds` have passed, and when it stops.

    Only a state whose losses and parameters are finite is saved, so divergence never overwrites a good checkpoint.
    A save that fails on the way (a full disk) is said and tried again after `seconds`; the third failure ends the run.
    Each save but the first is judged, and the best one is kept beside the newest.

    Args:
        judge: how far the samples are from held-out rows; None where nobody can say.
        seconds: between saves.    keep: newest checkpoints kept, at least two.
    """

    def __init__(
        self,
        run: Path,
        say: Callable[[str], None],
        judge: Callable[[], Estimate | None] = lambda: None,
        *,
        seconds: NotNegative = 60.0,
        keep: Count = 2,
    ):
        self.run, self.say, self.judge, self.seconds, self.keep = run, say, judge, seconds, keep
        self.failures = 0

    def start(self, trainer: Trainer) -> None:
        best.forget(self.run, trainer.turn)
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
        judged = best.read(self.run)
        if trainer.turn >= trainer.steps and len(judged) > 1:
            first, last = judged[0], max(judged)
            how = f"`ludus sample {self.run} --turn best` draws from it"
            more = ", the last one" if first == last else f", the last {last}; {how}"
            self.say(f"best by held-out kernel distance: {first}{more}")

    def save(self, trainer: Trainer) -> None:
        trainer.check_finite()
        tensors, numbers = trainer.state()
        store.save(self.run, trainer.turn, {name: t.detach().cpu().numpy() for name, t in tensors.items()}, numbers)
        if trainer.turn and (found := self.judge()):
            best.add(self.run, Judged(trainer.turn, *found))
        judged = best.read(self.run)
        store.prune(self.run, self.keep, spare=judged[0].turn if judged else None)
        self.last, self.failures = time.monotonic(), 0
