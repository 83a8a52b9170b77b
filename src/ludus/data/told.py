"""What is told of each row of data: by arrays and files of the user's, by a table, by the data's own source."""

from functools import partial
from typing import Any

import numpy as np

from ludus.data.condition import plain, side_by_side
from ludus.data.cuts import WHOLE, Cuts, cut
from ludus.data.locate import Source
from ludus.data.raw import Axis, Raw, check_budget, in_memory
from ludus.data.readers import table
from ludus.data.rows import frames_of
from ludus.data.sources import check_numbers, opened
from ludus.errors import UserError, unknown


def conditions_of(
    raw: Raw, labels: Source | None, given: Any = None, n: int | None = None, seed: int = 0, download: bool = False
) -> Raw:
    """What a text names or an array holds, in memory, one of each row; several columns may be records.

    Rows that were cut from one frame or volume have its condition. A table whose rows name files is matched to the
    data's by these names. Raises UserError for what is not there, or of another length.
    """
    n_rows = raw.shape[0]
    if labels is None:
        told = in_memory("the array of conditions", from_python(given, "the array of conditions"))
    elif labels.kind == "own":
        return own(raw, labels.part)
    elif labels.kind == "table":
        values = table.labels(labels.path, labels.part, raw)
        told = in_memory(labels.path if values.dtype.names else labels.text, values)
    else:
        with opened(labels, n, seed, download) as found:
            check_budget(f"condition {found.name}", found.shape, found.dtype.itemsize)
            name = f"{found.name} ({found.signal.unit})" if found.signal.unit else found.name
            values = found.rows(0, found.shape[0]) if found.shape else np.empty(())
            if labels.kind == "files" and len(found.shape) == 2 and values.size == n_rows:
                values = values.ravel()  # files of one axis, a value for each row
            told = in_memory(name, values)
    if not told.shape or told.shape[0] == n_rows:
        return told
    volumes, whose = np.unique(frames_of(np.arange(n_rows), raw.alike), return_inverse=True)
    if told.shape[0] == len(volumes):
        return in_memory(told.name, told.read(())[whose])
    frames = f", of {len(volumes):,} frames or volumes" if len(volumes) < n_rows else ""  # said before they are read
    raise UserError(f"condition {told.name} has {told.shape[0]:,} rows, but the data have {n_rows:,}{frames}")


def own(raw: Raw, text: str) -> Raw:
    """What the data's own source says of each row; several things, with commas between, side by side."""
    found, units = {}, getattr(raw.own, "units", {})
    for name in [text] if text in raw.own else [part.strip() for part in text.split(",")]:
        if name not in raw.own:
            known = [f":{each}" for each in raw.own]
            if not known:
                raise UserError(f"{raw.name} says nothing of its rows, so there is no condition :{name}")
            raise unknown(f"condition of {raw.name}:", f":{name}", known)
        values = from_python(raw.own[name], f"condition :{name}")
        found |= {name: values} if values.ndim == 1 else {f"{name} {i}": each for i, each in enumerate(values.T)}
    return in_memory(raw.name if len(found) > 1 else f"{raw.name} :{Axis(text, units.get(text, '')).label}",
                     side_by_side(found))  # fmt: skip


def from_python(given: Any, name: str) -> np.ndarray:
    """Labels or values as an array; lists and arrays of Python's objects become columns, masked at None and NaN."""
    try:
        values = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # e.g. a tensor on another device
        raise UserError(f"{name} cannot be read as an array ({str(error).splitlines()[0]})") from error
    if isinstance(given, (list, tuple)) and values.dtype.kind not in "buif":
        values = np.array(given, object)  # None stays None, and a number beside a text a number
    if values.dtype.names:
        columns = {each: values[each] for each in values.dtype.names}
    elif values.dtype == object and values.ndim in (1, 2):
        columns = {f"column {i}": each for i, each in enumerate(values.T if values.ndim == 2 else [values])}
    else:
        return values
    return side_by_side({each: plain(v, name) if v.dtype == object else v for each, v in columns.items()})


def rows_with(
    place: Source, labels: Source | None, cuts: Cuts = WHOLE, row: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray | None]:
    """All rows of a source as they are, cut like others of a shape, and what is told of each, if that is asked for."""
    with opened(place, done=partial(cut, cuts=cuts, row=row)) as raw:
        check_numbers(raw)
        check_budget(raw.name, raw.shape, raw.dtype.itemsize)
        told = None if labels is None else conditions_of(raw, labels)
        x = np.asarray(raw.rows(0, raw.shape[0]))
    return x, None if told is None else told.read(())
