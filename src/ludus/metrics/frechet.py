"""The Fréchet distance of two sets of features, with its error, and what it would be of endlessly many images.

    FD = |μ − ν|² + tr S + tr T − 2 tr (S T)^{1/2}

μ, ν means, S, T covariances with 1 / (n − 1), of rows (n, d) each. It is the squared 2-Wasserstein distance of two
Gaussians with these moments (Dowson and Landau 1982), and FID where the features are Inception's (Heusel et al. 2017,
arXiv:1706.08500). It sees no more than two moments. At finite n it is too large: of two sets of n rows of N(0, 1_d) it
is (2 d + d (d + 1) / 2) / n on average, not 0; and by how much depends on both laws, so that equal n is no cure.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ludus.errors import UserError
from ludus.metrics import halves
from ludus.metrics.rows import Estimate, rows

DRAWS = 50  # random halves
SIZES, FEWER = 4, 10  # sizes of the fit, equally spaced in 1/n; draws at those between all rows and half of them


class _Gaussian(NamedTuple):
    mean: np.ndarray  # (d,)
    factor: np.ndarray  # (d, k): F with covariance F Fᵀ


def frechet(a: ArrayLike, b: ArrayLike) -> float:
    """FD of features (n, d) and (m, d), in float64; of numbers (n,) as of d = 1. Raises UserError as `rows` does."""
    a, b = rows(a, b)
    return _distance(_fitted(a), _fitted(b))


def gaussians(mean: ArrayLike, covariance: ArrayLike, other_mean: ArrayLike, other_covariance: ArrayLike) -> float:
    """FD of two Gaussians, means (d,) and covariances (d, d)."""
    return _distance(
        _Gaussian(np.asarray(mean, float), _root(np.asarray(covariance, float))),
        _Gaussian(np.asarray(other_mean, float), _root(np.asarray(other_covariance, float))),
    )


class Moments:
    """Mean and covariance of rows that come block by block, as if all came at once (Chan, Golub and LeVeque 1983).

    It sums squares about the mean so far, never raw squares, whose difference would lose all digits far from 0.
    """

    def __init__(self) -> None:
        self.n, self.mean, self._scatter = 0, 0.0, 0.0

    def add(self, block: ArrayLike) -> None:
        """Rows (n, d) more. Raises UserError for another d than before and as `rows` does."""
        (block,) = rows(block, least=1)
        if self.n and block.shape[1] != len(self.mean):
            raise UserError(f"a block is {block.shape}, and {len(self.mean)} features came before")
        n, mean = len(block), block.mean(0)
        centred, step = block - mean, mean - self.mean
        share = n / (self.n + n)
        self._scatter = self._scatter + centred.T @ centred + self.n * share * np.outer(step, step)
        self.mean = self.mean + share * step
        self.n += n

    @property
    def covariance(self) -> np.ndarray:
        """(d, d), with 1 / (n − 1). Raises UserError below two rows."""
        if self.n < 2:
            raise UserError(f"moments of {self.n} rows: at least 2")
        return self._scatter / (self.n - 1)


def between(p: Moments, q: Moments) -> float:
    """FD of two accumulated sets."""
    return gaussians(p.mean, p.covariance, q.mean, q.covariance)


def frechet_estimate(a: ArrayLike, b: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """FD and its standard error under another draw of the images, from `draws` random halves (`halves.error`).

    The error is about the mean of FD at this n, which is above that of endlessly many images: see `intercept`.
    """
    a, b = rows(a, b, least=4)
    return Estimate(frechet(a, b), halves.error(_parts(a, b, 0.5, draws, seed)))


def intercept(a: ArrayLike, b: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """FD of endlessly many images: the intercept of a line through FD against 1 / n, and its standard error.

    n runs over four sizes from all rows to half of them, equally spaced in 1 / n, each set by the same share; smaller
    sets are drawn without replacement, `draws` times for the halves. The line is not bounded: of two sets of one law
    the estimate is below 0 as often as above. Of Gaussian features FD is such a line down to n = d (measured).
    The error is that of `frechet_estimate`: what is linear in the images, and what is of pairs, is the same in both.
    Raises UserError for fewer than 2 d rows, as well. Chong and Forsyth 2020, arXiv:1911.07023.
    """
    a, b = rows(a, b, least=4)
    if min(len(a), len(b)) < 2 * a.shape[1]:
        raise UserError(f"sets are {a.shape} and {b.shape}: the intercept asks for 2 d rows each; use fewer features")
    inverse = np.linspace(1, 2, SIZES)  # 1/n, in units of that of all rows
    parts = [_parts(a, b, 1 / part, FEWER, seed) for part in inverse[1:-1]]
    parts.append(_parts(a, b, 0.5, draws, seed))
    _, value = np.polyfit(inverse, [frechet(a, b), *map(np.mean, parts)], 1)
    return Estimate(float(value), halves.error(parts[-1]))


def _parts(a: np.ndarray, b: np.ndarray, share: float, draws: int, seed: int) -> np.ndarray:
    """FD of the first and of the last `share` of the rows in random orders, (draws, 2): two halves share no row."""
    draw, n, m = np.random.default_rng(seed), int(share * len(a)), int(share * len(b))
    found = np.empty((draws, 2))
    for each in found:
        i, j = draw.permutation(len(a)), draw.permutation(len(b))
        each[0] = _distance(_fitted(a[i[:n]]), _fitted(b[j[:m]]))
        each[1] = _distance(_fitted(a[i[-n:]]), _fitted(b[j[-m:]]))
    return found


def _fitted(x: np.ndarray) -> _Gaussian:
    mean = x.mean(0)
    centred = (x - mean) / np.sqrt(len(x) - 1)
    few = len(x) <= x.shape[1]  # then the rows themselves are the smaller factor, and exact
    return _Gaussian(mean, centred.T if few else _root(centred.T @ centred))


def _root(covariance: np.ndarray) -> np.ndarray:
    """F with F Fᵀ = S. Eigenvalues that rounding has put below 0 are 0."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))


def _distance(p: _Gaussian, q: _Gaussian) -> float:
    """tr (S T)^{1/2} is the sum of the singular values of Fᵀ G, as (Fᵀ G)(Fᵀ G)ᵀ has the eigenvalues of S T."""
    spread = np.square(p.factor).sum() + np.square(q.factor).sum()
    shared = np.linalg.svd(p.factor.T @ q.factor, compute_uv=False).sum()
    return float(np.square(p.mean - q.mean).sum() + spread - 2 * shared)
