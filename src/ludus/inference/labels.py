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
    """E[c | x] (n, K), as the network has it, as labels. Columns are all classes, or all values."""
    if not condition.columns[0].labels:
        return Labelled(condition.decode(c), None, None, ())
    parts = [tempered(each, t.value) for each, t in zip(shares(condition, c), temperatures, strict=True)]
    sure = np.stack([part.max(1) for part in parts], 1)
    p = np.concatenate(parts, 1)
    return Labelled(condition.decode(p), p, sure[:, 0] if len(parts) == 1 else sure, tuple(temperatures))


def shares(condition: Condition, c: np.ndarray) -> list[np.ndarray]:
    """Of each column of classes its probabilities. A regression's numbers may lie below 0: they are known to a
    thousandth at best, so that what is smaller counts as that, and a row sums to 1."""
    parts = condition.parts(c)
    least = [LEAST if (part >= 0).all() and np.allclose(part.sum(1), 1, atol=1e-4) else REGRESSED for part in parts]
    parts = [np.maximum(part, low) for part, low in zip(parts, least)]
    return [part / part.sum(1, keepdims=True) for part in parts]


def temperatures(condition: Condition, c: np.ndarray, truth: np.ndarray | None) -> list[Temperature]:
    """Of each column of classes, by the rows of encoded `truth` (n, K) that are known; c (n, K) as in `labelled`."""
    if not condition.columns[0].labels:
        return []
    truth = np.full_like(c, np.nan) if truth is None else truth
    return [calibrated(p[rows], y) for p, rows, y in _pairs(condition, c, truth)]


def verdicts(condition: Condition, found: Labelled, truth: np.ndarray) -> list[tuple[str, Verdict]]:
    """The verdict on each column of classes, by name, at the rows of encoded `truth` (n, K) that are known."""
    names = ["" if len(condition.columns) == 1 else f"column {i}: " for i in range(len(condition.columns))]
    pairs = _pairs(condition, found.probabilities, truth)
    if not all(len(y) for _, _, y in pairs):
        raise UserError("no label of these rows is known: there is nothing to compare with")
    return [(name, judged(p[rows], y)) for name, (p, rows, y) in zip(names, pairs)]


def _pairs(
    condition: Condition, c: np.ndarray, truth: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each column: probabilities of all rows, the rows that are known, and the number of the class of these."""
    found = []
    for p, y in zip(shares(condition, c), condition.parts(truth), strict=True):
        rows = np.flatnonzero(~np.isnan(y).any(1))
        found.append((p, rows, y[rows].argmax(1)))
    return found
