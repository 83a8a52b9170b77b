"""The family tree of generative models, with what this library offers at each leaf."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ludus.figures.save import COLOURS, FAINT, INK, blank
from ludus.recipe import METHODS, roles
from ludus.worlds.mixtures import WORLDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Goodfellow 2016, figure 9: a leaf holds its examples, which are also its name in `offered`.
TREE = {
    "explicit density": {
        "tractable": "autoregressive models, flows",
        "approximate": {
            "variational": "variational autoencoders",
            "Markov chain": "Boltzmann machines",
        },
    },
    "implicit density": {
        "Markov chain": "generative stochastic networks",
        "direct": "generative adversarial networks",
    },
}


INVERSE = ("veegan", "bigan", "latent_regressor")  # their encoders undo a GAN's generator, and bound nothing


def offered() -> dict[str, list[str]]:
    """What `ludus` has at each leaf. A method that plays with an encoder and a discriminator stands at two."""
    return {
        "autoregressive models, flows": [f"worlds with a known density: {', '.join(WORLDS)}"],
        "variational autoencoders": [name for name in METHODS if "encoder" in roles(name) and name not in INVERSE],
        "Boltzmann machines": [],
        "generative stochastic networks": [],
        "generative adversarial networks": [m for m in METHODS if {"discriminator", "generator"} & {*roles(m)}],
    }


def family_tree() -> Figure:
    """The family tree of generative models by how they treat likelihood, with what this library offers at each leaf."""
    figure = blank(1900, 900)
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.96))
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(5, 0))
    _branch(axes, "maximum likelihood", TREE, 0, 0)
    return figure


def _branch(axes: Axes, name: str, below: dict | str, depth: int, first: int) -> tuple[float, int]:
    """Draws a node and what hangs on it from row `first`: its own height, and the first row that is free."""
    x = 0.005 + 0.165 * depth
    if isinstance(below, str):
        y, free = first + 0.5, first + 1
        here = offered()[below]
        words = textwrap.fill("here: " + ", ".join(here) if here else "none here", 52)
        axes.text(0.68, y - 0.13, below, fontsize=9, color=INK, va="center")
        axes.text(0.68, y, words, fontsize=8, color=COLOURS[0] if here else FAINT, va="top")
        axes.plot([x + 0.07, 0.67], [y, y], color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
    else:
        heights, free = [], first
        for child, inner in below.items():
            height, free = _branch(axes, child, inner, depth + 1, free)
            heights.append(height)
        y = sum(heights) / len(heights)
        for height in heights:  # from centre to centre, under the boxes
            axes.plot([x + 0.07, x + 0.155, x + 0.155, x + 0.235], [y, y, height, height], color=FAINT, linewidth=0.8,
                      zorder=0)  # fmt: skip
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#f3f5f7", "edgecolor": "#c3c8ce", "linewidth": 0.6}
    axes.text(x + 0.07, y, name, fontsize=9, color=INK, ha="center", va="center", bbox=box)
    return y, free
