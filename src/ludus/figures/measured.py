"""Pictures on the data's own axes: values and units at their sides, what is measured at the bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ludus.data.raw import UNNAMED, Axis
from ludus.figures.grids import ABSENT, MISSING, _grids, axes_at, limits_of
from ludus.figures.save import FAINT, INK, blank, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST, TALLEST, LOWEST, ZOOM = 1000, 700, 110, 40  # dots of a picture, and of a pixel at most
LEFT, RIGHT, HEAD, FOOT = 130, 190, 60, 90  # dots around it: ticks and labels, the bar, its title


def overview(images: np.ndarray, grid: tuple[Axis, ...] = (), signal: Axis = UNNAMED) -> Figure:
    """One of images (n, H, W[, C]) large, with its axes, above all of them as `figures.grid` shows them.

    It is the one whose brightest pixel is the median of theirs. Where nothing is known of the axes, nor of what is
    measured, the grid alone.
    """
    if not any(axis.label or axis.values for axis in (*grid, signal)):
        return _grids({"": images}, None)
    limits, (width, height) = limits_of(images), _size(images.shape[1:3])
    figure = _grids({"": images}, limits, above=HEAD + height + FOOT, least=LEFT + width + RIGHT)
    flat = np.asarray(images, float).reshape(len(images), -1)
    i = int(np.argsort(np.where(np.isfinite(flat), flat, -np.inf).max(1), kind="stable")[len(flat) // 2])
    panel(figure, (LEFT, HEAD, width, height), images[i], grid, signal.label, limits, title=f"row {i}")
    return figure


def described(
    pictures: Mapping[str, np.ndarray], grid: tuple[Axis, ...], signal: Axis = UNNAMED,
    limits: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """One picture (H, W[, 3]) of each name on the data's axes, all on one scale: side by side, or wide ones in a
    column."""
    first = next(iter(pictures.values()))
    (width, height), limits = _size(first.shape[:2]), limits or limits_of(first)
    step_x, step_y = LEFT + width + RIGHT, HEAD + height + FOOT
    down = width > 3 * height
    figure = blank(step_x * (1 if down else len(pictures)), step_y * (len(pictures) if down else 1))
    for i, (name, image) in enumerate(pictures.items()):
        x, y = (0, i * step_y) if down else (i * step_x, 0)
        panel(figure, (x + LEFT, y + HEAD, width, height), image, grid, signal.label, limits, title=name)
    return figure


def panel(
    figure: Figure, place: tuple[float, float, float, float], image: np.ndarray, grid: tuple[Axis, ...] = (),
    label: str = "", limits: tuple[float, float] = (0.0, 1.0), colours: str = "gray", title: str = "",
) -> Axes:  # fmt: skip
    """A picture (H, W[, C]) with its bar at a place (left, top, width, height) in dots; row 0 is on top.

    grid: axes of height and width, of which those with equal steps are drawn to scale.    label: of the bar.
    """
    from matplotlib import colormaps

    left, top, width, height = place
    axes = axes_at(figure, *place)
    image = np.asarray(image, float)
    colour = image.shape[2:] == (3,)
    if colour:
        image = np.nan_to_num(np.clip((image - limits[0]) / (limits[1] - limits[0]), 0, 1))
    elif image.ndim == 3:
        image = image[..., 0]
    spans = [span(axis, n) for axis, n in zip(grid or (UNNAMED, UNNAMED), image.shape)]
    missing = MISSING if colours == "gray" else ABSENT
    drawn = axes.imshow(
        image if colour else np.ma.masked_invalid(image), colormaps[colours].with_extremes(bad=missing),
        vmin=limits[0], vmax=limits[1], extent=(*spans[1], *spans[0][::-1]), aspect="auto", interpolation="nearest",
    )  # fmt: skip
    axes.set_title(plain(title), fontsize=7, color=INK, loc="left", pad=4)
    axes.tick_params(labelsize=6, color=FAINT, labelcolor=FAINT, length=2)
    axes.spines[:].set_visible(False)
    for which, axis, n, room in (("y", *_of(grid, 0, image), height / 40), ("x", *_of(grid, 1, image), width / 110)):
        _ticks(axes, which, axis, n, int(min(max(room, 2), 9)))
    if not colour:
        bar = figure.colorbar(drawn, cax=axes_at(figure, left + width + 12, top, 16, height))
        bar.ax.locator_params("y", nbins=max(int(height) // 60, 2))
        bar.ax.tick_params(labelsize=6, colors=INK, length=2)
        bar.outline.set_linewidth(0.3)
        bar.ax.yaxis.offsetText.set_fontsize(6)
        bar.set_label(plain(label), fontsize=6, color=INK)
    return axes


def span(axis: Axis, n: int) -> tuple[float, float]:
    """Where n pixels begin and end: in the axis' own values, if these are equally far apart, else counted."""
    if axis.step is None or len(axis.values) != n:
        return -0.5, n - 0.5
    return axis.values[0] - axis.step / 2, axis.values[-1] + axis.step / 2


def _of(grid: tuple[Axis, ...], i: int, image: np.ndarray) -> tuple[Axis, int]:
    return (grid[i] if grid else UNNAMED), image.shape[i]


def _ticks(axes: Axes, which: str, axis: Axis, n: int, most: int) -> None:
    """The name of an axis, and its numbers at the picture: round ones, or the values of a few pixels, if uneven."""
    from matplotlib.ticker import MaxNLocator

    side = axes.xaxis if which == "x" else axes.yaxis
    known = len(axis.values) == n
    if known and axis.step is None:
        pixels = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
        side.set_ticks(pixels, [f"{axis.values[i]:.4g}".replace("-", "−") for i in pixels])
    else:
        side.set_major_locator(MaxNLocator(most, integer=not known, min_n_ticks=1))
    if axis.label:
        side.set_label_text(plain(axis.label if known else f"{axis.name}, pixels"), fontsize=7, color=INK)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height in dots of a picture of H × W pixels."""
    height, width = shape
    zoom = min(LONGEST / width, TALLEST / height, ZOOM)
    return max(round(width * zoom), 3 * LOWEST), max(round(height * zoom), LOWEST)
