"""How many modes of a known mixture a sampler reaches, and how evenly."""

from typing import NamedTuple

import numpy as np


class Modes(NamedTuple):
    """What `modes` measured."""

    captured: int  # modes that hold at least one sample within 3 sd
    quality: float  # share of the samples within 3 sd of a mode; 0.9889 for a perfect sampler in two dimensions
    reverse_kl: float  # nats
    floor: float  # what a perfect sampler's reverse_kl is on average, with as many samples


def modes(x: np.ndarray, means: np.ndarray, sd: float) -> Modes:
    """Mode coverage of samples x (n, D) of a mixture with equal weights, means (K, D) and standard deviation sd.

    A sample is of high quality when it lies within 3 sd of its nearest mean. With p_k the share of mode k among
    those samples,
        reverse KL = KL(p ‖ uniform) = Σ_k p_k log(K p_k).
    Counting noise alone gives (K-1)/(2n) for n samples of high quality: the floor. Without such samples both are NaN.
    PacGAN's definition: Lin, Khetan, Fanti, Oh 2018, arXiv:1712.04086, section 4.1.
    """
    x, means = np.asarray(x, np.float64), np.asarray(means, np.float64)
    nearest, distance = np.empty(len(x), int), np.empty(len(x))
    for start in range(0, len(x), 4096):  # (4096, K, D) at a time
        apart = np.linalg.norm(x[start : start + 4096, None] - means, axis=-1)
        nearest[start : start + 4096], distance[start : start + 4096] = apart.argmin(1), apart.min(1)
    good = distance <= 3 * sd
    captured, kl, floor = coverage(nearest[good], len(means))
    return Modes(captured, float(good.mean()), kl, floor)


def coverage(which: np.ndarray, k: int) -> tuple[int, float, float]:
    """The number of k modes in which samples lie, `which` (n,) each; their reverse KL to equal shares, and its floor.

    As for `modes`; NaN without samples.
    """
    counts = np.bincount(which, minlength=k)
    n = int(counts.sum())
    if n == 0:
        return 0, float("nan"), float("nan")
    p = counts[counts > 0] / n
    return int((counts > 0).sum()), float((p * np.log(k * p)).sum()), (k - 1) / (2 * n)
