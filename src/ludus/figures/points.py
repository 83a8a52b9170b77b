"""Points in the plane: real and generated on the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ludus.errors import UserError
from ludus.figures.save import COLOURS, FAINT, INK, blank, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def points(groups: Mapping[str, np.ndarray], names: Sequence[str] = ()) -> Figure:
    """Shows each group of points in a panel of its own; all panels have the same axes, and equal units on both.

    groups: {"real": (n, D), "generated": (m, D)}; (n,) is (n, 1). The first group fixes the axes and lies in grey
    under the others; how many points fall outside is said. D = 1 is shown as histograms; of D > 2 the first two
    dimensions, and said so.    names: of the dimensions.
    Raises UserError for arrays that are not (n, D) or (n,) numbers.
    """
    arrays = {name: _checked(name, a) for name, a in groups.items()}
    dimension = next(iter(arrays.values())).shape[1]
    figure = blank(140 + 840 * len(arrays), 940)
    panels = figure.subplots(1, len(arrays), sharex=True, sharey=True, squeeze=False)[0]
    across, *up = _labels(names, dimension)
    for axes, (name, array), colour in zip(panels, arrays.items(), COLOURS):
        first = None if axes is panels[0] else next(iter(arrays.values()))
        (_histogram if dimension == 1 else _scatter)(axes, array, first, colour)
        axes.set_xlabel(across, fontsize=8, color=INK)
        axes.set_title(plain(name), fontsize=9, color=INK, weight="bold", loc="left")
        axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK, labelleft=axes is panels[0])
        axes.spines[:].set(color=FAINT, linewidth=0.5)
    panels[0].set_ylabel("share per unit" if dimension == 1 else up[0], fontsize=8, color=INK)
    _same_axes(panels, arrays)
    figure.subplots_adjust(left=0.14 / len(arrays), right=0.985, bottom=0.11, top=0.94, wspace=0.06)
    return figure


def _labels(names: Sequence[str], dimension: int) -> list[str]:
    """What the one or two axes say; names that there are not for all dimensions are none."""
    if len(names) != dimension:
        return [f"{x} of {dimension}" if dimension > 2 else x for x in ("x₁", "x₂")[:dimension]]
    return [plain(f"{x}, {i} of {dimension}" if dimension > 2 else x) for i, x in enumerate(names[:2], 1)]


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise UserError(f"cannot show {name!r}, shape {array.shape}, {array.dtype}, as points: give numbers (n, D)")
    return array.astype(float)


def _scatter(axes: Axes, array: np.ndarray, first: np.ndarray | None, colour: str) -> None:
    if first is not None:
        axes.scatter(*first[:, :2].T, s=3, color="#cfd3d8", linewidths=0)
    axes.scatter(*array[:, :2].T, s=3, color=colour, linewidths=0, alpha=0.6)


def _histogram(axes: Axes, array: np.ndarray, first: np.ndarray | None, colour: str) -> None:
    low, high = _range(array if first is None else first)
    bins = np.linspace(low, high, 61)
    if first is not None:
        axes.stairs(_share(first, bins), bins, fill=True, color="#cfd3d8")
    axes.stairs(_share(array, bins), bins, color=colour, linewidth=1.2)


def _share(array: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Density over the bins; what lies outside lowers it, so that curves of one height mean one density."""
    return np.histogram(array[np.isfinite(array)], bins)[0] / len(array) / np.diff(bins)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest finite value with a sixth of their distance around them."""
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = (high - low) / 6 or 0.5
    return float(low - margin), float(high + margin)


def square(array: np.ndarray) -> np.ndarray:
    """The ends of two axes of equal units on which all points (n, 2) are seen, (2, 2): a row for each axis."""
    ranges = np.array([_range(column) for column in array.T])
    centre, half = ranges.mean(1), np.ptp(ranges, axis=1).max() / 2
    return np.stack([centre - half, centre + half], axis=1)


def _same_axes(panels, arrays: Mapping[str, np.ndarray]) -> None:
    """The first group's axes for all, so that a generator gone astray does not shrink the truth to a dot."""
    first = next(iter(arrays.values()))[:, :2]
    if first.shape[1] == 2:
        ranges = square(first)
        panels[0].set_ylim(ranges[1])
    else:
        ranges = np.array([_range(first[:, 0])])
    panels[0].set_xlim(ranges[0])
    for axes, array in zip(panels, arrays.values()):
        if first.shape[1] == 2:
            axes.set_aspect("equal", adjustable="box")
        inside = ((array[:, :2] >= ranges[:, 0]) & (array[:, :2] <= ranges[:, 1])).all(1)
        if outside := int((~inside).sum()):
            axes.set_title(f"{outside:,} of {len(array):,} outside", fontsize=7, color=COLOURS[1], loc="right")
