"""Rows cut from what a file holds: panels of a volume along its named axes, tiles of large frames; read as needed."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ludus.data import layout
from ludus.data.raw import BLOCK, UNNAMED, Axis, Raw, Region, times
from ludus.errors import UserError

PAGE = 4096  # bytes that a disk gives at once
TOGETHER = 4 * BLOCK  # bytes at most that are read at once because they lie side by side


class Cuts(NamedTuple):
    """How rows are cut; nothing by default."""

    panels: str = ""  # names or numbers of the axes whose every step is a row: "energy", "L,energy", "2"
    tiles: str = ""  # height × width in pixels: "64x64", or "64"
    channels: str = "auto"  # where frames have theirs, as for `layout.axes`


WHOLE = Cuts()


def cut(raw: Raw, cuts: Cuts, row: tuple[int, ...] = ()) -> Raw:
    """The rows that are asked for, read as they are needed: panels first, then tiles of these.

    row: the shape of one; data that have it, or whose rows do, and no axis of the name of the panels', were cut before.
    """
    names = {axis.name for axis in raw.axes}
    before = row and row in (raw.shape, raw.shape[1:])
    if before and not any(word.isdecimal() or word in names for word in words(cuts.panels)):
        return raw
    raw = panels(raw, cuts.panels) if cuts.panels else raw
    return tiles(raw, cuts.tiles, cuts.channels) if cuts.tiles else raw


def panels(raw: Raw, text: str) -> Raw:
    """Each step along the axes of `text` is a row, the last of them the fastest; the two axes left are its picture.

    Where three are left, the first of the file counts volumes, unless it has a name: volume by volume their panels
    follow. Panels of one volume, or of one step of the first axis where it is the first of several, are held out
    together. Each axis with a name is a condition, :NAME, and so is what the source says of its steps. Raises UserError
    for an unknown axis, and where what is left is no picture.
    """
    axes, along = axes_of(raw), named(raw, text)
    left = [i for i in range(len(axes)) if i not in along]
    if len(left) == 3 and left[0] == 0 and not axes[0].name:
        along, left = [0, *along], left[1:]
    if len(left) != 2:
        raise no_picture(raw, text, left)
    several = len(along) > 1 and along[0] == 0
    of_one = math.prod(raw.shape[i] for i in along[several:])
    group = raw.group * of_one if several else of_one
    told = [raw.own if i == 0 else raw.along(i) if raw.along else {} for i in along]
    cut = gathered(replace(raw, axes=axes), along, left, group, beside(raw, along), told)
    names = " × ".join(axes[i].name or ("volumes" if i == 0 and several else f"axis {i}") for i in along)
    note = f"cut into panels along {names}: {cut.shape[0]:,} pictures of {times(cut.shape[1:])}"
    return replace(cut, notes=(*raw.notes, note))


def beside(raw: Raw, along: list[int]) -> int:
    """How many panels lie together on the disk, and so are best read together."""
    row = max(1, math.prod(n for i, n in enumerate(raw.shape) if i not in along) * raw.dtype.itemsize)
    chunks = raw.chunks or (*[1] * (len(raw.shape) - 1), max(1, PAGE // raw.dtype.itemsize))
    near = [min(chunks[i], raw.shape[i]) for i in along]
    for k, n in enumerate(near):
        count = n * math.prod(raw.shape[i] for i in along[k + 1 :])
        if n > 1 and count * row <= TOGETHER:
            return count
    return max(1, min(near[-1], TOGETHER // row))


def tiles(raw: Raw, text: str, channels: str = "auto") -> Raw:
    """Tiles of each frame in the order of reading; what is left over at the right and below is not used, and said so.

    Frames are (n, H, W), with channels after n or last, or a single one without n. Tiles of a frame are held out
    together, and their own axes begin at 0. Where the middle of each lies in its frame is a condition: :row and
    :column, or the names of the axes. Raises UserError for tiles that are larger than a frame.
    """
    raw, both, (i, j), (high, wide) = pieces(raw, text, "tiles", channels)
    height, width = raw.shape[i], raw.shape[j]
    per = (height // high) * (width // wide)
    along = [0, i, j + 1]
    left = [k for k in range(len(both.shape)) if k not in along]
    cut = gathered(both, along, left, raw.group * per, raw.chunk * per, [raw.own, {}, {}])
    note = f"cut into tiles of {high} × {wide}: {height // high} × {width // wide} of each frame"
    note += left_over(height % high, width % wide)
    return replace(cut, notes=(*raw.notes, note))


def pieces(raw: Raw, text: str, what: str, channels: str) -> tuple[Raw, Raw, tuple[int, int], tuple[int, int]]:
    """Data as frames, and with height and width as two axes each, of pieces and of what is in them; which axes height
    and width are, and those of a piece. Raises UserError for pieces that are larger than a frame."""
    high, wide = two(text, what)
    raw, i, j = frames(raw, channels)
    if high > raw.shape[i] or wide > raw.shape[j]:
        whole = f"a frame of {raw.name}, {raw.shape[i]} × {raw.shape[j]}"
        raise UserError(f"{what.removesuffix('s')}s of {high} × {wide} are larger than {whole}")
    return raw, split(split(raw, j, wide, "column"), i, high, "row"), (i, j), (high, wide)


class Told(Mapping):
    """What is said of each row that was cut: where that was, by the names of axes, and what is said `of` the step along
    each of the axes that it was cut at. Worked out when it is asked for: there may be many rows."""

    def __init__(self, of: Sequence[Mapping], axes: Sequence[Axis], dims: Sequence[int], first: int) -> None:
        self.of, self.dims, self.first = of, dims, first  # along which of the axes the source has its rows
        self.axes = {axis.name: (k, axis) for k, axis in enumerate(axes) if axis.name and axis.values}
        units = {name: axis.unit for name, (_, axis) in self.axes.items()}
        self.units: dict[str, str] = {**getattr(of[first], "units", {}), **units}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.axes:
            k, axis = self.axes[name]
            return np.asarray(axis.values)[step(self.dims, k)]
        k = next((k for k, each in enumerate(self.of) if name in [*each]), self.first)
        return self.of[k][name][step(self.dims, k)]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.axes, *(name for each in self.of for name in each)]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def gathered(raw: Raw, along: list[int], left: list[int], group: int, chunk: int, told: Sequence[Mapping]) -> Raw:
    """Each step along some axes a row, the last of them the fastest, of what is left; told: of these steps."""
    dims = [raw.shape[i] for i in along]
    shape = (math.prod(dims), *(raw.shape[i] for i in left))

    def read(region: Region) -> np.ndarray:
        rows, *inner = spans(region, shape)
        out = np.empty([each.stop - each.start for each in (rows, *inner)], raw.dtype)
        done = 0
        for box in boxes(rows.start, rows.stop, dims):
            where = dict(zip((*along, *left), (*box, *inner)))
            block = np.asarray(raw.read(tuple(where[i] for i in sorted(where)))).transpose(*along, *left)
            n = math.prod(block.shape[: len(box)])
            out[done : done + n].reshape(block.shape)[...] = block
            done += n
        return out

    kept = 0 in along  # the rows of the source are told apart
    place = along.index(0) if kept else 0
    own = Told(told, [raw.axes[i] for i in along], dims, place)
    first = raw.axes[along[0]] if len(along) == 1 else UNNAMED
    axes = (first, *(raw.axes[i] for i in left))
    frames = raw.frames[step(dims, place)] if kept and raw.frames is not None else None
    return replace(
        raw, shape=shape, read=read, axes=axes, own=own, along=None, group=group, frames=frames, chunk=chunk, chunks=(),
    )  # fmt: skip


def step(dims: Sequence[int], k: int) -> np.ndarray:
    """Where each row stands along one of the axes whose steps are rows."""
    return np.arange(math.prod(dims)) // math.prod(dims[k + 1 :]) % dims[k]


def split(raw: Raw, axis: int, length: int, name: str) -> Raw:
    """An axis as two: pieces of a length, and what is in them, from 0 if they are several with equal steps; what is
    left over at the end is gone."""
    pieces, old = raw.shape[axis] // length, raw.axes[axis]
    shape = (*raw.shape[:axis], pieces, length, *raw.shape[axis + 1 :])

    def read(region: Region) -> np.ndarray:
        where = spans(region, shape)
        these, inner = where[axis], where[axis + 1]
        only = inner if these.stop - these.start == 1 else slice(0, length)  # of several pieces all is read
        first, last = these.start * length + only.start, (these.stop - 1) * length + only.stop
        block = np.asarray(raw.read((*where[:axis], slice(first, max(first, last)), *where[axis + 2 :])))
        n = these.stop - these.start
        block = block.reshape(*block.shape[:axis], n, only.stop - only.start, *block.shape[axis + 1 :])
        return block if only == inner else block[(slice(None),) * (axis + 1) + (inner,)]

    values = np.asarray(old.values or range(raw.shape[axis]), float)[: pieces * length].reshape(pieces, length)
    middles = Axis(old.name or name, old.unit, tuple(values.mean(1).tolist()))
    within = UNNAMED if old.step is None else replace(old, values=tuple((old.step * np.arange(length)).tolist()))
    within = replace(old, values=old.values[:length]) if pieces == 1 else within
    return replace(raw, shape=shape, read=read, axes=(*raw.axes[:axis], middles, within, *raw.axes[axis + 1 :]))


def frames(raw: Raw, channels: str) -> tuple[Raw, int, int]:
    """Data as frames, rows first, with all axes; and which of these are height and width."""
    single = len(raw.shape) == 2 or (len(raw.shape) == 3 and channels in ("first", "last"))
    raw = replace(raw, axes=axes_of(raw))
    if single:
        whole = raw
        raw = replace(
            raw, shape=(1, *raw.shape), axes=(UNNAMED, *raw.axes), own={}, group=1, frames=None, chunk=1,
            read=lambda region: np.asarray(whole.read(region[1:]))[None][region[:1]],
        )  # fmt: skip
    axes = layout.axes(raw.shape, channels, raw.name)
    if axes in ("N", "ND"):
        raise UserError(f"{raw.name} are points, {times(raw.shape)}, not pictures: there is nothing to cut")
    return raw, axes.index("H"), axes.index("W")


def left_over(below: int, right: int) -> str:
    """What is said of pixels that fill no tile."""
    counts = [f"{n} {'row' if n == 1 else 'rows'} of pixels below"] if (n := below) else []
    counts += [f"{n} {'column' if n == 1 else 'columns'} at the right"] if (n := right) else []
    return f"; not used: {' and '.join(counts)}" if counts else ""


def words(text: str) -> list[str]:
    return [part.strip().removeprefix("axis=") for part in text.split(",")]


def named(raw: Raw, text: str) -> list[int]:
    """The axes that a text names or counts. Raises UserError for one that there is not."""
    names, found = [axis.name for axis in raw.axes], []
    for word in words(text):
        if word and names.count(word) == 1:
            found.append(names.index(word))
        elif word.isdecimal() and int(word) < len(raw.shape):
            found.append(int(word))
        else:
            why = f"{names.count(word)} axes {word!r}: give its number" if word in names else f"no axis {word!r}"
            raise UserError(f"{raw.name} has {why}. {listed(raw)}")
    if len(set(found)) < len(found):
        raise UserError(f"panels {text}: an axis of {raw.name} is named twice")
    return found


def no_picture(raw: Raw, text: str, left: list[int]) -> UserError:
    axes = axes_of(raw)
    advice = f"name {'more' if len(left) > 2 else 'fewer'} axes"
    if len(left) == 3 and axes[left[0]].name:
        advice = f"say --panels {axes[left[0]].name},{text}, or another that is no axis of the picture"
    many = f"panels {text} of {raw.name} leave {len(left)} {'axis' if len(left) == 1 else 'axes'}, a picture has two"
    return UserError(f"{many}: {advice}. {listed(raw)}")


def listed(raw: Raw) -> str:
    return "Axes: " + "; ".join(f"{i}, {axis.over(n)}" for i, (axis, n) in enumerate(zip(axes_of(raw), raw.shape)))


def axes_of(raw: Raw) -> tuple[Axis, ...]:
    """One for each dimension, known or not."""
    return raw.axes or (UNNAMED,) * len(raw.shape)


def two(text: str, what: str) -> tuple[int, int]:
    """Height and width of "64x32", or of "64" for both."""
    found = re.fullmatch(r"\s*(\d+)\s*(?:[xX×]\s*(\d+)\s*)?", text)
    high, wide = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not high or not wide:
        raise UserError(f"{what} {text}: height and width in pixels, such as 64x64")
    return high, wide


def spans(region: Region, shape: tuple[int, ...]) -> list[slice]:
    """The slices of a region with their ends, one for each axis."""
    whole = [*region, *[slice(None)] * (len(shape) - len(region))]
    ends = [each.indices(n)[:2] for each, n in zip(whole, shape, strict=True)]
    return [slice(start, max(start, stop)) for start, stop in ends]


def boxes(start: int, stop: int, dims: list[int]) -> Iterator[tuple[slice, ...]]:
    """The rows from start to stop of an array whose first axes are `dims`, in their order, as few boxes as it takes."""
    if start >= stop:
        return
    if len(dims) == 1:
        yield (slice(start, stop),)
        return
    per = math.prod(dims[1:])
    first, last = -(-start // per), stop // per  # steps of the first axis that are wanted whole
    if first > last:  # within a single one
        yield from ((slice(last, first), *box) for box in boxes(start - last * per, stop - last * per, dims[1:]))
        return
    yield from ((slice(first - 1, first), *box) for box in boxes(start - (first - 1) * per, per, dims[1:]))
    if first < last:
        yield (slice(first, last), *(slice(0, n) for n in dims[1:]))
    yield from ((slice(last, last + 1), *box) for box in boxes(0, stop - last * per, dims[1:]))
