"""`ludus.train`, `ludus.resume`, `ludus.load`: a run in three lines."""

import os
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ludus import hub, session
from ludus import recipe as recipes
from ludus.data import locate
from ludus.data.load import Data
from ludus.errors import UserError, unknown
from ludus.run import Run, read_recipe
from ludus.runs import folder, store
from ludus.runs.lock import Lock
from ludus.session import ARRAY
from ludus.terminal import say


def train(
    method: str | None = None,
    data: Any = None,
    *,
    condition: Any = None,
    network: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    run: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    recipe: str | Path | dict | None = None,
    **modules: nn.Module,
) -> Run:
    """Trains a game on the user's data and gives the run; everything is kept in its folder.

    Args:
        method: see `ludus methods`; r3gan, if neither this nor a recipe says.
        data: an array (n, H, W), (n, H, W, C), (n, C, H, W) or (n, D), of xarray's too; or a text: `x.npy`,
            `x.npz:key`, `x.h5:/path`, `x.nxs`, `x.tif`, `x.zarr`, a folder of pictures, `scans/*.nxs`, `mnist`, ...
        condition: labels (integers, text) or values (floats), (n,) or (n, K), as an array or a text; `:NAME` is what
            the data say of each row themselves.
        network: mlp, small, dcgan, resnet.    steps: turns in all.    minutes: as many turns as fit.
        batch, lr, seed, device: as everywhere.    run: the folder; by default a new one under runs/.
        settings: any other argument, {"generator.width": 64, "trainer.play": "simultaneous"}.
        recipe: a recipe to start from, a TOML file or a dict.
        modules: networks of the user's own, generator=MyNet(): (z, c) -> x, discriminator=...: (x, c) -> (B,).

    Raises UserError for whatever cannot be used, Interrupted when a signal stopped the run (its state is saved),
    Diverged when its losses became NaN twice.
    """
    if isinstance(recipe, (str, Path)):
        recipe = recipes.read(Path(recipe))
    if method is None and "method" not in (recipe or {}):
        method = "r3gan"
    for role, module in modules.items():
        if role not in recipes.ROLES:
            raise unknown("argument or network", role, recipes.ROLES)
        if not isinstance(module, nn.Module):
            raise UserError(f"{role} must be a torch.nn.Module, got {module!r}")
    text = data if isinstance(data, (str, os.PathLike)) or data is None else ARRAY
    told = condition if isinstance(condition, (str, os.PathLike)) or condition is None else ARRAY
    own = {f"{role}.name": recipes.CUSTOM for role in modules}
    draft = recipes.draft(
        method, text and os.fspath(text), told and os.fspath(told), network, steps, minutes, batch, lr, seed, device,
        {**own, **(settings or {})}, recipe,
    )  # fmt: skip
    return start(draft, run, data if text == ARRAY else None, condition if told == ARRAY else None, modules)


def start(
    draft: dict,
    run: str | Path | None = None,
    array: Any = None,
    conditions: Any = None,
    modules: dict[str, nn.Module] | None = None,
) -> Run:
    """A new run from a checked recipe; arrays in memory stand in for the texts in its [data]."""
    method = draft["method"]["name"]
    for role in modules or {}:
        if role not in recipes.roles(method):
            raise unknown(f"part of {method}", role, recipes.roles(method))
    data = session.read_data(draft, array, conditions)
    whole = recipes.complete(_anchored(draft), data.form.kind, data.n)
    whole.pop("rollbacks", None)  # what befell the run that the recipe is from
    name = f"{method}-{Path(data.form.name).name}"
    path = folder.new(Path("runs"), name) if run is None else Path(run)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run folder {path} ({error.strerror}): choose another --run") from None
    if store.turns(path):
        raise UserError(f"{path} holds a run already: `ludus resume {path}` goes on with it; or choose another --run")
    folder.probe(path)
    try:
        with Lock(path):
            whole = session.prepare(path, whole, data)
            session.play(path, whole, data, modules)
            return _finished(path, modules, data)
    finally:
        if not store.turns(path):  # nothing was begun: leave nothing that looks like a run
            session.clear(path)


def _anchored(draft: dict) -> dict:
    """The recipe with its files by their absolute paths, so that a run can be resumed from anywhere."""
    section = dict(draft.get("data", {}))
    for key in {"source", "condition", "mask", "sigma"} & section.keys():
        found = None if section[key] == ARRAY else locate.parse(section[key])
        if found and found.is_file:
            section[key] = found.anchored.text
    return draft | {"data": section}


def resume(
    run: str | Path, steps: int | None = None, data: Any = None, condition: Any = None, **modules: nn.Module
) -> Run:
    """Goes on with a run exactly where it was; `steps` is the new total. Arrays and networks of the user's own are
    handed over again."""
    path = Path(run)
    whole = read_recipe(path)
    folder.probe(path)
    with Lock(path) as lock:
        say(lock.message)
        checkpoint = store.load(path)
        if "sampler" not in checkpoint.state:
            raise UserError(f"{path} was shared, with its averaged weights only: it can be drawn from, not trained on; "
                            f"`ludus train --recipe {path / 'recipe.toml'} --data ...` begins one like it")  # fmt: skip
        planned = steps or _planned(whole, checkpoint)
        if checkpoint.turn >= planned:
            raise UserError(_no_turn_left(path, checkpoint.turn, _planned(whole, checkpoint)))
        found = session.read_data(whole, data, condition)
        session.same_data(path, found)
        session.same_order(path, found)
        if steps:
            whole = recipes.nest({"trainer.steps": steps}, whole)
            folder.write(path / "recipe.toml", recipes.text(whole))
        session.play(path, whole, found, modules, steps or (None if _timed(whole) else planned))
        return _finished(path, modules, found)


def _timed(recipe: dict) -> bool:
    return "minutes" in recipe.get("plan", {})


def _planned(recipe: dict, checkpoint: store.Checkpoint) -> int:
    """The total of turns: by the clock what the checkpoint knows, else the recipe's, as a checkpoint may be older."""
    return checkpoint.state["steps"] if _timed(recipe) else recipe["trainer"].get("steps", checkpoint.state["steps"])


def _no_turn_left(path: Path, turn: int, planned: int) -> str:
    if turn < planned:
        return f"{path} is at turn {turn:,} already: --steps is the total; without it, it goes on to {planned:,}"
    more = f"`ludus resume {path} --steps {2 * turn}` goes on to twice as many"
    return f"{path} is already complete, {turn:,} turns: {more}"


def load(run: str | Path, turn: int | Literal["best"] | None = None, **modules: nn.Module) -> Run:
    """A run from its folder, or from the Hugging Face Hub (hf://user/name, hf://user/name@revision), ready to draw
    from; networks of the user's own are handed over again, by role.

    turn: of a checkpoint; None is the newest that verifies, "best" the one whose samples were nearest to held-out rows.
    """
    path = hub.fetch(run) if isinstance(run, str) and run.startswith(hub.SCHEME) else Path(run)
    found = Run(path, turn, **modules)
    for note in found.skipped:
        say(f"checkpoint {note}: passed over, this is turn {found.turn:,}")
    return found


def _finished(path: Path, modules: dict[str, nn.Module] | None, data: Data) -> Run:
    from ludus import evaluate  # with scipy and scikit-learn, which take a second

    finished = Run(path, **(modules or {}))
    session.label_temperatures(finished, data)
    evaluate.at_end(finished, data, **recipes.options(finished.recipe, "evaluation"))
    finished.report()
    return finished
