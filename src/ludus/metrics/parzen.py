"""The log-likelihood of a Parzen window: a legacy number, for tables that have it (Goodfellow et al. 2014)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ludus.errors import UserError
from ludus.metrics.rows import rows

WIDTHS = np.logspace(-1.5, 0.5, 21)  # in units of the samples' standard deviation
BLOCK = 500  # rows of x at a time
WARNING = "legacy: low by nats even of perfect samples, and higher for some that are not; rank nothing by it"


class Parzen(NamedTuple):
    """What `parzen` found, and what to think of it."""

    value: float  # nats an image
    error: float  # standard error over the test images, the samples being given
    width: float  # σ, in units of the features
    warning: str = WARNING

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g} nats (Parzen window of width {self.width:.3g}; {self.warning})"


def parzen(samples: ArrayLike, validation: ArrayLike, test: ArrayLike) -> Parzen:
    """Mean log-density of test rows (t, d) under Gaussian windows on the samples (n, d), arXiv:1406.2661 section 5.

        log p(x) = log 1/n Σ_j N(x; s_j, σ² 1),    σ of 21 widths the best on validation rows (v, d)

    It is no likelihood of the model. Windows add their own variance, and 10,000 are far too few in more than a few
    dimensions: perfect samples of N(0, 1_d) are 1.3 nats low at d = 20 and 9 at d = 64, of a Gaussian with correlations
    more. Nor does it rank: samples that are too narrow, or k-means centres of the data, score above perfect ones (Theis
    et al. 2016, arXiv:1511.01844). Raises UserError as `rows` does, and for samples that are all equal.
    """
    samples, validation, test = rows(samples, validation, test)
    sd = float(np.sqrt(samples.var(0).mean()))
    if sd == 0:
        raise UserError(f"samples are {samples.shape} and all equal: a Parzen window has no width")
    width = float(sd * WIDTHS[log_density(samples, validation, sd * WIDTHS).mean(1).argmax()])
    (found,) = log_density(samples, test, np.array([width]))
    return Parzen(float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found))), width)


def log_density(samples: np.ndarray, x: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """log p of each row of x for each σ, (k, t) nats."""
    n, d = samples.shape
    samples, x = samples - samples.mean(0), x - samples.mean(0)  # else |x|² + |s|² − 2 x·s loses its digits
    found, squares = np.empty((len(widths), len(x))), np.square(samples).sum(1)
    for i in range(0, len(x), BLOCK):
        block = x[i : i + BLOCK]
        apart = np.square(block).sum(1)[:, None] + squares - 2 * block @ samples.T
        least = apart.min(1, keepdims=True)
        for k, width in enumerate(widths):
            near = np.exp((least - apart) / (2 * width**2)).sum(1)
            found[k, i : i + BLOCK] = np.log(near / n) - least[:, 0] / (2 * width**2)
    return found - d / 2 * np.log(2 * np.pi * np.square(widths))[:, None]
