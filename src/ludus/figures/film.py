"""Figures one after another, as a GIF."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ludus.figures.save import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def film(figures: Iterable[Figure], seconds: float = 0.1) -> bytes:
    """An endless GIF of figures of one size, each shown for `seconds`."""
    from PIL import Image

    frames = [Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(128) for figure in figures]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    return buffer.getvalue()
