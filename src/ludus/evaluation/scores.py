"""Every score of a family of features, beside the same score of real rows: the floor."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ludus.errors import UserError
from ludus.metrics import diversity, frechet, kernel, neighbours, wasserstein
from ludus.metrics.rows import Estimate

NEAR, PAIRS = 3000, 5000  # rows at most whose neighbours are sought; of which all pairs, or all orders, are taken
SHARES = ("precision", "recall", "coverage")  # of rows: from 0 to 1
FLOOR_DRAWS = 10  # of the intercept's halves, where its error is not asked for
MOST = {"precision": NEAR, "recall": NEAR, "density": NEAR, "coverage": NEAR, "kernel distance": PAIRS,
        "sliced Wasserstein distance": PAIRS,
        **dict.fromkeys(("Vendi ratio", "pair distance ratio"), diversity.MOST)}  # fmt: skip


class Family(NamedTuple):
    """The features of one extractor, z-scored on the rows that it was fitted to."""

    name: str
    identity: dict
    generated: np.ndarray  # (n, d)
    reference: np.ndarray  # (n, d)
    floors: Sequence[np.ndarray]  # each (n, d)


class Score(NamedTuple):
    """A score of generated against reference rows, and of other real rows against the same reference."""

    family: str
    name: str
    n: int  # rows of each set
    value: float
    error: float | None  # standard error under another draw of the images
    floor: float  # mean over the sets of real rows
    floor_sd: float | None  # over these sets; None where there is one
    best: str  # "low", "high" or "1"

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.error is None:
            return None
        low, high = Estimate(self.value, self.error).interval
        return (max(low, 0.0), min(high, 1.0)) if self.name in SHARES else (low, high)


BEST = {
    "Fréchet distance": "low", "Fréchet distance, n → ∞": "low", "kernel distance": "low",
    "sliced Wasserstein distance": "low", "precision": "high", "recall": "high", "density": "1", "coverage": "high",
    "Vendi ratio": "1", "directions ratio": "1", "pair distance ratio": "1",
}  # fmt: skip


def scores(family: Family, seed: int = 0, errors: bool = True) -> list[Score]:
    """All scores of a family with their floors, and with their errors, which are most of the work."""
    x, y = family.generated, family.reference
    floors = [_values(each, y, seed) for each in family.floors]
    mine = _estimates(x, y, seed) if errors else _values(x, y, seed)
    found = []
    for name, value in mine.items():
        value, error = value if isinstance(value, Estimate) else (value, None)
        each = np.array([floor[name] for floor in floors])
        sd = float(each.std(ddof=1)) if len(each) > 1 else None
        n = min(len(y), MOST.get(name, len(y)))
        found.append(Score(family.name, name, n, float(value), error, float(each.mean()), sd, BEST[name]))
    return found


def _estimates(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Estimate]:
    """The scores of rows x against rows y, with their errors."""
    near = neighbours.prdc(y[:NEAR], x[:NEAR], seed=seed)
    if _many(x, y):
        endless = frechet.intercept(x, y, seed=seed)  # whose error is that of the distance itself
        found = {"Fréchet distance": Estimate(frechet.frechet(x, y), endless.error), "Fréchet distance, n → ∞": endless}
    else:
        found = {"Fréchet distance": frechet.frechet_estimate(x, y, seed=seed)}
    return found | {
        "kernel distance": kernel.kernel_estimate(x[:PAIRS], y[:PAIRS]),
        "sliced Wasserstein distance": wasserstein.sliced_estimate(x[:PAIRS], y[:PAIRS], seed=seed),
        "precision": near.precision, "recall": near.recall, "density": near.density, "coverage": near.coverage,
        **_ratios(x, y, seed),
    }  # fmt: skip


def _values(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
    """The same without errors."""
    near = neighbours.prdc(y[:NEAR], x[:NEAR], seed=seed)
    found = {"Fréchet distance": frechet.frechet(x, y)}
    if _many(x, y):
        found["Fréchet distance, n → ∞"] = frechet.intercept(x, y, FLOOR_DRAWS, seed).value
    return found | {
        "kernel distance": kernel.kernel_distance(x[:PAIRS], y[:PAIRS]),
        "sliced Wasserstein distance": wasserstein.sliced(x[:PAIRS], y[:PAIRS], seed=seed),
        "precision": near.precision.value, "recall": near.recall.value, "density": near.density.value,
        "coverage": near.coverage.value, **{name: each.value for name, each in _ratios(x, y, seed).items()},
    }  # fmt: skip


def _ratios(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Estimate]:
    """Diversity of x over that of y; nothing where most rows of y are equal."""
    with contextlib.suppress(UserError):
        return dict(zip(("Vendi ratio", "directions ratio", "pair distance ratio"), diversity.diversity(y, x, seed)))
    return {}


def _many(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether there are rows enough for the intercept."""
    return min(len(x), len(y)) >= 2 * x.shape[1]
