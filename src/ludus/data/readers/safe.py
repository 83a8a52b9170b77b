"""HDF5 files of any origin: nothing in them leads out of their folder, and damage is said in one line."""

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ludus.data.raw import check_budget
from ludus.errors import UserError

if TYPE_CHECKING:
    import h5py

FAULTS = (  # what h5py raises on files that are damaged, or made to be
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError,
)  # fmt: skip
NO_LOCKS = ("37", "38", "45", "95")  # errno of disks without locks, on Linux and macOS


@contextlib.contextmanager
def said(name: str, verdict: str = "is damaged: {!r}", faults: tuple[type[Exception], ...] = FAULTS) -> Iterator[None]:
    """What is damaged inside, and so raises one of the faults, becomes a UserError."""
    try:
        yield
    except faults as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} {verdict.format(reason)}. Was the copy finished?") from error


@contextlib.contextmanager
def file_of(path: str) -> "Iterator[h5py.File]":
    """An HDF5 file, open to read; errors in words."""
    import h5py

    try:
        file = h5py.File(os.path.realpath(path), "r")
    except OSError as error:
        raise unopened(path, str(error)) from error
    except FAULTS as error:
        raise UserError(f"{path} is damaged. Was the copy finished?") from error
    with file:
        yield file


def unopened(path: str, text: str) -> UserError:
    """What HDF5 says of a file that it does not open, and what to do."""
    if short := re.search(r"truncated.*?eof = (\d+).*stored_eof = (\d+)", text):
        held, told = (int(each) for each in short.groups())
        return UserError(f"{path} is truncated: it has {held:,} of {told:,} bytes. Was the copy finished?")
    if lock := re.search(r"unable to lock file, errno = (\d+)", text):
        if lock[1] in NO_LOCKS:
            return UserError(f"{path}: its disk has no locks: if nothing writes it, set HDF5_USE_FILE_LOCKING=FALSE")
        return UserError(f"{path} is locked, being written by another program: wait for it, or copy the file")
    if "already open for write" in text:
        return UserError(f"{path} is being written by another program, or was when that died: wait for it; if nothing "
                         f"writes it, run h5clear -s on a copy")  # fmt: skip
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(3) == b"CDF":
            return UserError(f"{path} is netCDF 3, not HDF5: open it with xarray and hand the array to ludus.train")
    return UserError(f"{path} cannot be read as HDF5 ({text.splitlines()[0] if text else 'no reason given'})")


def follow(file: "h5py.File", path: str, where: str, depth: int = 0) -> str | None:
    """The path of an object with its soft links followed, None where nothing is. Raises UserError for external links.

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
        if not isinstance(parent, h5py.Group) or not parent.id.links.exists(step.encode(errors="surrogateescape")):
            return None
        link = parent.get(step, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UserError(
                f"{where}:{done}/{step} is a link to another file ({link.filename}), which is refused: name that file"
            )
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{done}/{link.path}"
            return follow(file, "/".join([target, *steps[i + 1 :]]), where, depth + 1)
        done = f"{done}/{step}"
    return done or "/"


def found(file: "h5py.File", path: str, where: str) -> Any:
    """The group or dataset at a path, or None."""
    place = follow(file, path, where)
    return None if place is None else file[place]


def gathered(within: "h5py.Group", of: Callable[[Any], list]) -> list:
    """What a function gives of a group and of all groups and datasets in it, together.

    Each is seen once, and links are not followed, so that loops and other files do not matter.
    """
    found = list(of(within))
    within.visititems(lambda _, each: found.extend(of(each)))
    return found


def elsewhere(file: "h5py.File", where: str) -> list[str]:
    """What links lead to in other files, as the user may name it; files that differ by a number are one pattern."""
    import h5py

    names: dict[str, set[str]] = {}

    def note(_: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            path = os.path.join(os.path.dirname(where), link.filename)
            stem, ending = os.path.splitext(path)
            many = re.sub(r"[0-9]+(?=[^0-9/]*$)", "*", stem)
            names.setdefault(f"{many}{ending}:{link.path}", set()).add(f"{path}:{link.path}")

    file.visititems_links(note)
    return [shlex.quote(many if len(each) > 1 else each.pop()) for many, each in names.items()]


def check(dataset: "h5py.Dataset", name: str, done: dict | None = None) -> None:
    """Raises UserError where values lie outside the folder, come in chunks too large, or need a missing filter.

    done: of what virtual datasets lead to, whether it has been checked to its end.
    """
    if dataset.shape is None:
        raise UserError(f"{name} is empty")
    if dataset.external:
        raise UserError(f"{name} keeps its values in another file ({dataset.external[0][0]}), which is refused")
    if dataset.is_virtual:
        check_virtual(dataset, name, {} if done is None else done)
        return
    if dataset.chunks:
        check_budget(f"{name} (one chunk)", dataset.chunks, max(dataset.dtype.itemsize, 1))
    check_filters(dataset, name)


def check_virtual(dataset: "h5py.Dataset", name: str, done: dict) -> None:
    """Raises UserError unless all that a virtual dataset shows lies in the folder of its file, and is there.

    HDF5 shows fill values, and says nothing, where a source is missing.
    """
    import h5py

    here = dataset.file.filename, dataset.name
    if not done.setdefault(here, True):
        raise UserError(f"{name} is a virtual dataset that leads back to itself")
    done[here] = False
    folder = os.path.dirname(dataset.file.filename)
    sources: dict[tuple[str, str], list[Any]] = {}
    for each in dataset.virtual_sources():
        sources.setdefault((each.file_name, each.dset_name), []).append(each)
    for (file_name, part), shown in sources.items():
        if "%" in file_name + part:
            raise UserError(f"{name} is a virtual dataset of files by a pattern ({file_name}), which is refused")
        path = dataset.file.filename if file_name == "." else os.path.realpath(os.path.join(folder, file_name))
        if os.path.commonpath([folder, path]) != folder:
            raise UserError(f"{name} takes its values from {file_name}, outside of its folder, which is refused")
        if not os.path.isfile(path):
            raise UserError(f"{name} takes its values from {file_name}, which is missing: copy it beside the file")
        with file_of(path) as file:
            held = found(file, part, path)
            if not isinstance(held, h5py.Dataset):
                raise UserError(f"{name} takes its values from {file_name}, which has no dataset {part!r}")
            check(held, f"{path}:{part}", done)
            if not all(covers(held, each) for each in shown):
                raise UserError(f"{name} shows more of {file_name}:{part} than there is: is it still being written?")
    done[here] = True


def covers(dataset: "h5py.Dataset", shown: Any) -> bool:
    """Whether a dataset has all that a virtual one shows of it, as far as h5py can tell."""
    with contextlib.suppress(*FAULTS):  # it has no bounds of what goes on without end
        if not shown.src_space.get_simple_extent_ndims():  # the whole dataset
            return shown.vspace.get_select_npoints() == dataset.size
        ends = zip(shown.src_space.get_select_bounds()[1], dataset.shape, strict=False)
        return all(stop < length for stop, length in ends)
    return True


def check_filters(dataset: "h5py.Dataset", name: str) -> None:
    import h5py

    filters = dataset.id.get_create_plist()
    for i in range(filters.get_nfilters()):
        code, _, _, label = filters.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401  (registers its filters)
        if not h5py.h5z.filter_avail(code):
            label = label.decode(errors="replace").strip("\0") or "unnamed"
            raise UserError(f"{name} is compressed by filter {code} ({label}), not here: pip install 'ludus[formats]'")
