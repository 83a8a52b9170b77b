"""The tests behind each verdict. All of them compare whole images, generated ones with those held out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency, fisher_exact, norm

from ludus.errors import UserError
from ludus.evaluation.scores import Family
from ludus.evaluation.verdicts import LEVEL, MASS, SHIFT, Trial
from ludus.features.observables import UNITS, Table
from ludus.metrics import permutation, wasserstein
from ludus.metrics.c2st import Told, c2st
from ludus.metrics.copies import SHARE, Copies
from ludus.metrics.multiple import LEAST
from ludus.metrics.partitions import ndb, pqm
from ludus.metrics.rows import Estimate

CONTENT = "principal components"  # the family that shows what images are of
PERMUTATIONS, NUMBERS = 1999, 6_000_000  # at least; entries of the matrix of permutations, at most
PAIRS, MOST = 1500, 2500  # images at most of which all pairs are taken; whose observables are exchanged
RESAMPLES = 50
SAME = 1e-6  # of the median distance to a training row: what is nearer is one
UNEVEN = 0.07  # √(Σ (p − q)² / (p + q) / 2) of cells, above the share in a wrong place, that is taken for equal
FLOOR = 0.1  # of what is typical of an observable's unit: the least that a shift is measured in


def permutations(tests: int) -> int:
    """How many make the smallest p survive the correction for so many tests."""
    return max(PERMUTATIONS, math.ceil(1.2 * tests / LEVEL))


def fidelity(
    families: Sequence[Family], exchanges: int = PERMUTATIONS, seed: int = 0
) -> tuple[list[Trial], dict[str, Told]]:
    """Can a classifier tell generated rows from real ones, in each family of features, and are they apart? Both effects
    are measured by the classifier: AUC − ½."""
    tests, told = [], {}
    for family in families:
        mine, real = family.generated, family.reference
        effect = 0.5
        try:
            found = told[family.name] = c2st(real, mine, "mlp" if family.name == CONTENT else "logistic", seed)
        except UserError:  # hardly two generated rows differ: the other test says the rest
            found = None
        if found is not None:
            auc, error = found.auc
            effect = auc - 0.5
            said = f"a classifier tells them apart by their {family.name}, AUC {auc:.3f} ± {error:.3f}"
            tests.append(Trial("fidelity", f"C2ST on {family.name}", found.p, effect, MASS, said))
        some = min(PAIRS, NUMBERS // (2 * exchanges))
        far = permutation.energy_test(real[:some], mine[:some], exchanges, seed)
        said = f"their {family.name} are apart, energy distance {far.value:.3g} (chance: {far.null_mean:.3g})"
        tests.append(Trial("fidelity", f"energy test of {family.name}", far.p, effect, MASS, said))
    return tests, told


def diversity(
    content: Family, fit: np.ndarray, shares: tuple[np.ndarray, np.ndarray] | None, seed: int = 0
) -> list[Trial]:
    """Is each part of the data's space generated as often as it should be? fit: the content of other real rows.
    shares: labels (n,) as a classifier reads them, of generated and of real rows."""
    x, y = content.generated, content.reference
    found = pqm(y, x, seed)
    n = len(x) * len(y) / (len(x) + len(y))
    apart = math.sqrt(max(found.excess - 1, 0) * (found.cells - 1) / n) / 2
    tests = [Trial("diversity", "PQMass", found.p, apart, UNEVEN,
                  f"cells of the data's space are filled unevenly, χ²/dof {found.excess:.2f} (1 where there is no "
                  "difference)")]  # fmt: skip
    bins = ndb(fit, y, x, seed)
    apart = math.sqrt(2 * max(bins.js - bins.js_null, 0))  # the same distance, where it is small
    tests.append(Trial("diversity", "χ² of k-means cells (NDB)", bins.p, apart, UNEVEN,
                       f"{bins.surviving} of {bins.cells} parts of the data are too rare or too frequent"))  # fmt: skip
    if shares is not None:
        mine, theirs = shares
        k = int(max(mine.max(), theirs.max())) + 1
        table = np.array([np.bincount(each, minlength=k) for each in (mine, theirs)])
        table = table[:, table.sum(0) > 0]
        p = chi2_contingency(table, correction=False).pvalue if table.shape[1] > 1 else 1.0
        ours, real = table / table.sum(1, keepdims=True)
        worst = int(np.argmax(np.abs(ours - real)))
        said = f"classes have other shares, one {ours[worst]:.1%} in place of {real[worst]:.1%}"
        apart = float(np.abs(ours - real).sum() / 2)
        tests.append(Trial("diversity", "χ² of classes", max(float(p), LEAST), apart, MASS, said))
    return tests


def memorisation(found: Copies) -> list[Trial]:
    """Are generated rows nearer to training rows than held-out ones are?"""
    (rate, _), c_t = found.rate.share, found.c_t
    sure = found.nearer.p <= LEVEL or same(found.generated, found.held_out) > SHARE
    at_large = "" if sure else ", but not to training rows rather than to others: too near to the average, it seems"
    most = 1.0 if sure else math.inf  # of the margin: what is near to all real rows alike is no sure sign of copies
    said = f"{rate:.1%} are nearer to a training row than the nearest {SHARE:.0%} of the held-out rows{at_large}"
    tests = [Trial("memorisation", "copy rate", found.rate.p, rate - found.rate.null, most * SHARE, said)]
    if math.isfinite(c_t.value) and c_t.error > 0:
        less = found.authentic_null.value - found.authentic.value
        said = f"they lie nearer to training rows than held-out ones do, C_T {c_t.value:.1f}{at_large}"
        p = max(float(norm.cdf(c_t.value / c_t.error)), LEAST)
        tests.append(Trial("memorisation", "C_T", p, less, most * MASS, said))
    return tests


def same(far: np.ndarray, held_out: np.ndarray) -> float:
    """The share of rows that are training rows, up to rounding, by their distance to the nearest of them; `held_out`:
    the distances of rows that should not be. 1 where most of these are."""
    typical = float(np.median(held_out))
    return float((far < SAME * typical).mean()) if typical > 0 else 1.0


class Observed(NamedTuple):
    """One observable of real and of generated images."""

    name: str
    unit: str
    real: Estimate  # mean over images
    generated: Estimate
    shift: Estimate  # W₁ of the two laws over the sd of the real one
    floor: float  # the same of other real images, on average
    p: float
    adjusted: float  # for all observables together, see `permutation.max_t`


def observables(
    generated: Table, reference: Table, floors: Sequence[Table], spread: np.ndarray | None,
    exchanges: int = PERMUTATIONS, seed: int = 0,
) -> list[Observed]:  # fmt: skip
    """All observables together, by one exchange of images for all of them. spread: as for `unit_of`."""
    x, y = generated.values, reference.values
    unit, some = unit_of(reference, spread), min(MOST, NUMBERS // (2 * exchanges))
    joint = permutation.max_t(y[:some], x[:some], exchanges, seed)
    shift = wasserstein.w1(x / unit, y / unit)
    draws = np.random.default_rng(seed)
    again = [wasserstein.w1(*(a[draws.integers(len(a), size=len(a))] / unit for a in (x, y))) for _ in range(RESAMPLES)]
    error = np.std(again, axis=0)
    floor = np.mean([wasserstein.w1(each.values / unit, y / unit) for each in floors], 0)
    return [
        Observed(name, reference.origin[j].unit, _mean(y[:, j]), _mean(x[:, j]),
                 Estimate(float(shift[j]), float(error[j])), float(floor[j]), float(joint.p[j]),
                 float(joint.adjusted[j]))
        for j, name in enumerate(reference.names)
    ]  # fmt: skip


def physics(observed: Sequence[Observed], intensities: permutation.TwoSample | None) -> list[Trial]:
    """Do observables have the law that they have in real images? And all pixels?"""
    least = min(each.adjusted for each in observed)
    off = [each for each in observed if each.adjusted <= max(LEVEL, least)]
    worst = max(off, key=lambda each: each.shift.value - each.floor)
    found = f"{worst.name} is {worst.shift.value:.2f} sd off (floor {worst.floor:.2f})"
    tests = [Trial("physics", f"maxT of {len(observed)} observables", least, worst.shift.value - worst.floor, SHIFT,
                  f"{found}, {len(off)} of {len(observed)} differ")]  # fmt: skip
    if intensities is not None:
        more = intensities.value - intensities.null_mean
        tests.append(Trial("physics", "KS of all pixels", intensities.p, more, MASS,
                          f"the distribution of all pixels differs by {intensities.value:.3f} "
                          f"({intensities.null_mean:.3f} by chance)"))  # fmt: skip
    return tests


def obeyed(name: str, mine: np.ndarray, theirs: np.ndarray) -> Trial:
    """Is f(x) = c violated more often by generated than by real images? Which ones do, (n,) bool of each."""
    table = [[mine.sum(), (~mine).sum()], [theirs.sum(), (~theirs).sum()]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    return Trial("physics", f"constraint {name}", max(p, LEAST), float(mine.mean() - theirs.mean()), MASS,
                f"{name} is violated by {mine.mean():.1%} (real: {theirs.mean():.1%})")  # fmt: skip


def unit_of(reference: Table, spread: np.ndarray | None) -> np.ndarray:
    """What shifts are measured in: the sd over real images; where that is small, as of a minimum that is always 0, a
    tenth of the spread of all pixels of the channel, or of the median sd of the observables of the same unit.

    spread (C,): sd of the pixels of each channel; None of points, each of whose numbers stands for itself.
    """
    sd, size = reference.values.std(0), np.abs(reference.values).max(0)
    keys = [(each.unit, _channel(name)) for name, each in zip(reference.names, reference.origin)]
    unit = sd.copy()
    for key in set(keys) if spread is not None else ():
        mine = np.array([each == key for each in keys])
        vary = sd[mine][sd[mine] > 1e-9 * size[mine]]
        typical = spread[key[1]] if key[0] == UNITS else float(np.median(vary)) if len(vary) else 1.0
        unit[mine] = np.maximum(sd[mine], FLOOR * typical)
    return np.where(unit > 0, unit, np.where(size > 0, FLOOR * size, 1.0))


def _channel(name: str) -> int:
    """The channel that an observable is of, from 0."""
    told = name.removeprefix("channel ").partition(":")[0]
    return int(told) - 1 if name.startswith("channel ") and told.isdigit() else 0


def _mean(values: np.ndarray) -> Estimate:
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
