"""May an inferred posterior be believed? Tests on arrays of true values and of draws, and one verdict.

Shapes throughout: truth (n, d), a row for each case;  draws (L, n, d) of the posterior that is asked, given what came
of each truth. Of an exact posterior truth and draws are of one law given the data: that is what every test asks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, norm, poisson
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import NearestNeighbors

from ludus.errors import UserError
from ludus.metrics.multiple import LEAST, holm, said, shown
from ludus.metrics.permutation import TwoSample, beside

LEVEL = 0.05  # of the verdict, over all its tests together
FEWEST, FEW = 20, 100  # cases: refused below, and warned of below
FORESTS = 19  # permutations of rows between two sets, for random forests, which are slow
SCORES, NEAREST = 32, 5  # principal components at most; neighbours


# Ranks, and whether they are uniform


def ranks(truth: np.ndarray, draws: np.ndarray, seed: int = 0) -> np.ndarray:
    """How many of L draws lie below the truth, for each case and dimension: (n, d), from 0 to L.

    Of an exact posterior a rank is uniform on 0 … L (Talts et al. 2018, arXiv:1804.06788). Among draws that equal the
    truth, as where both are whole numbers, its place is drawn.
    """
    below, equal = (draws < truth).sum(0), (draws == truth).sum(0)
    return below + np.random.default_rng(seed).integers(equal + 1)


def uniform_p(rank: np.ndarray, L: int) -> float:
    """The probability that n uniform ranks on 0 … L stray as far as these (n,) do; exact, and never 0.

    C_k = #{rank < k} is binomial (n, k / (L + 1)), k = 1 … L. With g_k(C_k) its two-sided p-value, γ = min_k g_k(C_k)
    is where the ranks stray the most, and P(γ' ≤ γ) is what is returned. Säilynoja et al. 2022, arXiv:2103.10522.
    """
    n = len(rank)
    below = np.bincount(rank, minlength=L + 1).cumsum()[:-1]
    gamma = float(_two_sided(n, L)[np.arange(L), below].min())
    return max(min(1 - _inside(n, L, gamma), L * gamma), gamma, LEAST)  # of 1 − P rounding may leave nothing


@lru_cache(maxsize=4)
def _two_sided(n: int, L: int) -> np.ndarray:
    """g_k(c) = 2 min(P(C_k ≤ c), P(C_k ≥ c)), at most 1: (L, n + 1)."""
    u, c = np.arange(1, L + 1)[:, None] / (L + 1), np.arange(n + 1)
    return np.minimum(2 * np.minimum(binom.cdf(c, n, u), binom.sf(c - 1, n, u)), 1)


def _limits(n: int, L: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest C_k with g_k > γ, (L,) each."""
    inside = _two_sided(n, L) > gamma * (1 + 1e-9)  # what is equal but for rounding is outside
    return inside.argmax(1), n - inside[:, ::-1].argmax(1)


def _inside(n: int, L: int, gamma: float) -> float:
    """P(g_k(C_k) > γ for all k). The C_k are the path of a Poisson process, given that it ends at n."""
    step = poisson.pmf(np.arange(n + 1), n / (L + 1))
    path, start = np.ones(1), 0
    for low, high in zip(*(np.append(ends, n) for ends in _limits(n, L, gamma))):
        path = np.convolve(path, step[: high - start + 1])[low - start : high - start + 1]
        start = low
    return float(path[0] / poisson.pmf(n, n))


class Band(NamedTuple):
    """Where the ECDF of n uniform ranks stays in `level` of all cases, at every u at once."""

    u: np.ndarray  # (L + 2,) k / (L + 1), from 0 to 1
    low: np.ndarray  # (L + 2,) of the difference ECDF − u
    high: np.ndarray


@lru_cache(maxsize=4)
def band(n: int, L: int, level: float = 1 - LEVEL) -> Band:
    """The simultaneous band of `uniform_p`: ranks leave it when their p-value is at most 1 − level."""
    small, large = 0.0, 1.0
    for _ in range(40):
        middle = (small + large) / 2
        small, large = (middle, large) if _inside(n, L, middle) >= level else (small, middle)
    u = np.arange(L + 2) / (L + 1)
    low, high = _limits(n, L, small)
    return Band(u, np.array([0, *low, n]) / n - u, np.array([0, *high, n]) / n - u)


def ecdf(rank: np.ndarray, L: int) -> np.ndarray:
    """The share of ranks (n,) below k, k = 0 … L + 1: (L + 2,), at the u of a `band`."""
    return np.array([0, *np.bincount(rank, minlength=L + 1).cumsum()]) / len(rank)


# Coverage


class Coverage(NamedTuple):
    """How often a region that should hold a share u of the posterior holds the truth."""

    share: np.ndarray  # (L + 2,) at the u of a `band`
    area: float  # ∫ (share − u) du over u > ½: above 0 the posterior is too wide, below 0 too narrow
    p: float


def coverage(truth: np.ndarray, draws: np.ndarray, centres: np.ndarray, seed: int = 0) -> Coverage:
    """The coverage of balls about centres (n, d), which know nothing of the truth but through the data.

    How many draws are nearer to the centre than the truth is a rank, uniform for an exact posterior. With random
    centres this is TARP (Lemos et al. 2023, arXiv:2302.03026), and `area` its area to curve. Draws only: no density is
    asked for. Scale the dimensions alike first.
    """
    far = ((draws - centres) ** 2).sum(2)
    rank = ranks(((truth - centres) ** 2).sum(1), far, seed)
    share = ecdf(rank, len(draws))
    return Coverage(share, area(share), uniform_p(rank, len(draws)))


def guesses(truth: np.ndarray, seen: np.ndarray, first: np.ndarray) -> np.ndarray:
    """A centre for each case from its data `seen` (n, k): what ridge regression on the cases before it says, (n, d).

    A tenth at a time, the first tenth at `first` (n, d). No centre depends on the truth of its own case or of a later
    one, so that coverages about them are independent and uniform for an exact posterior. Centres that know the data are
    what finds a posterior that knows less, such as the prior, which is right on average (Lemos et al. 2023).
    """
    sd = seen.std(0)
    seen = (seen - seen.mean(0)) / np.where(sd > 0, sd, 1.0)
    centres, cuts = first.copy(), np.linspace(0, len(truth), 11).astype(int)
    for start, end in pairwise(cuts[1:]):
        centres[start:end] = Ridge(alpha=1.0).fit(seen[:start], truth[:start]).predict(seen[start:end])
    return centres


def area(share: np.ndarray) -> float:
    """∫ (share − u) du over u > ½ of a curve on even steps from 0 to 1."""
    u = np.linspace(0, 1, len(share))
    fine = np.linspace(0.5, 1, 1001)
    return float(np.trapezoid(np.interp(fine, u, share) - fine, fine))


# All of it, and the verdict


class Checks(NamedTuple):
    """What n cases of d dimensions say of a posterior."""

    draws: int  # L
    off: np.ndarray  # (n, d) z-scores, (mean − truth) / sd of the draws
    learnt: np.ndarray  # (n, d) 1 − Var_posterior / Var_prior: 0 nothing was learnt of z, 1 all
    ranks: np.ndarray  # (n, d)
    p: np.ndarray  # (d,) of uniform ranks
    bias: np.ndarray  # (d,) mean z-score: 0 of an exact posterior
    spread: np.ndarray  # (d,) its root mean square: 1; above, the posterior is too narrow by this factor
    contraction: np.ndarray  # (d,) the median of `learnt`
    random: Coverage  # about random centres: TARP
    informed: Coverage  # about `guesses` from the data
    central: Coverage  # about the posterior's own mean


def checks(
    truth: np.ndarray,
    draws: np.ndarray,
    means: np.ndarray,
    seen: np.ndarray,
    seed: int = 0,
    prior: np.ndarray | None = None,
) -> Checks:
    """All tests of a posterior. means (n, d): its means, from further draws or in closed form; not from these `draws`.
    seen (n, k): the data of each case, or features of them.    prior (m, d): more draws of it, where there are any, so
    that its variance is known better than from the truth.

    Raises UserError for fewer than 20 cases or draws, for arrays of other shapes, and for numbers that are not finite.
    """
    truth, draws, means = (np.asarray(a, float) for a in (truth, draws, means))
    if truth.ndim != 2 or draws.shape[1:] != truth.shape or means.shape != truth.shape:
        raise UserError(f"truth is {truth.shape}, draws {draws.shape}, means {means.shape}: (n, d), (L, n, d), (n, d)")
    if min(len(truth), len(draws)) < FEWEST:
        raise UserError(f"{len(truth)} cases with {len(draws)} draws each: at least {FEWEST} of both")
    if not (np.isfinite(truth).all() and np.isfinite(draws).all()):
        raise UserError("the truth or a draw is not finite: there is nothing to compare")
    n, L = len(truth), len(draws)
    mean, sd, width = draws.mean(0), draws.std(0, ddof=1), truth.std(0, ddof=1)
    unit = np.where(width > 0, width, 1.0)
    before = unit if prior is None else prior.std(0, ddof=1)
    off = (mean - truth) / np.where(sd > 0, sd, unit * 1e-12)  # a posterior that is a point is as narrow as can be
    learnt, found = 1 - (sd / before) ** 2, ranks(truth, draws, seed)
    low, high = truth.min(0) / unit, truth.max(0) / unit
    centres = np.random.default_rng([seed, 1]).uniform(low, high, (n, truth.shape[1]))
    scaled = (truth / unit, draws / unit)
    return Checks(
        L, off, learnt, found, np.array([uniform_p(column, L) for column in found.T]),
        off.mean(0), np.sqrt((off**2).mean(0)), np.median(learnt, 0),
        coverage(*scaled, centres, seed),
        coverage(*scaled, guesses(scaled[0], np.asarray(seen, float), centres), seed),
        coverage(*scaled, means / unit, seed),
    )  # fmt: skip


def recovery(truth: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The correlation of the posterior mean with the truth, dimension by dimension: (d,); 0 where one does not vary."""
    a, b = truth - truth.mean(0), mean - mean.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(norm > 0, norm, 1.0)


class Verdict(NamedTuple):
    """One word, and what it rests on."""

    word: str  # "calibrated", "over-confident", "under-confident", "biased", "not calibrated" or "not applicable"
    why: str
    tests: dict[str, tuple[float, float]]  # name: (p, p adjusted for all tests together)


REGIONS = {"regions about random points (TARP)": "random", "regions about a guess from the data": "informed",
           "regions about the posterior's mean": "central"}  # fmt: skip
POINT = Verdict("not applicable", "the encoder gives one z for an x, and no law of z that could be calibrated", {})


def verdict(found: Checks, names: list[str]) -> Verdict:
    """The one rule: Holm's correction at 5 % over the ranks of d dimensions and the three coverages.

    Nothing rejected is "calibrated", as far as n cases can tell. Otherwise the ranks of each rejected dimension have a
    word: whichever of their mean (biased) and their variance (over-, under-confident) is further from a uniform's, by
    at least two standard errors. If they agree, that is the verdict, else it is "not calibrated". Where only coverages
    are rejected: that about guesses from the data, with more truths than it should have, and not that about the
    posterior's mean, is "under-confident"; else all ranks together may say which way.
    """
    n, word = len(found.ranks), {}
    keys = [f"ranks of {name}" for name in names] + list(REGIONS)
    covers = [getattr(found, key) for key in REGIONS.values()]
    raw = np.array([*found.p, *(cover.p for cover in covers)])
    tests = {key: (float(p), float(q)) for key, p, q in zip(keys, raw, holm(raw))}
    worst = sorted(tests, key=lambda key: tests[key][0])
    rejected = [key for key in worst if tests[key][1] <= LEVEL]
    if not rejected:
        least = f"the smallest p of {len(keys)} tests is {shown(tests[worst[0]][0])}, {worst[0]}"
        why = f"as far as {n:,} cases can tell: {least}; none is rejected at 5 % together"
        return Verdict("calibrated", why, tests)
    for j, key in enumerate(keys[: len(names)]):
        if key in rejected:
            word[j] = _word(found.ranks[:, j], found.draws)
    evidence = "; ".join(f"{key}: {said(tests[key][0])}" for key in rejected[:3])
    evidence += f"; {len(rejected) - 3} more" if len(rejected) > 3 else ""
    if not word and keys[-2] in rejected and keys[-1] not in rejected and found.informed.area > 0:
        why = f"{evidence}; a regression on the data knows more of the truth than this posterior says"
        return Verdict("under-confident", why, tests)
    if not word:
        wide = min(covers, key=lambda cover: cover.p).area > 0
        together = _word(found.ranks.ravel(), found.draws)
        if together == ("under-confident" if wide else "over-confident"):
            j = int(np.argmax(np.abs(np.log(found.spread))))
            return Verdict(together, f"{evidence}; {_far(found, j, names[j])}", tests)
        how = f"regions hold the truth too {'often' if wide else 'rarely'}, and no dimension by itself shows why"
        return Verdict("not calibrated", f"{evidence}; {how}: look at how they depend on each other", tests)
    j, words = min(word, key=lambda j: found.p[j]), list(set(word.values()))
    why = f"{evidence}; {_far(found, j, names[j])}"
    return Verdict(words[0] if len(words) == 1 else "not calibrated", why, tests)


def _word(rank: np.ndarray, L: int) -> str:
    """Which way the ranks (n,) of one dimension are off, from the mean and variance of their normal scores."""
    scores = norm.ppf((np.arange(L + 1) + 0.5) / (L + 1))
    mine, squares = scores[rank], scores**2
    mean = mine.mean() / scores.std() * math.sqrt(len(rank))
    variance = (mine.var() - squares.mean()) / squares.std() * math.sqrt(len(rank))
    if max(abs(mean), abs(variance)) < 2:
        return "not calibrated"
    if abs(mean) >= abs(variance):
        return "biased"
    return "over-confident" if variance > 0 else "under-confident"


def _far(found: Checks, j: int, name: str) -> str:
    """How far off dimension j is."""
    bias, spread = found.bias[j], found.spread[j]
    side = "above" if bias > 0 else "below"
    return (
        f"the means of {name} lie {abs(bias):.2f} sd {side} the truth on average (0 is right), "
        f"and {spread:.2f} sd off in root mean square (1 is right)"
    )


# Two sets of rows: are they of one law?


def c2st(x: np.ndarray, y: np.ndarray, seed: int = 1) -> float:
    """How often a random forest tells rows of x from rows of y, on rows that it has not seen: ½ where it cannot.

    Five folds, each column scaled by mean and sd of x (Lopez-Paz & Oquab 2017, arXiv:1610.06545), as sbi's c2st.
    """
    mean, sd = x.mean(0), x.std(0, ddof=1)
    rows = (np.concatenate([x, y]) - mean) / np.where(sd > 1e-14, sd, 1.0)
    return _told_apart(rows, np.repeat([0.0, 1.0], [len(x), len(y)]), seed)


def _told_apart(rows: np.ndarray, side: np.ndarray, seed: int) -> float:
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    return float(cross_val_score(RandomForestClassifier(random_state=seed), rows, side, cv=folds).mean())


def c2st_test(
    x: np.ndarray,
    y: np.ndarray,
    seed: int = 1,
    permutations: int = FORESTS,
    count: Callable[[int], None] = lambda done: None,
) -> TwoSample:
    """`c2st` beside its permutation null: 19 permutations, so that p is 0.05 at best. count hears how many are done."""
    value, rows, draw = c2st(x, y, seed), np.concatenate([x, y]), np.random.default_rng(seed)
    null = []
    for i in range(permutations):
        count(i)
        mixed = draw.permutation(rows)
        null.append(c2st(mixed[: len(x)], mixed[len(x) :], seed))
    return beside(np.array([value, *null]))


def conformal(observed: np.ndarray, reference: np.ndarray, model: np.ndarray, k: int = NEAREST) -> np.ndarray:
    """For each observed row, p = (1 + #{rows of `model` at least as strange}) / (1 + n): (m,).

    Strange is far from `reference`: the mean distance to the k nearest rows of it. Where an observed row is of the
    model's law, reference and model being independent draws of it, P(p ≤ α) ≤ α (Vovk et al. 2005).
    """
    near = NearestNeighbors(n_neighbors=min(k, len(reference))).fit(reference)
    theirs, mine = (near.kneighbors(rows)[0].mean(1) for rows in (model, observed))
    theirs.sort()
    return (1 + len(theirs) - np.searchsorted(theirs, mine)) / (1 + len(theirs))


def features(fit: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Rows of any shape -> at most 32 principal components and the distance from their plane, over their sd in `fit`.

    The components are those of `fit`, whose own rows come first in what is returned. They are closer to their own plane
    than fresh rows of the same law: let no test compare them with others.
    """
    flat = [np.asarray(rows, float).reshape(len(rows), -1) for rows in (fit, *others)]
    pca = PCA(min(SCORES, flat[0].shape[1], len(fit) - 1), random_state=0).fit(flat[0])
    scores = [pca.transform(rows) for rows in flat]
    left = [np.linalg.norm(rows - pca.inverse_transform(each), axis=1) for rows, each in zip(flat, scores)]
    whole = [np.column_stack([each, off]) for each, off in zip(scores, left)]
    sd = whole[0].std(0)
    kept = sd > 1e-6 * sd.max()  # a plane that holds all leaves no distance
    return [each[:, kept] / sd[kept] for each in whole]


def reconstruction(x: np.ndarray, again: np.ndarray) -> tuple[float, float]:
    """(EGr, EGr_b): mean |x − G(E(x))|, and mean |x' − G(E(x))| of another row x', the next (Donahue et al. 2017)."""
    x, again = (np.asarray(a, float).reshape(len(a), -1) for a in (x, again))
    return tuple(float(np.linalg.norm(again - to, axis=1).mean()) for to in (x, np.roll(x, 1, 0)))


# What a run is told


@dataclass(frozen=True, eq=False)
class Observed:
    """How observed rows stand to the model's own."""

    n: int
    compared: int  # that the MMD has seen
    mmd: TwoSample | None  # None where there is one row
    p: np.ndarray  # (n,) conformal
    reconstruction: tuple[float, float] | None  # EGr, EGr_b, in the user's units


@dataclass(frozen=True, eq=False)
class Calibration:
    """All that was found: what `Run.calibrate` gives."""

    verdict: Verdict
    names: list[str]  # of the d dimensions
    cases: int
    pairs: bool  # whether the truth came with data, rather than from the model's own generator
    truth: np.ndarray  # (n, d)
    means: np.ndarray  # (n, d) of the posterior
    checks: Checks | None = None  # None where the encoder gives points
    aggregate: TwoSample | None = None  # draws of q against the prior
    reconstruction: tuple[float, float] | None = None  # EGr, EGr_b of the model's own rows, in the user's units
    k_hat: np.ndarray | None = None  # (rows,) of p(x, z) / q(z|x)
    observed: Observed | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no test was rejected. Not so where none could be made."""
        return self.verdict.word == "calibrated"
