"""All that is measured of generated images, and what it says: features, scores, tests, verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ludus.errors import UserError
from ludus.evaluation import conditions, questions
from ludus.evaluation.conditions import Answer, Group
from ludus.evaluation.questions import CONTENT, Observed
from ludus.evaluation.scores import Family, Score, scores
from ludus.evaluation.sets import Sets
from ludus.evaluation.verdicts import Trial, Verdict, verdicts
from ludus.features import classifier, convolutions, observables, pca
from ludus.features.classifier import Classifier
from ludus.features.extractor import Extractor
from ludus.features.observables import UNITS, Constraint, Observable, Table
from ludus.metrics import permutation
from ludus.metrics.copies import Copies, copies
from ludus.metrics.neighbours import prdc

PIXELS = 2_000_000  # at most, whose distribution is compared
STEP = 0.05  # of their sd, by which pixels count as equal
BLOCK = 2048  # training rows at a time
EXTRA = 12  # tests beside two for each family and one for each observable, of which few are constraints; about
MANY = 0.01  # share of rows with an equal one, above which balls of neighbours say little


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluation` found; arrays in the user's units."""

    sets: Sets
    quick: bool
    families: list[Family]
    scores: list[Score]
    mine: Table  # observables of the generated images
    real: Table
    observed: list[Observed]
    constraints: dict[str, tuple[Constraint, Constraint]]  # of generated, of real images
    tests: list[Trial]
    verdicts: list[Verdict]
    copies: Copies | None
    realness: np.ndarray | None  # (n,) P(real | x) of each generated image, by a classifier that has not seen it
    answer: list[Answer] = field(default_factory=list)  # the conditions, read back
    groups: list[Group] = field(default_factory=list)  # scores condition by condition
    notes: tuple[str, ...] = ()

    @property
    def raised(self) -> bool:
        """Whether a verdict is the worst one."""
        return any(each.raised for each in self.verdicts)


def evaluation(
    sets: Sets,
    *,
    own: Sequence[Extractor] = (),
    looked_at: Sequence[Observable] = (),
    seed: int = 0,
    quick: bool = False,
    step: Callable[[str], None] = lambda what: None,
) -> Evaluation:
    """Generated against held-out rows, in several families of features.

    own: the user's extractors.    looked_at: observables besides the default ones.    step hears what comes next.
    quick: without errors, networks and conditions; for the end of a run.
    """
    step("features")
    x, y, fit = sets.generated.x, sets.reference.x, sets.fit.x
    extractors, table = _extractors(fit, own, looked_at, seed, quick)
    known, notes = None, list(sets.notes)
    if not quick and (labels := conditions.labels(sets.form, sets.fit.c)) is not None:
        step("a classifier")
        known, note = _classifier(fit, labels, seed)
        notes += note
        extractors |= {} if known is None else {"classifier's features": known.features}
    exchanges = questions.permutations(2 * len(extractors) + len(table) + EXTRA)
    families, measured = [], []
    for name, extractor in extractors.items():
        step(f"scores of {name}")
        family = _family(extractor, name, sets)
        measured += scores(family, seed, errors=not quick)
        families.append(family if name == CONTENT else family._replace(floors=()))  # they take much memory
    content = families[0]

    step("classifiers that tell generated from real")
    tests, told = questions.fidelity(families, exchanges, seed)
    known_rows = extractors[CONTENT](fit)
    tests += questions.diversity(content, known_rows, None if known is None else _read(known, x, y), seed)
    step("observables")
    mine, real = observables.table(table, x), observables.table(table, y)
    floors = [observables.table(table, floor.x) for floor in sets.floors]
    spread = None if y.ndim == 2 else np.std(y, axis=(0, 1, 2), dtype=float)
    observed = questions.observables(mine, real, floors, spread, exchanges, seed)
    unit = sets.form.signal.unit or UNITS
    observed = [each._replace(unit=each.unit.replace(UNITS, unit)) for each in observed]
    tests += questions.physics(observed, None if spread is None else _intensities(x, y, spread, exchanges, seed))
    constraints, real_ones = observables.constraints(mine), observables.constraints(real)
    tests += [questions.obeyed(name, *(_violated(each, name) for each in (mine, real))) for name in constraints]

    step("the nearest training rows")
    found, more, missing = _memorisation(sets, content, extractors[CONTENT], seed)
    tests += more
    answer, groups = [], []
    if sets.form.condition is not None and not quick:
        step("conditions")
        answer, more = conditions.answers(sets, content, known_rows, known)
        groups = conditions.groups(sets, content, mine, real, spread, seed)
        tests += more
        missing |= {} if more else {"condition": conditions.WHY}
    return Evaluation(
        sets, quick, families, measured, mine, real, observed,
        {name: (each, real_ones[name]) for name, each in constraints.items()}, tests, verdicts(tests, missing), found,
        told[CONTENT].b if CONTENT in told else None, answer, groups, (*notes, *_notes(content)),
    )  # fmt: skip


def _memorisation(
    sets: Sets, content: Family, extractor: Extractor, seed: int
) -> tuple[Copies | None, list[Trial], dict[str, str]]:
    """What is known of copies, the tests of it, and where there are none the reason."""
    if sets.train is None:
        return None, [], {"memorisation": "it takes rows that were trained on and others that were held out"}
    found = copies(_of_train(extractor, sets), content.reference, content.generated, seed=seed)
    if (equal := questions.same(found.held_out, found.held_out)) > MANY:
        return found, [], {"memorisation": f"{equal:.1%} of the rows to compare with are training rows"}
    return found, questions.memorisation(found), {}


def _classifier(x: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Classifier | None, list[str]]:
    """A classifier that knows more than which class is the largest, or none and why."""
    try:
        known = classifier.fit(x, labels, seed)
    except UserError as error:
        return None, [f"no classifier: {error}"]
    _, counts = np.unique(labels[~np.isnan(labels)], return_counts=True)
    if known.accuracy - 3 * known.error > counts.max() / counts.sum():
        return known, []
    return None, [f"no classifier: it reads {known.accuracy:.0%} of real images right, hardly more than by chance"]


def _intensities(
    x: np.ndarray, y: np.ndarray, spread: np.ndarray, exchanges: int, seed: int
) -> permutation.TwoSample:
    """The distribution of all pixels, each channel in steps of a twentieth of its sd: a network hardly gives an exact
    0."""
    some = max(2, min(len(x), PIXELS // int(np.prod(x.shape[1:])), questions.NUMBERS // (2 * exchanges)))
    step = np.where(spread > 0, STEP * spread, 1.0)
    return permutation.ks_image_test(*(np.round(each[:some] / step) for each in (y, x)), exchanges, seed)


def _extractors(
    fit: np.ndarray, own: Sequence[Extractor], looked_at: Sequence[Observable], seed: int, quick: bool
) -> tuple[dict[str, Extractor], list[Observable]]:
    """By what they are called on the page, the content first; and the observables."""
    table = observables.chosen(fit, looked_at)
    found = {CONTENT: pca.fit(fit, seed), "observables": observables.features(table, fit)}
    if fit.ndim == 4 and not quick:
        found["random convolutions"] = convolutions.fit(fit, seed)
    for each in own:
        if each.name in found:
            raise UserError(f"features {each.name!r} have the name of another family: give them one of their own")
        found[each.name] = each.scaled(fit)
    return found, table


def _family(extractor: Extractor, name: str, sets: Sets) -> Family:
    floors = [extractor(floor.x) for floor in sets.floors]
    return Family(name, extractor.identity, extractor(sets.generated.x), extractor(sets.reference.x), floors)


def _of_train(extractor: Extractor, sets: Sets) -> np.ndarray:
    """Features of all training rows, which are brought to the user's units block by block."""
    x, found = sets.train.x, None
    for i in range(0, len(x), BLOCK):
        part = extractor(sets.form.in_units(x[i : i + BLOCK]))
        found = np.empty((len(x), part.shape[1])) if found is None else found
        found[i : i + BLOCK] = part
    return found


def _read(known: Classifier, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class that a classifier sees in each generated and each real row."""
    return tuple(known.probabilities(each).argmax(1) for each in (x, y))


def _violated(found: Table, name: str) -> np.ndarray:
    column = found.names.index(name)
    each = found.origin[column]
    return np.abs(found.values[:, column] - each.exact) > each.tolerance


def _notes(content: Family) -> tuple[str, ...]:
    """What to know of neighbours where rows are repeated."""
    try:
        most = max(prdc(content.reference[:1000], content.generated[:1000]).duplicates)
    except UserError:
        return ()
    if most <= MANY:
        return ()
    return (f"{most:.1%} of rows have an equal one: precision, recall, density and coverage say little, observables "
            "more",)  # fmt: skip
