"""The linear scaling of data to the network's range, y = (x - offset) / scale: stored, printed and undone."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ludus.errors import UserError


@dataclass(frozen=True)
class Scaling:
    """y = (x - offset) / scale, with one offset for pictures, one per dimension for points, and one common scale.

    One scale for all dimensions keeps the geometry: a ring stays a ring.
    """

    kind: str  # "minmax": to [-1, 1]; "standard": mean 0, mean variance 1; "none"
    offset: tuple[float, ...]
    scale: float

    @property
    def bounded(self) -> bool:
        """Whether scaled data lie in [-1, 1], the range of tanh."""
        return self.kind == "minmax"

    def __str__(self) -> str:
        if self.kind == "none":
            return "not scaled"
        offset = ", ".join(f"{value:.6g}" for value in self.offset[:3]) + (", …" if len(self.offset) > 3 else "")
        offset = f"({offset})" if len(self.offset) > 1 else offset
        aim = "to [-1, 1]" if self.bounded else "to mean 0 and standard deviation 1"
        return f"scaled {aim}: (x - {offset}) / {self.scale:.6g}"

    def apply(self, x: np.ndarray) -> np.ndarray:
        """From the user's units, computed in float64, to float32."""
        return ((np.asarray(x, np.float64) - self._offset(x)) / self.scale).astype(np.float32)

    def undo(self, y: np.ndarray) -> np.ndarray:
        """Back to the user's units, computed in float64, as float32."""
        return (np.asarray(y, np.float64) * self.scale + self._offset(y)).astype(np.float32)

    def _offset(self, x: np.ndarray) -> np.ndarray | float:
        return self.offset[0] if len(self.offset) == 1 else np.asarray(self.offset)


def fit(kind: str, blocks: Iterable[np.ndarray], name: str) -> Scaling:
    """The scaling of data that come in blocks (n, D), one offset for each column; read once, in float64.

    Raises UserError for constant data, and for those whose units float32 cannot hold.
    """
    n, mean, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for block in blocks:
        x = np.asarray(block, np.float64)
        if len(x) == 0:
            continue
        part = x.mean(0)
        step = part - mean  # the pairwise update of mean and sum of squares: Chan, Golub, LeVeque 1983
        squares = squares + np.square(x - part).sum(0) + np.square(step) * (n * len(x) / (n + len(x)))
        mean = mean + step * (len(x) / (n + len(x)))
        n += len(x)
        low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
    spread = float(np.max(high - low))
    if spread == 0:
        raise UserError(f"{name} is constant (every row is {float(np.ravel(low)[0]):.6g}): there is nothing to learn")
    if spread < 1e-36:
        raise UserError(f"{name} varies by {spread:.2g} only, too little for float32: use other units")
    if kind == "none":
        return Scaling(kind, (0.0,), 1.0)
    if kind == "minmax":
        offset, scale = low + (high - low) / 2, spread / 2
    else:
        offset, scale = mean, float(np.sqrt(np.mean(squares / n)))
    return Scaling(kind, tuple(float(value) for value in np.ravel(offset)), scale)
