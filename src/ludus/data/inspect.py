"""What a source holds, before any of it is trained on: it also looks at what `load` would refuse."""

import math
import shlex
from typing import Any, NamedTuple

import numpy as np

from ludus.data import layout, rates
from ludus.data.cuts import Cuts
from ludus.data.layout import words
from ludus.data.load import located, reading
from ludus.data.locate import Source
from ludus.data.raw import UNNAMED, Axis, Raw, check_budget, size, times
from ludus.data.rows import Survey, fill_of, look
from ludus.data.sources import check_numbers, reader
from ludus.errors import UserError

LOOK = 256 << 20  # bytes that are looked at, at most, so that the answer to a terabyte comes soon
DRAWN = 1 << 21  # values at most, but of 4 pictures all


class Description(NamedTuple):
    """Lines to print, and rows to draw: up to 64 pictures (n, H, W[, 3]), up to 5,000 points (n, D), or None."""

    lines: list[str]
    rows: np.ndarray | None
    grid: tuple[Axis, ...] = ()  # of height and width, and what is known of the values
    signal: Axis = UNNAMED


def describe(
    source: Any, channels: str = "auto", download: bool = False, *, panels: str = "", tiles: str = "",
    nan: str = "refuse",
) -> Description:  # fmt: skip
    """Shape, type, axes, range, gaps, storage and proposed layout of a source that is cut as asked, the command to
    train on it, and some rows.

    A file of several arrays is listed. Raises UserError only for what cannot be read or cut at all, and for unknown
    `channels` and `nan`.
    """
    layout.check_channels(channels)
    fill_of(nan)
    place, _ = located(source, None, download)
    listed = contents(place) if place else []
    if listed:
        return Description(listed, None)
    with reading(place, source, "the array", None, 0, download, Cuts(panels, tiles, channels)) as raw:
        check_numbers(raw)
        check_budget(f"{raw.name} (one row)", raw.shape[1:], 8)
        stop, speed = min(raw.shape[0], max(1, LOOK // raw.row)), None
        if place is not None and place.is_file and raw.shape[0] * raw.row > rates.LEAST:
            speed = rates.rates(raw)
            stop = min(stop, max(64, int(2 * speed.rows if math.isnan(speed.blocks) else 2 * speed.blocks)))
        survey = look(raw, stop)
        asked = {"channels": "" if channels == "auto" else channels, "panels": panels, "tiles": tiles,
                 "nan": "" if nan == "refuse" else nan}  # fmt: skip
        said = rates.words(raw, speed) if speed else []
        lines = [*facts(raw, survey), *said, *proposal(raw, survey, channels, place, asked)]
        axes = guess(raw.shape, channels)  # of a scan, too: it is only drawn
        rows = shown(raw, axes, stop) if axes else None
        return Description(lines, rows, layout.grid(raw.axes, axes) if axes else (), raw.signal)


def contents(place: Source) -> list[str]:
    """The arrays of a file that holds several, where none is named."""
    held = reader(place).contents(place.path) if place.is_file and not place.part else []
    return [f"{place.path}: {len(held)} arrays; name one", *held] if held else []


def facts(raw: Raw, survey: Survey) -> list[str]:
    looked = len(survey.bad)
    part = "" if looked == raw.shape[0] else f" (first {looked:,} rows)"
    return [
        f"{raw.name}: {times(raw.shape)} {raw.dtype}",
        *(f"axis {i}: {axis.over(n)}" for i, (axis, n) in enumerate(zip(raw.axes, raw.shape)) if axis != UNNAMED),
        *([f"values: {raw.signal.label}"] if raw.signal.label else []),
        *raw.notes,
        *survey.full(raw.dtype),
        f"{size(math.prod(raw.shape) * raw.dtype.itemsize)} as it is, {size(4 * math.prod(raw.shape))} in training",
        f"storage: {raw.storage}",
        f"range{part}: {survey.span}",
        f"gaps{part}: {survey.gaps if survey.bad.any() else 'none'}",
    ]


def conditions(raw: Raw) -> list[str]:
    """What the data say of each of their rows themselves."""
    names = [f":{name}" for name in raw.own]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"conditions that it holds: {', '.join(names[:8])}{more}"] if names else []


def proposal(raw: Raw, survey: Survey, channels: str, place: Source | None, asked: dict[str, str]) -> list[str]:
    """How it would be read, and the command that does; asked: its options, as they were given."""
    try:
        axes = layout.axes(raw.shape, channels, raw.name, raw.axes)
        lines = [words(axes, layout.network_shape(raw.shape, axes))]
    except UserError as error:
        lines, scan = [str(error)], layout.scan(raw.shape, raw.axes)
        asked = asked | ({"panels": scan} if scan else {"channels": "last"} if len(raw.shape) == 4 else {})
    lines += conditions(raw)
    named = [axis.name for axis in raw.axes[1:] if axis.name]
    if len(raw.shape) > 2 and raw.axes and raw.axes[0].name and named and not asked["panels"]:
        first, last = raw.axes[0].name, named[-1]
        lines.append(f"each step along {first} is a row: --panels {last} makes it one along {last}")
    few = survey.bad.mean() <= 0.5  # rows with gaps: more of them are those of a detector
    asked = asked | ({"nan": "drop" if few else "mask"} if survey.bad.any() and not asked["nan"] else {})
    if not survey.low < survey.high and len(survey.bad) == raw.shape[0]:
        return [*lines, "nothing to train on: no two values differ"]
    if place is not None and len(raw.shape) <= 4:
        name = raw.name if place.is_file else place.text
        extra = [part for key, value in asked.items() if value for part in (f"--{key}", value)]
        lines.append(f"to train: {shlex.join(['ludus', 'train', 'r3gan', '--data', name, *extra])}")
    return lines


def guess(shape: tuple[int, ...], channels: str) -> str | None:
    """The axes for drawing, also where training would ask."""
    for each in (channels, "last" if len(shape) == 4 and shape[-1] <= 4 else "first"):
        try:
            return layout.axes(shape, each)
        except UserError:
            continue
    return None


def shown(raw: Raw, axes: str, stop: int) -> np.ndarray:
    """The first rows, as they are drawn, in the user's units."""
    if axes in ("N", "ND"):
        with np.errstate(over="ignore"):
            return layout.to_network(np.asarray(raw.rows(0, min(5000, stop)), np.float32), axes)
    few = max(4, min(64, DRAWN // math.prod(raw.shape[1:])))
    with np.errstate(over="ignore"):  # what training refuses is drawn as infinite
        return layout.pictures(np.asarray(raw.rows(0, min(few, stop)), np.float32), axes)
