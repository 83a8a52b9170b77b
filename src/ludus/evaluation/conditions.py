"""Conditions: is each answered by images like those that have it, and does each image show the one asked for?"""

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.stats import fisher_exact, mannwhitneyu

from ludus.data.form import Form
from ludus.evaluation.questions import unit_of
from ludus.evaluation.scores import Family, Score, scores
from ludus.evaluation.sets import FEWEST, Sets
from ludus.evaluation.verdicts import MASS, SHIFT, Trial
from ludus.features.classifier import Classifier
from ludus.features.observables import Table
from ludus.metrics import wasserstein
from ludus.metrics.multiple import LEAST
from ludus.metrics.rows import Estimate

READABLE = 0.95  # of a value's sd: a reader that is further off on real images reads nothing
WHY = "it takes a condition that images were asked for, that can be read from real ones, and 50 held-out rows with it"
BINS = 4  # of a value, with as many images each
MANY = 20  # classes of a column beyond which they are not looked at one by one


class Answer(NamedTuple):
    """A column of the condition, read back from images: what was asked against what they show."""

    column: str
    what: str  # "share read as asked" or "root mean square error"
    real: Estimate
    generated: Estimate
    slope: float | None  # of what is read against what was asked, generated over real; None of classes
    asked: np.ndarray  # (n,) numbers of classes, or values
    read: np.ndarray  # (n,) of the generated images
    true: np.ndarray  # (n,) of the real images with the same conditions
    classes: tuple[str, ...] = ()  # their names
    label: str = ""  # name and unit of what is asked for, as far as they are known


class Group(NamedTuple):
    """The images of one class, or of one bin of values, by themselves."""

    name: str
    n: int
    scores: list[Score]
    worst: str  # the observable that is furthest off
    shift: float  # W₁ of it, over its sd in the real images of the group


def labels(form: Form, c: np.ndarray | None) -> np.ndarray | None:
    """The numbers of the classes in the first column that has classes, (n,) with NaN for unknown; None without."""
    if c is None or form.condition is None:
        return None
    for column, part in zip(form.condition.columns, form.condition.parts(c)):
        if len(column.labels) > 1:
            found = np.where(np.isnan(part).any(1), np.nan, np.nan_to_num(part).argmax(1))
            return found if len(np.unique(found[~np.isnan(found)])) > 1 else None
    return None


def answers(
    sets: Sets, content: Family, fit: np.ndarray, known: Classifier | None
) -> tuple[list[Answer], list[Trial]]:
    """Each column of the condition read back from generated and from real images, by what was learnt of others.

    The first column of classes is read by the classifier, others by a logistic regression on the content, and values by
    a small network on it. fit: the content of the rows that they learn from.
    """
    found, tests, asked_for = [], [], sets.generated.c
    condition = sets.form.condition
    if asked_for is None or sets.fit.c is None:
        return [], []
    first = next((i for i, column in enumerate(condition.columns) if len(column.labels) > 1), None)
    pairs = [condition.parts(each) for each in (sets.fit.c, asked_for)]
    for i, (column, theirs, mine) in enumerate(zip(condition.columns, *pairs)):
        name = "condition" if len(condition.columns) == 1 else f"condition, column {i}"
        learn, rows = (~np.isnan(each).any(1) for each in (theirs, mine))
        if min(rows.sum(), learn.sum()) < FEWEST or theirs[learn].std() == 0:
            continue
        sides = content.generated[rows], content.reference[rows]
        if column.labels:
            asked, target = mine[rows].argmax(1), theirs[learn].argmax(1)
            if known is not None and i == first:
                read, true = (known.classes[known.probabilities(each.x[rows]).argmax(1)].astype(int)
                              for each in (sets.generated, sets.reference))  # fmt: skip
            else:
                read, true = _logistic(fit[learn], target, *sides)
            answer, test = _classes(name, asked, read, true)
            chance = np.bincount(asked).max() / len(asked)
            readable = answer.real.value - 3 * answer.real.error > chance or answer.real.value == 1
        else:
            asked, target = (column.decode(each) for each in (mine[rows], theirs[learn]))
            read, true = _regressed(fit[learn], target, *sides)
            answer, test = _values(name, asked, read, true)
            readable = answer.real.value < READABLE * asked.std()
        found.append(answer._replace(classes=tuple(map(str, column.labels)), label=column.name))
        tests += [test] if readable else []
    return found, tests


def _classes(name: str, asked: np.ndarray, read: np.ndarray, true: np.ndarray) -> tuple[Answer, Trial]:
    mine, real = read == asked, true == asked
    table = [[(~mine).sum(), mine.sum()], [(~real).sum(), real.sum()]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    shares = [Estimate(float(each.mean()), math.sqrt(each.mean() * (1 - each.mean()) / len(each)))
              for each in (real, mine)]  # fmt: skip
    said = f"{name} is read as asked in {mine.mean():.1%} (real images: {real.mean():.1%})"
    return (Answer(name, "share read as asked", *shares, None, asked, read, true),
            Trial("condition", f"Fisher’s test of {name}", max(p, LEAST), float(real.mean() - mine.mean()), MASS,
                 said))  # fmt: skip


def _values(name: str, asked: np.ndarray, read: np.ndarray, true: np.ndarray) -> tuple[Answer, Trial]:
    mine, real = np.abs(read - asked), np.abs(true - asked)
    p = float(mannwhitneyu(mine, real, alternative="greater").pvalue)
    errors = [_rms(each) for each in (real, mine)]
    slopes = [np.polyfit(asked, each, 1)[0] for each in (read, true)]
    spread = float(asked.std()) or 1.0
    said = f"{name} is read with an error of {errors[1].value:.4g} (real images: {errors[0].value:.4g})"
    ratio = float(slopes[0] / slopes[1]) if slopes[1] else float("nan")
    return (Answer(name, "root mean square error", *errors, ratio, asked, read, true),
            Trial("condition", f"Mann-Whitney test of errors of {name}", max(p, LEAST),
                 (errors[1].value - errors[0].value) / spread, SHIFT, said))  # fmt: skip


def _rms(error: np.ndarray) -> Estimate:
    square = error**2
    value = math.sqrt(square.mean())
    return Estimate(value, float(square.std(ddof=1) / math.sqrt(len(square)) / (2 * value)) if value else 0.0)


def _logistic(x: np.ndarray, y: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        return [np.full(len(each), y[0]) for each in others]
    fitted = LogisticRegression(max_iter=1000).fit(x, y)
    return [fitted.predict(each) for each in others]


def _regressed(x: np.ndarray, y: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """A network of two layers of 64 that stops early, of values in units of their sd."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    mean, sd = y.mean(), y.std()
    early = len(x) >= 200
    net = MLPRegressor(hidden_layer_sizes=(64, 64), alpha=0.1, early_stopping=early, max_iter=100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 passes are what it gets
        net.fit(x, (y - mean) / sd)
    return [net.predict(each) * sd + mean for each in others]


def groups(
    sets: Sets, content: Family, mine: Table, real: Table, spread: np.ndarray | None, seed: int = 0
) -> list[Group]:
    """The scores of the content, and the observable that is furthest off, of each class and of each quarter of a value,
    where there are 50 images of it at least."""
    found = []
    for name, rows, floors in _members(sets):
        floors = [floor[which] for floor, which in zip(content.floors, floors) if which.sum() >= FEWEST]
        if rows.sum() < FEWEST or not floors:
            continue
        part = Family(content.name, content.identity, content.generated[rows], content.reference[rows], floors)
        unit = unit_of(real._replace(values=real.values[rows]), spread)
        shift = wasserstein.w1(mine.values[rows] / unit, real.values[rows] / unit)
        worst = int(shift.argmax())
        found.append(Group(name, int(rows.sum()), scores(part, seed, errors=False), real.names[worst],
                           float(shift[worst])))  # fmt: skip
    return found


def _members(sets: Sets) -> Iterator[tuple[str, np.ndarray, list[np.ndarray]]]:
    """The name of each group, which of the generated and of the reference rows are of it, which of each floor's."""
    condition = sets.form.condition
    if sets.generated.c is None or sets.others.c is None:
        return
    several = len(condition.columns) > 1
    for i, column in enumerate(condition.columns):
        prefix = f"column {i}: " if several else ""
        mine, *floors = (condition.parts(each.c)[i] for each in (sets.generated, *sets.floors))
        if len(column.labels) > MANY:
            continue
        if column.labels:
            for k, label in enumerate(column.labels):
                yield f"{prefix}{label}", mine[:, k] == 1, [floor[:, k] == 1 for floor in floors]
            continue
        known = mine[~np.isnan(mine)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1))) if len(known) else known
        for low, high in pairwise(edges):
            ends = column.decode(np.array([[low], [high]]))
            last = high == edges[-1]
            inside = [((c >= low) & ((c <= high) if last else (c < high)))[:, 0] for c in (mine, *floors)]
            yield f"{prefix}{ends[0]:.4g} to {ends[1]:.4g}", inside[0], inside[1:]
