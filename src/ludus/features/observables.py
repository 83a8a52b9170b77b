"""Observables: named numbers of one image, as a scientist would print them, with units and what is known of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np

from ludus.errors import UserError, unknown
from ludus.features import lattice
from ludus.features.extractor import FLOOR, Extractor, Scale, blocks, checked, digest, scale_of_channels
from ludus.features.spectra import centred, frequency, power

PERIODS = (0, 2, 4, 8, 16, 32, np.inf)  # pixels: the edges of the bands of the power spectrum
DARK = 1e-12  # of the data's mean square: power below it is none
UNITS = "data's units"
PRODUCTS = 6  # coordinates of points up to which all their products are taken


@dataclass(frozen=True, eq=False)
class Observable:
    """f(x): images (n, H, W, C) or points (n, D), in the user's units -> (n,); or several by name, of one unit, in a
    dict {name: (n,)}.

    exact: c, where f(x) = c of every true x; off by more than `tolerance`, x violates it.
    expectation: E f(x) over true data, where it is known.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray | Mapping[str, np.ndarray]]
    unit: str = ""
    exact: float | None = None
    tolerance: float = 0.0
    expectation: float | None = None

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """{name: (n,) float64}. Raises UserError for what is not one finite number a row."""
        try:
            found = self.function(x)
        except UserError:
            raise
        except Exception as error:
            told = (str(error).strip().splitlines() or [""])[0]
            raise UserError(f"observable {self.name} raised {type(error).__name__}: {told}") from error
        found = found if isinstance(found, Mapping) else {self.name: found}
        return {str(name): self._column(str(name), values, x) for name, values in found.items()}

    def _column(self, name: str, values: Any, x: np.ndarray) -> np.ndarray:
        try:
            values = np.asarray(values, float)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"observable {name} gave a {type(values).__name__}, not numbers ({error})") from error
        if values.shape != (len(x),):
            raise UserError(f"observable {name} gave {values.shape} for rows {x.shape}: one number a row, ({len(x)},)")
        if not np.isfinite(values).all():
            raise UserError(f"observable {name} is not finite for {int((~np.isfinite(values)).sum())} of {len(x)} rows")
        return values


REGISTERED: dict[str, Observable] = {}


def observable(
    function: Callable | None = None,
    *,
    unit: str = "",
    exact: float | None = None,
    tolerance: float = 0.0,
    expectation: float | None = None,
) -> Any:
    """Makes a function an observable under its own name, and has every evaluation of this session look at it:

    @observable(unit="counts", exact=0.0)
    def deficit(x): return x.sum((1, 2, 3)) - 1000
    """
    if function is None:
        return partial(observable, unit=unit, exact=exact, tolerance=tolerance, expectation=expectation)
    name = function.__name__
    REGISTERED[name] = Observable(name, function, unit, exact, tolerance, expectation)
    return REGISTERED[name]


class Table(NamedTuple):
    """Observables of n rows, and what is known of each."""

    names: tuple[str, ...]
    values: np.ndarray  # (n, m) float64
    origin: tuple[Observable, ...]  # (m,) with unit, exact value and expectation

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


def table(observables: Sequence[Observable], x: np.ndarray) -> Table:
    """All observables of images (n, H, W, C) or points (n, D), block by block.

    Raises UserError for two of one name, for x that is not finite, and for what is not one finite number a row.
    """
    x, parts, names = checked(x), [], None
    for rows in blocks(x):
        found = [(name, values, each) for each in observables for name, values in each(np.array(x[rows])).items()]
        before, names = names, tuple(name for name, _, _ in found)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"two observables are called {twice[0]!r}: give one another name")
        if before not in (None, names):
            raise UserError(f"an observable gives {before} of some rows and {names} of others: always the same names")
        parts.append(np.stack([values for _, values, _ in found], 1))
    return Table(names, np.concatenate(parts), tuple(each for _, _, each in found))


class Constraint(NamedTuple):
    """How well n rows obey f(x) = c."""

    exact: float  # c
    tolerance: float
    mean: float  # of f(x) − c
    worst: float  # largest |f(x) − c|
    violations: float  # share of the rows that are off by more than the tolerance


def constraints(found: Table) -> dict[str, Constraint]:
    """Of every observable that has an exact value."""
    known = {}
    for name, values, each in zip(found.names, found.values.T, found.origin):
        if each.exact is not None:
            off = values - each.exact
            wrong = float((np.abs(off) > each.tolerance).mean())
            known[name] = Constraint(each.exact, each.tolerance, float(off.mean()), float(np.abs(off).max()), wrong)
    return known


def features(observables: Sequence[Observable], fit: np.ndarray) -> Extractor:
    """The observables as features, z-scored by the rows `fit`; an sd is at least 1 % of the median of its unit's."""
    whole = table(observables, fit)
    mean, sd = whole.values.mean(0), whole.values.std(0)
    units = np.array([each.unit for each in whole.origin])
    for unit in set(units):
        mine = units == unit
        vary = sd[mine][sd[mine] > 1e-9 * np.abs(mean[mine])]
        sd[mine] = np.maximum(sd[mine], FLOOR * np.median(vary)) if len(vary) else 1.0
    scale = Scale(mean, sd)
    identity = {
        "name": "observables", "sha256": digest(np.asarray(fit)), "fitted to": len(fit), "observables": whole.names,
        "preprocessing": "z-scored by the rows fitted to",
    }  # fmt: skip
    return Extractor("observables", identity, lambda x: scale(table(observables, x).values), np.shape(fit)[1:])


SYMMETRIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "up-down": lambda x: x[:, ::-1],
    "left-right": lambda x: x[:, :, ::-1],
    "transposed": lambda x: x.swapaxes(1, 2),
    "rotated": lambda x: np.rot90(x, axes=(1, 2)),
    "sign": lambda x: -x,
}


def differences(observables: Sequence[Observable], x: np.ndarray, symmetry: str) -> Table:
    """f(x) − f(Tx): of mean 0 where the law of x has the symmetry T, so that its mean over its standard error tells.

    Raises UserError for an unknown symmetry, and for one that images of this shape cannot have.
    """
    if symmetry not in SYMMETRIES:
        raise unknown("symmetry", symmetry, SYMMETRIES)
    if symmetry != "sign" and np.ndim(x) != 4:
        raise UserError(f"symmetry {symmetry!r} is of images (n, H, W, C), these are {np.shape(x)}")
    turned = SYMMETRIES[symmetry](x)
    if turned.shape != np.shape(x):
        raise UserError(f"symmetry {symmetry!r} is of square images, these are {x.shape[1]} × {x.shape[2]}")
    one, other = table(observables, x), table(observables, turned)
    return one._replace(values=one.values - other.values)


# Which are looked at


def chosen(x: np.ndarray, given: Iterable[Observable] = ()) -> list[Observable]:
    """The default ones for rows like x, those made by `@observable`, and those given, which replace made ones of their
    names."""
    return [*defaults(x), *(REGISTERED | {each.name: each for each in given}).values()]


def defaults(x: np.ndarray) -> list[Observable]:
    """About 20 numbers for each channel of images (n, H, W, C), the correlations of channels, those of a lattice where
    x holds few values; of points (n, D) coordinates, squared radius and products.

    x: rows of the data, training ones: what counts as bright, and as no power at all, is taken from them.
    """
    x = checked(x)
    if x.ndim == 2:
        return [Observable("coordinates", coordinates, UNITS), Observable("squares", squares, f"({UNITS})²")]
    whole, several, found = scale_of_channels(x), x.shape[3] > 1, []
    mean, sd, varies = whole.mean, whole.sd, np.ptp(x, axis=(0, 1, 2)) > 0
    sd = np.where(varies, sd, 0)
    middle = (x.max((0, 1, 2)).astype(float) + x.min((0, 1, 2))) / 2
    bright, dark = np.minimum(mean + 2 * sd, middle), DARK * (mean**2 + sd**2)
    for c in range(x.shape[3]):
        for name, of, unit in (
            ("levels", levels, UNITS),
            ("histogram", partial(histogram, float(bright[c])), ""),
            ("place", place, "pixels"),
            ("power", partial(bands, float(dark[c])), f"ln ({UNITS})²"),
            ("neighbours", neighbours, ""),
            ("roughness", roughness, UNITS),
        ):
            prefix = f"channel {c + 1}: " if several else ""
            found.append(Observable(prefix + name, partial(_of_channel, of, c, prefix), unit))
    if several:
        found.append(Observable("channels", channels))
    values = lattice.values_of(x)
    return [*found, *(on_lattice(values) if values and not several else [])]


def _of_channel(of: Callable, c: int, prefix: str, x: np.ndarray) -> dict[str, np.ndarray]:
    return {prefix + name: values for name, values in of(np.asarray(x[..., c], float)).items()}


# Of planes (n, H, W) float64; an image of one value has no structure: it gives 0, never NaN


def levels(p: np.ndarray) -> dict[str, np.ndarray]:
    flat = p.reshape(len(p), -1)
    return {
        "mean": flat.mean(1),
        "standard deviation": np.sqrt((centred(p) ** 2).mean((1, 2))),
        "minimum": flat.min(1),
        "maximum": flat.max(1),
        "99.9 % quantile": np.quantile(flat, 0.999, axis=1),
    }


def histogram(bright: float, p: np.ndarray) -> dict[str, np.ndarray]:
    off = centred(p)
    z = off / _or_one(np.sqrt((off**2).mean((1, 2), keepdims=True)))
    squared = z**2
    kurtosis = (squared**2).mean((1, 2)) - 3
    return {
        "skewness": (squared * z).mean((1, 2)),
        "excess kurtosis": np.where(squared.any((1, 2)), kurtosis, 0),
        f"share above {bright:.4g}": (p > bright).mean((1, 2)),
    }


def place(p: np.ndarray) -> dict[str, np.ndarray]:
    """Centroid and width (root of the second central moment) of x − min x along both axes, counted from 0."""
    weight, found = p - p.min((1, 2), keepdims=True), {}
    weight[~weight.any((1, 2))] = 1
    for axis, name in ((1, "row"), (2, "column")):
        if p.shape[axis] > 1:
            share = weight.mean(3 - axis)
            share /= share.sum(1, keepdims=True)
            at = np.arange(p.shape[axis])
            middle = share @ at
            found[f"centroid {name}"] = middle
            found[f"width along {name}s"] = np.sqrt((share * (at - middle[:, None]) ** 2).sum(1))
    return found


def bands(dark: float, p: np.ndarray) -> dict[str, np.ndarray]:
    """ln of the mean power S(f) (`spectra`) over bands of period 1/|f|, an octave each."""
    f, found = frequency(*p.shape[1:]).ravel(), {}
    period = np.divide(1, f, out=np.zeros_like(f), where=f > 0)
    s = power(p).reshape(len(p), -1)
    for low, high in pairwise(PERIODS):
        inside = (period > 0) & (period >= low) & (period < high)
        if inside.any():
            where = f"below {high}" if low == 0 else f"above {low}" if high == np.inf else f"{low} to {high}"
            found[f"power at periods {where} pixels"] = np.log(np.maximum(s @ (inside / inside.sum()), dark or 1.0))
    return found


def neighbours(p: np.ndarray) -> dict[str, np.ndarray]:
    """C(1)/C(0) along both axes, over the pairs that there are."""
    off, found = centred(p), {}
    variance = _or_one((off**2).mean((1, 2)))
    if p.shape[1] > 1:
        found["correlation of vertical neighbours"] = (off[:, 1:] * off[:, :-1]).mean((1, 2)) / variance
    if p.shape[2] > 1:
        found["correlation of horizontal neighbours"] = (off[:, :, 1:] * off[:, :, :-1]).mean((1, 2)) / variance
    return found


def roughness(p: np.ndarray) -> dict[str, np.ndarray]:
    """Root mean square step of the row means, from row to row, and of the column means."""
    steps = {"row": np.diff(p.mean(2)), "column": np.diff(p.mean(1))}
    return {f"roughness of {name} means": np.sqrt((d**2).mean(1)) for name, d in steps.items() if d.shape[1]}


def channels(x: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson's correlation of each pair of channels over the pixels of an image (n, H, W, C)."""
    off = [centred(x[..., c]) for c in range(x.shape[3])]
    unit = [d / _or_one(np.sqrt((d**2).mean((1, 2), keepdims=True))) for d in off]
    return {
        f"correlation of channels {i + 1} and {j + 1}": (unit[i] * unit[j]).mean((1, 2))
        for i, j in combinations(range(len(unit)), 2)
    }


def _or_one(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 1.0)


# Of points (n, D)


def coordinates(x: np.ndarray) -> dict[str, np.ndarray]:
    return {f"x{i + 1}": column for i, column in enumerate(np.asarray(x, float).T)}


def squares(x: np.ndarray) -> dict[str, np.ndarray]:
    x = np.asarray(x, float)
    found = {"squared radius": (x**2).sum(1)}
    if x.shape[1] <= PRODUCTS:
        found |= {f"x{i + 1} x{j + 1}": x[:, i] * x[:, j] for i, j in combinations(range(x.shape[1]), 2)}
    return found


# Of lattices (n, H, W, 1) of few values


def on_lattice(values: tuple[int, ...]) -> list[Observable]:
    """The observables of `lattice`; all pixels belong to the set of values."""

    def of(x: np.ndarray) -> dict[str, np.ndarray]:
        s = lattice.spins(x[..., 0], values)
        found = {
            "magnetisation": (m := lattice.magnetisation(s)),
            "absolute magnetisation": np.abs(m),
            "squared magnetisation": m**2,
            "staggered magnetisation": (m := lattice.staggered(s)),
            "absolute staggered magnetisation": np.abs(m),
        }
        return found | ({"hole density": lattice.holes(s)} if 0 in values and -1 in values else {})

    names = ", ".join(map(str, values))
    return [
        Observable("spins", of, "a site"),
        Observable("energy", lambda x: lattice.energy(lattice.spins(x[..., 0], values)), "J a site"),
        Observable(f"share outside {{{names}}}", lambda x: lattice.outside(x[..., 0], values), exact=0.0),
    ]
