"""Conditions: classes one-hot, values standardised, unknown ones NaN; and how a user's words become them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ludus.data.raw import check_budget
from ludus.errors import UserError, unknown

MANY = 100  # more distinct integers than this are rarely classes: the user must say
UNKNOWN = ("nan", "")  # what `word` makes of a label that nobody knows


@dataclass(frozen=True)
class Column:
    """One of the user's columns: classes (`labels`, in order) or a value y = (v - offset) / scale (no labels)."""

    labels: tuple[int | float | str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0
    unknown: str = ""  # the label that means that nothing is known, as `word` has it
    name: str = field(default="", compare=False)  # with its unit, as far as they are known

    @property
    def width(self) -> int:
        return len(self.labels) or 1

    def __str__(self) -> str:
        if not self.labels:
            return f"values, scaled to mean 0 and standard deviation 1: (c - {self.offset:.6g}) / {self.scale:.6g}"
        shown = ", ".join(str(label) for label in self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
        return f"{len(self.labels)} {'class' if len(self.labels) == 1 else 'classes'}: {shown}"

    def encode(self, values: np.ndarray | Sequence[Any]) -> np.ndarray:
        """n labels or numbers -> (n, width) float32; NaN and None are "unknown".

        An empty text is unknown, too, and so is the label `unknown`. Raises UserError for another class, and for a
        number that is beyond float32 once scaled.
        """
        if self.unknown:
            values = [None if self.unknown in (word(value), numeral(word(value))) else value for value in values]
        if not self.labels:
            plain = isinstance(values, np.ndarray) and values.dtype.kind in "buif"
            numbers = values.astype(np.float64) if plain else np.array([number(value) for value in values])
            with np.errstate(over="ignore"):  # it is said below
                scaled = ((numbers - self.offset) / self.scale).astype(np.float32)
            if np.isinf(scaled).any():
                first = f"{numbers[np.isinf(scaled)][0]:.6g}"
                raise UserError(f"condition {first} is beyond float32 once scaled: it must be like the data's ({self})")
            return scaled[:, None]
        if isinstance(values, np.ndarray):  # each distinct label is looked up once
            distinct, which = np.unique(values, return_inverse=True)
            return self.encode(distinct.tolist())[which]
        place = {word(label): i for i, label in enumerate(self.labels)}
        codes = np.zeros((len(values), self.width), np.float32)
        for row, value in zip(codes, values, strict=True):
            key = word(value)
            key = key if key in place else numeral(key)
            if value is None or (key in UNKNOWN and key not in place):
                row[:] = np.nan
            elif key in place:
                row[place[key]] = 1
            else:
                raise unknown("class", word(value), place)
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """(n, width) of the network -> (n,): the label of the largest number, or the value in the user's units."""
        if self.labels:
            return np.asarray(self.labels)[codes.argmax(1)]
        return codes[:, 0].astype(np.float64) * self.scale + self.offset


def word(value: Any) -> str:
    """How a label is told from others: 3, 3.0, "3" and np.int64(3) are one."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (bool, float)) and math.isfinite(value) and value == int(value):
        value = int(value)
    return str(value)


def numeral(text: str) -> str:
    """What else a text may mean, as `word` has it: "1.0" and "True" are 1."""
    try:
        return word(float({"true": "1", "false": "0"}.get(text.lower(), text)))
    except ValueError:
        return text


def number(value: Any) -> float:
    try:
        found = math.nan if value is None or word(value) == "" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"condition {value!r} is not a number") from error
    if math.isinf(found):
        raise UserError("a condition is infinite; an unknown one is NaN")
    return found


@dataclass(frozen=True)
class Condition:
    """How the user's conditions become the network's: their columns, encoded and put side by side."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """K, the network's number of conditions."""
        return sum(column.width for column in self.columns)

    def encode(self, values: Any, n: int | None = None) -> np.ndarray:
        """A label, a number, a row, rows, or the text of one (`3`, `0.5,1.2`) -> (n, K) float32; one row is repeated.

        None is "unknown": all, a row, or an entry. Raises UserError for an unknown class, for a value beyond float32,
        and for a wrong number of columns or rows.
        """
        rows = self.rows(values)
        if n is not None and len(rows) not in (1, n):
            why = "several values on a single column mean one each; " if len(self.columns) == 1 else ""
            raise UserError(f"{len(rows)} conditions for {n} samples: {why}give 1 or {n}")
        codes = [column.encode([row[i] for row in rows]) for i, column in enumerate(self.columns)]
        encoded = np.concatenate(codes, axis=1)
        return np.repeat(encoded, n, axis=0) if n is not None and len(rows) == 1 else encoded

    def encode_rows(self, given: Sequence[np.ma.MaskedArray]) -> np.ndarray:
        """The user's columns (n,), as `columns_of` has them -> (n, K)."""
        codes = [np.full((len(raw), column.width), np.nan, np.float32) for column, raw in zip(self.columns, given)]
        for out, column, raw in zip(codes, self.columns, given, strict=True):
            out[~raw.mask] = column.encode(raw.compressed())
        return np.concatenate(codes, axis=1)

    def parts(self, codes: np.ndarray) -> list[np.ndarray]:
        """What of (n, K) is of each column, (n, width)."""
        return np.split(codes, np.cumsum([column.width for column in self.columns])[:-1], axis=1)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """(n, K) of the network, E[c | x] -> the user's labels and values, (n,) or (n, columns); `encode` backwards."""
        found = [column.decode(part) for column, part in zip(self.columns, self.parts(codes), strict=True)]
        return found[0] if len(found) == 1 else np.stack(found, 1)

    def beyond(self, codes: np.ndarray, seen: np.ndarray) -> list[str]:
        """What to say of values among codes (n, K) that lie outside those seen, (m, K), by a twentieth of their range,
        since what is kept of a run's are some of its rows."""
        said = []
        for i, (column, mine, theirs) in enumerate(zip(self.columns, self.parts(codes), self.parts(seen))):
            if column.labels or np.isnan(theirs).all():
                continue
            low, high = np.nanmin(theirs), np.nanmax(theirs)
            outside = np.abs(mine - (low + high) / 2) > 0.55 * (high - low) + 1e-6
            if outside.any():
                first, low, high = column.decode(np.array([[mine[outside][0]], [low], [high]]))
                said.append(f"condition {first:.6g} in column {i}: the training data have {low:.6g} to {high:.6g}, so "
                            "that what comes is extrapolated")  # fmt: skip
        return said

    def rows(self, values: Any) -> list[list[Any]]:
        """Whatever was given, as rows of one entry for each column."""
        wide = len(self.columns)
        if isinstance(values, np.ma.MaskedArray) or (isinstance(values, np.ndarray) and values.dtype.names):
            values = values.tolist()  # None where it is masked
        if values is None:
            return [[None] * wide]
        if isinstance(values, str):
            whole = wide == 1 and values.strip() in {word(label) for label in self.columns[0].labels}
            values = [values] if whole else values.split(",")
        elif isinstance(values, (list, tuple)) and len(values) != wide and all(value is None for value in values):
            return [[None] * wide for _ in values]
        try:
            array = np.asarray(values, object) if np.ndim(values) else np.asarray([values], object)
        except ValueError as error:
            raise UserError(f"conditions of different lengths: give {wide} for each sample") from error
        if array.ndim == 1:
            array = array[:, None] if wide == 1 else array[None]
        if array.ndim != 2 or array.shape[1] != wide:
            raise UserError(f"a condition has {wide} {'entry' if wide == 1 else 'entries'}, not {array.shape[-1]}")
        return array.tolist()


def fit(
    given: dict[str, np.ma.MaskedArray], train: np.ndarray, kind: str, name: str, unknown: Any = None
) -> tuple[Condition, list[str]]:
    """The encoding of columns that `columns_of` gives: labels from all rows, mean and sd from the training rows.

    Integers, booleans and strings are classes and floats are values, unless `kind` says so. Returns what to print, too.
    Raises UserError for more than 100 distinct integers (say which), infinite values, or a column without any.
    """
    if kind not in ("auto", "classes", "values"):
        raise UserError(f"condition_kind must be auto, classes or values, not {kind!r}")
    known = "" if unknown is None else word(unknown)
    made = (replace(column(raw, train, kind, each), unknown=known, name=short(each)) for each, raw in given.items())
    condition = Condition(tuple(made))
    n = len(next(iter(given.values())))
    check_budget(f"condition {name}, one-hot,", (n, condition.width), 4)
    notes = [f"condition {each}: {made}" for each, made in zip(given, condition.columns[:8])]
    gaps = np.any([raw.mask for raw in given.values()], axis=0)
    if gaps.any():
        kinds = {raw.dtype.kind for raw in given.values()}
        how = {"f": " (NaN)", "U": " (an empty text)"}.get(kinds.pop(), "") if len(kinds) == 1 else ""
        notes.append(f"condition {name}: unknown{how} in {int(gaps.sum()):,} of {n:,} rows")
    if len(given) > 8:
        notes.append(f"condition {name}: and {len(given) - 8} more columns")
    return condition, notes


def short(name: str) -> str:
    """Of where a column was found its own name and unit: "scan.nxs:/entry/data :energy (meV)" is "energy (meV)"."""
    found = re.fullmatch(r"(?:.*[:/,] ?)?([^:/,()]+(?: \(.*\))?)", name, re.DOTALL)
    return found[1] if found else name


def column(raw: np.ma.MaskedArray, train: np.ndarray, kind: str, name: str) -> Column:
    known, is_float, is_text = raw.compressed(), raw.dtype.kind == "f", raw.dtype.kind == "U"
    if is_float and np.isinf(known).any():
        count = int(np.isinf(known).sum())
        raise UserError(f"condition {name} holds {count} infinite values: mark unknown ones as NaN")
    if not len(known):
        how = "NaN" if is_float else "empty" if is_text else "unknown"
        raise UserError(f"condition {name} is {how} in every row: give those labels or values that are known")
    if kind == "classes" or (kind == "auto" and not is_float):
        distinct = np.unique(known)
        if kind == "auto" and len(distinct) > MANY:
            which = "classes" if is_text else "values (or classes)"
            raise UserError(
                f"condition {name} has {len(distinct)} distinct entries: say --set data.condition_kind={which}"
            )
        return Column(labels=tuple(label(value) for value in distinct))
    if is_text:
        raise UserError(f"condition {name} is text, which cannot be values: leave out condition_kind, or say classes")
    values = raw[train].compressed().astype(np.float64)
    if len(values) == 0:
        raise UserError(f"condition {name} is {'NaN' if is_float else 'unknown'} in every training row")
    with np.errstate(over="ignore", invalid="ignore"):  # it is said below
        offset, scale = float(values.mean()), float(values.std())
    if scale <= 1e-12 * np.abs(values).max():  # constant, up to rounding
        scale = 1.0
    if not math.isfinite(scale):
        largest = f"{np.abs(values).max():.3g}"
        raise UserError(f"condition {name} is too large to be scaled, up to {largest}: use other units")
    return Column(offset=offset, scale=scale)


def label(value: Any) -> int | float | str:
    """A label as JSON can keep it: whole numbers and booleans as int."""
    key = value.item() if isinstance(value, np.generic) else value
    return int(key) if isinstance(key, (bool, float)) and key == int(key) else key


def columns_of(raw: np.ndarray, n: int, name: str, unknown: Any = None) -> dict[str, np.ma.MaskedArray]:
    """The user's conditions, (n,), (n, columns) or records, as columns (n,) by their names.

    They are masked where nothing is known: where they were, at NaN, an empty text, and the label `unknown`. Raises
    UserError for a wrong length, shape or type.
    """
    if raw.dtype.names and raw.ndim == 1:
        found = {f"{name}, {each}": raw[each] for each in raw.dtype.names}
    elif raw.ndim == 2 and raw.shape[1] > 1:
        found = {f"{name}, column {i}": raw[:, i] for i in range(raw.shape[1])}
    elif raw.ndim in (1, 2) and raw.shape[1:] != (0,):
        found = {name: raw.reshape(-1)}
    else:
        raise UserError(f"condition {name} has shape {raw.shape}: it must be (n,) or (n, columns)")
    if len(raw) != n:
        raise UserError(f"condition {name} has {len(raw):,} rows, but the data have {n:,}")
    return {each: _marked(values, each, unknown) for each, values in found.items()}


def _marked(raw: np.ndarray, name: str, unknown: Any) -> np.ma.MaskedArray:
    """A column of numbers or text, masked where nothing is known."""
    values, gaps = np.ma.getdata(raw), np.ma.getmaskarray(raw)
    if values.dtype.kind in "Mm":
        raise UserError(f"condition {name} has type {values.dtype}: convert times to seconds, as floats")
    if values.dtype.kind not in "buifUS" or values.ndim != 1:
        raise UserError(f"condition {name} has type {values.dtype}: it must be numbers or text")
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        raise UserError(f"condition {name} has type {values.dtype}: convert it to float64")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        values = np.char.strip(values)
        gaps = gaps | (values == "")
    if values.dtype.kind == "f":
        gaps = gaps | np.isnan(values)
    if unknown is not None and len(values):
        distinct, which = np.unique(values, return_inverse=True)
        gaps = gaps | np.array([word(value) == word(unknown) for value in distinct])[which]
    return np.ma.MaskedArray(values, gaps)


def side_by_side(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns (n,) by their names as records; an only one as it is."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    n = len(next(iter(columns.values())))
    out = np.ma.zeros(n, [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        out[name] = values
    return out


def plain(values: np.ndarray, name: str) -> np.ma.MaskedArray:
    """A column of Python's objects as numbers or text, masked at None and NaN. Raises UserError for other objects."""
    gaps = np.array([_nothing(value) for value in values], bool)
    try:
        known = np.array(values[~gaps].tolist())
    except ValueError:  # lists of different lengths
        known = values[~gaps]
    if known.ndim != 1 or known.dtype.hasobject:
        raise UserError(f"{name} holds Python objects ({type(values[~gaps][0]).__name__}): give numbers or text")
    out = np.ma.MaskedArray(np.zeros(len(values), known.dtype), gaps)
    out[~gaps] = known
    return out


def _nothing(value: Any) -> bool:
    """None, NaN, masked, or the NA of pandas, which is not imported for that."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or value is np.ma.masked or type(value).__name__ == "NAType"
