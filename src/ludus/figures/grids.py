"""Images in a grid: all that are given, in their order, on one scale, each pixel as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ludus.errors import UserError
from ludus.figures.save import FAINT, INK, blank, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# All lengths are dots of the figure: a whole number of dots per pixel keeps all pixels equally large.
SIDE, GAP, EDGE, LINE, BETWEEN, BAR = 1000, 4, 12, 34, 40, 120
MISSING, ABSENT = "#a9bdd3", "#9aa3ad"  # a tint that no grey can be mistaken for; a grey, where blue is a number


class Layout(NamedTuple):
    """Where images of `height` × `width` pixels go: `zoom` dots per pixel, `head` dots above each for its title."""

    columns: int
    rows: int
    height: int
    width: int
    zoom: float
    head: int

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the whole grid in dots."""
        step_x, step_y = self.step
        return self.columns * step_x - GAP, self.rows * step_y - GAP

    @property
    def step(self) -> tuple[float, float]:
        """Dots from one image to the next, across and down."""
        return self.width * self.zoom + GAP, self.height * self.zoom + GAP + self.head

    def extent(self, i: int) -> tuple[float, float, float, float]:
        """Left, right, bottom, top of image i in dots from the upper left corner."""
        (row, column), (step_x, step_y) = divmod(i, self.columns), self.step
        left, top = column * step_x, row * step_y + self.head
        return left, left + self.width * self.zoom, top + self.height * self.zoom, top


def grid(
    images: np.ndarray,
    *,
    limits: tuple[float, float] | None = None,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    label: str = "",
) -> Figure:
    """Shows all images, unselected and in their order, on one grey scale with its bar in the data's units.

    images: (n, H, W) or (n, H, W, C); C = 3 is colour; of any other number the first channel is shown, and said so.
    limits: the values shown black and white; else `limits_of(images)`. NaN is tinted blue, as no grey is.
    columns: else as many as make the whole about square (elongated images get fewer). titles: one for each image.
    label: of the bar.
    Raises UserError for arrays that are no images, for limits the wrong way round, and for a wrong number of titles.
    """
    return _grids({"": images}, limits, columns, titles, label=label)


def side_by_side(
    pictures: Mapping[str, np.ndarray], limits: tuple[float, float] | None = None, label: str = ""
) -> Figure:
    """Shows grids beside one another on one scale, the first one's unless `limits` are given; label: of its bar.

    pictures: {"real": (n, H, W[, C]), "generated": (m, H, W[, C])}, all of one H, W and C.
    """
    return _grids(pictures, limits, label=label)


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles of the finite values: one hot pixel does not turn all others black."""
    values = np.asarray(images, dtype=float)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [0.1, 99.9]))
    if low == high:  # nearly constant: whatever differs is what there is to see
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _grids(pictures, limits, columns=None, titles=None, above=0, least=0, label="") -> Figure:
    """above: dots left free over the grids, in a figure at least so wide."""
    arrays = {name: _checked(images) for name, images in pictures.items()}
    shapes = {a.shape[1:] for a in arrays.values()}
    if len(shapes) != 1:
        raise UserError(f"pictures to compare must have one shape, not {sorted(shapes)}: give arrays alike")
    (shape,), count = shapes, max(len(a) for a in arrays.values())
    if titles is not None and len(titles) != count:
        raise UserError(f"{len(titles)} titles for {count} images: give one title for each image")
    low, high = limits_of(next(iter(arrays.values()))) if limits is None else limits
    if not low < high:
        raise UserError(f"limits {low:g}, {high:g} are no scale: give (lowest, highest) with lowest < highest")

    layout = _layout(count, *shape[:2], columns, head=LINE if titles is not None else 0)
    width, height = layout.size
    colour, notes = shape[2:] == (3,), _notes(arrays, low, high)
    top, bottom = above + EDGE + LINE * any(arrays), EDGE + LINE * len(notes)
    right = EDGE if colour else BAR + LINE * bool(label)
    tall = max(height, 0 if colour else 120)  # room for the bar's numbers
    figure = blank(max(EDGE + len(arrays) * (width + BETWEEN) - BETWEEN + right, least), top + tall + bottom)

    for i, (name, array) in enumerate(arrays.items()):
        axes = axes_at(figure, EDGE + i * (width + BETWEEN), top, width, height)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        if name:
            axes.text(0, -8, plain(name), fontsize=9, color=INK, weight="bold", va="bottom")
        _draw(axes, array, layout, low, high, titles)
    if not colour:
        place = axes_at(figure, EDGE + len(arrays) * (width + BETWEEN) - BETWEEN + 16, top, 18, min(tall, SIDE))
        _bar(figure, place, axes.images[0], arrays, low, high, label)
    for i, note in enumerate(notes):
        figure.text(EDGE / figure.bbox.width, (EDGE / 2 + LINE * i) / figure.bbox.height, note, fontsize=7, color=FAINT)
    return figure


def _checked(images: np.ndarray) -> np.ndarray:
    """(n, H, W) or (n, H, W, C) as floats; a single channel loses its axis."""
    array = np.asarray(images)
    if array.ndim not in (3, 4) or 0 in array.shape or array.dtype.kind not in "biuf":
        raise UserError(f"cannot show an array of shape {array.shape}, {array.dtype}, as images: give (n, H, W[, C])")
    array = array.astype(float)
    return array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array


def _layout(count: int, height: int, width: int, columns: int | None, head: int) -> Layout:
    columns = columns or round(math.sqrt(count * height / width))
    columns = min(max(columns, 1), count)
    rows = math.ceil(count / columns)
    zoom = min(SIDE // (columns * width), 1.6 * SIDE // (rows * height), 40)
    if zoom < 1:  # large images: one dot per pixel up to twice the usual size, fewer dots beyond
        zoom = 1 / math.ceil(max(columns * width, rows * height) / (2 * SIDE))
    return Layout(columns, rows, height, width, zoom, head)


def _draw(axes: Axes, array: np.ndarray, layout: Layout, low: float, high: float, titles: Sequence[str] | None) -> None:
    from matplotlib import colormaps

    grey = colormaps["gray"].with_extremes(bad=MISSING)
    for i, image in enumerate(array):
        if image.ndim == 3 and image.shape[-1] == 3:
            image = np.nan_to_num(np.clip((image - low) / (high - low), 0, 1))
        elif image.ndim == 3:
            image = image[..., 0]
        axes.imshow(
            np.ma.masked_invalid(image), cmap=grey, vmin=low, vmax=high, extent=layout.extent(i), aspect="auto",
            interpolation="nearest" if layout.zoom >= 1 else "antialiased",
        )  # fmt: skip
        if titles is not None:
            left, _, _, top = layout.extent(i)
            axes.text(left, top - 5, plain(titles[i]), fontsize=7, color=INK, va="bottom")
    width, height = layout.size
    axes.set(xlim=(0, width), ylim=(height, 0))  # imshow has moved them


def axes_at(figure: Figure, left: float, top: float, width: float, height: float, **options) -> Axes:
    """Axes at a place in dots from the figure's upper left corner."""
    w, h = figure.bbox.width, figure.bbox.height
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h), **options)


def _bar(
    figure: Figure, place: Axes, image, arrays: Mapping[str, np.ndarray], low: float, high: float, label: str
) -> None:
    shown = [_first(a) for a in arrays.values()]
    below, above = any((a < low).any() for a in shown), any((a > high).any() for a in shown)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(below), int(above)]
    bar = figure.colorbar(image, cax=place, extend=extend)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=7, color=FAINT, labelcolor=INK, width=0.4, length=2)
    bar.set_label(plain(label), fontsize=7, color=INK)


def _first(array: np.ndarray) -> np.ndarray:
    return array[..., 0] if array.ndim == 4 else array


def _notes(arrays: Mapping[str, np.ndarray], low: float, high: float) -> list[str]:
    """What the picture does not show, from the lowest line up."""
    channels = next(iter(arrays.values())).shape[3:]
    missing = any(not np.isfinite(_first(a) if channels != (3,) else a).all() for a in arrays.values())
    if channels == (3,):
        return [f"red, green, blue: {low:.4g} is dark, {high:.4g} bright" + "; missing values are dark" * missing]
    notes = [f"channel 1 of {channels[0]} is shown"] if channels else []
    return notes + ["blue: missing values"] * missing
