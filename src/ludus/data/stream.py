"""Training rows that stay where they are: read in shuffled blocks, a window of blocks at a time, the next one ahead."""

import contextlib
import math
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ludus.data import raw as raws
from ludus.data.form import CACHED
from ludus.data.raw import Raw, size
from ludus.errors import Lost, UserError

WINDOW = 1 << 30  # bytes of a window at most, whatever the memory: the first batch waits for one
PIECE = 4 << 20  # bytes of a block, where a window has room for MIXED of them
MIXED, FEWEST = 16, 16  # blocks in a window, where chunks are small enough; rows in it at least
LOOKED_AT = 10_000  # training rows at most, and held-out rows, that are in memory too
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def memory_of(text: str) -> int:
    """Bytes that data may take: "4GB", "500 MB", or "auto", half of the memory that is free.

    Raises UserError for another text, and for more than is free.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)b", text.strip().lower())
    if text != "auto" and not found:
        raise UserError(f"data.memory = {text!r}: a number of bytes such as 500MB or 4GB, or auto")
    half = raws.budget()
    if text == "auto":
        return half
    wanted = int(float(found[1]) * UNITS[found[2]])
    if wanted > 2 * half:
        raise UserError(f"data.memory = {text}: only {size(2 * half)} are free; give less, or leave it to auto")
    return wanted


class Blocks(NamedTuple):
    """How a source is read: `window` rows together, in blocks of `rows` rows that lie side by side."""

    rows: int
    window: int

    @property
    def together(self) -> int:
        return self.window // self.rows

    def __str__(self) -> str:
        return f"read in shuffled blocks of {self.rows:,} rows, {self.together:,} at a time"


def fits(raw: Raw, n: int, memory: int) -> bool:
    """Whether n of the rows fit in memory as float32."""
    return 4 * n * math.prod(raw.shape[1:]) <= memory


def placed(
    raw: Raw, parts: Sequence[np.ndarray], memory: int, window: int | None, seed: int
) -> tuple[Blocks | None, Sequence[np.ndarray]]:
    """How rows are read that do not fit in memory, None where they do; and those of each part that are always there."""
    if window is None and fits(raw, sum(map(len, parts)), memory):
        return None, parts
    blocks = blocks_of(raw, memory, window)
    return blocks, some_of(parts, raw, blocks, seed)


def blocks_of(raw: Raw, memory: int, window: int | None = None) -> Blocks:
    """Whole chunks make a block, and blocks a window, of which two take half of the memory; or one of `window` rows.

    The blocks follow from the file and the window, so that a run goes on as it began where other memory is free. Raises
    UserError where a window would hold too little to be shuffled, and where two of those asked for do not fit.
    """
    least = max(FEWEST, raw.chunk)
    fit = min(memory // 4, WINDOW) // raw.row // raw.chunk * raw.chunk
    if fit < least and window is None:
        why = "lie in one chunk" if raw.chunk == least else "at a time, to be shuffled"
        raise UserError(
            f"{raw.name} is larger than the memory of {size(memory)}, and to be read in blocks it needs "
            f"{size(4 * least * raw.row)}: {least:,} rows of {size(raw.row)} {why}. Give more, --set data.memory=, or "
            "let `ludus prepare` store it in smaller pieces"
        )
    if window is not None and 2 * window * raw.row > memory:
        raise UserError(f"data.window = {window:,}: two windows are {size(2 * window * raw.row)}, and the memory is "
                        f"{size(memory)}: give more, --set data.memory=, or begin a new run without it")  # fmt: skip
    window = max(raw.chunk, window or fit)
    rows = raw.chunk * max(1, min(PIECE, window * raw.row // MIXED) // (raw.chunk * raw.row))
    return Blocks(rows, max(1, window // rows) * rows)


def some_of(parts: Sequence[np.ndarray], raw: Raw, blocks: Blocks, seed: int) -> list[np.ndarray]:
    """The rows of each part that are in memory too: some at random, of blocks at random that hold ten times as many.

    As float32 those of a part take half of what a window does, at most.
    """
    most = min(LOOKED_AT, blocks.window * raw.row // (8 * math.prod(raw.shape[1:])))
    draws = np.random.default_rng([seed, 3])
    found, counts = np.unique(np.concatenate(parts) // blocks.rows, return_counts=True)
    order = draws.permutation(len(found))
    here = found[order[: 1 + np.searchsorted(np.cumsum(counts[order]), 10 * most)]]
    inside = [rows[np.isin(rows // blocks.rows, here)] for rows in parts]
    inside = [own if len(own) else rows[:most] for own, rows in zip(inside, parts)]  # so few that none was there
    return [np.sort(draws.choice(own, min(most, len(own)), replace=False)) for own in inside]


class Stream:
    """Training rows that stay in their source: `order` is that of an epoch, and `take` reads the rows that come next.

    Blocks are permuted, and the rows of a window's blocks shuffled, by the epoch's key and nothing else: any position
    of any epoch can be gone to. Two windows are in memory, in the source's own type: the one that is used, and the
    next, which a thread reads meanwhile.

    Args:
        name: of the source.    source: opens it, as a context manager of a Raw; once rows are asked for.
        rows: the numbers of the training rows in the source, ascending.    blocks: how they are read.
        shape: of a row, as the network has it.    arrived: writes the source's rows into such, float32.
        c: (n, K), the condition of each row, or None.    stamp: tells whether the source has changed since.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], contextlib.AbstractContextManager[Raw]],
        rows: np.ndarray,
        blocks: Blocks,
        shape: tuple[int, ...],
        arrived: Callable[[np.ndarray, np.ndarray], object],
        c: np.ndarray | None = None,
        stamp: Callable[[], str] = str,
    ):
        self.name, self.source, self.rows, self.blocks, self.shape = name, source, rows, blocks, shape
        self.arrived, self.c, self.batches = arrived, c, Batches(shape)
        self.stamp, self.begun = stamp, stamp()
        self.held, counts = np.unique(rows // blocks.rows, return_counts=True)  # the blocks that hold training rows
        self.first = np.concatenate([[0], np.cumsum(counts)])  # of the rows of each
        self.now: Window | None = None
        self.ahead: tuple[tuple[int, int], Future] | None = None
        self.thread: ThreadPoolExecutor | None = None
        self.opened, self.stop = contextlib.ExitStack(), threading.Event()

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, key: int) -> np.ndarray:
        """The numbers of all rows, from 0 to n - 1, in the order of the epoch with this key; key + 1 will follow."""
        self.key, self.window_of = key, np.empty(len(self.held), np.int64)
        draws, order = np.random.default_rng([key, 4]), []
        for i, held in enumerate(self.windows(key)):
            self.window_of[held] = i
            order.append(draws.permutation(self.numbers(held)))
        return np.concatenate(order)

    def windows(self, key: int) -> list[np.ndarray]:
        """Which of the blocks `held` are in each window of an epoch, in the order of the file."""
        order, n = np.random.default_rng([key, 5]).permutation(len(self.held)), self.blocks.together
        return [np.sort(order[i : i + n]) for i in range(0, len(order), n)]

    def numbers(self, held: np.ndarray) -> np.ndarray:
        """The rows of these blocks, ascending."""
        return np.concatenate([np.arange(self.first[b], self.first[b + 1]) for b in held])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """These rows, which follow one another in the epoch's order, as the network has them, float32.

        Raises Lost where the source cannot be read any more, or has changed.
        """
        held = np.searchsorted(self.first, rows, "right") - 1
        within, which = self.rows[rows] - self.held[held] * self.blocks.rows, self.window_of[held]
        out, few = self.batches.empty(len(rows)), max(1, CACHED // math.prod(self.shape))
        start = 0
        while start < len(rows):  # a few at a time, that what is gathered stays in the processor's cache
            stop = min(start + few, int(np.searchsorted(which, which[start], "right")))
            window = self._wait((self.key, int(which[start])))
            places = np.searchsorted(window.held, held[start:stop]) * self.blocks.rows + within[start:stop]
            self.arrived(window.values[places], out[start:stop])
            start = stop
        return out

    def close(self) -> None:
        """Ends the thread, closes the source and lets the memory go; `take` would begin anew."""
        self._drop()
        if self.thread is not None:
            self.thread.shutdown()
        self.opened.close()
        self.now, self.thread, self.buffers = None, None, ()

    # Reading ahead

    def _wait(self, place: tuple[int, int]) -> "Window":
        """The window at a place (key, i), read by now if it was foreseen; the one after it begins to be read."""
        if self.now is None or self.now.place != place:
            if self.ahead is None or self.ahead[0] != place:
                self._drop()
                self._begin(place)
            (_, future), self.ahead = self.ahead, None
            self.now = future.result()
            key, i = place
            self._begin((key, i + 1) if i < self.window_of.max() else (key + 1, 0))
        return self.now

    def _begin(self, place: tuple[int, int]) -> None:
        if self.thread is None:
            self.thread, self.buffers = ThreadPoolExecutor(1, "reads ahead"), ()
        self.stop.clear()
        self.ahead = place, self.thread.submit(self._read, place, 1 - self.now.buffer if self.now else 0)

    def _drop(self) -> None:
        """Gives up what is being read."""
        if self.ahead is not None:
            self.stop.set()
            self.ahead[1].exception()  # waits; whatever went wrong there, nobody asks for it any more
            self.ahead = None

    def _read(self, place: tuple[int, int], buffer: int) -> "Window":
        try:
            if not self.buffers:
                self.raw = self.opened.enter_context(self.source())
                shape = (self.blocks.window, *self.raw.shape[1:])
                self.buffers = [np.empty(shape, self.raw.dtype) for _ in range(2)]
            (key, i), values = place, self.buffers[buffer]
            held = self.windows(key)[i]
            for j, b in enumerate(held):
                if self.stop.is_set():
                    break
                start = int(self.held[b]) * self.blocks.rows
                n = min(self.blocks.rows, self.raw.shape[0] - start)
                values[j * self.blocks.rows :][:n] = self.raw.rows(start, start + n)
            if self.stamp() != self.begun:
                raise UserError("it has changed meanwhile")
            return Window(place, held, values, buffer)
        except Exception as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Lost(f"{self.name} cannot be read any more ({why}): once it is as it was, `ludus resume` goes on "
                       "from the last turn") from error  # fmt: skip


class Batches:
    """Memory for batches: that of earlier ones again, once nobody holds them. New memory takes a third of the time that
    converting does."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.given: list[tuple[memoryview, weakref.ref]] = []

    def empty(self, n: int) -> np.ndarray:
        """(n, *shape) float32, with whatever values."""
        free = [memory for memory, batch in self.given if batch() is None and len(memory) == n]
        memory = free[0] if free else memoryview(np.empty((n, *self.shape), np.float32))
        batch = np.asarray(memory)  # whoever takes a part of it, or makes a tensor of it, holds it
        self.given = [each for each in self.given if each[1]() is not None] + [(memory, weakref.ref(batch))]
        return batch


class Window(NamedTuple):
    """Blocks in memory: the place (key, i) of their window, their numbers, ascending, their rows, and whose memory."""

    place: tuple[int, int]
    held: np.ndarray
    values: np.ndarray
    buffer: int
