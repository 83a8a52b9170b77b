"""The way between the user's data and the network's, without the data: what a run keeps to give samples back."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ludus.data import layout
from ludus.data.condition import Column, Condition
from ludus.data.raw import UNNAMED, Axis
from ludus.data.scaling import Scaling
from ludus.errors import UserError

CACHED = 1 << 17  # values that are converted together: as many as stay in a processor's cache


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
    mask: np.ndarray | None = field(default=None, compare=False)  # as `shape`, False where there is no detector

    @property
    def kind(self) -> str:
        """ "images" or "points"."""
        return "points" if self.axes in ("ND", "N") else "images"

    @property
    def measure(self) -> str:
        """What the values are, with their unit, as pictures say it."""
        return self.signal.label if self.signal.unit else f"{self.signal.name} in the data's units".strip()

    @property
    def shown(self) -> str:
        """What pictures show, as their bar says it: name and unit, as far as they are known, and of which channel."""
        several = self.kind == "images" and self.shape[0] not in (1, 3)
        return ", ".join(filter(None, (self.signal.label, f"channel 1 of {self.shape[0]}" * several)))

    @property
    def columns(self) -> tuple[str, ...]:
        """What the coordinates of points are called, (D,); nothing where that is not known."""
        if self.axes == "N":
            return (self.signal.label,) * bool(self.signal.label)
        return self.grid[0].columns(*self.shape) if self.axes == "ND" and self.grid else ()

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

    def to_network(
        self, raw: np.ndarray, numbers: Sequence[int] | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The user's rows -> float32 (n, C, H, W) or (n, D) in the network's range, 0 where there is no detector.

        Raises UserError for a row that cannot be scaled; numbers: of the rows, to name it by.    out: is written to.
        """
        raw = np.asarray(raw)
        out = np.empty((len(raw), *self.shape), np.float32) if out is None else out
        for rows in self._blocks(len(raw)):
            x = layout.to_network(raw[rows], self.axes)
            x = x if self.mask is None else np.where(self.mask, x, np.nan)
            self.scaling.check(x, self.name, range(len(raw))[rows] if numbers is None else numbers[rows])
            self.scaling.apply(x, out[rows])
        if self.mask is not None:
            out[:, ~self.mask] = 0
        return out

    def beyond(self, raw: np.ndarray) -> int:
        """How many of the user's values are cut off by the scaling, where there is a detector."""
        found = self.scaling.beyond(layout.to_network(raw, self.axes))
        return int((found if self.mask is None else found & self.mask).sum())

    def to_user(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) or (n, D) in the network's range -> float32 in the user's units, shape and axis order, NaN where
        there is no detector."""
        out = self._undone(x)
        if self.mask is not None:
            out[:, ~self.mask] = np.nan
        return np.ascontiguousarray(layout.to_user(out, self.axes))

    def in_units(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) or (n, D) in the network's range -> float32 (n, H, W, C) or (n, D) in the user's units.

        Where there is no detector, images hold the mean of the other pixels of their channel, which stands out nowhere,
        and points 0: what measures them takes no NaN.
        """
        out = self._undone(x)
        if self.mask is not None:
            out[:, ~self.mask] = 0
        if self.mask is not None and self.kind == "images":
            mean = out.sum((2, 3)) / np.maximum(self.mask.sum((1, 2)), 1)
            np.copyto(out, mean[:, :, None, None], where=~self.mask)
        return np.moveaxis(out, 1, -1) if self.kind == "images" else out

    def _undone(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        out = np.empty((len(x), *self.shape), np.float32)
        for rows in self._blocks(len(x)):
            out[rows] = self.scaling.undo(x[rows])
        return out

    def _blocks(self, n: int) -> Iterator[slice]:
        step = max(1, CACHED // math.prod(self.shape))
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
        kept = asdict(replace(self, mask=None))  # a run keeps that among its examples
        return {key: value for key, value in kept.items() if key != "mask"}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Form":
        condition = kept["condition"]
        scaling = {key: tuple(value) if isinstance(value, list) else value for key, value in kept["scaling"].items()}
        columns = [Column(**{**each, "labels": tuple(each["labels"])}) for each in (condition or {}).get("columns", [])]
        return cls(
            name=kept["name"],
            axes=kept["axes"],
            shape=tuple(kept["shape"]),
            scaling=Scaling(**scaling),
            condition=Condition(tuple(columns)) if columns else None,
            grid=tuple(_axis(each) for each in kept.get("grid", [])),
            signal=_axis(kept.get("signal", {})),
        )


def _axis(kept: dict[str, Any]) -> Axis:
    return Axis(**{key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()})
