"""Is a run any good? Its samples against rows that it was not trained on: gathered, measured, and written down."""

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ludus import figures, memory, seeds, session, simulate
from ludus.data import layout, locate
from ludus.data.load import Data
from ludus.data.rows import highest
from ludus.data.sampler import binarised
from ludus.data.sources import array
from ludus.data.told import conditions_of
from ludus.doctor.findings import findings
from ludus.errors import UserError
from ludus.evaluation.evaluation import Evaluation, evaluation
from ludus.evaluation.sets import FEWEST, Rows, choose
from ludus.features.extractor import Extractor
from ludus.features.observables import Observable
from ludus.features.worlds import own as declared
from ludus.game import Decodes, Encodes
from ludus.report import comparison
from ludus.report import evaluation as report
from ludus.report.drawings import About, drawn
from ludus.runs import best, folder, journal
from ludus.terminal import counting, say

if TYPE_CHECKING:
    from ludus.run import Run

NAME = "evaluation"  # of the files and of the folder with figures
STEPS = 11  # of an evaluation, about: what its progress counts
QUICK = 1000  # images that the end of a run is judged by
PICTURES, WALKED = 16, 8  # reconstructions shown; latents walked along


def of_run(
    run: "Run",
    data: Data | None,
    against: Rows | None = None,
    n: int = 10_000,
    seed: int = 0,
    *,
    own: Sequence[Extractor] = (),
    looked_at: Sequence[Observable] = (),
    noise: bool = True,
    quick: bool = False,
) -> tuple[Evaluation, About]:
    """What `evaluation` finds of a run, and what else is said of it.

    data: those that it was trained on, with what was held out of them; None where they are gone.
    against: other real rows, in the network's range, in place of those held out.    noise: as for `Run.sample`.
    """
    train = None if data is None else Rows(data.x, data.c)
    held = against if against is not None else Rows(data.held_out_x, data.held_out_c) if len(data.held_out_x) else None
    if run.recipe["sampler"].get("binarise"):
        train, held = (rows and rows._replace(x=_binarised(rows.x, seed)) for rows in (train, held))
    world = world_of(run)
    shape = run.form.shape if run.form.kind == "points" else (*run.form.shape[1:], run.form.shape[0])

    def draw(c: np.ndarray | None, n: int) -> Rows:
        c = c if run.told(c) else None
        return Rows(run.draws(n, c, seed, noise=noise), c)

    with threadpool_limits(1), counting(STEPS, "steps") as count:  # many small products: threads wait for each other
        done = iter(range(1, 10 * STEPS))

        def step(what: str) -> None:
            memory.give_back()  # what the last step needed: a tenth of a gigabyte at 10,000 digits
            count(min(next(done), STEPS - 1), what)

        try:
            sets = choose(run.form, train, held, n, draw, seed)
        except UserError as error:
            raise UserError(f"{error}{_room(data)}") from None
        found = evaluation(
            sets, own=own, looked_at=[*declared(world, shape), *looked_at], seed=seed, quick=quick, step=step,
        )  # fmt: skip
        memory.give_back()
        count(STEPS)
    rows = journal.read(run.folder / "metrics.jsonl")
    notes = [f"the checkpoint was chosen by held-out rows ({best.NAME}): on these it looks a little too good"] if (
        run.chosen and against is None) else []
    if "mask" in run.pixels:
        notes.append("masked pixels hold the mean of the others, in real and in generated images alike")
    if run.form.scaling.bend == "maximum":
        notes.append("images are compared as fractions of their own maximum, which is not modelled")
    if run.form.scaling.clips:
        notes.append(f"real images were cut off {run.form.scaling.limits}, as those trained on: data.clip")
    if data is not None and data.stream is not None:
        notes.append(f"memorisation was tested against {len(data.x):,} of the {data.n:,} rows trained on, which are "
                     "larger than memory: copies of the others would go unseen")  # fmt: skip
    found = replace(found, notes=(*found.notes, *notes))
    about = About(
        f"Is it any good? {run.recipe['method']['name']} on {run.form.name}", run.folder.name, run.turn,
        _facts(run, found, data, held, against, noise, seed), world, findings(rows), rows,
    )  # fmt: skip
    return found, about


def check_out(out: Path) -> None:
    """Raises UserError where the page cannot be written, before the work is done."""
    if not out.is_dir():
        raise UserError(f"--out {out}: there is no such folder")
    try:
        (out / NAME).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out / NAME} ({error.strerror}): choose another --out") from None
    folder.probe(out / NAME)


def real_rows(run: "Run", data: Any, against: Any, condition: Any) -> tuple[Data | None, Rows | None]:
    """What a run was trained on, if it can still be read, and the rows that it is to be compared with, if any."""
    held = None
    if against is not None:
        x, raw = _rows(run, against, condition)
        c = None if raw is None else session.truth(run, raw, len(x), "of --against")
        held = Rows(run.rows(x, against if isinstance(against, str) else "x").numpy(), c)
    elif condition is not None:
        raise UserError("a condition is of the rows to compare with: give these too, --against")
    arrays = data if isinstance(data, tuple) else (data, None)
    try:
        known = session.read_data(run.recipe, *arrays)
        session.same_data(run.folder, known)
    except UserError as error:
        if held is None:
            raise UserError(f"{error}; or give rows to compare with, --against") from None
        say(f"what the run was trained on is not at hand, so that copies cannot be told: {error}")
        known = None
    return known, held


def _rows(run: "Run", against: Any, condition: Any) -> tuple[Any, Any]:
    """Rows and their conditions, arrays or what texts name; those of a text are cut, and weak ones and those with gaps
    dropped, as those that the run was trained on."""
    text, labels = isinstance(against, str), isinstance(condition, str)
    if labels and not text:
        condition = conditions_of(array(against), locate.parse(condition)).read(())
    if not text:
        return against, condition
    x, told = session.rows_of(run, *locate.check(against, condition if labels else None))
    told = told if labels else condition
    section = run.recipe["data"]
    weakest, why = section.get("weakest"), {}
    live = None if run.form.mask is None else layout.to_user(run.form.mask[None], run.form.axes)[0]
    seen = x.reshape(len(x), -1) if live is None or live.shape != x.shape[1:] else x[:, live]
    if section.get("nan") == "drop":
        why["with values that are not finite"] = ~np.isfinite(seen).all(1)
    if weakest is not None:
        why[f"without a value above {weakest:g}"] = highest(seen) <= weakest
    kept = np.ones(len(x), bool)
    for what, bad in why.items():
        say(f"{against}: {bad.sum():,} of {len(x):,} rows {what} are not compared with")
        kept &= ~bad
    if not kept.any():
        raise UserError(f"{against}: no row is left to compare with")
    return (x, told) if kept.all() else (x[kept], None if told is None else np.asanyarray(told)[kept])


def write(run: "Run", found: Evaluation, about: About, out: Path) -> list[Path]:
    """evaluation.json, .html and .md in a folder, and evaluation/ with PNG, SVG and CSV of each figure; gives the paths
    of the first three."""
    about = _with_latents(run, found, about)
    pictures = drawn(found, about)
    for old in (each for each in (out / NAME).glob("*") if each.suffix in (".png", ".svg", ".csv")):
        old.unlink()  # of an earlier page, which may have had other figures
    for each in (each for part in pictures.values() for each in part):
        folder.write(out / NAME / f"{each.name}.png", each.png)
        folder.write(out / NAME / f"{each.name}.svg", figures.svg(each.figure))
        folder.write(out / NAME / f"{each.name}.csv", _csv(each.table))
    kept = {
        f"{NAME}.html": report.page(found, about, pictures),
        f"{NAME}.md": report.markdown(found, about, pictures, NAME),
        f"{NAME}.json": _json(report.as_json(found, about)),
    }
    for name, content in kept.items():
        folder.write(out / name, content)
    return [out / name for name in kept]


def at_end(run: "Run", data: Data, *, mode: Literal["quick", "off"] = "quick") -> None:
    """What a run is judged by when it ends, kept as evaluation.json, which report.html shows; said in a line each."""
    if mode == "off":
        return
    if len(data.held_out_x) < FEWEST:
        say(f"not evaluated: {len(data.held_out_x)} rows are held out, and at least {FEWEST} are needed{_room(data)}")
        return
    try:
        found, about = of_run(run, data, n=QUICK, quick=True)
    except UserError as error:  # the run is trained, and stays so
        say(f"not evaluated: {error}")
        return
    folder.write(run.folder / f"{NAME}.json", _json(report.as_json(found, about)))
    for line in report.verdict_lines(found):
        say(line)


def _room(data: Data | None) -> str:
    """What else is said of too few rows, where they are as many as memory has room for."""
    if data is None or data.stream is None:
        return ""
    return "; they are as many as data.memory had room for: give more, --set data.memory=, to a new run"


def world_of(run: "Run") -> str:
    """The world of the library that a run's data are of, as far as their file says so; else nothing."""
    source = run.recipe.get("data", {}).get("source", session.ARRAY)
    if source == session.ARRAY:
        return ""
    try:
        place = locate.parse(source)
    except UserError:  # the file is gone
        return ""
    if place.kind == "world":
        return place.path
    return simulate.exact_world(Path(place.path)) if place.kind == "hdf5" else ""


def _binarised(x: np.ndarray, seed: int) -> np.ndarray:
    with seeds.forked(torch.device("cpu"), seed):
        return binarised(torch.from_numpy(x)).numpy()


def _facts(
    run: "Run", found: Evaluation, data: Data | None, held: Rows | None, against: Rows | None, noise: bool, seed: int
) -> list[tuple[str, Any]]:
    part = "" if data is None or data.stream is None else f", {len(data.x):,} of them looked at"
    rows = {"trained on": data and f"{data.n:,} rows{part}",
            "given to compare with" if against is not None else "held out": held and f"{len(held.x):,} rows"}
    low, high = float(found.sets.reference.x.min()), float(found.sets.reference.x.max())
    made = "draws of p(x|z)" if noise else "means E[x|z]"
    decodes = isinstance(run.game, Decodes) and hasattr(run.game, "decoder")
    return [
        *session.facts(run),
        *((name, each) for name, each in rows.items() if each is not None),
        ("compared", f"{found.sets.n:,} generated with as many real, floors: {len(found.sets.chosen)}" +
                     (f"; {made}" if decodes else "")),
        ("shape", f"{' × '.join(map(str, run.form.shape))}, values {low:.4g} to {high:.4g}"),
        ("seed", seed),
        *((f"features: {each.name}", _identity(each.identity)) for each in found.families),
    ]  # fmt: skip


def _identity(identity: dict[str, Any]) -> str:
    kept = {key: value[:12] if key == "sha256" else value for key, value in identity.items() if key != "observables"}
    return "; ".join(f"{key} {value}" for key, value in kept.items())


def _with_latents(run: "Run", found: Evaluation, about: About) -> About:
    """With reconstructions and a walk through the latents, where the method has such, of images."""
    if run.form.kind != "images":
        return about
    kept = found.sets.reference.at(slice(0, PICTURES))
    x = run.seen(layout.to_user(np.moveaxis(kept.x, -1, 1), run.form.axes))
    c = run.form.condition.decode(kept.c) if run.told(kept.c) else None
    again = walk = None
    with contextlib.suppress(UserError):  # an encoder whose stage has not begun, or a condition that is not known
        if isinstance(run.game, Encodes):
            again = run.form.pictures(x), run.form.pictures(run.reconstruct(x, c))
    with contextlib.suppress(UserError):
        if isinstance(run.game, Decodes):
            z, which = session.example(run, WALKED)
            walks = run.traverse(z, which, c=None if c is None else c[:1])
            walk = np.stack([run.form.pictures(each) for each in walks])
    return replace(about, reconstructed=again, walk=walk)


def _csv(table: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column.tolist() for column in table.values())))
    return text.getvalue()


def _json(kept: dict) -> str:
    return json.dumps(kept, indent=1, ensure_ascii=False) + "\n"


def compare(paths: Sequence[Path]) -> tuple[list[list[str]], list[str], str]:
    """Several evaluated runs: a table under a row of headings, what to know of it, and a page with its figure."""
    kept = {}
    for path in paths:
        found = session.kept_evaluation(path)
        if not found or found.get("quick"):
            raise UserError(f"{path} was not evaluated: `ludus evaluate {path}` comes first")
        kept[path.name if path.name not in kept else str(path)] = found
        if not all(s.get("value") is not None and s.get("floor") is not None for s in found.get("scores") or [{}]):
            raise UserError(f"evaluation.json of {path} lacks scores: `ludus evaluate {path}` writes it again")
    return comparison.table(kept), comparison.notes(kept), comparison.page(kept)
