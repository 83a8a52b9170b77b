"""What a network says of labels, in the user's own words, and how far its probabilities can be believed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ludus.data.condition import Condition
from ludus.errors import UserError
from ludus.metrics.labels import LEAST, Temperature, Verdict, calibrated, judged, tempered

REGRESSED = 1e-3  # the least probability that a regression on 0 and 1 can mean


class Labelled(NamedTuple):
    """What is said of n rows; of several columns side by side."""

    labels: np.ndarray  # (n,) or (n, columns): classes in the user's own words, values in the user's units
    probabilities: np.ndarray | None  # (n, K): of each class, column by column; None of values
    confidence: np.ndarray | None  # (n,) or (n, columns): the probability of the label that is given
    temperatures: tuple[Temperature, ...]  # of each column of classes


def labelled(condition: Condition, c: np.ndarray, temperatures: Sequence[Temperature]) -> Labelled:
    """E[c | x] (n, K), as the network has it, as labels."""
    p = [tempered(each, t.value) for each, t in zip(shares(condition, c), temperatures, strict=True)]
    rest = iter(p)
    parts = [next(rest) if column.labels else part for column, part in zip(condition.columns, condition.parts(c))]
    given = condition.decode(np.concatenate(parts, 1))
    if not p:
        return Labelled(given, None, None, ())
    sure = np.stack([part.max(1) for part in p], 1)
    return Labelled(given, np.concatenate(p, 1), sure[:, 0] if len(p) == 1 else sure, tuple(temperatures))


def classes(condition: Condition, c: np.ndarray) -> list[np.ndarray]:
    """What of (n, K) is of each column of classes."""
    return [part for column, part in zip(condition.columns, condition.parts(c)) if column.labels]


def shares(condition: Condition, c: np.ndarray) -> list[np.ndarray]:
    """Of each column of classes its probabilities. A regression's numbers may lie below 0: they are known to a
    thousandth at best, so that what is smaller counts as that, and a row sums to 1."""
    parts = classes(condition, c)
    least = [LEAST if (part >= 0).all() and np.allclose(part.sum(1), 1, atol=1e-4) else REGRESSED for part in parts]
    parts = [np.maximum(part, low) for part, low in zip(parts, least)]
    return [part / part.sum(1, keepdims=True) for part in parts]


def temperatures(condition: Condition, c: np.ndarray, truth: np.ndarray | None) -> list[Temperature]:
    """Of each column of classes, by the rows of encoded `truth` (n, K) that are known; c (n, K) as in `labelled`."""
    truth = np.full_like(c, np.nan) if truth is None else truth
    return [calibrated(p[rows], y) for p, rows, y in _pairs(shares(condition, c), classes(condition, truth))]


def verdicts(condition: Condition, found: Labelled, truth: np.ndarray) -> list[tuple[str, Verdict]]:
    """The verdict on each column of classes, by name, at the rows of encoded `truth` (n, K) that are known."""
    several = len(condition.columns) > 1
    names = [f"column {i}: " if several else "" for i, column in enumerate(condition.columns) if column.labels]
    named = Condition(tuple(column for column in condition.columns if column.labels))
    pairs = _pairs(shares(named, found.probabilities), classes(condition, truth))
    if not all(len(y) for _, _, y in pairs):
        raise UserError("no label of these rows is known: there is nothing to compare with")
    return [(name, judged(p[rows], y)) for name, (p, rows, y) in zip(names, pairs)]


def errors(condition: Condition, found: Labelled, truth: np.ndarray) -> list[float]:
    """The root mean square error of each column of values, in the user's units, at the rows that are known."""
    given = found.labels.reshape(len(found.labels), -1)
    off = [
        column.decode(part) - given[:, i].astype(np.float64)
        for i, (column, part) in enumerate(zip(condition.columns, condition.parts(truth))) if not column.labels
    ]  # fmt: skip
    return [float(np.sqrt(np.nanmean(np.square(each)))) for each in off]


def _pairs(p: list[np.ndarray], truth: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each column of classes: probabilities of all rows, the rows that are known, and the class of these."""
    known = [np.flatnonzero(~np.isnan(y).any(1)) for y in truth]
    return [(each, rows, y[rows].argmax(1)) for each, rows, y in zip(p, known, truth, strict=True)]
