"""Protocols that are kept for the sake of published tables: JetNet's distances, and Parzen windows."""

import numpy as np
import pytest

from ludus.errors import UserError
from ludus.metrics import frechet, jetnet, kernel, parzen

# JetNet


def sets(scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Real and generated, of unequal numbers and with a feature that is 0 throughout."""
    draw, sd = np.random.default_rng(7), [1, 2, 0.5, 0]
    return draw.normal(size=(3000, 4)) * sd, draw.normal(size=(2500, 4)) * sd * scale + shift


@pytest.mark.parametrize(("scale", "shift", "fpd", "kpd"), [
    (1.0, 0.0, (0.00024845205895590637, 0.00012112059057420206), (-6.733332857811192e-05, 0.0004937698593037731)),
    (1.2, 0.1, (0.02138956898250625, 0.0003934684054996305), (0.015586208936276602, 0.0014249127875767386)),
])  # fmt: skip
def test_jetnet_is_jetnet(scale, shift, fpd, kpd):
    """What jetnet 0.2.5 gives: fpd(min_samples=500, max_samples=2000), kpd(batch_size=500)."""
    real, generated = sets(scale, shift)
    assert jetnet.fpd(real, generated, 500, 2000) == pytest.approx(fpd, rel=1e-7)
    assert jetnet.kpd(real, generated, 500) == pytest.approx(kpd, rel=1e-9)


def test_jetnet_of_points():
    """JetNet's own tests: sets of zeros and of ones are 2 apart, and 15 by the kernel."""
    zeros, ones = np.zeros((100, 2)), np.ones((100, 2))
    assert jetnet.fpd(zeros, ones, 20, 50) == pytest.approx((2, 0), abs=1e-9)
    assert jetnet.kpd(zeros, ones, 50) == pytest.approx((15, 0))
    assert jetnet.kpd(zeros, zeros, 50) == pytest.approx((0, 0))


def test_jetnet_keeps_what_finite_sets_add():
    """Of one law FPD tends to the plain distance of both sets, and KPD to the sums with a row's pair with itself."""
    x, y = np.random.default_rng(0).normal(size=(2, 300, 8))
    x, y = x / np.abs(x).max(0), y / np.abs(x).max(0)
    found = np.array([[jetnet.fpd(x, y, 100, 300, k).value, jetnet.kpd(x, y, 300, k).value] for k in range(20)])
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(20)
    assert abs(mean[0] - frechet.frechet(x, y)) < 3 * error[0]
    assert abs(frechet.intercept(x, y).value) < frechet.frechet(x, y) / 3

    def own(x):
        k = (x @ x.T / 8 + 1) ** 4
        return (np.trace(k) / 300 - (k.sum() - np.trace(k)) / 300 / 299) / 300

    assert own(x) + own(y) > 9 * error[1]
    assert abs(mean[1] - kernel.kernel_distance(x, y, 4) - own(x) - own(y)) < 3 * error[1]


@pytest.mark.parametrize("distance", [jetnet.fpd, jetnet.kpd])
def test_jetnet_refuses(distance):
    good = np.random.default_rng(0).normal(size=(100, 3))
    with pytest.raises(UserError, match="rows of each at a time"):
        distance(good, good)
    with pytest.raises(UserError, match="one d"):
        distance(good, good[:, :2])
    with pytest.raises(UserError, match="not finite"):
        distance(good, np.where(good > 1, np.nan, good))


# Parzen


def draws(n: int, seed: int, sd: np.ndarray) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, len(sd))) * sd


def low(sd: np.ndarray) -> float:
    """By how much 10,000 perfect samples of N(0, sd²) are low, on the test rows themselves."""
    test = draws(1000, 2, sd)
    truth = (-np.square(test / sd).sum(1) / 2).mean() - np.log(sd).sum() - len(sd) / 2 * np.log(2 * np.pi)
    return truth - parzen.parzen(draws(10_000, 0, sd), draws(200, 1, sd), test).value


def test_two_windows():
    """log ½ (N(x; −1, σ²) + N(x; 1, σ²)), far from 0 too."""
    x, widths = np.array([[-1.0], [0.3], [2.0]]), np.array([0.5, 2.0])
    squares = [np.exp(-((x[:, 0] - s) ** 2) / (2 * widths[:, None] ** 2)) for s in (-1, 1)]
    truth = np.log(sum(squares) / 2 / np.sqrt(2 * np.pi) / widths[:, None])
    for offset in (0, 1e6):
        found = parzen.log_density(np.array([[-1.0], [1.0]]) + offset, x + offset, widths)
        np.testing.assert_allclose(found, truth, rtol=1e-8)


def test_the_width_is_the_best_on_validation_rows():
    sd = np.array([1.0, 0.5])
    samples, validation, test = draws(300, 0, sd), draws(200, 1, sd), draws(200, 2, sd)
    found = parzen.parzen(samples, validation, test)
    scores = parzen.log_density(samples, validation, found.width * np.array([0.8, 1, 1.25])).mean(1)
    assert scores.argmax() == 1
    on_test = parzen.log_density(samples, test, np.array([found.width]))[0]
    assert found[:2] == pytest.approx((on_test.mean(), on_test.std(ddof=1) / np.sqrt(200)))


def test_perfect_samples_are_low_by_nats():
    """By what the docstring says: 1.3 nats at d = 20, more where features are of unequal variance."""
    assert low(np.ones(20)) == pytest.approx(1.3, abs=0.15)
    assert low(np.logspace(0, -1, 20)) > 4
    assert low(np.ones(1)) == pytest.approx(0, abs=0.02)


@pytest.mark.slow
def test_perfect_samples_are_low_by_many_nats():
    assert low(np.ones(64)) == pytest.approx(9, abs=0.5)


def test_worse_samples_score_higher():
    """Windows add their variance: samples that are too narrow make up for it."""
    sd = np.ones(20)
    perfect, narrow = draws(2000, 0, sd), 0.7 * draws(2000, 3, sd)
    found = [parzen.parzen(each, draws(500, 1, sd), draws(500, 2, sd)) for each in (perfect, narrow)]
    assert found[1].value > found[0].value + 3 * found[0].error
    assert "legacy" in str(found[0]) and "rank nothing" in found[0].warning


def test_parzen_refuses():
    x = draws(20, 0, np.ones(3))
    with pytest.raises(UserError, match="all equal"):
        parzen.parzen(np.zeros((20, 3)), x, x)
    with pytest.raises(UserError, match="one d"):
        parzen.parzen(x, x, x[:, :2])
    with pytest.raises(UserError, match="not finite"):
        parzen.parzen(x, np.full((5, 3), np.nan), x)
