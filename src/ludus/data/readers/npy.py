"""NPY: what the header declares is checked against what is there; pickle is never opened."""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import IO

import numpy as np

from ludus.data.raw import Raw, in_memory, size, times
from ludus.errors import UserError


def header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and type. Raises UserError for objects, which only pickle could read."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError, TypeError, SyntaxError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} is not an NPY file that can be read ({reason})") from error
    if dtype.hasobject:
        raise UserError(
            f"{name} holds Python objects ({dtype}), which only pickle can read, and pickle can run any code: "
            f"save it as a plain array of numbers"
        )
    if any(length < 0 for length in shape):
        raise UserError(f"{name} declares the shape {shape}: not an array")
    return shape, fortran, dtype


def check_held(name: str, shape: tuple[int, ...], dtype: np.dtype, found: int) -> None:
    """Raises UserError where fewer bytes are there than the header declares."""
    expected = math.prod(shape) * dtype.itemsize
    if found < expected:
        raise UserError(
            f"{name} is truncated: {times(shape)} {dtype} need {expected:,} bytes ({size(expected)}), the file holds "
            f"{found:,}. Was the copy finished?"
        )


@contextlib.contextmanager
def opened(path: str, part: str = "") -> Iterator[Raw]:
    """An NPY file, mapped: its pages are read as they are needed."""
    yield mapped(path)


def contents(path: str) -> list[str]:
    return []


def mapped(path: str) -> Raw:
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = header(file, path)
            offset = file.tell()
        check_held(path, shape, dtype, os.path.getsize(path) - offset)
        if math.prod(shape) == 0 or dtype.itemsize == 0:
            return in_memory(path, np.empty(shape, dtype))
        array = np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    return in_memory(path, array, f"NPY, {size(os.path.getsize(path))}")
