"""Small games for the tests: any method of the table, by name, on random data of any form."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ludus import cli, seeds
from ludus import recipe as recipes
from ludus.callbacks.annealing import Annealing
from ludus.callbacks.averaging import Averaging
from ludus.data.load import Data, load
from ludus.data.sampler import Sampler
from ludus.trainer import Trainer

METHODS = list(recipes.METHODS)
CONDITIONS = {"": (None, "classes", "values"), "condition": ("classes", "values"), "classes": ("classes",)}
GAMES = [(method, condition) for method, row in recipes.METHODS.items() for condition in CONDITIONS[row.needs]]


def told(method: str, condition: str | None = None) -> str | None:
    """A condition of data that a method is played on, or, where it does not take that, one that it needs."""
    return condition if (method, condition) in GAMES else CONDITIONS[recipes.METHODS[method].needs][0]


def data_of(shape=(1, 8, 8), condition=None, n=64) -> Data:
    """n examples with a mean that depends on the condition: classes, values, or none."""
    draws = np.random.default_rng(0)
    y = {"classes": draws.integers(3, size=n), "values": draws.normal(size=(n, 2)), None: None}[condition]
    shift = 0.0 if y is None else y.reshape(n, -1)[:, 0] / 2
    x = (draws.normal(size=(n, *shape)) + np.reshape(shift, (-1,) + (1,) * len(shape))).astype(np.float32)
    return load(x, y, channels="first" if len(shape) == 3 else "auto", held_out=0.0)


def recipe_of(method: str, data: Data, **settings) -> dict:
    """A complete recipe of small networks."""
    small = {"sampler.batch": 16}
    prior = settings.get("prior.name", recipes.METHODS[method].points.get("prior.name", "gaussian"))
    if "dimension" in recipes.signature(recipes.PRIORS[prior])[1]:
        small["prior.dimension"] = 4
    if data.form.kind == "points":
        small |= {f"{role}.width": 8 for role in recipes.roles(method) if role not in ("prior", "recogniser")}
    return recipes.complete(recipes.draft(method, settings={**small, **settings}), data.form.kind, len(data.x))


def trainer_of(method: str, data: Data, callbacks=(), dtype=torch.float32, **settings) -> Trainer:
    """The trainer that `ludus train` would make, with an average and annealing, and without a folder."""
    recipe = recipe_of(method, data, **settings)
    with seeds.forked(torch.device("cpu"), recipe["seed"]):
        game = recipes.build(recipe, data.form).to(dtype)
    x, c = torch.from_numpy(data.x).to(dtype), None if data.c is None else torch.from_numpy(data.c).to(dtype)
    sampler = Sampler(x, c, seed=recipe["seed"], **recipes.options(recipe, "sampler"))
    callbacks = [Annealing(**recipes.options(recipe, "annealing")), *callbacks]
    return Trainer(game, sampler, callbacks, recipe["seed"], **recipes.options(recipe, "trainer"))


def averaged(trainer: Trainer, **options) -> Averaging:
    """An average of the trainer's game, added to its callbacks."""
    averaging = Averaging(trainer.game, **options)
    trainer.callbacks.append(averaging)
    return averaging


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything that a module is."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resident() -> int:
    """Bytes of memory that this process holds; its peak, where there is no /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def command(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """`ludus words` in this process: its exit code, what it printed, and what it complained of."""
    monkeypatch.setattr(sys, "argv", ["ludus", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0, *capsys.readouterr()
