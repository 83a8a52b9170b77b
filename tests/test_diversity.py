"""Effective numbers, and the curve of precision and recall."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from ludus.errors import UserError
from ludus.metrics.diversity import diversity, pair_distance, participation, prd, prd_curve, prd_scores, rbf, vendi


def normal(n, d, seed, sd=1.0):
    return sd * np.random.default_rng(seed).normal(size=(n, d))


# Vendi, directions, distances


def test_vendi_counts_what_differs():
    assert vendi(np.ones((50, 50))).value == pytest.approx(1)
    assert vendi(np.eye(50)).value == pytest.approx(50)
    groups = np.repeat(np.arange(5), 10)
    assert vendi((groups[:, None] == groups).astype(float)).value == pytest.approx(5)
    groups, share = np.repeat([0, 1, 2], [50, 30, 20]), np.array([0.5, 0.3, 0.2])
    found = vendi((groups[:, None] == groups).astype(float))
    assert found.value == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_vendi_of_rows():
    assert vendi(rbf(np.ones((30, 4)), 1.0)).value == pytest.approx(1)
    assert vendi(rbf(100 * np.eye(30), 1.0)).value == pytest.approx(30)  # rows at right angles, and far apart
    x = normal(40, 3, 0)
    direct = np.exp(-((x[:, None] - x) ** 2).sum(-1) / (2 * 1.7**2))
    assert rbf(x, 1.7) == pytest.approx(direct)


def test_participation_is_that_of_the_eigenvalues():
    x = normal(500, 6, 0) @ normal(6, 6, 1)
    values = np.linalg.eigvalsh(np.cov(x.T))
    assert participation(x).value == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert participation(np.outer(normal(50, 1, 2), [1, 2, 3])).value == pytest.approx(1)
    assert participation(np.concatenate([np.eye(4), -np.eye(4)])).value == pytest.approx(4)
    assert participation(np.ones((9, 2))) == (0, 0)


def test_the_pair_distance_is_scipys():
    x = normal(300, 4, 0)
    assert pair_distance(x).value == pytest.approx(pdist(x).mean())


@pytest.mark.parametrize("score", [lambda x: vendi(rbf(x, 3.0)), participation, pair_distance])
def test_errors_are_those_of_another_draw(score):
    spread = np.array([3, 2, 1, 1, 0.5])
    value, error = np.transpose([score(spread * normal(200, 5, seed)) for seed in range(300)])
    assert error.mean() == pytest.approx(value.std(), rel=4 / np.sqrt(600))


def test_ratios():
    a, b = normal(600, 8, 0), normal(900, 8, 1)
    null = diversity(a, b)
    for each in null:
        assert each.value == pytest.approx(1, abs=3 * each.error + 0.01)
    half = diversity(a, 0.5 * a)
    assert half.distance.value == pytest.approx(0.5, rel=1e-12)
    assert half.vendi.value < 0.5 and half.participation.value == pytest.approx(1, rel=1e-12)
    flat = diversity(a, b * np.array([1, 1, 0, 0, 0, 0, 0, 0]))
    assert flat.participation.value == pytest.approx(2 / 8, rel=0.05) and flat.vendi.value < 0.5
    one = diversity(a, np.repeat(b[:1], 600, 0))
    assert one.distance.value == 0 and one.participation.value == 0
    assert one.vendi.value == pytest.approx(1 / vendi(rbf(a, np.median(pdist(a)))).value)
    assert null == diversity(a, b) and null != diversity(a, b, seed=1)


# Precision and recall of distributions


def test_the_curve_by_hand():
    """p = (1, 0), q = (½, ½): precision is min(t, ½)."""
    precision, recall = prd_curve(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    t = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 1001))
    assert precision == pytest.approx(np.minimum(t, 0.5)) and recall == pytest.approx(np.minimum(1, 0.5 / t))
    f8, f1_8 = prd_scores(precision, recall)  # at its corner, precision ½ and recall 1
    assert f8 == pytest.approx(65 * 0.5 / (64 * 0.5 + 1), rel=2e-3)
    assert f1_8 == pytest.approx((1 + 1 / 64) * 0.5 / (0.5 / 64 + 1), rel=2e-3)


def test_equal_histograms_score_1_and_disjoint_ones_0():
    p = np.random.default_rng(0).dirichlet(np.ones(20))
    assert prd_scores(*prd_curve(p, p)) == pytest.approx((1, 1), rel=1e-12)
    assert prd_scores(*prd_curve(p * (np.arange(20) < 10), p * (np.arange(20) >= 10))) == (0, 0)
    x = normal(500, 3, 0)
    same, apart = prd(x, x), prd(x, x + 100)
    assert (same.f8.value, same.f1_8.value) == pytest.approx((1, 1)) and (apart.f8.value, apart.f1_8.value) == (0, 0)
    assert same.precision.shape == same.recall.shape == (1001,)


def test_a_dropped_half_costs_recall_and_an_added_one_precision():
    draws = np.random.default_rng(0)
    near, far = draws.normal(size=(2, 1000, 3))
    far += 20
    both = np.concatenate([near[:500], far[:500]])
    dropped, added = prd(both, near), prd(near, both)
    assert dropped.f1_8.value > 0.9 and dropped.f8.value < 0.6
    assert added.f8.value > 0.9 and added.f1_8.value < 0.6
    null = prd(near, draws.normal(size=(1000, 3)))
    assert 0.97 < null.f8.value < 1 and 0.97 < null.f1_8.value < 1


def test_errors_of_the_curve():
    """Between those of another draw and twice as much."""
    draws = [prd(normal(300, 4, [seed, 0]), normal(300, 4, [seed, 1], 0.6))[:2] for seed in range(30)]
    value, error = np.moveaxis(np.array(draws), 2, 0)
    ratio = error.mean(0) / value.std(0, ddof=1)
    assert ratio.min() > 1 - 3 / np.sqrt(58) and ratio.max() < 2 * (1 + 3 / np.sqrt(58))


def test_what_is_refused():
    x = normal(50, 3, 0)
    for bad in (x[:1], x[:, :2], np.where(x > 2, np.nan, x)):
        with pytest.raises(UserError):
            diversity(x, bad)
        with pytest.raises(UserError):
            prd(x, bad)
    with pytest.raises(UserError, match="most real rows are equal"):
        diversity(np.ones((50, 3)), x)
