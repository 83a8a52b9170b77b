"""Runs that can be steered: codes that are read and walked through, labels that are changed."""

import h5py
import numpy as np
import pytest
from PIL import Image

import ludus
from games import command
from ludus.errors import UserError

QUICK = {"snapshot.count": 0, "sampler.batch": 32, "doctor.mode": "off"}
CODES = {"prior.categories": [2], "prior.values": 1, "prior.noise": 2}


@pytest.fixture(scope="module")
def rows():
    """Pictures whose brighter half, left or right, is their class, at brightnesses of their own."""
    draws = np.random.default_rng(0)
    side, bright = draws.integers(2, size=200), draws.uniform(0.5, 1, 200)
    x = np.zeros((200, 8, 8), np.float32)
    x[side == 0, :, :4] = x[side == 1, :, 4:] = 1
    return (x * bright[:, None, None]).astype(np.float32), side


@pytest.fixture(scope="module")
def coded(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("infogan") / "run"
    return ludus.train("infogan", rows[0], network="mlp", steps=600, run=folder, settings=QUICK | CODES)


@pytest.fixture(scope="module")
def invertible(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("icgan") / "run"
    settings = QUICK | {"prior.dimension": 2, "trainer.lr": 1e-3}
    return ludus.train("icgan", *rows[:1], condition=rows[1], network="mlp", steps=1500, run=folder, settings=settings)


def test_a_category_finds_the_classes(coded, rows):
    """Which half is bright takes a bit, which is what the category holds; the classes may be exchanged."""
    found = coded.codes(rows[0])
    assert found["category 0"].shape == (200, 2) and found["values"].shape == (200, 1)
    np.testing.assert_allclose(found["category 0"].sum(1), 1, rtol=1e-5)
    agree = (found["category 0"].argmax(1) == rows[1]).mean()
    assert max(agree, 1 - agree) > 0.95


def test_codes_can_be_walked_through_and_written(coded, rows, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", rows[0])
    assert command(monkeypatch, capsys, "encode", coded.folder, tmp_path / "x.npy", "--out", tmp_path / "k.h5")[0] == 0
    with h5py.File(tmp_path / "k.h5") as file:
        np.testing.assert_allclose(file["category 0"][:], coded.codes(rows[0])["category 0"], rtol=1e-6)
    assert command(monkeypatch, capsys, "traverse", coded.folder, "--steps", 4, "--out", tmp_path / "k.gif")[0] == 0
    assert Image.open(tmp_path / "k.gif").n_frames == 6  # there and back


def test_only_what_has_codes_is_asked_for_them(invertible, coded, rows):
    with pytest.raises(UserError, match="no codes; these have: infogan"):
        invertible.codes(rows[0])
    with pytest.raises(UserError, match="no encoder"):
        coded.edit(rows[0], 1)


def test_an_edit_changes_the_label_and_keeps_the_rest(invertible, rows, tmp_path, monkeypatch, capsys):
    """The bright half moves, and how bright it is stays: correlation with the original's over the rows."""
    x, side = rows
    left = invertible.edit(x, 0)
    halves = lambda x: np.stack([x[:, :, :4].mean((1, 2)), x[:, :, 4:].mean((1, 2))], 1)  # noqa: E731
    assert (halves(left).argmax(1) == 0).mean() > 0.95
    assert np.corrcoef(halves(left).max(1)[side == 1], halves(x).max(1)[side == 1])[0, 1] > 0.8
    np.save(tmp_path / "x.npy", x)
    run, data = invertible.folder, tmp_path / "x.npy"
    assert command(monkeypatch, capsys, "edit", run, data, "--to", 0, "--out", tmp_path / "left.npy")[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "left.npy"), left, atol=1e-6)
    assert command(monkeypatch, capsys, "edit", run, data, "--to", 0, "--to", 1, "--out", tmp_path / "both.png")[0] == 0
    assert command(monkeypatch, capsys, "edit", run, data, "--to", 0, "--to", 1, "--out", tmp_path / "both.npy")[0] == 2
    assert command(monkeypatch, capsys, "edit", run, data, "--to", 5, "--out", tmp_path / "five.npy")[0] == 2


def test_the_labeller_knows_the_classes(invertible, rows):
    found = invertible.label(rows[0])
    assert (np.asarray(found.labels).ravel() == rows[1]).mean() > 0.95


def test_a_reconstruction_needs_no_label(invertible, rows):
    x, _ = rows
    again = invertible.reconstruct(x)
    np.testing.assert_array_equal(again, invertible.reconstruct(x, invertible.label(x).labels))
    assert ((again - x) ** 2).mean() < 0.2 * x.var()


def test_a_condition_outside_what_was_seen_is_said(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    c = np.stack([np.linspace(10, 20, 100), np.zeros(100)], 1)
    c[::10] = np.nan
    run = ludus.train("vae", x, condition=c, steps=2, run=tmp_path / "run", settings=QUICK)
    capsys.readouterr()
    for inside in ([10.0, 0.0], [20.4, 0.0], [np.nan, 0.0]):
        run.sample(3, inside)
    assert "extrapolated" not in capsys.readouterr().err
    run.sample(3, [25.0, 0.0])
    assert "condition 25 in column 0: the training data have 10" in capsys.readouterr().err
