"""Scores from nearest neighbours: does what was generated lie where the data do, and the data where it does?"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from ludus.errors import at_least
from ludus.metrics.rows import Estimate, rows

TIE = 1e-9  # of the data's spread: distances that differ by less are equal, but for rounding
BLOCK = 250  # rows at a time
LOST = 1e-4  # of the rows' squares: squared distances below it have lost too many digits in a matrix product
SUBSETS, PART = 20, 4  # draws of a quarter of the rows, for errors
MANY = 0.01  # share of duplicates


class Duplicates(NamedTuple):
    """Shares of rows that have an equal one: they make balls of radius 0, and scores that say little."""

    real: float  # of real rows, among the real
    generated: float  # of generated rows, among the generated
    copied: float  # of generated rows, among the real

    @property
    def many(self) -> bool:
        """More than 1 % of a set: say so beside the scores, and prefer observables."""
        return max(self) > MANY


class Prdc(NamedTuple):
    """What `prdc` measured."""

    precision: Estimate  # share of the generated in a ball of the real
    recall: Estimate  # share of the real in a ball of the generated
    density: Estimate  # balls of the real that hold a generated row, over k; 1 on average where both are of one law
    coverage: Estimate  # share of the balls of the real that hold a generated row
    coverage_null: float  # its mean where both are of one law
    duplicates: Duplicates


def prdc(real: np.ndarray, generated: np.ndarray, k: int = 3, wide: int = 5, seed: int = 0) -> Prdc:
    """Precision, recall, density and coverage of generated rows (m, d) against real ones (n, d).

    The ball of a row ends at the k-th neighbour in its own set, the row itself left out; precision and recall take
    balls of k, density and coverage those of `wide`. A row on the edge of a ball is inside: where values are discrete
    most are, and prdc's strict < scores 0 for two samples of one law.

    Precision and recall have no fixed null: in high dimension two samples of one law score far below 1. A set that
    shrank has a high precision, density and coverage; only recall sees it.

    Errors are those of another draw of both sets: the sd over 20 pairs of random quarters, times √(1/3), which is what
    an average over n rows of which quarters are drawn without replacement would have. For Gaussians they are 0.7 to 1.5
    times the sd over fresh draws. (A bootstrap has duplicates, and the error of a mean over rows with the balls held
    fixed is too small by up to half.)

    Raises UserError for fewer than 4 (max(k, wide) + 1) rows, and what `rows` does.
    Kynkäänniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797.
    """
    at_least("k", k, 1)
    at_least("wide", wide, 1)
    real, generated = rows(real, generated, least=PART * (max(k, wide) + 1))
    tie = TIE * float(np.sqrt(real.var(0).sum()))
    values, duplicates = _scores(real, generated, k, wide, tie)
    draws = np.random.default_rng(seed)
    again = [
        _scores(*(draws.permutation(each)[: len(each) // PART] for each in (real, generated)), k, wide, tie)[0]
        for _ in range(SUBSETS)
    ]
    errors = np.std(again, axis=0, ddof=1) / np.sqrt(PART - 1)
    estimates = [Estimate(float(value), float(error)) for value, error in zip(values, errors)]
    return Prdc(*estimates, coverage_null(wide, len(real), len(generated)), Duplicates(*map(float, duplicates)))


def coverage_null(k: int, n: int, m: int) -> float:
    """Mean coverage of n real rows by m generated ones of the same continuous law: 1 − Π_{i=1..k} (n − i)/(n + m − i).

    For of the n + m − 1 other rows, in order of distance, the k nearest are then all real with that probability.
    """
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (n + m - i)))


def nearest(x: np.ndarray, among: np.ndarray | None = None, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of `among`, or for None of x without the row itself: distances and indices, (n, k) each.

    Found by matrix products, which lose the digits of short distances; these are therefore taken again, from
    differences: of an equal row it is exactly 0.
    """
    data = x if among is None else among
    middle = data.mean(0)
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(data - middle)
    index = found.kneighbors(None if among is None else x - middle, return_distance=False)
    distance = np.concatenate([np.linalg.norm(x[at, None] - data[index[at]], axis=2) for at in blocks(len(x))])
    order = distance.argsort(1, kind="stable")
    return np.take_along_axis(distance, order, 1), np.take_along_axis(index, order, 1)


def blocks(n: int) -> Iterator[slice]:
    """Slices of BLOCK rows."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def _scores(a: np.ndarray, b: np.ndarray, k: int, wide: int, tie: float) -> tuple[np.ndarray, list[float]]:
    """The four scores, and the three shares of duplicates, from one pass over all distances."""
    own_a, own_b = (nearest(each, k=max(k, wide))[0] for each in (a, b))
    ball_a, wide_a, ball_b = (np.square(own[:, j - 1] + tie) for own, j in ((own_a, k), (own_a, wide), (own_b, k)))
    precise, copied, held = np.zeros(len(b), bool), np.zeros(len(b), bool), np.zeros(len(b), int)
    recalled, covered = np.empty(len(a), bool), np.empty(len(a), bool)
    middle = a.mean(0)
    for at in blocks(len(a)):
        apart = _squares(a[at] - middle, b - middle)
        precise |= (apart <= ball_a[at, None]).any(0)
        recalled[at] = (apart <= ball_b).any(1)
        inside = apart <= wide_a[at, None]
        held += inside.sum(0)
        covered[at] = inside.any(1)
        copied |= apart.min(0) <= tie**2
    scores = np.array([precise.mean(), recalled.mean(), held.mean() / wide, covered.mean()])
    return scores, [(own_a[:, 0] <= tie).mean(), (own_b[:, 0] <= tie).mean(), copied.mean()]


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of rows about 0, by a matrix product; those that lose digits in it from differences."""
    of_a, of_b = np.square(a).sum(1), np.square(b).sum(1)
    found = np.column_stack([-2 * a, of_a, np.ones(len(a))]) @ np.column_stack([b, np.ones(len(b)), of_b]).T
    short = found < LOST * (of_a[:, None] + of_b.max())
    if short.sum() > len(b):  # many rows are alike, or one is far away
        return cdist(a, b, "sqeuclidean")
    if short.any():
        i, j = short.nonzero()
        found[i, j] = np.square(a[i] - b[j]).sum(1)
    return found
