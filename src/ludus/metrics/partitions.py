"""Tests on counts: space is cut into cells, and two sets have as many rows in each, or they are not of one law."""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency, false_discovery_control, norm
from sklearn.cluster import KMeans

from ludus.metrics.multiple import LEAST
from ludus.metrics.rows import rows

CELLS, TESSELLATIONS = 100, 20  # at most, of `pqm`
EXPECTED = 5  # rows of the smaller set: cells where fewer are expected are taken together
BINS, BIN = 100, 50  # of `ndb`: cells at most, and rows a cell at least on average
FITTED = 20_000  # rows that place the cells
LEVEL = 0.05


class Pqm(NamedTuple):
    """What `pqm` measured."""

    p: float  # of all tessellations together
    median: float  # of their p-values
    excess: float  # mean χ² over its degrees of freedom: 1 on average where both are of one law; grows with n elsewhere
    cells: int  # in a tessellation


def pqm(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Pqm:
    """PQMass: are rows a (n, d) and b (m, d) of one law? Lemos et al. 2024, arXiv:2402.04355.

    Reference rows, drawn from both sets together and then left out, cut space into the cells of the nearest reference;
    χ² compares the counts. As cells know nothing of which set a row is of, each p-value is right at any d, as far as
    χ² is, whose small cells are taken together. There are 20 such cuts; their p-values, which depend on each other, are
    combined (`cauchy`). Where both sets are of one law, 4 to 6.5 % of p lie below 5 % and 1 % below 1 %, as measured.
    Cells: 100, or a tenth of the smaller set.

    Raises UserError for fewer than 20 rows, and what `rows` does.
    """
    a, b = rows(a, b, least=20)
    both, n = np.concatenate([a, b]), len(a)
    both -= both.mean(0)
    cells = min(CELLS, min(n, len(b)) // 10)
    draws = np.random.default_rng(seed)
    half = (both**2).sum(1) / 2
    found = []
    for _ in range(TESSELLATIONS):
        at = draws.choice(len(both), cells, replace=False)
        cell = (half[at] - both @ both[at].T).argmin(1)  # |x − r|² / 2 but for |x|² / 2, which is the same for all r
        left = np.ones(len(both), bool)
        left[at] = False
        first, second = cell[:n][left[:n]], cell[n:][left[n:]]
        found.append(_chi2(np.bincount(first, minlength=cells), np.bincount(second, minlength=cells)))
    p, ratio = np.transpose(found)
    return Pqm(cauchy(p), float(np.median(p)), float(ratio.mean()), cells)


def cauchy(p: np.ndarray) -> float:
    """One p-value of several that may depend on each other: that of the mean of cot(π p), which is a Cauchy variable
    if they are independent or equal, and whose tail hardly depends on how they depend (Liu & Xie 2020,
    arXiv:1808.09011)."""
    return max(float(np.arctan2(1, np.mean(1 / np.tan(np.pi * np.maximum(p, LEAST)))) / np.pi), LEAST)


class Ndb(NamedTuple):
    """What `ndb` measured."""

    share: float  # NDB/K: cells that differ at 5 %; 0.05 on average, or less, where both are of one law
    surviving: int  # cells that still do, corrected for their number by Benjamini and Hochberg
    js: float  # nats, Jensen-Shannon divergence of the shares
    js_null: float  # what counting noise alone gives on average
    p: float  # χ² over all cells
    cells: int  # K
    z: np.ndarray  # (K,) of each cell, above 0 where generated rows are too many
    centres: np.ndarray  # (K, d)


def ndb(train: np.ndarray, real: np.ndarray, generated: np.ndarray, seed: int = 0) -> Ndb:
    """Number of statistically different bins: which parts of the data have too few or too many generated rows
    (Richardson & Weiss 2018, arXiv:1805.12462).

    k-means cells of the training rows, at most 100 with 50 rows each on average; two-proportion z in each, for real
    rows that are not the training rows: given these as `real` too, k-means has fitted itself to one of the two sets,
    and p is wrong. The mean of js where both are of one law is (K − 1)/8 (1/n + 1/m), to first order.

    Raises UserError for fewer than 20 rows in a set, and what `rows` does.
    """
    train, real, generated = rows(train, real, generated, least=20)
    k = max(2, min(BINS, min(map(len, (train, real, generated))) // BIN))
    fitted = k_means(train, k, seed)
    k = fitted.n_clusters
    a, b = (np.bincount(fitted.predict(each), minlength=k) for each in (real, generated))
    n, m = len(real), len(generated)
    p, q, mean = a / n, b / m, (a + b) / (n + m)
    sd = np.sqrt(mean * (1 - mean) * (1 / n + 1 / m))
    z = (q - p) / np.where(sd > 0, sd, 1)
    each = 2 * norm.sf(np.abs(z))
    surviving = int((false_discovery_control(each) <= LEVEL).sum())
    return Ndb(float((each < LEVEL).mean()), surviving, jensen_shannon(p, q), (k - 1) / 8 * (1 / n + 1 / m),
               _chi2(a, b)[0], k, z, fitted.cluster_centers_)  # fmt: skip


def k_means(x: np.ndarray, k: int, seed: int) -> KMeans:
    """k cells of rows, or as many as there are different rows; 20,000 of them, drawn at random, place the centres."""
    chosen = x[np.random.default_rng(seed).permutation(len(x))[:FITTED]]
    return KMeans(min(k, len(np.unique(chosen, axis=0))), n_init=1, random_state=seed).fit(chosen)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) in nats, m = (p + q)/2, of shares (K,)."""
    middle = (p + q) / 2
    return float(sum(0.5 * (s[s > 0] * np.log(s[s > 0] / middle[s > 0])).sum() for s in (p, q)))


def _chi2(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """p and χ²/degrees of freedom of counts (K,); cells where the smaller set expects fewer than 5 are one cell."""
    total = a + b
    few = total * min(a.sum(), b.sum()) / total.sum() < EXPECTED
    table = np.array([[*side[~few], side[few].sum()] for side in (a, b)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0, 1.0
    found = chi2_contingency(table, correction=False)
    return max(float(found.pvalue), LEAST), float(found.statistic / found.dof)
