"""Neutron pictures as rows of panels: what lies along them said once, energies above, wave vectors at the sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ludus.errors import UserError
from ludus.figures.grids import limits_of
from ludus.figures.save import FAINT, INK, blank, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ZOOM, LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 8, 110, 130, 60, 90, 84  # dots


def panels(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Pictures (20, 200) below one another, each on a scale of its own that starts at 0, titled by its name.

    Ten panels of H by K from -2 to -0.1 r.l.u. side by side; the middle of each energy bin in meV stands above.
    """
    for name, picture in pictures.items():
        if np.shape(picture) != (20, 200):
            raise UserError(f"{name}: a neutron picture is (20, 200), not {np.shape(picture)}")
    height, width = 20 * ZOOM, 200 * ZOOM
    whole = TOP + len(pictures) * (height + BETWEEN) - BETWEEN + BOTTOM
    figure = blank(LEFT + width + RIGHT, whole)
    for i, (name, picture) in enumerate(pictures.items()):
        bottom = whole - TOP - height - i * (height + BETWEEN)
        place = (LEFT / (LEFT + width + RIGHT), bottom / whole, width / (LEFT + width + RIGHT), height / whole)
        axes = figure.add_axes(place)
        drawn = axes.imshow(picture, cmap="gray", vmin=0, vmax=limits_of(picture)[1], interpolation="nearest")
        for j in range(1, 10):
            axes.axvline(20 * j - 0.5, color=FAINT, lw=0.6)
        axes.set_yticks([0, 10, 19], ["-2", "-1", "-0.1"])
        axes.set_ylabel("H (r.l.u.)", fontsize=7, color=INK)
        axes.tick_params(labelsize=6, colors=INK, length=2)
        axes.set_title(plain(name), fontsize=8, color=INK, loc="left", pad=14)
        for j in range(10):
            axes.text(20 * j + 9.5, -1.2, f"{4.4 + 4.8 * j:.1f} meV", fontsize=6, color=FAINT, ha="center")
        last = i == len(pictures) - 1
        ticks = [(20 * j + k, label) for j in range(10) for k, label in ((0, "-2"), (10, "-1"))] if last else []
        axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
        if last:
            axes.set_xlabel("K (r.l.u.), in each panel", fontsize=7, color=INK)
        bar = figure.add_axes((place[0] + place[2] + 16 / (LEFT + width + RIGHT), place[1], 14 / whole, place[3]))
        figure.colorbar(drawn, cax=bar).ax.tick_params(labelsize=6, colors=INK)
    return figure
