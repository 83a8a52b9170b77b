"""The classifier two-sample test: how often it errs, what it finds, and that it learns nothing by heart."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from ludus.errors import UserError
from ludus.metrics.c2st import CLASSIFIERS, _auc, _equal, _halves, c2st

NULLS = 400
INSIDE = binom.ppf([0.005, 0.995], NULLS, 0.05)  # of false alarms at 5 %


def false_alarms(sets, classifier):
    """How many of 400 pairs of sets of one law are told apart at 5 %, and the mean p."""
    p = np.array([c2st(*sets(np.random.default_rng([seed, 1])), classifier, seed).p for seed in range(NULLS)])
    assert p.min() > 0 and abs(p.mean() - 0.5) < 4 * math.sqrt(1 / 12 / NULLS)
    return (p <= 0.05).sum()


@pytest.mark.slow
def test_of_true_nulls_the_mlp_rejects_one_in_twenty():
    """However well 50 rows are learnt by heart: the second half knows nothing of them."""
    assert INSIDE[0] <= false_alarms(lambda draw: draw.normal(size=(2, 50, 5)), "mlp") <= INSIDE[1]


@pytest.mark.parametrize("values", ["numbers", "lattice"])
def test_of_true_nulls_one_in_twenty_is_rejected(values):
    """Of unequal sizes, too; and of a lattice, most of whose rows are equal to others."""
    kinds = {"numbers": lambda draw: (draw.normal(size=(30, 3)), draw.normal(size=(90, 3))),
             "lattice": lambda draw: draw.integers(-1, 2, (2, 60, 4))}  # fmt: skip
    assert INSIDE[0] <= false_alarms(kinds[values], "logistic") <= INSIDE[1]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_auc_of_gaussians_and_its_error(classifier):
    """Of N(0, 1) and N(1, 1), P(x < y) = Φ(1/√2) = 0.760; the best accuracy is Φ(½) = 0.691."""
    draw = np.random.default_rng(0)
    found = c2st(draw.normal(size=4000), draw.normal(size=4000) + 1, classifier)
    assert found.auc.value == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=3 * found.auc.error)
    assert 0.004 < found.auc.error < 1 / math.sqrt(6 * 2000)  # the second is its sd where AUC is ½
    assert found.accuracy == pytest.approx(norm.cdf(0.5), abs=3 * 0.5 / math.sqrt(4000))
    assert 0 < found.p < 1e-100 and found.repeated == 0


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_sets_far_apart_are_told_apart_always(classifier):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(3000, 2)), draw.normal(size=(3000, 2)) + 20
    found = c2st(x, y, classifier)
    assert found.auc == (1, 0) and found.accuracy == 1 and 0 < found.p <= 1e-300
    assert found.a.min() > 0.9 and found.b.max() < 0.1


def test_the_mlp_sees_what_no_line_does():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(800, 2)), draw.normal(size=(800, 2))
    y[:, 1] = 0.6 * y[:, 0] + 0.8 * y[:, 1]  # the same margins
    assert c2st(x, y, "mlp").p < 1e-3 < 0.01 < c2st(x, y, "logistic").p


def test_error_is_delongs_and_equal_rows_are_one():
    draw = np.random.default_rng(0)
    mine, theirs = np.round(draw.normal(size=80) + 0.8, 1), np.round(draw.normal(size=60), 1)  # with ties
    value, error = _auc(mine, theirs, np.arange(80), np.arange(80, 140))
    assert value == pytest.approx(roc_auc_score(np.repeat([1, 0], [80, 60]), np.concatenate([mine, theirs])), abs=1e-12)
    wins = (mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs)
    assert error**2 == pytest.approx(wins.mean(1).var() / 80 + wins.mean(0).var() / 60, rel=1e-12)
    again = [draw.integers(size, size=(4000, size)) for size in (80, 60)]
    spread = np.std([wins[np.ix_(i, j)].mean() for i, j in zip(*again)])
    assert error == pytest.approx(spread, rel=4 / math.sqrt(2 * 4000) + 1 / 60)
    thrice = [np.repeat(each, 3) for each in (mine, theirs, np.arange(80), np.arange(80, 140))]
    assert _auc(*thrice) == (pytest.approx(value), pytest.approx(error))


@pytest.mark.parametrize("values", [(0.0,), (-0.0, 0.0, 1.0), range(3), np.linspace(-1, 1, 1001)])
def test_equal_rows_are_numbered_as_numpy_does(values):
    x = np.random.default_rng(0).choice(np.array(values, float), (500, 4))
    x = np.concatenate([x, x[::7]])
    assert (_equal(x) == np.unique(x, axis=0, return_inverse=True)[1].ravel()).all()


def test_equal_rows_are_never_on_both_sides():
    draw = np.random.default_rng(0)
    x = draw.integers(-1, 2, (900, 4)).astype(float)
    of_a = np.arange(900) < 400
    group, half = _halves(x, of_a, draw)
    assert len(set(group)) == 81 and all(len(set(half[group == each])) == 1 for each in range(81))
    assert np.array_equal(x[group == 7][0], x[group == 7][-1])
    for side in (of_a, ~of_a):  # a state has about a dozen rows, so that the halves cannot be equal
        assert abs(half[side].mean() - 0.5) < 0.1
    group, half = _halves(draw.normal(size=(901, 2)), np.arange(901) < 401, draw)
    assert abs(half[:401].sum() - 200.5) <= 0.5 and abs(half[401:].sum() - 250) <= 1


def test_copies_are_not_told_by_heart():
    """A generator of 40 rows. Classifiers of k folds know them all by heart; here half of them are new to it."""
    draw = np.random.default_rng(0)
    found = c2st(draw.normal(size=(1000, 5)), draw.normal(size=(40, 5))[draw.integers(40, size=1000)])
    assert abs(found.auc.value - 0.5) < 3 * found.auc.error and found.auc.error > 0.03
    assert found.repeated == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_identical_sets_are_told_apart_as_often_as_not(classifier):
    x = np.random.default_rng(0).normal(size=(300, 4))
    found = c2st(x, x[::-1], classifier)
    assert found.auc == (pytest.approx(0.5, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert found.accuracy == pytest.approx(0.5) and found.p > 0.49 and found.repeated == 1
    assert np.array_equal(found.a, found.b[::-1])


def test_scores_are_of_rows_not_seen():
    """Where nothing can be learnt, the scores of all rows tell nothing; those of rows that were seen would."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 300, 30))
    found = c2st(x, y)
    told = roc_auc_score(np.repeat([1, 0], 300), np.concatenate([found.a, found.b]))
    assert told == pytest.approx(0.5, abs=4 / math.sqrt(6 * 300))
    x, y = x[:, :5], y[:, :5]
    strange = c2st(x, np.concatenate([y[:-10], y[-10:] + 6]))
    assert np.argsort(strange.b)[:10].min() == 290  # the least real can be shown


def test_weights_are_the_ratio_of_densities():
    """Of N(0, 1) and N(½, 1): w = exp(−(x² − (x − ½)²) / 2), whatever the sizes; its mean over b is 1."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=9000), draw.normal(size=3000) + 0.5
    found = c2st(x, y, "logistic")
    # the slope of a half of 6000 is known to 0.03, the offset, which takes the sizes in, as well
    assert np.log(found.weights) == pytest.approx((0.25 - y) / 2, abs=4 * 0.03 * np.abs(y).max())
    truth = np.exp((0.25 - y) / 2)
    assert np.abs(np.median(found.weights / truth) - 1) < 4 * 0.03
    assert found.weights.mean() == pytest.approx(1, abs=4 * 0.03 + 4 * truth.std() / math.sqrt(3000))


def test_few_rows_constant_columns_and_the_seed():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(12, 3)), draw.normal(size=(9, 3)) + 4
    x[:, 1], y[:, 1] = 7, 7
    for classifier in CLASSIFIERS:
        found = c2st(x, y, classifier)
        assert found.auc.value == 1 and 0.001 < found.p < 0.01  # 1 of 252 or of 210
        assert [found.a.tolist(), found.p] == [(again := c2st(x, y, classifier)).a.tolist(), again.p]
    assert c2st(draw.normal(size=(300, 2)), draw.normal(size=(300, 2)), seed=1).a.shape == (300,)


def test_where_nothing_can_be_said():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3))
    for wrong, why in [(np.ones((60, 3)), "so few of which differ"), (x * [1, np.nan, 1], "not finite"),
                       (x[:, :2], "one d"), (x[:1], "at least 2")]:  # fmt: skip
        with pytest.raises(UserError, match=why):
            c2st(x, wrong)
    with pytest.raises(UserError, match="Did you mean 'logistic'"):
        c2st(x, x, "logistics")
