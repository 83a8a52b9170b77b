"""Precision, recall, density, coverage."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ludus.errors import UserError
from ludus.metrics.neighbours import coverage_null, nearest, prdc
from test_bars import measured


def normal(n, d, seed, sd=1.0):
    return sd * np.random.default_rng(seed).normal(size=(n, d))


def scores(found):
    return np.array([each.value for each in found[:4]])


def lattice(n, seed):
    """Four sites, each -1, 0 or 1: 81 states."""
    return np.random.default_rng(seed).integers(-1, 2, size=(n, 4)).astype(float)


@pytest.mark.parametrize("n, m, d, sd", [(2000, 2000, 64, 0.97), (500, 700, 3, 0.5)])
def test_they_are_those_of_the_reference_implementation(n, m, d, sd):
    reference = pytest.importorskip("prdc").compute_prdc
    a, b = normal(n, d, 0), normal(m, d, 1, sd)
    for k in (3, 5):
        theirs = reference(a, b, k)
        found = scores(prdc(a, b, k, k))
        assert found[[0, 1, 3]].tolist() == [theirs[name] for name in ("precision", "recall", "coverage")]
        assert found[2] == pytest.approx(theirs["density"], rel=1e-12)
    mixed = prdc(a, b, 3, 5)
    assert scores(mixed)[:2].tolist() == scores(prdc(a, b, 3, 3))[:2].tolist()
    assert scores(mixed)[2:].tolist() == scores(prdc(a, b, 5, 5))[2:].tolist()


@pytest.mark.parametrize("d", [2, 16, 64])
def test_the_nulls_of_coverage_and_density(d):
    draws = [prdc(normal(300, d, [d, seed, 0]), normal(400, d, [d, seed, 1])) for seed in range(60)]
    found = np.array([scores(each)[2:] for each in draws])
    off = (found.mean(0) - [1, draws[0].coverage_null]) / (found.std(0, ddof=1) / np.sqrt(60))
    assert np.abs(off).max() < 3
    assert coverage_null(5, 1000, 1000) == pytest.approx(0.9690, abs=5e-5)
    assert coverage_null(1, 2, 1) == 0.5  # by hand: of one other real row and one generated, the nearer


@pytest.mark.parametrize("d, sd", [(2, 1.0), (16, 0.9), (64, 1.0)])
def test_errors_are_those_of_another_draw(d, sd):
    """0.7 to 1.5 times, of which 100 draws know the sd to 7 %."""
    draws = [prdc(normal(200, d, [d, seed, 0]), normal(200, d, [d, seed, 1], sd)) for seed in range(100)]
    claimed = np.array([[each.error for each in found[:4]] for found in draws]).mean(0)
    ratio = claimed / np.array([scores(each) for each in draws]).std(0, ddof=1)
    assert ratio.min() > 0.7 / 1.2 and ratio.max() < 1.5 * 1.2


def far_away(n, seed):
    """Rows far from 0, one of them further still, and pairs that are nearly equal."""
    x = normal(n, 3, seed) + 1e4
    x[0], x[1::2] = 1e6, x[::2] + 1e-5 * normal(n // 2, 3, seed)
    return x


@pytest.mark.parametrize("draw", [lattice, far_away, lambda n, seed: lattice(n, seed)[:, :1]])
def test_ties_and_short_distances_are_those_of_differences(draw):
    """Distances come from matrix products, which would decide a tie by rounding."""
    a, b = draw(300, 0), draw(400, 1)
    b[:30] = a[:30]
    tie = 1e-9 * np.sqrt(a.var(0).sum())
    apart, own_a, own_b = cdist(a, b), *(np.sort(cdist(x, x), 1) for x in (a, b))
    inside, wide, back = apart <= own_a[:, [3]] + tie, apart <= own_a[:, [5]] + tie, apart <= own_b[:, 3] + tie
    found = prdc(a, b, 3, 5)
    expected = [inside.any(0).mean(), back.any(1).mean(), wide.sum() / 5 / len(b), wide.any(1).mean()]
    assert scores(found) == pytest.approx(expected, rel=1e-12)
    assert found.duplicates.copied == (apart <= tie).any(0).mean()


def test_a_set_that_shrank_is_seen_by_recall_only():
    found = prdc(normal(1000, 64, 0), normal(1000, 64, 1, 0.9))
    null = prdc(normal(1000, 64, 0), normal(1000, 64, 1))
    assert found.recall.value < null.recall.value - 5 * null.recall.error
    assert found.precision.value > null.precision.value and found.coverage.value > null.coverage.value
    assert found.density.value > 3


def test_discrete_values_are_on_the_edge_of_balls():
    """Where prdc's < leaves nearly nothing, two samples of one law score 1, and a warning is due."""
    a, b = lattice(1000, 0), lattice(1000, 1)
    found = prdc(a, b)
    assert (found.precision.value, found.recall.value, found.coverage.value) == (1, 1, 1)
    assert found.duplicates.many and found.duplicates.real == 1 and found.duplicates.copied == 1
    same = prdc(a, a)
    assert (same.precision.value, same.recall.value) == (1, 1) and same.duplicates.copied == 1


def test_equal_rows_are_equal_but_for_rounding():
    """What features of equal rows differ by in their last digits makes no difference."""
    a, b = lattice(400, 0), lattice(400, 1)
    turn = np.linalg.qr(normal(4, 4, 2))[0]
    rounded = [x @ turn * (1 + 1e-15 * normal(len(x), 4, seed)) for seed, x in enumerate((a, b))]
    assert scores(prdc(*rounded)).tolist() == scores(prdc(a, b)).tolist()
    assert prdc(*rounded).duplicates == prdc(a, b).duplicates


def test_duplicates_are_counted():
    a, b = normal(200, 5, 0), normal(200, 5, 1)
    assert prdc(a, b).duplicates == (0, 0, 0) and not prdc(a, b).duplicates.many
    b[:4] = b[4]
    b[10:13] = a[:3]
    assert prdc(a, b).duplicates == (0, 5 / 200, 3 / 200) and prdc(a, b).duplicates.many


def test_nearest_keeps_the_digits_of_short_distances():
    x, among = normal(50, 64, 0) + 1e4, normal(1500, 64, 1) + 1e4
    x[0] = among[7]
    x[1] = among[8] + 1e-9
    far, index = nearest(x, among, 2)
    truth = cdist(x, among)
    assert far[0, 0] == 0 and index[0, 0] == 7 and index[1, 0] == 8
    assert far == pytest.approx(np.sort(truth, 1)[:, :2], rel=1e-12)
    assert (np.take_along_axis(truth, index, 1) == pytest.approx(far, rel=1e-12)) and (np.diff(far) >= 0).all()


def test_a_row_is_no_neighbour_of_itself_but_its_equal_is():
    x = np.array([[0.0], [1.0], [1.0], [1.0], [5.0]])
    assert nearest(x, k=2)[0].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0], [4, 4]]


def test_what_is_refused():
    a = normal(100, 3, 0)
    for bad in (a[:23], a[:, :2], np.where(a > 2, np.nan, a), a[None]):
        with pytest.raises(UserError):
            prdc(a, bad)
    with pytest.raises(UserError, match="k = 0"):
        prdc(a, a, k=0)
    still = np.ones((50, 3))
    assert scores(prdc(still, still)).tolist() == [1, 1, 10, 1]  # constant rows are all alike: 50 balls hold each


@pytest.mark.slow
def test_time_and_memory_of_ten_thousand():
    """At most 40 s and 600 MB at n = 10,000, d = 64: a distance matrix alone would be 800 MB."""
    seconds, peak = measured("-c", "import numpy as np; from ludus.metrics.neighbours import prdc;"
                             "prdc(*np.random.default_rng(0).normal(size=(2, 10_000, 64)))")  # fmt: skip
    print(seconds, peak)
    assert seconds < 40 and peak < 600e6
