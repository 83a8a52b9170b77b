"""Tables of text, .csv and .tsv: columns of numbers and words, a line for each row of data or for each file of them."""

import contextlib
import csv
import difflib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ludus.data.condition import side_by_side
from ludus.data.raw import UNNAMED, Axis, Raw, check_budget, in_memory, size, times
from ludus.errors import UserError, unknown

FILES = ("file", "filename", "path", "name")  # what a column of files' names is called, the surest first
UNKNOWN = ("", "NaN", "nan", "NA", "n/a", "N/A")
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")  # that an int64 can hold


@contextlib.contextmanager
def opened(path: str, part: str = "") -> Iterator[Raw]:
    """The columns of numbers as points, (n, columns), or the one that is named as (n,); unknown ones are NaN."""
    columns = read(path)
    chosen = pick(columns, path, part)
    words = [name for name, values in chosen.items() if values.dtype.kind == "U"]
    if words:
        numbers = [name for name in columns if columns[name].dtype.kind in "if"]
        advice = f"name those of numbers, {path}:{','.join(numbers)}" if numbers else "there are no columns of numbers"
        raise UserError(f"{path}: column {words[0]!r} holds text, not numbers: {advice}")
    kind = np.result_type(*chosen.values())
    if any(values.mask.any() for values in chosen.values()):
        kind = np.result_type(kind, np.float64)
    stack = [values.astype(kind).filled(np.nan) if kind.kind == "f" else values.data for values in chosen.values()]
    array = stack[0] if len(stack) == 1 else np.stack(stack, 1)
    about = f"a table of {len(columns)} columns, {size(os.path.getsize(path))}"
    axes = (UNNAMED, Axis(words=tuple(chosen))) if len(chosen) > 1 else ()
    signal = UNNAMED if axes else Axis(next(iter(chosen)))
    whole = in_memory(f"{path}:{part}" if part else path, array, about)
    yield replace(whole, own=columns, axes=axes, signal=signal)


def contents(path: str) -> list[str]:
    """The columns, where not all of them are numbers."""
    columns = read(path)
    if all(values.dtype.kind in "if" for values in columns.values()):
        return []
    return [f"{path}:{name} ({times(values.shape)} {values.dtype})" for name, values in columns.items()]


def labels(path: str, part: str, raw: Raw) -> np.ndarray:
    """The columns that are asked for, or all but that of files' names, as conditions of the rows of `raw`.

    Where the data are files and the table names files, each row has the line with its file's name, or nothing is known
    of it. Else the lines have the order of the rows. Raises UserError for a line that belongs to no file.
    """
    columns = read(path)
    files = next((name for each in FILES for name in columns if name.lower() == each), None)
    rest = {name: values for name, values in columns.items() if name != files} or columns
    told = side_by_side(pick(columns, path, part) if part else rest)
    if files is None or "file" not in raw.own:
        return told
    line = matched(columns[files].astype(str), raw.own["file"].tolist(), f"{path}, column {files!r}")
    told = np.ma.array(told[line], copy=True)
    told[line < 0] = np.ma.masked
    return told


def matched(names: np.ndarray, files: list[str], where: str) -> np.ndarray:
    """For each of the data's files the number of the line that names it, by its path or its bare name; -1 for none."""
    whole = {each.replace(os.sep, "/"): each for each in files}
    bare: dict[str, list[str]] = {}
    for path in whole:
        bare.setdefault(path.rpartition("/")[2], []).append(path)
    line: dict[str, int] = {}
    for i, name in enumerate(names.tolist()):
        name = name.replace("\\", "/").removeprefix("./")
        found = [name] if name in whole else bare.get(name, [])
        if not found:
            near = difflib.get_close_matches(name, list(whole)[:10_000], n=1)
            guess = f" Did you mean {near[0]!r}?" if near else f" The first file is {next(iter(whole))!r}"
            raise UserError(f"{where}: there is no file {name!r} in the data.{guess}")
        if len(found) > 1:
            raise UserError(f"{where}: {name!r} is {found[0]} and {found[1]}: write which, with its folder")
        if found[0] in line:
            raise UserError(f"{where}: the file {found[0]!r} is named twice")
        line[found[0]] = i
    return np.array([line.get(each.replace(os.sep, "/"), -1) for each in files])


def pick(columns: dict[str, np.ma.MaskedArray], path: str, part: str) -> dict[str, np.ma.MaskedArray]:
    """The columns that a text names, with commas between, or all of them."""
    names = [part] if part in columns else [each.strip() for each in part.split(",")] if part else list(columns)
    for name in names:
        if name not in columns:
            raise unknown(f"column of {path}:", name, columns)
    return {name: columns[name] for name in names}


def read(path: str) -> dict[str, np.ma.MaskedArray]:
    """All columns by their names, or their numbers if the first line has none, masked where a cell is empty or NaN.

    Whole numbers are int64, other numbers float64, all else text. Raises UserError naming the line that is wrong.
    """
    lines = lines_of(path)
    names = [cell.strip() for cell in lines[0]]
    if all(number(name) is not None for name in names):
        names = [str(i) for i in range(len(names))]
    else:
        lines = lines[1:]
        names = [name or str(i) for i, name in enumerate(names)]  # pandas leaves that of the row's number empty
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UserError(f"{path} has two columns {name!r}: rename one")
    if not lines:
        raise UserError(f"{path} has no rows below its header")
    return {name: typed([line[i].strip() for line in lines], name, path) for i, name in enumerate(names)}


def lines_of(path: str) -> list[list[str]]:
    """The cells of each line, all as many as the first has; between them a comma, semicolon or tab, or spaces as
    NumPy writes them."""
    try:
        check_budget(f"{path} (as text)", (os.path.getsize(path),), 30, "save it as .npy")
        text = Path(path).read_text("utf-8-sig").removeprefix("# ").rstrip("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    if by_spaces(text):
        text = "\n".join(",".join(line.split()) for line in text.splitlines())
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    lines: list[list[str]] = []
    try:
        for cells in reader:
            if not cells and lines and len(lines[0]) == 1:
                cells = [""]  # the only cell of its line is empty
            if cells and lines and len(cells) != len(lines[0]):
                raise UserError(f"{path}, line {reader.line_num}: {len(cells)} cells, its first has {len(lines[0])}")
            lines += [cells] if cells else []
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    if not lines:
        raise UserError(f"{path} is empty")
    return lines


def by_spaces(text: str) -> bool:
    """Whether the last line is of several numbers with spaces between, and the first one has no other marks."""
    first, last = text.partition("\n")[0], text.rpartition("\n")[2].split()
    return not set(",;\t\"") & set(first) and len(last) > 1 and all(number(cell) is not None for cell in last)


def typed(cells: list[str], name: str, path: str) -> np.ma.MaskedArray:
    """A column as whole numbers, numbers or text."""
    gaps = np.array([cell in UNKNOWN for cell in cells])
    known = [cell for cell in cells if cell not in UNKNOWN]
    if all(WHOLE_NUMBER.fullmatch(cell) for cell in known) and known:
        values = np.array([int(cell) if cell not in UNKNOWN else 0 for cell in cells], np.int64)
    elif all(number(cell) is not None for cell in known):
        values = np.array([number(cell) if cell not in UNKNOWN else np.nan for cell in cells])
    else:
        if all(number(cell.replace(",", ".")) is not None for cell in known):
            raise UserError(f"{path}: column {name!r} has decimal commas ({known[0]}): write decimal points")
        values = np.array([cell if cell not in UNKNOWN else "" for cell in cells])
    return np.ma.MaskedArray(values, gaps)


def number(cell: str) -> float | None:
    """The number that a cell is; Python's 1_000 is none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
