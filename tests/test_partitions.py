"""Counts in cells."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom, chi2_contingency, norm
from sklearn.decomposition import PCA

from ludus.data import locate, mnist
from ludus.errors import UserError
from ludus.metrics.partitions import _chi2, cauchy, jensen_shannon, k_means, ndb, pqm


def normal(n, d, *seed):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.fixture(scope="module", params=["clusters", "digits"])
def classes(request):
    """Rows of ten classes and which class each is of, for three sets of 3,000."""
    if request.param == "clusters":
        draws = np.random.default_rng(0)
        means, label = 3 * draws.normal(size=(10, 16)), draws.integers(10, size=10_000)
        return means[label] + draws.normal(size=(10_000, 16)), label
    try:
        locate.check("mnist")
    except UserError as error:
        pytest.skip(str(error))
    x = mnist.read("test").reshape(-1, 784) / 255
    order = np.random.default_rng(0).permutation(len(x))
    return PCA(32, random_state=0).fit_transform(x)[order], mnist.read("test:label")[order]


def test_a_class_that_was_dropped_is_found(classes):
    """1 of 10, 3,000 rows against 3,000."""
    x, label = classes
    train, real, rest = x[:3000], x[3000:6000], slice(6000, None)
    honest, dropped = x[rest][:3000], x[rest][label[rest] != 3][:3000]
    assert len(dropped) == 3000
    found, null = pqm(real, dropped), pqm(real, honest)
    assert found.p < 1e-6 and found.median < 1e-3 and found.excess > null.excess + 0.5 and null.p > 0.01
    found, null = ndb(train, real, dropped), ndb(train, real, honest)
    assert found.p < 1e-6 and null.p > 0.01
    assert found.surviving > 2 and null.surviving < 2 and found.js > 2 * found.js_null > null.js
    assert found.share > null.share and null.cells == 60
    empty = found.centres[found.z.argmin()]  # the cell that lacks the most is one of the class that was dropped
    of = label[6000:][((x[6000:] - empty) ** 2).sum(1).argsort()[:20]]
    assert (of == 3).mean() > 0.5


def interval(n):
    low, high = binom.interval(0.99, n, 0.05)
    return range(int(low), int(high) + 1)


def skewed(n, d, *seed):
    return np.random.default_rng(seed).standard_t(4, size=(n, d)) ** 2


def lattice(n, d, *seed):
    return np.random.default_rng(seed).integers(3, size=(n, d)).astype(float)


@pytest.mark.parametrize("law, d", [(normal, 2), (skewed, 8), (lattice, 5)])
def test_false_alarms(law, d):
    """Of 400 nulls as many have p ≤ 0.05 as a binomial has in 99 % of all cases."""
    sets = [[law(300, d, seed, which) for which in range(3)] for seed in range(400)]
    assert sum(pqm(*each[:2], seed).p <= 0.05 for seed, each in enumerate(sets)) in interval(400)
    found = [ndb(*each, seed) for seed, each in enumerate(sets)]
    assert sum(each.p <= 0.05 for each in found) in interval(400)
    assert sum(each.surviving > 0 for each in found) <= interval(400)[-1]


def test_bins_that_differ_by_chance():
    """5 % of them, as far as whole counts can; and the null of js, which is of first order."""
    found = [ndb(*(normal(1000, 16, seed, which) for which in range(3)), seed) for seed in range(100)]
    share, js = np.array([(each.share, each.js / each.js_null) for each in found]).T
    assert share.mean() == pytest.approx(0.05, abs=3 * share.std() / 10 + 0.002)
    assert js.mean() == pytest.approx(1, abs=3 * js.std() / 10 + 0.02)


def test_the_excess_is_1_without_a_difference_and_grows_with_n():
    null = [pqm(normal(500, 4, seed, 0), normal(500, 4, seed, 1)).excess for seed in range(40)]
    assert np.mean(null) == pytest.approx(1, abs=3 * np.std(null) / np.sqrt(40))
    shifted = [pqm(normal(n, 4, 0), normal(n, 4, 1) + 0.3).excess - 1 for n in (500, 2000, 8000)]
    assert shifted[0] < shifted[1] / 1.5 < shifted[2] / 3


def test_small_sets_have_few_cells():
    found = pqm(normal(50, 3, 0), normal(70, 3, 1))
    assert found.cells == 5 and 0.01 < found.p <= 1
    assert pqm(normal(50, 3, 0), normal(50, 3, 1) + 5).p < 1e-4
    few = ndb(normal(60, 3, 0), normal(50, 3, 1), normal(70, 3, 2))
    assert few.cells == 2 and few.p > 0.01
    assert pqm(normal(5000, 3, 0), normal(5000, 3, 1)).cells == 100


def test_far_from_the_origin():
    a, b = normal(500, 4, 0), normal(500, 4, 1)
    assert pqm(a + 1e7, b + 1e7).p == pytest.approx(pqm(a, b).p, rel=1e-6)


def test_the_chi_square_is_scipys():
    draws = np.random.default_rng(0)
    a, b = draws.integers(10, 50, size=(2, 12))
    found = chi2_contingency([a, b], correction=False)
    assert _chi2(a, b) == pytest.approx((found.pvalue, found.statistic / found.dof))
    pooled = _chi2(np.array([20, 30, 1, 2, 0]), np.array([25, 18, 3, 1, 0]))  # small cells are one, 3 and 4
    found = chi2_contingency([[20, 30, 3], [25, 18, 4]], correction=False)
    assert pooled == pytest.approx((found.pvalue, found.statistic / found.dof))
    assert _chi2(np.array([9, 0]), np.array([7, 0])) == (1, 1)


def test_p_values_together():
    assert cauchy(np.full(20, 0.03)) == pytest.approx(0.03)
    assert cauchy(np.array([1e-12, 0.5])) == pytest.approx(2e-12, rel=1e-6)
    assert cauchy(np.zeros(20)) > 0 and cauchy(np.ones(20)) == pytest.approx(1)
    independent = [cauchy(p) for p in np.random.default_rng(0).random((400, 20))]
    assert sum(p <= 0.05 for p in independent) in interval(400)


def test_bins_by_hand():
    train, real, generated = (normal(n, 2, n) for n in (1000, 800, 600))
    found = ndb(train, real, generated + 0.1)
    cells = k_means(train, 12, 0)
    p, q = (np.bincount(cells.predict(x), minlength=12) for x in (real, generated + 0.1))
    assert found.cells == 12 and (found.centres == cells.cluster_centers_).all()
    mean = (p + q) / 1400
    z = (q / 600 - p / 800) / np.sqrt(mean * (1 - mean) * (1 / 600 + 1 / 800))
    assert found.z == pytest.approx(z)
    assert found.share == (2 * norm.sf(np.abs(z)) < 0.05).mean()
    assert found.js == pytest.approx(jensenshannon(p, q) ** 2)
    assert found.p == pytest.approx(chi2_contingency([p, q], correction=False).pvalue)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(np.log(2))


def test_constant_rows_and_refusals():
    still = np.ones((200, 3))
    assert pqm(still, still).p == 1
    found = ndb(still, still, still)
    assert (found.cells, found.share, found.p, found.js) == (1, 0, 1, 0)
    x = normal(50, 3, 0)
    for bad in (x[:19], x[:, :2], np.where(x > 2, np.nan, x)):
        with pytest.raises(UserError):
            pqm(x, bad)
        with pytest.raises(UserError):
            ndb(x, x, bad)
