"""Power spectra and correlations against closed forms and direct sums; Minkowski functionals of known shapes."""

import numpy as np
import pytest

from ludus.features import minkowski, spectra

SHAPES = [(16, 16), (20, 200), (15, 8), (28, 28), (1, 7), (1, 1)]


def noise(shape, n=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)) + 100


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval(shape):
    x = noise(shape)
    variance = x.var((1, 2))
    tight = dict(rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(spectra.power(x).mean((1, 2)), variance, **tight)
    rings = spectra.radial(x)
    np.testing.assert_allclose(rings.values @ rings.counts / x[0].size, variance, **tight)
    assert rings.counts.sum() == x[0].size - 1
    for axis in (1, 2):
        f, values = spectra.along(x, axis)
        both = np.where((f == 0) | (f == 0.5), 1, 2)  # f and −f
        np.testing.assert_allclose(values @ both / x.shape[axis], variance, **tight)


@pytest.mark.parametrize("shape", SHAPES)
def test_correlation_is_the_inverse_transform_and_the_direct_sum(shape):
    x = noise(shape)
    c = spectra.correlation(x)
    np.testing.assert_allclose(np.fft.fft2(c), spectra.power(x), atol=1e-10)
    np.testing.assert_allclose(c[:, 0, 0], x.var((1, 2)), atol=1e-12)
    off = x - x.mean((1, 2), keepdims=True)
    for shift in [(0, 1), (2, 0), (3, -2)]:
        direct = (off * np.roll(off, [-s for s in shift], (1, 2))).mean((1, 2))
        np.testing.assert_allclose(c[:, shift[0] % shape[0], shift[1] % shape[1]], direct, atol=1e-10)


def test_padded_correlation_counts_the_pairs_that_there_are():
    x = noise((5, 7))
    off = x - x.mean((1, 2), keepdims=True)
    c = spectra.correlation_padded(x)
    rows, columns = spectra.lags(5), spectra.lags(7)
    assert c.shape == (3, 9, 13) and set(rows) == set(range(-4, 5))
    for i, down in enumerate(rows):
        for j, right in enumerate(columns):
            one = off[:, max(0, -down) : 5 - max(0, down), max(0, -right) : 7 - max(0, right)]
            other = off[:, max(0, down) : 5 - max(0, -down), max(0, right) : 7 - max(0, -right)]
            np.testing.assert_allclose(c[:, i, j], (one * other).mean((1, 2)), atol=1e-12)
    np.testing.assert_allclose(spectra.correlation_along(x, 1), c[:, :5, 0], atol=1e-12)
    np.testing.assert_allclose(spectra.correlation_along(x, 2), c[:, 0, :7], atol=1e-12)


def test_a_gaussian_field_of_power_k_to_the_minus_two_is_recovered():
    """2,000 maps: each annulus within 4 standard errors, and 3 %, of the mean of k⁻² over its wave vectors."""
    n, side, draws = 2000, 64, np.random.default_rng(0)
    k = side * spectra.frequency(side, side)
    k[0, 0] = np.inf
    found = []
    for _ in range(4):
        white = np.fft.fft2(draws.normal(size=(n // 4, side, side)))
        found.append(spectra.radial(np.fft.ifft2(white / k).real))
    values, at, counts = np.concatenate([each.values for each in found]), found[0].at, found[0].counts
    np.testing.assert_array_equal(np.rint(side * at[:32]), np.arange(1, 33))  # square pixels: integer |k|
    expected = spectra.annuli((k**-2.0)[None], spectra.frequency(side, side), 1 / side).values[0]
    z = (values.mean(0) - expected) / (values.std(0, ddof=1) / n**0.5)
    assert np.abs(z).max() < 4
    assert np.abs(values.mean(0) / expected - 1).max() < 0.03
    assert counts[0] == 8 and counts[1] == 12


def test_white_noise_is_flat_in_oblong_images():
    x = np.random.default_rng(1).normal(scale=2, size=(2000, 20, 200))
    rings = spectra.radial(x)
    z = (rings.values.mean(0) - 4) / (rings.values.std(0, ddof=1) / 2000**0.5)
    assert np.abs(z).max() < 4 and len(rings.at) == 141
    assert (np.abs(rings.at[:100] * 200 - np.arange(1, 101)) < 0.5).all()


def test_an_annulus_is_one_of_frequency():
    """Waves of one length, along the rows and along the columns of 20×200, lie in one annulus."""
    rows, columns = np.mgrid[:20, :200]
    waves = np.stack([np.cos(2 * np.pi * rows / 5), np.cos(2 * np.pi * columns / 5)])
    found = spectra.radial(waves)
    assert found.values.argmax(1).tolist() == [39, 39] and found.at[39] == pytest.approx(0.2, abs=1 / 400)
    f, lines = spectra.along(waves, 2)
    assert lines[1].argmax() == 40 and f[40] == 0.2 and lines[1, 40] == pytest.approx(200 / 4)
    assert lines[0, 0] == pytest.approx(200 / 2)  # constant lines: all of the variance, ½, at f = 0


def test_a_constant_image_has_no_power():
    assert not spectra.power(np.full((2, 9, 9), 0.1)).any()


def euler_by_search(lit):
    """Pieces, corners joining, less holes, corners not joining."""
    from scipy.ndimage import label

    pieces = label(lit, np.ones((3, 3)))[1]
    return pieces - (label(np.pad(~lit, 1, constant_values=True))[1] - 1)


def test_minkowski_functionals_of_shapes():
    ring, pair, corner = np.zeros((3, 6, 7), bool)
    ring[1:4, 1:4] = True
    ring[2, 2] = False
    pair[0, 0] = pair[5, 5:] = True
    corner[1, 1] = corner[2, 2] = True
    lit = np.stack([ring, pair, corner])
    assert (42 * minkowski.area(lit)).round(9).tolist() == [8, 3, 2]
    assert (42 * minkowski.boundary(lit)).round(9).tolist() == [16, 10, 8]
    assert (42 * minkowski.euler(lit)).round(9).tolist() == [0, 2, 1]
    noise = np.random.default_rng(0).random((40, 12, 9)) < np.linspace(0.1, 0.9, 40)[:, None, None]
    found = 12 * 9 * minkowski.euler(noise)
    np.testing.assert_allclose(found, [euler_by_search(each) for each in noise], atol=1e-9)
