"""NeXus: which dataset of a file is its signal, and what its axes are.

A group NXdata says it by its attributes: `signal` names a dataset of the group, `axes` one for each dimension, and
`NAME_indices` the dimensions that NAME runs along. Older files say it on the datasets: signal=1, axes="a:b", axis=1.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.data.raw import LONG, UNNAMED, Axis, check_budget
from ludus.data.readers import safe
from ludus.errors import UserError

if TYPE_CHECKING:
    import h5py

STRUCTURE = ("axes", "signal", "auxiliary_signals", "default", "NX_class", "DIMENSION_LIST", "REFERENCE_LIST", "CLASS",
             "NAME", "_Netcdf4Coordinates")  # fmt: skip  (what NeXus and netCDF say of how a file is made)
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def text(value: Any) -> str:
    """An attribute as text on one line, whatever type it was written in; the first of several."""
    if getattr(value, "shape", ()) is None or np.size(value) == 0:  # HDF5's own nothing
        return ""
    value = value if isinstance(value, (str, bytes)) else np.ravel(value)[0]
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if not isinstance(value, bytes):
        return str(value)
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        plain = value.decode("latin-1")  # Å and µ of older files
    return " ".join(plain.replace("\0", " ").split())


def texts(value: Any) -> list[str]:
    """Names from an attribute: an array of them, or one text "a:b", "a,b" or "[a,b]"."""
    names = [text(each) for each in np.ravel(value)]
    return re.split("[:,]", names[0].strip("[]")) if len(names) == 1 else names


def of_class(group: Any, name: str) -> bool:
    return text(group.attrs.get("NX_class", "")) == name


def groups(within: "h5py.Group") -> "list[h5py.Group]":
    """The NXdata groups that have a signal."""
    import h5py

    def of(each: Any) -> list:
        return [each] if isinstance(each, h5py.Group) and of_class(each, "NXdata") and signals(each) else []

    return safe.gathered(within, of)


def default(group: "h5py.Group", where: str) -> "h5py.Group":
    """Where the chain of `default` attributes leads to from a group. An entry that is the only one needs none."""
    import h5py

    for _ in range(16):
        name = text(group.attrs.get("default", ""))
        entries = [] if name else [each for each, held in members(group).items() if of_class(held, "NXentry")]
        if is_data(group) or (not name and len(entries) != 1):
            break
        found = safe.found(group.file, f"{group.name}/{name or entries[0]}", where)
        if not isinstance(found, h5py.Group):
            break
        group = found
    return group


def members(group: "h5py.Group") -> dict[str, Any]:
    """What lies in a group, or is linked into it from the same file."""
    found = {}
    for name in group:
        try:
            held = safe.found(group.file, f"{group.name}/{name}", "")
        except UserError:  # a link to another file
            continue
        if held is not None:
            found[name] = held
    return found


def signals(group: "h5py.Group") -> list[str]:
    """The names of what may be the signal of an NXdata: one, where the file says so.

    A name that the file says may be a link to another file; whether it can be read is for the caller to see.
    """
    import h5py

    held = {name: each for name, each in members(group).items() if isinstance(each, h5py.Dataset)}
    named = text(group.attrs.get("signal", ""))
    if named and group.id.links.exists(named.encode()):
        return [named]
    numbered = {name: text(each.attrs["signal"]) for name, each in held.items() if "signal" in each.attrs}
    if numbered:
        return [name for name, number in numbered.items() if number == "1"] or list(numbered)
    if holds_events(group):
        return []
    spoken = {name.removesuffix("_indices") for name in group.attrs} | set(texts(group.attrs.get("axes", "")))
    free = {
        name: len(each.shape)
        for name, each in held.items()
        if each.shape and each.dtype.kind in "buif" and "axis" not in each.attrs and name not in spoken
        and not name.endswith("errors")
    }  # fmt: skip
    return [name for name, axes in free.items() if axes == max(free.values())]


def holds_events(group: "h5py.Group") -> bool:
    return any(of_class(each, "NXevent_data") for each in (group, *members(group).values()))


def is_data(group: "h5py.Group") -> bool:
    """Whether a group has a signal, or should: an NXdetector may say what its signal is, too."""
    return of_class(group, "NXdata") or "signal" in group.attrs


def home(dataset: "h5py.Dataset", groups: "list[h5py.Group]") -> "h5py.Group | None":
    """The first group whose signal is a dataset, or a signal like it: those of one group share their axes."""
    for group in groups:
        for each in (members(group).get(name) for name in signals(group)):
            if each == dataset or (getattr(each, "shape", None) == dataset.shape and dataset.parent == group):
                return group
    return None


def signal(dataset: "h5py.Dataset") -> Axis:
    """Name and unit of a dataset's values."""
    return Axis(text(dataset.attrs.get("long_name", "")) or dataset.name.rpartition("/")[2], unit(dataset))


def unit(dataset: "h5py.Dataset") -> str:
    return text(dataset.attrs.get("units", ""))


def axes(group: "h5py.Group | None", dataset: "h5py.Dataset", where: str) -> tuple[Axis, ...]:
    """An axis for each dimension of a dataset in an NXdata group, or by HDF5's dimension scales; nothing if no one is.

    Raises UserError for an axis that is neither as long as the data, nor one longer (the edges of their bins).
    """
    found = placed(group, dataset)
    if not any(found.values()):
        return ()
    lengths = enumerate(dataset.shape)
    return tuple(axis(*found[i], length, where) if i in found else UNNAMED for i, length in lengths)


def placed(group: "h5py.Group | None", dataset: "h5py.Dataset") -> dict[int, tuple[str, Any]]:
    """Name and dataset of the axis of each dimension, as far as they are known."""
    found = {} if group is None else by_name(group, dataset) or by_number(group, dataset)
    return found or by_scale(dataset)


def apart(group: "h5py.Group | None", dataset: "h5py.Dataset", along: int) -> tuple[str, ...]:
    """The paths of what runs along other dimensions than this one, and so says nothing of its steps."""
    import h5py

    found = [each for i, (_, each) in placed(group, dataset).items() if i != along]
    if group is not None:
        held = members(group)
        found += [held.get(name) for name, dims in indices(group).items() if along not in dims]
    return tuple(each.name for each in found if isinstance(each, h5py.Dataset) and each.name)


def indices(group: "h5py.Group") -> dict[str, list[int]]:
    """The dimensions that NAME runs along, for each attribute NAME_indices of numbers."""
    said = {each: texts(group.attrs[each]) for each in group.attrs if each.endswith("_indices")}
    return {name.removesuffix("_indices"): [int(i) for i in along] for name, along in said.items()
            if all(i.strip().isdecimal() for i in along)}  # fmt: skip


def is_structure(attribute: str) -> bool:
    return attribute in STRUCTURE or attribute.endswith("_indices")


def other_entries(file: "h5py.File", path: str) -> tuple[str, ...]:
    """What the paths in all NXentry groups but its own begin with; nothing where it is in none."""
    entries = {f"/{name}/" for name, each in members(file).items() if of_class(each, "NXentry")}
    own = {each for each in entries if path.startswith(each)}
    return tuple(sorted(entries - own)) if own else ()


def frames(group: "h5py.Group | None", n: int) -> np.ndarray | None:
    """What `ludus prepare` says of each row: the number of the frame or volume that it was cut from."""
    named = text(group.attrs.get("ludus_frames", "")) if group else ""
    found = members(group).get(named) if named else None
    if found is None or found.shape != (n,) or found.dtype.kind not in "iu":
        return None
    safe.check(found, found.name)
    check_budget(found.name, (n,), 8)
    return found[()]


def by_name(group: "h5py.Group", dataset: "h5py.Dataset") -> dict[int, tuple[str, Any]]:
    """Name and dataset of the axis of each dimension, where `axes` or `NAME_indices` say so."""
    held, said, found = members(group), indices(group), {}
    listed = group.attrs.get("axes", dataset.attrs.get("axes"))
    names = list(said) if listed is None else texts(listed)
    for i, name in enumerate(names):
        along = said.get(name, [i])
        place = along[0] if len(along) == 1 else i
        if name not in ("", ".") and (listed is not None or len(along) == 1) and 0 <= place < len(dataset.shape):
            found.setdefault(place, (name, held.get(name)))
    return found


def by_number(group: "h5py.Group", dataset: "h5py.Dataset") -> dict[int, tuple[str, Any]]:
    """The same where the datasets of axes have the attribute axis=1, axis=2, ...; of several, that with primary=1.

    Programs count from the slowest dimension, NeXus's manual from the fastest: the lengths tell.
    """
    numbered = {}
    for name, each in members(group).items():
        number = text(each.attrs.get("axis", ""))
        i = int(number) if number.isdecimal() and len(getattr(each, "shape", None) or ()) == 1 else 0
        if 0 < i <= len(dataset.shape) and (i not in numbered or text(each.attrs.get("primary", "")) == "1"):
            numbered[i] = name, each
    orders = ({i - 1: each for i, each in numbered.items()}, {len(dataset.shape) - i: e for i, e in numbered.items()})
    fits = (all(len(each) - dataset.shape[i] in (0, 1) for i, (_, each) in order.items()) for order in orders)
    return next((order for order, fit in zip(orders, fits, strict=True) if fit), orders[0])


def by_scale(dataset: "h5py.Dataset") -> dict[int, tuple[str, Any]]:
    """The same by HDF5's own dimension scales, as netCDF 4 writes them."""
    found = {}
    for i, dim in enumerate(dataset.dims):
        scale = dim[0] if len(dim) else None
        if scale is None:
            found |= {i: (text(dim.label), None)} if dim.label else {}
            continue
        values = None if text(scale.attrs.get("NAME", "")).startswith(NO_VARIABLE) else scale
        found[i] = (scale.name or "").rpartition("/")[2], values
    return found


def axis(name: str, dataset: Any, length: int, where: str) -> Axis:
    """An axis of this length; without values where they run along several dimensions, or are no numbers."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or len(dataset.shape) > 1:
        return Axis(name)
    held = dataset.size
    if held not in (length, length + 1):
        raise UserError(f"{where}: the axis {name!r} has {held:,} values, the data {length:,} along it: it must have "
                        f"as many, or {length + 1:,} edges of bins")  # fmt: skip
    if held > LONG or dataset.dtype.kind not in "buif":
        return Axis(name, unit(dataset))
    safe.check(dataset, f"{where}, axis {name!r}")
    values = np.ravel(dataset[()]).astype(np.float64)
    if held == length + 1:
        values = (values[1:] + values[:-1]) / 2
    return Axis(name, unit(dataset), tuple(values.tolist()))
