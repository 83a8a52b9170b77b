"""Curves of one image, for figures with bands: spectra, correlations, profiles, histograms, Minkowski functionals."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ludus.data.raw import UNNAMED, Axis
from ludus.features import spectra
from ludus.features.extractor import blocks, checked
from ludus.features.minkowski import FUNCTIONALS
from ludus.features.observables import UNITS

BINS, THRESHOLDS = 50, 20


@dataclass(frozen=True, eq=False)
class Curve:
    """Rows of images or points -> (n, bins), one curve a row, at the places `at` (bins,)."""

    name: str
    of: Callable[[np.ndarray], np.ndarray]
    at: np.ndarray
    along: str  # what the axis says, with its unit
    height: str  # what is drawn above it, with its unit
    logarithmic: bool = False  # both axes, as of a power spectrum

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = checked(x)
        return np.concatenate([np.asarray(self.of(np.array(x[rows], float)), float) for rows in blocks(x)])


def curves(x: np.ndarray, grid: tuple[Axis, ...] = (), signal: Axis = UNNAMED) -> list[Curve]:
    """Of each channel of images (n, H, W, C): power spectrum, radial and along both axes, correlation along both axes,
    row and column means, histogram, Minkowski functionals; of points (n, D) the histogram of each coordinate.

    x: rows of the data, training ones: from their lowest to their highest value the histogram has 50 bins, whose
    outermost take what lies beyond, and the functionals 20 thresholds.    grid: axes of height and width, signal: of
    the values, as far as they are known; what is not is counted in pixels, or is in the data's units.
    """
    x = checked(x)
    if x.ndim == 2:
        edges = [edges_of(column, BINS) for column in x.T]
        value = f"value ({UNITS})"
        names = (grid[0].columns(x.shape[1]) if grid else ()) or [f"x{i + 1}" for i in range(x.shape[1])]
        return [counted(f"histogram of {names[i]}", partial(_coordinate, i), e, value) for i, e in enumerate(edges)]
    several, found = x.shape[3] > 1, []
    for c in range(x.shape[3]):
        prefix = f"channel {c + 1}: " if several else ""
        for each in of_planes(x[..., c], partial(_channel, c), grid or (UNNAMED, UNNAMED), signal):
            found.append(Curve(prefix + each.name, each.of, each.at, each.along, each.height, each.logarithmic))
    return found


def _coordinate(i: int, x: np.ndarray) -> np.ndarray:
    return x[:, i, None, None]


def _channel(c: int, x: np.ndarray) -> np.ndarray:
    return x[..., c]


def of_planes(
    planes: np.ndarray, pick: Callable[[np.ndarray], np.ndarray], grid: tuple[Axis, ...], signal: Axis
) -> list[Curve]:
    """Those of one channel, which `pick` takes of images: (n, H, W, C) -> (n, H, W)."""
    units = signal.unit or UNITS
    shape, square, found = planes.shape[1:], f"power (({units})²)", []
    at = spectra.radial(np.zeros((1, *shape))).at
    if len(at):
        f = "frequency (cycles per pixel)"
        found.append(Curve("power spectrum", lambda x: spectra.radial(pick(x)).values, at, f, square, True))
    for axis, name in ((1, "row"), (2, "column")):
        if shape[axis - 1] > 1:
            found += along_axis(axis, name, shape, pick, square, grid[axis - 1])
    for axis, name in ((1, "row"), (2, "column")):
        mean, height = partial(_mean_over, pick, 3 - axis), Axis(f"mean {signal.name}".strip(), units).label
        at, along = np.arange(shape[axis - 1]), f"{name} (pixels)"
        if len(grid[axis - 1].values) == len(at):
            at, along = np.array(grid[axis - 1].values), grid[axis - 1].label or name
        found.append(Curve(f"{name} means", mean, at, along, height))
    edges = edges_of(planes, THRESHOLDS + 1)[1:-1]
    for name, (functional, unit) in FUNCTIONALS.items():
        above = partial(_above, pick, edges, functional)
        found.append(Curve(f"{name} above a threshold", above, edges, f"threshold ({units})", f"{name} ({unit})"))
    return [*found, counted("histogram", pick, edges_of(planes, BINS), Axis(signal.name or "value", units).label)]


def along_axis(
    axis: int, name: str, shape: tuple[int, int], pick: Callable, square: str, known: Axis = UNNAMED
) -> list[Curve]:
    """Spectrum, without f = 0, and correlation up to half the length; across the rows is the axis 1.

    In the units of the axis where its steps are equal, else in pixels.
    """
    pixel, unit, far = 1.0, "pixel", f"distance (pixels, across {name}s)"
    if known.step is not None and len(known.values) == shape[axis - 1]:
        pixel, unit = abs(known.step), known.unit or known.name or "unit"
        far = f"distance along {known.label}" if known.label else f"distance across {name}s"
    f, half = np.fft.rfftfreq(shape[axis - 1], pixel)[1:], shape[axis - 1] // 2 + 1

    def spectrum(x: np.ndarray) -> np.ndarray:
        return spectra.along(pick(x), axis)[1][:, 1:]

    def correlation(x: np.ndarray) -> np.ndarray:
        return spectra.correlation_along(pick(x), axis)[:, :half]

    height = square.replace("power", "C(r)")
    return [
        Curve(f"power spectrum across {name}s", spectrum, f, f"frequency (cycles per {unit})", square, True),
        Curve(f"correlation across {name}s", correlation, pixel * np.arange(half), far, height),
    ]


def _mean_over(pick: Callable, axis: int, x: np.ndarray) -> np.ndarray:
    return pick(x).mean(axis)


def _above(pick: Callable, thresholds: np.ndarray, functional: Callable, x: np.ndarray) -> np.ndarray:
    planes = pick(x)
    return np.stack([functional(planes > each) for each in thresholds], 1)


def edges_of(values: np.ndarray, bins: int) -> np.ndarray:
    """Edges (bins + 1,) of equal steps from the lowest to the highest value; about a single one, of unit width."""
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 0.5, low + 0.5, bins + 1)


def counted(name: str, pick: Callable, edges: np.ndarray, value: str) -> Curve:
    """The share of the pixels of each row in each bin; the outermost take what lies beyond."""
    bins = len(edges) - 1

    def of(x: np.ndarray) -> np.ndarray:
        flat = pick(x).reshape(len(x), -1)
        place = np.clip(((flat - edges[0]) / (edges[1] - edges[0])).astype(int), 0, bins - 1)
        place += bins * np.arange(len(x))[:, None]
        return np.bincount(place.ravel(), minlength=bins * len(x)).reshape(len(x), bins) / flat.shape[1]

    return Curve(name, of, (edges[1:] + edges[:-1]) / 2, value, "share")
