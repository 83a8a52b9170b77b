"""The power of pictures at fine scales."""

import numpy as np
import pytest

from ludus.metrics.sharpness import fine_power


def test_a_wave_has_half_its_squared_amplitude_at_its_own_frequency():
    rows, columns = np.mgrid[:20, :40]
    for cycles, fine in [((0, 4), False), ((0, 14), True), ((8, 0), True), ((3, 9), True)]:  # over the picture
        wave = 3 * np.cos(2 * np.pi * (cycles[0] * rows / 20 + cycles[1] * columns / 40))
        assert fine_power(wave[None] + 7)[0] == pytest.approx(4.5 * fine, abs=1e-12)


def test_all_frequencies_are_the_variance():
    x = np.random.default_rng(0).normal(size=(3, 15, 8))
    np.testing.assert_allclose(fine_power(x, above=0), x.reshape(3, -1).var(1))
