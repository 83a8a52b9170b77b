"""What every metric takes: sets of rows, checked once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ludus.errors import UserError


class Estimate(NamedTuple):
    """A score, and its standard error under another draw of the images."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, normal."""
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error


def rows(*sets: ArrayLike, least: int = 2) -> list[np.ndarray]:
    """Each set of features as float64 (n, d); of numbers (n,) as (n, 1).

    Raises UserError for sets of fewer than `least` rows, of different d, or with a value that is not finite.
    """
    found = [np.asarray(each, float) for each in sets]
    found = [each[:, None] if each.ndim == 1 else each for each in found]
    shapes = ", ".join(str(each.shape) for each in found)
    if any(each.ndim != 2 for each in found) or len({each.shape[1] for each in found}) > 1:
        raise UserError(f"sets to compare are {shapes}: rows (n, d) with one d")
    if min(map(len, found)) < least:
        raise UserError(f"sets to compare are {shapes}: at least {least} rows each")
    if not all(np.isfinite(each).all() for each in found):
        raise UserError("a set to compare holds a value that is not finite: look at what made the features")
    return found
