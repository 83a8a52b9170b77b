"""Codes against factors."""

import numpy as np
import pytest

from ludus.errors import UserError
from ludus.metrics import matching


def test_classes_are_matched_whatever_they_are_called():
    truth = np.random.default_rng(0).integers(4, size=1000)
    exchanged = np.array([2, 0, 3, 1])[truth]
    found = matching.classes(exchanged, truth)
    assert found.accuracy == 1 and found.error == 0 and found.match == {2: 0, 0: 1, 3: 2, 1: 3}
    wrong = np.where(np.arange(1000) < 100, (exchanged + 1) % 4, exchanged)
    assert matching.classes(wrong, truth).accuracy == pytest.approx(0.9)


def test_labels_are_of_any_kind():
    assert matching.classes([0, 1, 1, 0], [-1, 0, 0, -1])[0] == 1
    found = matching.classes(["b", "a", "b"], [0.5, 1.5, 0.5])
    assert found.accuracy == 1 and found.match == {"b": 0.5, "a": 1.5}


def test_the_matching_is_one_to_one():
    """Two found classes that are both mostly one true class cannot both have it."""
    found, truth = np.array([0] * 5 + [1] * 4 + [1] * 2), np.array([0] * 5 + [0] * 4 + [1] * 2)
    assert matching.classes(found, truth).match == {0: 0, 1: 1}
    assert matching.classes(found, truth).accuracy == pytest.approx(7 / 11)
    three = matching.classes(np.array([0, 1, 2]), np.array([0, 1, 1]))  # more found than there are
    assert len(three.match) == 2 and three.accuracy == pytest.approx(2 / 3)


def test_factors_are_matched_by_rank():
    draws = np.random.default_rng(0)
    truth = draws.normal(size=(500, 3))
    found = np.stack([-np.exp(truth[:, 2]), truth[:, 0] ** 3, draws.normal(size=500)], 1)
    result = matching.factors(found, truth)
    assert result.match == {0: 2, 1: 0, 2: 1}
    assert result.correlation[0, 2] == pytest.approx(-1) and result.correlation[1, 0] == pytest.approx(1)
    assert abs(result.correlation[2, 1]) < 4 / 500**0.5


def test_shapes_are_refused():
    with pytest.raises(UserError, match=r"two of \(n,\)"):
        matching.classes(np.zeros((2, 2), int), np.zeros(2, int))
    with pytest.raises(UserError, match="three rows"):
        matching.factors(np.zeros((5, 2)), np.zeros((4, 2)))
