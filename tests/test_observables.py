"""Observables of images, points and lattices: what they are, what is exact, and that no image breaks them."""

import numpy as np
import pytest
import torch

from ludus.errors import UserError
from ludus.features import lattice, worlds
from ludus.features import observables as obs
from ludus.features.curves import curves
from ludus.features.observables import Observable, table
from ludus.worlds.ins import Ins
from ludus.worlds.mixtures import WORLDS

SHAPES = [(8, 8, 1), (20, 20, 1), (20, 200, 1), (28, 28, 1), (9, 7, 2), (20, 20, 5), (1, 12, 1), (1, 1, 1), (2,), (7,)]


def noise(shape, n=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


# The default set


def test_numbers_of_an_image_that_is_known():
    """A bar of 3 × 2 pixels of height 5 on a ground of 1."""
    x = np.ones((1, 8, 10, 1))
    x[0, 2:5, 6:8] = 5
    fit = np.concatenate([x, 1 + 4 * (np.arange(80) == 0).reshape(1, 8, 10, 1)])
    found = table(obs.defaults(fit), x)
    share, value = 6 / 80, dict(zip(found.names, found.values[0]))
    sd = 4 * np.sqrt(share * (1 - share))
    assert value["mean"] == pytest.approx(1 + 4 * share) and value["standard deviation"] == pytest.approx(sd)
    assert (value["minimum"], value["maximum"]) == (1, 5)
    assert value["skewness"] == pytest.approx((1 - 2 * share) / np.sqrt(share * (1 - share)))  # Bernoulli's
    assert value["excess kurtosis"] == pytest.approx((1 - 6 * share * (1 - share)) / (share * (1 - share)))
    bright = fit.mean() + 2 * fit.std()
    assert value[f"share above {bright:.4g}"] == pytest.approx(share)
    assert value["centroid row"] == pytest.approx(3) and value["centroid column"] == pytest.approx(6.5)
    assert value["width along rows"] == pytest.approx(np.sqrt(2 / 3)) and value["width along columns"] == 0.5
    assert value["roughness of row means"] == pytest.approx(np.sqrt(2 * (4 * 2 / 10) ** 2 / 7))
    off = (x - x.mean())[0, :, :, 0]
    assert value["correlation of vertical neighbours"] == pytest.approx((off[1:] * off[:-1]).mean() / sd**2)
    assert value["correlation of horizontal neighbours"] == pytest.approx((off[:, 1:] * off[:, :-1]).mean() / sd**2)


def test_a_wave_has_power_at_its_own_period_alone():
    rows, columns = np.mgrid[:32, :64]
    periods = [1.6, 2, 3.2, 4, 8, 16]
    waves = [np.cos(2 * np.pi * columns / p) if p >= 2 else (-1.0) ** rows * np.cos(2 * np.pi * 3 * columns / 8)
             for p in periods]  # fmt: skip
    x = np.stack(waves)[..., None]
    found = table(obs.defaults(x), x)
    places = [i for i, name in enumerate(found.names) if name.startswith("power")]
    names = [found.names[places[i]] for i in found.values[:, places].argmax(1)]
    bands = ["below 2", "2 to 4", "2 to 4", "4 to 8", "8 to 16", "16 to 32"]
    assert names == [f"power at periods {band} pixels" for band in bands]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_image_has_finite_observables_and_curves(shape):
    x = noise(shape)
    x[:6] = np.array([0, 1, -1, 0.1, 1e6, 1e-6], np.float32).reshape(6, *[1] * len(shape))  # constant
    x[6].flat[0] = 1e4
    for fit in (x, np.zeros_like(x)):
        found = table(obs.defaults(fit), x)
        assert found.values.shape == (40, len(found.names)) and np.isfinite(found.values).all()
        assert len(set(found.names)) == len(found.names)
        for curve in curves(fit):
            values = curve(x)
            assert values.shape == (40, len(curve.at)) and np.isfinite(values).all(), curve.name
    if len(shape) == 3 and shape[0] > 7:
        assert 18 <= len(table(obs.defaults(x), x).names) / shape[2] <= 24
    z = obs.features(obs.defaults(x), x)(x)
    assert np.isfinite(z).all() and np.abs(z.mean(0)).max() < 1e-6


def test_a_constant_image_has_no_structure():
    x = np.full((1, 12, 12, 1), 0.1)
    found = dict(zip((t := table(obs.defaults(noise((12, 12, 1))), x)).names, t.values[0]))
    flat = ["standard deviation", "skewness", "excess kurtosis", "roughness of row means", "roughness of column means",
            "correlation of vertical neighbours", "correlation of horizontal neighbours"]  # fmt: skip
    assert [found[name] for name in flat] == [0] * 7
    assert found["centroid row"] == 5.5 and found["width along rows"] == pytest.approx(np.sqrt((12**2 - 1) / 12))


def test_channels_are_correlated_by_pairs():
    x = noise((30, 30, 3), n=20)
    x[..., 2] = -2 * x[..., 0] + 7
    found = table(obs.defaults(x), x)
    assert found["correlation of channels 1 and 3"] == pytest.approx(-np.ones(20), abs=1e-6)
    assert np.abs(found["correlation of channels 1 and 2"]).max() < 5 / 30
    np.testing.assert_allclose(found["channel 3: mean"], -2 * found["channel 1: mean"] + 7, rtol=1e-6)


def test_points():
    x = np.array([[1.0, 2.0, -3.0]])
    found = table(obs.defaults(x), x)
    expected = {"x1": 1, "x2": 2, "x3": -3, "squared radius": 14, "x1 x2": 2, "x1 x3": -3, "x2 x3": -6}
    assert dict(zip(found.names, found.values[0])) == expected


def test_blocks_change_nothing(monkeypatch):
    x = noise((9, 11, 1), n=50)
    whole = table(obs.defaults(x), x)
    monkeypatch.setattr("ludus.features.extractor.BLOCK", 8 * 99 * 7)  # seven images at a time
    again = table(obs.defaults(x), x)
    assert again.names == whole.names
    np.testing.assert_allclose(again.values, whole.values, rtol=1e-12, atol=1e-12)


def test_constant_observables_do_not_drown_the_others():
    """The minimum of all rows is 0: features divide by 1 % of the median sd of the same unit."""
    x = np.abs(noise((8, 8, 1), n=200))
    x[:, 0, 0] = 0
    columns = obs.defaults(x)
    found, z = table(columns, x), obs.features(columns, x)
    i = found.names.index("minimum")
    units = [each.unit == obs.UNITS for each in found.origin]
    sds = found.values.std(0)
    other = x.copy()
    other[:, 0, 0] = -1e-3
    assert sds[i] == 0
    floor = 0.01 * np.median(sds[units][sds[units] > 0])
    np.testing.assert_allclose(z(other)[:, i], -1e-3 / floor, rtol=1e-6)


# The user's own


def test_the_decorator_registers(monkeypatch):
    monkeypatch.setattr(obs, "REGISTERED", {})

    @obs.observable(unit="counts", exact=0.0, tolerance=0.5)
    def deficit(x):
        return x.sum((1, 2, 3)) - 1

    @obs.observable
    def halves(x):
        return {"left": x[:, :, :2].mean((1, 2, 3)), "right": x[:, :, 2:].mean((1, 2, 3))}

    x = np.zeros((4, 4, 4, 1))
    x[1:, 0, 0] = [[1.0], [1.25], [3.0]]
    columns = obs.chosen(x)
    assert [each.name for each in columns[-2:]] == ["deficit", "halves"] and deficit(x)["deficit"][0] == -1
    found = table(columns, x)
    assert {"deficit", "left", "right"} < set(found.names) and found["left"][1] == 1 / 8
    assert obs.constraints(found) == {"deficit": (0.0, 0.5, 0.3125, 2.0, 0.5)}
    assert obs.constraints(found)["deficit"].violations == 0.5
    other = Observable("deficit", lambda x: x[:, 0, 0, 0])
    assert obs.constraints(table(obs.chosen(x, [other]), x)) == {}  # of one name, the one that was given


@pytest.mark.parametrize(
    "function, said",
    [
        (lambda x: x, r"gave \(5, 4, 4, 1\)"),
        (lambda x: x.mean(), r"one number a row, \(5,\)"),
        (lambda x: np.full(5, np.nan), "not finite for 5 of 5 rows"),
        (lambda x: ["a"] * 5, "not numbers"),
        (lambda x: {"mean": x.mean((1, 2, 3))}, "two observables are called 'mean'"),
    ],
)
def test_observables_that_are_none(function, said):
    x = noise((4, 4, 1), n=5)
    with pytest.raises(UserError, match=said):
        table([*obs.defaults(x), Observable("mine", function)], x)


def test_images_that_are_not_finite():
    x = noise((4, 4, 1), n=5)
    x[3, 1, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        obs.defaults(x)
    with pytest.raises(UserError, match="not finite"):
        table([], x)
    with pytest.raises(UserError, match=r"\(n, H, W, C\)"):
        obs.defaults(x[0])


def test_symmetries():
    """Noise has them all; a gradient along the rows is found by the centroid."""
    x = noise((10, 10, 1), n=2000)
    columns = obs.defaults(x)
    z = {}
    for name in obs.SYMMETRIES:
        found = obs.differences(columns, x, name)
        sd = found.values.std(0, ddof=1)
        z[name] = np.divide(found.values.mean(0), sd / 2000**0.5, out=np.zeros_like(sd), where=sd > 1e-9)
        assert np.abs(z[name]).max() < 4, name  # of 100 numbers, normal, P(beyond 4) = 0.6 %
    tilted = x + np.arange(10, dtype=np.float32)[:, None, None] / 10
    found = obs.differences(columns, tilted, "up-down")
    assert found["centroid row"].mean() > 0.1 and found["centroid column"].mean() == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match="square"):
        obs.differences(columns, noise((4, 6, 1)), "rotated")
    with pytest.raises(UserError, match="Did you mean 'up-down'"):
        obs.differences(columns, x, "updown")


# The worlds' own


@pytest.mark.parametrize("world", ["ring", "grid"])
def test_mixtures_keep_what_is_known_of_them(world):
    n = 20_000
    x = WORLDS[world]().sample(n, torch.Generator().manual_seed(0)).x.numpy()
    found = table(worlds.own(world, (2,)), x)
    assert found.values.shape[1] == 2 + {"ring": 8, "grid": 25}[world]
    assert found.origin[1].expectation == pytest.approx(0.98889, abs=1e-5)
    for name, values, each in zip(found.names, found.values.T, found.origin):
        assert abs(values.mean() - each.expectation) < 4 * values.std() / n**0.5, name
    off = table(worlds.own(world, (2,)), np.array([[0.37, 0.41]]))
    assert off["within 3 sd of a centre"] == 0 and off["distance to the nearest centre"] > 3


def test_neutron_pictures_keep_what_is_known_of_them():
    x = Ins().draw(30, torch.Generator().manual_seed(0)).images.numpy()[..., None]
    found = table(worlds.own("ins", x.shape[1:]), x)
    assert len(found.names) == 13
    energies = [i for i, name in enumerate(found.names) if name.startswith("mean intensity")]
    np.testing.assert_allclose(found.values[:, energies].mean(1), x.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["mean intensity at 18.8 meV"], x[:, :, 60:80].mean((1, 2, 3)), rtol=1e-5)
    known = obs.constraints(found)
    assert set(known) == {"lowest intensity below 0", "brightest pixel less 1"}
    assert all(each.violations == 0 and each.worst < 1e-6 for each in known.values())
    false = obs.constraints(table(worlds.own("ins", x.shape[1:]), 0.9 * x - 0.02))
    assert all(each.violations == 1 for each in false.values())
    profiles = {curve.name: curve for curve in worlds.curves("ins", x.shape[1:])}
    assert profiles["profile along H"].at[7] == -1.3
    np.testing.assert_allclose(profiles["profile along H"](x)[:, 7], x[:, 7].mean((1, 2)), rtol=1e-5)


def test_large_neutron_pictures():
    x = np.zeros((2, 240, 400, 1))
    found = table(worlds.own("ins", x.shape[1:]), x)
    assert found["largest |I(Q) - I(-Q)|"].tolist() == [0, 0] and worlds.curves("ins", x.shape[1:]) == []


def test_other_worlds_know_nothing():
    assert worlds.own("spiral", (2,)) == worlds.own("mnist", (28, 28, 1)) == worlds.curves("ring", (2,)) == []


# Curves


def test_histogram_and_profiles():
    x = np.arange(24.0).reshape(2, 3, 4, 1)
    found = {curve.name: curve for curve in curves(x)}
    counted = found["histogram"](np.concatenate([x, np.full((1, 3, 4, 1), 99.0)]))
    assert counted.sum(1).tolist() == pytest.approx([1, 1, 1]) and counted[2, -1] == 1
    assert np.count_nonzero(counted[0, :25]) == 12 and not counted[0, 25:].any()
    assert found["row means"](x)[1].tolist() == [13.5, 17.5, 21.5]
    assert found["column means"](x)[0].tolist() == [4, 5, 6, 7]
    area = found["area above a threshold"]
    np.testing.assert_allclose(area(x)[0], [(x[0] > t).mean() for t in area.at])
    assert found["correlation across rows"](x)[:, 0] == pytest.approx(x.var((1, 2, 3)))
    assert found["power spectrum across columns"].at.tolist() == [0.25, 0.5]


# Lattices: the Ising model on 4×4, by enumeration against the transfer matrix

SITES = 16


def ising_states():
    return 1.0 - 2 * ((np.arange(2**SITES)[:, None] >> np.arange(SITES)) & 1).reshape(-1, 4, 4)


def transfer(beta, phase=0.0):
    """Z = Σ over all states of e^{−βE + i phase M}, J = 1, and dZ/dβ, from the 16×16 transfer matrix of rows."""
    row = 1.0 - 2 * ((np.arange(16)[:, None] >> np.arange(4)) & 1)
    bonds = row @ row.T + (row * np.roll(row, 1, 1)).sum(1)
    one = np.exp(beta * bonds + 1j * phase * row.sum(1))
    cubed = one @ one @ one
    return np.trace(cubed @ one), 4 * np.trace(cubed @ (bonds * one))


@pytest.mark.parametrize("beta", [0.2, 0.4406867935, 0.7])
def test_ising_model_by_enumeration(beta):
    s = ising_states()
    e, m = lattice.energy(s), lattice.magnetisation(s)
    weights = np.exp(-beta * SITES * (e + 2))
    phases, M = np.pi * np.arange(17) / 17, np.arange(-16, 17, 2)
    z = np.array([transfer(beta, phase)[0] for phase in phases])  # 17 imaginary fields give the law of M
    law = (np.exp(-1j * np.outer(M, phases)) @ z).real / (17 * z[0].real)
    moment = {k: (np.abs(M / SITES) ** k * law).sum() for k in (1, 2, 4)}
    z0, slope = (each.real for each in transfer(beta))
    assert lattice.average(np.abs(m), weights) == pytest.approx(moment[1], abs=1e-10)
    assert lattice.average(m**2, weights) == pytest.approx(moment[2], abs=1e-10)
    assert lattice.binder(m, weights) == pytest.approx(1 - moment[4] / (3 * moment[2] ** 2), abs=1e-10)
    assert lattice.susceptibility(np.abs(m), SITES, weights) == pytest.approx(
        SITES * (moment[2] - moment[1] ** 2), abs=1e-9)  # fmt: skip
    assert lattice.average(e, weights) == pytest.approx(-slope / z0 / SITES, abs=1e-10)


def test_density_of_states():
    """Energies of the 65,536 states of 4×4: 2, 32, 64, 424, 1728, 6688, 13568, 20524 and the same back."""
    e, counts = np.unique(np.rint(16 * lattice.energy(ising_states())), return_counts=True)
    half = [2, 32, 64, 424, 1728, 6688, 13568]
    assert dict(zip(e.astype(int), counts)) == dict(
        zip([-32, -24, -20, -16, -12, -8, -4, 0, 4, 8, 12, 16, 20, 24, 32], [*half, 20524, *half[::-1]]))  # fmt: skip


def test_staggered_holes_and_values():
    checkers = 1.0 - 2 * (np.indices((4, 6)).sum(0) % 2)
    s = np.stack([checkers, -checkers, np.ones((4, 6))])
    assert lattice.staggered(s).tolist() == [1, -1, 0] and lattice.energy(s).tolist() == [2, 2, -2]
    s[0, 0, :3] = 0
    assert lattice.holes(s).tolist() == [1 / 8, 0, 0]
    s[1, 0, 0], s[1, 0, 1] = 0.5, -0.999
    assert lattice.outside(s, (-1, 0, 1)).tolist() == [0, 1 / 24, 0]
    assert lattice.values_of(np.array([0, 1, 1])) == (0, 1) and lattice.values_of([-1, 1]) == (-1, 1)
    assert lattice.values_of([-1, 0]) == lattice.values_of([-1, 0, 1]) == (-1, 0, 1)
    assert lattice.values_of([0, 0]) is lattice.values_of([0, 1, 2]) is lattice.values_of([0.0, 0.5, 1]) is None
    assert lattice.spins(np.array([0, 1]), (0, 1)).tolist() == [-1, 1]
    assert np.isnan(lattice.binder(np.zeros(3))) and lattice.binder(np.array([1, -1])) == pytest.approx(2 / 3)


def test_lattices_are_recognised():
    draws = np.random.default_rng(0)
    x = draws.choice([-1.0, 0, 1], size=(30, 6, 6, 1))
    found = table(obs.defaults(x), x)
    assert {"magnetisation", "energy", "hole density", "share outside {-1, 0, 1}"} < set(found.names)
    np.testing.assert_allclose(found["hole density"], (x == 0).mean((1, 2, 3)))
    continuous = obs.constraints(table(obs.defaults(x), x + 0.1))["share outside {-1, 0, 1}"]
    assert continuous.violations == 1 and continuous.mean == 1
    occupied = table(obs.defaults((x > 0) * 1.0), (x > 0) * 1.0)
    np.testing.assert_allclose(occupied["magnetisation"], 2 * (x > 0).mean((1, 2, 3)) - 1)
    assert "hole density" not in occupied.names
