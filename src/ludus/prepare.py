"""A copy of data that trains fast: cut, cropped, binned and cast once, in one piece on the disk, axes and all."""

import math
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ludus.callbacks.signals import interrupting
from ludus.data import locate, smaller
from ludus.data.condition import columns_of, side_by_side
from ludus.data.cuts import Cuts, cut
from ludus.data.raw import BLOCK, Raw, check_budget, size, times
from ludus.data.rows import frames_of, highest
from ludus.data.sources import check_numbers, opened
from ludus.data.told import conditions_of
from ludus.data.write import add_axis, as_text, nxdata
from ludus.errors import UserError, unknown
from ludus.runs.growing import becoming, begun, laid_out
from ludus.terminal import counting, say

if TYPE_CHECKING:
    import h5py

DTYPES = ("same", "float32", "float16", "uint16")
FLOAT16 = "float16 keeps three digits of values from 6.1e-05 to 65504, and fewer of smaller ones"


@dataclass(frozen=True)
class Job:
    """What becomes of data, in this order; the words of the command line."""

    panels: str = ""
    crop: str = ""
    bin: str = ""
    bin_by: str = "mean"
    tiles: str = ""
    weakest: float | None = None
    dtype: str = "same"
    channels: str = "auto"

    def done_to(self, raw: Raw) -> Raw:
        """The rows as they will be, but for those that are too weak, and for the type."""
        raw = cut(raw, Cuts(panels=self.panels))
        raw = smaller.crop(raw, self.crop, self.channels) if self.crop else raw
        raw = smaller.bin(raw, self.bin, self.bin_by, self.channels) if self.bin else raw
        return cut(raw, Cuts(tiles=self.tiles, channels=self.channels))


def prepare(source: str, out: Path, job: Job = Job(), condition: str | None = None) -> list[str]:
    """Writes `out`, an HDF5 file (NeXus) that keeps its rows in one piece, and gives what to say of it.

    Read block by block. Until the file is whole it is called `out`.partial, and the same command goes on with it.
    Conditions are kept as /labels, a row for each. Raises UserError for what cannot be used, where `out` exists, and
    for values that the type does not hold; StoreError where there is no room; Interrupted on Ctrl-C or SIGTERM.
    """
    if job.dtype not in DTYPES:
        raise unknown("dtype", job.dtype, DTYPES)
    place, labels = locate.check(source, condition)
    if any(locate.reads(each, out) for each in (place, labels) if each):
        raise UserError(f"--out {out} is the file that is read, or would be one of them: choose another")
    wholes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}  # of each array: of several files there are many

    def done(whole: Raw) -> Raw:
        check_numbers(whole)
        wholes[whole.name] = whole.shape, whole.dtype
        return job.done_to(whole)

    with opened(place, done=done) as raw, becoming(out) as partial:
        check_budget(f"{raw.name} (one block)", (raw.chunk, *raw.shape[1:]), 16, "bin it more, or cut smaller tiles")
        dtype = raw.dtype if job.dtype == "same" else np.dtype(job.dtype)
        given = None if labels is None else stored(conditions_of(raw, labels), raw.shape[0])
        told = words(source, out, job, condition)
        row = math.prod(raw.shape[1:]) * dtype.itemsize + 48 + (0 if given is None else given.nbytes // len(given))
        sources = {each.text: locate.stamp(each) for each in (place, labels) if each}

        def lay_out(file: "h5py.File", rows: np.ndarray | None = None) -> None:
            file.attrs["sources"] = list(sources.values())
            _lay_out(file, raw, dtype, given, rows, told)

        with begun(partial, told, raw.shape[0] * row, lay_out, "job", "make it smaller") as file:
            for text, before in zip(sources, file.attrs["sources"], strict=True):
                if sources[text] != before:
                    raise UserError(f"{text} has changed since {partial} was begun: remove that file to begin again")
            rows = _fill(file, raw, job.weakest)
            if not len(rows):
                partial.unlink()
                raise UserError(f"{raw.name}: no row has a value above weakest = {job.weakest:g}")
            if len(rows) < len(file[_name(raw)]):
                _without_the_weak(file, rows, partial, told, len(rows) * row, lay_out)
    notes = [*raw.notes, FLOAT16] if dtype == np.float16 else [*raw.notes]
    if job.weakest is not None:
        notes.append(f"kept {len(rows):,} of {raw.shape[0]:,} rows, those with a value above {job.weakest:g}")
    before = sum(math.prod(shape) * kind.itemsize for shape, kind in wholes.values())
    (shape, kind), several = next(iter(wholes.values())), f"{len(wholes):,} files, the first " * (len(wholes) > 1)
    labelled = ["--condition", f"{out}:/labels"] if condition else []
    return [
        *notes,
        f"{source}: {several}{times(shape)} {kind}, {size(before)} unpacked",
        f"{out}: {times((len(rows), *raw.shape[1:]))} {dtype}, {size(out.stat().st_size)}",
        f"to train: {shlex.join(['ludus', 'train', 'r3gan', '--data', str(out), *labelled])}",
    ]


def words(source: str, out: Path, job: Job, condition: str | None) -> str:
    """The command."""
    options = asdict(job) | {"condition": condition, "out": str(out)}
    given = {key: value for key, value in options.items() if value != getattr(Job, key, None)}
    flags = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    return shlex.join(["ludus", "prepare", source, *flags])


def stored(found: Raw, n: int) -> np.ndarray:
    """Conditions as HDF5 keeps them: (n,), (n, columns) or records; what is not known is NaN, or an empty text."""
    given = found.rows(0, found.shape[0]) if found.shape else np.empty(())
    columns = columns_of(given, n, found.name)
    if given.ndim == 2 and given.dtype.kind in "buif" and not np.ma.is_masked(given):
        return np.ma.getdata(given)
    kept = {}
    for name, column in columns.items():
        if column.dtype.kind == "f":
            values = column.filled(np.nan)
        elif column.mask.any():
            values = np.where(column.mask, "", column.data.astype(str))
        else:
            values = column.data
        kept[name.removeprefix(f"{found.name}, ")] = as_text(values) if values.dtype.kind == "U" else values
    return np.ma.getdata(side_by_side(kept))


def _name(raw: Raw) -> str:
    return "images" if len(raw.shape) > 2 else "points"


def _lay_out(
    file: "h5py.File", raw: Raw, dtype: np.dtype, given: np.ndarray | None, rows: np.ndarray | None, told: str
) -> None:
    """Places for all rows, or for these, with what is known of each: labels, where it was cut, and its number."""
    import h5py

    some, n = slice(None) if rows is None else rows, raw.shape[0] if rows is None else len(rows)
    at_once = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    at_once.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    at_once.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    along = [replace(each, values=tuple(np.array(each.values)[some].tolist())) for each in raw.axes[:1] if each.values]
    axes = (*along, *raw.axes[1:]) if along else raw.axes
    nxdata(file, _name(raw), (n, *raw.shape[1:]), dtype, axes, raw.signal, dcpl=at_once)
    data = file["entry/data"]
    for name, unit in getattr(raw.own, "units", {}).items():
        if not along or name != along[0].name:
            add_axis(data, name, raw.own[name][some], unit, [0])
    if raw.group > 1 or raw.frames is not None:
        frames = frames_of(np.arange(raw.shape[0]), raw.alike)[some]
        add_axis(data, "frame", frames, "", [0], "rows with one number are alike")
        data.attrs["ludus_frames"] = "frame"
    if given is not None:
        file["labels"] = given[some]
    process = file["entry"].create_group("process")
    process.attrs.update(NX_class="NXprocess")
    process["program"], process["version"], process["command"] = "ludus", version("ludus"), told
    process["rows"] = np.full(n, -1) if rows is None else rows
    process["rows"].attrs["long_name"] = "numbers of the rows in the source"
    process["read"] = raw.shape[0] if rows is not None else 0
    process["read"].attrs["long_name"] = "rows of the source that were read"


def _fill(file: "h5py.File", raw: Raw, weakest: float | None) -> np.ndarray:
    """Reads the rows that were not read yet, writes those that are kept, and gives the numbers of all of these."""
    data, rows, read = file[_name(raw)], file["entry/process/rows"], file["entry/process/read"]
    n, done = raw.shape[0], int(read[()])
    kept = int(((rows[:] >= 0) & (rows[:] < done)).sum())
    if done:
        say(f"going on from {done:,} rows")
    with counting(n, "rows", done) as count, interrupting() as check:
        for start, block in raw.blocks(start=done):
            done = start + len(block)
            numbers = np.arange(start, start + len(block))
            if weakest is not None:
                strong = highest(block) > weakest
                numbers, block = numbers[strong], block[strong]
            end = kept + len(block)
            data[kept:end], rows[kept:end] = smaller.cast(block, data.dtype, raw.name, numbers), numbers
            file.flush()
            read[()], kept = done, end  # last: it says that the rows are there
            file.flush()
            check()
            count(done)
    return rows[:kept]


def _without_the_weak(
    file: "h5py.File", rows: np.ndarray, partial: Path, recorded: str, needed: int, lay_out: Callable
) -> None:
    """Puts a file of their size, with the rows that were kept, in the place of the one with room for all."""

    def copy(fresh: "h5py.File") -> None:
        lay_out(fresh, rows)
        data = fresh[fresh["entry/data"].attrs["signal"]]
        step = max(1, BLOCK // max(1, data.nbytes // len(rows)))
        for start in range(0, len(rows), step):
            data[start : start + step] = file[data.name][start : min(start + step, len(rows))]

    laid_out(partial, recorded, needed, copy)
