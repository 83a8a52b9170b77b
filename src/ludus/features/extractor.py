"""What every extractor is: a name, where its numbers come from, and rows of features, made block by block."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ludus.errors import UserError

BLOCK = 1 << 23  # bytes of images in float64 at a time
FLOOR = 0.01  # of the median sd: the least by which a feature is divided


@dataclass(frozen=True, eq=False)
class Extractor:
    """Images (n, H, W, C) or points (n, D), in the user's units -> features (n, d), float64.

    identity goes into the report: seed, SHA-256 of weights or of what it was fitted to, preprocessing.
    of: what makes (b, d) of a block of rows.    shape: of one row; None takes any.
    """

    name: str
    identity: dict[str, Any]
    of: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...] | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Raises UserError for rows of another shape than it was fitted to, and for values that are not finite."""
        x = checked(x)
        if self.shape is not None and x.shape[1:] != self.shape:
            raise UserError(f"{self.name} features are of rows {self.shape}, these are {x.shape[1:]}")
        parts = [np.asarray(self.of(x[rows]), float) for rows in blocks(x)]
        if len({part.shape[1] for part in parts}) > 1:
            raise UserError(f"{self.name} gives features of other widths for other rows: they must always be the same")
        return np.concatenate(parts)

    def scaled(self, fit: np.ndarray) -> "Extractor":
        """The same z-scored by rows `fit`, as the library's own are."""
        whole = scale_of(self(fit))
        return replace(self, of=lambda x: whole(np.asarray(self.of(x), float)))


def checked(x: np.ndarray) -> np.ndarray:
    """The array, if it is (n, H, W, C) or (n, D), holds rows and is finite throughout."""
    x = np.asarray(x)
    if x.ndim not in (2, 4) or not x.size:
        raise UserError(f"images are (n, H, W, C) and points (n, D), with a row at least: these are {x.shape}")
    if not all(np.isfinite(x[rows]).all() for rows in blocks(x)):
        raise UserError("the images or points hold a value that is not finite: there are no features of NaN")
    return x


def blocks(x: np.ndarray) -> Iterator[slice]:
    """Slices of rows that take BLOCK bytes in float64."""
    step = max(1, BLOCK // (8 * math.prod(x.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(x), step))


class Scale(NamedTuple):
    """Mean and standard deviation of columns."""

    mean: np.ndarray
    sd: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        off = rows - self.mean
        off /= self.sd
        return off


def scale_of(rows: np.ndarray) -> Scale:
    """Of the columns of rows (n, d); no sd below 1 % of the median of those that vary.

    A column that is all but constant would otherwise outweigh all others wherever another set does vary in it.
    """
    sd = rows.std(0)
    vary = sd[sd > 1e-9 * sd.max()]
    return Scale(rows.mean(0), np.maximum(sd, FLOOR * np.median(vary)) if len(vary) else np.ones_like(sd))


def scale_of_channels(x: np.ndarray) -> Scale:
    """Of each channel of images, all its pixels together, or of each coordinate of points: what has a unit of its own.

    The sums are of differences from the first row, which an offset does not round away.
    """
    wide = x.shape[-1]
    first = np.asarray(x[0], float).reshape(-1, wide).mean(0)
    total, square, n = np.zeros(wide), np.zeros(wide), x.size // wide
    for rows in blocks(x):
        off = np.asarray(x[rows], float).reshape(-1, wide) - first
        total, square = total + off.sum(0), square + (off**2).sum(0)
    mean = total / n
    sd = np.sqrt(np.maximum(square / n - mean**2, 0))
    sd[sd <= 1e-9 * np.abs(first + mean)] = 0
    return Scale(first + mean, np.where(sd > 0, sd, 1.0))


def pick(x: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many rows, by the seed, in their own order."""
    if len(x) <= most:
        return x
    return x[np.sort(np.random.default_rng(seed).choice(len(x), most, replace=False))]


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays: type, shape and content."""
    found = hashlib.sha256()
    for each in arrays:
        each = np.ascontiguousarray(each)
        found.update(f"{each.dtype.str}{each.shape}".encode())
        found.update(each.data if each.size else b"")
    return found.hexdigest()
