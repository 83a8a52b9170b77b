"""Several files as one array: the pictures of a folder or a pattern, a row each, or the rows of array files end to end.

What belongs together is of one shape and type; the first file that is not is named. A few files are open at a time.
"""

import bisect
import contextlib
import importlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ludus.data import locate
from ludus.data.raw import UNNAMED, Axis, Raw, Region, check_budget, size, times
from ludus.data.readers import picture
from ludus.errors import UserError

OPEN = 8  # files at most that are open at a time
FEW = 8  # different notes of files that are given
NEAR = 0.1  # steps of an axis that files may differ by


@contextlib.contextmanager
def opened(path: str, part: str = "", done: Callable[[Raw], Raw] = lambda raw: raw) -> Iterator[Raw]:
    """The files of a folder, or of a pattern such as scans/*.h5, in natural order: 2 before 10.

    part: of each, what to take. done: what is made of each array before they are joined, so that volumes are cut one by
    one; of pictures, what is made of all. Rows say by `own` which file and sub-folder they are of, and what that file
    says of itself. Raises UserError naming the first file that is not like most.
    """
    kind, paths, others = locate.members(path)
    told = names(path, paths)
    if kind == "picture" or (kind == "tiff" and not part and not any(map(picture.is_stack, paths))):
        if part:
            raise UserError(f"{path} are pictures, which have no parts: leave out {':' + part!r}")
        raw = pictures(path, paths, told)
        yield done(replace(raw, notes=(*raw.notes, *left_out(others))))
        return
    if not part and (listed := contents(path)):
        more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
        raise UserError(f"the files of {path} hold several arrays; say which: {', '.join(listed[:8])}{more}")
    with Shelf(paths, kind, part, done) as shelf:
        raw = end_to_end(f"{path}:{part}" if part else path, shelf, told)
        yield replace(raw, notes=(*raw.notes, *left_out(others)))


def contents(path: str) -> list[str]:
    """What the first of several array files holds, where the user must say what of each is meant."""
    kind, paths, _ = locate.members(path)
    listed = [] if kind == "picture" else reader(kind).contents(paths[0])
    return [each.replace(paths[0], path, 1) for each in listed]


def reader(kind: str) -> Any:
    return importlib.import_module(f"ludus.data.readers.{kind}")


def names(path: str, paths: list[str]) -> dict[str, np.ndarray]:
    """Each file's path below the folder that is named, and the sub-folder it is in, where there are any."""
    root = path
    while not os.path.isdir(root or "."):  # of a pattern, or of a single file
        root = os.path.dirname(root)
    below = [each.removeprefix(root).lstrip(os.sep).replace(os.sep, "/") for each in paths]
    folders = [each.rpartition("/")[0] for each in below]
    return {"file": np.array(below)} | ({"folder": np.array(folders)} if any(folders) else {})


def left_out(others: int) -> tuple[str, ...]:
    return (f"{others:,} other file{'s' * (others > 1)} beside them: not read",) if others else ()


Fact = tuple[tuple[int, ...], np.dtype]  # shape and type


def agree(paths: list[str], facts: list[Fact], what: str) -> Fact:
    """What most of the files are. Raises UserError naming the first that is something else."""
    usual, n = Counter(facts).most_common(1)[0]
    if n < len(facts):
        odd = next(i for i, each in enumerate(facts) if each != usual)
        others = "the others are" if n == len(facts) - 1 else f"{n:,} of {len(facts):,} are"
        raise UserError(f"{paths[odd]} {what} {words(facts[odd])}, {others} {words(usual)}")
    return usual


def words(fact: tuple) -> str:
    return f"{times(fact[0])} {fact[1]}"


# -- pictures ----------------------------------------------------------------------------------------------------------


def pictures(name: str, paths: list[str], told: dict[str, np.ndarray]) -> Raw:
    """Pictures as rows, (n, H, W) or (n, H, W, 3); all headers are read, and each picture when it is asked for."""
    heads = [picture.head(each) for each in paths]
    row, dtype = agree(paths, [(head.shape, head.dtype) for head in heads], "is")
    check_budget(paths[0], row, dtype.itemsize)
    formats = Counter(head.format for head in heads)
    done = Counter(each for head in heads for each in head.done)
    held = sum(map(os.path.getsize, paths))

    def read(region: Region) -> np.ndarray:
        rows = range(len(paths))[region[0]]
        out = np.empty((len(rows), *row), dtype)
        for where, i in zip(out, rows, strict=True):
            where[...] = picture.values(paths[i], heads[i])
        return out[(slice(None), *region[1:])]

    storage = f"{', '.join(f'{n:,} {each}' for each, n in formats.items())} files, {size(held)} on disk"
    notes = tuple(f"{each}: {n:,} of {len(paths):,} pictures" for each, n in done.items())
    return Raw(
        name, (len(paths), *row), dtype, read, storage, chunks=(1, *row), stored=held, own=told, notes=notes
    )  # fmt: skip


# -- arrays ------------------------------------------------------------------------------------------------------------


class Shelf:
    """Arrays of files of one kind, opened as they are asked for; the last few stay open."""

    def __init__(self, paths: list[str], kind: str, part: str, done: Callable[[Raw], Raw]) -> None:
        self.paths, self.kind, self.part, self.done = paths, kind, part, done
        self.held: dict[int, tuple[Raw, contextlib.ExitStack]] = {}

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *_: object) -> None:
        while self.held:
            self.held.popitem()[1][1].close()

    def __getitem__(self, i: int) -> Raw:
        if i in self.held:
            self.held[i] = self.held.pop(i)  # the last one asked for
            return self.held[i][0]
        if len(self.held) >= OPEN:
            self.held.pop(next(iter(self.held)))[1].close()
        stack = contextlib.ExitStack()
        raw = stack.enter_context(self.file(i))
        self.held[i] = raw, stack
        return raw

    @contextlib.contextmanager
    def file(self, i: int) -> Iterator[Raw]:
        with reader(self.kind).opened(self.paths[i], self.part) as raw:
            yield self.done(raw)


class Head(NamedTuple):
    """What one file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype  # whatever the order of bytes
    chunk: int
    chunks: tuple[int, ...]
    group: int
    frames: np.ndarray | None
    signal: Axis
    rows: Axis
    notes: tuple[str, ...]


def head(raw: Raw) -> Head:
    rows = raw.axes[0] if raw.axes else UNNAMED
    dtype = raw.dtype.newbyteorder("=")
    return Head(raw.shape, dtype, raw.chunk, raw.chunks, raw.group, raw.frames, raw.signal, rows, raw.notes)


def end_to_end(name: str, shelf: Shelf, told: dict[str, np.ndarray]) -> Raw:
    """The rows of all files, one file after another, or each file a row (`are_rows`)."""
    paths, first = shelf.paths, shelf[0]
    heads, moved = [], 0.0
    for i, path in enumerate(paths):
        moved = max(moved, check(shelf[i], first, path, paths[0]))
        heads.append(head(shelf[i]))
    frames = are_rows(heads)
    skip = 0 if frames else 1
    what = "is" if frames else "has rows of"
    row, dtype = agree(paths, [(each.shape[skip:], each.dtype) for each in heads], what)
    rows = [1 if frames else each.shape[0] for each in heads]
    axes = first.axes and ((UNNAMED, *first.axes) if frames else (of_rows(heads), *first.axes[1:]))
    chunks = shared((each.chunks for each in heads), ())
    group, alike = (1, None) if frames else together(heads)
    return Raw(
        name, (sum(rows), *row), dtype, reading(shelf, heads, rows, frames),
        f"{len(paths):,} files, the first: {first.storage}", stored=sum(map(os.path.getsize, paths)),
        chunk=1 if frames else max(each.chunk for each in heads), chunks=(1, *chunks) if chunks and frames else chunks,
        axes=axes, signal=shared((each.signal for each in heads), replace(first.signal, name="")),
        group=group, frames=alike, notes=tuple(said(paths, heads, moved)),
        own=Own(told, np.array(rows), shelf, axes[0] if axes else UNNAMED, None if frames else first.own),
    )  # fmt: skip


def are_rows(heads: list[Head]) -> bool:
    """Whether each file is a row: all have two axes, or none; or there are several of one axis, the same in all."""
    if all(len(each.shape) in (0, 2) for each in heads):
        return True
    return len(heads) > 1 and len(heads[0].shape) == 1 and heads[0].shape > (1,) and odd(heads) is None


def odd(heads: list[Head]) -> int | None:
    """The first file of another length than the first, or on another axis."""
    first = heads[0]
    fit = (
        each.shape == first.shape and each.rows.label == first.rows.label and steps(each.rows, first.rows) <= NEAR
        for each in heads
    )  # fmt: skip
    return next((i for i, fits in enumerate(fit) if not fits), None)


def together(heads: list[Head]) -> tuple[int, np.ndarray | None]:
    """How many rows after another come from one frame or volume, or else the number of that for each; no file shares
    one with another."""
    group = heads[0].group
    if all(each.frames is None and each.group == group and each.shape[0] % group == 0 for each in heads):
        return group, None
    found, n = [], 0
    for each in heads:
        numbers = np.arange(each.shape[0]) // each.group if each.frames is None else each.frames
        kinds, here = np.unique(numbers, return_inverse=True)
        found.append(here + n)
        n += len(kinds)
    return 1, np.concatenate(found)


def said(paths: list[str], heads: list[Head], moved: float) -> Iterator[str]:
    """What the files' own notes are, and how far the files differ."""
    for note, n in Counter(note for each in heads for note in each.notes).most_common(FEW):
        yield f"{'each file' if n == len(paths) else f'{n:,} of {len(paths):,} files'}: {note}"
    if moved:
        yield f"axes differ from file to file by up to {moved:.2g} of a step: those of {paths[0]} are kept"
    if len(heads[0].shape) == 1 and (other := odd(heads)):
        yield (f"values of one file after another, as single numbers: {paths[other]} and {paths[0]} differ in their "
               "axis, or its length; files of one axis are rows where they do not")  # fmt: skip


def reading(shelf: Shelf, heads: list[Head], rows: list[int], frames: bool) -> Callable[[Region], np.ndarray]:
    """What reads a region of all rows from the files that they are in."""
    starts = np.concatenate([[0], np.cumsum(rows)]).tolist()

    def read(region: Region) -> np.ndarray:
        start, stop, _ = region[0].indices(starts[-1])
        i = min(bisect.bisect_right(starts, start), len(rows)) - 1
        stop, parts = max(start, stop), []
        while start < stop or not parts:
            raw, here = shelf[i], min(stop, starts[i + 1])
            if head(raw)[:2] != heads[i][:2]:
                raise UserError(f"{shelf.paths[i]} is {words(head(raw))} now, and was {words(heads[i])}")
            these = slice(start - starts[i], here - starts[i])
            block = raw.read(region[1:])[None][: here - start] if frames else raw.read((these, *region[1:]))
            parts.append(block)
            start, i = here, i + 1
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)).astype(heads[0].dtype, copy=False)

    return read


def shared(found: Iterable[Any], otherwise: Any) -> Any:
    """What all are, or else something."""
    kinds = set(found)
    return kinds.pop() if len(kinds) == 1 else otherwise


def check(raw: Raw, first: Raw, path: str, other: str) -> float:
    """How far the axes of a file are from the first one's, in steps, at most.

    Raises UserError unless it is written, and of the units and axes of the first, if it is so at all.
    """
    if raw.stored == 0:
        raise UserError(f"{path} declares {times(raw.shape)} values and holds none: it was never written")
    frame = len(raw.shape) == 2
    if raw.shape[1:] != first.shape[1:] or (frame and raw.shape != first.shape):
        return 0.0  # which of them is the odd one is said when all are known
    if raw.signal.unit != first.signal.unit:
        units = [repr(each.signal.unit) for each in (raw, first)]
        raise UserError(f"{path} has values in units {units[0]}, {other} in {units[1]}")
    ours, theirs = ((each.axes or (UNNAMED,) * len(each.shape))[not frame :] for each in (raw, first))
    moved = 0.0
    for one, two in zip(ours, theirs, strict=True):
        if one.label != two.label:
            raise UserError(f"{path} has an axis {one.label!r} where {other} has {two.label!r}")
        moved = max(moved, far := steps(one, two))
        if not far <= NEAR:
            raise UserError(f"{path} and {other} have different values on the axis {one.label!r}")
    return moved


def steps(one: Axis, two: Axis) -> float:
    """How far the values of axes differ, in the smallest step of the second; 0 where rounding does it."""
    if one.values == two.values:
        return 0.0
    if len(one.values) != len(two.values):
        return math.inf
    ours, theirs = np.array(one.values), np.array(two.values)
    if np.allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.ptp(theirs), equal_nan=True):
        return 0.0
    step = np.abs(np.diff(theirs)).min(initial=math.inf)
    return float(np.abs(ours - theirs).max() / step) if 0 < step < math.inf else math.inf


def of_rows(heads: list[Head]) -> Axis:
    """The axis of all rows, where each file has one, and all the same."""
    first = heads[0].rows
    if any((each.rows.name, each.rows.unit) != (first.name, first.unit) or not each.rows.values for each in heads):
        return UNNAMED
    return replace(first, values=tuple(value for each in heads for value in each.rows.values))


class Own(Mapping):
    """What files say of their rows, looked up when it is asked for: :file, :folder, the axis of the rows, what each
    says of its own, and, of HDF5, a single value of a file, as /path/of/dataset or /path@attribute."""

    def __init__(
        self, told: dict[str, np.ndarray], rows: np.ndarray, shelf: Shelf, axis: Axis, first: Mapping | None
    ) -> None:  # fmt: skip
        self.told = {name: np.repeat(each, rows) for name, each in told.items()}
        if axis.name and axis.values:
            self.told[axis.name] = np.array(axis.values)
        self.rows, self.shelf = rows, shelf
        self.first = {} if first is None else first  # what the first file says of its rows, unless it is one
        self.are_rows = first is None
        self.units: dict[str, str] = getattr(first, "units", {})

    def __contains__(self, name: object) -> bool:
        return name in self.told or self.is_path(name) or name in self.first

    def is_path(self, name: object) -> bool:
        """Whether it is of the first file's datasets and attributes."""
        from ludus.data.readers import hdf5, safe

        if self.shelf.kind != "hdf5" or not any(mark in str(name) for mark in "/@"):
            return False
        path = self.shelf.paths[0]
        with safe.file_of(path) as file, safe.said(path):
            return hdf5.values(file, path, str(name)) is not None

    def __getitem__(self, name: str) -> np.ndarray:
        """(n,) or (n, columns). Raises UserError naming the first file that does not say it."""
        if name in self.told:
            return self.told[name]
        if name not in self:
            raise KeyError(name)
        is_path = self.is_path(name)
        return np.concatenate([self.of(i, name, is_path) for i in range(len(self.rows))])

    def of(self, i: int, name: str, is_path: bool) -> np.ndarray:
        """What one file says of its rows."""
        from ludus.data.readers import hdf5, safe

        path, n = self.shelf.paths[i], self.rows[i]
        if is_path:
            with safe.file_of(path) as file, safe.said(path):
                held = hdf5.values(file, path, name)
            if held is None or held[0] in ((), (1,)) or self.are_rows:
                return np.full(n, hdf5.scalar(path, name))
        with self.shelf.file(i) as raw:
            if name not in raw.own:
                raise UserError(f"{path} says nothing of {name}, as {self.shelf.paths[0]} does")
            return raw.own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.told, *self.first, *(self.singles() if self.shelf.kind == "hdf5" else [])]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def singles(self) -> list[str]:
        """The datasets of the first file that are a single number or text."""
        from ludus.data.readers import hdf5, safe

        def name(each: Any) -> list[str]:
            fit = getattr(each, "shape", None) in ((), (1,)) and (each.dtype.kind in "buif" or hdf5.is_text(each))
            return [each.name] if fit else []

        path = self.shelf.paths[0]
        with safe.file_of(path) as file, safe.said(path):
            return safe.gathered(file, name)
