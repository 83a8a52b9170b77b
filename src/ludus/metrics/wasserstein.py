"""Wasserstein distances of two sets of rows: in one dimension, over many directions, and exact for few points.

    W_p^p = min over joint laws of E |x − y|^p;    in one dimension = ∫₀¹ |F⁻¹(u) − G⁻¹(u)|^p du

In units of the features. All are above 0 at finite n where both sets are of one law.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ludus.errors import UserError, at_least
from ludus.metrics import halves
from ludus.metrics.rows import Estimate, rows

DIRECTIONS = 200
DRAWS = 20  # random halves: sorting them all takes longer than the score
MOST = 2000  # points of `exact`, whose time grows as n³


def w1(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """W₁ of each feature by itself, (n, d) and (m, d) -> (d,): the mean difference of sorted values where n = m."""
    a, b = rows(a, b)
    return _transport(a.T, b.T, 1)


def directions(d: int, n: int = DIRECTIONS, seed: int = 0) -> np.ndarray:
    """n random unit vectors, (d, n)."""
    at_least("n", n, 1)
    drawn = np.random.default_rng(seed).normal(size=(d, n))
    return drawn / np.linalg.norm(drawn, axis=0)


def sliced(a: ArrayLike, b: ArrayLike, along: np.ndarray | None = None, seed: int = 0) -> float:
    """Sliced W₂: √ of the mean of W₂² over directions, of the rows projected on each (Rabin et al. 2012).

    along (d, k): directions, by default 200 drawn by `seed`. Compare only scores that have the same: 200 others change
    that of a shift by 5 % (1 sd).
    """
    return float(np.sqrt(_transport(*_projected(a, b, along, seed), 2).mean()))


def sliced_estimate(
    a: ArrayLike, b: ArrayLike, along: np.ndarray | None = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Sliced W₂ and its standard error under another draw of the images, the directions being the same.

    The error is that of W₂², from `draws` random halves (`halves.error`), over 2 W₂.
    """
    x, y = _projected(*rows(a, b, least=4), along, seed)
    value, draw, pairs = np.sqrt(_transport(x, y, 2).mean()), np.random.default_rng(seed), np.empty((draws, 2))
    n, m = x.shape[1] // 2, y.shape[1] // 2
    for each in pairs:
        i, j = draw.permutation(x.shape[1]), draw.permutation(y.shape[1])
        each[0] = _transport(x[:, i[:n]], y[:, j[:m]], 2).mean()
        each[1] = _transport(x[:, i[-n:]], y[:, j[-m:]], 2).mean()
    return Estimate(float(value), float(halves.error(pairs) / (2 * value)) if value else 0.0)


def exact(a: ArrayLike, b: ArrayLike) -> float:
    """W₂ of two sets of equally many points, at most 2000, by the best matching of them, one to one.

    Raises UserError for unequal sets or more points, as well. At finite n it is above 0 by about n^{−1/d}: of use in a
    plane, and not for comparing images.
    """
    a, b = rows(a, b)
    if len(a) != len(b) or len(a) > MOST:
        raise UserError(f"sets are {a.shape} and {b.shape}: the exact distance takes equally many rows, at most {MOST}")
    cost = cdist(a, b, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def _projected(a: ArrayLike, b: ArrayLike, along: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows on each direction, (k, n) and (k, m)."""
    a, b = rows(a, b)
    along = directions(a.shape[1], seed=seed) if along is None else np.asarray(along, float)
    if along.ndim != 2 or len(along) != a.shape[1]:
        raise UserError(f"directions are {along.shape}, for features {a.shape}: (d, k)")
    return along.T @ a.T, along.T @ b.T


def _transport(x: np.ndarray, y: np.ndarray, p: int) -> np.ndarray:
    """W_p^p of each row of values, (k, n) and (k, m) -> (k,), p 1 or 2."""
    cost = np.abs if p == 1 else np.square
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    n, m = x.shape[1], y.shape[1]
    if n == m:
        return cost(x - y).mean(1)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # where either quantile function steps, × nm
    i, j, width = (ends - 1) // m, (ends - 1) // n, np.diff(ends, prepend=0) / (n * m)
    return cost(x.take(i, axis=1, mode="clip") - y.take(j, axis=1, mode="clip")) @ width  # "clip": four times as fast
