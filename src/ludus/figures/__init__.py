"""Pictures from arrays: `matplotlib.figure.Figure` objects, which no window shows and no global state holds."""

from ludus.figures.curves import curves
from ludus.figures.film import film
from ludus.figures.grids import grid, limits_of, side_by_side
from ludus.figures.measured import described, overview
from ludus.figures.neutrons import panels
from ludus.figures.points import points
from ludus.figures.save import data_url, png, svg

__all__ = [
    "curves", "data_url", "described", "film", "grid", "limits_of", "overview", "panels", "png", "points",
    "side_by_side", "svg",
]  # fmt: skip
