"""How moves are interleaved, and who moves when. Functions of the trainer, which holds one gradient per player."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ludus.errors import UserError
from ludus.game import Batch

if TYPE_CHECKING:
    from ludus.trainer import Trainer

Play = Callable[["Trainer", list[str], Batch], None]
Schedule = Callable[["Trainer"], list[str]]


def alternate(trainer: "Trainer", names: list[str], batch: Batch) -> None:
    """Each player answers the others' latest move: gradient, move, gradient, move."""
    for name in names:
        trainer.gradient(name, batch)
        trainer.move(name)


def simultaneous(trainer: "Trainer", names: list[str], batch: Batch) -> None:
    """All look, then all move: gradient, gradient, move, move."""
    for name in names:
        trainer.gradient(name, batch)
    for name in names:
        trainer.move(name)


PLAYS: dict[str, Play] = {"alternate": alternate, "simultaneous": simultaneous}


def every(trainer: "Trainer") -> list[str]:
    """The players whose period ends on this turn, in the game's order: asynchronous training by counting."""
    return [name for name, player in trainer.players.items() if (trainer.turn + 1) % player.every == 0]


def hold_above(limits: Mapping[str, float]) -> Schedule:
    """Asynchronous training by measurement: a player whose last seen accuracy is above its limit is held.

    A held player's loss is still evaluated, so that its accuracy goes on changing and it comes back.
    """

    def schedule(trainer: "Trainer") -> list[str]:
        def held(name: str) -> bool:
            if name not in limits or name not in trainer.losses:
                return False
            if "accuracy" not in trainer.losses[name].seen:
                raise UserError(f"the {name} has no accuracy to be held by; hold_above takes a player that has one")
            return float(trainer.losses[name].seen["accuracy"]) > limits[name]

        return [name for name in every(trainer) if not held(name)]

    return schedule
