"""`best.json`: how far the samples of each checkpoint are from held-out rows, and so which of them is the best.

    {"best": 9000, "distances": {"9000": [0.0121, 0.0009], "12000": [0.0145, 0.001]}}    each with its standard error

It speaks of checkpoints that are kept: one that was removed, or given up by going back, is forgotten.
"""

import json
from pathlib import Path
from typing import NamedTuple

from ludus.errors import UserError
from ludus.runs import disk, store

NAME = "best.json"


class Judged(NamedTuple):
    """A checkpoint, and how far its samples are from held-out rows."""

    turn: int
    distance: float
    error: float  # standard error

    def __str__(self) -> str:
        return f"turn {self.turn:,} ({self.distance:.2g} ± {self.error:.1g})"


def read(run: Path) -> list[Judged]:
    """The checkpoints that were judged, the best one first. Raises UserError where the file is damaged."""
    try:
        found = json.loads((Path(run) / NAME).read_text(encoding="utf-8"))["distances"]
        judged = [Judged(int(turn), *map(float, pair)) for turn, pair in found.items()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{NAME} of {run} is damaged ({error}): delete it, and do without the best") from None
    return sorted(judged, key=lambda each: each.distance)


def turn(run: Path) -> int:
    """That of the best checkpoint. Raises UserError where none was judged."""
    for each in read(run):
        return each.turn
    raise UserError(f"no checkpoint of {run} was judged: fewer than 50 rows are held out, or none was saved on the way")


def add(run: Path, judged: Judged) -> None:
    """Keep what was found of a checkpoint that was just saved."""
    there = set(store.turns(run)) - {judged.turn}
    _write(run, [judged, *(each for each in read(run) if each.turn in there)])


def forget(run: Path, after: int) -> None:
    """Forget the checkpoints of later turns: the run came back to this one."""
    found = read(run)
    kept = [each for each in found if each.turn <= after]
    if kept != found:
        _write(run, kept)


def _write(run: Path, judged: list[Judged]) -> None:
    best = min(judged, key=lambda each: each.distance, default=None)
    distances = {str(turn): pair for turn, *pair in sorted(judged)}
    disk.write(Path(run) / NAME, json.dumps({"best": best and best.turn, "distances": distances}))
