"""Rows cut from what a file holds: panels of a volume along its named axes, tiles of large frames."""

from typing import NamedTuple

from ludus.data.raw import Raw


class Cuts(NamedTuple):
    """How rows are cut; nothing by default."""

    panels: str = ""  # names or numbers of the axes whose every step is a row: "energy", "L,energy", "2"
    tiles: str = ""  # height × width in pixels: "64x64"


WHOLE = Cuts()


def cut(raw: Raw, cuts: Cuts) -> Raw:
    """The rows that are asked for, read as they are needed."""
    return raw
