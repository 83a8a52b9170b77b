"""The search finds the parameters that a picture was made with, and says how well it knows them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ludus.errors import UserError
from ludus.inference import fit_ins
from ludus.inference.fit_ins import blurred, fit, similarity
from ludus.worlds.ins import Ins


def test_blurred_pictures_keep_what_correlation_needs():
    images = torch.rand(3, 20, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = blurred(images, 0.0, 0.0)
    expected = np.corrcoef(images.flatten(1).numpy())
    assert torch.allclose(flat @ flat.T, torch.from_numpy(expected), atol=1e-12)
    line = torch.zeros(1, 20, 200, dtype=torch.float64)
    line[0, 10, 90] = 1  # the fifth panel, its middle
    soft = blurred(line, 1.0, 0.5).reshape(20, 10, 20)
    assert soft.argmax() == 10 * 200 + 4 * 20 + 10
    assert soft[10, 4, 10] / soft[10, 4, 11] == pytest.approx(np.exp(0.5), rel=0.02)  # but for the mean taken off


def test_the_scale_of_a_picture_does_not_matter():
    image = Ins(model="dimer").draw(1, torch.Generator().manual_seed(0)).images[0].double()
    assert similarity(3 + 7 * image, 1.0, 0.5)(image[None])[0] == pytest.approx(1, abs=1e-12)


def test_nor_does_its_unit(monkeypatch):
    """Cross-sections in m² are of the order of 1e-28: the same parameters and errors, the picture in the same unit."""
    monkeypatch.setattr(fit_ins, "BLURS", ((2.0, 1.0, 2),))
    monkeypatch.setattr(fit_ins, "POPULATION", 12)
    monkeypatch.setattr(fit_ins, "FIRST", 24)
    image = Ins(model="dimer").draw(1, torch.Generator().manual_seed(0)).images[0].double()
    for one, tiny in zip(fit(image), fit(2.0**-93 * image)):
        assert one.model == tiny.model and torch.equal(one.parameters, tiny.parameters)
        assert torch.allclose(one.errors, tiny.errors, rtol=1e-9) and one.errors.any()
        assert torch.allclose(one.image, 2.0**93 * tiny.image, rtol=1e-9)


@pytest.mark.parametrize(
    "image, words",
    [
        (np.ones((28, 28)), r"\(20, 200\)"),
        (np.ones((20, 200)), "constant"),
        (np.full((20, 200), np.nan), "4000 values that are not finite"),
    ],
)
def test_what_is_no_neutron_picture_is_refused(image, words):
    with pytest.raises(UserError, match=words):
        fit(image)


def test_a_search_at_a_tenth_of_its_length_counts_what_it_computes(monkeypatch):
    monkeypatch.setattr(fit_ins, "BLURS", ((2.0, 1.0, 6), (0.0, 0.0, 4)))
    monkeypatch.setattr(fit_ins, "POPULATION", 30)
    image = Ins(model="goodenough").draw(1, torch.Generator().manual_seed(3)).images[0]
    counted = []
    found = fit(image, seed=1, count=counted.append)
    assert max(counted) == fit_ins.cost()
    assert found[0].correlation >= found[1].correlation
    again = fit(image, seed=1)
    for one, other in zip(found, again):
        assert one.model == other.model and torch.equal(one.parameters, other.parameters)
        assert torch.equal(one.errors, other.errors)
        assert one.correlation == pytest.approx(np.corrcoef(one.image.flatten(), image.flatten())[0, 1], abs=1e-6)
        assert one.image.mean() == pytest.approx(image.mean().item(), rel=1e-6)
    dimer = next(each for each in found if each.model == "dimer")
    assert dimer.parameters[0] >= dimer.parameters[3]  # JFS is the stronger bond


@pytest.mark.slow
def test_it_finds_the_truth_without_noise():
    """Parameters to 0.1 meV, a two-hundredth of the widest range; the search mostly comes within 0.01."""
    drawn = Ins().draw(4, torch.Generator().manual_seed(5))  # of which the first two, one of each model, take minutes
    for image, label, truth in zip(drawn.images[:2], drawn.labels, drawn.parameters):
        found = fit(image)[0]
        model = ("dimer", "goodenough")[int(label.argmax())]
        if model == "dimer" and truth[0] < truth[3]:
            truth = truth[[3, 2, 1, 0, 4, 5]]
        assert found.model == model and found.correlation > 0.999
        assert (found.parameters - truth).abs().max() < 0.1, (found.parameters, truth)


def test_the_command(tmp_path, monkeypatch):
    """Its words and its picture; the search itself is cut short in a process of its own."""
    np.save(tmp_path / "image.npy", Ins(model="dimer").draw(1, torch.Generator().manual_seed(0)).images[0].numpy())
    code = (
        "import sys; from ludus.inference import fit_ins; fit_ins.BLURS = ((2.0, 1.0, 3), (0.0, 0.0, 3));"
        "fit_ins.POPULATION = 30; fit_ins.FIRST = 60; sys.argv = ['ludus', *sys.argv[1:]];"
        "from ludus.cli import main; main()"
    )
    words = [sys.executable, "-c", code, "fit", "ins", "--to", "image.npy"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("best: ") and "correlation 0." in lines[-1]
    assert sum("±" in line for line in lines) == 12
    assert (tmp_path / "image-fit.png").stat().st_size > 10_000
    wrong = {"--row 3": ["--row", "3"], "practical": ["--mode", "instrument"], "png": ["--picture", "x.pdf"]}
    for said, more in wrong.items():
        refused = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 2 and said in refused.stderr and len(refused.stderr.splitlines()) == 1
