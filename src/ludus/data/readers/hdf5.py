"""HDF5, with what NeXus and netCDF 4 say of it: read by blocks; nothing leads out of the folder of the file."""

import contextlib
import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.data.raw import UNNAMED, Axis, Raw, Region, check_budget, size, times
from ludus.data.readers import nexus
from ludus.data.readers.safe import FAULTS, check, elsewhere, file_of, found, gathered, said
from ludus.errors import UserError

if TYPE_CHECKING:
    import h5py

FEW = 32  # columns of what may be conditions, a row for each of the data's
EVENTS = "is a list of events: make a histogram of them first (Mantid, scipp), save it, and name that"


class Several(UserError):
    """The user must choose."""


@contextlib.contextmanager
def opened(path: str, part: str = "") -> Iterator[Raw]:
    """One dataset of an HDF5 file, read by blocks; `part` names it, or its NXdata group.

    Without a part it is the signal of the default NXdata, or of the only one; in a file without NXdata, the only
    dataset that can be data. Raises UserError, with what there is, where the user must choose.
    """
    with file_of(path) as file:
        with said(path):
            raw = described(file, path, part)
        yield raw


def contents(path: str) -> list[str]:
    """The signals and datasets of a file, signals first, where none of them must be meant."""
    with file_of(path) as file, said(path):
        try:
            place(file, path, "")
        except Several:
            of_groups = [each for group in nexus.groups(file) for each in lines(group, path)]
            linked = [f"{each} (in another file)" for each in elsewhere(file, path)]
            return [*of_groups, *linked, *(f"{path}:{line}" for line in datasets(file).values())]
        return []


def scalar(path: str, name: str) -> Any:
    """The value of a dataset /path or of an attribute /path@name that is a single one: a number or a text.

    Raises UserError where there is none, or several.
    """
    with file_of(path) as file, said(path):
        held = values(file, path, name)
        if held is None:
            raise UserError(f"no dataset or attribute {name!r} in {path}. {candidates(file, path, name)}")
        shape, read = held
        if shape not in ((), (1,)):
            raise UserError(f"{path}:{name} is {times(shape)} values, not a single one")
        return np.ravel(read())[0].item()


# -- which dataset -----------------------------------------------------------------------------------------------------


def described(file: "h5py.File", path: str, part: str) -> Raw:
    """The dataset that a part means, and what the file says of it."""
    import h5py

    dataset, group = place(file, path, part)
    name = f"{path}:{dataset}"
    held = found(file, dataset, path)
    if held is None:
        raise UserError(f"no dataset {dataset!r} in {path}. {candidates(file, path, dataset)}")
    within = held if isinstance(held, h5py.Group) else group
    if within and (nexus.of_class(within, "NXevent_data") or (within is held and nexus.holds_events(held))):
        raise UserError(f"{name} {EVENTS}")
    if not isinstance(held, h5py.Dataset):
        raise UserError(f"{name} is a group, not a dataset. {candidates(file, path)}")
    check_values(held, name, group)
    group = nexus.home(held, [group] if group and nexus.is_data(group) else nexus.groups(file))
    axes = nexus.axes(group, held, name)

    def along(i: int) -> Own:
        return Own(path, held.shape[i], held.name, axes[i] if axes else UNNAMED, nexus.apart(group, held, i))

    chunks, bytes_ = held.chunks or (), None if held.is_virtual else held.id.get_storage_size()
    return Raw(
        name, held.shape, np.dtype(str) if is_text(held) else held.dtype, reader(held, name), storage(held),
        chunks[0] if chunks else 1, chunks, bytes_, axes=axes, signal=nexus.signal(held),
        own=along(0) if held.shape else {}, along=along,
        frames=nexus.frames(group, held.shape[0]) if held.shape else None, notes=unwritten(held),
    )  # fmt: skip


def place(file: "h5py.File", path: str, part: str) -> "tuple[str, h5py.Group | None]":
    """The path of the dataset that is meant, and the group it stands in. Raises Several where the user must choose."""
    import h5py

    held = found(file, part, path)
    if not isinstance(held, h5py.Group):
        parent = found(file, part.rpartition("/")[0], path)
        return part, parent if isinstance(parent, h5py.Group) else None
    leads = nexus.default(held, path)
    groups = [leads] if nexus.is_data(leads) else nexus.groups(leads) or nexus.groups(held)
    if not groups:
        return (part, held) if part else (only(file, path), None)
    if len(groups) > 1:
        raise Several(f"{path} has several signals, none of them the default: name one of {listed(groups, path)}")
    names = nexus.signals(groups[0])
    if not names:
        why = EVENTS if nexus.holds_events(groups[0]) else f"has no signal. {candidates(file, path)}"
        raise UserError(f"{path}:{groups[0].name} {why}")
    if len(names) > 1:
        raise Several(f"{path}:{groups[0].name} does not say which its signal is: name one of {listed(groups, path)}")
    return f"{groups[0].name.rstrip('/')}/{names[0]}", groups[0]


def only(file: "h5py.File", path: str) -> str:
    """The only dataset of numbers with two axes or more, in a file that has no links to others."""
    if gathered(file, lambda each: [each] if nexus.of_class(each, "NXevent_data") else []):
        raise UserError(f"{path} {EVENTS}")

    def fits(each: Any) -> list[str]:
        shape = getattr(each, "shape", None)
        return [each.name] if shape and len(shape) >= 2 and each.dtype.kind in "buif" else []

    fit = gathered(file, fits)
    if len(fit) != 1 or elsewhere(file, path):
        raise Several(f"say which dataset, as {path}:/name. {candidates(file, path)}")
    return fit[0]


def listed(groups: "list[h5py.Group]", path: str) -> str:
    return ", ".join(each for group in groups for each in lines(group, path))


def lines(group: "h5py.Group", path: str) -> list[str]:
    """x.nxs:/entry/data (counts, 1/meV, 100 × 20 × 20); where a group has several possible signals, each by its own."""
    names = nexus.signals(group)
    told = []
    for name in names:
        held = nexus.members(group).get(name)
        shape = getattr(held, "shape", None)
        facts = [name if len(names) == 1 else "", nexus.unit(held) if held else "", times(shape) if shape else ""]
        here = group.name if len(names) == 1 else f"{group.name}/{name}"
        told.append(f"{path}:{here} ({', '.join(filter(None, facts))})")
    return told


def datasets(file: "h5py.File") -> dict[str, str]:
    """A line for each dataset, by its name."""
    import h5py

    def line(each: Any) -> list[tuple[str, str]]:
        if not isinstance(each, h5py.Dataset):
            return []
        shape = times(each.shape) if each.shape is not None else "empty"
        kind = "text" if is_text(each) else each.dtype
        return [(each.name, f"{each.name} ({'text' if is_text(each) and each.shape == () else f'{shape} {kind}'})")]

    return dict(gathered(file, line))


def candidates(file: "h5py.File", path: str, near: str = "") -> str:
    known = datasets(file)
    close = difflib.get_close_matches(near, known, n=5, cutoff=0.5)
    names = [*close, *(each for each in known if each not in close)][:8]
    more = f" and {len(known) - len(names)} more" if len(known) > len(names) else ""
    there = f"Datasets: {', '.join(known[each] for each in names)}{more}" if known else f"{path} has no datasets"
    others = elsewhere(file, path)[:3]
    return f"It links to other files, where its data may be: name {', '.join(others)}. {there}" if others else there


# -- what is in it -----------------------------------------------------------------------------------------------------


def check_values(held: "h5py.Dataset", name: str, group: "h5py.Group | None" = None) -> None:
    """Raises UserError where values cannot be read, or are packed: others than those that are stored."""
    check(held, name)
    packed = [each for each in ("scale_factor", "add_offset", "_Unsigned") if each in held.attrs]
    packed += [each for each in ("_FillValue", "missing_value") if each in held.attrs and held.dtype.kind in "iu"]
    own = held.name.rpartition("/")[2]
    factors = ["scaling_factor", f"{own}_scaling_factor", f"{own}_offset"]
    factors += ["offset"] if group and nexus.is_data(group) and own != "offset" else []
    packed += [each for each in factors if group and group.id.links.exists(each.encode())]
    if packed:
        raise UserError(f"{name} is packed ({', '.join(packed)}), and its numbers are not its values: open it with "
                        f"xarray, or unpack it, and hand the array to ludus.train")  # fmt: skip


def is_text(held: "h5py.Dataset") -> bool:
    import h5py

    return h5py.check_string_dtype(held.dtype) is not None


def reader(held: "h5py.Dataset", name: str) -> Callable[[Region], np.ndarray]:
    """What reads a region of a dataset: text as text, and netCDF's missing values as NaN."""
    view = held.asstr(errors="replace") if is_text(held) else held
    told = [held.attrs[each] for each in ("_FillValue", "missing_value") if each in held.attrs]
    gaps = {value for each in told for value in np.ravel(each).astype(held.dtype)} if held.dtype.kind == "f" else ()

    def read(region: Region) -> np.ndarray:
        try:
            block = view[region]
        except FAULTS as error:
            near = (region[0].start or 0) if region else 0
            raise UserError(f"{name} cannot be read near row {near} ({str(error).splitlines()[0]})") from error
        for each in gaps:
            block = np.where(block == each, held.dtype.type(np.nan), block)
        return np.asarray(block, str) if is_text(held) else block

    return read


def storage(held: "h5py.Dataset") -> str:
    if held.is_virtual:
        return f"HDF5, virtual, of {len(held.virtual_sources()):,} parts"
    chunks = f"chunks of {times(held.chunks)}" if held.chunks else "contiguous"
    return f"HDF5, {chunks}, {packing(held)}, {size(held.id.get_storage_size())} on disk"


def packing(held: "h5py.Dataset") -> str:
    """How it is compressed, by the filter's own name where h5py has none for it."""
    filters = held.id.get_create_plist()
    labels = [filters.get_filter(i)[3].decode(errors="replace") for i in range(filters.get_nfilters())]
    names = [re.split("[;,\0]", each)[0] for each in labels if each not in ("shuffle", "fletcher32")]
    known = held.compression if held.compression in ("gzip", "lzf", "szip") else " and ".join(names)
    return f"compression {known}" if known else "not compressed"


def unwritten(held: "h5py.Dataset") -> tuple[str, ...]:
    """A note on chunks that HDF5 makes up, as it has only what was declared of them."""
    if not held.chunks or 0 in held.shape:
        return ()
    total = math.prod(-(-n // chunk) for n, chunk in zip(held.shape, held.chunks, strict=True))
    missing = total - held.id.get_num_chunks()
    if missing <= 0:
        return ()
    return (f"{missing:,} of {total:,} chunks were never written: they read as {str(held.fillvalue)[:20]}",)


def values(file: "h5py.File", where: str, name: str) -> tuple[tuple[int, ...], Callable[[], np.ndarray]] | None:
    """Shape of a dataset /path or an attribute /path@name, and what reads it; None where there is neither."""
    import h5py

    held = found(file, name, where)
    if isinstance(held, h5py.Dataset):
        check_values(held, f"{where}:{name}")
        kind = np.float64 if " since " in nexus.unit(held) and held.dtype.kind in "iu" else None  # times are no classes
        return held.shape, lambda: np.asarray(reader(held, f"{where}:{name}")(()), kind)
    place, _, attribute = name.rpartition("@")
    owner = found(file, place, where) if attribute != name else None
    if owner is None or attribute not in owner.attrs:
        return None
    told = np.asarray(owner.attrs[attribute])
    return told.shape, lambda: np.array([nexus.text(each) for each in told.flat]) if told.dtype.kind in "OSU" else told


class Own(Mapping):
    """What a file says of each row, read when it is asked for: by the path of a dataset, by /path@attribute, or by the
    name of the axis of the rows. The file may be closed by then. apart: the paths of the pictures' axes."""

    def __init__(self, path: str, n: int, data: str, axis: Axis, apart: tuple[str, ...] = ()) -> None:
        self.path, self.n, self.data, self.axis, self.apart = path, n, data, axis, apart

    def __getitem__(self, name: str) -> np.ndarray:
        """(n,) or (n, columns). Raises UserError for what is the same for all rows, of another length, or an axis of
        the pictures."""
        if name == self.axis.name and self.axis.values:
            return np.array(self.axis.values)
        if "@" in name and nexus.is_structure(name.rpartition("@")[2]):
            raise KeyError(name)
        with file_of(self.path) as file, said(self.path):
            if found(file, name, self.path) in [file[each] for each in self.apart]:
                raise UserError(f"{self.path}:{name} is an axis of the pictures: it says nothing of each row")
            if held := values(file, self.path, name):
                shape, read = held
                if shape in ((), (1,)) and self.n > 1:
                    raise UserError(f"{name} is the same for all rows of {self.path}: there is nothing to condition on")
                if len(shape) > 2 or shape[:1] != (self.n,):
                    raise UserError(f"{self.path}:{name} is {times(shape)}, and the data have {self.n:,} rows")
                check_budget(f"{self.path}:{name}", shape, 8)
                return read()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        with file_of(self.path) as file, said(self.path):
            others = [file[each] for each in (self.data, *self.apart)]
            strange = nexus.other_entries(file, self.data)
            within = gathered(file, lambda each: [] if each in others else of_rows(each, self.n))
            names = [each for each in within if not each.startswith(strange)]
        return iter([self.axis.name, *names] if self.axis.values else names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def of_rows(each: Any, n: int) -> list[str]:
    """The names under which a dataset or group may say something of each of n rows."""
    import h5py

    told = [name for name in each.attrs if not nexus.is_structure(name)]
    names = [f"{each.name}@{name}" for name in told if each.attrs.get_id(name).shape == (n,)]
    if not isinstance(each, h5py.Dataset) or not each.shape or each.shape[0] != n:
        return names
    narrow = len(each.shape) == 1 or (len(each.shape) == 2 and each.shape[1] <= FEW)
    return [each.name, *names] if narrow and (each.dtype.kind in "buif" or is_text(each)) else names
