"""How moves are interleaved, and who moves when. Functions of the trainer, which holds one gradient per player."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ludus.errors import UserError
from ludus.game import Batch

if TYPE_CHECKING:
    from ludus.trainer import Trainer

LOG_2 = math.log(2)  # either cost of a discriminator that cannot tell

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


def extragradient(trainer: "Trainer", names: list[str], batch: Batch) -> None:
    """All move, look from where they then are, and move from where they were: ω ← ω − h v(ω − h v(ω)).

    Where simultaneous play spirals outwards on min max xy, by √(1 + h²) a turn, this contracts by √(1 − h² + h⁴)
    (Korpelevich 1976). Both moves are the optimiser's own, so with Adam it is ExtraAdam (Gidel et al. 2019). What a
    game counts or remembers of its moves, it does of the second one.
    """
    for name in names:
        trainer.gradient(name, batch)
    here = {key: value.clone() for key, value in trainer.game.state_dict().items()}
    for name in names:
        trainer.move(name)
    _restore(trainer.game.named_buffers(), here)
    again = Batch(*batch)  # the same rows; fakes are drawn anew, from the generator as it now is
    for name in names:
        trainer.gradient(name, again)
    _restore(trainer.game.named_parameters(), here)
    for name in names:
        trainer.move(name)


@torch.no_grad()
def _restore(tensors: Iterable[tuple[str, Tensor]], values: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors:
        if key in values:
            tensor.copy_(values[key])


def optimistic(trainer: "Trainer", names: list[str], batch: Batch) -> None:
    """All look, then all move along 2 vₜ − vₜ₋₁, what the gradient would be if it went on changing as it did.

    On min max xy the radius changes by √((1 + √(1 − 4h²)) / 2) < 1 a turn, for the price of one gradient each
    (Daskalakis et al. 2018). What the optimiser gets is 2 vₜ − vₜ₋₁, the paper's step for plain gradients; vₜ₋₁ is
    part of every checkpoint.
    """
    for name in names:
        trainer.gradient(name, batch)
    for name in names:
        now = trainer.gradients[name]
        trainer.gradients[name] = tuple(2 * new - old for new, old in zip(now, trainer.past.get(name, now)))
        trainer.past[name] = now
        trainer.move(name)


PLAYS: dict[str, Play] = {
    "alternate": alternate,
    "simultaneous": simultaneous,
    "extragradient": extragradient,
    "optimistic": optimistic,
}


def consensus(trainer: "Trainer", name: str, field: Mapping[str, tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """v + weight · ∇ ½|v|² for one player, v being the gradients of all (Mescheder et al. 2017).

    The second term draws the players to where nobody has a gradient, which damps the rotation: on the Dirac-GAN
    ±i/2 becomes −weight/4 ± i/2. What a loss holds fixed stays fixed in |v|² too: the points of a slope penalty, and
    the real side of R3GAN's generator.
    """
    half_square = sum(g.square().sum() for gradients in field.values() for g in gradients) / 2
    pull = torch.autograd.grad(half_square, trainer.parameters[name], materialize_grads=True)
    return tuple(g.detach() + trainer.consensus * p for g, p in zip(field[name], pull))


def every(trainer: "Trainer") -> list[str]:
    """The players whose stage it is and whose period ends on this turn, in the game's order: asynchronous training by
    counting."""
    due = [name for name, player in trainer.players.items() if (trainer.turn + 1) % player.every == 0]
    return [name for name in due if on_stage(trainer, name)]


def on_stage(trainer: "Trainer", name: str) -> bool:
    """Whether this turn lies in the share of all turns in which a player moves."""
    begin, end = trainer.stages.get(name, (0, 1))
    return begin <= trainer.turn / trainer.steps < end


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


def balance(margin: float) -> Schedule:
    """The stronger side waits, by the discriminator's mean costs of real and of generated data, log 2 each at a draw.

    The discriminator is held where one of the two is below log 2 − margin, the generator where one is above
    log 2 + margin, neither where both would be (Larsen et al. 2016, whose margin is 0.35). Any other player moves.
    """

    def schedule(trainer: "Trainer") -> list[str]:
        due, sides = every(trainer), {"discriminator", "generator"}
        if "discriminator" not in trainer.losses:
            return due
        costs = [float(trainer.losses["discriminator"].terms[kind]) for kind in ("real", "fake")]
        held = {"discriminator"} if min(costs) < LOG_2 - margin else set()
        held |= {"generator"} if max(costs) > LOG_2 + margin else set()
        return [name for name in due if name not in held or held == sides]

    return schedule


def hold_below(limits: Mapping[str, float]) -> Schedule:
    """The same by gradients: a player is held while the norm of its own is below its limit times the others' largest.

    A player that has little left to learn waits for the others; once they have moved, its gradient grows again.
    """

    def schedule(trainer: "Trainer") -> list[str]:
        norms = {name: float(loss.seen["gradient"]) for name, loss in trainer.losses.items()}

        def held(name: str) -> bool:
            others = [norm for other, norm in norms.items() if other != name]
            return name in limits and name in norms and bool(others) and norms[name] < limits[name] * max(others)

        return [name for name in every(trainer) if not held(name)]

    return schedule
