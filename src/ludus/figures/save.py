"""A figure's birth and its end: a blank one of given size, and its bytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200  # two dots per pixel of a web page, so that letters stay sharp
INK, FAINT = "#22262b", "#6a7078"
# Okabe & Ito, with a darker yellow: told apart by all eyes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#666666")


def blank(width: float, height: float) -> Figure:
    """An empty white figure of `width` × `height` dots; it belongs to no window and to no pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: two dollars in a name would make a formula of it."""
    return str(text).replace("$", r"\$")


def styled(axes: Axes, title: str, x: str, y: str) -> None:
    """Title at the left, labels, faint ticks and a grid, no frame."""
    axes.set_title(title, fontsize=9, color=INK, weight="bold", loc="left")
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    axes.grid(color="#e4e6e9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes (no date, no version inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, letters as outlines; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "ludus"}):  # names of parts are drawn from it, else at random
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def data_url(drawn: bytes) -> str:
    """A PNG file as a `data:` address for an HTML `<img>`, so that a page needs no second file."""
    return "data:image/png;base64," + base64.b64encode(drawn).decode("ascii")
