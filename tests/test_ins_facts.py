"""What is declared as exact about the neutron pictures holds for those that are simulated."""

import pytest
import torch

from ludus.worlds.ins import Ins
from ludus.worlds.ins_facts import band_edges, first_moment, mirror, observables, residuals
from ludus.worlds.spin_wave import MODELS, form_factors, intensity, layered, matrices, modes


def drawn(model, n=8, mode="practical"):
    return Ins(mode=mode, model=model).draw(n, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["practical", "physical", "instrument", "published"])
def test_nothing_is_left_of_a_true_picture(mode):
    found = residuals(drawn("both", 2, mode).images)
    assert ("inversion" in found) == (mode in ("instrument", "published"))
    for name, values in found.items():
        assert values.abs().max() < 1e-6, name


def test_a_false_picture_is_found_out():
    false = drawn("both", 1, "instrument").images
    false[0, 3, 5] = -0.25
    found = residuals(false)
    assert found["negative"] == -0.25 and found["inversion"] >= 0.25


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("component", ["zz", "xx"])
def test_first_moment_is_that_of_the_modes(model, component):
    parameters = drawn(model).parameters
    q = 4 * torch.rand(30, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 2
    f = form_factors(q.norm(dim=1))
    at = q + torch.tensor([0.0, 0.0 if component == "zz" else 1.0])
    found = modes(layered(matrices(model, at), 1 if component == "zz" else -1), parameters, component)
    moment = (found.energy * intensity(found, f[:, None], 2.0)).sum(-1)
    expected = first_moment(model, parameters, q, f, component)
    assert torch.allclose(moment, expected, rtol=1e-5, atol=1e-4)  # SHIFT = 1e-6 meV on top of the matrix


@pytest.mark.parametrize("mode", ["practical", "physical"])
def test_mirror_gives_the_same_picture(mode):
    parameters, world = drawn("dimer").parameters, Ins(mode=mode, model="dimer")
    one, other = (world.spectra("dimer", p)[0] for p in (parameters, mirror(parameters)))
    assert (one - other).abs().max() < 1e-9 * one.max()
    half = parameters[:, [3, 1, 2, 0, 4, 5]]
    assert (one - world.spectra("dimer", half)[0]).abs().max() > 1e-3 * one.max()  # exchanging only one pair does not


def test_no_intensity_beyond_the_band():
    for model in MODELS:
        batch = drawn(model, 20)
        edges = band_edges(model, batch.parameters)
        assert (edges[..., 0] <= edges[..., 1]).all() and (edges.diff(dim=1) >= 0).all()
        spectrum = observables(batch.images)["energy"]
        lower = 2 + 4.8 * torch.arange(10)
        beyond = lower > edges[:, -1:, 1] + 0.5  # meV: the zone is looked at in steps
        assert (spectrum[beyond] == 0).all()


def test_observables_are_means_of_the_picture():
    images = drawn("both", 5).images
    found = observables(images)
    mean = images.mean((1, 2))
    for name in ("energy", "H", "K"):
        assert torch.allclose(found[name].mean(1), mean, rtol=1e-5), name
    assert torch.allclose(found["energy"][:, 3], images[:, :, 60:80].mean((1, 2)))
    assert torch.allclose(found["H"][:, 7], images[:, 7].mean(1))
    assert ((found["lit"] > 0) & (found["lit"] < 1)).all()
