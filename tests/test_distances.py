"""Distances of two sets of features: against other implementations, closed forms, and their own scatter."""

import numpy as np
import ot
import pytest
import torch
from scipy.stats import wasserstein_distance
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from ludus.errors import UserError
from ludus.metrics import frechet, halves, kernel, wasserstein


def normal(n: int, d: int, seed: int, sd: float = 1.0, shift: float = 0.0) -> np.ndarray:
    x = sd * np.random.default_rng(seed).normal(size=(n, d))
    x[:, 0] += shift
    return x


def correlated(n: int, d: int, seed: int) -> np.ndarray:
    """Of a spectrum that falls a hundredfold, rotated."""
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(d, d)))[0]
    return normal(n, d, seed) * np.logspace(0, -1, d) @ turn


def agrees(estimates: list, truth: float) -> None:
    """The mean within 3 standard errors of the truth; the errors as wide as the scatter, within 3 of its own."""
    values, errors = np.array(estimates).T
    scatter, n = values.std(ddof=1), len(values)
    assert abs(values.mean() - truth) < 3 * scatter / np.sqrt(n)
    assert abs(np.sqrt(np.square(errors).mean()) / scatter - 1) < 3 / np.sqrt(2 * n)


# Fréchet


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """torchmetrics' FID of features."""
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return float(_compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)))


@pytest.mark.parametrize(("n", "m", "d"), [(500, 400, 16), (1000, 1000, 64)])
def test_frechet_is_torchmetrics(n, m, d):
    a, b = correlated(n, d, 0), 0.9 * correlated(m, d, 1) + 0.1
    assert frechet.frechet(a, b) == pytest.approx(fid(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 40, 64), (64, 200, 64), (200, 30, 64)])
def test_frechet_is_torchmetrics_where_rows_are_few(n, m, d):
    a, b = correlated(n, d, 0), 0.9 * correlated(m, d, 1) + 0.1
    assert frechet.frechet(a, b) == pytest.approx(fid(a, b), rel=1e-6)


def test_frechet_of_diagonal_gaussians():
    """|μ − ν|² + Σ (σ_i − τ_i)²."""
    draw = np.random.default_rng(0)
    (m, k), (s, t) = draw.normal(size=(2, 20)), draw.uniform(0.1, 3, size=(2, 20))
    truth = np.square(m - k).sum() + np.square(s - t).sum()
    assert frechet.gaussians(m, np.diag(s**2), k, np.diag(t**2)) == pytest.approx(truth, rel=1e-12)


def test_frechet_of_numbers():
    """(mean − mean)² + (sd − sd)²."""
    a, b = np.random.default_rng(0).normal(size=(2, 500)) * [[1], [1.5]]
    truth = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet.frechet(a, b) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("n", [30, 1000])
def test_frechet_of_a_set_and_itself_is_none(n):
    a = np.hstack([correlated(n, 32, 0), np.ones((n, 2))])  # and features that are constant
    assert abs(frechet.frechet(a, a)) < 1e-6 * a.var(0).sum()


def test_frechet_is_symmetric_and_sees_neither_rotation_nor_order():
    a, b = correlated(300, 16, 0), 1.1 * correlated(250, 16, 1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0]
    value = frechet.frechet(a, b)
    others = [frechet.frechet(b, a), frechet.frechet(a @ turn, b @ turn), frechet.frechet(a[::-1], b[::-1])]
    np.testing.assert_allclose(others, value, rtol=1e-9)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_moments_of_blocks_are_those_of_all_rows(offset):
    """Far from 0 too, where raw sums of squares would have no digit left."""
    a, b = correlated(1000, 16, 0) + offset, 1.1 * correlated(1000, 16, 1) + offset
    p, q = frechet.Moments(), frechet.Moments()
    for rows in np.split(a, [1, 8, 500]):
        p.add(rows)
    for rows in np.split(b, 10):
        q.add(rows)
    np.testing.assert_allclose(p.covariance, np.cov(a.T), rtol=1e-10, atol=1e-11)
    assert frechet.between(p, q) == pytest.approx(frechet.frechet(a, b), rel=1e-10)


def test_frechet_of_one_law_and_its_intercept():
    """FD is (2 d + d (d + 1) / 2) / n on average; the intercept is 0, and below it as often as above."""
    pairs = [(normal(1000, 64, 2 * i), normal(1000, 64, 2 * i + 1)) for i in range(30)]
    assert np.mean([frechet.frechet(a, b) for a, b in pairs]) == pytest.approx(2.208, rel=0.05)
    found = [frechet.intercept(a, b, draws=25) for a, b in pairs]
    agrees(found, 0)
    assert 5 <= sum(each.value < 0 for each in found) <= 25  # 30 fair coins, 4 sd


def test_frechet_is_a_line_in_1_over_n_down_to_n_equal_to_d():
    values = [64 * frechet.frechet(normal(64, 64, 2 * i), normal(64, 64, 2 * i + 1)) for i in range(60)]
    assert np.mean(values) == pytest.approx(2208, rel=0.02)


def test_intercept_of_unequal_sets_of_two_laws():
    """N(0, 1_8) and N(0.3 e₁, 0.8² 1_8): FD = 0.09 + 8 × 0.04. The plain FD is above it."""
    pairs = [(normal(600, 8, 2 * i), normal(400, 8, 2 * i + 1, 0.8, 0.3)) for i in range(40)]
    agrees([frechet.intercept(a, b) for a, b in pairs], 0.41)
    assert np.mean([frechet.frechet(a, b) for a, b in pairs]) > 0.45


def test_frechet_error():
    pairs = [(normal(600, 8, 2 * i), normal(400, 8, 2 * i + 1, 0.8, 0.3)) for i in range(40)]
    found = [frechet.frechet_estimate(a, b) for a, b in pairs]
    assert found[0].value == frechet.frechet(*pairs[0])
    assert found[0].error == frechet.intercept(*pairs[0]).error
    agrees(found, np.mean([each.value for each in found]))


@pytest.mark.slow
@pytest.mark.parametrize(("sd", "truth"), [(1.0, 0), (0.8, 64 * 0.04)])
def test_intercept_is_as_far_off_as_it_says(sd, truth):
    """z-scores of 100 draws: mean 0, sd 1."""
    found = [frechet.intercept(normal(1000, 64, 2 * i), normal(1000, 64, 2 * i + 1, sd)) for i in range(100)]
    agrees(found, truth)
    z = np.array([(each.value - truth) / each.error for each in found])
    assert abs(z.std() - 1) < 3 / np.sqrt(2 * len(z))


def test_intercept_wants_rows():
    with pytest.raises(UserError, match="2 d rows"):
        frechet.intercept(normal(100, 64, 0), normal(200, 64, 1))


def test_moments_refuse():
    moments = frechet.Moments()
    moments.add(np.zeros((1, 3)))
    with pytest.raises(UserError, match="3 features came before"):
        moments.add(np.zeros((5, 4)))
    with pytest.raises(UserError, match="at least 2"):
        _ = moments.covariance


# The error from halves


def test_halves_see_pairs_of_images_and_a_bootstrap_sees_too_much():
    """|x̄ − ȳ|² of one law has v₁ = 0 and v₂ = 2 d (2 / n)²: odd is 2 v₂, even v₂, a bootstrap's variance 3 v₂."""
    n, d, repeats, draws = 100, 32, 100, 100
    squares = lambda x, y: np.square(x.mean(0) - y.mean(0)).sum()  # noqa: E731
    seen = np.empty((repeats, 4))
    for k in range(repeats):
        x, y, draw = normal(n, d, 2 * k), normal(n, d, 2 * k + 1), np.random.default_rng(k)
        pairs, again = np.empty((draws, 2)), np.empty(draws)
        for r in range(draws):
            i, j = draw.permutation(n), draw.permutation(n)
            pairs[r] = squares(x[i[:50]], y[j[:50]]), squares(x[i[50:]], y[j[50:]])
            again[r] = squares(x[draw.integers(n, size=n)], y[draw.integers(n, size=n)])
        odd, even = np.diff(pairs).var() / 4, pairs.mean(1).var(ddof=1)
        seen[k] = odd, even, again.var(ddof=1), halves.error(pairs) ** 2
    seen /= 2 * d * (2 / n) ** 2
    noise = seen.std(0) / np.sqrt(repeats)
    assert (abs(seen.mean(0)[:3] / [2, 1, 3] - 1) < 3 * noise[:3] + 2 / n).all()
    assert abs(np.sqrt(seen[:, 3].mean()) - 1.05) < 0.05  # of one law the floor lifts the error a little


# Kernel


@pytest.mark.parametrize("degree", [3, 4])
def test_kernel_distance_is_torchmetrics(degree):
    a, b = normal(200, 16, 0), normal(200, 16, 1, 0.9)
    truth = float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b), degree))
    assert kernel.kernel_distance(a, b, degree) == pytest.approx(truth, abs=1e-12)


def test_kernel_distance_of_subsets_is_torchmetrics():
    a, b, draw = normal(300, 16, 0), normal(250, 16, 1, 0.9), np.random.default_rng(5)
    truth = []
    for _ in range(4):
        i, j = draw.permutation(300)[:100], draw.permutation(250)[:100]
        truth.append(float(poly_mmd(torch.from_numpy(a[i]), torch.from_numpy(b[j]))))
    np.testing.assert_allclose(kernel.subsets(a, b, 100, 4, seed=5), truth, rtol=0, atol=1e-12)


def test_kernel_distance_of_degree_1_is_that_of_the_means():
    """(|x̄ − ȳ|² − tr S / n − tr T / m) / d, exactly."""
    a, b = correlated(70, 5, 0) + 2, correlated(40, 5, 1)
    spread = a.var(0, ddof=1).sum() / 70 + b.var(0, ddof=1).sum() / 40
    truth = (np.square(a.mean(0) - b.mean(0)).sum() - spread) / 5
    assert kernel.kernel_distance(a, b, 1) == pytest.approx(truth, rel=1e-12)


def test_kernel_blocks_make_no_difference(monkeypatch):
    a, b = normal(150, 8, 0), normal(97, 8, 1, 1.2)
    whole = kernel.kernel_estimate(a, b)
    monkeypatch.setattr(kernel, "BLOCK", 32)
    np.testing.assert_allclose(kernel.kernel_estimate(a, b), whole, rtol=1e-10)


@pytest.mark.parametrize(("n", "m"), [(300, 300), (300, 150)])
def test_kernel_distance_of_one_law(n, m):
    """Unbiased, so below 0 at times, and as far off as it says."""
    found = [kernel.kernel_estimate(normal(n, 32, 2 * i), normal(m, 32, 2 * i + 1)) for i in range(100)]
    agrees(found, 0)
    assert 30 <= sum(each.value < 0 for each in found) <= 70  # 100 fair coins, 4 sd


def test_kernel_distance_of_two_laws():
    """N(0, 1_8) and N(e₁, 1_8) with k = (x·y / d + 1)²: E k(x, y) = 1 + 2 μ·ν / d + tr (1 + μ μᵀ)(1 + ν νᵀ) / d²."""
    found = [kernel.kernel_estimate(normal(300, 8, 2 * i), normal(200, 8, 2 * i + 1, 1, 1.0), 2) for i in range(100)]
    agrees(found, 2 / 8 + (8 + (8 + 2 + 1) - 2 * (8 + 1)) / 64)


# Wasserstein


@pytest.mark.parametrize("m", [400, 300, 7])
def test_w1_is_scipy(m):
    a, b = correlated(400, 3, 0), correlated(m, 3, 1) + 0.1
    np.testing.assert_allclose(wasserstein.w1(a, b), [wasserstein_distance(x, y) for x, y in zip(a.T, b.T)], rtol=1e-12)


@pytest.mark.parametrize("m", [400, 300])
def test_sliced_is_pot(m):
    a, b, along = correlated(400, 16, 0), correlated(m, 16, 1) + 0.05, wasserstein.directions(16, 50)
    np.testing.assert_allclose(np.linalg.norm(along, axis=0), 1)
    assert wasserstein.sliced(a, b, along) == pytest.approx(
        ot.sliced_wasserstein_distance(a, b, projections=along), rel=1e-10
    )


def test_exact_is_pot():
    a, b = normal(500, 2, 0), normal(500, 2, 1, 0.8, 0.5)
    assert wasserstein.exact(a, b) == pytest.approx(np.sqrt(ot.emd2([], [], ot.dist(a, b))), rel=1e-9)


def test_wasserstein_of_shifted_gaussians():
    """W₁ = W₂ = |δ| in one dimension; sliced, the root of the mean of (θ·δ)²."""
    a, b = normal(5000, 1, 0), normal(5000, 1, 1, 1, 1.0)
    assert abs(wasserstein.w1(a, b)[0] - 1) < 3 * np.sqrt(2 / 5000)
    along = wasserstein.directions(8)
    found = [wasserstein.sliced_estimate(normal(500, 8, 2 * i), normal(400, 8, 2 * i + 1, 1, 20)) for i in range(40)]
    agrees(found, np.sqrt(np.square(20 * along[0]).mean()))


def test_sliced_error_of_one_law():
    found = [wasserstein.sliced_estimate(normal(300, 32, 2 * i), normal(300, 32, 2 * i + 1)) for i in range(60)]
    agrees(found, np.mean([each.value for each in found]))


def test_other_directions_change_a_shift_by_five_percent():
    """√(2/k (d−1)/(d+2)) / 2, to first order, of k = 200."""
    a = normal(50, 32, 0)
    b = a + np.eye(32)[0]
    values = [wasserstein.sliced(a, b, seed=seed) for seed in range(100)]
    assert np.std(values) / np.mean(values) == pytest.approx(0.05 * np.sqrt(31 / 34), rel=3 / np.sqrt(200))


def test_wasserstein_refuses():
    with pytest.raises(UserError, match="equally many"):
        wasserstein.exact(np.zeros((5, 2)), np.zeros((4, 2)))
    with pytest.raises(UserError, match="at most 2000"):
        wasserstein.exact(np.zeros((2001, 1)), np.zeros((2001, 1)))
    with pytest.raises(UserError, match="directions are"):
        wasserstein.sliced(np.zeros((5, 2)), np.zeros((5, 2)), np.ones((3, 10)))


# All of them


@pytest.mark.parametrize("distance", [
    frechet.frechet, frechet.frechet_estimate, frechet.intercept, kernel.kernel_distance, kernel.kernel_estimate,
    kernel.subsets, wasserstein.w1, wasserstein.sliced, wasserstein.sliced_estimate, wasserstein.exact,
])  # fmt: skip
def test_bad_sets_are_refused(distance):
    good = normal(20, 3, 0)
    bad = good.copy()
    bad[4, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        distance(good, bad)
    with pytest.raises(UserError, match="one d"):
        distance(good, good[:, :2])
    with pytest.raises(UserError, match="at least"):
        distance(good[:1], good)


def test_subsets_are_of_rows_that_are_there():
    with pytest.raises(UserError, match="smaller size"):
        kernel.subsets(normal(20, 3, 0), normal(20, 3, 1), 21)


@pytest.mark.parametrize("estimate", [frechet.frechet_estimate, frechet.intercept, wasserstein.sliced_estimate])
def test_a_seed_gives_one_answer(estimate):
    a, b = normal(50, 3, 0), normal(40, 3, 1)
    assert estimate(a, b, seed=3) == estimate(a, b, seed=3) != estimate(a, b, seed=4)
