"""How fast a source is read, from a few pieces of it; and what follows for training on it."""

import math
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ludus.data.raw import Raw, size
from ludus.data.stream import PIECE, blocks_of, fits, memory_of
from ludus.errors import UserError
from ludus.terminal import duration

LEAST = 64 << 20  # bytes below which nobody waits for them
MOST = 256 << 20  # bytes of a piece that is read at most
TRIED, SECONDS = 20, 1.0  # pieces at most, of each kind, and how long at most
SLOW = 1000  # rows a second: below, many networks train faster than that
MANY = 8  # chunks that a row lies in, each with other rows: above, a row at random costs many of them


class Rates(NamedTuple):
    """Rows per second."""

    blocks: float  # in blocks of whole chunks, from places at random
    rows: float  # one by one at random


def rates(raw: Raw) -> Rates:
    """Timed on 20 blocks and 20 rows, or as many as are read in a second; of what is in the system's cache that is more
    than the disk gives."""
    together = raw.chunk * max(1, PIECE // (raw.chunk * raw.row))
    return Rates(*(_timed(raw, rows) if rows * raw.row <= MOST else math.nan for rows in (together, 1)))


def _timed(raw: Raw, together: int) -> float:
    starts: Iterable = np.random.default_rng(0).integers(math.ceil(raw.shape[0] / together), size=TRIED)
    began, done = time.perf_counter(), 0
    for start in (int(start) * together for start in starts):
        done += len(raw.rows(start, min(start + together, raw.shape[0])))
        if time.perf_counter() - began > SECONDS:
            break
    return done / (time.perf_counter() - began)


def words(raw: Raw, found: Rates) -> list[str]:
    """What is said of it: the rates, how it would be trained on, and when a copy would be worth it."""
    if raw.stored == 0:
        return ["none of it was ever written: there is nothing to train on"]
    lines, memory = [], memory_of("auto")
    if not math.isnan(found.blocks):
        lines.append(f"read at {found.blocks:,.0f} rows/s in blocks ({size(found.blocks * raw.row)}/s), "
                     f"{found.rows:,.0f} rows/s at random; all of it once in {duration(raw.shape[0] / found.blocks)}"
                     )  # fmt: skip
    if fits(raw, raw.shape[0], memory):
        return [*lines, f"fits in the memory of {size(memory)}, in which it is held while it is trained on"]
    try:
        lines.append(f"larger than the memory of {size(memory)}: {blocks_of(raw, memory)}")
    except UserError as error:
        return [*lines, str(error)]
    chunks = math.prod(math.ceil(n / c) for n, c in zip(raw.shape[1:], raw.chunks[1:]))
    if raw.chunk > 1 and chunks > MANY:
        lines.append(f"each row lies in {chunks:,} chunks of {raw.chunk:,} rows, so that a row at random costs as much "
                     "as all of these: `ludus prepare` stores rows whole")  # fmt: skip
    if found.blocks < SLOW:
        lines.append(f"less than {SLOW:,} rows/s is slower than many networks train: `ludus prepare` crops, bins and "
                     "casts once, and what it writes is read faster, or fits in memory")  # fmt: skip
    return lines
