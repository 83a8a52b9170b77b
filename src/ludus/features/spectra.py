"""Power spectra and two-point correlations of images, one image at a time: maps, annuli and lines.

With d = x − ⟨x⟩, the mean over the N = H·W pixels of an image, and frequencies f in cycles per pixel:
    S(f) = |Σ_r d(r) e^{−2πi f·r}|² / N,    C(r) = 1/N Σ_r' d(r') d(r' + r),    C = FFT⁻¹ S where it is periodic.
Mean over all f of S = C(0) = the variance (Parseval). White noise of variance σ² has S = σ² at each f but 0.
Wave number k = 2πf per pixel. All planes (n, H, W), in the user's units; power has their square.
"""

from typing import NamedTuple

import numpy as np


class Annuli(NamedTuple):
    """Means over rings of a map."""

    at: np.ndarray  # (bins,) mean distance from the middle of what lies in each
    values: np.ndarray  # (n, bins)
    counts: np.ndarray  # (bins,) points in each


def centred(planes: np.ndarray) -> np.ndarray:
    """x − ⟨x⟩ in float64; exactly 0 for an image whose pixels are all the same."""
    planes = np.asarray(planes, float)
    off = planes - planes.mean((1, 2), keepdims=True)
    off[np.ptp(planes, axis=(1, 2)) == 0] = 0
    return off


def power(planes: np.ndarray) -> np.ndarray:
    """S(f) (n, H, W), frequencies in the order of `numpy.fft.fftfreq` along both axes."""
    return np.abs(np.fft.fft2(centred(planes))) ** 2 / (planes.shape[1] * planes.shape[2])


def frequency(height: int, width: int) -> np.ndarray:
    """|f| (H, W) in cycles per pixel: 0.5 is the finest that a row or a column can hold, the corners have √½."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))


def annuli(maps: np.ndarray, distance: np.ndarray, step: float) -> Annuli:
    """Means of maps (n, H, W) where distance (H, W) rounds to 1, 2, … steps; rings without a point are left out."""
    from scipy.sparse import csr_array  # takes a while

    ring = np.rint(distance / step).astype(int).ravel()
    number, place, counts = np.unique(ring, return_inverse=True, return_counts=True)
    share = csr_array((1 / counts[place], (np.arange(ring.size), place)))
    kept = number > 0
    return Annuli((distance.ravel() @ share)[kept], (maps.reshape(len(maps), -1) @ share)[:, kept], counts[kept])


def radial(planes: np.ndarray) -> Annuli:
    """P(|f|): the mean of S over annuli of width 1/max(H, W) cycles per pixel, which of a square image are those of
    integer |k| = |f| H. An annulus is one of frequency, not of index: pixels are squares, images need not be."""
    height, width = planes.shape[1:]
    return annuli(power(planes), frequency(height, width), 1 / max(height, width))


def along(planes: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum of the lines along an axis (1: columns, 2: rows), mean over the lines: f ≥ 0 (bins,) and (n, bins).

        |Σ_j d_j e^{−2πi f j}|² / L,    L pixels a line;    at f = 0 the variance of the lines' means, times L.
    """
    length, other = planes.shape[axis], 3 - axis
    spectrum = np.abs(np.fft.rfft(centred(planes), axis=axis)) ** 2 / length
    return np.fft.rfftfreq(length), spectrum.mean(other)


def correlation_along(planes: np.ndarray, axis: int) -> np.ndarray:
    """C(r) (n, L) along an axis (1: columns, 2: rows), r = 0 … L − 1, over the pairs of pixels that there are."""
    length = planes.shape[axis]
    padded = np.fft.rfft(centred(planes), 2 * length - 1, axis=axis)
    power_of_lines = (np.abs(padded) ** 2).mean(3 - axis)
    return np.fft.irfft(power_of_lines, 2 * length - 1)[:, :length] / (length - np.arange(length))


def correlation(planes: np.ndarray) -> np.ndarray:
    """C(r) (n, H, W) of an image that goes on at its other side; r in the order of fftfreq, C(0) first."""
    return np.fft.ifft2(power(planes)).real


def correlation_padded(planes: np.ndarray) -> np.ndarray:
    """C(r) (n, 2H − 1, 2W − 1) of an image that ends at its edges: means over the pairs of pixels that there are.

    r in the order of fftfreq: C(0) first, then 1 … H − 1, then 1 − H … −1.
    """
    height, width = planes.shape[1:]
    shape = (2 * height - 1, 2 * width - 1)
    sums = np.fft.irfft2(np.abs(np.fft.rfft2(centred(planes), shape)) ** 2, shape)
    rows, columns = (length - np.abs(lags(length)) for length in (height, width))
    return sums / (rows[:, None] * columns)


def lags(length: int) -> np.ndarray:
    """The shifts along an axis of `correlation_padded`: 0, 1 … length − 1, 1 − length … −1."""
    return np.rint(np.fft.fftfreq(2 * length - 1, 1 / (2 * length - 1))).astype(int)
