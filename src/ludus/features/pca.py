"""The first principal components of the training rows: the default look at what images show."""

import math

import numpy as np

from ludus.features.extractor import Extractor, checked, digest, pick, scale_of, scale_of_channels

MOST, SHARE = 64, 0.95  # components, and the share of the variance that is enough
ROWS, NUMBERS = 10_000, 1 << 24  # that the components are fitted to, at most


def fit(x: np.ndarray, seed: int = 0) -> Extractor:
    """z_k = (a_k · x − mean) / sd, k = 1 … min(64, n/10) or as many as hold 95 % of the variance of x (n, H, W, C).

    Each channel (of points, each coordinate) is divided by its own sd before, since it may have a unit of its own; mean
    and sd of z_k are those of the rows that were fitted, an sd at least 1 % of their median. At most 10,000 rows, of
    2^24 numbers in all, are fitted, picked by the seed. Points of few dimensions are standardised and no more.
    """
    x = checked(x)
    shape, most = x.shape[1:], max(2, min(MOST, len(x) // 10))
    rows = pick(x, min(ROWS, max(most + 1, NUMBERS // math.prod(shape))), seed)
    unit = scale_of_channels(rows)

    def flat(block: np.ndarray) -> np.ndarray:
        return unit(np.asarray(block, float)).reshape(len(block), -1)

    axes, share = np.eye(math.prod(shape)), 1.0
    if x.ndim == 4 or len(axes) > most:
        axes, share = components(flat(rows), most, seed)
    whole = scale_of(flat(rows) @ axes.T)
    how = "each channel divided by its sd; projected" if len(shape) == 3 else "each coordinate divided by its sd"
    identity = {
        "name": "pca", "seed": seed, "sha256": digest(rows), "fitted to": len(rows), "components": len(axes),
        "share of variance": round(share, 4), "preprocessing": f"{how}; z-scored by the rows fitted to",
    }  # fmt: skip
    return Extractor("pca", identity, lambda block: whole(flat(block) @ axes.T), shape)


def components(flat: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, float]:
    """Orthonormal axes (k, D) of rows (n, D), and the share of the variance that they hold."""
    from sklearn.decomposition import PCA  # takes a while

    centred = np.subtract(flat, flat.mean(0), out=np.empty(flat.shape, np.float32), casting="same_kind")
    most = min(most, *centred.shape)
    if not centred.any():
        return np.eye(centred.shape[1])[:1], 1.0
    found = PCA(most, random_state=seed, iterated_power=4).fit(centred)
    held = np.cumsum(found.explained_variance_ratio_)
    k = min(int(np.searchsorted(held, SHARE)) + 1, most)
    return found.components_[:k].astype(float), float(held[k - 1])
