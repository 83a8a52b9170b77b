"""The figures of an evaluation, each with the numbers in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus import figures
from ludus.data.form import Form
from ludus.doctor.findings import Finding
from ludus.evaluation.evaluation import Evaluation
from ludus.features.curves import curves
from ludus.features.worlds import curves as world_curves
from ludus.figures import evaluation as pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, WORST, CLOUD, CURVED = 64, 8, 3000, 2000  # images, observables, points, images that curves are of
PIXELS = 64 * 32 * 32  # about as many as a grid shows without shrinking
FEW_WIDE, NARROW = 4, 41  # rows of wide images; pixels across that leave room for a title over each of eight
SETS = ("real", "generated")


@dataclass(frozen=True, eq=False)
class About:
    """What is said of a run besides what was measured."""

    title: str
    name: str
    turn: int
    facts: Sequence[tuple[str, Any]] = ()
    world: str = ""  # one of the library's own, if the data are of it
    findings: Sequence[Finding] = ()
    journal: Sequence[Mapping[str, Any]] = ()
    reconstructed: tuple[np.ndarray, np.ndarray] | None = None  # real pictures, and what encoder and decoder make
    walk: np.ndarray | None = None  # (latents, steps, ...) pictures


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure of the page, and the numbers in it, columns of one length."""

    name: str
    figure: Figure
    alt: str
    caption: str
    table: dict[str, np.ndarray]

    @cached_property
    def png(self) -> bytes:
        """The figure as a file and in the page, drawn once."""
        return figures.png(self.figure)


def drawn(found: Evaluation, about: About) -> dict[str, list[Drawn]]:
    """The figures, by the part of the page that they belong to."""
    images = found.sets.form.kind == "images"
    parts = {
        "Real and generated": _samples(found) if images else [_points(found)],
        "Features": [_cloud(found)],
        "Curves": _curves(found, about.world),
        "Observables": [_observables(found)],
        "Was it copied?": _copies(found),
        "Most and least real": _realness(found) if images else [],
        "Conditions": _answers(found),
        "What the latents hold": _latents(found, about) if images else [],
        "Training": _training(about),
    }
    return {name: each for name, each in parts.items() if each}


def _rows(found: Evaluation) -> str:
    return found.sets.form.kind  # "images" or "points", as captions say


def _wide(x: np.ndarray) -> bool:
    """Whether images (n, H, W[, C]) are so wide that a row of several is too low to be read."""
    return x.shape[2] > 3 * x.shape[1]


def _of_channels(found: Evaluation, colours: str = "") -> str:
    """What a caption adds where there are channels that are not shown, or that are colours."""
    channels = found.sets.reference.x.shape[-1]
    return {1: "", 3: colours}.get(channels, f" Channel 1 of {channels} is shown.")


def _plane(x: np.ndarray, form: Form) -> np.ndarray:
    """(n, H, W, C) as a picture shows it: NaN where there is no detector."""
    x = x if form.mask is None else np.where(np.moveaxis(form.mask, 0, -1), x, np.nan)
    return x if x.shape[-1] == 3 else x[..., 0]


def _flat(**sets: np.ndarray) -> dict[str, np.ndarray]:
    """Images as a table: a row for each, its set, its number, and its pixels."""
    x = np.concatenate([each.reshape(len(each), -1) for each in sets.values()])
    table = {"set": np.repeat(list(sets), [len(each) for each in sets.values()]),
             "image": np.concatenate([np.arange(len(each)) for each in sets.values()])}  # fmt: skip
    return table | {f"pixel {j}": x[:, j] for j in range(x.shape[1])}


def _samples(found: Evaluation) -> list[Drawn]:
    form = found.sets.form
    real, mine = _plane(found.sets.reference.x, form), _plane(found.sets.generated.x, form)
    n = int(min(max(PIXELS // np.prod(real.shape[1:3]), 4), SHOWN))
    low, high = figures.limits_of(real[:n])
    grid = Drawn("samples", figures.side_by_side({"real": real[:n], "generated": mine[:n]}, (low, high), form.shown),
                 f"{n} real and {n} generated images",
                 f"Real and generated images, unselected, as they came, on one scale: {low:.4g} to {high:.4g}, "
                 f"{form.measure}." + _of_channels(found), _flat(real=real[:n], generated=mine[:n]))  # fmt: skip
    a, b = (each if each.ndim == 3 else each.mean(-1) for each in (real, mine))
    values = {f"{what}, {name}": of(each).ravel() for what, of in (("mean", lambda x: x.mean(0)),
              ("sd", lambda x: x.std(0))) for name, each in (("real", a), ("generated", b))}  # fmt: skip
    row, column = np.indices(a.shape[1:])
    means = Drawn("means", pictures.means(a, b, form.measure, form.grid),
                  "mean and standard deviation of real and of generated",
                  "Mean and standard deviation (sd) over images, pixel by pixel, and the difference."
                  + _of_channels(found, " Of the mean of red, green and blue."),
                  {"row": row.ravel(), "column": column.ravel(), **values})  # fmt: skip
    return [grid, means]


def _points(found: Evaluation) -> Drawn:
    real, mine = (each.x[:CLOUD] for each in (found.sets.reference, found.sets.generated))
    figure = figures.points({"real": real, "generated": mine}, found.sets.form.columns)
    return Drawn("samples", figure, "real and generated points",
                 "Real and generated points, unselected, on the same axes.",
                 _flat(real=real, generated=mine))  # fmt: skip


def _cloud(found: Evaluation) -> Drawn:
    content = found.families[0]
    real, mine = content.reference[:CLOUD], content.generated[:CLOUD]
    if real.shape[1] < 2:
        real, mine = (np.column_stack([each[:, 0], np.zeros(len(each))]) for each in (real, mine))
    first, second = np.concatenate([real, mine])[:, :2].T
    table = {"set": np.repeat(SETS, [len(real), len(mine)]), "first": first, "second": second}
    figure = pictures.cloud(real, mine, ("first component (sd)", "second component (sd)"))
    said = f"The first two principal components of real {_rows(found)}, and of generated ones over them."
    return Drawn("features", figure, f"two principal components of real and generated {_rows(found)}", said, table)


def _curves(found: Evaluation, world: str) -> list[Drawn]:
    fit, real, mine = (each.x[:CURVED] for each in (found.sets.fit, found.sets.reference, found.sets.generated))
    form = found.sets.form
    wanted = [*world_curves(world, real.shape[1:]), *curves(fit, form.grid, form.signal)]
    given, table, spectra = {}, {"curve": [], "at": [], "real": [], "generated": [], "ratio": [], "error": []}, None
    images = _rows(found) == "images"
    for curve in wanted:
        a, b = curve(real), curve(mine)
        given[curve.name] = (curve.at, curve.along, curve.height, a, b, curve.logarithmic)
        spectra = spectra or ((curve.name, a, b) if curve.name.endswith("power spectrum") else None)
        ratio, error = pictures.ratio_of(a, b)
        for name, values in zip(table, (np.repeat(curve.name, len(curve.at)), curve.at, a.mean(0), b.mean(0), ratio,
                                        error)):  # fmt: skip
            table[name].append(values)
    bands = "bands: the middle 68 % of them; " if images else ""
    drawn = [Drawn("curves", pictures.curves(given, bands=images),
                   f"curves of real and generated {_rows(found)}: " + ", ".join(given),
                   f"Lines: mean over {_rows(found)}; {bands}below: the ratio of the means, with twice its standard "
                   "error.", {name: np.concatenate(each) for name, each in table.items()})]  # fmt: skip
    if spectra is not None:
        name, *both = spectra
        a, b = (np.log(np.maximum(each, 1e-30)) for each in both)
        m = pictures.correlation(a), pictures.correlation(b)
        i, j = np.indices(m[0].shape)
        drawn.append(Drawn(
            "correlations", pictures.correlations("bin of the power spectrum", a, b), "correlations of spectral bins",
            f"Correlation over images of the logarithms of spectral power ({name}): means may be right where these are "
            "not.",
            {"bin": i.ravel(), "other": j.ravel(), "real": m[0].ravel(), "generated": m[1].ravel()},
        ))  # fmt: skip
    return drawn


def _observables(found: Evaluation) -> Drawn:
    worst = sorted(found.observed, key=lambda each: -each.shift.value)[:WORST]
    given = {}
    for each in worst:
        given[each.name] = (found.real[each.name], found.mine[each.name], each.unit)
    sizes = [len(each.values) for each in (found.real, found.mine)]
    table = {"set": np.repeat(SETS, sizes)}
    table |= {name: np.concatenate([real, mine]) for name, (real, mine, _) in given.items()}
    return Drawn("observables", pictures.histograms(given), "histograms of " + ", ".join(given),
                 f"The {len(given)} observables that are furthest off.", table)  # fmt: skip


def _copies(found: Evaluation) -> list[Drawn]:
    c = found.copies
    if c is None:
        return []
    near, far = c.held_out, c.generated
    figure = pictures.distances(near, far, float(np.sort(near)[max(0, round(0.01 * len(near)) - 1)]))
    table = {"set": np.repeat(SETS, [len(near), len(far)]), "distance": np.concatenate([near, far])}
    drawn = [Drawn("distances", figure, "distances to the nearest training row",
                   "Copies would stand left of the dotted line.", table)]  # fmt: skip
    return [*drawn, _neighbours(found)] if _rows(found) == "images" else drawn


def _neighbours(found: Evaluation) -> Drawn:
    """A generated image and the three training images nearest to it, in a row, or below one another if wide."""
    panel, form = found.copies.panel, found.sets.form
    x = _plane(found.sets.generated.x, form)
    wide = _wide(x)
    some = slice(FEW_WIDE if wide else None)
    near = panel.train[some]
    theirs = _plane(form.in_units(found.sets.train.x[near.ravel()]), form)
    rows = np.concatenate([x[panel.generated[some], None], theirs.reshape(*near.shape, *theirs.shape[1:])], 1)
    flat = rows.reshape(-1, *rows.shape[2:])
    titles = [text for each in panel.percentile[some] for text in ("generated", *(f"{q:.0f} %" for q in each))]
    columns = 1 if wide else rows.shape[1] * (2 if flat.shape[2] <= NARROW else 1)
    limits = figures.limits_of(_plane(found.sets.reference.x[:SHOWN], found.sets.form))
    said = (f"The {len(near)} generated images that are nearest to a training image, each before the three training "
            "images nearest to it, with the share of real images, not trained on, that are as near to one."
            + _of_channels(found))  # fmt: skip
    numbers = {name: np.column_stack([np.full(len(near), np.nan), each[some]]).ravel()
               for name, each in (("distance", panel.distance), ("percent as near", panel.percentile))}  # fmt: skip
    return Drawn("neighbours", figures.grid(flat, limits=limits, columns=columns, titles=titles, label=form.shown),
                 "generated images and the training images nearest to them", said,
                 _flat(images=flat) | numbers)  # fmt: skip


def _realness(found: Evaluation) -> list[Drawn]:
    if found.realness is None:
        return []
    order = np.argsort(found.realness, kind="stable")
    n = int(min(max(PIXELS // (2 * np.prod(found.sets.form.shape[1:])), 4), 32, len(order) // 2))
    x = _plane(found.sets.generated.x, found.sets.form)
    sets = {"least like the data": x[order[:n]], "most like the data": x[order[::-1][:n]]}
    limits = figures.limits_of(_plane(found.sets.reference.x[:SHOWN], found.sets.form))
    return [Drawn("realness", figures.side_by_side(sets, limits, found.sets.form.shown),
                  "the least and the most real generated images",
                  "Generated images that a classifier takes least and most for real ones, by their principal "
                  "components." + _of_channels(found),
                  _flat(**sets))]  # fmt: skip


def _answers(found: Evaluation) -> list[Drawn]:
    said = "what was asked for against what is read in the images: real ones left, generated ones right."
    return [
        Drawn(each.column.replace(", ", "-").replace(" ", "-"),
              pictures.answer(each.column, each.asked, each.read, each.true, each.classes, each.label),
              f"{each.column}, asked and read", f"{each.column[0].upper()}{each.column[1:]}: {said}",
              {"asked": each.asked, "read": each.read, "read in real": each.true})
        for each in found.answer
    ]  # fmt: skip


def _latents(found: Evaluation, about: About) -> list[Drawn]:
    form, made = found.sets.form, []
    limits = figures.limits_of(_plane(found.sets.reference.x[:SHOWN], form))
    if about.reconstructed is not None:
        sets = dict(zip(("real", "reconstructed"), about.reconstructed))
        made.append(Drawn("reconstructions", figures.side_by_side(sets, limits, form.shown),
                          "real images and reconstructions",
                          "Real images, and what the decoder makes of their codes." + _of_channels(found),
                          _flat(**sets)))  # fmt: skip
    if about.walk is not None:
        walk, steps = about.walk, about.walk.shape[1]
        wide, titles = _wide(walk[0]), None
        if wide:
            walk = walk[:FEW_WIDE, ::2]
            titles = [f"walk {i + 1}, step {j + 1} of {steps}" for i in range(len(walk)) for j in range(0, steps, 2)]
        flat = walk.reshape(-1, *walk.shape[2:])
        grid = figures.grid(flat, limits=limits, columns=1 if wide else walk.shape[1], titles=titles,
                            label=form.shown)  # fmt: skip
        said = f"Each {'walk' if wide else 'row'} moves one latent from −2 to 2, the others staying."
        said += _of_channels(found)
        made.append(Drawn("traversal", grid, "a walk through the latents", said, _flat(images=flat)))
    return made


def _training(about: About) -> list[Drawn]:
    rows = [row for row in about.journal if "losses" in row]
    if not rows:
        return []
    columns = {"turn": np.array([row["turn"] for row in rows])}
    for row in rows[:1]:
        for player, terms in row["losses"].items():
            for term in terms:
                columns[f"{player} {term}"] = np.array([_at(r, player, term) for r in rows])
    return [Drawn("training", figures.curves(rows), "curves of the losses against turns",
                  "What each player lowered. No measure of quality.", columns)]  # fmt: skip


def _at(row: Mapping, player: str, term: str) -> float:
    value = row["losses"].get(player, {}).get(term)
    return float("nan") if value is None else float(value)
