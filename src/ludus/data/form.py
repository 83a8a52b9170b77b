"""The way between the user's data and the network's, without the data: what a run keeps to give samples back."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ludus.data import layout
from ludus.data.condition import Column, Condition
from ludus.data.raw import BLOCK, UNNAMED, Axis
from ludus.data.scaling import Scaling
from ludus.errors import UserError


@dataclass(frozen=True)
class Form:
    """Name, axes, scaling and condition of data; exact both ways, to float32's rounding."""

    name: str
    axes: str  # the user's: "NCHW", "NHWC", "NHW", "ND" or "N"
    shape: tuple[int, ...]  # the network's: (C, H, W) or (D,)
    scaling: Scaling
    condition: Condition | None = None
    grid: tuple[Axis, ...] = ()  # of height and width, or of the columns of points; nothing where none is known
    signal: Axis = UNNAMED  # name and unit of the values

    @property
    def kind(self) -> str:
        """ "images" or "points"."""
        return "points" if self.axes in ("ND", "N") else "images"

    @property
    def bounded(self) -> bool:
        """Whether the network's data lie in [-1, 1], so that a generator may end in tanh."""
        return self.scaling.bounded

    @property
    def conditions(self) -> int:
        """K, the width of the network's condition; 0 without."""
        return self.condition.width if self.condition else 0

    @property
    def classes(self) -> int:
        """K, where the condition is one of K classes and no more; else 0."""
        columns = self.condition.columns if self.condition else ()
        return len(columns[0].labels) if len(columns) == 1 else 0

    def to_network(self, raw: np.ndarray) -> np.ndarray:
        """The user's rows -> float32 (n, C, H, W) or (n, D) in the network's range."""
        raw = np.asarray(raw)
        out = np.empty((len(raw), *self.shape), np.float32)
        for rows in self._blocks(len(raw)):
            out[rows] = self.scaling.apply(layout.to_network(raw[rows], self.axes))
        return out

    def to_user(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) or (n, D) in the network's range -> float32 in the user's units, shape and axis order."""
        x = np.asarray(x)
        out = np.empty((len(x), *self.shape), np.float32)
        for rows in self._blocks(len(x)):
            out[rows] = self.scaling.undo(x[rows])
        return np.ascontiguousarray(layout.to_user(out, self.axes))

    def in_units(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) or (n, D) in the network's range -> float32 (n, H, W, C) or (n, D) in the user's units."""
        x = np.asarray(x)
        out = np.empty((len(x), *self.shape), np.float32)
        for rows in self._blocks(len(x)):
            out[rows] = self.scaling.undo(x[rows])
        return np.moveaxis(out, 1, -1) if self.kind == "images" else out

    def _blocks(self, n: int) -> Iterator[slice]:
        step = max(1, BLOCK // (8 * math.prod(self.shape)))
        return (slice(start, start + step) for start in range(0, n, step))

    def pictures(self, x: np.ndarray) -> np.ndarray:
        """The user's rows as pictures: (n, H, W, 3) if there are three channels, else (n, H, W), the first channel."""
        if self.kind == "points":
            raise UserError(f"{self.name} are points, not pictures")
        return layout.pictures(np.asarray(x), self.axes)

    def encode_condition(self, values: Any, n: int | None = None) -> np.ndarray:
        """Labels, numbers or their text (`3`, `0.5,1.2`; None is unknown) -> (n, K) float32; one row is repeated.

        Raises UserError for an unknown class, a wrong number of entries, or data without a condition.
        """
        if self.condition is None:
            raise UserError(f"this run on {self.name} was trained without a condition: leave out -c")
        return self.condition.encode(values, n)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Form":
        scaling, condition = kept["scaling"], kept["condition"]
        columns = [Column(**{**each, "labels": tuple(each["labels"])}) for each in (condition or {}).get("columns", [])]
        return cls(
            name=kept["name"],
            axes=kept["axes"],
            shape=tuple(kept["shape"]),
            scaling=Scaling(**{**scaling, "offset": tuple(scaling["offset"])}),
            condition=Condition(tuple(columns)) if columns else None,
            grid=tuple(Axis(**{**each, "values": tuple(each["values"])}) for each in kept.get("grid", [])),
            signal=Axis(**{**kept.get("signal", {}), "values": ()}),
        )
