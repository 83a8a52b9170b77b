"""Data for a run: read, cleaned, laid out, split and scaled, with every step said and undoable."""

import contextlib
import hashlib
import math
import operator
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from ludus.data import condition as conditions
from ludus.data import layout, locate, scaling
from ludus.data.cuts import WHOLE, Cuts, cut
from ludus.data.form import Form
from ludus.data.locate import Source
from ludus.data.raw import Raw, check_budget, size, times
from ludus.data.rows import FEWEST, Survey, extremes, fill_of, look, passing, pick, split, together, usable
from ludus.data.sources import DRAWS, array, check_numbers, opened
from ludus.data.stream import Stream, blocks_of, fits, memory_of, placed
from ludus.data.told import conditions_of
from ludus.errors import UserError
from ludus.ranges import Count


@dataclass(frozen=True, eq=False)
class Data:
    """Data in the network's range, and the way back."""

    x: np.ndarray  # (n, C, H, W) or (n, D) float32: the training rows, or some of them where there is a `stream`
    c: np.ndarray | None  # (n, K) float32, NaN = unknown
    held_out_x: np.ndarray  # rows that are never trained on
    held_out_c: np.ndarray | None
    form: Form
    fingerprint: str  # SHA-256 of the raw content, shape and type, and of the condition's
    held_out_hash: str  # SHA-256 of the held-out rows' numbers and the fingerprint
    notes: list[str] = field(default_factory=list)  # what was done, a line each
    pixels: dict[str, np.ndarray] = field(default_factory=dict)  # "mask", bool, and "sigma", float32, as `form.shape`
    rows: np.ndarray = field(default_factory=lambda: np.arange(0))  # where those of x stood in the source
    stream: Stream | None = None  # all training rows, where they are larger than memory

    @property
    def n(self) -> int:
        """How many rows are trained on."""
        return len(self.x if self.stream is None else self.stream)

    @property
    def told(self) -> np.ndarray | None:
        """The conditions of all rows that are trained on, (n, K)."""
        return self.c if self.stream is None else self.stream.c


def load(
    source: Any,
    condition: Any = None,
    seed: int = 0,
    *,
    channels: Literal["auto", "first", "last", "none"] = "auto",
    scaling: Literal["auto", "minmax", "standard", "none", "log1p", "asinh", "maximum"] = "auto",
    clip: str = "",
    condition_kind: Literal["auto", "classes", "values"] = "auto",
    unknown: int | float | str | None = None,
    nan: str = "refuse",
    n: int | None = None,
    held_out: float = 0.1,
    download: bool = False,
    mask: str | None = None,
    sigma: str | None = None,
    panels: str = "",
    tiles: str = "",
    weakest: float | None = None,
    memory: str = "auto",
    window: Count | None = None,
) -> Data:
    """Data from `source`: an array in memory, or the text of a file, MNIST, digits or a world (`locate.check`).

    `condition` is one too, (n,) or (n, columns): integers and text are classes, floats are values, unless
    `condition_kind` says so; what is not known is NaN, empty, masked, or the label `unknown`. Values that are not
    finite are refused unless `nan` is "drop" (their rows), "mask" (those pixels in all rows) or "fill=V". `n` is how
    many rows to draw from a world, or to pick at random of other data. y = (g(x) - offset) / scale is
    fitted on the training rows, g by `scaling` as `Scaling` has it: "minmax" to [-1, 1] (pictures), "standard" to mean
    0 and standard deviation 1 (points), both linear; "log1p", "asinh" or each picture's "maximum" before that. x is cut
    off at the percentiles `clip` of the training values first, "0.1,99.9". A share `held_out` is set apart by the seed.
    `mask` names an array of the shape of one row, 0 where there is no detector: what the data hold there is looked at
    nowhere, and is 0 in the network's range. `sigma` names one of standard deviations in the data's units, for
    decoder.sigma=given. `panels` and `tiles` cut rows from volumes and large frames, as `Cuts` says; rows whose maximum
    is not above `weakest`, in the data's units, are dropped. A condition `:NAME` is what the data's own file says of
    each row. Rows that do not fit in `memory` ("4GB"; "auto" is half of what is free) stay in their file, and are read
    in shuffled blocks, a `window` of so many rows at a time: chosen to fit, and kept by a run, so that it goes on in
    the same order. Raises UserError for whatever cannot be used.
    """
    check_options(scaling, clip, n, held_out, seed)
    seed = int(seed)  # torch takes no integers of NumPy's
    fill_of(nan)  # says what is wrong with it before anything is read
    place, labels = located(source, condition, download)
    drawn = place is not None and place.kind == "world"
    cuts, most = Cuts(panels, tiles, channels), memory_of(memory)
    with reading(place, source, "the array", n, seed, download, cuts) as raw:
        check_numbers(raw)
        check_written(raw)
        if not fits(raw, min(raw.shape[0], n or raw.shape[0]), most):
            blocks_of(raw, most, window)  # says that it is too large before it is read
        given = None if condition is None else conditions_of(raw, labels, condition, n, seed, download)
        axes = layout.axes(raw.shape, channels, raw.name, raw.axes)
        told = {"mask": mask, "sigma": sigma}
        known = {name: of_a_row(text, raw, axes, name) for name, text in told.items() if text is not None}
        survey = look(raw, mask=known.get("mask"))
        rows = usable(survey, nan, raw.name, weakest)
        rows = rows if n is None or drawn else pick(rows, n, seed, raw.name)
        known |= {"mask": without_gaps(raw, rows, survey, known.get("mask"))} if nan == "mask" else {}
        check_known(known)
        train, held = split(rows, held_out, seed, raw.name, raw.alike)
        fill = filling(raw, nan)
        mend = mender(fill)
        ends = None if nan == "mask" else extremes(survey, train, fill)
        scaled, about = fitted(raw, train, mend, axes, scaling, clip, known.get("mask"), seed, ends)
        pixels = {name: layout.to_network(each[None], axes)[0] for name, each in known.items()}
        form = formed(raw, axes, scaled, pixels.get("mask"))
        blocks, kept = placed(raw, (train, held), most, window, seed)
        x, held_out_x = converted(raw, kept, mend, form)
    notes = [*read_notes(raw, survey, form, nan, weakest, mask), *about]
    if n is not None and not drawn:
        notes.append(f"picked {n:,} of {raw.shape[0]:,} rows at random (seed {seed})")
    notes.append(f"held out: {len(held):,} of {len(rows):,} rows (seed {seed}){together(raw, rows)}")
    # a world's floats may differ in the last bit between processors: what defines them is hashed
    fingerprint = sha(f"{raw.name} n={raw.shape[0]} seed={seed}") if drawn else survey.digest
    c = held_out_c = None
    if given is not None:
        digest, encoding, (c, held_out_c), more = encoded(given, raw.shape[0], (train, held), condition_kind, unknown)
        form, notes = replace(form, condition=encoding), [*notes, *more]
        fingerprint = sha(fingerprint, given.name if drawn and labels and not labels.is_file else digest)
    for each in known.values():
        fingerprint = sha(fingerprint, each.tobytes())
    held_out_hash = sha(held.astype("<i8").tobytes(), fingerprint)
    stream = None
    if blocks:
        notes.append(f"larger than the memory of {size(most)}: {blocks}; {len(x):,} of {len(train):,} training rows "
                     f"and {len(held_out_x):,} of {len(held):,} held out are looked at")  # fmt: skip
        again = partial(reading, place, source, "the array", n, seed, download, cuts)
        stamp = str if place is None else partial(locate.stamp, place)
        stream = Stream(raw.name, again, train, blocks, form.shape, partial(arrived, form, mend), c, stamp)
        if c is not None:
            c, held_out_c = c[np.searchsorted(train, kept[0])], held_out_c[np.searchsorted(held, kept[1])]
    return Data(x, c, held_out_x, held_out_c, form, fingerprint, held_out_hash, notes, pixels, kept[0], stream)


def formed(raw: Raw, axes: str, scaled: scaling.Scaling, mask: np.ndarray | None) -> Form:
    shape, grid = layout.network_shape(raw.shape, axes), layout.grid(raw.axes, axes)
    return Form(raw.name, axes, shape, scaled, grid=grid, signal=scaled.signal(raw.signal), mask=mask)


def arrived(form: Form, mend: Callable[[np.ndarray], np.ndarray], block: np.ndarray, out: np.ndarray) -> None:
    """Puts rows that a stream has read into the network's range."""
    form.to_network(mend(block), out=out)


def check_written(raw: Raw) -> None:
    """Raises UserError for a dataset of which there is only what was declared."""
    if raw.stored == 0:
        raise UserError(f"{raw.name} declares {times(raw.shape)} values, {size(raw.shape[0] * raw.row)}, and holds "
                        "none: it was never written")  # fmt: skip


def of_a_row(text: str, raw: Raw, axes: str, name: str) -> np.ndarray:
    """An array of the shape of one row of the data, or of its height and width for all channels alike: a mask as bool,
    standard deviations as float32."""
    place, _ = locate.check(text)
    with opened(place) as found:
        check_numbers(found)
        values = np.asarray(found.rows(0, found.shape[0]))
    values = values[0] if values.shape[1:] == raw.shape[1:] and len(values) == 1 else values  # a TIFF of a single page
    plane = {"NHWC": raw.shape[1:3], "NCHW": raw.shape[2:]}.get(axes)
    if values.shape == plane:
        values = np.broadcast_to(values[..., None] if axes == "NHWC" else values, raw.shape[1:])
    if values.shape != raw.shape[1:]:
        raise UserError(f"{name} {text} is {times(values.shape)}, a row of {raw.name} is {times(raw.shape[1:])}")
    if name == "sigma":
        return values.astype(np.float32)
    if is_pixel_mask(text):
        values = values == 0
    if np.isnan(values).any() or not values.any():
        raise UserError(f"mask {text} is not 0 where there is a detector, and 0 where there is none; it is "
                        f"{'0 everywhere' if not values.any() else 'NaN somewhere'}")  # fmt: skip
    if (left := np.count_nonzero(values)) < values.size / 10:
        raise UserError(f"mask {text} leaves {left:,} of {values.size:,} pixels: 0 is where there is NO detector. Is "
                        "it the other way round?")  # fmt: skip
    return values != 0


def is_pixel_mask(text: str) -> bool:
    """Whether a mask is one of NeXus, which has 0 where a pixel is good, and else a number for what is wrong."""
    return re.split("[:/]", text)[-1] == "pixel_mask"


def check_known(known: dict[str, np.ndarray]) -> None:
    """Raises UserError for a standard deviation that is none; where there is no detector it becomes 1."""
    if "sigma" not in known:
        return
    sigma = np.where(known.get("mask", True), known["sigma"], np.float32(1))
    bad = ~(np.isfinite(sigma) & (sigma > 0))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(f"data.sigma holds {sigma[where]} at {where}: it is above 0, or masked (data.mask)")
    known["sigma"] = sigma


def without_gaps(raw: Raw, rows: np.ndarray, survey: Survey, mask: np.ndarray | None) -> np.ndarray:
    """A mask that is also False where any of the rows holds a value that is not finite.

    Raises UserError where hardly a pixel would be left: the gaps are then not those of a detector.
    """
    mask = np.ones(raw.shape[1:], bool) if mask is None else mask
    gappy = rows[survey.bad[rows]]
    found = mask.copy()
    for block in chosen(raw, gappy, np.isfinite):
        found &= block.all(0)
    if found.sum() < mask.sum() / 10:
        raise UserError(
            f"{raw.name}: --nan mask would leave {found.sum():,} of {mask.sum():,} pixels, as {len(gappy):,} rows have "
            "gaps in different places: say --nan drop (those rows) or --nan fill=0 (another value)"
        )
    return found


def filling(raw: Raw, nan: str) -> float | None:
    """What stands in place of gaps, as the source's type has it; None where nothing does."""
    fill = fill_of(nan)
    if fill is None or raw.dtype.kind != "f":
        return None
    if abs(fill) > float(np.finfo(raw.dtype).max):
        raise UserError(f"nan = {nan!r}: {raw.name} is {raw.dtype}, which cannot hold this value")
    return float(np.float64(fill).astype(raw.dtype))


def mender(fill: float | None) -> Callable[[np.ndarray], np.ndarray]:
    """What is done to the gaps of rows in the source's units."""

    def mend(block: np.ndarray) -> np.ndarray:
        return block if fill is None else np.where(np.isfinite(block), block, fill)

    return mend


def check_options(kind: str, clip: str, n: int | None, held_out: float, seed: int) -> None:
    scaling.check(kind, clip)
    if n is not None and n < FEWEST:
        raise UserError(f"n = {n}: at least {FEWEST} rows are needed")
    if not 0 <= held_out < 1:
        raise UserError(f"held_out = {held_out:g}: it is a share of the rows, from 0 to less than 1")
    try:
        whole = operator.index(seed)
    except TypeError as error:
        raise UserError(f"seed = {seed!r}: it must be a whole number") from error
    if not 0 <= whole < 2**63:
        raise UserError(f"seed = {seed}: it must not be negative, and less than 2^63")


def located(source: Any, condition: Any, download: bool = False) -> tuple[Source | None, Source | None]:
    """The places that texts name; None for arrays."""
    told = os.fspath(condition) if isinstance(condition, (str, os.PathLike)) else None
    if isinstance(source, (str, os.PathLike)):
        return locate.check(os.fspath(source), told, download)
    labels = None if told is None else locate.parse(told)
    if labels and not labels.is_file and labels.kind != "own":
        raise UserError(f"condition {labels.text} belongs to {labels.path}, but the data are an array in memory")
    return None, labels


@contextlib.contextmanager
def reading(
    place: Source | None, given: Any, name: str, n: int | None, seed: int, download: bool = False, cuts: Cuts = WHOLE
) -> Iterator[Raw]:
    """What a text names, or the array that was given."""
    if place is None:
        yield cut(array(given, name), cuts)
        return
    if place.kind == "world":
        check_budget(place.text, (DRAWS if n is None else n, 2), 16, "draw fewer points")
    with opened(place, n, seed, download, partial(cut, cuts=cuts)) as raw:
        yield raw


def chosen(raw: Raw, rows: np.ndarray, mend: Callable, what: str = "read") -> Iterator[np.ndarray]:
    """The rows with these numbers (ascending), block by block, mended; what: is done with them."""
    for start, stop in passing(raw, raw.shape[0], len(rows), what):
        first, last = np.searchsorted(rows, [start, stop])
        if first < last:
            block = raw.rows(start, stop)
            yield mend(block if last - first == len(block) else block[rows[first:last] - start])


def fitted(
    raw: Raw, train: np.ndarray, mend: Callable, axes: str, kind: str, clip: str, mask: np.ndarray | None, seed: int,
    ends: np.ndarray | None = None,
) -> tuple[scaling.Scaling, list[str]]:
    """The scaling of the training rows, where there is a detector, and what to say of how it was found: one offset for
    pictures, one per dimension for points. ends: the lowest and the highest value of each, if known: then nothing is
    read where these are enough."""
    points = axes in ("N", "ND")
    if points and kind == "maximum":
        raise UserError(f"{raw.name} are points, and scaling=maximum divides pictures by their own: standard or asinh")
    notes, values = [], np.empty(0)

    def live(rows: np.ndarray) -> Iterator[np.ndarray]:
        for block in chosen(raw, rows, mend, "read for the scaling"):
            yield block.reshape(len(block), -1) if mask is None else block[:, mask]

    if scaling.needs_values(kind, clip):
        some, most = train, max(1, scaling.VALUES // int(math.prod(raw.shape[1:]) if mask is None else mask.sum()))
        if len(train) > most:
            some = np.sort(np.random.default_rng([seed, 6]).choice(train, most, replace=False))
            notes.append(f"percentiles and median: of {most:,} of {len(train):,} training rows, picked at random")
        values = np.concatenate([block.ravel() for block in live(some)])
    begun = scaling.begin(kind, clip, values, raw.name)
    told = ends is not None and not (points or clip or kind == "standard")
    found = scaling.fit(begun, kind, [ends] if told else live(train), raw.name, train, points)
    if points and mask is not None:
        offset = np.zeros(mask.shape)
        offset[mask] = found.offset
        found = replace(found, offset=tuple(offset.tolist()))
    return found, notes


def converted(raw: Raw, parts: tuple[np.ndarray, ...], mend: Callable, form: Form) -> list[np.ndarray]:
    """The rows of each part in the network's range; the file is read once."""
    found = [np.empty((len(rows), *form.shape), np.float32) for rows in parts]
    both = np.sort(np.concatenate(parts))
    done = 0
    for block in chosen(raw, both, mend, "brought into memory"):
        here = both[done : done + len(block)]
        for rows, out in zip(parts, found, strict=True):
            first, last = np.searchsorted(rows, [here[0], here[-1] + 1])
            out[first:last] = form.to_network(
                block[np.isin(here, rows[first:last], assume_unique=True)], rows[first:last]
            )
        done += len(block)
    return found


def encoded(
    told: Raw, n: int, parts: tuple[np.ndarray, ...], kind: str, unknown: int | float | str | None = None
) -> tuple[str, conditions.Condition, list[np.ndarray], list[str]]:
    """The condition's hash, encoding, rows of each part, and what to print."""
    raw = told.read(())
    given = conditions.columns_of(raw, n, told.name, unknown)
    used = np.sort(np.concatenate(parts))
    train, known = np.searchsorted(used, parts[0]), {name: each[used] for name, each in given.items()}
    encoding, notes = conditions.fit(known, train, kind, told.name, unknown)
    coded = [encoding.encode_rows([each[rows] for each in given.values()]) for rows in parts]
    content = np.ascontiguousarray(np.ma.getdata(raw), raw.dtype.newbyteorder("<"))
    gaps = np.ma.getmaskarray(raw).tobytes()
    form = content.dtype.descr if raw.dtype.names else content.dtype.str
    digest = sha(f"{form}{told.shape}", content.tobytes(), *[gaps] * (1 in gaps))
    return digest, encoding, coded, notes


def read_notes(
    raw: Raw, survey: Survey, form: Form, nan: str, weakest: float | None, mask: str | None
) -> list[str]:
    notes = [
        f"{raw.name}: {times(raw.shape)} {raw.dtype}, {survey.span}",
        *raw.notes,
        *survey.full(raw.dtype),
        layout.words(form.axes, form.shape),
    ]
    if survey.bad.any():
        what = {"drop": "those rows dropped", "mask": "those pixels are masked in all rows"}
        notes.append(f"{survey.gaps}: {what[nan] if nan in what else f'replaced by {fill_of(nan):g}'}")
    notes += [*rounding(raw, survey), str(form.scaling)]
    if weakest is not None:
        notes.append(f"dropped as weak: {(survey.peaks <= weakest).sum():,} rows without a value above {weakest:g}")
    if form.mask is not None:
        how = f"; {mask} is 0 where a pixel is good, as NeXus has it" if mask and is_pixel_mask(mask) else ""
        notes.append(f"masked: {(~form.mask).sum():,} of {form.mask.size:,} pixels{how}")
    return notes


def rounding(raw: Raw, survey: Survey) -> list[str]:
    """A note where float32, in which samples come back, is coarser than the data."""
    largest, spread = max(abs(survey.low), abs(survey.high)), survey.high - survey.low
    step = 2.0 ** (math.frexp(largest)[1] - 24)  # from one float32 to the next
    if step > spread / 1000 and (raw.dtype.kind == "f" or step > 1):
        return [
            f"samples come back rounded to float32 steps of {step:.6g}, coarse for values that vary by {spread:.6g}: "
            f"subtract the offset from the data, in float64"
        ]
    if largest > 2**24 and raw.dtype.itemsize >= 4 and raw.dtype != np.float32:
        return ["values beyond 2^24 come back rounded to float32, seven digits"]
    return []


def sha(*parts: str | bytes) -> str:
    return hashlib.sha256(b"\n".join(part.encode() if isinstance(part, str) else part for part in parts)).hexdigest()
