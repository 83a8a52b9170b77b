"""Does the doctor name what ails a game? Planted illnesses and healthy runs, 500 moves of each player.

    python benchmarks/doctor_battery.py planted            # each illness in the plane and on 8x8 digits, 5 seeds
    python benchmarks/doctor_battery.py healthy            # 105 healthy runs: how often is one called ill?
    python benchmarks/doctor_battery.py act                # two planted illnesses, watched and treated
    python benchmarks/doctor_battery.py cost               # the share of the training time that measuring takes
    python benchmarks/doctor_battery.py table              # the results as the table in docs/doctor.md

The thresholds in src/ludus/doctor/findings.py were set on seeds 0 to 4 and 100 to 104 of these games; here they meet
seeds from 300 on. What was measured is kept in runs/doctor, so that a second call only applies the thresholds again
(remove the folder to measure again); the outcome is benchmarks/results/doctor-*.json. Three to ten minutes each, one
thread.
"""

import contextlib
import datetime
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ludus import recipe as recipes
from ludus import seeds, session
from ludus.callbacks.annealing import Annealing
from ludus.data.load import Data, load
from ludus.doctor import findings as doctor
from ludus.doctor.watch import Doctor
from ludus.errors import Diverged
from ludus.trainer import Callback, Trainer

TURNS, SEEDS, FIRST = 500, 5, 300
KEPT, RESULTS = Path("runs/doctor"), Path(__file__).parent / "results"


class Planted(nn.Module):
    """A generator with a fault: what it is given, or what it gives, passes through a function."""

    def __init__(self, generator: nn.Module, z: Callable | None, c: Callable | None, x: Callable | None):
        super().__init__()
        self.generator, self.z, self.c, self.x = generator, z, c, x

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        z, c = self.z(z) if self.z else z, self.c(c) if self.c and c is not None else c
        return self.x(self.generator(z, c)) if self.x else self.generator(z, c)


class Case(NamedTuple):
    """A game: "" is healthy. z, c, x: the generator's fault. half: it is shown the first half of the classes only."""

    illness: str
    method: str
    data: str
    settings: dict = {}  # noqa: RUF012
    z: Callable | None = None
    c: Callable | None = None
    x: Callable | None = None
    half: bool = False

    def __str__(self) -> str:
        how = " with r1" * ("method.penalties" in self.settings) + " (mlp)" * ("generator.name" in self.settings)
        return f"{self.illness or 'healthy'}, {self.method} on {self.data}{how}"


R1 = {"method.penalties": {"r1": 0.1}}
FEW = {"data.n": 128, "data.held_out": 0.5, "sampler.batch": 32}
MLP = {"generator.name": "mlp", "discriminator.name": "mlp"}
AHEAD = {"trainer.rates": {"discriminator": 2e-3, "generator": 1e-5}}
PLANTED = [
    case
    for data in ("ring", "digits")
    for case in (
        Case(doctor.VANISHING, "gan", data, {"method.cost": "minimax", **AHEAD}),
        Case(doctor.OVERPOWERING, "gan", data, {"trainer.rates": {"generator": 1e-6}}),
        Case(doctor.OVERPOWERED, "gan", data, {"trainer.rates": {"discriminator": 1e-9, "generator": 2e-4}}),  # frozen
        Case(doctor.COLLAPSE, "gan", data, R1, z=lambda z: z / 100),
        Case(doctor.HOPPING, "gan", data, {"trainer.lr": 1e-3}, z=lambda z: z / 100),
        Case(doctor.CONDITION, "r3gan", data + ":label", c=lambda c: 0 * c),
        Case(doctor.LATENT, "r3gan", data + ":label", z=lambda z: 0 * z),
        Case(doctor.DIVERGENCE, "gan", data, {"trainer.lr": 0.3}),
        Case(doctor.POSTERIOR, "vae", data, {"method.beta": 100.0}),
    )
] + [
    Case(doctor.OVERFITTING, "gan", "vectors", FEW | {"trainer.lr": 3e-3}),
    Case(doctor.OVERFITTING, "gan", "digits", FEW | {"trainer.rates": {"discriminator": 1e-3}}),
    Case(doctor.PARTIAL, "r3gan", "ring", x=torch.abs),  # three of the eight modes are within reach
    Case(doctor.PARTIAL, "r3gan", "digits:label", MLP, half=True),
]
PLANE = ("ring", "grid", "gaussian", "spiral")
HEALTHY = [Case("", method, data) for method in ("r3gan", "wgan_gp") for data in PLANE]
HEALTHY += [Case("", "gan", data, R1) for data in PLANE]
HEALTHY += [Case("", "gan", data) for data in ("grid", "gaussian", "spiral")]
HEALTHY += [Case("", "r3gan", data + ":label") for data in ("ring", "spiral", "digits")]
HEALTHY += [Case("", "vae", data) for data in ("spiral", "digits", "digits:label")]
HEALTHY += [Case("", "r3gan", "digits"), Case("", "r3gan", "digits", MLP), Case("", "r3gan", "digits:label", MLP)]
SLOW = [Case("", "wgan", data) for data in PLANE]  # healthy in the end, but long on their way to parts of the data
SLOW += [Case("", "wgan_gp", "digits")]
TREATED = [
    Case(doctor.OVERPOWERING, "gan", "ring", {"trainer.rates": {"discriminator": 5e-3, "generator": 1e-4}}),
    Case(doctor.COLLAPSE, "gan", "ring", {"trainer.lr": 5e-3}),
]


class Until(Callback):
    """Ends a run early, with the rates that a whole one would have there."""

    def __init__(self, turn: int):
        self.turn = turn

    def after(self, trainer: Trainer) -> None:
        trainer.stop = trainer.turn >= self.turn


def data_of(case: Case, seed: int, labelled: bool) -> Data:
    source = case.data.partition(":")[0]
    if source == "vectors":  # 64 normal numbers: in the plane a network takes longer to learn rows by heart
        drawn = np.random.default_rng(seed).normal(size=(case.settings["data.n"], 64))
        return load(drawn, None, seed, held_out=case.settings["data.held_out"])
    n = {} if source == "digits" else {"n": 20_000}
    given = {key.removeprefix("data."): value for key, value in case.settings.items() if key.startswith("data.")}
    return load(source, f"{source}:label" if labelled else None, seed, **n | given)


def game_of(case: Case, seed: int, turns: int | None = None, **more) -> tuple[Trainer, Doctor]:
    """The trainer that `ludus train` would make, without what writes to disk, and its doctor."""
    labelled = case.data.endswith(":label")
    data = data_of(case, seed, labelled or case.half)
    shown, settings = data, {key: value for key, value in case.settings.items() if not key.startswith("data.")} | more
    if case.half:  # the labels said which rows, and are no part of the game
        data = replace(data, c=None, held_out_c=None, form=replace(data.form, condition=None))
        shown = replace(data, x=data.x[shown.c.argmax(1) < shown.c.shape[1] / 2])
    recipe = recipes.complete(recipes.draft(case.method, seed=seed, settings=settings), data.form.kind, len(data.x))
    modules = {}
    if case.z or case.c or case.x:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            modules["generator"] = Planted(recipes.build(recipe, data.form).generator, case.z, case.c, case.x)
    trainer = session.trainer_of(Path(tempfile.gettempdir()), recipe, shown, modules)
    (watching,) = (each for each in trainer.callbacks if isinstance(each, Doctor))
    watching.path, watching.say = Path("nothing to resume"), lambda text: None
    watching.real = watching.real._replace(x=torch.from_numpy(data.x))
    annealing = [each for each in trainer.callbacks if isinstance(each, Annealing)]
    slowest = max(player.every for player in trainer.players.values())
    trainer.callbacks = [*annealing, watching, Until(turns or slowest * TURNS)]
    return trainer, watching


def played(case: Case, seed: int) -> dict:
    """What was measured until each player moved TURNS times, or the doctor ended it; and the share of classes reached.

    A class is reached if the samples are a quarter as often next to one of its rows as they should be.
    """
    path = KEPT / f"{case}, {seed}.json"
    if not path.exists():
        trainer, watching = game_of(case, seed)
        with contextlib.suppress(Diverged):
            trainer.run()
        found = {"rows": watching.rows}
        if case.data.partition(":")[0] in ("ring", "grid", "digits"):
            data = data_of(case, seed, True)
            with seeds.measuring(trainer.game, seed):
                c = torch.from_numpy(data.c[:2000]) if case.data.endswith(":label") and not case.half else None
                x = trainer.game.sample(min(2000, len(data.x)), c).flatten(1)
            nearest = torch.cdist(x, torch.from_numpy(data.x).flatten(1)[:2000]).argmin(1)
            shares, due = (torch.from_numpy(data.c[rows]).mean(0) for rows in (nearest, slice(None)))
            found["reached"] = float((shares >= due / 4).float().mean())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle, half = hits / n + z * z / (2 * n), z * math.sqrt(hits * (n - hits) / n**3 + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def kept(name: str, outcome: dict) -> None:
    about = {"date": str(datetime.date.today()), "machine": platform.machine(), "torch": torch.__version__}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"doctor-{name}.json").write_text(json.dumps(about | outcome, indent=1, ensure_ascii=False) + "\n")


def plant(first: int) -> None:
    table, names = {}, [*doctor.ILLNESSES, doctor.HEALTHY]
    for case in PLANTED:
        found = [doctor.findings(played(case, seed)["rows"]) for seed in range(first, first + SEEDS)]
        table[str(case)] = {
            "named": {name: sum(name in {each.name for each in run} for run in found) for name in names},
            "turns": sorted(each.turn for run in found for each in run if each.name == case.illness),
        }
        print(f"{case!s:45}", {name: hits for name, hits in table[str(case)]["named"].items() if hits})
    right = sum(table[str(case)]["named"][case.illness] for case in PLANTED)
    print(f"named: {right} of {SEEDS * len(PLANTED)}")
    kept("planted", {"seeds": SEEDS, "named": right, "of": SEEDS * len(PLANTED), "cases": table})


def healthy(first: int) -> None:
    outcome, seeded = {}, range(first, first + SEEDS)
    for kind, cases in {"healthy": HEALTHY, "slow": SLOW}.items():
        runs = {str(case): [played(case, seed) for seed in seeded] for case in cases}
        named = {
            f"{case}, seed {seed}": [str(f) for f in doctor.findings(run["rows"]) if f.name != doctor.HEALTHY]
            for case, these in runs.items()
            for seed, run in zip(seeded, these)
        }
        ill = {run: names for run, names in named.items() if names}
        low, high = wilson(len(ill), len(named))
        print(f"{kind}: {len(ill)} of {len(named)} called ill, 95 % interval {low:.1%} to {high:.1%}")
        print(*(f"  {run}: {'; '.join(names)}" for run, names in ill.items()), sep="\n")
        reached = {case: [run["reached"] for run in these if "reached" in run] for case, these in runs.items()}
        outcome[kind] = {"ill": len(ill), "of": len(named), "interval": [round(low, 4), round(high, 4)], "which": ill,
                         "reached": reached}  # fmt: skip
    kept("healthy", outcome)


def timed(call: Callable[[Trainer], None], spent: list[float]) -> Callable[[Trainer], None]:
    def timing(trainer: Trainer) -> None:
        began = time.perf_counter()
        call(trainer)
        spent.append(time.perf_counter() - began)

    return timing


def cost(first: int) -> None:
    shares = {}
    for case in (*HEALTHY, Case("", "r3gan", "mnist")):
        trainer, watching = game_of(case, first, 300 if case.data == "mnist" else TURNS)
        spent = []
        watching.start, watching.after = timed(watching.start, spent), timed(watching.after, spent)
        began = time.perf_counter()
        trainer.run()
        shares[str(case)] = round(sum(spent) / (time.perf_counter() - began), 4)
        print(f"{case!s:30} {shares[str(case)]:.2%}")
    kept("cost", {"turns": TURNS, "shares": shares})


def act(first: int) -> None:
    """The same games watched and treated, 2,000 turns: how far the samples are from the data at the last four looks."""
    outcome = {}
    for case in TREATED:
        for mode in ("watch", "act"):
            ends = []
            for seed in range(first, first + 3):
                trainer, watching = game_of(case, seed, 2000, **{"doctor.mode": mode})
                trainer.run()
                ends.append(round(sum(row["doctor"]["energy"] for row in watching.rows[-4:]) / 4, 3))
            outcome[f"{case}, {mode}"] = ends
            print(f"{case!s:45} {mode:6} {ends}")
    kept("act", {"turns": 2000, "energy": outcome})


def table(_: int) -> None:
    """The confusion matrix of the planted and the healthy runs, in Markdown: how many of a case were named what."""
    found = {name: json.loads((RESULTS / f"doctor-{name}.json").read_text()) for name in ("planted", "healthy")}
    names = [*doctor.ILLNESSES, doctor.HEALTHY]
    print("| planted |", " | ".join(names), "| turn |")
    print("|---" * (len(names) + 2) + "|")
    for case, row in found["planted"]["cases"].items():
        turns = sorted(row["turns"])
        middle = turns[len(turns) // 2] if turns else ""
        print(f"| {case} |", " | ".join(str(row["named"][name] or "") for name in names), f"| {middle} |")
    for kind in ("healthy", "slow"):
        which = found["healthy"][kind]
        texts = which["which"].values()
        named = [sum(any(f": {name}: " in text for text in run) for run in texts) for name in names]
        named[-1] = which["of"] - which["ill"]
        print(f"| {kind}, {which['of']} runs |", " | ".join(str(n or "") for n in named), "| |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    commands = {"planted": plant, "healthy": healthy, "cost": cost, "act": act, "table": table}
    commands[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else FIRST)
