"""Which rows of raw data are used: those without gaps, some picked by chance, a share held out."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ludus.data.raw import Raw, check_budget
from ludus.errors import UserError
from ludus.terminal import counting

FEWEST = 4
LONG = 256 << 20  # bytes that are read with a word on how far it is
ROW = 40  # bytes that are kept of each row


class Survey(NamedTuple):
    """What one pass over raw data finds."""

    digest: str  # SHA-256 of shape, type and content, whatever the byte order and the kind of file
    low: float  # of the finite values; NaN if there are none
    high: float
    nans: int
    infinities: int
    bad: np.ndarray  # (n,) bool: rows that hold a value that is not finite
    peaks: np.ndarray  # (n,) the largest finite value of each row; -inf where there is none
    lows: np.ndarray  # (n,) the lowest one; inf where there is none
    tops: np.ndarray  # (pixels that are looked at,) bool: those that hold the largest number of an integer type

    @property
    def span(self) -> str:
        """Lowest to highest, with enough digits to tell them apart, however large their offset."""
        spread, largest = self.high - self.low, max(abs(self.low), abs(self.high))
        digits = max(6, 4 + math.floor(math.log10(largest / spread))) if 0 < spread < math.inf else 6
        return f"{self.low + 0.0:.{digits}g} to {self.high + 0.0:.{digits}g}"  # which makes 0 of -0

    def full(self, dtype: np.dtype) -> list[str]:
        """A note on the largest number of an integer type, with which detectors say that they have none."""
        n, rows = int(self.tops.sum()), 0 if not self.tops.any() else int((self.peaks == self.high).sum())
        return [f"{plural(n, 'pixel')} hold{'s' * (n == 1)} {np.iinfo(dtype).max}, the largest of {dtype.name}, in "
                f"{plural(rows, 'row')}: dead or saturated? Leave them out (--mask), or cut them off "
                f"(--clip 0,99.9)"] if n else []  # fmt: skip

    @property
    def gaps(self) -> str:
        parts = [f"{self.nans:,} NaN" * (self.nans > 0), f"{self.infinities:,} infinite" * (self.infinities > 0)]
        return f"{' and '.join(filter(None, parts))} values in {int(self.bad.sum()):,} of {len(self.bad):,} rows"


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def look(raw: Raw, stop: int | None = None, mask: np.ndarray | None = None) -> Survey:
    """Reads the data once, or the first `stop` rows of them; what they hold where `mask` is False is not looked at."""
    stop = raw.shape[0] if stop is None else stop
    check_budget(f"{raw.name} (what is known of each row)", (stop,), ROW, "cut it into smaller files")
    little = raw.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{little.str}{tuple(raw.shape)}".encode())
    nans, infinities, bad = 0, 0, np.zeros(stop, bool)
    peaks, lows, tops = np.full(stop, -np.inf), np.full(stop, np.inf), np.zeros(0, bool)
    top = np.iinfo(raw.dtype).max if raw.dtype.kind in "iu" and raw.dtype.itemsize > 1 else None  # 255 is only white
    for start, end in passing(raw, stop, stop, "looked at"):
        block = raw.rows(start, end)
        digest.update(np.ascontiguousarray(block, little).data)
        if mask is not None:
            block = block[:, mask]
        here, below, above = slice(start, start + len(block)), block, block
        if raw.dtype.kind == "f":
            finite = np.isfinite(block)
            if not finite.all():
                missing = int(np.isnan(block).sum())
                nans, infinities = nans + missing, infinities + int((~finite).sum()) - missing
                bad[here] = ~finite.reshape(len(block), -1).all(1)
                below, above = np.where(finite, block, np.inf), np.where(finite, block, -np.inf)
        if block.size:
            lows[here] = below.reshape(len(block), -1).min(1)
            peaks[here] = above.reshape(len(block), -1).max(1)
        if top is not None and block.size and (peaks[here] >= top).any():
            found = (block == top).reshape(len(block), -1).any(0)
            tops = tops | found if len(tops) else found
    low, high = float(lows.min(initial=np.inf)), float(peaks.max(initial=-np.inf))
    if low > high:
        low = high = float("nan")
    return Survey(digest.hexdigest(), low, high, nans, infinities, bad, peaks, lows, tops)


def passing(raw: Raw, stop: int, n: int, what: str) -> Iterator[tuple[int, int]]:
    """The spans up to a row, of which n rows are read: counted, where these are so many that it takes some seconds."""
    quiet = contextlib.nullcontext(lambda done, note: None)
    with counting(stop, "rows") if n * raw.row > LONG else quiet as count:
        for start, end in raw.spans(stop):
            yield start, end
            count(end, what)


def highest(x: np.ndarray) -> np.ndarray:
    """The largest finite value of each row, (n,); -inf where there is none."""
    x = np.where(np.isfinite(x), x, -np.inf) if x.dtype.kind == "f" else x
    return x.reshape(len(x), -1).max(1)


def extremes(survey: Survey, rows: np.ndarray, fill: float | None = None) -> np.ndarray:
    """The lowest and the highest value of these rows, (n, 2), once `fill` stands where a value is not finite."""
    found = np.stack([survey.lows[rows], survey.peaks[rows]], 1)
    if fill is None:
        return found
    filled = np.stack([found[:, 0].clip(max=fill), found[:, 1].clip(min=fill)], 1)
    return np.where(survey.bad[rows, None], filled, found)


def fill_of(nan: str) -> float | None:
    """The V of "fill=V"; None for "refuse", "drop" and "mask"."""
    if nan in ("refuse", "drop", "mask"):
        return None
    try:
        value = float(nan.removeprefix("fill=")) if nan.startswith("fill=") else float("nan")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"nan must be refuse, drop, mask, or fill=V with a number V, not {nan!r}")
    return value


def usable(survey: Survey, nan: str, name: str, weakest: float | None = None) -> np.ndarray:
    """The rows' numbers that may be used, of those with a value above `weakest`.

    Raises UserError where the user must decide, or too little is left.
    """
    if np.isnan(survey.low):
        raise UserError(f"{name} holds no finite value at all: every one is NaN or infinite")
    if max(abs(survey.low), abs(survey.high)) > float(np.finfo(np.float32).max):
        largest = max(survey.low, survey.high, key=abs)
        raise UserError(f"{name} holds {largest:.3g}, beyond float32: use other units")
    if survey.bad.any() and nan == "refuse":
        raise UserError(f"{name} holds {survey.gaps}: say --nan drop (those rows), --nan mask (those pixels, in "
                        "all rows) or --nan fill=0 (another value)")  # fmt: skip
    good = ~survey.bad if nan == "drop" else np.ones(len(survey.bad), bool)
    rows = np.flatnonzero(good if weakest is None else good & (survey.peaks > weakest))
    if len(rows) < FEWEST:
        above = "" if weakest is None else f" with a value above weakest = {weakest:g},"
        left = f"{above or ' without gaps,'} of {len(survey.bad):,}" if len(rows) < len(survey.bad) else ""
        other = "; --nan mask leaves out pixels in place of rows" if nan == "drop" and survey.bad.any() else ""
        raise UserError(f"{name} has {plural(len(rows), 'row')}{left}: at least {FEWEST} are needed{other}")
    return rows


def pick(rows: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """n of the rows at random, in their own order."""
    if n > len(rows):
        raise UserError(f"{name} has {len(rows):,} rows, fewer than n = {n:,}")
    return np.sort(np.random.default_rng([seed, 2]).choice(rows, n, replace=False))


def split(
    rows: np.ndarray, share: float, seed: int, name: str, group: int | np.ndarray = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows, by the seed, each in their own order; at least one is held out of ten or more.

    Rows of one frame or volume are alike, so all of a `group` go one way, where there are ten groups or more.
    """
    units = frames_of(rows, group) if groups_of(rows, group) >= 10 else rows
    each = np.unique(units)
    held = round(share * len(each))
    if share > 0 and len(each) >= 10:
        held = max(held, 1)
    out = np.isin(units, np.random.default_rng([seed, 1]).permutation(each)[:held])
    if (~out).sum() < 2:
        raise UserError(f"{name}: held_out = {share:g} leaves {(~out).sum()} of {len(rows)} rows to train on")
    return rows[~out], rows[out]


def frames_of(rows: np.ndarray, group: int | np.ndarray) -> np.ndarray:
    """The number of the frame or volume of each row."""
    return group[rows] if isinstance(group, np.ndarray) else rows // group


def groups_of(rows: np.ndarray, group: int | np.ndarray) -> int:
    return len(np.unique(frames_of(rows, group)))


def together(raw: Raw, rows: np.ndarray) -> str:
    """What is said of rows that were cut from frames or volumes."""
    if raw.group == 1 and raw.frames is None:
        return ""
    n = groups_of(rows, raw.alike)
    if n >= 10:
        return f", all that was cut from one of {n:,} frames or volumes together"
    many = "1 frame or volume" if n == 1 else f"{n} frames or volumes"
    return f": they were cut from {many}, so rows that are trained on are like those held out"
