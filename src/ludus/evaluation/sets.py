"""What is compared with what: generated rows, held-out ones, and other real ones for floors and for features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ludus.data.form import Form
from ludus.errors import UserError

FEWEST, FEW = 50, 1000  # images in a set: refused below, and warned of below
FITTED = 10_000  # real rows at most that features are fitted to
TRAINED = "no row was held out: what is compared with was trained on, and a generator that copies it looks perfect"
SPLIT = "the training rows are not at hand: half of the rows given are compared with, the others give the floors"
FLOORS = 4  # sets of real rows at most that the reference is compared with


class Rows(NamedTuple):
    """x as `Form.in_units` gives it, and the encoded condition of each row (n, K), NaN where unknown, or None."""

    x: np.ndarray
    c: np.ndarray | None = None

    def at(self, rows: np.ndarray | slice) -> "Rows":
        return Rows(self.x[rows], None if self.c is None else self.c[rows])


@dataclass(frozen=True, eq=False)
class Sets:
    """generated and reference have one number of rows n, and so has each of the floors."""

    form: Form
    generated: Rows  # c: what was asked for, None where nothing could be
    reference: Rows  # real rows that were not trained on
    fit: Rows  # real rows that features are fitted to
    others: Rows  # real rows, in the network's range, among which the floors are
    chosen: tuple[np.ndarray, ...]  # the numbers of the rows of each floor
    train: Rows | None  # what was trained on, in the network's range; None where copies cannot be told
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.generated.x)

    @property
    def floors(self) -> Iterator[Rows]:
        """Other real rows, apart from one another: what a perfect generator would give. Made one set at a time."""
        return (_in_units(self.form, self.others.at(rows)) for rows in self.chosen)


def choose(
    form: Form,
    train: Rows | None,
    held_out: Rows | None,
    n: int,
    draw: Callable[[np.ndarray | None, int], Rows],
    seed: int = 0,
) -> Sets:
    """Sets of at most n rows, as many as the held-out rows allow; train and held_out are in the network's range.

    draw(c, n) gives the generated rows, in the network's range, for the conditions of the reference. Without train or
    without held-out rows, half of what there is is the reference, the other half gives floors and features, and copies
    cannot be told. Raises UserError below 50 rows.
    """
    notes = []
    order = np.random.default_rng([seed, 5]).permutation
    if train is None or held_out is None:
        whole, train = train if held_out is None else held_out, None
        chosen, pool = np.array_split(order(len(whole.x)), 2)
        real = known = whole
        notes.append(TRAINED if held_out is None else SPLIT)
    else:
        real, known, chosen, pool = held_out, train, order(len(held_out.x)), order(len(train.x))
    fit, rest = np.array_split(pool, 2)
    fit = fit[:FITTED]
    n = min(n, len(chosen))
    if len(rest) < n:
        notes.append("few real rows: floors are of those that features were fitted to")
        fit, rest = pool[:FITTED], pool
    n = min(n, len(rest))
    if n < FEWEST:
        raise UserError(f"{len(chosen)} real rows to compare with and {len(pool)} others: at least {FEWEST} of each, "
                        "held out (--set data.held_out=0.2) or given (--against)")  # fmt: skip
    if n < FEW:
        notes.append(f"{n} images tell little: below {FEW:,}, only what is far off is found")
    floors = tuple(rest[i * n : (i + 1) * n] for i in range(min(FLOORS, len(rest) // n)))
    c = None if real.c is None else real.c[chosen[:n]]
    generated, reference, fit = (_in_units(form, rows) for rows in (draw(c, n), real.at(chosen[:n]), known.at(fit)))
    return Sets(form, generated, reference, fit, known, floors, train, tuple(notes))


def _in_units(form: Form, rows: Rows) -> Rows:
    return Rows(form.in_units(rows.x), rows.c)
