"""The kernel distance of two sets of features: a squared maximum mean discrepancy, unbiased.

    KD = mean of k(x, x') over x ≠ x' + mean of k(y, y') over y ≠ y' − 2 mean of k(x, y),    k(x, y) = (x·y / d + 1)³

It is KID where the features are Inception's (Bińkowski et al. 2018, arXiv:1801.01401). Its mean is 0 where both sets
are of one law, at any n: it is below 0 about half the time there, and not clipped. It depends on the scale of the
features, which the caller is expected to standardise: otherwise those of the largest variance are all it sees.
"""

import numpy as np
from numpy.typing import ArrayLike

from ludus.errors import UserError, at_least
from ludus.metrics.rows import Estimate, rows

DEGREE = 3
BLOCK = 1024  # rows and columns of a block of the kernel: 8 MiB


def kernel_distance(a: ArrayLike, b: ArrayLike, degree: int = DEGREE) -> float:
    """KD of standardised features (n, d) and (m, d), over all pairs. Raises UserError as `rows` does."""
    return kernel_estimate(a, b, degree).value


def kernel_estimate(a: ArrayLike, b: ArrayLike, degree: int = DEGREE) -> Estimate:
    """KD and its standard error under another draw of the images, both from one pass over all pairs.

    With the witness f(x) = mean k(x, x') − mean k(x, y), g(y) = mean k(y, y') − mean k(x, y), and k° = k less its means
    over either argument, the variance of KD is v₁ + v₂ (Hoeffding 1948; for this distance Sutherland et al. 2017,
    arXiv:1611.04488):
        v₁ = 4 var f / n + 4 var g / m
        v₂ = 2 E k°(x, x')² / n(n − 1) + 2 E k°(y, y')² / m(m − 1) + 4 E k°(x, y)² / nm
    A witness of finite sets strays, so that v₁ is seen as v₁ + 2 v₂: with that the variance is seen − v₂, and at least
    (seen + v₂) / 3. Where both sets are of one law v₁ is 0, and a bootstrap, of v₁ + 3 v₂, would be 1.7 times too wide.
    """
    a, b = rows(a, b, least=3)
    at_least("degree", degree, 1)
    n, m = len(a), len(b)
    aa, _, aa_square = _means(a, a, degree)
    bb, _, bb_square = _means(b, b, degree)
    ab, ba, ab_square = _means(a, b, degree)
    seen = 4 * (np.var(aa - ab, ddof=1) / n + np.var(bb - ba, ddof=1) / m)
    pairs = 2 * _centred(aa, aa, aa_square) / (n * (n - 1)) + 2 * _centred(bb, bb, bb_square) / (m * (m - 1))
    pairs += 4 * _centred(ab, ba, ab_square) / (n * m)
    return Estimate(float(aa.mean() + bb.mean() - 2 * ab.mean()), float(np.sqrt(max(seen - pairs, (seen + pairs) / 3))))


def subsets(
    a: ArrayLike, b: ArrayLike, size: int = 1000, count: int = 100, degree: int = DEGREE, seed: int = 0
) -> np.ndarray:
    """KD of random subsets of `size` rows of each set, without replacement within one: (count,).

    Published KID is mean ± sd of these (torch-fidelity and torchmetrics: 100 subsets of 1000). The sd is that of one
    subset: it is no standard error of the mean, and the subsets overlap, so that sd / √count is none either.
    Raises UserError for a size below 2 or above the rows of a set, as well.
    """
    a, b = rows(a, b)
    at_least("degree", degree, 1)
    at_least("size", size, 2)
    if size > min(len(a), len(b)):
        raise UserError(f"subsets of {size} rows of sets of {len(a)} and {len(b)}: give more rows, or a smaller size")
    draw, found = np.random.default_rng(seed), np.empty(count)
    for k in range(count):
        x, y = a[draw.permutation(len(a))[:size]], b[draw.permutation(len(b))[:size]]
        found[k] = _means(x, x, degree)[0].mean() + _means(y, y, degree)[0].mean() - 2 * _means(x, y, degree)[0].mean()
    return found


def _means(x: np.ndarray, y: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Means of k over its second argument (n,), over its first (m,), and of k²; without pairs of a row with itself."""
    n, m = len(x), len(y)
    over_y, over_x, square = np.zeros(n), np.zeros(m), 0.0
    for i in range(0, n, BLOCK):
        for j in range(0, m, BLOCK):
            k = _kernel(x[i : i + BLOCK] @ y[j : j + BLOCK].T, x.shape[1], degree)
            over_y[i : i + BLOCK] += k.sum(1)
            over_x[j : j + BLOCK] += k.sum(0)
            square += np.vdot(k, k)
    if x is y:
        own = _kernel(np.square(x).sum(1), x.shape[1], degree)
        return (over_y - own) / (n - 1), (over_x - own) / (n - 1), (square - own @ own) / (n * (n - 1))
    return over_y / m, over_x / n, square / (n * m)


def _kernel(products: np.ndarray, d: int, degree: int) -> np.ndarray:
    base = products / d + 1
    k = base.copy()
    for _ in range(degree - 1):  # a power of arrays is slower than multiplying
        k *= base
    return k


def _centred(over_y: np.ndarray, over_x: np.ndarray, square: float) -> float:
    """E k°², with k° = k − its mean over y − its mean over x + its mean."""
    return square - np.square(over_y).mean() - np.square(over_x).mean() + over_y.mean() ** 2
