"""How varied are rows? Effective numbers of one set over those of another, and the curve of precision and recall."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist, pdist
from sklearn.cluster import MiniBatchKMeans

from ludus.errors import UserError
from ludus.metrics.rows import Estimate, rows

MOST = 1000  # rows whose kernel is taken: its eigenvalues cost n³
CELLS, RUNS, ANGLES = 20, 10, 1001  # of `prd`, as published
RESAMPLES = 50  # of the rows, for errors of `prd`


class Diversity(NamedTuple):
    """Generated over real, with as many rows of each: 1 as varied, below 1 less, near 0 collapsed."""

    vendi: Estimate  # effective number of different rows
    participation: Estimate  # effective number of directions
    distance: Estimate  # mean distance of a pair


def diversity(real: np.ndarray, generated: np.ndarray, seed: int = 0) -> Diversity:
    """Three ratios of what is measured in generated rows (m, d) and in real ones (n, d), as many of each.

    Vendi and the pair distance take 1,000 rows at most, the scale of the kernel is the real rows' median distance and
    is held fixed. The ratio matters: each number by itself depends on n. None of them says that the rows are right.

    Errors are those of another draw of the rows, to first order (the sd of influences over √n).
    Raises UserError where most real rows are equal, and what `rows` does.
    """
    real, generated = rows(real, generated)
    draws, n = np.random.default_rng(seed), min(len(real), len(generated))
    a, b = (draws.permutation(each)[:n] for each in (real, generated))
    few_a, few_b = a[:MOST], b[:MOST]
    scale = float(np.median(pdist(few_a)))
    if scale == 0:
        raise UserError("most real rows are equal: there is no diversity to compare with")
    return Diversity(
        _ratio(*(vendi(rbf(each, scale)) for each in (few_b, few_a))),
        _ratio(participation(b), participation(a)),
        _ratio(pair_distance(few_b), pair_distance(few_a)),
    )


def vendi(kernel: np.ndarray) -> Estimate:
    """The effective number of different rows, exp(−Σ λ log λ), λ the eigenvalues of K/n; kernel K (n, n), 1 on its
    diagonal. 1 where all rows are equal, n where no two are alike (Friedman & Dieng 2023, arXiv:2210.02410).

    Row i has the influence −n Σ_j u_ij² λ_j log λ_j − H on the entropy H, u the eigenvectors.
    """
    n = len(kernel)
    values, vectors = np.linalg.eigh(kernel / n)
    values = np.maximum(values, 1e-300)
    surprise = -(n * vectors**2) @ (values * np.log(values))
    number = float(np.exp(surprise.mean()))
    return _estimate(number, number * (surprise - surprise.mean()))


def rbf(x: np.ndarray, scale: float) -> np.ndarray:
    """exp(−|x − x'|² / 2 s²) of all pairs: (n, n)."""
    return np.exp(-cdist(x, x, "sqeuclidean") / (2 * scale**2))


def participation(x: np.ndarray) -> Estimate:
    """The effective number of directions in which rows (n, d) vary, (Σλ)²/Σλ², λ the eigenvalues of their covariance:
    d where all are alike, 1 on a line; 0 where nothing varies."""
    if (x == x[0]).all():
        return Estimate(0.0, 0.0)
    off = x - x.mean(0)
    covariance = off.T @ off / len(x)
    total, squares = np.trace(covariance), (covariance**2).sum()
    more_total = (off**2).sum(1) - total
    more_squares = 2 * (((off @ covariance) * off).sum(1) - squares)
    number = total**2 / squares
    return _estimate(number, number * (2 * more_total / total - more_squares / squares))


def pair_distance(x: np.ndarray) -> Estimate:
    """The mean Euclidean distance of two rows."""
    each = cdist(x, x).sum(1) / (len(x) - 1)
    return _estimate(each.mean(), 2 * (each - each.mean()))


class Prd(NamedTuple):
    """What `prd` measured."""

    f8: Estimate  # the largest F_8, which weighs recall; 1 where the histograms are equal
    f1_8: Estimate  # the largest F_1/8, which weighs precision
    precision: np.ndarray  # (1001,) of the curve, the mean of 10 runs
    recall: np.ndarray  # (1001,)


def prd(real: np.ndarray, generated: np.ndarray, seed: int = 0) -> Prd:
    """The precision that a generator has at each recall (Sajjadi et al. 2018, arXiv:1806.00035), as many rows of each.

    20 cells by k-means over both sets, with shares p of the real and q of the generated rows:
        precision(t) = Σ_i min(t p_i, q_i),    recall(t) = precision(t) / t,    t = tan(angle), 0 to π/2.
    Two samples of one law stay below 1, the more so the fewer rows. Errors: rows drawn again with replacement, and what
    the 10 choices of cells differ by; near 1, where a second draw doubles the noise, up to twice too large.
    """
    real, generated = rows(real, generated, least=CELLS)
    draws, n = np.random.default_rng(seed), min(len(real), len(generated))
    both = np.concatenate([draws.permutation(each)[:n] for each in (real, generated)])
    runs = [MiniBatchKMeans(CELLS, n_init=1, random_state=seed + run).fit_predict(both) for run in range(RUNS)]
    curves = [_curve(cell[:n], cell[n:]) for cell in runs]
    scores = np.array([prd_scores(*curve) for curve in curves])
    again = []
    for _ in range(RESAMPLES):
        i, j = draws.integers(n, size=(2, n))
        again.append(np.mean([prd_scores(*_curve(cell[:n][i], cell[n:][j])) for cell in runs], axis=0))
    errors = np.hypot(np.std(again, axis=0, ddof=1), scores.std(0, ddof=1) / np.sqrt(RUNS))
    estimates = [Estimate(float(value), float(error)) for value, error in zip(scores.mean(0), errors)]
    return Prd(*estimates, *np.mean(curves, axis=0))


def _curve(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """That of cells (n,)."""
    return prd_curve(*(np.bincount(each, minlength=CELLS) / len(each) for each in (real, generated)))


def prd_curve(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall, (1001,) each, of shares p of real and q of generated rows, (K,)."""
    t = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, ANGLES))
    precision = np.minimum(t[:, None] * p, q).sum(1)
    return np.minimum(precision, 1), np.minimum(precision / t, 1)


def prd_scores(precision: np.ndarray, recall: np.ndarray) -> tuple[float, float]:
    """The largest F_8 and F_1/8 of a curve, F_β = (1 + β²) precision · recall / (β² precision + recall)."""
    product = precision * recall
    return tuple(
        float(np.max((1 + b**2) * product / np.maximum(b**2 * precision + recall, 1e-300))) for b in (8, 1 / 8)
    )


def _estimate(value: float, influence: np.ndarray) -> Estimate:
    return Estimate(float(value), float(influence.std() / np.sqrt(len(influence))))


def _ratio(a: Estimate, b: Estimate) -> Estimate:
    """a / b of two independent sets."""
    ratio = a.value / b.value
    return Estimate(ratio, float(np.hypot(a.error, ratio * b.error) / b.value))
