"""The scaling of data to the network's range, y = (g(x) - offset) / scale: stored, printed and undone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ludus.data.raw import Axis
from ludus.errors import UserError, unknown

BENDS = {"log1p": "log(1 + x)", "asinh": "arsinh(x / {:.6g})", "maximum": "each picture's own maximum"}
KINDS = ("auto", "minmax", "standard", "none", *BENDS)
VALUES = 1 << 23  # that percentiles and the median are taken of, at most


@dataclass(frozen=True)
class Scaling:
    """y = (g(x) - offset) / scale, with one offset for pictures, one per dimension for points, and one common scale.

        g(x) = x                    "", which is linear
               log(1 + x)           "log1p", for x > -1
               arsinh(x / knee)     "asinh": x / knee below the knee, ± log(2 |x| / knee) above it
               x / max x            "maximum", that of each picture, which is not kept

    x is cut off at `low` and `high` first. One scale for all dimensions keeps the geometry: a ring stays a ring. The
    knee is the median of |x| over the training values that are not 0: what is weaker is seen as it is, noise about 0
    with both signs too, and what is brighter by its logarithm (Lupton, Gunn & Szalay 1999).
    """

    kind: str  # "minmax": g(x) to [-1, 1]; "standard": to mean 0, mean variance 1; "none"
    offset: tuple[float, ...]
    scale: float
    bend: str = ""  # g
    knee: float = 1.0
    low: float | None = None
    high: float | None = None
    cut: float = 0.0  # share of the training values that lay beyond these
    maxima: tuple[float, float] | None = None  # lowest and highest, of the training pictures: what was divided by

    @property
    def bounded(self) -> bool:
        """Whether scaled data lie in [-1, 1], the range of tanh."""
        return self.kind == "minmax"

    @property
    def clips(self) -> bool:
        return self.low is not None or self.high is not None

    def __str__(self) -> str:
        offset = ", ".join(f"{value:.6g}" for value in self.offset[:3]) + (", …" if len(self.offset) > 3 else "")
        offset = f"({offset})" if len(self.offset) > 1 else offset
        by = f"by {BENDS[self.bend].format(self.knee)}, then " if self.bend else ""
        aim = "to [-1, 1]" if self.bounded else "to mean 0 and standard deviation 1"
        said = f"scaled {by}{aim}: ({'g' if self.bend else 'x'} - {offset}) / {self.scale:.6g}"
        said = "not scaled" if self.kind == "none" else said
        if self.maxima:
            lowest, highest = self.maxima
            said += f"; the maxima, {lowest:.6g} to {highest:.6g}, are not modelled: samples are fractions of them"
        return said + (f"; cut off {self.limits}, {100 * self.cut:.3g} % of the values" if self.clips else "")

    @property
    def limits(self) -> str:
        """Where x is cut off, in words."""
        ends = (("below", self.low), ("above", self.high))
        return " and ".join(f"{word} {end:.6g}" for word, end in ends if end is not None)

    def apply(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """From the user's units, (n, ...), computed in float64, to float32; NaN where x is, or where g has no value.

        out: is written to.
        """
        out = np.empty(np.shape(x), np.float32) if out is None else out
        if self._short(x):
            out[...] = x
            out -= self.offset[0]
            out /= self.scale
            return out
        y = self.bent(x) - self._offset(x)
        y /= self.scale
        out[...] = y
        return out

    def _short(self, x: np.ndarray) -> bool:
        """Whether float32 gives the same numbers, in half the time: where x - offset has 18 bits at most, since a
        quotient of two float32 is the same by way of float64 (Figueroa 1995)."""
        if self.bend or self.clips or len(self.offset) > 1 or x.dtype.kind not in "bui" or x.dtype.itemsize > 2:
            return False
        offset = self.offset[0]
        return abs(offset) <= 2**16 and (2 * offset).is_integer() and float(np.float32(self.scale)) == self.scale

    def undo(self, y: np.ndarray) -> np.ndarray:
        """Back to the user's units, of a picture's maximum to fractions; computed in float64, as float32."""
        g = self._back(y)
        g = np.expm1(g) if self.bend == "log1p" else self.knee * np.sinh(g) if self.bend == "asinh" else g
        return g.astype(np.float32)

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """log |dy/dx| of each value, at the x that y is of: where p is a density of y, log p + Σ of these is that of x.

        dy/dx = g'(x) / scale, with 1 / (1 + x) = e^-g for log1p, and 1 / √(x² + knee²) = 1 / (knee cosh g) for asinh.
        """
        g, own = self._back(y), np.zeros(np.shape(y))
        if self.bend == "log1p":
            own = g
        elif self.bend == "asinh":
            own = np.log(self.knee) + np.logaddexp(g, -g) - np.log(2)  # log cosh, without its overflow
        return -own - np.log(self.scale)

    def bent(self, x: np.ndarray) -> np.ndarray:
        """g(x) of rows x (n, ...), cut off, in float64."""
        x = self.clipped(np.asarray(x, np.float64))
        if self.bend == "log1p":
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.log1p(x)
        if self.bend == "asinh":
            return np.arcsinh(x / self.knee)
        if self.bend == "maximum":
            return x / peaks(x).reshape(-1, *(1,) * (x.ndim - 1))
        return x

    def signal(self, known: Axis) -> Axis:
        """Name and unit of what `undo` gives, where the data's are known."""
        return Axis(f"{known.name or 'x'} / maximum", "1") if self.bend == "maximum" else known

    def clipped(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, self.low, self.high) if self.clips else x

    def beyond(self, x: np.ndarray) -> np.ndarray:
        """Where x would be cut off, bool."""
        return (x < (-np.inf if self.low is None else self.low)) | (x > (np.inf if self.high is None else self.high))

    def check(self, x: np.ndarray, name: str, rows: Sequence[int] | None = None) -> None:
        """Raises UserError for the first row of x (n, ...) that cannot be scaled; rows: their numbers."""
        if self.bend not in ("log1p", "maximum"):
            return
        x = self.clipped(np.asarray(x, np.float64))
        found, least = (-peaks(-x), -1) if self.bend == "log1p" else (peaks(x), 0)
        if not (found <= least).any():
            return
        first = int((found <= least).argmax())
        row, value = first if rows is None else rows[first], found[first]
        if self.bend == "log1p":
            raise UserError(f"{name}: row {row} holds {value:.6g}, and log1p takes values above -1: scaling=asinh does")
        raise UserError(f"{name}: row {row} has the maximum {value:.6g}, and scaling=maximum divides by it: drop such "
                        "rows with weakest=0")  # fmt: skip

    def _back(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(y, np.float64) * self.scale + self._offset(y)

    def _offset(self, x: np.ndarray) -> np.ndarray | float:
        return self.offset[0] if len(self.offset) == 1 else np.asarray(self.offset)


def peaks(x: np.ndarray) -> np.ndarray:
    """The largest value of each row that is not NaN, (n,)."""
    return np.fmax.reduce(np.reshape(x, (len(x), -1)), axis=1)


def percentiles(clip: str) -> tuple[float, float]:
    """"0.1,99.9" -> (0.1, 99.9). Raises UserError for what is no such text."""
    try:
        low, high = map(float, clip.split(","))
    except ValueError:
        low = high = np.nan
    if not 0 <= low < high <= 100:
        raise UserError(f"clip = {clip!r}: it is two percentiles, such as 0.1,99.9, or 0,99.9 to cut off above only")
    return low, high


def check(kind: str, clip: str) -> None:
    """Raises UserError for an unknown scaling, and for a clip that is none."""
    if kind not in KINDS:
        raise unknown("scaling", kind, KINDS)
    if clip:
        percentiles(clip)


def needs_values(kind: str, clip: str) -> bool:
    return bool(clip) or kind == "asinh"


def begin(kind: str, clip: str, values: np.ndarray, name: str) -> Scaling:
    """g and where x is cut off, from values (m,) of the training rows if it `needs_values`; without offset and scale.

    Raises UserError where the percentiles leave a single value.
    """
    knee, low, high, values = 1.0, None, None, values.astype(np.float64)
    if clip:
        low, high = (float(value) for value in np.percentile(values, percentiles(clip)))
        if low == high:
            raise UserError(f"{name}: the percentiles clip = {clip} are both {low:.6g}: nothing else would be left")
        low, high = None if low == values.min() else low, None if high == values.max() else high
    if kind == "asinh" and (sizes := np.abs(values[values != 0])).size:
        knee = float(np.median(sizes))
    return Scaling("none", (0.0,), 1.0, kind if kind in BENDS else "", knee, low, high)


def fit(
    begun: Scaling, kind: str, blocks: Iterable[np.ndarray], name: str, rows: np.ndarray, points: bool
) -> Scaling:
    """`begun` with offset and scale: of the training rows, which come in blocks (n, D) and have these numbers, one
    offset of all, or for points one for each column; read once, in float64.

    kind: of `KINDS`; "auto", and where there is a g, is "minmax" for pictures and "standard" for points. Raises
    UserError for rows that cannot be scaled, constant data, and those whose units float32 cannot hold.
    """
    n, mean, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    done, cut, tops = 0, 0, []
    for block in blocks:
        begun.check(block, name, rows[done : done + len(block)])
        done, cut = done + len(block), cut + int(begun.beyond(block).sum())
        tops += [peaks(begun.clipped(block))] if begun.bend == "maximum" else []
        x = begun.bent(block)
        x = x if points else x.reshape(-1, 1)
        part = x.mean(0)
        step = part - mean  # the pairwise update of mean and sum of squares: Chan, Golub, LeVeque 1983
        squares = squares + np.square(x - part).sum(0) + np.square(step) * (n * len(x) / (n + len(x)))
        mean = mean + step * (len(x) / (n + len(x)))
        n += len(x)
        low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
    spread = float(np.max(high - low))
    if spread == 0:
        only = float(np.ravel(begun.undo(low))[0])  # what is scaled by 1, about 0, so far
        raise UserError(f"{name} is constant (every row is {only:.6g}): there is nothing to learn")
    if spread < 1e-36:
        raise UserError(f"{name} varies by {spread:.2g} only, too little for float32: use other units")
    maxima = (float(min(map(np.min, tops))), float(max(map(np.max, tops)))) if tops else None
    begun = replace(begun, cut=cut / (n * np.size(mean)), maxima=maxima)
    if kind == "none":
        return begun
    if kind not in ("minmax", "standard"):
        kind = "standard" if points else "minmax"
    low = np.minimum(low, 0) if begun.bend == "maximum" else low  # fractions of the maximum, from 0 to 1
    offset, scale = low + (high - low) / 2, float(np.max(high - low)) / 2
    if kind == "standard":
        offset, scale = mean, float(np.sqrt(np.mean(squares / n)))
    return replace(begun, kind=kind, offset=tuple(float(value) for value in np.ravel(offset)), scale=scale)
