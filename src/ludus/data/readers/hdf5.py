"""HDF5: read by blocks; links never lead to another file."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.data.raw import Raw, Region, check_budget, size, times
from ludus.errors import UserError

if TYPE_CHECKING:
    import h5py


@contextlib.contextmanager
def file_of(path: str) -> "Iterator[h5py.File]":
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
def opened(path: str, dataset: str = "") -> Iterator[Raw]:
    """One dataset of an HDF5 file, read by blocks. Without a name, the only one that can be data."""
    import h5py

    with file_of(path) as file:
        if not dataset:
            dataset = only(file, path)
        name = f"{path}:{dataset}"
        found = file[resolve(file, dataset, path)]
        if not isinstance(found, h5py.Dataset):
            raise UserError(f"{name} is a group, not a dataset. {candidates(file, path)}")
        check(found, name)
        text = h5py.check_string_dtype(found.dtype) is not None
        view = found.asstr(errors="replace") if text else found

        def read(region: Region) -> np.ndarray:
            try:
                block = view[region]
            except OSError as error:
                near = region[0].start or 0
                raise UserError(f"{name} cannot be read near row {near} ({str(error).splitlines()[0]})") from error
            return np.asarray(block, str) if text else block

        dtype = np.dtype(str) if text else found.dtype
        yield Raw(name, found.shape, dtype, read, storage(found), found.chunks[0] if found.chunks else 1)


def contents(path: str) -> list[str]:
    """The datasets of a file, where none of them must be meant."""
    with file_of(path) as file:
        return [] if fit(file) else [f"{path}:{line(each)}" for each in datasets(file)]


def resolve(file: "h5py.File", path: str, where: str, depth: int = 0) -> str:
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
            raise UserError(f"no dataset {path!r} in {where}. {candidates(file, where, path)}")
        link = parent.get(step, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(
                f"{where}:{done}/{step} is a link to another file ({link.filename}), which is refused: name that file"
            )
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{done}/{link.path}"
            return resolve(file, "/".join([target, *steps[i + 1 :]]), where, depth + 1)
        done = f"{done}/{step}"
    return done or "/"


def check(found: "h5py.Dataset", name: str) -> None:
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


def datasets(file: "h5py.File") -> "list[h5py.Dataset]":
    """All datasets, each once; links are not followed, so that loops and other files do not matter."""
    import h5py

    found: list[Any] = []
    file.visititems(lambda _, each: found.append(each) if isinstance(each, h5py.Dataset) else None)
    return found


def line(each: "h5py.Dataset") -> str:
    return f"{each.name} ({times(each.shape) if each.shape is not None else 'empty'} {each.dtype})"


def candidates(file: "h5py.File", path: str, near: str = "") -> str:
    import difflib

    found = {each.name: line(each) for each in datasets(file)}
    close = difflib.get_close_matches(near, found, n=5, cutoff=0.5)
    names = [*close, *(each for each in found if each not in close)][:8]
    more = f" and {len(found) - len(names)} more" if len(found) > len(names) else ""
    return f"Datasets: {', '.join(found[each] for each in names)}{more}" if found else f"{path} has no datasets"


def fit(file: "h5py.File") -> str | None:
    """The only dataset of numbers with two axes or more, if there is just one."""
    fit = [each.name for each in datasets(file) if each.shape and len(each.shape) >= 2 and each.dtype.kind in "buif"]
    return fit[0] if len(fit) == 1 else None


def only(file: "h5py.File", path: str) -> str:
    name = fit(file)
    if name is None:
        raise UserError(f"say which dataset, as {path}:/name. {candidates(file, path)}")
    return name


def storage(found: "h5py.Dataset") -> str:
    chunks = f"chunks of {times(found.chunks)}" if found.chunks else "contiguous"
    packed = f"compression {found.compression}" if found.compression else "not compressed"
    return f"HDF5, {chunks}, {packed}, {size(found.id.get_storage_size())} on disk"
