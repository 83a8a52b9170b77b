"""Codes that nobody named against factors that are known: which is which, and how well they agree."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr

from ludus.errors import UserError


class Classes(NamedTuple):
    """Classes that were found, matched one to one with the true ones so that most rows agree."""

    accuracy: float  # share of the rows that agree
    error: float  # its standard error; the matching, made on the same rows, lifts it by as little as they are many
    match: dict  # found -> true, in their own words
    table: np.ndarray  # (found, true) rows of each pair, both in ascending order


class Factors(NamedTuple):
    """Values that were found, matched one to one with the true factors by rank correlation."""

    correlation: np.ndarray  # (found, true) Spearman's ρ
    match: dict[int, int]  # found -> true, of the largest Σ |ρ|


def classes(found: np.ndarray, truth: np.ndarray) -> Classes:
    """Labels (n,) of any kind; the matching is the Hungarian one, as for infoGAN's category."""
    found, truth = np.asarray(found), np.asarray(truth)
    if found.ndim != 1 or found.shape != truth.shape or not len(found):
        raise UserError(f"classes are {found.shape} and {truth.shape}: two of (n,)")
    (mine, i), (theirs, j) = (np.unique(labels, return_inverse=True) for labels in (found, truth))
    table = np.zeros((len(mine), len(theirs)), int)
    np.add.at(table, (i, j), 1)
    rows, columns = linear_sum_assignment(-table)
    share = table[rows, columns].sum() / len(found)
    return Classes(float(share), float(np.sqrt(share * (1 - share) / len(found))),
                   dict(zip(mine[rows].tolist(), theirs[columns].tolist())), table)  # fmt: skip


def factors(found: np.ndarray, truth: np.ndarray) -> Factors:
    """Values (n, V) and factors (n, F)."""
    found, truth = (np.asarray(a, float) for a in (found, truth))
    if found.ndim != 2 or truth.ndim != 2 or len(found) != len(truth) or len(found) < 3:
        raise UserError(f"values are {found.shape} and factors {truth.shape}: (n, V) and (n, F), three rows at least")
    rho = np.array([[spearmanr(a, b).statistic for b in truth.T] for a in found.T])
    rows, columns = linear_sum_assignment(-np.nan_to_num(np.abs(rho)))  # a constant has no rank: NaN
    return Factors(rho, dict(zip(rows.tolist(), columns.tolist())))
