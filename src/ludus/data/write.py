"""HDF5 files that NeXus readers open: one signal, with a name, a unit and values for each axis that is known."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ludus.data.raw import UNNAMED, Axis

if TYPE_CHECKING:
    import h5py
    import numpy as np


def nxdata(
    file: "h5py.File", name: str, shape: tuple[int, ...], dtype: Any, axes: tuple[Axis, ...] = (),
    signal: Axis = UNNAMED, **options: Any,
) -> "h5py.Dataset":  # fmt: skip
    """The dataset /name of a new file, to be filled: the signal of /entry/data too, where the file's defaults lead.

    axes: one for each dimension, or none; those without values are unknown. options: as `create_dataset` takes them.
    """
    file.attrs.update(NX_class="NXroot", default="entry")
    entry = file.create_group("entry")
    entry.attrs.update(NX_class="NXentry", default="data")
    found = file.create_dataset(name, shape, dtype, **options)
    found.attrs.update(_said(signal.unit, signal.name))
    data = entry.create_group("data")
    data.attrs.update(NX_class="NXdata", signal=name, axes=["."] * len(shape))
    data[name] = found
    for i, (axis, length) in enumerate(zip(axes, shape, strict=False)):
        if axis.words:  # not an axis of text, which few readers take
            found.attrs["columns"] = list(axis.words)
        if len(axis.values) == length:
            add_axis(data, axis.name or f"axis{i}", axis.values, axis.unit, [i], axis.name)
    return found


def add_axis(data: "h5py.Group", name: str, values: Any, unit: str, along: Sequence[int], meaning: str = "") -> None:
    """An axis of an NXdata group along these dimensions of its signal; the first along one alone is its default."""
    name = re.sub(r"[^\w.]", "_", name)  # a slash would be a group
    while name in data or name == ".":
        name += "_"
    data[name] = values
    data[name].attrs.update(_said(unit, meaning))
    data.attrs[f"{name}_indices"] = list(along)
    default = list(data.attrs["axes"])
    if len(along) == 1 and default[along[0]] == ".":
        default[along[0]] = name
        data.attrs["axes"] = default


def as_text(values: "np.ndarray") -> "np.ndarray":
    """Text as HDF5 keeps it, UTF-8 of one length; bytes alone would be taken for ASCII."""
    import h5py
    import numpy as np

    encoded = np.char.encode(values, "utf-8")
    return encoded.astype(h5py.string_dtype("utf-8", max(encoded.dtype.itemsize, 1)))


def _said(unit: str, name: str) -> dict[str, str]:
    return {key: text for key, text in (("units", unit), ("long_name", name)) if text}
