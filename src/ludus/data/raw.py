"""An array that lies somewhere and can be read in parts, with what is known of its axes; and what fits in memory."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ludus.errors import UserError

LONG = 1 << 20  # values of an axis that are kept: one with more is of rows, which are only counted
BLOCK = 16 << 20  # bytes of float64 that one block of rows becomes

Region = tuple[slice, ...]  # of the first axes of an array: what can be read of any


@dataclass(frozen=True)
class Axis:
    """What a file says of an axis, or of the values themselves."""

    name: str = ""
    unit: str = ""  # as the file has it, never converted
    values: tuple[float, ...] = ()  # at the middle of each pixel; none: the pixels are only counted
    words: tuple[str, ...] = ()  # or what each column of points is called

    @property
    def label(self) -> str:
        """Name and unit, as a figure has them."""
        return f"{self.name} ({self.unit})" if self.name and self.unit else self.name or self.unit

    @property
    def step(self) -> float | None:
        """From one value to the next, where it is the same all along, to their rounding; else nothing."""
        if len(self.values) < 2:
            return None
        values = np.asarray(self.values)
        step = (values[-1] - values[0]) / (len(values) - 1)
        near = 1e-3 * abs(step) + float(np.finfo(np.float32).eps) * np.abs(values).max()
        return float(step) if step and (np.abs(np.diff(values) - step) <= near).all() else None

    def columns(self, n: int) -> tuple[str, ...]:
        """What each of n columns of points is called; nothing where that is not known."""
        if self.name and len(self.values) == n:
            return tuple(f"{self.name} {each:.4g} {self.unit}".strip() for each in self.values)
        return self.words if len(self.words) == n else ()

    def over(self, length: int) -> str:
        """Name, range and unit in words, of an axis so long."""
        if self.words:
            return f"columns {', '.join(self.words[:10])}{', …' * (len(self.words) > 10)}"
        first, last = (self.values[i] + 0.0 for i in (0, -1)) if self.values else (0, 0)  # and not -0
        ends = f"{first:.6g} to {last:.6g} {self.unit}" if self.values else ""
        return f"{' '.join(filter(None, (self.name or 'without a name', ends.strip())))}, {length:,} steps"


UNNAMED = Axis()


@dataclass(frozen=True)
class Raw:
    """An array that can be read by regions, (n, ...) in the file's own type, rows first."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Region], np.ndarray]
    storage: str = "in memory"
    chunk: int = 1  # rows that are stored together
    chunks: tuple[int, ...] = ()  # what is stored together along each axis, if not all is
    stored: int | None = None  # bytes on the disk, where that is known
    axes: tuple[Axis, ...] = ()  # of each dimension, or nothing
    signal: Axis = UNNAMED  # name and unit of the values
    group: int = 1  # rows one after another that come from one frame or volume, and so are alike
    frames: np.ndarray | None = None  # or (n,): rows with one number are, where a prepared file says so
    own: Mapping[str, np.ndarray] = field(default_factory=dict)  # what the source says of each row: (n,), (n, columns)
    along: Callable[[int], Mapping[str, np.ndarray]] | None = None  # the same of each step along another axis
    notes: tuple[str, ...] = ()  # what was cut, or left out, a line each

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.read((slice(start, stop),))

    @property
    def alike(self) -> int | np.ndarray:
        """Which rows are held out together."""
        return self.group if self.frames is None else self.frames

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def spans(self, stop: int | None = None, start: int = 0) -> Iterator[tuple[int, int]]:
        """From where to where each block goes, whole chunks at a time; start: where a block began."""
        stop = self.shape[0] if stop is None else stop
        fit = max(1, BLOCK // max(1, 8 * math.prod(self.shape[1:])))
        step = math.ceil(fit / self.chunk) * self.chunk
        return ((begin, min(begin + step, stop)) for begin in range(start, stop, step))

    def blocks(self, stop: int | None = None, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """The first row's index and the rows, block by block."""
        return ((begin, self.rows(begin, end)) for begin, end in self.spans(stop, start))


def in_memory(name: str, array: np.ndarray, storage: str = "in memory") -> Raw:
    return Raw(name, array.shape, array.dtype, array.__getitem__, storage)


def size(n: float) -> str:
    """Bytes in words."""
    if n < 1000:
        return f"{n:.0f} bytes"
    power = min(int(math.log10(n)) // 3, 4)
    return f"{n / 1000**power:.1f} {'kMGT'[power - 1]}B"


def times(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape) or "a single number"


def budget() -> int:
    """Bytes that data may take: half of the memory that is free now, within a container's limit."""
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/meminfo") as lines:
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):
        total, used = (Path(f"/sys/fs/cgroup/memory.{which}").read_text() for which in ("max", "current"))
        limits.append(int(total) - int(used))
    if not limits:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=16 << 30) // 2


def check_budget(name: str, shape: tuple[int, ...], itemsize: int, advice: str = "cut it into smaller files") -> None:
    """Raises UserError where an array of this shape would not fit."""
    need, have = math.prod(shape) * itemsize, budget()
    if need > have:
        raise UserError(
            f"{name} declares {times(shape)} values, {size(need)} in memory, more than the budget of {size(have)} "
            f"(half of the free memory): {advice}"
        )
