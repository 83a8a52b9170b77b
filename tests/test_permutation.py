"""Tests that exchange rows between two sets, and p-values of many tests: how often they err, and what they find."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom, energy_distance, ks_2samp, skew

from ludus.errors import UserError
from ludus.metrics.multiple import holm, said, shown
from ludus.metrics.permutation import beside, energy_test, ks_image_test, max_t, mmd_test

NULLS = 400
INSIDE = binom.ppf([0.005, 0.995], NULLS, 0.05)  # of false alarms at 5 %


def fields(draw, n, side=16):
    """Gaussian random fields of power k⁻², and at k = 0 that of k = 1, so that each has a mean of its own."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * side
    k[0, 0] = 1
    return np.fft.irfft2(np.fft.rfft2(draw.normal(size=(n, side, side))) / k, s=(side, side))


def observables(x):
    """(n, 11), some of which are nearly the same."""
    flat = x.reshape(len(x), -1)
    power = (np.abs(np.fft.fft2(x)) ** 2)[:, 0, 1:5]
    scalars = [flat.std(1), flat.max(1), flat.min(1), np.abs(flat).mean(1), skew(flat, 1), flat[:, 0], flat[:, 1]]
    return np.column_stack([*scalars, power])


def rows_of(x):
    return x.reshape(len(x), -1)


def smallest(a, b, permutations, seed):
    return max_t(a, b, permutations, seed).adjusted.min()


TESTS = {
    "mmd": (rows_of, lambda *given: mmd_test(*given).p),
    "energy": (rows_of, lambda *given: energy_test(*given).p),
    "ks": (lambda x: x, lambda *given: ks_image_test(*given).p),
    "max_t": (observables, smallest),
}


@pytest.mark.parametrize("name", TESTS)
def test_of_true_nulls_one_in_twenty_is_rejected(name):
    seen, p_of = TESTS[name]
    draw = np.random.default_rng(0)
    p = np.array([p_of(seen(fields(draw, 30)), seen(fields(draw, 20)), 99, seed) for seed in range(NULLS)])
    assert INSIDE[0] <= (p <= 0.05).sum() <= INSIDE[1] and p.min() >= 1 / 100
    assert abs(p.mean() - 0.505) < 4 * math.sqrt(1 / 12 / NULLS)


def test_pixels_are_no_independent_draws():
    """Why images are exchanged: where pixels are taken for independent, most honest pairs of sets differ."""
    draw = np.random.default_rng(0)
    pairs = [(fields(draw, 50).ravel(), fields(draw, 50).ravel()) for _ in range(50)]
    assert np.mean([ks_2samp(*pair).pvalue <= 0.05 for pair in pairs]) > 0.5


@pytest.mark.parametrize("name", ["mmd", "energy", "max_t"])
def test_ties_make_no_false_alarms(name):
    """A lattice's values: many rows are equal. p may only be too large."""
    draw, p_of = np.random.default_rng(1), TESTS[name][1]
    sites = draw.choice([-1, 0, 1], (NULLS, 2, 25, 3), p=[0.1, 0.7, 0.2])
    assert sum(p_of(*pair, 99, seed) <= 0.05 for seed, pair in enumerate(sites)) <= INSIDE[1]


@pytest.mark.parametrize("name", TESTS)
def test_what_differs_is_found(name):
    seen, p_of = TESTS[name]
    draw = np.random.default_rng(0)
    x, y = fields(draw, 60), 1.5 * fields(draw, 60)
    assert p_of(seen(x), seen(y), 199, 0) == 1 / 200  # as small as 199 exchanges can say, and not 0


def test_how_rows_depend_on_each_other_is_found():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 2))
    y = np.column_stack([x[:, 0], 0.8 * x[:, 0] + 0.6 * draw.normal(size=200)])[::-1]  # the same margins
    assert mmd_test(x, y, 199).p <= 0.02 and energy_test(x, y, 199).p <= 0.02
    assert max_t(x, y, 199).adjusted.min() > 0.05  # which looks at each column alone


def test_energy_is_scipys_and_its_null_has_its_mean():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=300), 2 * draw.normal(size=500) + 0.3
    found = energy_test(x, y, 400)
    assert found.value == pytest.approx(energy_distance(x, y) ** 2, rel=1e-10)
    both = np.concatenate([x, y])[:, None]
    mean = cdist(both, both).sum() / (800 * 799)
    assert found.null_mean == pytest.approx(mean * 800 / (300 * 500), abs=4 * found.null_sd / 20)


def test_blocks_are_the_whole():
    """More rows than a block holds, some of them equal, against the means over all pairs."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(700, 3)) + 100, 1.1 * draw.normal(size=(400, 3)) + 100
    y[:50] = x[:50]
    xx, yy, xy = cdist(x, x), cdist(y, y), cdist(x, y)
    assert energy_test(x, y, 2).value == pytest.approx(2 * xy.mean() - xx.mean() - yy.mean(), abs=1e-12)
    both = np.concatenate([x, y])
    s2 = np.median(cdist(both, both)[np.triu_indices(1100, 1)]) ** 2
    kx, ky, kxy = (np.exp(-(each**2) / (2 * s2)) for each in (xx, yy, xy))
    mmd2 = (kx.sum() - 700) / (700 * 699) + (ky.sum() - 400) / (400 * 399) - 2 * kxy.mean()
    assert mmd_test(x, y, 2).value == pytest.approx(mmd2, abs=1e-12)


def test_mmd_is_unbiased_and_has_its_closed_form():
    """k(a, b) for Gaussians: E exp(−|a − b|² / 2 s²) = (s² / (s² + 2))^½ exp(−δ² / (2 (s² + 2))) in one dimension."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(1500, 1)), draw.normal(size=(1500, 1)) + 1
    both = np.concatenate([x, y])
    s2 = np.median((both - both.T)[np.triu_indices(3000, 1)] ** 2)
    same = math.sqrt(s2 / (s2 + 2))
    assert mmd_test(x, y, 19).value == pytest.approx(2 * same * (1 - math.exp(-1 / (2 * (s2 + 2)))), abs=0.02)
    null = [mmd_test(draw.normal(size=(20, 1)), draw.normal(size=(20, 1)), 2).value for _ in range(300)]
    assert abs(np.mean(null)) < 4 * np.std(null) / math.sqrt(300) and min(null) < 0


def test_ks_is_that_of_all_pixels():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(20, 4, 3)), draw.normal(size=(10, 4, 3)) + 0.2  # 360 values: each is a level
    assert ks_image_test(x, y, 2).value == pytest.approx(ks_2samp(x.ravel(), y.ravel()).statistic, abs=1e-12)
    counts = [draw.poisson(3 + shift, (400, 100)) for shift in (0, 0.1)]  # and so is each count but the rarest
    assert ks_image_test(*counts, 2).value == pytest.approx(ks_2samp(*map(np.ravel, counts)).statistic, abs=1e-12)
    x, y = fields(draw, 300), fields(draw, 200) + 0.05
    assert ks_image_test(x, y, 2).value == pytest.approx(ks_2samp(x.ravel(), y.ravel()).statistic, abs=1 / 512)


def test_max_t_says_which_observables_differ_and_in_shape_too():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 300, 6))
    y[:, 1] += 0.4
    y[:, 3] = np.sign(y[:, 3]) * 0.9 + math.sqrt(1 - 0.81) * draw.normal(size=300)  # two humps, mean 0 and sd 1
    y[:, 5] *= 1.4
    found = max_t(x, y)
    assert np.flatnonzero(found.adjusted <= 0.05).tolist() == [1, 3, 5] and (found.adjusted >= found.p).all()
    assert np.flatnonzero(found.z > 4).tolist() == [1, 3, 5]
    assert abs(y[:, 3].mean() - x[:, 3].mean()) < 3 * math.sqrt(2 / 300)  # a difference of means does not see it
    exp = max_t(np.exp(x), np.exp(y))  # ranks are all it knows
    assert np.array_equal(exp.p, found.p) and np.array_equal(exp.adjusted, found.adjusted)


def test_observables_that_are_one_cost_nothing_and_independent_ones_their_number():
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(40, 1)), draw.normal(size=(40, 1)) + 0.4
    found = max_t(np.repeat(x, 20, 1), np.repeat(y, 20, 1))
    assert np.array_equal(found.adjusted, found.p) and len(set(found.p)) == 1
    found = max_t(*(np.column_stack([each, draw.normal(size=(40, 19))]) for each in (x, y)), 9999)
    one = found.p.min()
    # the smallest of 20; 9999 exchanges know the spread of each statistic to 1.5 %, which a tail feels as 10 %
    expected = 1 - (1 - one) ** 20
    assert found.adjusted.min() == pytest.approx(expected, abs=4 * 20 * math.sqrt(one / 9999) + 0.1 * expected)


def test_undefined_is_a_value():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 100, 4))
    x[:, 1], y[:, 1] = 3, 3
    x[:, 2], y[:, 2] = np.nan, np.nan
    y[:30, 3] = np.nan
    found = max_t(x, y, 199)
    assert found.p[1] == found.p[2] == found.adjusted[1] == 1 and found.z[1] == 0
    assert found.p[3] == 1 / 200 and found.adjusted[3] <= 0.01 and found.adjusted[0] > 0.05


@pytest.mark.filterwarnings("ignore:Precision loss")  # of the skewness of a constant image
@pytest.mark.parametrize("name", TESTS)
def test_identical_sets_are_no_evidence(name):
    x = fields(np.random.default_rng(0), 12)
    seen, p_of = TESTS[name]
    for same in (x, np.ones_like(x)):
        assert p_of(seen(same), seen(same)[::-1], 99, 0) == 1


@pytest.mark.parametrize("name", TESTS)
def test_equal_partitions_count_as_equal(name):
    """Three and three rows far apart: of 20 partitions two say so, themselves and the other way round."""
    draw, p_of = np.random.default_rng(0), TESTS[name][1]
    p = p_of(draw.normal(size=(3, 2)), draw.normal(size=(3, 2)) + 100, 999, 0)
    assert p == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 999))


def test_a_p_is_a_share_of_all():
    found = beside(np.array([2.0, 0.0, 2.0, 3.0, 1.0]))
    assert found == (2, 1.5, pytest.approx(np.std([0, 2, 3, 1], ddof=1)), 3 / 5)


def test_sets_that_cannot_be_compared():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for test in (mmd_test, energy_test, ks_image_test, max_t):
        for wrong, why in [(x[:, :2], "one d"), (x[:1], "at least 2 rows")]:
            with pytest.raises(UserError, match=why):
                test(x, wrong)
        if test is not max_t:
            with pytest.raises(UserError, match="not finite"):
                test(x * [1, np.nan, 1], x)


def test_holm():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.5])) == pytest.approx([1, 1])


def test_a_p_in_words():
    assert [shown(p) for p in (1e-300, 2e-5, 0.0512)] == ["< 1e-10", "2.0e-05", "0.051"]
    assert said(1e-11) == "p < 1e-10" and said(0.5) == "p = 0.500"
