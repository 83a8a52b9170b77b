"""A run being played: its folder, its trainer with callbacks, and what happens when it is stopped or diverges."""

import contextlib
import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from ludus import figures, memory, seeds
from ludus import recipe as recipes
from ludus.callbacks.ada import ADA
from ludus.callbacks.annealing import Annealing
from ludus.callbacks.averaging import Averaging
from ludus.callbacks.checkpoint import Checkpoint
from ludus.callbacks.log import Log
from ludus.callbacks.plan import Plan
from ludus.callbacks.progress import Progress
from ludus.callbacks.selection import Judge
from ludus.callbacks.signals import stopping
from ludus.callbacks.snapshot import Snapshot
from ludus.data import layout
from ludus.data.condition import columns_of, word
from ludus.data.cuts import WHOLE, Cuts
from ludus.data.form import Form
from ludus.data.load import Data
from ludus.data.load import load as load_data
from ludus.data.locate import Source
from ludus.data.sampler import Sampler
from ludus.data.told import rows_with
from ludus.doctor.findings import findings
from ludus.doctor.watch import Doctor
from ludus.errors import Diverged, Interrupted, Lost, UserError
from ludus.figures.plane import drawable, plane
from ludus.game import Batch, Encodes, Game, Labels, Recognises
from ludus.inference import labels
from ludus.inference.forecast import forecast
from ludus.inference.labels import Labelled
from ludus.metrics.labels import Temperature
from ludus.networks.decoders import Decoder
from ludus.report.page import Section, page
from ludus.runs import folder, journal, store
from ludus.runs.journal import Journal
from ludus.terminal import duration, say
from ludus.trainer import Trainer

if TYPE_CHECKING:
    from ludus.run import Run

ARRAY = "array in memory"  # stands in a recipe for data that were handed over in Python
SHOWN = 64  # examples kept for pictures
CONDITIONS = 4096  # rows of conditions kept, to draw from when none is asked for


def read_data(recipe: dict, array: Any = None, conditions: Any = None) -> Data:
    """The data of a recipe; arrays in memory stand in for its texts."""
    section = recipe.get("data", {})
    source, condition = section.get("source"), section.get("condition")
    if source is None and array is None:
        raise UserError("no data: give --data x.npy, x.h5:/path, mnist, digits, ring, ... (`ludus inspect` looks)")
    if (source == ARRAY and array is None) or (condition == ARRAY and conditions is None):
        raise UserError("this run was trained on an array in memory: hand it over again, data=array")
    return load_data(
        source if array is None else array,
        condition if conditions is None else conditions,
        recipe.get("seed", 0),
        **recipes.options(recipe, "data"),
    )


def rows_of(run: "Run", place: Source, labels: Source | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of other data, cut as those were that a run was trained on, and what is told of each."""
    section = run.recipe.get("data", {})
    cuts = Cuts(*(section.get(key, default) for key, default in WHOLE._asdict().items()))
    return rows_with(place, labels, cuts, layout.to_user(np.empty((0, *run.form.shape)), run.form.axes).shape[1:])


def prepare(path: Path, recipe: dict, data: Data) -> dict:
    """Writes what a new run folder begins with, and gives the recipe, with what the data have decided."""
    rows = np.random.default_rng(0).permutation(len(data.x))
    examples = {"x": data.x[rows[:SHOWN]]} | conditions_kept(data, rows) | data.pixels
    examples = {name: np.ascontiguousarray(each) for name, each in examples.items()}  # saved as they lie in memory
    folder.write(path / "examples.safetensors", safetensors.numpy.save(examples))
    unknown = data.c is not None and bool(np.isnan(data.told).any())
    kept = {"form": data.form.to_json(), "fingerprint": data.fingerprint, "notes": data.notes, "unknown": unknown,
            "blocks": data.stream and data.stream.blocks}  # fmt: skip
    folder.write(path / "data.json", json.dumps(kept, indent=1))
    order = {} if data.stream is None else {"data.window": data.stream.blocks.window}
    recipe = recipes.nest({"data.held_out_hash": data.held_out_hash} | order, recipe)
    folder.write(path / "recipe.toml", recipes.text(recipe))
    return recipe


def conditions_kept(data: Data, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Those of these rows of x, and of others where x are but some of what is trained on."""
    if data.c is None:
        return {}
    c = data.c[rows[:CONDITIONS]]
    others = [] if data.stream is None else np.random.default_rng(0).permutation(data.n)[: CONDITIONS - len(c)]
    return {"c": np.concatenate([c, data.told[others]]) if len(others) else c}


def clear(path: Path) -> None:
    """Removes what `prepare` wrote, and the folder if nothing else is in it."""
    for name in ("examples.safetensors", "data.json", "recipe.toml", "metrics.jsonl"):
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()


def kept_data(path: Path) -> dict:
    """data.json of a run, and its examples under "examples"."""
    try:
        kept = json.loads((path / "data.json").read_text(encoding="utf-8"))
        examples = safetensors.numpy.load_file(path / "examples.safetensors")
        form = replace(Form.from_json(kept["form"]), mask=examples.get("mask"))
        return kept | {"form": form, "examples": examples, "fingerprint": kept["fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise UserError(f"data.json or examples.safetensors of {path} is missing or damaged ({error})") from None


def label_temperatures(run: "Run", data: Data) -> None:
    """Fits the temperatures of a complete run to the labels that are held out, and keeps them as labels.json."""
    if not isinstance(run.game, Labels):
        return
    c = run.form.condition
    found = labels.temperatures(c, run.labels_of(data.held_out_x), data.held_out_c) if len(data.held_out_x) else []
    found = found or [Temperature(why="no row was held out") for column in c.columns if column.labels]
    for each in found:
        say(str(each))
    kept = {"turn": run.turn, "temperatures": [each._asdict() for each in found]}
    folder.write(run.folder / "labels.json", json.dumps(kept, indent=1))


def kept_labels(path: Path) -> dict:
    """labels.json of a run; nothing where it was not written."""
    try:
        return json.loads((path / "labels.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"labels.json of {path} is damaged ({error}): delete it, and do without calibration") from None


def check_labels(recipe: dict, data: Data) -> None:
    """Raises UserError where a method learns classes, and the training rows hold fewer than two labels of one."""
    if recipes.METHODS[recipe["method"]["name"]].needs != "classes" or data.c is None:
        return
    for label, n in zip(data.form.condition.columns[0].labels, np.nansum(data.told, 0)):
        if n < 2:
            raise UserError(f"class {label} has {n:.0f} labelled rows to train on, two at least are needed: give more "
                            "labels, or hold none out, --set data.held_out=0")  # fmt: skip


def same_data(path: Path, data: Data) -> None:
    """Raises UserError if the data are not those that the run began with."""
    kept = kept_data(path)
    if kept["fingerprint"] != data.fingerprint:
        raise UserError(
            f"{data.form.name} has changed since {path} began (SHA-256 {kept['fingerprint'][:12]} then, "
            f"{data.fingerprint[:12]} now): put the old data back, or begin a new run"
        )


def same_order(path: Path, data: Data) -> None:
    """Raises UserError where the rows would come in another order than that in which a run began."""
    began, now = kept_data(path).get("blocks"), data.stream and list(data.stream.blocks)
    if now and not began:
        raise UserError(f"{path} began with all of {data.form.name} in memory, and they do not fit now: give more, or "
                        "begin a new run, which reads them in shuffled blocks")  # fmt: skip
    if began != now:
        raise UserError(f"{data.form.name} is stored in other pieces than when {path} began, so that its rows would "
                        "come in another order: put the old file back, or begin a new run")  # fmt: skip


def device_of(name: str) -> torch.device:
    """"auto" is the accelerator, if there is one that works."""
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}; try --device auto") from None


def play(path: Path, recipe: dict, data: Data, modules: dict[str, nn.Module] | None, steps: int | None = None) -> None:
    """Plays a run to its end; if it diverges, once more from the last good checkpoint, half the rates, reseeded."""
    event = ""
    if steps:  # the clock has no say any more
        recipe = {key: value for key, value in recipe.items() if key != "plan"}
    while True:
        checkpoint = _restored(path)
        trainer = trainer_of(path, recipe, data, modules)
        if not checkpoint:  # said once the run can begin: a refusal is one line
            _begin(path, recipe, trainer, data)
        if checkpoint:
            trainer.load({name: torch.from_numpy(t) for name, t in checkpoint.tensors.items()}, checkpoint.state)
            trainer.steps = steps or trainer.steps
            say(f"{event}going on from turn {trainer.turn:,}")
        if event:
            _note(path, {"turn": trainer.turn, "event": f"{event}back to turn {trainer.turn:,}"})
        try:
            with stopping(trainer), memory.kept(), contextlib.closing(trainer.sampler):
                trainer.run()
            break
        except Lost:  # before anybody had moved in that turn
            next(each for each in trainer.callbacks if isinstance(each, Checkpoint)).save(trainer)
            raise
        except Diverged as error:
            if recipe.get("rollbacks", 0):
                _note(path, {"turn": trainer.turn, "event": str(error), "diverged": True})
                raise Diverged(
                    f"{error}, after a rollback too; try a lower --lr, a stronger penalty, or another method. "
                    f"The last good checkpoint is in {path}"
                ) from None
            event = f"{error}: learning rates halved, new seed, "
            recipe = recipe | {"rollbacks": 1}
            folder.write(path / "recipe.toml", recipes.text(recipe))
    if trainer.turn < trainer.steps:
        handed = modules or ARRAY in recipe.get("data", {}).values()
        way = f"ludus.resume({str(path)!r}, ...) with what you handed over" if handed else f"`ludus resume {path}`"
        raise Interrupted(f"stopped at turn {trainer.turn:,} of {trainer.steps:,}; {way} goes on")
    recipe = {key: value for key, value in recipe.items() if key != "plan"}  # what was planned is now known
    folder.write(path / "recipe.toml", recipes.text(recipes.nest({"trainer.steps": trainer.steps}, recipe)))


def _begin(path: Path, recipe: dict, trainer: Trainer, data: Data) -> None:
    """What is said of the data, and of what to expect."""
    for note in data.notes:
        say(note)
    annealed = recipe.get("annealing", {}).get("values", {})
    _, beta = annealed.get("beta", (None, None))
    expected = "" if "capacity" in annealed else forecast(trainer.game, torch.from_numpy(data.x), beta)
    if expected:
        say(expected)
        _note(path, {"turn": 0, "event": expected})


def _note(path: Path, row: dict) -> None:
    with Journal(path / "metrics.jsonl") as metrics:
        metrics.append(row)


def _restored(path: Path) -> store.Checkpoint | None:
    """The newest checkpoint that verifies, with metrics.jsonl cut at its turn; None before the first."""
    if not store.turns(path):
        return None
    checkpoint = store.load(path)
    for note in checkpoint.skipped:
        say(f"checkpoint {note}: passed over")
    journal.cut(path / "metrics.jsonl", checkpoint.turn)
    return checkpoint


def trainer_of(path: Path, recipe: dict, data: Data, modules: dict[str, nn.Module] | None) -> Trainer:
    """The trainer of a complete recipe, with everything that watches it."""
    device, seed = device_of(recipe["device"]), recipe["seed"]
    with seeds.forked(device, seed):
        game = recipes.build(recipe, data.form, modules, data.pixels).to(device)
    check_labels(recipe, data)
    x, c = torch.from_numpy(data.x).to(device), None if data.c is None else torch.from_numpy(data.c).to(device)
    check_support(game, x, data.form.name, data.rows)
    if data.form.kind == "images":
        game, x = game.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    whole = c if data.stream is None or c is None else torch.from_numpy(data.told).to(device)
    sampler = Sampler(x, whole, seed, data.stream, **recipes.options(recipe, "sampler"))
    held_x, held_c = data.held_out_x, data.held_out_c
    held = Batch(torch.from_numpy(held_x).to(device), None if held_c is None else torch.from_numpy(held_c).to(device))
    averaging = Averaging(game, **recipes.options(recipe, "averaging"))
    metrics = path / "metrics.jsonl"
    blind = "generator" in recipes.METHODS[recipe["method"]["name"]].blind
    told = None if blind else c  # else it had to respond to c
    doctor = Doctor(metrics, Batch(x, told), held, say, **recipes.options(recipe, "doctor"))
    judge = Judge(averaging.game, x, Batch(held.x) if blind else held, sampler.binarise)
    callbacks = [  # what a turn changes comes before what saves it; a plan is tried out once the start is saved
        Annealing(**recipes.options(recipe, "annealing")),
        ADA(**recipes.options(recipe, "ada")),
        averaging,
        doctor,
        Log(metrics, lambda: doctor.entry),
        Snapshot(lambda turn: picture(path, turn, averaging.game, data), **recipes.options(recipe, "snapshot")),
        Checkpoint(path, say, judge, **recipes.options(recipe, "checkpoint")),
        Plan(say, **recipes.options(recipe, "plan")),
        Progress(),
    ]
    return Trainer(game, sampler, callbacks, seed, recipe.get("rollbacks", 0), **recipes.options(recipe, "trainer"))


def check_support(game: Game, x: torch.Tensor, name: str, rows: Sequence[int]) -> None:
    """Raises UserError for the first number that the decoder's law cannot give; rows: where x stood in the source."""
    for decoder in (part for part in game.children() if isinstance(part, Decoder)):
        if found := decoder.misfit(x):
            (row, *where), why = found
            raise UserError(f"{name}: row {rows[row]}, at {tuple(where)}: {why}: choose another decoder.likelihood")


def picture(path: Path, turn: int, game: Game, data: Data) -> None:
    """samples/00000300.png: the averaged game's samples from latents that stay the same, on the real data's scale.

    Where a decoder has a law of each pixel, its mean. Of points in the plane also the discriminator, and where the
    generator's gradient would have its samples go.
    """
    device = next(game.parameters()).device
    n = 16 * SHOWN if data.form.kind == "points" else SHOWN
    rows = np.arange(n) % len(data.x)
    with seeds.measuring(game, seed=0):
        c = None if data.c is None else torch.from_numpy(data.c[rows]).to(device)
        if drawable(game, data.form):
            figure = plane(game, data.form, Batch(torch.from_numpy(data.x[rows]).to(device), c))
        else:
            generated = data.form.to_user(game.decode(game.prior.sample(n, c), c).cpu().numpy())
            figure = drawing(data.form, generated, data.form.to_user(data.x[rows]))
    (path / "samples").mkdir(exist_ok=True)
    folder.write(path / "samples" / f"{turn:08d}.png", figures.png(figure))


def drawing(form: Form, generated: np.ndarray, real: np.ndarray | None):
    """A figure of samples, in the user's units: images on the real ones' scale, points over the real ones."""
    if form.kind == "points":
        return figures.points(({} if real is None else {"real": real}) | {"generated": generated}, form.columns)
    scale = generated if real is None else real
    limits = figures.limits_of(form.pictures(scale))
    return figures.grid(form.pictures(generated), limits=limits, label=form.shown)


def comparison(form: Form, arrays: dict[str, np.ndarray]):
    """A figure of the user's rows by name, the first on whose scale the others are drawn."""
    if form.kind == "points":
        return figures.points(arrays, form.columns)
    return figures.side_by_side({name: form.pictures(array) for name, array in arrays.items()}, label=form.shown)


def walk(
    run: "Run", which: list[int] | None, width: float | None, steps: int | None, c: str | None, film: bool,
    along: str | None,
) -> list:  # fmt: skip
    """Figures of a traversal: a film's frames, each with all latents at one step; or one, a row for each latent.

    along: a kind of `Run.directions`, to walk along these in place of latents. width: else 2, or 3 standard deviations.
    Where there are codes, and no latents are named, these are walked through, in as many steps as a category has
    classes.
    """
    if run.form.kind == "points":
        raise UserError(f"{run.form.name} are points, not pictures to be walked through: use run.traverse in Python")
    z, busiest = example(run)
    if along is None and which is None and isinstance(run.game, Recognises):
        if width is not None:
            raise UserError("codes are taken through all that they may be: leave out --width, or name --latents")
        titles, walks = run.game.prior.walk(torch.from_numpy(z), steps or max(run.game.prior.categories, default=10))
        found = run.decode(walks.flatten(0, 1).numpy(), c)
        return _walked(run, found.reshape(*walks.shape[:2], *found.shape[1:]), titles, film)
    steps = steps or 15
    if along is None:
        which = busiest if which is None else which
        names, width = [f"z{j}" for j in which], 2.0 if width is None else width
    else:
        kept = run.directions(along, c=None if along == "pca" else c)
        which, names = kept.vectors, [f"{along} {j}" for j in range(len(kept.vectors))]
        width = 3 * kept.spread if width is None else width
        say(f"change of the picture along each: {', '.join(f'{each:.3g}' for each in kept.effect)}; "
            f"along a random direction {kept.control[0]:.3g} ± {kept.control[1]:.2g}")  # fmt: skip
    return _walked(run, run.traverse(z, which, steps, width, c), [[name] * steps for name in names], film)


def _walked(run: "Run", found: np.ndarray, titles: list[list[str]], film: bool) -> list:
    """Figures of walks (walks, steps, ...) in the user's units; titles: of each step of each."""
    steps = found.shape[1]
    found = np.stack([run.form.pictures(each) for each in found])
    limits = figures.limits_of(found if run.real is None else run.form.pictures(run.real))
    if film:
        return [figures.grid(found[:, i], limits=limits, titles=[each[i] for each in titles], label=run.form.shown)
                for i in range(steps)]  # fmt: skip
    flat = found.reshape(-1, *found.shape[2:])
    new = [each[i] if not i or each[i] != each[i - 1] else "" for each in titles for i in range(steps)]
    return [figures.grid(flat, limits=limits, columns=steps, titles=new, label=run.form.shown)]


def example(run: "Run", most: int = 12) -> tuple[np.ndarray, list[int]]:
    """The code of an example, and the latents that carry the most, at most a dozen; a draw where nobody encodes, or
    there is no example."""
    with seeds.measuring(run.game, seed=0):
        if not isinstance(run.game, Encodes) or run.real is None:
            z = run.game.prior.sample(1)[0].numpy()
            return z, list(range(min(len(z), most)))
        x, c = torch.from_numpy(run.examples["x"]), run.examples.get("c")
        mean = run.game.posterior(x, None if c is None else torch.from_numpy(c[: len(x)])).mean.numpy()
    return mean[0], [int(j) for j in np.argsort(-mean.var(0))[:most]]


def truth(run: "Run", raw: np.ndarray, n: int, name: str) -> np.ndarray:
    """The user's labels or values of n rows, encoded (n, K)."""
    if run.form.condition is None:
        raise UserError(f"condition {name}: this run on {run.form.name} was trained without one")
    given, known = columns_of(raw, n, name), run.form.condition.columns
    if len(given) != len(known):
        raise UserError(f"condition {name} has {len(given)} columns, this run was trained on {len(known)}")
    return run.form.condition.encode_rows(list(given.values()))


def verdict(run: "Run", found: Labelled, truth: np.ndarray | None) -> list[str]:
    """What is said of labels: whether they are calibrated, and how good they are where the truth (n, K) is known."""
    lines = [str(each) for each in found.temperatures]
    if truth is None:
        return lines or ["values: nothing is known of their error without --condition"]
    if rms := labels.errors(run.form.condition, found, truth):
        lines.append(f"root mean square error {', '.join(f'{each:.4g}' for each in rms)}")
    for name, v in labels.verdicts(run.form.condition, found, truth) if found.probabilities is not None else ():
        lines += [
            f"{name}error rate {100 * v.error[0]:.2f} ± {100 * v.error[1]:.2f} % of {v.n:,} known labels",
            f"{name}log-loss {v.nll[0]:.4f} ± {v.nll[1]:.4f} nats",
            f"{name}calibration error (ECE) {100 * v.ece[0]:.2f} ± {100 * v.ece[1]:.2f} %; true probabilities would "
            f"show {100 * v.floor[0]:.2f} ± {100 * v.floor[1]:.2f} % of as many",
        ]
    return lines


def classes(run: "Run") -> np.ndarray:
    """The names of the probabilities, in their order."""
    return np.array([str(label) for column in run.form.condition.columns for label in column.labels])


def unsure(run: "Run", x: np.ndarray, found: Labelled, truth: np.ndarray | None):
    """A figure of the 16 pictures that are labelled least surely, then the 16 most surely, each with its label and its
    confidence; where the true one is another, it stands in brackets."""
    if run.form.kind == "points" or found.confidence is None or found.labels.ndim > 1:
        raise UserError("a picture shows images by the class of one column: write the others with --out labels.h5")
    order, names = np.argsort(found.confidence, kind="stable"), [word(each)[:12] for each in found.labels]
    rows = order if len(x) <= 32 else np.concatenate([order[:16], order[-16:]])
    titles = [f"{names[row]}  {found.confidence[row]:.2f}" for row in rows]
    if truth is not None:
        true = [word(each)[:12] for each in run.form.condition.decode(truth)]
        other = [not np.isnan(truth[row, 0]) and true[row] != names[row] for row in rows]
        titles = [f"{title}  ({true[row]})" if wrong else title for title, row, wrong in zip(titles, rows, other)]
    return figures.grid(run.form.pictures(x[rows]), titles=titles, columns=4, label=run.form.shown)


def section(run: "Run") -> Section:
    """What the report says of a run."""
    n = 5000 if run.form.kind == "points" else SHOWN
    real, generated, again = run.real, run.sample(n, noise=False), None
    if run.form.kind == "images":
        again = _reconstructed(run) if isinstance(run.game, Encodes) and real is not None else None
        real = None if real is None else run.form.pictures(real)
        generated = run.form.pictures(generated)
    rows = journal.read(run.folder / "metrics.jsonl")
    events, found = [row["event"] for row in rows if "event" in row], findings(rows)
    rows = [row for row in rows if "losses" in row]
    notes = [*run.notes, *events, *run.skipped]
    toml, commands = recipes.text(run.recipe), _commands(run)
    return Section(run.folder.name, facts(run), toml, rows, real, generated, notes, commands, found, again,
                   _quality(run), run.form.grid, run.form.signal, run.form.shown, run.form.columns)  # fmt: skip


def facts(run: "Run") -> list[tuple[str, str]]:
    """What was run, for how long, on what."""
    seconds, batch = max(run.numbers["seconds"], 1e-9), run.recipe["sampler"]["batch"]
    return [
        ("method", run.recipe["method"]["name"]),
        ("data", run.form.name),
        ("turns", f"{run.turn:,} of {run.numbers['steps']:,}, batch {batch}"),
        ("time", f"{duration(seconds)}, {run.turn * batch / seconds:,.0f} images/s"),
        ("parameters", ", ".join(f"{name} {_count(p.owns)}" for name, p in run.game.players.items())),
        ("hardware", f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"),
    ]


def kept_evaluation(path: Path) -> dict:
    """evaluation.json of a run; nothing where it was not evaluated."""
    try:
        kept = json.loads((path / "evaluation.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"evaluation.json of {path} is damaged ({error}): delete it, or evaluate again") from None
    if not isinstance(kept, dict) or kept.get("format") != 1:
        raise UserError(f"evaluation.json of {path} is of a format that this ludus does not read: evaluate again")
    return kept


def _quality(run: "Run") -> str:
    """What the last evaluation of a run found, if it was of this turn."""
    kept = kept_evaluation(run.folder)
    if kept.get("turn") != run.turn:
        return ""
    command = escape(f"ludus evaluate {shlex.quote(str(run.folder))}")
    more = f'<p class="said">A quick look at the end of the run: <code>{command}</code> looks closely.</p>'
    from ludus.report.evaluation import brief  # takes a second, which most commands do without

    return brief(kept) + (more if kept.get("quick") else "")


def _reconstructed(run: "Run") -> np.ndarray:
    """What decoding makes of the codes of the examples, as pictures."""
    x, c = torch.from_numpy(run.examples["x"]), run.examples.get("c")
    c = None if c is None else torch.from_numpy(c[: len(x)])
    with seeds.measuring(run.game, seed=0):
        again = run.game.decode(run.game.posterior(x, c).mean, c).numpy()
    return run.form.pictures(run.form.to_user(again))


def _commands(run: "Run") -> list[tuple[str, str]]:
    """How to go on; what was handed over in Python is handed over again there."""
    folder, steps = str(run.folder), 2 * run.numbers["steps"]
    own = [f"{role}={role}" for role in recipes.ROLES if run.recipe.get(role, {}).get("name") == recipes.CUSTOM]
    arrays = [f"{ours}={ours}" for ours, key in (("data", "source"), ("condition", "condition"))
              if run.recipe["data"].get(key) == ARRAY]  # fmt: skip
    commands = [("in Python", f"ludus.load({', '.join([repr(folder), *own])}).sample(64)")]
    if own or arrays:
        again = ", ".join([repr(folder), f"steps={steps}", *arrays, *own])
        return [*commands, ("train on", f"ludus.resume({again})")]
    draw = f"ludus sample {shlex.quote(folder)} -n 64 --out samples.npy"
    return [("draw samples", draw), ("train on", f"ludus resume {shlex.quote(folder)} --steps {steps}"), *commands]


def _count(modules) -> str:
    return f"{sum(p.numel() for module in modules for p in module.parameters()):,}"


def report(run: "Run") -> Path:
    """Writes report.html of a run."""
    path = run.folder / "report.html"
    title = f"{run.recipe['method']['name']} on {run.form.name}"
    folder.write(path, page(title, [section(run)]))
    return path
