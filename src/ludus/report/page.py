"""One HTML page that says what a run did: pictures, curves, facts, and how to go on. It needs no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from ludus import figures
from ludus.data.raw import UNNAMED, Axis
from ludus.doctor.findings import Finding
from ludus.figures.curves import logged

PIXELS = 64 * 32 * 32  # about as many as a grid shows without shrinking: 64 digits, 16 spectra of 20×200
CLOUD = 5000  # points drawn at most

READ_GAME = (
    "Each player lowers its own loss while the others change it, so these curves are no measure of quality: "
    "look at the samples for that. A healthy game keeps them bounded and lively; one player near zero for long has "
    "won and teaches the others nothing."
)
READ_ALONE = "One player lowers the sum of these terms; they should fall and then level off."


@dataclass(frozen=True)
class Section:
    """What the page says of one run.

    facts: (label, value) pairs, what was run, for how long, on what. rows: metrics as in metrics.jsonl.
    real, generated: (n, H, W[, C]) images, or (n, D) or (n,) points, in the user's units, unselected. notes: what was
    done to the data, and what happened on the way. commands: (what it does, command) pairs, how to go on.
    findings: the doctor's. reconstructed: what an encoder and its decoder make of `real`. quality: HTML about it.
    grid, signal: axes of height and width, name and unit of the values, as far as they are known. shown: what the bar
    of pictures says. columns: what the coordinates of points are called.
    """

    name: str
    facts: Sequence[tuple[str, Any]] = ()
    recipe_toml: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    real: np.ndarray | None = None
    generated: np.ndarray | None = None
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    findings: Sequence[Finding] = ()
    reconstructed: np.ndarray | None = None
    quality: str = ""
    grid: tuple[Axis, ...] = ()
    signal: Axis = UNNAMED
    shown: str = ""
    columns: tuple[str, ...] = ()


def page(title: str, runs: Sequence[Section], summary: str = "") -> str:
    """A self-contained HTML page about `runs`: no script, nothing fetched, every word from outside escaped.

    The same input gives the same page. Raises UserError for arrays that are neither images nor points.
    """
    links = "".join(f'<a href="#run-{i}">{escape(run.name)}</a>' for i, run in enumerate(runs, 1))
    contents = f'<nav aria-label="Runs">{links}</nav>' if len(runs) > 1 else ""
    return document(title, "\n".join(_section(i, run) for i, run in enumerate(runs, 1)), summary, contents)


def document(title: str, body: str, summary: str = "", contents: str = "") -> str:
    """The page around its `body` and `contents`, which are HTML; title and summary are plain text."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), summary=escape(summary), contents=contents, runs=body)


def _section(i: int, run: Section) -> str:
    parts = [
        part("Real and generated", _pictures(run)),
        part("Is it any good?", run.quality),
        part("Losses", _losses(run)),
        part("What the doctor found", findings_list(run.findings)),
        part("What was run", facts_table(run.facts)),
        part("How to go on", _commands(run.commands)),
        part("Worth knowing", bullets(run.notes)),
        part("Recipe", _recipe(run.recipe_toml)),
    ]
    return f'<section id="run-{i}"><h2>{escape(run.name)}</h2>\n' + "\n".join(p for p in parts if p) + "\n</section>"


def part(heading: str, content: str) -> str:
    return f"<h3>{heading}</h3>\n{content}" if content else ""


def _pictures(run: Section) -> str:
    given = {"Real": run.real, "Reconstructed": run.reconstructed, "Generated": run.generated}
    given = {name: np.asarray(array) for name, array in given.items() if array is not None and len(array)}
    if not given:
        return ""
    first = next(iter(given.values()))
    if first.ndim in (1, 2):
        drawn = figures.points({name.lower(): a[:CLOUD] for name, a in given.items()}, run.columns)
        said = "Unselected points; both panels have the same axes, and the first group lies in grey under the second."
        alt = " and ".join(f"{min(len(a), CLOUD):,} {name.lower()} points" for name, a in given.items())
        return picture(drawn, alt, said, wide=True)
    shown = min(max(PIXELS // max(math.prod(first.shape[1:3]), 1), 4), 64)
    scale = figures.limits_of(first[:shown])
    grids = [
        picture(
            figures.grid(array[:shown], limits=scale, label=run.shown),
            f"a grid of {len(array[:shown])} {name.lower()} images of {array.shape[1]} × {array.shape[2]} pixels",
            f"<b>{name}</b>, {len(array[:shown])} images",
        )
        for name, array in given.items()
    ]
    unit = escape(run.signal.label) if run.signal.unit else "in the data’s units"
    said = f"Unselected, as they came, on one scale: {scale[0]:.4g} to {scale[1]:.4g}, {unit}."
    return f'<div class="pair">{"".join(grids)}</div>\n<p class="said">{said}</p>' + _on_axes(run, given, scale)


def _on_axes(run: Section, given: Mapping[str, np.ndarray], scale: tuple[float, float]) -> str:
    """The first picture of each kind on the data's axes, where these are known."""
    if not any(axis.label or axis.values for axis in (*run.grid, run.signal)):
        return ""
    drawn = figures.described({name.lower(): array[0] for name, array in given.items()}, run.grid, run.signal, scale)
    return picture(drawn, "the first images on the data’s axes", "The first of each, on the data’s axes.", wide=True)


def _losses(run: Section) -> str:
    players: dict[str, dict[str, None]] = {}  # inner dicts are ordered sets of terms
    for row in run.rows:
        for player, terms in logged(row, "losses").items():
            players.setdefault(player, {}).update(dict.fromkeys(terms))
    if not players:
        return '<p class="said">No losses were logged.</p>'
    named = "; ".join(f"{player}: {', '.join(terms)}" for player, terms in players.items())
    reading = READ_GAME if len(players) > 1 else READ_ALONE
    return picture(figures.curves(run.rows), f"curves of the losses against turns. {named}", reading, wide=True)


def picture(figure: Any, alt: str, caption: str, wide: bool = False, drawn: bytes = b"") -> str:
    """An image with its caption (HTML); `alt` is plain text. A wide one scrolls on a phone instead of shrinking.

    drawn: the figure's PNG, where there is one already.
    """
    width, height = (round(side / 2) for side in figure.bbox.size)  # two dots a pixel, see figures/save.py
    source = figures.data_url(drawn or figures.png(figure))
    image = f'<img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'
    paper = "paper wide" if wide else "paper"
    return f'<figure><div class="{paper}">{image}</div><figcaption>{caption}</figcaption></figure>'


def facts_table(facts: Sequence[tuple[str, Any]]) -> str:
    row = '<tr><th scope="row">{}</th><td>{}</td></tr>'
    rows = "".join(row.format(escape(label), escape(str(value))) for label, value in facts)
    return f"<table>{rows}</table>" if rows else ""


def rows_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under a row of headings; the first cell of each row is its heading."""
    cells = "".join(f'<th scope="col" style="width:auto">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row" style="width:auto">{escape(first)}</th>'
        f'{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>'
        for first, *row in rows
    )
    return f'<div class="scroll"><table><tr>{cells}</tr>{body}</table></div>' if rows else ""


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li>{escape(what)}<pre><code>{escape(line)}</code></pre></li>" for what, line in commands)
    return f'<ul class="commands">{items}</ul>' if items else ""


def findings_list(found: Sequence[Finding]) -> str:
    items = "".join(
        f"<li><b>{escape(each.name)}</b>, {escape(each.turns)}: {escape(each.evidence)}. {escape(each.advice)}</li>"
        for each in found
    )
    return f"<ul>{items}</ul>" if items else ""


def bullets(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def _recipe(toml: str) -> str:
    return f"<details><summary>The whole run as TOML</summary><pre>{escape(toml)}</pre></details>" if toml else ""
