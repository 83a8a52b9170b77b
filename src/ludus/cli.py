"""The command line. It answers what it can without importing torch, which takes seconds."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from ludus import recipe as recipes
from ludus import simulate as simulations
from ludus.errors import LudusError, UserError, unknown

UsageError = typer.BadParameter.__base__  # typer carries a click of its own, or leans on the installed one: ask typer

app = typer.Typer(
    name="ludus", no_args_is_help=True, rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Generative models of your own images.\n\n\b\n"
    "  ludus inspect scan.h5:/entry/data              what is in a file\n"
    "  ludus prepare scan.h5 --bin 4 --out small.h5   smaller, for large files\n"
    "  ludus train r3gan --data scan.h5:/entry/data   train on it\n"
    "  ludus sample runs/NAME -n 64 --out x.h5        draw, in the units of the file\n"
    "  ludus evaluate runs/NAME                       is it any good?\n"
    "  ludus resume runs/NAME --steps 20000           go on\n"
    "  ludus simulate ins -n 20000 --out ins.h5       neutron pictures whose truth is known\n\n"
    "Exit codes: 0 done, 1 the disk refused, 2 an input that cannot be used, 4 diverged, "
    "75 stopped by a signal and resumable, 130 interrupted before the first turn.",
)  # fmt: skip


def _folder(run: str) -> Path:
    """A run folder; one on the Hub is fetched."""
    if not run.startswith("hf://"):
        return Path(run)
    from ludus import hub

    return hub.fetch(run)


RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", parser=_folder, help="A run folder, or hf://user/name.", show_default=False)
]


@app.callback(invoke_without_command=True)
def top(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if show_version:
        print(f"ludus {version('ludus')}")
        raise typer.Exit


@app.command()
def train(
    method: Annotated[str | None, typer.Argument(help="See `ludus methods`; r3gan is a good start.")] = None,
    data: Annotated[str | None, typer.Option(help="x.npy, x.npz:key, x.h5:/path, mnist, digits, ring, ...")] = None,
    condition: Annotated[str | None, typer.Option(help="Labels or values: mnist:label, x.h5:/y, y.npy.")] = None,
    network: Annotated[str | None, typer.Option(help=f"{', '.join(recipes.NETWORKS)}.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Turns in all; else from the size of the data.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="As many turns as fit.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples a turn.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run; by default a new one under runs/.")] = None,
    channels: Annotated[str | None, typer.Option(help="Where the channel axis is: first, last or none.")] = None,
    nan: Annotated[str | None, typer.Option(help="NaN: drop the rows, mask the pixels, or fill=V.")] = None,
    panels: Annotated[str | None, typer.Option(help="Of volumes: axes whose every step is a row: energy.")] = None,
    tiles: Annotated[str | None, typer.Option(help="Of large frames: pieces as rows, 64x64.")] = None,
    weakest: Annotated[float | None, typer.Option(help="Rows with no value above it are dropped.")] = None,
    scaling: Annotated[str | None, typer.Option(help="minmax, standard, log1p, asinh, maximum or none.")] = None,
    clip: Annotated[str | None, typer.Option(help="Percentiles beyond which values are cut off: 0.1,99.9.")] = None,
    mask: Annotated[str | None, typer.Option(help="0 where there is no detector: x.npy, x.h5:/path.")] = None,
    doctor: Annotated[str | None, typer.Option(help="watch (the default), act (on the schedule) or off.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch MNIST if it is not here.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any argument.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe to start from (TOML), as every run keeps one.")] = None,
) -> None:
    """Train a method on your data.

    \b
      ludus train r3gan --data mnist --minutes 10
      ludus train gan --data frames.npy --set method.cost=minimax
      ludus train r3gan --data scan.h5:/images --condition scan.h5:/temperature
      ludus train r3gan --data scan.nxs --panels energy --weakest 0.5 --condition :energy
      ludus train wgan_gp --data ring --set generator.width=64 --set trainer.hold_above.discriminator=0.8
    """
    from ludus.data import locate

    more = {"channels": channels, "nan": nan, "panels": panels, "tiles": tiles, "weakest": weakest, "scaling": scaling,
            "clip": clip, "mask": mask, "download": download or None}  # fmt: skip
    more = {f"data.{key}": value for key, value in more.items()} | {"doctor.mode": doctor}
    draft = recipes.draft(
        method, data, condition, network, steps, minutes, batch, lr, seed, device,
        more | dict(map(recipes.parse, settings or [])), recipes.read(recipe) if recipe else None,
    )  # fmt: skip
    section = draft.get("data", {})
    if "source" not in section:
        raise UserError("no data: give --data x.npy, x.h5:/path, mnist, digits, ring, ... (`ludus inspect` looks)")
    locate.check(section["source"], section.get("condition"), section.get("download", False))
    from ludus import api

    print(api.start(draft, run).folder)


@app.command()
def resume(
    run: RunFolder,
    steps: Annotated[int | None, typer.Option(min=1, help="The new total of turns.")] = None,
) -> None:
    """Go on with a run exactly where it was."""
    _is_run(run)
    from ludus import api

    print(api.resume(run, steps).folder)


@app.command()
def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="x.nxs, x.h5, x.npy or x.png.", show_default=False)],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    condition: Annotated[str | None, typer.Option("-c", "--condition", help="A label or value, or 0.5,1.2.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same samples.")] = 0,
    turn: Annotated[str | None, typer.Option(help="Of a checkpoint, or best; else the newest.")] = None,
) -> None:
    """Draw samples in the units, shape and axis order of your data; a picture shows means, without pixel noise.

    \b
      ludus sample runs/NAME -n 1000 --out x.nxs     with the axes and units of your file
      ludus sample runs/NAME -n 64 -c 3 --out threes.png
    """
    _is_run(run)
    _writable(out, ".npy", ".h5", ".nxs", ".png")
    import numpy as np

    from ludus import api, session

    trained, picture = api.load(run, _turn(turn)), out.suffix == ".png"
    x = trained.sample(n, condition, seed, noise=not picture)
    if picture:
        _draw(out, session.drawing(trained.form, x, trained.real))
    else:
        arrays = {"images" if trained.form.kind == "images" else "points": x}
        if condition is not None:
            codes = trained.form.encode_condition(condition, n)
            arrays |= {} if np.isnan(codes).any() else {"conditions": trained.form.condition.decode(codes)}
        _write(out, arrays, trained.form, run=str(run), turn=trained.turn, seed=seed, condition=condition or "")


@app.command()
def encode(
    run: RunFolder,
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes: x.npy, x.h5:/path, ...")],
    out: Annotated[Path, typer.Option(help="z.h5.", show_default=False)],
    condition: Annotated[str | None, typer.Option(help="Labels or values of the same rows, as for train.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Also so many draws of q(z|x) for each row.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the draws.")] = 0,
) -> None:
    """Write what the encoder says of your data: the mean and standard deviation of q(z|x), a row for each of theirs.

    Of infogan the codes that it reads: the probabilities of each category, and the values.

    \b
      ludus encode runs/NAME scan.h5:/images --out z.h5
    """
    _is_run(run)
    _writable(out, ".h5")
    from ludus.game import Recognises

    trained, x, c = _opened(run, data, condition, out)
    if isinstance(trained.game, Recognises):
        if draws:
            raise UserError(f"--draws {draws}: codes are read as probabilities and values, and have no draws")
        found = trained.codes(x, c)
    else:
        q = trained.encode(x, c)
        found = {"mean": q.mean, "std": q.std} | ({"draws": q.sample(draws, seed)} if draws else {})
    _write(out, found, run=str(run), turn=trained.turn, data=data)


@app.command()
def reconstruct(
    run: RunFolder,
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes: x.npy, x.h5:/path, ...")],
    out: Annotated[Path, typer.Option(help="x.nxs or x.npy; x.png draws some beside the data.", show_default=False)],
    condition: Annotated[str | None, typer.Option(help="Labels or values of the same rows, as for train.")] = None,
) -> None:
    """Encode your data and decode them again: what is lost is what the latents do not hold.

    \b
      ludus reconstruct runs/NAME scan.h5:/images --out again.png
    """
    _is_run(run)
    _writable(out, ".npy", ".h5", ".nxs", ".png")
    trained, x, c = _opened(run, data, condition, out)
    if out.suffix == ".png":
        from ludus import session

        x, c = _shown(trained, x, c)
        _draw(out, session.comparison(trained.form, {"data": x, "reconstructed": trained.reconstruct(x, c)}))
    else:
        arrays = {"reconstructed": trained.reconstruct(x, c)}
        _write(out, arrays, trained.form, run=str(run), turn=trained.turn, data=data)


@app.command()
def edit(
    run: RunFolder,
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes: x.npy, x.h5:/path, ...")],
    to: Annotated[list[str], typer.Option(help="A label or value, or 0.5,1.2; several for a picture.")],
    out: Annotated[Path, typer.Option(help="x.nxs or x.npy; x.png draws some beside the data.", show_default=False)],
    condition: Annotated[str | None, typer.Option(help="Labels or values of the same rows, as for train.")] = None,
) -> None:
    """Change the condition of your data and keep all that z holds: encode them, and decode with another label.

    \b
      ludus edit runs/NAME scan.h5:/images --to 7 --out seven.npy
      ludus edit runs/NAME scan.h5:/images --to 3 --to 7 --out both.png
    """
    _is_run(run)
    _writable(out, ".npy", ".h5", ".nxs", ".png")
    if len(to) > 1 and out.suffix != ".png":
        raise UserError(f"--to {' --to '.join(to)}: several are for a picture, --out x.png; give one")
    trained, x, c = _opened(run, data, condition, out)
    if out.suffix == ".png":
        from ludus import session

        x, c = _shown(trained, x, c)
        edited = {f"as {each}": trained.edit(x, each, c) for each in to}
        _draw(out, session.comparison(trained.form, {"data": x} | edited))
    else:
        arrays = {"edited": trained.edit(x, to[0], c)}
        _write(out, arrays, trained.form, run=str(run), turn=trained.turn, data=data, to=to[0])


@app.command()
def invert(
    run: RunFolder,
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes: x.npy, x.h5:/path, ...")],
    out: Annotated[Path, typer.Option(help="z.h5; x.png draws some beside the data.", show_default=False)],
    condition: Annotated[str | None, typer.Option(help="Labels or values of the same rows, as for train.")] = None,
    restarts: Annotated[int, typer.Option(min=1, max=1000, help="Descents for each row, of which the best.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of where the descents start.")] = 0,
) -> None:
    """Search the latent whose picture is nearest to each of your data: no encoder is needed, and one helps.

    \b
      ludus invert runs/NAME scan.h5:/images --out z.h5
      ludus invert runs/NAME scan.h5:/images --out again.png
    """
    _is_run(run)
    _writable(out, ".h5", ".png")
    trained, x, c = _opened(run, data, condition, out)
    picture = out.suffix == ".png"
    if picture:
        x, c = _shown(trained, x, c)
    found = trained.invert(x, c, restarts, seed=seed)
    again = trained.decode(found.z, c)
    if picture:
        from ludus import session

        _draw(out, session.comparison(trained.form, {"data": x, "inverted": again}))
    else:
        arrays = {**found._asdict(), "reconstructed": again}
        _write(out, arrays, run=str(run), turn=trained.turn, data=data, seed=seed)


@app.command()
def label(
    run: RunFolder,
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes: x.npy, x.h5:/path, ...")],
    out: Annotated[Path, typer.Option(help="labels.h5; x.png draws the least, the most sure.", show_default=False)],
    condition: Annotated[str | None, typer.Option(help="The true labels of these rows, where known.")] = None,
) -> None:
    """Say which label each row of your data has, and how sure that is; with the true ones, how good this is.

    \b
      ludus label runs/NAME scan.h5:/images --out labels.h5
      ludus label runs/NAME scan.h5:/images --condition scan.h5:/phase --out unsure.png
    """
    _is_run(run)
    _writable(out, ".h5", ".png")
    trained, x, c = _opened(run, data, condition, out)
    from ludus import session

    found = trained.label(x)
    truth = None if c is None else session.truth(trained, c, len(x), condition)
    if c is not None:
        _note_training(trained, data)
    print("\n".join(session.verdict(trained, found, truth)))
    if out.suffix == ".png":
        _draw(out, session.unsure(trained, x, found, truth))
    else:
        arrays = {name: a for name, a in found._asdict().items() if name != "temperatures" and a is not None}
        arrays |= {"classes": session.classes(trained)} if found.probabilities is not None else {}
        about = {"calibration": "; ".join(map(str, found.temperatures))}
        _write(out, arrays, run=str(run), turn=trained.turn, data=data, **about)


@app.command()
def traverse(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="film.gif, or x.png with the same side by side.", show_default=False)],
    latents: Annotated[str | None, typer.Option(help="Their numbers, 0,3,7; else those that carry the most.")] = None,
    along: Annotated[str | None, typer.Option(help="Directions in place of latents: pca, ganspace or sefa.")] = None,
    width: Annotated[
        float | None, typer.Option(min=0.01, max=100, help="To either side, in z's units; else 2, or 3 sd of --along.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=2, max=200, help="Pictures from one end to the other; else 15, of codes 10.")
    ] = None,
    condition: Annotated[str | None, typer.Option("-c", "--condition", help="A label or value, or 0.5,1.2.")] = None,
) -> None:
    """Move each latent by itself and show what changes: a picture for each, in a film that goes there and back.

    \b
      ludus traverse runs/NAME --out film.gif
      ludus traverse runs/NAME --latents 0,3 --out two.png
      ludus traverse runs/NAME --along ganspace --out film.gif
    """
    _is_run(run)
    _writable(out, ".gif", ".png")
    if latents is not None and not all(part.strip().isdecimal() for part in latents.split(",")):
        raise UserError(f"--latents {latents}: numbers with commas between, such as 0,3,7")
    if along is not None and along not in ("pca", "ganspace", "sefa"):
        raise unknown("kind of direction", along, ["pca", "ganspace", "sefa"])
    if along is not None and latents is not None:
        raise UserError("--latents are axes, --along gives directions: one or the other")
    from ludus import api, figures, session
    from ludus.runs import folder

    which = None if latents is None else [int(part) for part in latents.split(",")]
    frames = session.walk(api.load(run), which, width, steps, condition, film=out.suffix == ".gif", along=along)
    folder.write(out, figures.film([*frames, *frames[-2:0:-1]]) if out.suffix == ".gif" else figures.png(frames[0]))
    print(out)


def _shown(trained: Any, x: Any, c: Any) -> tuple[Any, Any]:
    """As many of the rows, with their conditions, as a picture shows, and as the network is shown them."""
    from ludus import session

    n = min(len(x), session.SHOWN if trained.form.kind == "images" else 5000)
    return trained.seen(x[:n]), None if c is None else c[:n]


@app.command()
def calibrate(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", min=20, help="Cases; a few hundred tell much.")] = 500,
    draws: Annotated[int, typer.Option(min=20, help="Of the posterior, for each case.")] = 199,
    observed: Annotated[str | None, typer.Option(help="Your data: are they like the model's own?")] = None,
    data: Annotated[str | None, typer.Option(help="True values of pairs, never trained on: pairs.h5:/theta.")] = None,
    condition: Annotated[str | None, typer.Option(help="What was observed of each of --data: pairs.h5:/obs.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same page.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for the page; by default that of the run.")] = None,
) -> None:
    """Say whether the posterior may be believed: a verdict, its tests, and a page with figures.

    Of an encoder, q(z|x) is tried on pictures of the run's own generator, whose z are known. With --data and
    --condition, draws of a conditional run on points are tried as a posterior on true pairs, e.g. of a simulation.

    \b
      ludus calibrate runs/NAME
      ludus calibrate runs/NAME --observed scan.h5:/images
      ludus calibrate runs/NAME --data pairs.h5:/theta --condition pairs.h5:/obs
    """
    _is_run(run)
    if (data is None) != (condition is None):
        raise UserError("--data and --condition belong together: true values, and what was observed of each")
    if data is not None and observed is not None:
        raise UserError("--observed is compared with what an encoder was tried on, --data are pairs: one or the other")
    out = out or run
    if not out.is_dir():
        raise UserError(f"--out {out}: there is no such folder")
    from ludus.data import locate

    place, told = (None, None) if data is None else locate.check(data, condition)
    seen = None if observed is None else locate.check(observed)[0]
    from ludus import api, session
    from ludus import calibrate as calibrations

    trained = api.load(run)
    pairs = None if place is None else session.rows_of(trained, place, told)
    seen = None if seen is None else session.rows_of(trained, seen)[0]
    if place is not None:
        _note_training(trained, data)
    found = trained.calibrate(n, draws, seed, observed=seen, data=pairs)
    asked = [("--observed", observed), ("--data", data), ("--condition", condition)]
    about = {"run": str(run), "turn": trained.turn, "seed": seed, "draws": draws} | {k: v for k, v in asked if v}
    written = calibrations.write(found, out, f"May the posterior of {run.name} be believed?", about)
    print("\n".join([*calibrations.lines(found), *map(str, written)]))


@app.command()
def evaluate(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", min=50, help="Images at most; as many as there are held-out rows.")] = 10_000,
    against: Annotated[str | None, typer.Option(help="Real rows, never trained on, in place of the held-out.")] = None,
    condition: Annotated[str | None, typer.Option(help="Their labels or values.")] = None,
    observable: Annotated[list[str] | None, typer.Option(help="Yours, file.py:function.")] = None,
    features: Annotated[list[str] | None, typer.Option(help="Of your network, file.py:function.")] = None,
    means: Annotated[bool, typer.Option("--means", help="Judge a decoder's means E[x|z], without noise.")] = False,
    turn: Annotated[str | None, typer.Option(help="A checkpoint: its turn, or best; else the newest.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same page.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for the page; by default that of the run.")] = None,
) -> None:
    """Say whether the samples are any good: like the data, covering them, no copies, physical; with a page.

    Every score stands beside its floor, the same score of real data. The page is evaluation.html, .md and .json.

    \b
      ludus evaluate runs/NAME
      ludus evaluate runs/NAME --against other.h5:/images --observable my_physics.py:peak_width
    """
    _is_run(run)
    out = out or run
    if not out.is_dir():
        raise UserError(f"--out {out}: there is no such folder")
    from ludus.data import locate

    if against is not None:
        locate.check(against, condition)
    from ludus import api
    from ludus.report.evaluation import lines

    found = api.load(run, turn=_turn(turn)).evaluate(
        n, seed, against=against, condition=condition, features=features or (), observables=observable or (),
        noise=not means, out=out,
    )  # fmt: skip
    print("\n".join([*lines(found), *(str(out / f"evaluation.{kind}") for kind in ("html", "md", "json"))]))


@app.command()
def compare(
    run: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Evaluated runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A page, x.html, with the table and a figure.")] = Path("comparison.html"),
) -> None:
    """Put the evaluations of several runs into one table and one figure.

    \b
      ludus compare runs/one runs/two
    """
    for each in run:
        _is_run(each)
    _writable(out, ".html")
    from ludus import evaluate as evaluations
    from ludus.runs import folder

    rows, notes, page = evaluations.compare(run)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    folder.write(out, page)
    print("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows))
    print("\n".join([*notes, str(out)]))


def _note_training(trained: Any, data: str) -> None:
    """Says where a run is judged by the file that it was trained on."""
    from ludus.data import locate
    from ludus.terminal import say

    place = locate.parse(data)
    whole = place.anchored.text if place.is_file else data
    if whole == trained.recipe.get("data", {}).get("source"):
        say(f"{data} is what this run was trained on, most of it: errors on other rows are larger")


def _turn(text: str | None) -> int | str | None:
    """What `api.load` takes for a turn."""
    if text in (None, "best"):
        return text
    if not text.isdecimal():
        raise UserError(f"--turn {text}: best, or the number of a turn that has a checkpoint")
    return int(text)


def _writable(out: Path, *suffixes: str) -> None:
    if out.suffix not in suffixes:
        *first, last = suffixes
        raise UserError(f"--out {out}: it is written as {', '.join(first) + ' or ' if first else ''}{last}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")


def _opened(run: Path, data: str, condition: str | None, out: Path) -> tuple[Any, Any, Any]:
    """The run, and the user's rows with their conditions, cut as the run's own; `out` may be neither.

    Raises UserError for rows that the run cannot take, by the name of their file; of a picture, for those in it.
    """
    from ludus.data import locate

    place, told = locate.check(data, condition)
    for each in filter(None, (place, told)):
        if locate.reads(each, out):
            raise UserError(f"--out {out} is the file that is read, or would be one of them: choose another")
    from ludus import api, session

    trained = api.load(run)
    x, c = session.rows_of(trained, place, told)
    trained.rows(x[: session.SHOWN] if out.suffix == ".png" else x, data)
    return trained, x, c


def _write(out: Path, arrays: dict[str, Any], form: Any = None, **about: Any) -> None:
    """One array as .npy, or all of them as HDF5 with what they are about; of a form, the first as NeXus, with axes."""
    import io

    import h5py
    import numpy as np

    from ludus.data import layout
    from ludus.data.write import as_text, nxdata
    from ludus.runs import folder

    file = io.BytesIO()
    if out.suffix == ".npy":
        np.save(file, next(iter(arrays.values())))
    else:
        with h5py.File(file, "w") as h5:
            for i, (name, array) in enumerate(arrays.items()):
                if i == 0 and form is not None:
                    axes = layout.user_axes(form.grid, form.axes)
                    nxdata(h5, name, array.shape, array.dtype, axes, form.signal)[...] = array
                else:
                    h5[name] = as_text(array) if array.dtype.kind == "U" else array
                    if name == "conditions" and form.condition:
                        h5[name].attrs["long_name"] = ", ".join(each.name for each in form.condition.columns)
            h5.attrs.update(about)
    folder.write(out, file.getvalue())
    print(out)


def _draw(out: Path, figure: Any) -> None:
    from ludus import figures
    from ludus.runs import folder

    folder.write(out, figures.png(figure))
    print(out)


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes.")],
    channels: Annotated[str, typer.Option(help="Where the channel axis is: first, last or none.")] = "auto",
    panels: Annotated[str, typer.Option(help="Axes whose every step is a row, as for train.")] = "",
    tiles: Annotated[str, typer.Option(help="Tiles of large frames, as for train.")] = "",
    nan: Annotated[str, typer.Option(help="What would be done to NaN, as for train.")] = "refuse",
    picture: Annotated[Path | None, typer.Option(help="Where to draw it; by default NAME.png here.")] = None,
) -> None:
    """Say what is in a file, how it would be read, and draw some of it.

    \b
      ludus inspect scan.nxs
      ludus inspect scan.nxs --panels energy
    """
    from ludus.data import locate

    source, _ = locate.check(data)
    from ludus import figures
    from ludus.data.inspect import describe
    from ludus.runs import folder

    if picture and (picture.suffix != ".png" or not picture.parent.is_dir()):
        raise UserError(f"--picture {picture}: a .png in a folder that exists")
    target = picture or Path(f"{source.stem}{'-overview' * (source.kind == 'files')}.png")  # never that which is read
    if locate.reads(source, target):
        raise UserError(f"--picture {target} is, or would be, one of the pictures that are read: say another")
    found = describe(data, channels, panels=panels, tiles=tiles, nan=nan)
    print("\n".join(found.lines))
    if found.rows is not None:
        if found.rows.ndim == 2:
            names = found.grid[0].columns(found.rows.shape[1]) if found.grid else ()
            drawn = figures.points({data: found.rows}, names)
        else:
            drawn = figures.overview(found.rows, found.grid, found.signal)
        folder.write(target, figures.png(drawn))
        print(f"picture: {target}")


@app.command()
def prepare(
    data: Annotated[str, typer.Argument(help="What `ludus train --data` takes.")],
    out: Annotated[Path, typer.Option(help="x.h5 or x.nxs, a new file.", show_default=False)],
    panels: Annotated[str, typer.Option(help="Of volumes: axes whose every step is a row.")] = "",
    crop: Annotated[str, typer.Option(help="Pixels of height, width: 10:200,0:128.")] = "",
    bin: Annotated[str, typer.Option(help="One pixel of several: 2, or 2x4 of height, width.")] = "",
    bin_by: Annotated[str, typer.Option(help="mean (of what is not NaN) or sum.")] = "mean",
    tiles: Annotated[str, typer.Option(help="Pieces as rows, 64x64.")] = "",
    weakest: Annotated[float | None, typer.Option(help="Rows with no value above it are left out.")] = None,
    dtype: Annotated[str, typer.Option(help="same, float32, float16 or uint16.")] = "same",
    channels: Annotated[str, typer.Option(help="Where the channel axis is: first, last or none.")] = "auto",
    condition: Annotated[str | None, typer.Option(help="Labels or values, kept as /labels.")] = None,
) -> None:
    """Copy data into a file that trains fast: cut to panels, cropped, binned, cut to tiles and cast, in this order.

    One HDF5 file (NeXus) in one piece, with the axes, units and labels. Ctrl-C stops it, and the same command goes on.

    \b
      ludus prepare scan.nxs --bin 4 --dtype float16 --out small.h5
      ludus prepare scan.nxs --panels energy --weakest 0.5 --condition :energy --out panels.h5
    """
    if out.suffix not in (".h5", ".nxs") or not out.parent.is_dir():
        raise UserError(f"--out {out}: a .h5 or .nxs file in a folder that exists")
    from ludus.prepare import Job
    from ludus.prepare import prepare as copy

    job = Job(panels, crop, bin, bin_by, tiles, weakest, dtype, channels)
    print("\n".join(copy(data, out, job, condition)))


@app.command()
def simulate(
    world: Annotated[str, typer.Argument(help=f"{', '.join(simulations.WORLDS)}.")],
    out: Annotated[Path, typer.Option(help="x.h5, a new file.", show_default=False)],
    n: Annotated[int, typer.Option("-n", min=1, help="How many pictures.")] = 1000,
    mode: Annotated[str | None, typer.Option(help="practical, physical, instrument or published.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same file.")] = 0,
    processes: Annotated[int | None, typer.Option(min=1, help="By default one for each core.")] = None,
    mask: Annotated[str | None, typer.Option(help="Where there is no detector: x.npy, x.npz:key, x.h5:/path.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of the world.")] = None,
) -> None:
    """Simulate data whose truth is known: pictures, labels, parameters, units and axes in one HDF5 (NeXus) file.

    ins: inelastic neutron scattering of Pr(Ca,Sr)2Mn2O7 under two models of its magnetic exchange. Set model (both,
    dimer, goodenough), parameters, ei (meV, of physical), sigma_e (meV), counts, background.

    \b
      ludus simulate ins -n 20000 --out ins.h5
      ludus simulate ins -n 500 --mode instrument --set counts=50 --set background=0.1 --out maps.h5
      ludus simulate ins -n 1 --set model=dimer --set parameters=[-8.43,1.52,1.52,-14.2,0.92,0.073] --out one.h5
      ludus train r3gan --data ins.h5:/images --condition ins.h5:/labels
    """
    if bare := [setting for setting in settings or [] if "=" not in setting]:
        raise UserError(f"--set takes key=value here, such as sigma_e=1; got {bare[0]!r}")
    given = dict(recipes.parse(f"{world}.{setting}") for setting in settings or [])
    given = {key.removeprefix(f"{world}."): value for key, value in given.items()}
    if out.suffix != ".h5" or not out.parent.is_dir():
        raise UserError(f"--out {out}: a .h5 file in a folder that exists")
    print(simulations.simulate(world, n, out, seed, given | ({} if mode is None else {"mode": mode}), processes, mask))


@app.command()
def fit(
    world: Annotated[str, typer.Argument(help="ins.")],
    to: Annotated[str, typer.Option(help="The picture: x.npy, x.h5:/images, ...", show_default=False)],
    row: Annotated[int, typer.Option(min=0, help="Which one, where there are several.")] = 0,
    mode: Annotated[str, typer.Option(help="practical or physical: how the picture was made.")] = "practical",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the search.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Where to draw it; by default NAME-fit.png here.")] = None,
) -> None:
    """Fit the exchange parameters of both magnetic models to a 20×200 neutron picture by a global search (two minutes).

    \b
      ludus fit ins --to image.npy
      ludus fit ins --to ins.h5:/images --row 7 --picture seven.png
    """
    from ludus.data import locate

    if world != "ins":
        raise unknown("world to fit", world, ["ins"])
    if mode not in ("practical", "physical"):
        raise unknown("mode of a picture to fit", mode, ["practical", "physical"])
    source, _ = locate.check(to)
    target = picture or Path(f"{source.stem}-fit.png")
    if target.suffix != ".png" or not target.parent.is_dir():
        raise UserError(f"--picture {target}: a .png in a folder that exists")
    from ludus import figures
    from ludus.inference import fit_ins
    from ludus.runs import folder
    from ludus.terminal import counting

    image = fit_ins.picture(source, row)
    with counting(fit_ins.cost(), "pictures") as count:
        found = fit_ins.fit(image, seed, fit_ins.Ins(mode=mode), count)
    for each in found:
        print("\n".join(each.lines()))
    shown = {f"{to}, row {row}": image} | {f"{e.model}, correlation {e.correlation:.3f}": e.image for e in found}
    folder.write(target, figures.png(figures.panels(shown)))
    print(f"picture: {target}")
    print(f"best: {found[0].model}, correlation {found[0].correlation:.2f}")


@app.command()
def figure(
    name: Annotated[str | None, typer.Argument(help="Which; without it they are listed.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="x.png or x.svg; by default NAME.png here.")] = None,
) -> None:
    """Draw a figure of the lecture again, from numbers that the tests check; without a name, list them.

    \b
      ludus figure
      ludus figure generator-costs --out costs.svg
    """
    from ludus.figures.lecture import FIGURES

    if name is None:
        for each, path in FIGURES.items():
            print(f"{each:16} {recipes.docstring(path).splitlines()[0]}")
        return
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    target = out or Path(f"{name}.png")
    if target.suffix not in (".png", ".svg") or not target.parent.is_dir():
        raise UserError(f"--out {target}: a .png or .svg in a folder that exists")
    from ludus import figures
    from ludus.runs import folder

    drawn = recipes.load_object(FIGURES[name])()
    folder.write(target, figures.png(drawn) if target.suffix == ".png" else figures.svg(drawn))
    print(target)


@app.command()
def card(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="By default README.md of the run, which push takes.")] = None,
    license: Annotated[str | None, typer.Option(help="mit, cc-by-4.0, ...; none is stated without.")] = None,
) -> None:
    """Write the model card of a run: what it is, how to use it, how good it is, as the Hugging Face Hub shows it.

    \b
      ludus evaluate runs/NAME
      ludus card runs/NAME --license cc-by-4.0
    """
    _is_run(run)
    out = out or run / "README.md"
    _writable(out, ".md")
    from ludus import hub
    from ludus.runs import folder

    folder.write(out, hub.card(run, license))
    print(out)


@app.command()
def push(
    run: RunFolder,
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The model on the Hub, a new one if need be.")],
    private: Annotated[bool, typer.Option("--private", help="For you alone.")] = False,
    with_examples: Annotated[bool, typer.Option("--with-examples", help="Also the real rows it keeps.")] = False,
    dry_run: Annotated[Path | None, typer.Option(help="A new folder for what would be uploaded; nothing is.")] = None,
) -> None:
    """Share a run on the Hugging Face Hub, without the data that it was trained on; `hf auth login` comes first.

    \b
      ludus push runs/NAME jane/spectra --dry-run look
      ludus push runs/NAME jane/spectra --private
      ludus sample hf://jane/spectra -n 64 --out x.h5
    """
    _is_run(run)
    from ludus import hub

    if dry_run is None:
        print(hub.push(run, repo, private, with_examples))
        return
    hub.export(run, dry_run, repo, with_examples)
    print("\n".join(hub.listing(dry_run)))
    print(dry_run)


@app.command()
def runs(base: Annotated[Path, typer.Argument(help="Where the run folders are.")] = Path("runs")) -> None:
    """List the runs in a folder, the latest first."""
    from ludus.runs import folder

    found = folder.listing(base)
    if not found:
        print(f"no runs in {base}/", file=sys.stderr)
    for each in found:
        turn = f"{each['turn']:,}/{each['steps']:,}" if isinstance(each["steps"], int) else f"{each['turn']:,}"
        print(f"{each['path']!s:40} {each['method']!s:16} {each['data']!s:20} {turn:>15} {each['state']}")


@app.command()
def methods() -> None:
    """List the methods, and the options of each."""
    for name, row in recipes.METHODS.items():
        print(f"{name:16} {recipes.docstring(row.path).splitlines()[0]}")
        for key, option in recipes.signature(row.path)[1].items():
            print(f"{'':18} method.{key} = {option.default}   ({option.annotation})")


@app.command()
def cite(method: Annotated[str, typer.Argument(help="See `ludus methods`.")]) -> None:
    """Print a method's reference as BibTeX."""
    print(recipes.bibtex(method))


@app.command()
def diagnose(run: RunFolder) -> None:
    """Say what ails a run, or that it is healthy, with evidence and advice, from what was measured while it ran."""
    _is_run(run)
    from ludus.doctor.findings import findings
    from ludus.runs import journal

    found = findings(journal.read(run / "metrics.jsonl"))
    if not found:
        raise UserError(f"nothing was measured of {run}: fewer than 50 turns were played, or --doctor was off")
    for each in found:
        print(f"{each.name} ({each.turns})\n  {each.evidence}\n  {each.advice}")


@app.command()
def report(run: RunFolder) -> None:
    """Write report.html of a run again."""
    _is_run(run)
    from ludus import api

    print(api.load(run).report())


def _is_run(run: Path) -> None:
    """Says without torch that a folder is no run."""
    if not (run / "recipe.toml").is_file():
        raise UserError(f"{run} is not a run: it has no recipe.toml; `ludus runs` lists those that there are")


def main() -> None:
    """Runs a command; whatever was foreseen is one line on standard error and an exit code."""
    try:
        code = app(standalone_mode=False) or 0
    except LudusError as error:
        print(f"ludus: {error}", file=sys.stderr)
        code = error.exit_code
    except UsageError as error:
        print(f"ludus: {error.format_message()}", file=sys.stderr)
        code = 2
    except typer.Abort:
        code = 130
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        print("ludus: not enough memory; try a smaller --batch, -n or network", file=sys.stderr)
        code = 2
    sys.exit(code)
