"""Extractors: PCA, random convolutions, a classifier, functions of the user's own."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ludus.data import mnist
from ludus.errors import UserError
from ludus.features import by_user, classifier, convolutions, extractor, observables, pca
from ludus.metrics.frechet import frechet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "LEAST", 10)  # turns: short, where the data are few
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ludus" / "features"


def noise(shape, n=60, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def digits():
    kept = load_digits()
    return (kept.images[..., None] / 16).astype(np.float32), kept.target


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


# All of them


@pytest.mark.parametrize("shape", [(20, 20, 1), (20, 200, 1), (9, 7, 5), (1, 1, 2), (3,)])
def test_features_of_any_shape(shape, monkeypatch):
    x = noise(shape) + 1000 * (np.arange(shape[-1]) == 1)
    made = [pca.fit(x)] + ([convolutions.fit(x)] if len(shape) == 3 else [])
    made += [classifier.fit(x, np.arange(60) % 3).features, observables.features(observables.defaults(x), x)]
    whole = [each(x) for each in made]
    for each, z in zip(made, whole):
        assert z.dtype == np.float64 and z.ndim == 2 and np.isfinite(z).all()
        assert each.name == each.identity["name"] and len(each.identity["sha256"]) == 64
        assert each.identity["preprocessing"]
    monkeypatch.setattr(extractor, "BLOCK", 8 * 7 * x[0].size)  # seven rows at a time
    for each, z in zip(made, whole):
        same(each(x), z)
        with pytest.raises(UserError, match="of rows"):
            each(x[..., :-1] if shape[-1] > 1 else x[:, :-1])
        with pytest.raises(UserError, match="not finite"):
            each(np.where(np.arange(60).reshape(-1, *[1] * len(shape)) == 5, np.nan, x))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0])
def test_constant_images(value):
    x = np.full((50, 6, 6, 1), value, np.float32)
    for each in (pca.fit(x), convolutions.fit(x), observables.features(observables.defaults(x), x)):
        assert np.abs(each(x)).max() < 1e-3  # of z-scores
        assert np.isfinite(each(x + noise((6, 6, 1), 50))).all()


def test_the_seed_and_the_rows_are_the_features():
    x = noise((8, 8, 1))
    for fit in (pca.fit, convolutions.fit, lambda x, seed=0: classifier.fit(x, np.arange(60) % 2, seed).features):
        assert (fit(x)(x) == fit(x)(x)).all() and fit(x).identity == fit(x).identity
        assert fit(x).identity["sha256"] != fit(x + 1).identity["sha256"] or fit(x).name == "classifier"
    for fit in (convolutions.fit, lambda x, seed=0: classifier.fit(x, np.arange(60) % 2, seed).features):
        assert fit(x, 1).identity["sha256"] != fit(x).identity["sha256"]
        assert np.abs(fit(x, 1)(x) - fit(x)(x)).max() > 0.1


def test_making_features_draws_nothing():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    x = noise((8, 8, 1))
    convolutions.fit(x)(x)
    classifier.fit(x, np.arange(60) % 2).features(x)
    assert torch.rand(1) == expected


def test_a_column_that_is_all_but_constant_counts_as_one_per_cent_of_the_median():
    rows = np.random.default_rng(0).normal(size=(500, 5)) * [1, 2, 3, 1e-6, 0]
    sd = rows.std(0)
    assert extractor.scale_of(rows).sd.tolist() == [*sd[:3], *[0.01 * np.median(sd[:4])] * 2]
    assert extractor.scale_of(np.ones((5, 2))).sd.tolist() == [1, 1]


# PCA


def test_components_are_those_of_the_covariance():
    """Against an eigendecomposition of the covariance of rows with known spectrum."""
    draws = np.random.default_rng(0)
    basis, _ = np.linalg.qr(draws.normal(size=(48, 48)))
    sds = 2.0 ** -np.arange(48)
    x = (5 + draws.normal(size=(3000, 48)) * sds @ basis.T).reshape(3000, 6, 8, 1)
    found = pca.fit(x)
    values, vectors = np.linalg.eigh(np.cov(x.reshape(3000, -1).T))
    k = int(np.searchsorted(np.cumsum(values[::-1]) / values.sum(), 0.95)) + 1
    assert found.identity["components"] == k == 3  # 1/4^j: 3/4, 15/16, 63/64 of the variance
    z = (x.reshape(3000, -1) - x.reshape(3000, -1).mean(0)) @ vectors[:, ::-1][:, :k]
    same(np.abs(found(x)), np.abs(z / z.std(0)))


@pytest.mark.parametrize("n, k", [(50, 5), (300, 30), (5000, 64)])
def test_number_of_components(n, k):
    x = noise((12, 12, 1), n)
    assert pca.fit(x)(x).shape == (n, k)
    assert pca.fit(noise((70,), n)).identity["components"] == k


def test_points_are_standardised():
    x = noise((2,), 100) * [1, 1e4] + [3, -7]
    same(pca.fit(x)(x), (x - x.mean(0)) / x.std(0))
    assert pca.fit(x).identity["components"] == 2


def test_channels_of_other_units_count_the_same():
    x = noise((6, 6, 2), 800)
    other = x * np.array([1, 1e5], np.float32) + np.array([0, 3e5], np.float32)
    same(np.abs(pca.fit(x)(x)), np.abs(pca.fit(other)(other)))


# Random convolutions


def test_convolutions_see_what_is_not_principal():
    x, _ = digits()
    see, half = convolutions.fit(x[:800]), x[800:1290]
    assert see(x).shape == (1797, 192)
    null = frechet(see(half), see(x[1290:1780]))
    noisy = half + 0.2 * np.random.default_rng(0).normal(size=half.shape)
    for worse in (noisy, 0.7 * half, half[:, ::-1]):
        assert frechet(see(worse), see(x[1290:1780])) > 2 * null
    with pytest.raises(UserError, match="points"):
        convolutions.fit(noise((2,)))


@pytest.mark.slow
def test_faults_of_mnist():
    """The mean FD of 2,000 against 2,000, by how many sd of its null it is off. Below 3 a fault is not seen.

    The convolutions see noise .02, blur .5 and × .97; PCA sees the blur. 13 pairs tell the sd to 20 %: 5 is seen.
    """
    from scipy.ndimage import gaussian_filter

    try:
        x = mnist.read("")
    except UserError:
        pytest.skip("MNIST's files are not here")
    draws = np.random.default_rng(0)
    x = x[draws.permutation(60_000), :, :, None].astype(np.float32) / 255
    pairs = [(x[a : a + 2000], x[a + 2000 : a + 4000]) for a in range(5000, 57_000, 4000)]
    worse = {
        "nothing": lambda half: half,
        "noise": lambda half: half + 0.02 * draws.normal(size=half.shape),
        "blur": lambda half: gaussian_filter(half, (0, 0.5, 0.5, 0)),
        "scale": lambda half: 0.97 * half,
    }
    off = {}
    for see in (convolutions.fit(x[:5000]), pca.fit(x[:5000])):
        others = [see(other) for _, other in pairs]
        for name, fault in worse.items():
            off[see.name, name] = np.array([frechet(see(fault(half)), z) for (half, _), z in zip(pairs, others)])
    z = {key: (fd.mean() - off[key[0], "nothing"].mean()) / off[key[0], "nothing"].std(ddof=1)
         for key, fd in off.items()}  # fmt: skip
    assert min(z["convolutions", name] for name in ("noise", "blur", "scale")) > 5, z
    assert z["pca", "noise"] < 3 and z["pca", "blur"] > 5, z


# The classifier


def test_classifier_of_digits(cache):
    x, y = digits()
    found = classifier.fit(x, np.array([f"digit {each}" for each in y]))
    assert found.held_out == 180 and found.accuracy > 0.9
    assert found.error == pytest.approx(np.sqrt(found.accuracy * (1 - found.accuracy) / 180))
    assert found.features.identity["accuracy"] == [round(found.accuracy, 4), round(found.error, 4)]
    p, z = found.probabilities(x), found.features(x)
    assert p.shape == (1797, 10) and p.sum(1) == pytest.approx(1) and z.shape == (1797, 64)
    assert found.classes[p.argmax(1)][:3].tolist() == ["digit 0", "digit 1", "digit 2"]
    assert np.abs(z.mean(0)).max() < 0.2 and np.median(z.std(0)) == pytest.approx(1, abs=0.1)
    (file,) = cache.iterdir()
    assert file.suffix == ".safetensors"


def test_classifier_is_trained_once(cache, monkeypatch):
    x, y = noise((8, 8, 1)), np.arange(60) % 2
    first = classifier.fit(x, y)
    with monkeypatch.context() as patched:
        patched.setattr(classifier, "trained", None)  # would raise
        again = classifier.fit(x, y)
    assert (again.features(x) == first.features(x)).all() and again.accuracy == first.accuracy
    assert again.features.identity == first.features.identity
    (file,) = cache.iterdir()
    for content in (b"damaged", file.read_bytes()[:-100]):
        file.write_bytes(content)
        assert (classifier.fit(x, y).features(x) == first.features(x)).all()
    classifier.fit(x, 1 - y)
    classifier.fit(x[:50], y[:50])
    classifier.fit(x, y, seed=1)
    assert len(list(cache.iterdir())) == 4


def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    x = noise((8, 8, 1))
    assert classifier.fit(x, np.arange(60) % 2).held_out == 6


def test_labels():
    x = noise((3,))
    y = np.where(np.arange(60) < 20, np.nan, np.arange(60) % 3.0)
    assert classifier.fit(x, y).features.identity["trained on"] == 36  # of 40 that are known
    for labels, said in ((np.zeros(60), "two classes"), (np.arange(59), "one label each"), (y[:5], "one label each")):
        with pytest.raises(UserError, match=said):
            classifier.fit(x, labels)
    with pytest.raises(UserError, match="ten rows"):
        classifier.fit(x[:9], np.arange(9))


def test_points_are_classified():
    x = noise((2,), 600)
    found = classifier.fit(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    assert found.accuracy > 0.8 and found.features(x).shape == (600, 64)


# The user's own

MINE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from ludus.features.observables import observable

@dataclass
class Weights:
    scale: float

W = Weights(2.0)
text = "not a function"

def double(x):
    x *= 2
    return torch.from_numpy(x.reshape(len(x), -1))
def flat(x): return x.mean((1, 2, 3))
def two(x): return {"low": x.min((1, 2, 3)), "high": x.max((1, 2, 3))}
def broken(x): raise KeyError("no such\\nweight")
def infinite(x): return x.reshape(len(x), -1) / 0
def words(x): return [["a"]] * len(x)
def graded(x): return torch.ones(len(x), 1, requires_grad=True)
def other(x): return x.reshape(len(x), -1)[:, :1 + len(x) % 2]
def short(x): return x.reshape(len(x), -1)[1:]

@observable(unit="counts", exact=3.0, tolerance=0.1, expectation=2.0)
def total(x): return x.sum((1, 2, 3))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(observables, "REGISTERED", {})
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return f"{file}:"


def test_features_by_the_user(mine):
    x = noise((4, 5, 2))
    found = by_user.features(f"{mine}double")
    np.testing.assert_array_equal(found(x), 2 * x.reshape(60, -1).astype(float))  # and x is as it was
    assert found.name == found.identity["name"] == f"{mine}double"
    assert found.identity["sha256"] == hashlib.sha256(MINE.encode()).hexdigest()


def test_observables_by_the_user(mine):
    x = noise((4, 5, 2))
    given = [by_user.observable(f"{mine}{name}") for name in ("flat", "two", "total")]
    found = observables.table(given, x)
    assert found.names == ("flat", "low", "high", "total")
    np.testing.assert_allclose(found["total"], x.sum((1, 2, 3)), rtol=1e-5)
    made = found.origin[3]
    assert (made.unit, made.exact, made.tolerance, made.expectation) == ("counts", 3.0, 0.1, 2.0)
    assert [each.name for each in observables.chosen(x, given)].count("total") == 1  # registered, and given


@pytest.mark.parametrize(
    "name, said",
    [
        ("flat", r"gave \(60,\) for rows \(60, 4, 5, 2\): features are \(60, d\)"),
        ("short", r"gave \(59, 40\)"),
        ("broken", r"raised KeyError: 'no such\\nweight', for rows \(60, 4, 5, 2\) float32"),
        ("infinite", "2,400 values that are not finite"),
        ("words", "a list, not an array of numbers"),
        ("graded", "not an array of numbers"),
        ("doubel", "unknown function of mine.py 'doubel'. Did you mean 'double'"),
        ("text", "text is a str, not a function"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_a_user_can_get_wrong(mine, name, said):
    with pytest.raises(UserError, match=said) as error:
        by_user.features(f"{mine}{name}")(noise((4, 5, 2)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, said", [("broken", "raised KeyError"), ("short", "one number a row")])
def test_what_a_user_can_get_wrong_of_an_observable(mine, name, said):
    with pytest.raises(UserError, match=said) as error:
        observables.table([by_user.observable(f"{mine}{name}")], noise((4, 5, 2)))
    assert "\n" not in str(error.value)


def test_widths_that_change(mine, monkeypatch):
    monkeypatch.setattr(extractor, "BLOCK", 8 * 4 * 7)
    with pytest.raises(UserError, match="other widths"):
        by_user.features(f"{mine}other")(noise((2, 2, 1)))


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "bad.py").write_text("def f(x:\n")
    (tmp_path / "stop.py").write_text("raise SystemExit(0)")
    (tmp_path / "f.txt").write_text("def f(x): return x")
    for text, said in [
        ("mine.py", "say my_file.py:function"),
        (":f", "say my_file.py:function"),
        (f"{tmp_path}/none.py:f", "there is no file"),
        (f"{tmp_path}/bad.py:f", "bad.py does not run: SyntaxError"),
        (f"{tmp_path}/stop.py:f", "stop.py does not run: SystemExit"),
        (f"{tmp_path}/f.txt:f", "not a Python file"),
    ]:
        with pytest.raises(UserError, match=said) as error:
            by_user.load(text)
        assert "\n" not in str(error.value)
