"""xarray's objects, handed over in Python: their axes, their units, and what they say of each row."""

from typing import Any

import numpy as np

from ludus.data.raw import LONG, Axis, Raw, Region, times
from ludus.errors import UserError


def kind(given: Any) -> str:
    """ "DataArray", "Dataset" or "DataTree" of xarray, or nothing; by name, so that it is not imported."""
    names = [each.__name__ for each in type(given).__mro__ if each.__module__.partition(".")[0] == "xarray"]
    return next((each for each in names if each in ("DataArray", "Dataset", "DataTree")), "")


def raw_of(given: Any, name: str) -> Raw:
    """A DataArray, or the variable of a Dataset that is meant, read by regions, its first dimension the rows.

    Coordinates along the rows, or the axis of panels, and other variables of a Dataset there, may be conditions. Raises
    UserError where several variables can be data.
    """
    array = given if kind(given) == "DataArray" else variable(given, name)
    beside = dict(array.coords) | (dict(given.data_vars) if kind(given) == "Dataset" else {})
    chunks = tuple(each[0] for each in array.chunks or ())  # of an array that is computed when it is read

    def read(region: Region) -> np.ndarray:
        return np.asarray(array[region].values)

    def along(i: int) -> dict[str, np.ndarray]:
        found = {str(key): each for key, each in beside.items() if len(each.dims) == 1}
        return {key: np.asarray(each.values) for key, each in found.items() if each.dims == array.dims[i : i + 1]}

    return Raw(
        name, tuple(array.shape), array.dtype, read, "computed by xarray" if chunks else "in memory",
        chunks[0] if chunks else 1, chunks, axes=tuple(axis(array, dim) for dim in array.dims),
        signal=Axis(str(array.attrs.get("long_name", array.name or "")), unit(array)),
        own=along(0), along=along,
    )  # fmt: skip


def variable(given: Any, name: str) -> Any:
    """The only variable of a Dataset, or its only one of numbers with two axes or more."""
    if kind(given) == "DataTree":
        raise UserError(f"{name} is a DataTree: give one DataArray of it, tree['/group/variable']")
    found = dict(given.data_vars)
    held = [each for each in found.values() if len(found) == 1 or (each.ndim >= 2 and each.dtype.kind in "buif")]
    if len(held) != 1:
        said = ", ".join(f"{key} ({times(each.shape)} {each.dtype})" for key, each in found.items())
        raise UserError(f"{name} is a Dataset with {len(found)} variables{': ' * bool(said)}{said}: give one of them, "
                        f"dataset['name']")  # fmt: skip
    return held[0]


def axis(array: Any, dim: Any) -> Axis:
    """Name, unit and values of a dimension, from the coordinate of its name."""
    if dim not in array.coords:
        return Axis(str(dim))
    along = array.coords[dim]
    numbers = along.dtype.kind in "buif" and along.size <= LONG
    return Axis(str(dim), unit(along), tuple(along.values.astype(np.float64).tolist()) if numbers else ())


def unit(array: Any) -> str:
    return str(array.attrs.get("units", ""))
