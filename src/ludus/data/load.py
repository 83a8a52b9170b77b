"""Data for a run: read, cleaned, laid out, split and scaled, with every step said and undoable."""

import contextlib
import hashlib
import math
import operator
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ludus.data import condition as conditions
from ludus.data import layout, locate, scaling
from ludus.data.cuts import WHOLE, Cuts, cut
from ludus.data.form import Form
from ludus.data.locate import Source
from ludus.data.raw import Raw, check_budget, in_memory, times
from ludus.data.rows import FEWEST, Survey, fill_of, look, pick, split, together, usable
from ludus.data.sources import DRAWS, array, check_numbers, opened
from ludus.errors import UserError, unknown


@dataclass(frozen=True, eq=False)
class Data:
    """Data in the network's range, and the way back."""

    x: np.ndarray  # (n, C, H, W) or (n, D) float32: the training rows
    c: np.ndarray | None  # (n, K) float32, NaN = unknown
    held_out_x: np.ndarray  # the rows that are never trained on
    held_out_c: np.ndarray | None
    form: Form
    fingerprint: str  # SHA-256 of the raw content, shape and type, and of the condition's
    held_out_hash: str  # SHA-256 of the held-out rows' numbers and the fingerprint
    notes: list[str] = field(default_factory=list)  # what was done, a line each
    pixels: dict[str, np.ndarray] = field(default_factory=dict)  # "mask", bool, and "sigma", float32, as `form.shape`
    rows: np.ndarray = field(default_factory=lambda: np.arange(0))  # where the training rows stood in the source


def load(
    source: Any,
    condition: Any = None,
    seed: int = 0,
    *,
    channels: Literal["auto", "first", "last", "none"] = "auto",
    scaling: Literal["auto", "minmax", "standard", "none"] = "auto",
    condition_kind: Literal["auto", "classes", "values"] = "auto",
    nan: str = "refuse",
    n: int | None = None,
    held_out: float = 0.1,
    download: bool = False,
    mask: str | None = None,
    sigma: str | None = None,
    panels: str = "",
    tiles: str = "",
    weakest: float | None = None,
) -> Data:
    """Data from `source`: an array in memory, or the text of a file, MNIST, digits or a world (`locate.check`).

    `condition` is one too, (n,) or (n, columns): integers and text are classes, floats are values, unless
    `condition_kind` says so. Values that are not finite are refused unless `nan` is "drop" (their rows) or "fill=V".
    `n` is how many rows to draw from a world, or to pick at random of other data. y = (x - offset) / `scaling` is
    fitted on the training rows: "minmax" to [-1, 1] (pictures), "standard" to mean 0 and standard deviation 1
    (points). A share `held_out` is set apart by the seed. `mask` names an array of the shape of one row, 0 where there
    is no detector: what the data hold there is put to the middle of the range. `sigma` names one of standard deviations
    in the data's units, for decoder.sigma=given. `panels` and `tiles` cut rows from volumes and large frames, as `Cuts`
    says; rows whose maximum is not above `weakest`, in the data's units, are dropped. A condition `:NAME` is what the
    data's own file says of each row. Raises UserError for whatever cannot be used.
    """
    check_options(scaling, n, held_out, seed)
    seed = int(seed)  # torch takes no integers of NumPy's
    fill = fill_of(nan)
    place, labels = located(source, condition, download)
    drawn = place is not None and place.kind == "world"
    with reading(place, source, "the array", n, seed, download, Cuts(panels, tiles)) as raw:
        check_numbers(raw)
        used = min(raw.shape[0], n or raw.shape[0])
        check_budget(raw.name, (used, *raw.shape[1:]), 4, "pick fewer rows at random with --set data.n=1000")
        axes = layout.axes(raw.shape, channels, raw.name)
        told = {"mask": mask, "sigma": sigma}
        known = {name: of_a_row(text, raw, axes, name) for name, text in told.items() if text is not None}
        check_known(known)
        survey = look(raw, mask=known.get("mask"))
        rows = usable(survey, nan, raw.name, weakest)
        if fill is not None and raw.dtype.kind == "f" and abs(fill) > float(np.finfo(raw.dtype).max):
            raise UserError(f"nan = {nan!r}: {raw.name} is {raw.dtype}, which cannot hold this value")
        rows = rows if n is None or drawn else pick(rows, n, seed, raw.name)
        train, held = split(rows, held_out, seed, raw.name, raw.group)
        mend = mender(raw, fill, known.get("mask"), (survey.low + survey.high) / 2)
        form = Form(
            raw.name, axes, layout.network_shape(raw.shape, axes), fitted(raw, train, mend, axes, scaling),
            grid=layout.grid(raw.axes, axes), signal=raw.signal,
        )  # fmt: skip
        x, held_out_x = converted(raw, (train, held), mend, form)
    pixels = {name: layout.to_network(each[None], axes)[0] for name, each in known.items()}
    notes = read_notes(raw, survey, form, nan)
    if weakest is not None:
        notes.append(f"dropped as weak: {(survey.peaks <= weakest).sum():,} rows without a value above {weakest:g}")
    if mask is not None:
        x[:, ~pixels["mask"]] = held_out_x[:, ~pixels["mask"]] = 0
        notes.append(f"masked: {(~pixels['mask']).sum():,} of {pixels['mask'].size:,} pixels")
    if n is not None and not drawn:
        notes.append(f"picked {n:,} of {raw.shape[0]:,} rows at random (seed {seed})")
    notes.append(f"held out: {len(held):,} of {len(rows):,} rows (seed {seed}){together(raw, rows)}")
    # a world's floats may differ in the last bit between processors: what defines them is hashed
    fingerprint = sha(f"{raw.name} n={raw.shape[0]} seed={seed}") if drawn else survey.digest
    c = held_out_c = None
    if condition is not None:
        with conditions_of(raw, labels, condition, n, seed, download) as told:
            digest, encoding, (c, held_out_c), more = encoded(told, raw.shape[0], (train, held), condition_kind)
        form, notes = replace(form, condition=encoding), [*notes, *more]
        fingerprint = sha(fingerprint, told.name if drawn and labels and not labels.is_file else digest)
    for each in known.values():
        fingerprint = sha(fingerprint, each.tobytes())
    held_out_hash = sha(held.astype("<i8").tobytes(), fingerprint)
    return Data(x, c, held_out_x, held_out_c, form, fingerprint, held_out_hash, notes, pixels, train)


def of_a_row(text: str, raw: Raw, axes: str, name: str) -> np.ndarray:
    """An array of the shape of one row of the data, or of its height and width for all channels alike: a mask as bool,
    standard deviations as float32."""
    place, _ = locate.check(text)
    with opened(place) as found:
        check_numbers(found)
        values = np.asarray(found.rows(0, found.shape[0]))
    plane = {"NHWC": raw.shape[1:3], "NCHW": raw.shape[2:]}.get(axes)
    if values.shape == plane:
        values = np.broadcast_to(values[..., None] if axes == "NHWC" else values, raw.shape[1:])
    if values.shape != raw.shape[1:]:
        raise UserError(f"{name} {text} is {times(values.shape)}, a row of {raw.name} is {times(raw.shape[1:])}")
    if name == "sigma":
        return values.astype(np.float32)
    if np.isnan(values).any() or not values.any():
        raise UserError(f"mask {text} is not 0 where there is a detector, and 0 where there is none; it is "
                        f"{'0 everywhere' if not values.any() else 'NaN somewhere'}")  # fmt: skip
    return values != 0


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


def mender(raw: Raw, fill: float | None, mask: np.ndarray | None, middle: float) -> Callable[[np.ndarray], np.ndarray]:
    """What is done to the gaps, and where the mask is False, of rows in the source's units."""

    def mend(block: np.ndarray) -> np.ndarray:
        if mask is not None:
            block = np.where(mask, block, middle)
        if fill is not None and raw.dtype.kind == "f":
            block = np.where(np.isfinite(block), block, fill)
        return block

    return mend


def check_options(scaling: str, n: int | None, held_out: float, seed: int) -> None:
    if scaling not in ("auto", "minmax", "standard", "none"):
        raise UserError(f"scaling must be auto, minmax, standard or none, not {scaling!r}")
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
def conditions_of(
    raw: Raw, labels: Source | None, given: Any, n: int | None, seed: int, download: bool
) -> Iterator[Raw]:
    """The conditions, one of each row: those of a frame or volume are those of all rows that were cut from it."""
    if labels is not None and labels.kind == "own":
        yield own(raw, labels.part)
        return
    with reading(labels, given, "the array of conditions", n, seed, download) as told:
        if raw.group > 1 and told.shape and told.shape[0] * raw.group == raw.shape[0]:
            told = in_memory(told.name, np.repeat(told.rows(0, told.shape[0]), raw.group, 0), told.storage)
        yield told


def own(raw: Raw, name: str) -> Raw:
    """What the data's own file says of each row."""
    if name not in raw.own:
        raise unknown(f"condition of {raw.name}:", f":{name}", [f":{each}" for each in raw.own])
    return in_memory(f"{raw.name} :{name}", raw.own[name])


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
    with opened(place, n, seed, download, cuts) as raw:
        yield raw


def chosen(raw: Raw, rows: np.ndarray, mend: Callable) -> Iterator[np.ndarray]:
    """The rows with these numbers (ascending), block by block, mended."""
    for start, block in raw.blocks():
        first, last = np.searchsorted(rows, [start, start + len(block)])
        if last - first < len(block):
            block = block[rows[first:last] - start]
        if len(block):
            yield mend(block)


def fitted(raw: Raw, train: np.ndarray, mend: Callable, axes: str, kind: str) -> scaling.Scaling:
    """The scaling of the training rows: one offset for pictures, one per dimension for points."""
    points = axes in ("N", "ND")
    if kind == "auto":
        kind = "standard" if points else "minmax"
    wide = raw.shape[1] if axes == "ND" else 1
    return scaling.fit(kind, (block.reshape(-1, wide) for block in chosen(raw, train, mend)), raw.name)


def converted(raw: Raw, parts: tuple[np.ndarray, ...], mend: Callable, form: Form) -> list[np.ndarray]:
    """The rows of each part in the network's range; the file is read once."""
    found = [np.empty((len(rows), *form.shape), np.float32) for rows in parts]
    both = np.sort(np.concatenate(parts))
    done = 0
    for block in chosen(raw, both, mend):
        here = both[done : done + len(block)]
        for rows, out in zip(parts, found, strict=True):
            first, last = np.searchsorted(rows, [here[0], here[-1] + 1])
            out[first:last] = form.to_network(block[np.isin(here, rows[first:last], assume_unique=True)])
        done += len(block)
    return found


def encoded(
    told: Raw, n: int, parts: tuple[np.ndarray, ...], kind: str
) -> tuple[str, conditions.Condition, list[np.ndarray], list[str]]:
    """The condition's hash, encoding, rows of each part, and what to print."""
    check_budget(f"condition {told.name}", told.shape, told.dtype.itemsize)
    raw = conditions.check_raw(told.rows(0, told.shape[0]) if told.shape else np.empty(()), n, told.name)
    used = np.sort(np.concatenate(parts))
    encoding, notes = conditions.fit(raw[used], np.searchsorted(used, parts[0]), kind, told.name)
    content = np.ascontiguousarray(raw, raw.dtype.newbyteorder("<"))
    digest = sha(f"{content.dtype.str}{told.shape}", content.tobytes())
    return digest, encoding, [encoding.encode_rows(raw[rows]) for rows in parts], notes


def read_notes(raw: Raw, survey: Survey, form: Form, nan: str) -> list[str]:
    notes = [
        f"{raw.name}: {times(raw.shape)} {raw.dtype}, {survey.span}",
        layout.words(form.axes, form.shape),
    ]
    if survey.bad.any():
        notes.append(f"{survey.gaps}: {'those rows dropped' if nan == 'drop' else f'replaced by {fill_of(nan):g}'}")
    return [*notes, *rounding(raw, survey), str(form.scaling)]


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
