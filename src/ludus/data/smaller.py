"""Pictures made smaller as they are read: cropped, and binned."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ludus.data.cuts import frames, left_over, pieces, spans
from ludus.data.raw import BLOCK, Axis, Raw, Region
from ludus.errors import UserError, unknown


def crop(raw: Raw, text: str, channels: str = "auto") -> Raw:
    """The pixels "10:200,0:128" of height and width of each picture, the first one included, the last one not.

    Raises UserError for pixels that there are not.
    """
    raw, *where = frames(raw, channels)
    found = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*,\s*(\d*)\s*:\s*(\d*)\s*", text)
    if not found:
        raise UserError(f"crop {text}: first and last of height, then of width, such as 10:200,0:128 or :,0:128")
    shape, axes, first = list(raw.shape), list(raw.axes), [0] * len(raw.shape)
    for i, (start, stop) in zip(where, (found.group(1, 2), found.group(3, 4))):
        start, stop = int(start or 0), int(stop or raw.shape[i])
        if not start < stop <= raw.shape[i]:
            raise UserError(f"crop {text}: {start}:{stop} is not within 0:{raw.shape[i]} of {raw.name}")
        shape[i], first[i] = stop - start, start
        axes[i] = replace(axes[i], values=axes[i].values[start:stop])
    size = " × ".join(str(raw.shape[i]) for i in where)

    def read(region: Region) -> np.ndarray:
        shifted = zip(spans(region, tuple(shape)), first)
        return raw.read(tuple(slice(each.start + by, each.stop + by) for each, by in shifted))

    note = f"cropped from {size} to {text.replace(' ', '')}"
    return replace(raw, shape=tuple(shape), read=read, axes=tuple(axes), chunks=(), notes=(*raw.notes, note))


def bin(raw: Raw, text: str, by: str = "mean", channels: str = "auto") -> Raw:
    """One pixel for each block of height × width pixels, "2x4", or "2" for both; what is left over is not used.

    by: "mean", of the values that are not NaN, in floating point; or "sum", NaN where one is, of integers in a type
    that holds any. Raises UserError for blocks larger than a picture.
    """
    if by not in ("mean", "sum"):
        raise unknown("way to bin", by, ("mean", "sum"))
    raw, blocks, (i, j), (high, wide) = pieces(raw, text, "bin", channels)
    height, width = raw.shape[i], raw.shape[j]
    shape = tuple(n for k, n in enumerate(blocks.shape) if k not in (i + 1, j + 2))
    dtype, combine = type_of(raw.dtype, by, high * wide), {"mean": mean, "sum": total}[by]
    step = math.ceil(max(1, BLOCK // (8 * math.prod(raw.shape[1:]))) / raw.chunk) * raw.chunk  # of rows, in float64

    def read(region: Region) -> np.ndarray:
        rows, *inner = spans(region, shape)
        out = np.empty([each.stop - each.start for each in (rows, *inner)], dtype)
        for start in range(rows.start, rows.stop, step):
            these = slice(start, min(start + step, rows.stop))
            where = [these, *inner]
            where.insert(i + 1, slice(None))
            where.insert(j + 2, slice(None))
            block = blocks.read(tuple(where))
            out[start - rows.start : these.stop - rows.start] = combine(block, (i + 1, j + 2), dtype)
        return out

    axes = list(raw.axes)
    for k, middles in ((i, blocks.axes[i]), (j, blocks.axes[j + 1])):
        axes[k] = replace(middles, name=raw.axes[k].name) if raw.axes[k].values else Axis()
    note = f"binned {high} × {wide} pixels by their {by}{left_over(height % high, width % wide)}"
    return replace(
        raw, shape=shape, dtype=dtype, read=read, axes=tuple(axes), chunks=(), notes=(*raw.notes, note),
    )  # fmt: skip


def type_of(dtype: np.dtype, by: str, n: int) -> np.dtype:
    """What holds the mean, or any sum, of n values."""
    if by == "mean" or dtype.kind == "f":
        return np.result_type(dtype, np.float32)
    ends = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    found = np.min_scalar_type(n * ends[0] if ends[0] else n * ends[1])
    return np.dtype(np.float64) if found.hasobject else found


def total(blocks: np.ndarray, axes: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The sum over two axes, of which the second lies behind the first."""
    within = np.float64 if dtype.kind == "f" else dtype
    return blocks.sum(axes[0], dtype=within).sum(axes[1] - 1, dtype=within)


def mean(blocks: np.ndarray, axes: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The mean over two axes of what is not NaN; NaN where all is."""
    if blocks.dtype.kind != "f" or not np.isnan(blocks).any():
        return total(blocks, axes, dtype) / (blocks.shape[axes[0]] * blocks.shape[axes[1]])
    known = ~np.isnan(blocks)
    with np.errstate(invalid="ignore"):
        return total(np.where(known, blocks, 0), axes, dtype) / known.sum(axes)


def cast(block: np.ndarray, dtype: np.dtype, name: str, numbers: Sequence[int]) -> np.ndarray:
    """The same values in another type; floating point rounds. numbers: of the rows, to name one by.

    Raises UserError for a value that the type does not hold: too large, not whole, or a whole number that it rounds.
    """
    if block.dtype == dtype:
        return block
    with np.errstate(over="ignore", invalid="ignore"):
        out = block.astype(dtype)
    if dtype.kind == "f" and block.dtype.kind == "f":
        bad = np.isinf(out) & np.isfinite(block)
    else:
        bad = out.astype(np.result_type(block.dtype, dtype, np.float64)) != block
        if dtype.kind == "f" and block.dtype.itemsize == 8:  # beyond, they cannot be compared
            bad |= (block > 2**53) | (block < -(2**53))
    if bad.any():
        where = np.unravel_index(int(bad.argmax()), bad.shape)
        value, row = block[where], numbers[where[0]]
        raise UserError(f"{name}: {value:.10g} in row {row:,} is no {dtype}: choose another --dtype")
    return out
