"""Are two sets of rows of one law? Tests that exchange whole rows, images say, between the sets at random.

    p = (1 + #{statistic of exchanged sets ≥ that of the sets as they are}) / (1 + exchanges),    P(p ≤ α) ≤ α

where both are of one law, at any n, whatever the law, and however the pixels of one image depend on each other. The
rows themselves are taken to be independent: of a Markov chain, only those further apart than it remembers.

All exchanges are one matrix: `first` (N, 1 + exchanges) is 1 where a row is of the first set, its column 0 the sets as
they are. What it is multiplied with, a kernel or the cells of a histogram, is computed once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist
from scipy.special import expit

from ludus.metrics.rows import rows

PERMUTATIONS = 999
BLOCK = 256  # rows of a kernel at once
SCALED = 2000  # rows whose median distance is a kernel's length
LEVELS, VALUES = 512, 10**6  # where distribution functions are compared; the values that these are quantiles of
STEPS = 64  # of log H / (1 − H)
LARGEST = np.finfo(float).max
ROUNDING = 1e-9  # of statistics, relative: what is closer than this is equal


class TwoSample(NamedTuple):
    """A statistic of two sets, and what it is when rows are exchanged between them at random."""

    value: float
    null_mean: float
    null_sd: float
    p: float  # (1 + #{null ≥ value}) / (1 + null)


def beside(values: np.ndarray) -> TwoSample:
    """A statistic of the sets as they are, values[0], beside that of exchanged ones, values[1:]."""
    null = values[1:]
    return TwoSample(float(values[0]), float(null.mean()), float(null.std(ddof=1)), float(_p(values)))


def mmd_test(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> TwoSample:
    """Maximum mean discrepancy of rows a (n, d) and b (m, d), squared and unbiased, beside its permutation null.

        MMD² = mean of k(x, x') + mean of k(y, y') − 2 mean of k(x, y),    k(x, y) = exp(−|x − y|² / 2 s²),

    pairs of a row with itself left out, s the median distance of all rows, or of 2000 of them. Unbiased: it may be
    below 0, and is 0 on average where both are of one law. Gretton et al. 2012, JMLR 13, 723.

    Its time goes as (n + m)² × permutations. Raises UserError as `rows` does.
    """
    both, first, n, m = _exchanged(a, b, permutations, seed)
    some = both[np.random.default_rng([seed, 1]).permutation(n + m)[:SCALED]]  # which set they are of is not asked
    s2 = np.median(pdist(some, "sqeuclidean"))
    inside, across, total = _sums(both, lambda squares: np.exp(squares / (-2 * (s2 if s2 > 0 else 1.0))), first)
    xx, yy = inside - n, total - inside - 2 * across - m  # k of a row with itself is 1
    return beside(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * across / (n * m))


def energy_test(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> TwoSample:
    """The energy distance of rows a (n, d) and b (m, d), squared, beside its permutation null.

        2 mean |x − y| − mean |x − x'| − mean |y − y'|,    pairs of a row with itself included

    so that it is never below 0, and (n + m) / nm · mean |x − y| on average where both are of one law. In one dimension
    it is 2 ∫ (F − G)². It has no length to choose; a few far rows, or a column of large numbers, weigh more than in
    `mmd_test`. Székely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249.

    Its time goes as (n + m)² × permutations. Raises UserError as `rows` does.
    """
    both, first, n, m = _exchanged(a, b, permutations, seed)
    inside, across, total = _sums(both, np.sqrt, first)
    return beside(2 * across / (n * m) - inside / n**2 - (total - inside - 2 * across) / m**2)


def ks_image_test(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> TwoSample:
    """max_v |F(v) − G(v)| of the pixels of all images a (n, ...) and b (m, ...), beside its permutation null.

    F and G are shares of pixels that are at most v, at 512 quantiles of both sets together. It is Kolmogorov and
    Smirnov's statistic, to 1/512; not their p-value, which takes pixels for independent: of fields of power k⁻² it
    rejects two honest pairs of sets in three. Raises UserError as `rows` does, or where the images differ in size.
    """
    a, b = (np.asarray(x, float) for x in (a, b))
    both, first, *_ = _exchanged(a.reshape(len(a), -1), b.reshape(len(b), -1), permutations, seed)
    some = np.random.default_rng([seed, 1]).permutation(len(both))[: max(1, VALUES // both.shape[1])]
    values = np.sort(both[some], axis=None)
    at = np.unique(values[np.linspace(0, len(values) - 1, LEVELS).astype(int)])
    return beside(np.abs(_apart(both, first, at)).max(0))


class Joint(NamedTuple):
    """What `max_t` says of each of K observables."""

    z: np.ndarray  # (K,) how far the two sets are apart: (statistic − its mean) / its sd over the exchanges
    p: np.ndarray  # (K,) of each by itself
    adjusted: np.ndarray  # (K,) for all of them together; the smallest is that of "none differs"


def max_t(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> Joint:
    """Which of K observables differ? Numbers a (n, K) and b (m, K), a row for each image, with one exchange of images
    for all observables.

    The statistic is Anderson and Darling's, ∫ (F − G)² dH / H(1 − H) with H of both sets together: a sum over even
    steps of log H / (1 − H). It sees a shift nearly as well as the difference of means does, a change of width or of
    shape, which that does not, and more of the tails than Kolmogorov and Smirnov's. In units of its own spread it is
    of one law for all continuous observables, so that none rules the maximum.

    `adjusted` is Westfall & Young's step-down maxT (1993): that any observable is rejected in error has probability at
    most α, however they depend on each other, where those that do not differ are of one joint law in both sets.

    An observable may have ties, be constant (p = 1), or be undefined for some images: NaN counts as the largest value,
    so that being undefined more often is a difference. Raises UserError as `rows` does.
    """
    a, b = (np.nan_to_num(np.asarray(x, float), nan=LARGEST) for x in (a, b))
    both, first, *_ = _exchanged(a, b, permutations, seed)
    at = (len(both) * expit(np.log(len(both)) * np.linspace(-1, 1, STEPS))).astype(int)
    values = np.stack([(_apart(x[:, None], first, np.sort(x)[at]) ** 2).sum(0) for x in both.T])
    z = _standardised(values, values)  # with the sets as they are among the exchanges: any of these could be them
    order = np.argsort(-z[:, 0], kind="stable")
    largest = np.maximum.accumulate(z[order][::-1])[::-1]  # of each observable and of all that differ less
    adjusted = np.empty(len(z))
    adjusted[order] = np.maximum.accumulate(_p(largest))
    return Joint(_standardised(values, values[:, 1:])[:, 0], _p(values), adjusted)


def _standardised(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    mean, sd = by.mean(1, keepdims=True), by.std(1, keepdims=True)
    return (values - mean) / np.where(sd > 0, sd, 1)


def _exchanged(a, b, permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Both sets (N, d), `first` (N, 1 + permutations), n and m."""
    a, b = rows(a, b)
    n, N, draw = len(a), len(a) + len(b), np.random.default_rng(seed)
    first = np.zeros((N, permutations + 1))
    first[:n, 0] = 1
    for j in range(1, permutations + 1):
        first[draw.permutation(N)[:n], j] = 1
    return np.concatenate([a, b]), first, n, N - n


def _p(values: np.ndarray) -> np.ndarray:
    """p of statistics (..., 1 + exchanges)."""
    slack = ROUNDING * np.abs(values).max(-1, keepdims=True)
    return (1 + (values[..., 1:] >= values[..., :1] - slack).sum(-1)) / values.shape[-1]


def _sums(
    both: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray], first: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Σ of a kernel of squared distances: pairs within the first set, across the two, and all. Each pair is looked at
    once: blocks above the diagonal count twice."""
    both = both - both.mean(0)
    squares = (both**2).sum(1)
    inside, of_row = np.zeros(first.shape[1]), np.zeros(len(both))
    for start in range(0, len(both), BLOCK):
        here, rest = slice(start, start + BLOCK), slice(start, None)
        apart = squares[here, None] + squares[rest]
        apart -= 2 * both[here] @ both[rest].T
        apart[apart < 1e-13 * squares.max()] = 0  # rounding: a row and itself, or its copy
        k = kernel(apart)
        of_row[here] += k.sum(1)
        of_row[start + BLOCK :] += k[:, BLOCK:].sum(0)
        k[:, BLOCK:] *= 2
        inside += (first[here] * (k @ first[rest])).sum(0)
    return inside, of_row @ first - inside, of_row.sum()


def _apart(x: np.ndarray, first: np.ndarray, at: np.ndarray) -> np.ndarray:
    """F − G for values x (N, k), k in each row, at G ascending levels: (G, 1 + exchanges)."""
    below = np.empty((len(x), len(at)))
    for start in range(0, len(x), BLOCK):
        cell = np.searchsorted(at, x[start : start + BLOCK])
        cell += (len(at) + 1) * np.arange(len(cell))[:, None]
        counts = np.bincount(cell.ravel(), minlength=len(cell) * (len(at) + 1)).reshape(len(cell), -1)
        below[start : start + BLOCK] = counts[:, :-1].cumsum(1)
    inside, n = below.T @ first, first[:, 0].sum()
    return inside / (n * x.shape[1]) - (below.sum(0)[:, None] - inside) / ((len(x) - n) * x.shape[1])
