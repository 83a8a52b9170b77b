"""TIFF: stacks of pages, hyperstacks of ImageJ and OME, read plane by plane from the mapped file, or decoded.

Rows are the planes of height and width, in their order; samples (S), and at most four channels (C), belong to a row.
"""

import contextlib
import logging
import lzma
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.data import raw as raws
from ludus.data.raw import UNNAMED, Axis, Raw, Region, check_budget, size, times
from ludus.data.readers import safe
from ludus.errors import UserError, unknown

if TYPE_CHECKING:
    import tifffile

CHANNELS = 4  # at most, as in `layout.axes`: a longer axis C is one of rows
FAULTS = (
    OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError, AssertionError,
    EOFError, MemoryError, SyntaxError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip  (what tifffile raises on files that are damaged, or made to be)
SHOWN = ("MINISBLACK", "MINISWHITE", "RGB", "MASK", "CFA", "LINEAR_RAW")  # what values are that need no other table
ELSEWHERE = {"is_mmstack": False, "is_ndtiff": False}  # formats that would lead tifffile to other files
LZMA = 34925
said = partial(safe.said, verdict="cannot be read as TIFF ({})", faults=FAULTS)
UNPACKERS = {8: zlib.decompressobj, 32946: zlib.decompressobj, LZMA: lzma.LZMADecompressor}


class Complaints(logging.Handler):
    """What tifffile logs as errors, where it goes on with less than the file should hold."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().rpartition("> ")[2])


@contextlib.contextmanager
def file_of(path: str) -> "Iterator[tifffile.TiffFile]":
    """A TIFF file with its pages and series, open to read; errors in words."""
    try:
        import tifffile
    except ImportError as error:
        raise UserError(f"{path} is read with tifffile, not installed: pip install 'ludus[formats]'") from error
    logger, complaints = logging.getLogger("tifffile"), Complaints()
    logger.addHandler(complaints)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.removeHandler, complaints)
        with said(path):
            file = stack.enter_context(tifffile.TiffFile(path, **ELSEWHERE))
            own = os.path.basename(path).lower()
            if file.is_ome and {each.lower() for each in re.findall('FileName="([^"]*)"', file.ome_metadata)} - {own}:
                file.is_ome = False  # it says what is in other files, too: they are not opened
            n = len(file.pages)  # all are looked for
            if not n or not file.series or complaints.said:
                reason = (complaints.said or ["it has no pages"])[0]
                raise UserError(f"{path} is damaged ({reason}). Was the copy finished?")
        yield file


@contextlib.contextmanager
def opened(path: str, part: str = "") -> Iterator[Raw]:
    """The pages of a TIFF file as rows, (n, H, W), (n, H, W, C) or (n, C, H, W).

    part: the number of one of several series; without it they follow one another where they are alike. Raises UserError
    where they are not, and for colours of a palette, whose numbers are no brightness.
    """
    with file_of(path) as file:
        series = file.series
        if part:
            if part not in map(str, range(len(series))):
                raise unknown(f"series of {path}:", part, map(str, range(len(series))))
            series = [series[int(part)]]
        name = f"{path}:{part}" if part else path
        with said(path):
            stacks = [stack(each, path) for each in series]
            if not alike(stacks):
                raise UserError(f"{path} holds several series: {', '.join(described(file))}. Say which, as {path}:0")
            raw = joined(name, stacks, axes_of(file, stacks[0]), file)
        yield raw


def contents(path: str) -> list[str]:
    """The series of a file that holds several of different shapes."""
    with file_of(path) as file, said(path):
        same = len(file.series) == 1 or alike([stack(each, path) for each in file.series])
        return [] if same else [f"{path}:{line}" for line in described(file)]


def described(file: "tifffile.TiffFile") -> list[str]:
    return [f"{i} ({times(each.shape)} {each.dtype})" for i, each in enumerate(file.series)]


@dataclass(frozen=True)
class Stack:
    """One series of a file as rows: which planes of height and width each is made of, and where these are."""

    shape: tuple[int, ...]
    dtype: np.dtype
    numbers: np.ndarray  # of the planes: (n,), or (n, C) where each channel is one
    plane: Callable[[int], np.ndarray]
    y: int  # which axis is the height
    group: int
    packed: str  # by which compression; nothing: the planes lie in the mapped file


def stack(series: "tifffile.TiffPageSeries", path: str) -> Stack:
    """A series as rows. Raises UserError where it is no stack of pictures, or cannot be decoded."""
    check(series, path)
    axes, shape = series.axes, series.shape
    lead, _, rest = axes.partition("YX")
    lead = lead.removesuffix("S") if not rest else lead
    if "YX" not in axes or rest not in ("", "S", "Q") or "S" in lead:
        raise UserError(f"{path} has the axes {axes}, {times(shape)}: not pictures of height and width (YX)")
    before, inner = shape[: len(lead)], shape[len(lead) :]
    n, page = math.prod(before), series.keyframe
    dtype, plane = (mapped if page.is_final else decoded)(series, n, inner, path)
    numbers = np.arange(n).reshape(before)  # no more than the file has room for, by now
    c = channel(lead, before) if len(inner) == 2 else None
    if c is not None:
        numbers, before = np.moveaxis(numbers, c, -1), before[:c] + before[c + 1 :] + (before[c],)
    numbers = numbers.reshape(-1) if c is None else numbers.reshape(-1, before[-1])
    rows = before if c is None else before[:-1]
    whole = (*numbers.shape, *inner)
    packed = "" if page.is_final else "in tiles" if page.compression == 1 else page.compression.name.lower()
    y, native = len(whole) - 2 - len(rest), dtype.newbyteorder("=")
    return Stack(whole, native, numbers, plane, y, math.prod(rows[1:]), packed)


def alike(stacks: list[Stack]) -> bool:
    """Whether their rows are of one kind, so that they can follow one another."""
    return len({(each.shape[1:], each.dtype, each.numbers.ndim) for each in stacks}) == 1


def channel(lead: str, lengths: tuple[int, ...]) -> int | None:
    """Which of the axes before height and width is of channels: a short C, or a short one without a name (Q) that is
    not the first, as in an array (n, 3, H, W)."""
    short = [i for i, length in enumerate(lengths) if length <= CHANNELS]
    found = [i for i in short if lead[i] == "C" or (lead[i] == "Q" and i == len(lead) - 1 and i > 0)]
    return found[0] if found else None


def check(series: "tifffile.TiffPageSeries", path: str) -> None:
    """Raises UserError for values that are no brightness, and for what is needed to decode them and not here."""
    from tifffile import TIFF

    page = series.keyframe
    if page.photometric.name not in SHOWN or series.transform is not None:
        raise UserError(f"{path} holds {page.photometric.name.lower()} colours, not brightness: save it as grey or RGB")
    if page.dtype is None:
        raise UserError(f"{path} holds numbers of {page.bitspersample} bits, which cannot be read")
    try:
        _ = page.compression == 1 or TIFF.DECOMPRESSORS[page.compression]
        _ = page.predictor == 1 or TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        how = page.compression.name + (f" with predictor {int(page.predictor)}" if page.predictor != 1 else "")
        raise UserError(
            f"{path} is compressed by {how}, which needs imagecodecs: pip install imagecodecs, or save it with zlib or "
            f"without compression"
        ) from error


def mapped(
    series: "tifffile.TiffPageSeries", n: int, shape: tuple[int, ...], path: str
) -> tuple[np.dtype, Callable[[int], np.ndarray]]:
    """Type and planes of a series whose pages lie in the file as they are."""
    dtype = np.dtype(series.keyframe.parent.byteorder + series.keyframe.dtype.char)
    plane, held = math.prod(shape) * dtype.itemsize, os.path.getsize(path)
    starts = [series.dataoffset] if series.dataoffset is not None else [start(each, path) for each in series]
    each = n // len(starts)  # planes in a page, or in the whole file
    if each * len(starts) != n or max(starts) + each * plane > held:
        raise UserError(f"{path} is truncated: {times((n, *shape))} {dtype} do not fit in {held:,} bytes. "
                        f"Was the copy finished?")  # fmt: skip
    offsets = (np.array(starts)[:, None] + plane * np.arange(each)).ravel()
    base = np.memmap(path, np.uint8, "r")
    return dtype, lambda i: np.ndarray(shape, dtype, base, offsets[i])


def start(page: Any, path: str) -> int:
    """Where the values of a page begin, which are in one piece."""
    if page is None or not page.dataoffsets:
        raise UserError(f"{path} lacks one of the pages that it declares. Was the copy finished?")
    first, last = page.dataoffsets[0], page.dataoffsets[-1]
    if len(page.dataoffsets) > 1 and last + page.databytecounts[-1] - first != page.nbytes:
        raise UserError(f"{path} keeps page {page.index} in pieces, the others in one: save it again")
    return first


def decoded(
    series: "tifffile.TiffPageSeries", n: int, shape: tuple[int, ...], path: str
) -> tuple[np.dtype, Callable[[int], np.ndarray]]:
    """Type and planes of a series whose pages are compressed, or in tiles; the last few stay decoded."""
    page = series.keyframe
    if len(series) != n:
        raise UserError(f"{path} keeps {n:,} planes in {len(series):,} compressed pages: save it without compression")
    check_budget(f"{path} (one page)", shape, page.dtype.itemsize)
    held = os.path.getsize(path)

    @lru_cache(maxsize=CHANNELS)
    def plane(i: int) -> np.ndarray:
        with said(f"{path}, page {i},"):
            page = series[i]
            if page is None or any(o + n > held for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)):
                raise UserError(f"{path} is truncated at page {i}. Was the copy finished?")
            check_pieces(page, path, i)
            return page.asarray(maxworkers=1).reshape(shape)

    return page.dtype, plane


def check_pieces(page: Any, path: str, i: int) -> None:
    """Raises UserError for a piece that unpacks to more than the memory has room for; zlib packs 1,032 bytes in one."""
    unpacker, limit = UNPACKERS.get(page.keyframe.compression), raws.budget()
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if unpacker is not None and (count * 1032 > limit or page.keyframe.compression == LZMA):
            file = page.parent.filehandle
            file.seek(offset)
            if len(unpacker().decompress(file.read(count), limit + 1)) > limit:
                raise UserError(f"{path}, page {i}, unpacks to more than the budget of {size(limit)}: refused")


def joined(name: str, stacks: list[Stack], axes: tuple[Axis, ...], file: "tifffile.TiffFile") -> Raw:
    """The rows of series that are alike, one series after another."""
    first = stacks[0]
    numbers = np.concatenate([each.numbers for each in stacks])
    whose = np.repeat(np.arange(len(stacks)), [len(each.numbers) for each in stacks])
    shape = (len(numbers), *first.shape[1:])
    several = numbers.ndim == 2  # planes in a row

    def read(region: Region) -> np.ndarray:
        rows, inner = region[0], region[1:]
        these = numbers[rows]
        if several:
            these, inner = these[(slice(None), *inner[:1])], inner[1:]
        owners = np.repeat(whose[rows], these.shape[1]) if several else whose[rows]
        found = [stacks[s].plane(i)[inner] for s, i in zip(owners.tolist(), these.ravel().tolist(), strict=True)]
        if not found:
            return np.empty([len(range(n)[s]) for n, s in zip(shape, region)] + [*shape[len(region) :]], first.dtype)
        return np.stack(found).reshape(*these.shape, *found[0].shape)

    held = file.filehandle.size
    pages = f"{len(file.pages):,} page{'s' * (len(file.pages) > 1)}"
    storage = f"TIFF, {pages}, {first.packed or 'not compressed'}, {size(held)} on disk"
    groups = {each.group for each in stacks}
    return Raw(
        name, shape, first.dtype, read, storage, axes=axes, group=groups.pop() if len(groups) == 1 else 1,
        chunks=(1, *shape[1:]) if first.packed else (), stored=held,
    )  # fmt: skip


def axes_of(file: "tifffile.TiffFile", stack: Stack) -> tuple[Axis, ...]:
    """Height and width in the units that ImageJ or OME give pixels; nothing for others, whose units are of print."""
    found = [UNNAMED] * len(stack.shape)
    for i, (name, (step, unit)) in enumerate(pixel(file).items(), stack.y):
        found[i] = Axis(name, unit, tuple(((np.arange(stack.shape[i]) + 0.5) * step).tolist()))
    return tuple(found) if any(each.values for each in found) else ()


def pixel(file: "tifffile.TiffFile") -> dict[str, tuple[float, str]]:
    """Height and width of a pixel, each with its unit, or nothing."""
    if file.is_ome:
        from xml.etree import ElementTree

        pixels = next((e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.endswith("Pixels")), None)
        told = {} if pixels is None else pixels.attrib
        steps = {name: float(told.get(f"PhysicalSize{name.upper()}", "nan")) for name in "yx"}
        units = {name: told.get(f"PhysicalSize{name.upper()}Unit", "µm") for name in "yx"}
    elif file.is_imagej:
        unit = str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
        x, y = file.pages[0].get_resolution()
        steps = {name: 1 / each if unit and each > 0 else math.nan for name, each in (("y", y), ("x", x))}
        units = dict.fromkeys("yx", unit)
    else:
        return {}
    known = all(step > 0 and not units[name].startswith("pixel") for name, step in steps.items())
    return {name: (steps[name], units[name]) for name in "yx"} if known else {}
