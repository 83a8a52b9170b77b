"""The doctor at a run: measures it, says what it finds, and may change the schedule."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ludus.callbacks import log
from ludus.doctor import findings
from ludus.doctor.measure import Gauge
from ludus.errors import Diverged, UserError
from ludus.game import Batch
from ludus.ranges import Count
from ludus.runs import journal
from ludus.trainer import Callback, Trainer, under

REST = 500  # turns between two acts, so that the first one can show
SLOWEST = 16  # the longest period that an act gives a player


class Doctor(Callback):
    """Measures the game now and then, says what it finds, and ends a run that diverges.

    What was measured is `entry`, which stands in the line that `Log` writes on the same turn; `findings` of those lines
    are the same at any later time. The game is left as it was, unless the doctor is to act: then the player that is too
    strong moves half as often, which is said, logged, and part of every checkpoint.

    Args:
        path: metrics.jsonl, from which a resumed run knows its past.    say: where findings go.
        real, held: the data that are trained on and those that are not.
        mode: "watch", "act", or "off", which does not even measure.    every: turns between looks, a multiple of 10.
    """

    def __init__(
        self,
        path: Path,
        real: Batch,
        held: Batch,
        say: Callable[[str], None],
        *,
        mode: Literal["watch", "act", "off"] = "watch",
        every: Count = 50,
    ):
        if every % log.EVERY:
            raise UserError(f"doctor.every = {every}: its lines are those of the log, a multiple of {log.EVERY} turns")
        self.path, self.real, self.held, self.say, self.mode, self.every = path, real, held, say, mode, every
        self.entry: dict[str, Any] = {}  # what this turn's line of metrics.jsonl gets
        self.gradients: dict[str, Tensor] = {}  # norms, of the players that move on this turn
        self.periods: dict[str, int] = {}  # by which an act replaced the players' own
        self.acted = -REST
        self.hooks: list[Any] = []

    def start(self, trainer: Trainer) -> None:
        if self.mode == "off":
            return
        self.gauge = Gauge(self.real, self.held, trainer.sampler.batch)
        self.rows = [row for row in journal.read(self.path) if "doctor" in row]
        self._keep_to_periods(trainer)
        for name, optimiser in trainer.optimisers.items():

            def norm(*_, name: str = name) -> None:
                if (trainer.turn + 1) % self.every == 0:
                    self.gradients[name] = torch.nn.utils.get_total_norm([p.grad for p in trainer.parameters[name]])

            self.hooks.append(optimiser.register_step_pre_hook(norm))

    def after(self, trainer: Trainer) -> None:
        self.entry = {}
        if self.mode == "off" or trainer.turn % self.every:
            return
        norms = {name: float(f"{float(norm):.4g}") for name, norm in self.gradients.items()}
        self.gradients = {}
        moves = trainer.turn // max(player.every for player in trainer.players.values())
        moves = max([moves, *(row["doctor"]["moves"] for row in self.rows[-1:])])  # an act takes none back
        self.entry = {"doctor": self.gauge.measure(trainer.game) | {"gradient": norms, "moves": moves}}
        known = {each.name for each in findings.now(self.rows)}
        self.rows.append({"turn": trainer.turn, **self.entry})
        for each in findings.now(self.rows):
            if each.name == findings.DIVERGENCE:
                raise Diverged(f"turn {trainer.turn}: {each.evidence}")
            if each.name not in known:
                self.say(f"doctor, {each}")
            if self.mode == "act" and trainer.turn >= self.acted + REST and (done := self._act(trainer, each)):
                self.entry["event"] = f"doctor, turn {trainer.turn:,}: {each.name}: {done}"
                self.say(self.entry["event"])

    def _act(self, trainer: Trainer, finding: findings.Finding) -> str:
        """Halves the moves of the player that is too strong against those of the other, as far as that goes."""
        strong = findings.ILLNESSES[finding.name].strong
        weak = {"generator": "discriminator", "discriminator": "generator"}.get(strong)
        if weak not in trainer.players or strong not in trainer.players:
            return ""
        periods = {name: trainer.players[name].every for name in (strong, weak)}
        if periods[weak] > 1:
            changed, period = weak, periods[weak] // 2
        elif periods[strong] < SLOWEST:
            changed, period = strong, 2 * periods[strong]
        else:
            return ""
        self.periods[changed], self.acted = period, trainer.turn
        self._keep_to_periods(trainer)
        return f"the {changed} now moves once in {period} turns, before in {periods[changed]}"

    def _keep_to_periods(self, trainer: Trainer) -> None:
        for name, period in self.periods.items():
            trainer.players[name] = dataclasses.replace(trainer.players[name], every=period)

    def close(self, trainer: Trainer) -> None:
        for hook in self.hooks:
            hook.remove()

    def state(self) -> dict[str, Tensor]:
        found = {f"doctor/every/{name}": torch.tensor(period) for name, period in self.periods.items()}
        return found | ({"doctor/acted": torch.tensor(self.acted)} if found else {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.periods = {name: int(period) for name, period in under("doctor/every/", tensors).items()}
        self.acted = int(tensors.get("doctor/acted", -REST))
