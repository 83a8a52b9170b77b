"""From tests to one word for each question: what was asked, what was found, and by which rule."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ludus.metrics.multiple import holm, said, shown

LEVEL = 0.01  # of all tests of a page together: 1 honest page in 100 raises anything
MASS = 0.02  # of AUC − ½, and of shares of images, that is taken for equal
SHIFT = 0.1  # of an observable, in standard deviations over real images, that is taken for equal
QUESTIONS = {
    "fidelity": "Does it look like the data?",
    "diversity": "Does it cover the data?",
    "memorisation": "Did it copy what it was trained on?",
    "physics": "Does it obey the observables?",
    "condition": "Does it do what was asked for?",
}
SAME = ("no difference found", "slightly different", "different", "not measured")
WORDS = dict.fromkeys(QUESTIONS, SAME)  # by level
WORDS["memorisation"] = ("no sign of it", "faint signs of it", "signs of it", "not measured")
GOOD, SLIGHT, BAD, MISSING = range(4)
RULE = (
    f"All tests of the page are corrected together (Holm, {LEVEL:.0%}). A question is green, “no difference found”, "
    "where none of its tests is rejected, amber, “slightly different”, where what is rejected is smaller than its "
    f"margin (AUC {0.5 + MASS:g}, {SHIFT:g} standard deviations of an observable; the others stand beside all tests "
    "below), and red beyond that."
)


class Trial(NamedTuple):
    """p of a test, and how large the effect is that it looks for: below `margin` it is taken for none."""

    question: str
    name: str
    p: float
    effect: float
    margin: float
    finding: str  # the effect in words


class Verdict(NamedTuple):
    """The answer to one of the QUESTIONS."""

    question: str
    level: int  # GOOD, SLIGHT, BAD or MISSING
    why: str

    @property
    def word(self) -> str:
        return WORDS[self.question][self.level]

    @property
    def raised(self) -> bool:
        return self.level == BAD


def verdicts(tests: Sequence[Trial], not_measured: dict[str, str]) -> list[Verdict]:
    """One verdict for each question that has tests, or a reason in `not_measured` why it has none."""
    adjusted = holm(np.array([test.p for test in tests]))
    found = []
    for question in QUESTIONS:
        mine = [(test, p) for test, p in zip(tests, adjusted) if test.question == question]
        if question in not_measured:
            found.append(Verdict(question, MISSING, not_measured[question]))
        elif mine:
            found.append(_verdict(question, mine, len(tests)))
    return found


def _verdict(question: str, mine: list[tuple[Trial, float]], of: int) -> Verdict:
    rejected = sorted((each for each in mine if each[1] <= LEVEL), key=lambda each: -each[0].effect / each[0].margin)
    if not rejected:
        least = min(mine, key=lambda each: each[0].p)[0]
        return Verdict(question, GOOD, f"the smallest p is {shown(least.p)}, {least.name}, of {of} tests in all")
    level = BAD if rejected[0][0].effect > rejected[0][0].margin else SLIGHT
    why = "; ".join(f"{test.finding} ({test.name}: {said(test.p)})" for test, _ in rejected[:2])
    return Verdict(question, level, why + (f"; and {len(rejected) - 2} more" if len(rejected) > 2 else ""))
