"""Readers of NPY, NPZ and HDF5. What a file declares is checked against what it holds and what fits, before memory is
taken; pickle is never opened; HDF5 never leads to another file.
"""

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ludus.errors import UserError, unknown

if TYPE_CHECKING:
    import h5py

BLOCK = 16 << 20  # bytes of float64 that one block of rows becomes


@dataclass(frozen=True)
class Raw:
    """An array that can be read by rows: `rows(start, stop)` gives (stop - start, ...) in the file's own type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Callable[[int, int], np.ndarray]
    storage: str = "in memory"
    chunk: int = 1  # rows that are stored together

    def blocks(self, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The first row's index and the rows, block by block, whole chunks at a time."""
        stop = self.shape[0] if stop is None else stop
        fit = max(1, BLOCK // max(1, 8 * math.prod(self.shape[1:])))
        step = math.ceil(fit / self.chunk) * self.chunk
        for start in range(0, stop, step):
            yield start, self.rows(start, min(start + step, stop))


def in_memory(name: str, array: np.ndarray, storage: str = "in memory") -> Raw:
    return Raw(name, array.shape, array.dtype, lambda start, stop: array[start:stop], storage)


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


# -- NPY ---------------------------------------------------------------------------------------------------------------


def npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
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


def npy(path: str) -> Raw:
    """An NPY file, mapped: its pages are read as they are needed."""
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = npy_header(file, path)
            offset = file.tell()
        check_held(path, shape, dtype, os.path.getsize(path) - offset)
        if math.prod(shape) == 0 or dtype.itemsize == 0:
            return in_memory(path, np.empty(shape, dtype))
        array = np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    return in_memory(path, array, f"NPY, {size(os.path.getsize(path))}")


# -- NPZ ---------------------------------------------------------------------------------------------------------------

BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)


def npz(path: str, key: str = "") -> Raw:
    """One array of an NPZ file, unpacked in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = npz_member(archive, path, key)
            name = f"{path}:{member.filename.removesuffix('.npy')}"
            array = npz_array(archive, member, name)
    except BAD_ZIP as error:
        raise UserError(f"{path} cannot be read as NPZ ({error}). Was the copy finished?") from error
    return in_memory(name, array, f"NPZ, {size(member.compress_size)} packed")


def npz_member(archive: zipfile.ZipFile, path: str, key: str) -> zipfile.ZipInfo:
    members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
    if key and key not in members:
        raise unknown(f"array in {path}:", key, members)
    if not key and len(members) != 1:
        raise UserError(f"{path} holds {len(members)} arrays; say which: {', '.join(npz_list(archive, path))}")
    return members[key] if key else next(iter(members.values()))


def npz_list(archive: zipfile.ZipFile, path: str) -> list[str]:
    """The arrays of an NPZ file, with their shapes."""
    found = []
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        try:
            with archive.open(member) as file:
                shape, _, dtype = npy_header(file, key)
            found.append(f"{path}:{key} ({times(shape)} {dtype})")
        except UserError:
            found.append(f"{path}:{key} (not a plain array)")
    return found


def npz_contents(path: str) -> list[str]:
    """The arrays of an NPZ file, with their shapes, unread."""
    try:
        with zipfile.ZipFile(path) as archive:
            return npz_list(archive, path)
    except BAD_ZIP as error:
        raise UserError(f"{path} cannot be read as NPZ ({error}). Was the copy finished?") from error


def npz_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(member) as file:
        shape, fortran, dtype = npy_header(file, name)
        check_held(name, shape, dtype, member.file_size - file.tell())  # a zip reader gives no more than file_size
        check_budget(name, shape, 4 + dtype.itemsize)
        flat = np.empty(math.prod(shape), dtype)
        view = memoryview(flat.view(np.uint8)) if flat.nbytes else memoryview(b"")
        for start in range(0, flat.nbytes, 1 << 20):
            piece = file.read(min(1 << 20, flat.nbytes - start))
            view[start : start + len(piece)] = piece
        file.read(1)  # past the end: the checksum is looked at
    return flat.reshape(shape, order="F" if fortran else "C")


# -- HDF5 --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hdf5_file(path: str) -> "Iterator[h5py.File]":
    """An HDF5 file, open to read; errors in words."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        if "truncated" in text:
            raise UserError(f"{path} is truncated. Was the copy finished?") from error
        if "lock" in text:
            raise UserError(f"{path} is being written by another program: wait for it, or copy the file") from error
        raise UserError(f"{path} cannot be read as HDF5 ({text.splitlines()[0]})") from error
    with file:
        yield file


@contextlib.contextmanager
def hdf5(path: str, dataset: str = "") -> Iterator[Raw]:
    """One dataset of an HDF5 file, read by blocks. Without a name, the only one that can be data."""
    import h5py

    with hdf5_file(path) as file:
        if not dataset:
            dataset = hdf5_only(file, path)
        name = f"{path}:{dataset}"
        found = file[hdf5_resolve(file, dataset, path)]
        if not isinstance(found, h5py.Dataset):
            raise UserError(f"{name} is a group, not a dataset. {hdf5_candidates(file, path)}")
        hdf5_check(found, name)
        text = h5py.check_string_dtype(found.dtype) is not None
        view = found.asstr(errors="replace") if text else found

        def rows(start: int, stop: int) -> np.ndarray:
            try:
                block = view[start:stop]
            except OSError as error:
                raise UserError(f"{name} cannot be read near row {start} ({str(error).splitlines()[0]})") from error
            return np.asarray(block, str) if text else block

        dtype = np.dtype(str) if text else found.dtype
        yield Raw(name, found.shape, dtype, rows, hdf5_storage(found), found.chunks[0] if found.chunks else 1)


def hdf5_resolve(file: "h5py.File", path: str, where: str, depth: int = 0) -> str:
    """The path of an object with its soft links followed. Raises UserError for external links and missing names.

    Walked by hand, link by link, since asking for an object would open the other file first.
    """
    import h5py

    if depth > 16:
        raise UserError(f"{where}:{path} is a link that leads back to itself")
    done = ""
    steps = [step for step in path.split("/") if step not in ("", ".")]
    for i, step in enumerate(steps):
        parent = file[done or "/"]
        # `step in parent` would follow a link to see whether something is there
        if not isinstance(parent, h5py.Group) or not parent.id.links.exists(step.encode()):
            raise UserError(f"no dataset {path!r} in {where}. {hdf5_candidates(file, where, path)}")
        link = parent.get(step, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(
                f"{where}:{done}/{step} is a link to another file ({link.filename}), which is refused: name that file"
            )
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{done}/{link.path}"
            return hdf5_resolve(file, "/".join([target, *steps[i + 1 :]]), where, depth + 1)
        done = f"{done}/{step}"
    return done or "/"


def hdf5_check(found: "h5py.Dataset", name: str) -> None:
    """Raises UserError where values lie in other files, come in chunks too large, or need a missing filter."""
    import h5py

    if found.shape is None:
        raise UserError(f"{name} is empty")
    if found.external or found.is_virtual:
        what = "is a virtual dataset" if found.is_virtual else "keeps its values in another file"
        raise UserError(f"{name} {what}, which is refused: name the file that holds the values")
    if found.chunks:
        check_budget(f"{name} (one chunk)", found.chunks, max(found.dtype.itemsize, 1))
    filters = found.id.get_create_plist()
    for i in range(filters.get_nfilters()):
        code, _, _, label = filters.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401  (registers its filters)
        if not h5py.h5z.filter_avail(code):
            label = label.decode(errors="replace") or "unnamed"
            raise UserError(f"{name} is compressed by filter {code} ({label}), not installed: pip install hdf5plugin")


def hdf5_list(file: "h5py.File") -> "list[h5py.Dataset]":
    """All datasets, each once; links are not followed, so that loops and other files do not matter."""
    import h5py

    found: list[Any] = []
    file.visititems(lambda _, each: found.append(each) if isinstance(each, h5py.Dataset) else None)
    return found


def hdf5_line(each: "h5py.Dataset") -> str:
    return f"{each.name} ({times(each.shape) if each.shape is not None else 'empty'} {each.dtype})"


def hdf5_candidates(file: "h5py.File", path: str, near: str = "") -> str:
    import difflib

    found = {each.name: hdf5_line(each) for each in hdf5_list(file)}
    close = difflib.get_close_matches(near, found, n=5, cutoff=0.5)
    names = [*close, *(each for each in found if each not in close)][:8]
    more = f" and {len(found) - len(names)} more" if len(found) > len(names) else ""
    return f"Datasets: {', '.join(found[each] for each in names)}{more}" if found else f"{path} has no datasets"


def hdf5_fit(file: "h5py.File") -> str | None:
    """The only dataset of numbers with two axes or more, if there is just one."""
    fit = [each.name for each in hdf5_list(file) if each.shape and len(each.shape) >= 2 and each.dtype.kind in "buif"]
    return fit[0] if len(fit) == 1 else None


def hdf5_only(file: "h5py.File", path: str) -> str:
    name = hdf5_fit(file)
    if name is None:
        raise UserError(f"say which dataset, as {path}:/name. {hdf5_candidates(file, path)}")
    return name


def hdf5_storage(found: "h5py.Dataset") -> str:
    chunks = f"chunks of {times(found.chunks)}" if found.chunks else "contiguous"
    packed = f"compression {found.compression}" if found.compression else "not compressed"
    return f"HDF5, {chunks}, {packed}, {size(found.id.get_storage_size())} on disk"
