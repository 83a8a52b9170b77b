"""`metrics.jsonl`: one line of JSON for each measurement, in the order of the turns."""

import json
import os
from pathlib import Path

import numpy as np

from ludus.runs.disk import refused, write


class Journal:
    """Appends rows to a `metrics.jsonl`: `Journal(path).append({"turn": 10, "time": 1.5, "loss": 0.69})`.

    Each row is one line, handed to the system in one piece, so a kill leaves at most a torn last line; opening mends
    that. `cut` first, then open: cutting puts another file in its place.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if self.path.exists() and not _tail(self.path, 1).endswith(b"\n"):
            cut(self.path)
        try:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (open for as long as the run)
        except OSError as error:
            raise refused(f"cannot open {self.path}", error) from error

    def append(self, row: dict) -> None:
        """Add one row, which must hold an integer `turn`; NaN and infinities are kept as such.

        Raises `StoreError` where the disk refuses, without leaving a piece of the line behind.
        """
        if not isinstance(row.get("turn"), int):
            raise TypeError(f"a row of {self.path.name} needs an integer 'turn': {row}")
        line = json.dumps(row, default=_number).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            while line:  # a disk that fills up takes what still fits, and gives the reason at the next attempt
                line = line[self._file.write(line):]
        except OSError as error:
            self._file.truncate(before)
            raise refused(f"cannot write {self.path}", error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read(path: Path) -> list[dict]:
    """All rows of a `metrics.jsonl`, without lines that a crash tore; none where there is no file."""
    return [row for _, row in _rows(_tail(Path(path)))]


def last(path: Path) -> dict | None:
    """The last row, without reading the whole file; None where there is none."""
    rows = _rows(_tail(Path(path), 1 << 16))
    return rows[-1][1] if rows else None


def cut(path: Path, turn: int | None = None) -> None:
    """Keep the rows up to and including `turn` (all by default), drop torn lines; the kept lines stay as they are.

    A resumed run cuts at its checkpoint's turn and writes the rest again.
    """
    lines = [line for line, row in _rows(_tail(Path(path))) if turn is None or row["turn"] <= turn]
    if Path(path).exists():
        write(path, b"".join(line + b"\n" for line in lines))


def _rows(content: bytes) -> list[tuple[bytes, dict]]:
    """The lines that hold a row, each with its row; a line cut anywhere is not JSON, for its last brace is missing."""
    rows = []
    for line in content.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("turn"), int):
            rows.append((line, row))
    return rows


def _tail(path: Path, n: int | None = None) -> bytes:
    """The last n bytes of a file, or all; nothing where there is no file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0 if n is None else max(0, size - n))
            return file.read()
    except FileNotFoundError:
        return b""


def _number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} in a row of metrics: only numbers, texts, lists and dicts")
