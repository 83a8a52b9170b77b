"""What a source holds, before any of it is trained on: it also looks at what `load` would refuse."""

import math
import shlex
from typing import Any, NamedTuple

import numpy as np

from ludus.data import layout
from ludus.data.layout import words
from ludus.data.load import located, reading
from ludus.data.locate import Source
from ludus.data.raw import Raw, check_budget, size, times
from ludus.data.rows import Survey, look
from ludus.data.sources import check_numbers, reader
from ludus.errors import UserError

LOOK = 1 << 30  # bytes that are read at most, so that the answer to a terabyte comes soon


class Description(NamedTuple):
    """Lines to print, and rows to draw: up to 64 pictures (n, H, W[, 3]), up to 5,000 points (n, D), or None."""

    lines: list[str]
    rows: np.ndarray | None


def describe(source: Any, channels: str = "auto", download: bool = False) -> Description:
    """Shape, type, range, gaps, storage and proposed layout of a source, the command to train on it, and some rows.

    A file of several arrays is listed. Raises UserError only for what cannot be read at all, and for unknown
    `channels`.
    """
    layout.check_channels(channels)
    place, _ = located(source, None, download)
    listed = contents(place) if place else []
    if listed:
        return Description(listed, None)
    with reading(place, source, "the array", None, 0, download) as raw:
        check_numbers(raw)
        row = math.prod(raw.shape[1:]) * raw.dtype.itemsize
        check_budget(f"{raw.name} (one row)", raw.shape[1:], 8)
        stop = min(raw.shape[0], max(1, LOOK // max(1, row)))
        survey = look(raw, stop)
        lines = [*facts(raw, survey), *proposal(raw, survey, channels, place)]
        axes = guess(raw.shape, channels)
        return Description(lines, shown(raw, axes, stop) if axes else None)


def contents(place: Source) -> list[str]:
    """The arrays of a file that holds several, where none is named."""
    held = reader(place).contents(place.path) if place.is_file and not place.part else []
    return [f"{place.path}: {len(held)} arrays; name one", *held] if held else []


def facts(raw: Raw, survey: Survey) -> list[str]:
    looked = len(survey.bad)
    part = "" if looked == raw.shape[0] else f" (first {looked:,} rows)"
    return [
        f"{raw.name}: {times(raw.shape)} {raw.dtype}",
        f"{size(math.prod(raw.shape) * raw.dtype.itemsize)} as it is, {size(4 * math.prod(raw.shape))} in training",
        f"storage: {raw.storage}",
        f"range{part}: {survey.span}",
        f"gaps{part}: {survey.gaps if survey.bad.any() else 'none'}",
    ]


def proposal(raw: Raw, survey: Survey, channels: str, place: Source | None) -> list[str]:
    """How it would be read, and the command that does."""
    extra = [] if channels == "auto" else ["--channels", channels]
    try:
        axes = layout.axes(raw.shape, channels, raw.name)
        lines = [words(axes, layout.network_shape(raw.shape, axes))]
    except UserError as error:
        lines = [str(error)]
        extra = ["--channels", "last"] if len(raw.shape) == 4 else []
    extra += ["--nan", "drop"] if survey.bad.any() else []
    if not survey.low < survey.high:
        return [*lines, "nothing to train on: no two values differ"]
    if place is not None and len(raw.shape) <= 4:
        name = raw.name if place.is_file else place.text
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
        return layout.to_network(np.asarray(raw.rows(0, min(5000, stop)), np.float32), axes)
    return layout.pictures(np.asarray(raw.rows(0, min(64, stop)), np.float32), axes)
