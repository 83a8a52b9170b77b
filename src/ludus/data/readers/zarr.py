"""Zarr, formats 2 and 3, in a local folder: read by regions, once `store` has found nothing wrong."""

import contextlib
import difflib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ludus.data.raw import LONG, Axis, Raw, Region, check_budget, size, times
from ludus.data.readers.store import LAYOUT, Array, check, codecs, declared, inner, metadata, stored
from ludus.errors import UserError


@contextlib.contextmanager
def opened(path: str, part: str = "") -> Iterator[Raw]:
    """One array of a store; without a name, the only one that can be data.

    Arrays of its group with the names of its axes are their values, as xarray writes them; those with a value for each
    row may be conditions. Raises UserError for what is not there, not plain numbers or text, or packed.
    """
    path = os.path.normpath(path)
    array = place(path, part) if part else only(path)
    check(array)
    there, size_on_disk = stored(array)
    expected = math.prod(-(-n // chunk) for n, chunk in zip(array.shape, array.chunks))
    missing, of = inner(array) or (expected - there, expected)
    note = f"{missing:,} of {of:,} chunks were never written: they read as {str(array.fill)[:20]}"
    read, beside = reader(array), neighbours(array)

    def along(i: int) -> Own:
        found = {name: each for name, each in beside.items() if each.shape == array.shape[i : i + 1]}
        return Own({name: each for name, each in found.items() if each.dims in ((), array.dims[i : i + 1])})

    name = str(array.attributes.get("long_name", os.path.basename(os.path.normpath(array.folder))))
    yield Raw(
        array.name, array.shape, array.dtype, read, f"{storage(array)}, {size(size_on_disk)} on disk",
        array.chunks[0] if array.chunks else 1, array.chunks, size_on_disk,
        axes=tuple(axis(dim, n, beside.get(dim)) for dim, n in zip(array.dims, array.shape)),
        signal=Axis(name, unit(array)), own=along(0), along=along, notes=(note,) * (missing > 0),
    )  # fmt: skip


def contents(path: str) -> list[str]:
    """The arrays of a store, where none of them must be meant."""
    found = arrays(os.path.normpath(path))
    return [] if fit(found) else lines(path, found)


# -- which array -------------------------------------------------------------------------------------------------------


def arrays(path: str) -> dict[str, Array | None]:
    """All arrays of a store by their paths in it, None where `store` objects; links are not followed."""
    found: dict[str, Array | None] = {}
    groups = [""]
    for group in groups:
        kind = metadata(os.path.join(path, group)).get("node_type")
        if kind == "array":
            found[group] = None
            with contextlib.suppress(UserError):
                found[group] = place(path, group)
        elif kind == "group" or not group:
            with os.scandir(os.path.join(path, group)) as entries:
                inner = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
            groups += [f"{group}/{name}" if group else name for name in inner]
    return found


def fit(found: dict[str, Array | None]) -> Array | None:
    """The only array, or the only one of numbers with two axes or more."""
    held = [each for each in found.values() if each]
    if len(found) > 1:
        held = [each for each in held if len(each.shape) >= 2 and each.dtype.kind in "buif"]
    return held[0] if len(held) == 1 else None


def only(path: str) -> Array:
    found = arrays(path)
    if len(found) == 1:
        return place(path, next(iter(found)))  # says what is wrong with it
    if array := fit(found):
        return array
    raise UserError(f"say which array, as {path}:/name. {listed(path, found)}")


def listed(path: str, found: dict[str, Array | None], near: str = "") -> str:
    close = difflib.get_close_matches(near, found, n=5, cutoff=0.5)
    said = lines(path, {part: found[part] for part in [*close, *(each for each in found if each not in close)]})
    more = f" and {len(said) - 8} more" if len(said) > 8 else ""
    return f"Arrays: {', '.join(said[:8])}{more}" if said else f"{path} has no arrays"


def lines(path: str, found: dict[str, Array | None]) -> list[str]:
    return [
        f"{array.name} ({times(array.shape)} {array.dtype})" if array else f"{path}:/{part} (cannot be read)"
        for part, array in found.items()
    ]


def place(path: str, part: str) -> Array:
    """The array of that name. Raises UserError where there is none, or a link is on the way."""
    steps = [step for step in part.split("/") if step not in ("", ".")]
    folder = path
    for step in steps:
        folder = os.path.join(folder, step)
        if os.path.islink(folder):
            raise UserError(f"{folder} is a link, which is refused: name the store that it leads to")
    if ".." in steps or metadata(folder).get("node_type") != "array":
        raise UserError(f"no array {part!r} in {path}. {listed(path, arrays(path), '/'.join(steps))}")
    return declared(folder, f"{path}:/{'/'.join(steps)}" if steps else path)


# -- reading -----------------------------------------------------------------------------------------------------------


def reader(array: Array) -> Callable[[Region], np.ndarray]:
    """What reads a region of an array that is checked."""
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:
        raise UserError(f"{array.name} needs the package zarr: pip install 'ludus[formats]'") from error

    def words(error: Exception) -> str:
        return (str(error).splitlines() or [type(error).__name__])[0]

    try:
        with warnings.catch_warnings(action="ignore"):  # text of fixed length is no standard yet
            held = zarr.open_array(LocalStore(array.folder, read_only=True), mode="r", zarr_format=array.format)
    except Exception as error:  # whatever zarr finds wrong
        raise UserError(f"{array.name} cannot be opened as Zarr ({words(error)})") from error

    def read(region: Region) -> np.ndarray:
        try:
            return np.asarray(held[region])
        except Exception as error:  # a damaged chunk: each codec has errors of its own
            near = (region[0].start or 0) if region else 0
            raise UserError(f"{array.name} cannot be read near row {near} ({words(error)})") from error

    return read


def storage(array: Array) -> str:
    """How it is stored."""
    names = dict.fromkeys(each.removeprefix("numcodecs.") for each in codecs(array.codecs, array.name))
    pieces = f"{'shards' if 'sharding_indexed' in names else 'chunks'} of {times(array.chunks)}"
    packed = " and ".join(each for each in names if each not in LAYOUT) or "not compressed"
    return f"Zarr {array.format}, {pieces}, {packed}"


# -- what stands beside it ---------------------------------------------------------------------------------------------


def neighbours(array: Array) -> dict[str, Array]:
    """The arrays with one axis in the same group that can be read."""
    group, found = os.path.dirname(os.path.abspath(array.folder)), {}
    if metadata(group).get("node_type") != "group":
        return {}
    with os.scandir(group) as entries:
        names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    for name in names:
        with contextlib.suppress(UserError):
            if metadata(os.path.join(group, name)).get("node_type") == "array":
                each = place(group, name)
                check(each)
                found |= {name: each} if len(each.shape) == 1 else {}
    return found


def axis(dim: str, n: int, beside: Array | None) -> Axis:
    """Name, unit and values of an axis, from the array that has its name."""
    if beside is None or beside.shape != (n,):
        return Axis(dim)
    numbers = beside.dtype.kind in "buif" and n <= LONG
    return Axis(dim, unit(beside), tuple(values(beside).astype(np.float64).tolist()) if numbers else ())


def unit(array: Array) -> str:
    return str(array.attributes.get("units", ""))


def values(array: Array) -> np.ndarray:
    stored(array)
    check_budget(array.name, array.shape, array.dtype.itemsize)
    return reader(array)(())


class Own(Mapping):
    """What the arrays beside it say of each row, read when it is asked for."""

    def __init__(self, held: dict[str, Array]) -> None:
        self.held = held

    def __getitem__(self, name: str) -> np.ndarray:
        held, found = self.held[name], values(self.held[name])
        return found.astype(np.float64) if " since " in unit(held) and found.dtype.kind in "iu" else found  # times

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)
