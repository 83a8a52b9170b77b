"""FPD and KPD, the Fréchet and kernel physics distances, as JetNet 0.2.5 has them: for numbers beside published ones.

Kansal et al. 2023, arXiv:2211.10295. Features are divided by the largest absolute value of each in the real set, and
batches of both sets are drawn with replacement. So neither is 0 on average where both sets are of one law, which
`frechet.intercept` and `kernel.kernel_distance` are: it keeps what a finite set of N rows adds to the plain distance.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import curve_fit
from scipy.stats import iqr

from ludus.errors import UserError, at_least
from ludus.metrics.frechet import frechet
from ludus.metrics.kernel import kernel_distance
from ludus.metrics.rows import Estimate, rows

FEWEST, MOST, SIZES, DRAWS = 20_000, 50_000, 10, 20  # of FPD: rows of a batch; sizes; batches of each
BATCH, BATCHES, DEGREE = 5000, 10, 4  # of KPD


def fpd(real: ArrayLike, generated: ArrayLike, fewest: int = FEWEST, most: int = MOST, seed: int = 42) -> Estimate:
    """Intercept a of the line FD(n) = a + b / n with a, b ≥ 0, and the error that the fit gives it.

    FD(n) is the mean over 20 pairs of batches of n rows, at ten n from `fewest` to `most`, equally spaced in 1/n.
    Unlike `frechet.intercept` it cannot be below 0; drawing with replacement, it takes away what the batches add and
    leaves what the sets add, of N rows each: of one law it tends to the plain FD of both sets; and its error is that of
    the fit, not of another draw of the images.
    Raises UserError for fewer than `most` rows of a set, as well: lower it then, and say so beside the number.
    """
    at_least("fewest", fewest, 2)
    at_least("most", most, fewest + 1)
    x, y = _scaled(real, generated, most)
    sizes = (1 / np.linspace(1 / fewest, 1 / most, SIZES)).astype("int32")
    draw = np.random.default_rng(seed)
    means = [np.mean([frechet(*_batches(x, y, n, draw)) for _ in range(DRAWS)]) for n in sizes]
    (value, _), covariance = curve_fit(lambda u, a, b: a + b * u, 1 / sizes, means, bounds=(0, np.inf))
    return Estimate(float(value), float(np.sqrt(covariance[0, 0])))


def kpd(real: ArrayLike, generated: ArrayLike, batch: int = BATCH, seed: int = 42) -> Estimate:
    """Median of the kernel distance with degree 4 over ten pairs of batches; half the range of its middle 67.45 %.

    A row drawn twice is a pair with itself, which adds E k(x, x) − E k(x, x') over N for each set of N rows. The error
    is that of one batch. Raises UserError for fewer than `batch` rows, as well.
    """
    x, y = _scaled(real, generated, batch)
    draws = [np.random.default_rng(seed + 1000 * i) for i in range(BATCHES)]
    values = [kernel_distance(*_batches(x, y, batch, draw), degree=DEGREE) for draw in draws]
    return Estimate(float(np.median(values)), float(iqr(values, rng=(16.275, 83.725)) / 2))


def _scaled(real: ArrayLike, generated: ArrayLike, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = rows(real, generated)
    if min(len(x), len(y)) < least:
        raise UserError(f"sets are {x.shape} and {y.shape}: JetNet's distances draw {least:,} rows of each at a time")
    largest = np.abs(x).max(0)
    largest[largest == 0] = 1
    return x / largest, y / largest


def _batches(x: np.ndarray, y: np.ndarray, n: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n rows of each, with replacement; drawn in JetNet's order, so that one seed gives its very batches."""
    i, j = draw.choice(len(x), size=n), draw.choice(len(y), size=n)
    return x[i], y[j]
