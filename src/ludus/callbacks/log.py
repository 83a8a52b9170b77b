"""metrics.jsonl."""

from collections.abc import Callable
from pathlib import Path

from ludus.runs.journal import Journal
from ludus.trainer import Callback, Trainer

EVERY = 10  # turns; by count and not by the clock, so that a resumed run writes the same lines


def row(trainer: Trainer) -> dict:
    """The last losses by player and name, as numbers."""
    losses = {name: {key: float(v) for key, v in loss.terms.items()} for name, loss in trainer.losses.items()}
    seen = {name: {key: float(v) for key, v in loss.seen.items()} for name, loss in trainer.losses.items() if loss.seen}
    return {"turn": trainer.turn, "seconds": round(trainer.seconds, 3), "losses": losses, "seen": seen}


class Log(Callback):
    """Appends a line to metrics.jsonl on every tenth turn and on the last; a loss that is not finite ends the run.

    more: what others have to say in the line of this turn.
    """

    journal: Journal | None = None

    def __init__(self, path: Path, more: Callable[[], dict] = dict):
        self.path, self.more = path, more

    def start(self, trainer: Trainer) -> None:
        self.journal = Journal(self.path)

    def after(self, trainer: Trainer) -> None:
        if trainer.turn % EVERY == 0 or trainer.turn == trainer.steps:
            trainer.check_losses()
            self.journal.append(row(trainer) | self.more())

    def close(self, trainer: Trainer) -> None:
        if self.journal:
            self.journal.close()
