"""Copying: three sets, and what each score sees."""

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom, mannwhitneyu, norm
from sklearn.decomposition import PCA

from ludus.data import locate, mnist
from ludus.errors import UserError
from ludus.metrics.copies import c_t, copies, copy_rate, negative_hypergeometric

N = 3000


def clusters(n, draws):
    """Ten Gaussians in 16 dimensions."""
    means = 3 * np.random.default_rng(0).normal(size=(10, 16))
    return means[draws.integers(10, size=n)] + draws.normal(size=(n, 16))


@pytest.fixture(scope="module", params=["clusters", "digits"])
def data(request):
    """Training, held-out and honest rows, 3,000 each; and noise, (3000, d), of sd 1 in units of each column."""
    draws = np.random.default_rng(1)
    if request.param == "clusters":
        x = clusters(3 * N, draws)
    else:
        try:
            locate.check("mnist")
        except UserError as error:
            pytest.skip(str(error))
        x = mnist.read("test").reshape(-1, 784)[: 3 * N] / 255
        x = PCA(32, random_state=0).fit_transform(x)
        x = draws.permutation(x)
    return *np.split(x, 3), x.std(0) * draws.normal(size=(N, x.shape[1]))


def test_honest_rows(data):
    train, held_out, honest, _ = data
    found = copies(train, held_out, honest)
    assert found.rate.p > 0.01 and abs(found.c_t.value) < 3
    assert found.rate.share.value == pytest.approx(found.rate.null, abs=3 * found.rate.share.error)
    assert found.rate.null == 30 / 3001
    off = found.authentic.value - found.authentic_null.value
    assert abs(off) < 3 * np.hypot(found.authentic.error, found.authentic_null.error)


def test_a_few_exact_copies_are_seen_by_the_copy_rate(data):
    train, held_out, honest, _ = data
    few, half = (np.concatenate([train[:count], honest[count:]]) for count in (N // 20, N // 2))
    found = copies(train, held_out, few)
    assert found.rate.p < 1e-6 and found.rate.share.value == pytest.approx(0.06, abs=3 * found.rate.share.error)
    assert abs(found.c_t.value) < 4
    assert copies(train, held_out, half).c_t.value < -10


def test_noisy_copies_are_seen_by_the_others(data):
    train, held_out, _, noise = data
    found = copies(train, held_out, train + 0.25 * noise)
    assert found.c_t.value < -10 and found.authentic.value < found.authentic_null.value - 0.3


def test_noisy_honest_rows_are_no_copies(data):
    train, held_out, honest, noise = data
    found = copies(train, held_out, honest + 0.3 * noise)
    assert found.c_t.value > 5 and found.rate.p > 0.5
    assert found.authentic.value > found.authentic_null.value + 0.1


def test_authenticity_is_that_of_fld_and_dgm_eval():
    """A row is authentic if its nearest training row is nearer to another training row."""
    draws = np.random.default_rng(0)
    train, held_out, generated = (clusters(n, draws) for n in (400, 300, 500))
    generated[:50] = train[:50] + 0.1 * draws.normal(size=(50, 16))
    train[300:310] = train[310:320]  # equal rows
    generated[60:64] = train[300:304]
    own = cdist(train, train)
    np.fill_diagonal(own, np.inf)
    for name, x in (("authentic", generated), ("authentic_null", held_out)):
        apart = cdist(train, x)
        truth = (own.min(0)[apart.argmin(0)] < apart.min(0)).mean()
        found = getattr(copies(train, held_out, generated), name)
        assert found.value == truth and found.error == pytest.approx(np.sqrt(truth * (1 - truth) / len(x)))


def test_c_t_is_that_of_scipys_mann_whitney():
    draws = np.random.default_rng(0)
    p, g = draws.gamma(3, size=300), draws.gamma(3.3, size=400)
    cell_p, cell_g = draws.integers(3, size=300), draws.integers(3, size=400)
    cell_g[:5], cell_p[:5] = 4, 4  # 5 generated rows are too few
    for rounded in (p, g), (p.round(0), g.round(0)):  # and with ties
        z, share = [], []
        for cell in range(3):
            mine, theirs = rounded[1][cell_g == cell], rounded[0][cell_p == cell]
            test = mannwhitneyu(mine, theirs, alternative="less", method="asymptotic", use_continuity=False)
            z.append(norm.ppf(test.pvalue))
            share.append(len(theirs))
        assert c_t(*rounded, cell_p, cell_g) == pytest.approx(np.average(z, weights=share), rel=1e-9)
    u = mannwhitneyu(g, p).statistic
    by_hand = (u - 300 * 400 / 2) / np.sqrt(300 * 400 * 701 / 12)
    assert c_t(p, g, np.zeros(300), np.zeros(400)) == pytest.approx(by_hand, rel=1e-9)
    assert c_t(np.ones(30), np.ones(30), np.zeros(30), np.zeros(30)) == 0
    assert np.isnan(c_t(p, g[:20], np.zeros(300), np.zeros(20)))


def test_the_null_of_c_t():
    """Mean 0 and sd √Σw², which its error says."""
    draws = np.random.default_rng(0)
    train = clusters(500, draws)
    found = [copies(train, clusters(300, draws), clusters(300, draws)).c_t for _ in range(60)]
    value, error = np.transpose(found)
    assert abs(value.mean()) < 3 * value.std() / np.sqrt(60)
    assert value.std() == pytest.approx(1 / np.sqrt(3), rel=3 / np.sqrt(120))  # three cells of about the same size
    assert error.mean() == pytest.approx(value.std(), rel=3 / np.sqrt(120))


def test_the_p_value_by_counting_orders():
    n, m, r = 4, 5, 2
    orders = [np.isin(np.arange(n + m), held) for held in combinations(range(n + m), n)]
    before = np.array([(~order[: np.flatnonzero(order)[r - 1]]).sum() for order in orders])
    for count in range(m + 1):
        assert negative_hypergeometric(count, r, n, m) == pytest.approx((before >= count).mean(), rel=1e-12)
    assert before.mean() / m == pytest.approx(r / (n + 1))  # the null of the rate
    assert negative_hypergeometric(100_000, 1, 10_000, 100_000) > 0


@pytest.mark.parametrize("discrete", [False, True])
def test_false_alarms_of_the_copy_rate(discrete):
    """At most 5 % of nulls have p ≤ 0.05, and nearly so, as counts are whole: within the 99 % interval of 400."""
    draws = np.random.default_rng(0)
    found = []
    for seed in range(400):
        p, g = draws.gamma(3, size=(2, 1000))
        p, g = (p.round(), g.round()) if discrete else (p, g)
        found.append(copy_rate(p, g, seed))
    low, high = binom.interval(0.99, 400, 0.05)
    assert low <= sum(each.p <= 0.05 for each in found) <= high
    value, error = np.transpose([each.share for each in found])
    assert value.mean() == pytest.approx(found[0].null, abs=3 * value.std() / 20)
    assert error.mean() == pytest.approx(value.std(), rel=0.25)


def test_where_held_out_rows_equal_training_rows_too():
    """Of discrete data a copy may be honest; copies throughout are still seen."""
    train, held_out, honest = np.random.default_rng(0).integers(3, size=(3, 1000, 5)).astype(float)
    assert copies(train, held_out, honest).rate.p > 0.01
    fine = np.random.default_rng(1).integers(4, size=(3, 1000, 6)).astype(float)
    assert (copies(*fine[:2], fine[0]).rate.p < 1e-6) and copies(*fine).rate.p > 0.01


def test_the_panel_shows_the_nearest():
    draws = np.random.default_rng(0)
    train, held_out, generated = (clusters(500, draws) for _ in range(3))
    generated[17], generated[4] = train[3], train[8] + 1e-3
    panel = copies(train, held_out, generated, show=5).panel
    apart = cdist(generated, train)
    assert panel.generated[:2].tolist() == [17, 4] and panel.train[:2, 0].tolist() == [3, 8]
    assert panel.generated.tolist() == apart.min(1).argsort()[:5].tolist()
    assert panel.train.tolist() == apart[panel.generated].argsort(1)[:, :3].tolist()
    assert panel.distance == pytest.approx(np.sort(apart[panel.generated], 1)[:, :3], rel=1e-12)
    known = cdist(held_out, train).min(1)
    assert panel.percentile == pytest.approx(100 * (known <= panel.distance[..., None]).mean(-1))
    assert panel.distance[0, 0] == 0 and panel.percentile[0, 0] == 0


def test_the_same_seed_gives_the_same():
    train, held_out, generated = np.random.default_rng(0).normal(size=(3, 60, 4))
    one, two = (copies(train, held_out, generated, seed=3) for _ in range(2))
    assert one[:4] == two[:4]


def test_what_is_refused():
    x = np.random.default_rng(0).normal(size=(50, 3))
    for bad in (x[:20], x[:, :2], np.where(x > 2, np.inf, x)):
        with pytest.raises(UserError):
            copies(x, bad, x)
    still = copies(np.ones((500, 3)), np.ones((400, 3)), np.ones((400, 3)))
    assert still.c_t.value == 0 and still.rate.p > 0.01
