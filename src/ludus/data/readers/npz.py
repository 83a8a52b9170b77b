"""NPZ: one array of several, unpacked in memory once its size is known to fit."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from ludus.data.raw import Raw, check_budget, in_memory, size, times
from ludus.data.readers.npy import check_held, header
from ludus.errors import UserError, unknown

BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)


@contextlib.contextmanager
def opened(path: str, key: str = "") -> Iterator[Raw]:
    """One array of an NPZ file, unpacked in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = member_of(archive, path, key)
            name = f"{path}:{member.filename.removesuffix('.npy')}"
            array = unpacked(archive, member, name)
    except BAD_ZIP as error:
        raise UserError(f"{path} cannot be read as NPZ ({error}). Was the copy finished?") from error
    yield in_memory(name, array, f"NPZ, {size(member.compress_size)} packed")


def member_of(archive: zipfile.ZipFile, path: str, key: str) -> zipfile.ZipInfo:
    members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
    if key and key not in members:
        raise unknown(f"array in {path}:", key, members)
    if not key and len(members) != 1:
        raise UserError(f"{path} holds {len(members)} arrays; say which: {', '.join(listed(archive, path))}")
    return members[key] if key else next(iter(members.values()))


def member_file(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> IO[bytes]:
    """A member, open to read. Raises UserError where a read of one byte may unpack gigabytes: bzip2 and LZMA do."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{name} is packed as NumPy does not pack: write it with np.savez_compressed")
    return archive.open(member)


def listed(archive: zipfile.ZipFile, path: str) -> list[str]:
    """The arrays of an NPZ file, with their shapes."""
    found = []
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        try:
            with member_file(archive, member, key) as file:
                shape, _, dtype = header(file, key)
            found.append(f"{path}:{key} ({times(shape)} {dtype})")
        except UserError:
            found.append(f"{path}:{key} (not a plain array)")
    return found


def contents(path: str) -> list[str]:
    """The arrays of an NPZ file that holds several, with their shapes, unread."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = listed(archive, path)
            return found if len(found) != 1 else []
    except BAD_ZIP as error:
        raise UserError(f"{path} cannot be read as NPZ ({error}). Was the copy finished?") from error


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    with member_file(archive, member, name) as file:
        shape, fortran, dtype = header(file, name)
        check_held(name, shape, dtype, member.file_size - file.tell())  # a zip reader gives no more than file_size
        check_budget(name, shape, 4 + dtype.itemsize)
        flat = np.empty(math.prod(shape), dtype)
        view = memoryview(flat.view(np.uint8)) if flat.nbytes else memoryview(b"")
        for start in range(0, flat.nbytes, 1 << 20):
            piece = file.read(min(1 << 20, flat.nbytes - start))
            view[start : start + len(piece)] = piece
        file.read(1)  # past the end: the checksum is looked at
    return flat.reshape(shape, order="F" if fortran else "C")
