"""Was it copied? Always of three sets: what was trained on, what was held out, and what was generated."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import hypergeom, rankdata

from ludus.metrics.multiple import LEAST
from ludus.metrics.neighbours import nearest
from ludus.metrics.partitions import k_means
from ludus.metrics.rows import Estimate, rows

SHARE = 0.01  # of the held-out rows, the nearest to the training rows: what is nearer than these is called a copy
CELLS, CELL, SEEN = 5, 100, 20  # of C_T: cells at most, their least mean number of rows, and of generated rows to count
RESAMPLES = 200


class Panel(NamedTuple):
    """The generated rows that lie nearest to a training row, the nearest first: what a reader wants to see."""

    generated: np.ndarray  # (m,) rows
    train: np.ndarray  # (m, 3) the nearest training rows of each
    distance: np.ndarray  # (m, 3)
    percentile: np.ndarray  # (m, 3) percent of the held-out rows that are as near to a training row


class Rate(NamedTuple):
    """How many rows are nearer to a training row than the nearest 1 % of the held-out rows."""

    share: Estimate  # of the generated rows
    null: float  # its mean where nothing was copied
    p: float  # of a share as high, where nothing was copied; exact


class Nearer(NamedTuple):
    """Is the real row nearest to a generated one a training row more often than by chance? See `nearer`."""

    share: float  # of the real rows that are nearest to some generated row: training ones
    null: float  # of all real rows
    p: float  # exact


class Copies(NamedTuple):
    """What `copies` measured. Errors: another draw of held-out and generated rows, the training rows as they are."""

    rate: Rate
    authentic: Estimate  # share of the generated further from its training row than that from its own next one
    authentic_null: Estimate  # the same of the held-out rows; it is not ½
    c_t: Estimate  # in sd of a null: far below 0 copied, far above 0 further from the training rows than data are
    nearer: Nearer
    held_out: np.ndarray  # (n,) distances to the nearest training row
    generated: np.ndarray  # (m,)
    panel: Panel


def copies(train: np.ndarray, held_out: np.ndarray, generated: np.ndarray, show: int = 8, seed: int = 0) -> Copies:
    """Three scores of copying from features (n, d) each, which see different kinds of it, and a panel of `show` rows.

    With d(x) the distance from x to the nearest training row t(x): the copy rate (`copy_rate`) finds a few exact
    copies. AuthPct, the share with d(x) > d(t(x)), the latter without t(x) itself (Alaa et al. 2022, arXiv:2102.08921),
    and C_T (`c_t`) find copies with noise. None tells copying from a generator that shrank (Stein et al. 2023,
    arXiv:2306.04675), nor sees copies in features that are blind to what was copied.

    Raises UserError for fewer than 21 rows in a set, and what `rows` does.
    """
    train, held_out, generated = rows(train, held_out, generated, least=SEEN + 1)
    (far_p, near_p), (far_g, near_g) = nearest(held_out, train), nearest(generated, train, 3)
    p, g = far_p[:, 0], far_g[:, 0]
    cell_p, cell_g = _cells(train, held_out, generated, seed)
    c_t_error = np.std([c_t(p[i], g[j], cell_p[i], cell_g[j]) for i, j in _again(len(p), len(g), seed)])
    next_p, next_g = np.split(_own(train, np.concatenate([near_p[:, 0], near_g[:, 0]])), [len(p)])
    least = np.argsort(g, kind="stable")[:show]
    below = 100 * np.searchsorted(np.sort(p), far_g[least], side="right") / len(p)
    return Copies(
        copy_rate(p, g, seed),
        _share(next_g < g),
        _share(next_p < p),
        Estimate(c_t(p, g, cell_p, cell_g), float(c_t_error)),
        nearer(far_g[:, 0], near_g[:, 0], *(a[:, 0] for a in nearest(generated, held_out)), len(train), len(p)),
        p, g, Panel(least, near_g[least], far_g[least], below),
    )  # fmt: skip


def copy_rate(p: np.ndarray, g: np.ndarray, seed: int = 0) -> Rate:
    """The share of distances g (m,), of generated to training rows, below the 1 % quantile of p (n,), of held-out ones.

    Where nothing was copied all orders of p and g are equally probable given the training rows, so that the number of g
    before the r-th of p is negative hypergeometric: that is its p-value. Equal distances, as of discrete data, are put
    in random order.
    """
    draws, r = np.random.default_rng(seed), max(1, round(SHARE * len(p)))
    place = np.empty(len(p) + len(g), int)
    place[np.lexsort([draws.random(len(place)), np.concatenate([p, g])])] = np.arange(len(place))
    first, second = place[: len(p)], place[len(p) :]

    def share(first: np.ndarray, second: np.ndarray) -> float:
        return float((second < np.partition(first, r - 1)[r - 1]).mean())

    value = share(first, second)
    error = np.std([share(first[i], second[j]) for i, j in _again(len(p), len(g), seed)])
    probability = negative_hypergeometric(round(value * len(g)), r, len(p), len(g))
    return Rate(Estimate(value, float(error)), r / (len(p) + 1), probability)


def nearer(
    far_t: np.ndarray, near_t: np.ndarray, far_p: np.ndarray, near_p: np.ndarray, n_train: int, n_held_out: int
) -> Nearer:
    """Whether generated rows are near to training rows rather than to real rows at large, which a generator whose
    samples lie too near to the mean is as well.

    far, near: distance and number of the training row, and of the held-out row, nearest to each generated row. Where
    nothing was copied, which real rows were trained on is chance given all rows; so, of the real rows that are nearest
    to some generated row, the number that are held out is hypergeometric. p is twice the smaller one of all generated
    rows and of the twentieth that is nearest to a real row.
    """
    far, found = np.minimum(far_t, far_p), []
    for some in (np.arange(len(far)), np.argsort(far, kind="stable")[: max(1, len(far) // 20)]):
        train = far_t[some] < far_p[some]
        t, p = len(np.unique(near_t[some][train])), len(np.unique(near_p[some][~train]))
        found.append((t / (t + p), hypergeom.cdf(p, n_train + n_held_out, n_held_out, t + p)))
    (share, first), (_, second) = found
    return Nearer(share, n_train / (n_train + n_held_out), max(min(1.0, 2 * float(min(first, second))), LEAST))


def negative_hypergeometric(count: int, r: int, n: int, m: int) -> float:
    """P(at least `count` of m come before the r-th of n), all orders of the n + m being equally probable."""
    return max(float(hypergeom.cdf(r - 1, n + m, n, r + count - 1)), LEAST)


def c_t(p: np.ndarray, g: np.ndarray, cell_p: np.ndarray, cell_g: np.ndarray) -> float:
    """C_T of distances p (n,) and g (m,) to the training rows, in cells of the space (Meehan et al. 2020,
    arXiv:2004.05675): the mean of the cells' z, weighted by their share of held-out rows.

    z = (U − nm/2)/σ, U the pairs in which the generated row is further (Mann-Whitney), σ² its variance over all orders,
    nm(n + m + 1)/12 without ties. Cells of at most 20 generated rows, or no held-out row, are left out; NaN if all are.
    Where nothing was copied its mean is 0 and its sd below 1: √Σw² for weights w.
    """
    total, weight = 0.0, 0
    for cell in np.unique(cell_p):
        mine, theirs = g[cell_g == cell], p[cell_p == cell]
        if len(mine) > SEEN:
            total += len(theirs) * _mann_whitney(mine, theirs)
            weight += len(theirs)
    return total / weight if weight else float("nan")


def _mann_whitney(g: np.ndarray, p: np.ndarray) -> float:
    """z of the sum of the ranks of g; its variance is that of a draw without replacement, so right with ties too."""
    rank = rankdata(np.concatenate([p, g]))
    total = len(rank)
    off = rank - (total + 1) / 2
    variance = len(p) * len(g) / (total * (total - 1)) * (off**2).sum()
    return float(off[len(p) :].sum() / np.sqrt(variance)) if variance > 0 else 0.0


def _own(train: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The distance from training rows `at` to their own next training row, (n,); looked up once for each."""
    once, back = np.unique(at, return_inverse=True)
    far, index = nearest(train[once], train, 2)
    return np.where(index[:, 0] == once, far[:, 1], far[:, 0])[back]  # an equal row may stand before the row itself


def _cells(train: np.ndarray, held_out: np.ndarray, generated: np.ndarray, seed: int) -> list[np.ndarray]:
    """The k-means cell of each held-out and each generated row; the centres are the training rows' own."""
    k = max(1, min(CELLS, min(map(len, (train, held_out, generated))) // CELL))
    fitted = k_means(train, k, seed)
    return [fitted.predict(each) for each in (held_out, generated)]


def _share(is_so: np.ndarray) -> Estimate:
    share = float(is_so.mean())
    return Estimate(share, float(np.sqrt(share * (1 - share) / len(is_so))))


def _again(n: int, m: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of two sets drawn again with replacement, 200 times."""
    draws = np.random.default_rng([seed, 1])
    return ((draws.integers(n, size=n), draws.integers(m, size=m)) for _ in range(RESAMPLES))
