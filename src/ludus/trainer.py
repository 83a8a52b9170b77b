"""The one loop."""

import dataclasses
import math
import time
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from ludus import play as plays
from ludus import seeds
from ludus.data.sampler import Sampler
from ludus.errors import Diverged, UserError, unknown
from ludus.game import Batch, Game, Loss, Player
from ludus.ranges import Count, NotNegative, Positive, Share


class Callback:
    """What watches a game in motion, or winds a dial between turns; each overrides the events that it needs."""

    def start(self, trainer: "Trainer") -> None: ...
    def before(self, trainer: "Trainer") -> None: ...
    def after(self, trainer: "Trainer") -> None: ...
    def end(self, trainer: "Trainer") -> None: ...
    def close(self, trainer: "Trainer") -> None:
        """Comes last, also after an error."""

    def state(self) -> dict[str, Tensor]:
        """Its part of a checkpoint, under names of its own; `load` takes the whole checkpoint back."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None: ...


class Trainer:
    """Plays a game: on each turn one batch is drawn and the scheduled players move.

    Each player has an optimiser of its own over the parameters that it owns, and only their gradient is ever asked
    for: nobody moves, or accumulates into, another player's parameters. Gradients are kept by player, since two
    players may own one module. A turn draws from a random state of its own, so whatever happens between turns
    (measuring, plotting, a notebook) leaves the run as it is.

    Args:
        game: what is played.    sampler: where batches come from, on the game's device.
        seed: of everything random in the run.
        rollbacks: how often divergence has sent the run back; each halves the rates and changes the seed.
        steps: turns in all.
        lr: learning rate; `rates` gives a player another, {"discriminator": 4e-4} (two time scales).
        betas: Adam's; RMSprop takes the second as its decay, SGD none.
        play: whether each player answers the latest move, or all move at once; in the ways of `play.py`.
        consensus: weight of the consensus term in every player's gradient, which must be twice differentiable.
        every: periods in place of the game's own, {"discriminator": 2}: moves on every second turn.
        stages: shares of the turns in which a player moves, {"encoder": [0.6, 1.0]}; others move in all.
        hold_above: a player is held while its accuracy is above its limit, {"discriminator": 0.8}.
        hold_below: a player is held while the norm of its gradient is below this multiple of the others' largest.
        balance: margin beyond which the stronger of discriminator and generator waits, see `play.balance`; 0: off.
    """

    def __init__(
        self,
        game: Game,
        sampler: Sampler,
        callbacks: Iterable[Callback] = (),
        seed: int = 0,
        rollbacks: int = 0,
        *,
        steps: Count = 1000,
        lr: Positive = 2e-4,
        rates: dict[str, Positive] | None = None,
        optimiser: Literal["adam", "rmsprop", "sgd"] = "adam",
        betas: tuple[Share, Share] = (0.5, 0.99),
        play: Literal["alternate", "simultaneous", "extragradient", "optimistic"] = "alternate",
        consensus: NotNegative = 0.0,
        every: dict[str, Count] | None = None,
        stages: dict[str, tuple[Share, Share]] | None = None,
        hold_above: dict[str, float] | None = None,
        hold_below: dict[str, Positive] | None = None,
        balance: NotNegative = 0.0,
    ):
        if steps < 1:
            raise UserError(f"steps = {steps}: a run has at least one turn")
        self.game, self.sampler, self.callbacks = game, sampler, list(callbacks)
        self.device = next(game.parameters()).device
        named = (rates, stages, hold_above, hold_below)
        self.players = _players(game, every or {}, [name for given in named for name in given or ()])
        self.stages = _stages(stages or {}, self.players)
        self.parameters = {name: player.parameters for name, player in self.players.items()}
        for name, owned in self.parameters.items():
            if not owned:
                raise UserError(f"the {name} has nothing to train: all its parameters are frozen")
            for p in owned:
                if torch.empty_like(p).stride() != p.stride():  # cut from a larger one: Adam's moments would not fit
                    p.data = p.data.contiguous()
        self.rates = {name: (rates or {}).get(name, lr) / 2**rollbacks for name in self.players}
        self.optimisers = {
            name: _optimiser(optimiser, self.parameters[name], self.rates[name], betas) for name in self.players
        }
        _check_balance(game, balance)
        self.play, self.schedule = plays.PLAYS[play], _schedule(hold_above, hold_below, balance)
        self.consensus, game.attached = consensus, consensus > 0
        self.measured = bool(hold_below)  # whether each gradient's norm is
        self.gradients: dict[str, tuple[Tensor, ...]] = {}
        self.past: dict[str, tuple[Tensor, ...]] = {}  # optimistic play's, of the turn before
        self.losses: dict[str, Loss] = {}
        self.turn, self.steps, self.seconds, self.stop = 0, steps, 0.0, False
        self.seed, self.rollbacks = seed, rollbacks
        self._reseed()

    # One player

    def gradient(self, name: str, batch: Batch) -> None:
        """The gradient of a player's loss in its own parameters, and in no others; and what consensus adds to it."""
        if self.consensus:
            batch = Batch(*batch)  # all players' losses, on fakes of their own
            losses = {other: player.loss(batch) for other, player in self.players.items()}
            field = {other: self._gradient(other, loss, create_graph=True) for other, loss in losses.items()}
            loss, self.gradients[name] = losses[name], plays.consensus(self, name, field)
        else:
            loss = self.players[name].loss(batch)
            self.gradients[name] = self._gradient(name, loss)
        norm = {"gradient": torch.nn.utils.get_total_norm(self.gradients[name])} if self.measured else {}
        self._keep(name, loss._replace(seen=loss.seen | norm))

    def _gradient(self, name: str, loss: Loss, create_graph: bool = False) -> tuple[Tensor, ...]:
        owned = self.parameters[name]
        gradients = torch.autograd.grad(loss.total, owned, allow_unused=True, create_graph=create_graph)
        for gradient, p in zip(gradients, owned):
            if gradient is None:
                unused = next(key for key, value in self.game.named_parameters() if value is p)
                raise UserError(f"the {name}'s loss does not depend on {unused}: use it, or freeze it")
        return gradients

    def move(self, name: str) -> None:
        """One step of a player's optimiser along the gradient that it holds."""
        for parameter, gradient in zip(self.parameters[name], self.gradients.pop(name)):
            parameter.grad = _laid_out(gradient, parameter)
        self.optimisers[name].step()
        self.optimisers[name].zero_grad()
        self.players[name].after()

    def _keep(self, name: str, loss: Loss) -> None:
        self.losses[name] = Loss(*({key: value.detach() for key, value in part.items()} for part in loss))

    # One turn, and all of them

    def step(self) -> None:
        """One turn: a batch, the held players' losses, the others' moves."""
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True)  # else two runs of one seed part on a GPU
        with exact, seeds.forked(self.device), torch.enable_grad():
            seeds.restore(self.random)
            batch, names = next(self.sampler), self.schedule(self)
            for name in plays.every(self):
                if name not in names and self.measured:
                    self.gradient(name, batch)
                    self.gradients.pop(name)
                elif name not in names:
                    with torch.no_grad():
                        self._keep(name, self.players[name].loss(batch))
            self.play(self, names, batch)
            self.losses = {name: loss for name, loss in self.losses.items() if plays.on_stage(self, name)}
            self.random = seeds.state(self.device)
        self.turn += 1

    def run(self) -> None:
        """Turns until `steps`, or until somebody sets `stop`."""
        try:
            self._tell("start")
            while self.turn < self.steps and not self.stop:
                began = time.perf_counter()
                self._tell("before")
                self.step()
                self._tell("after")
                self.seconds += time.perf_counter() - began
            self._tell("end")
        finally:
            self._tell("close")

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def check_losses(self) -> None:
        """Raises Diverged if a loss is not finite."""
        for name, loss in self.losses.items():
            for term, value in loss.terms.items():
                if not math.isfinite(value):
                    raise Diverged(f"turn {self.turn}: the {name}'s loss {term!r} is {float(value)}")

    def check_finite(self) -> None:
        """Raises Diverged if a loss or a parameter is not finite."""
        self.check_losses()
        for name, owned in self.parameters.items():
            if not all(torch.isfinite(p).all() for p in owned):
                raise Diverged(f"turn {self.turn}: a parameter of the {name} is not finite")

    # All that a run is, as tensors and plain numbers

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors by name, and what JSON can hold; `load` of both goes on as if nothing had been."""
        tensors = {f"game/{name}": value for name, value in self.game.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for i, p in enumerate(self.parameters[name]):
                tensors |= {f"optimiser/{name}/{i}/{key}": v for key, v in optimiser.state.get(p, {}).items()}
        for name, gradients in self.past.items():
            tensors |= {f"past/{name}/{i}": gradient for i, gradient in enumerate(gradients)}
        for name, loss in self.losses.items():
            for part, values in loss._asdict().items():
                tensors |= {f"losses/{name}/{part}/{key}": value for key, value in values.items()}
        tensors |= {f"random/{kind}": value for kind, value in self.random.items()}
        for callback in self.callbacks:
            tensors |= callback.state()
        numbers = {"turn": self.turn, "steps": self.steps, "seconds": self.seconds, "rollbacks": self.rollbacks}
        return tensors, numbers | {"sampler": self.sampler.state, "game": type(self.game).__name__}

    def load(self, tensors: dict[str, Tensor], numbers: dict) -> None:
        """Takes back what `state` gave; after a rollback with a new seed, since the old one leads to the same end."""
        if numbers["game"] != type(self.game).__name__:
            raise UserError(f"the checkpoint is of {numbers['game']}, the recipe says {type(self.game).__name__}")
        load_weights(self.game, under("game/", tensors))
        for name, optimiser in self.optimisers.items():
            optimiser.state.clear()
            for i, p in enumerate(self.parameters[name]):
                entry = under(f"optimiser/{name}/{i}/", tensors)
                if entry:
                    optimiser.state[p] = {key: _like(value, p, optimiser) for key, value in entry.items()}
        self.past = {
            name: tuple(torch.empty_like(p).copy_(tensors[f"past/{name}/{i}"]) for i, p in enumerate(owned))
            for name, owned in self.parameters.items()
            if f"past/{name}/0" in tensors
        }
        self.losses = {name: _loss(under(f"losses/{name}/", tensors), self.device) for name in self.players}
        self.losses = {name: loss for name, loss in self.losses.items() if loss.terms}
        self.random = {kind: value.cpu() for kind, value in under("random/", tensors).items()}
        self.sampler.seek(**numbers["sampler"])
        self.turn, self.steps, self.seconds = numbers["turn"], numbers["steps"], numbers["seconds"]
        for callback in self.callbacks:
            callback.load(tensors)
        if numbers["rollbacks"] != self.rollbacks:
            self._reseed()

    def _reseed(self) -> None:
        seed = self.seed + 1_000_003 * self.rollbacks
        self.sampler.seek(self.sampler.epoch, self.sampler.position, seed)
        with seeds.forked(self.device, seed):
            self.random = seeds.state(self.device)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_weights(game: Game, weights: dict[str, Tensor]) -> None:
    """Puts weights into a game; UserError where they are of other networks."""
    try:
        game.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"the checkpoint does not fit the networks: {first}") from None


def _players(game: Game, every: dict[str, int], others: list[str]) -> dict[str, Player]:
    players = dict(game.players)
    for name in [*every, *others]:
        if name not in players:
            raise unknown("player", name, players)
    return players | {name: dataclasses.replace(players[name], every=period) for name, period in every.items()}


def _stages(stages: dict[str, tuple[float, float]], players: dict[str, Player]) -> dict[str, tuple[float, float]]:
    """The stages. Raises UserError where one is empty, or nobody moves."""
    for name, (begin, end) in stages.items():
        if begin >= end:
            raise UserError(f"stages: the {name} moves from {begin:g} to {end:g} of the turns, which is never")
    spans = sorted(stages.get(name, (0.0, 1.0)) for name in players)
    reached = 0.0
    for begin, end in [*spans, (1.0, 1.0)]:
        if begin > reached:
            raise UserError(f"stages: nobody moves from {reached:g} to {begin:g} of the turns")
        reached = max(reached, end)
    return stages


def _check_balance(game: Game, margin: float) -> None:
    if margin and not game.cross_entropies:
        raise UserError("balance is between a generator and a discriminator with cross-entropies for costs, as in gan")
    if margin >= plays.LOG_2:
        raise UserError(f"balance = {margin}: the margin is below log 2 = 0.693, beyond which nobody would ever wait")


def _schedule(
    hold_above: dict[str, float] | None, hold_below: dict[str, float] | None, balance: float
) -> plays.Schedule:
    given = [(plays.hold_above, hold_above), (plays.hold_below, hold_below), (plays.balance, balance)]
    holds = [hold(limits) for hold, limits in given if limits]

    def schedule(trainer: Trainer) -> list[str]:
        due = plays.every(trainer)
        return [name for name in due if all(name in hold(trainer) for hold in holds)] or due  # all held: a standstill

    return schedule


def _optimiser(name: str, owned: list[Tensor], lr: float, betas: tuple[Share, Share]) -> torch.optim.Optimizer:
    try:
        if name == "adam":
            return torch.optim.Adam(owned, lr, betas, fused=True)
        return torch.optim.RMSprop(owned, lr, alpha=betas[1]) if name == "rmsprop" else torch.optim.SGD(owned, lr)
    except ValueError as error:  # a negative rate, betas outside [0, 1), nothing to train
        raise UserError(f"trainer: {str(error).lower()}") from None


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A gradient or a moment in its parameter's strides: a fused Adam mixes the elements of others, with no error.

    The second derivatives in a slope penalty come back contiguous where a convolution is channels_last.
    """
    return value if value.stride() == parameter.stride() else torch.empty_like(parameter).copy_(value)


def _like(value: Tensor, parameter: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
    """A number or a moment of a checkpoint, as the optimiser would hold it."""
    if value.shape == parameter.shape:
        return torch.empty_like(parameter).copy_(value)
    return value.to(parameter.device) if optimiser.defaults.get("fused") else value.cpu()


def _loss(values: dict[str, Tensor], device: torch.device) -> Loss:
    return Loss(*({key: value.to(device) for key, value in under(f"{part}/", values).items()} for part in Loss._fields))
