"""What is measured of configurations of spins on a square lattice, and averages over an ensemble of them.

Spins s (n, H, W) are −1, 0 (a hole) or 1, with periodic boundaries; occupations of 0 and 1 become spins by `spins`. An
ensemble average takes weights (n,), so that an enumeration is exact; without, all configurations count the same.
"""

import numpy as np

VALUES = ((-1, 1), (0, 1), (-1, 0, 1))  # sets that are read as lattices
OFF = 0.01  # how far from a value still counts as it: a network's output is not exact


def values_of(x: np.ndarray) -> tuple[int, ...] | None:
    """The set of VALUES that data consist of, or None: they hold other values, or one alone."""
    x = np.asarray(x)
    found = {each for each in (-1, 0, 1) if (x == each).any()}
    if len(found) < 2 or not np.isin(x, list(found)).all():
        return None
    return next(each for each in VALUES if found <= set(each))


def spins(x: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """Of occupations 0, 1 the spins 2x − 1; others as they are."""
    x = np.asarray(x, float)
    return 2 * x - 1 if values == (0, 1) else x


# Of one configuration: (n, H, W) -> (n,)


def magnetisation(s: np.ndarray) -> np.ndarray:
    """m = 1/N Σ_i s_i."""
    return np.asarray(s, float).mean((1, 2))


def staggered(s: np.ndarray) -> np.ndarray:
    """m_s = 1/N Σ_i (−1)^(row + column) s_i: ±1 of a checkerboard."""
    sign = 1 - 2 * (np.indices(s.shape[1:]).sum(0) % 2)
    return (s * sign).mean((1, 2))


def energy(s: np.ndarray) -> np.ndarray:
    """E/N = −1/N Σ_⟨ij⟩ s_i s_j, in units of J, each bond to the next row and the next column once: −2 if all agree."""
    s = np.asarray(s, float)
    return -(s * (np.roll(s, -1, 1) + np.roll(s, -1, 2))).mean((1, 2))


def holes(s: np.ndarray) -> np.ndarray:
    """The share of sites that are 0, to within 0.01."""
    return (np.abs(s) <= OFF).mean((1, 2))


def outside(x: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """The share of pixels that are none of the values, to within 0.01."""
    off = np.min([np.abs(np.asarray(x, float) - each) for each in values], axis=0)
    return (off > OFF).mean((1, 2))


# Of an ensemble: m (n,) and weights (n,) -> a number


def average(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """⟨v⟩ = Σ w v / Σ w."""
    return float(np.average(values, weights=weights))


def susceptibility(m: np.ndarray, sites: int, weights: np.ndarray | None = None) -> float:
    """χ = N (⟨m²⟩ − ⟨m⟩²), to be multiplied by 1/T; with |m| for m it is that of one of the two signs."""
    return sites * (average(m**2, weights) - average(m, weights) ** 2)


def binder(m: np.ndarray, weights: np.ndarray | None = None) -> float:
    """U = 1 − ⟨m⁴⟩ / 3⟨m²⟩²: 0 of a Gaussian m, ⅔ of ±m₀ (Binder 1981, Z. Phys. B 43, 119). NaN where m is always 0."""
    second = average(m**2, weights)
    return 1 - average(m**4, weights) / (3 * second**2) if second else float("nan")
