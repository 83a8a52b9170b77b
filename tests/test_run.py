"""What a run can be asked: codes, reconstructions, walks through its latents, how probable it finds data."""

import math

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ludus
from ludus.cli import main
from ludus.errors import UserError
from ludus.inference import latents

QUICK = {"snapshot.count": 0, "sampler.batch": 16}


@pytest.fixture(scope="module")
def pictures():
    """Counts whose brightness is what varies."""
    draws = np.random.default_rng(0)
    return draws.poisson(5 + 20 * draws.random((80, 1, 1)), (80, 8, 6)).astype(np.int32)


def trained(folder, method, data, **settings):
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    return ludus.train(method, data, steps=40, run=folder, settings={**QUICK, "prior.dimension": 3, **settings})


@pytest.fixture(scope="module")
def vae(pictures, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("vae") / "run", "vae", pictures)


def test_what_comes_back_is_in_the_users_units(vae, pictures):
    q = vae.encode(pictures)
    assert len(q) == 80 and q.mean.shape == q.std.shape == (80, 3) and not q.deterministic and not q.implicit
    for x in (vae.reconstruct(pictures), vae.decode(q.mean), vae.sample(4), vae.sample(4, noise=False)):
        assert x.shape[1:] == (8, 6) and x.dtype == np.float32
    assert np.array_equal(vae.reconstruct(pictures), vae.decode(q.mean))
    assert abs(vae.reconstruct(pictures).mean() / pictures.mean() - 1) < 0.2
    assert not np.array_equal(vae.reconstruct(pictures, sample=True), vae.reconstruct(pictures))
    assert np.array_equal(
        vae.reconstruct(pictures, sample=True, seed=4), vae.reconstruct(pictures, sample=True, seed=4)
    )


def test_a_picture_is_the_mean_and_a_sample_is_not(vae):
    sigma = 1e-3 + math.exp(10 * float(vae.game.decoder.log_sigma))
    noise = (vae.sample(500) - vae.sample(500, noise=False)) / vae.form.scaling.scale
    # the same seed gives the same z, and so the same mean; the sd of n normals is known to 1/√2n
    assert noise.std() == pytest.approx(sigma, rel=5 / math.sqrt(2 * noise.size))
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(noise.size)


def test_the_report_shows_what_comes_back(vae):
    assert "reconstructed images of" in (vae.folder / "report.html").read_text(encoding="utf-8")


def test_posterior(vae, pictures):
    q = vae.encode(pictures[:5])
    z = q.sample(2000)
    assert (
        z.shape == (2000, 5, 3) and np.array_equal(z, q.sample(2000)) and not np.array_equal(z, q.sample(2000, seed=1))
    )
    assert np.abs((z.mean(0) - q.mean) / q.std).max() < 5 / math.sqrt(2000)
    normal = torch.distributions.Normal(torch.from_numpy(q.mean), torch.from_numpy(q.std))
    by_torch = normal.log_prob(torch.from_numpy(z)).sum(-1).numpy()
    np.testing.assert_allclose(q.log_prob(z), by_torch, atol=1e-3)
    with pytest.raises(UserError, match=r"z is \(3,\): it is \(\.\.\., 5, 3\)"):
        q.log_prob(z[0, 0])


def test_many_rows_go_through_in_parts(vae, pictures, monkeypatch):
    q, x, logs = vae.encode(pictures), vae.reconstruct(pictures), vae.log_likelihood(pictures[:9], draws=50)
    monkeypatch.setattr("ludus.run.AT_ONCE", 7)
    np.testing.assert_allclose(vae.encode(pictures).mean, q.mean, atol=1e-5)
    np.testing.assert_allclose(vae.reconstruct(pictures), x, atol=1e-3)
    assert vae.encode(pictures).log_prob(q.mean).shape == (80,)
    assert vae.log_likelihood(pictures[:9], draws=50).value.shape == logs.value.shape == (9,)


def test_a_point_has_no_density(tmp_path, pictures):
    q = trained(tmp_path / "run", "ae", pictures).encode(pictures)
    assert q.deterministic and not q.std.any() and np.array_equal(q.sample(2)[0], q.mean)
    with pytest.raises(UserError, match="no log_prob"):
        q.log_prob(q.mean)


@pytest.mark.parametrize("method", ["ae", "wae"])
def test_a_likelihood_without_a_meaning_is_refused(tmp_path, pictures, method):
    run = trained(tmp_path / "run", method, pictures)
    with pytest.raises(UserError, match=f"{method} has no likelihood; these have: vae, iwae"):
        run.log_likelihood(pictures)


def test_a_gan_decodes_but_does_not_encode(tmp_path, pictures):
    run = trained(tmp_path / "run", "r3gan", pictures)
    assert run.decode(np.zeros((2, 3))).shape == (2, 8, 6)
    assert run.traverse(steps=4).shape == (3, 4, 8, 6)
    with pytest.raises(UserError, match="r3gan has no encoder; these have: veegan, ae, vae, iwae, wae"):
        run.encode(pictures)


def test_density_is_one_of_the_users_units(tmp_path):
    """log p(x) of 10 x + 3 is that of x minus D log 10: the same network range, another yardstick."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    a, b = (trained(tmp_path / name, "vae", y) for name, y in (("a", x), ("b", 10 * x + 3)))
    # float32 scalings differ in the last digits, and so do 40 turns of training
    np.testing.assert_allclose(
        b.log_likelihood(10 * x[:20] + 3).value, a.log_likelihood(x[:20]).value - 4 * math.log(10), atol=0.02
    )


def test_two_estimates_agree(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) @ np.diag([2, 1, 0.3, 0.3]).astype(np.float32)
    run = trained(tmp_path / "run", "vae", x)
    iwae, ais = run.log_likelihood(x[:10], draws=5000), run.log_likelihood(x[:10], method="ais", draws=100)
    known = iwae.k_hat < 0.5  # elsewhere the variance of the weights is infinite, and its estimate says nothing
    assert known.sum() >= 7 and np.median(iwae.ess) > 500
    # draws' error, √((k / ess − 1) / k), is below 0.03 here; that of 8 chains is not known well from 8 chains
    assert np.sqrt((5000 / iwae.ess[known] - 1) / 5000).max() < 0.03
    assert np.abs(iwae.value - ais.value)[known].max() < 0.2  # what is asked of AIS


def test_conditions_steer(tmp_path):
    draws = np.random.default_rng(0)
    y = draws.integers(2, size=200)
    x = (draws.normal(size=(200, 3)) + 6 * y[:, None]).astype(np.float32)
    run = ludus.train("vae", x, condition=y, steps=300, run=tmp_path / "run", settings=QUICK)
    means = [run.sample(200, c).mean() for c in (0, 1)]
    assert means[1] - means[0] > 3
    assert (run.log_likelihood(x[:50], y[:50]).value > run.log_likelihood(x[:50], 1 - y[:50]).value).mean() > 0.9
    z = run.encode(x, y).mean
    assert np.abs(run.decode(z, 1 - y) - run.decode(z, y)).mean() > 2
    for ask in (lambda: run.encode(x), lambda: run.decode(z), lambda: run.log_likelihood(x)):
        with pytest.raises(UserError, match="has a condition, and was never trained without: give c too"):
            ask()
    some = y.astype(float)
    some[::2] = np.nan
    run = ludus.train("vae", x, condition=some, steps=3, run=tmp_path / "unknown", settings=QUICK)
    assert run.encode(x).mean.shape == z.shape


# Bad input


def test_rows_that_do_not_fit(vae, pictures):
    with pytest.raises(UserError, match=r"x is \(80, 6, 8\): rows of the array are \(n, 8, 6\)"):
        vae.encode(pictures.transpose(0, 2, 1))
    with pytest.raises(UserError, match=r"not finite in 1 of 80 rows, the first in row 1, at \(2, 3\)"):
        gap = pictures.astype(float)
        gap[1, 2, 3] = np.nan
        vae.encode(gap)
    with pytest.raises(UserError, match=r"z is \(2, 4\): latents are \(n, 3\)"):
        vae.decode(np.zeros((2, 4)))
    with pytest.raises(UserError, match="trained without a condition"):
        vae.decode(np.zeros((2, 3)), c=1)
    for count in (0, -1, 2.5):
        with pytest.raises(UserError, match=f"draws = {count}: a whole number, at least 1"):
            vae.log_likelihood(pictures, draws=count)
        with pytest.raises(UserError, match="steps = "):
            vae.interpolate(np.zeros(3), np.ones(3), steps=count)
    with pytest.raises(UserError, match="no array of numbers"):
        vae.decode("z")
    with pytest.raises(UserError, match="unknown method 'asi'"):
        vae.log_likelihood(pictures, method="asi")


@pytest.mark.parametrize(
    ("likelihood", "value", "why"),
    [("poisson", -1, "-1 is no count"), ("negative_binomial", 0.5, "0.5 is no count")],
)
def test_data_outside_the_support_is_refused_by_its_row(tmp_path, pictures, likelihood, value, why):
    wrong = pictures.astype(np.float32)
    wrong[11, 3, 2] = value
    settings = {"decoder.likelihood": likelihood, "data.held_out": 0.0}
    with pytest.raises(UserError, match=rf"row 11, at \(0, 3, 2\): {why}"):
        ludus.train("vae", wrong, steps=3, run=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
    run = ludus.train("vae", pictures, steps=3, run=tmp_path / "run", settings={**QUICK, **settings})
    with pytest.raises(UserError, match=rf"x: row 11, at \(0, 3, 2\): {why}"):
        run.encode(wrong)
    assert (run.sample(3) % 1 == 0).all()  # counts come back as counts


def test_bits_are_asked_for(tmp_path, pictures):
    settings = {**QUICK, "decoder.likelihood": "bernoulli"}
    run = ludus.train("vae", pictures, steps=3, run=tmp_path / "grey", settings=settings)
    with pytest.raises(UserError, match="round x first"):
        run.log_likelihood(pictures)
    binary = (pictures > 15).astype(np.uint8)
    run = ludus.train("vae", binary, steps=3, run=tmp_path / "bits", settings=settings)
    assert (run.log_likelihood(binary[:5]).value < 0).all() and set(np.unique(run.sample(5))) <= {0, 1}
    run = ludus.train("vae", pictures, steps=3, run=tmp_path / "anew", settings=settings | {"sampler.binarise": True})
    assert (run.log_likelihood(pictures[:5]).value < 0).all()


def test_dead_pixels(tmp_path, pictures):
    """NaN where the mask says so is no gap; the rest is fitted as if those pixels were not there."""
    mask = np.ones((8, 6))
    mask[2, 1:3] = 0
    np.save(tmp_path / "mask.npy", mask)
    gappy = pictures.astype(np.float32)
    gappy[:, 2, 1:3] = np.nan
    run = trained(tmp_path / "run", "vae", gappy, data__mask=str(tmp_path / "mask.npy"))
    assert "masked: 2 of 48 pixels" in run.notes
    (tmp_path / "mask.npy").unlink()  # the run keeps it
    again, hot = ludus.load(tmp_path / "run"), gappy.copy()
    hot[:, 2, 1:3] = 1e6
    assert np.array_equal(again.encode(hot).mean, run.encode(gappy).mean)
    assert np.array_equal(again.log_likelihood(hot[:3]).value, run.log_likelihood(gappy[:3]).value)
    for wrong, why in [(mask[:4], "is 4 × 6, a row of the array is 8 × 6"), (mask[0], "is 6, a row"),
                       (0 * mask, "0 everywhere"), (np.nan * mask, "NaN somewhere")]:  # fmt: skip
        np.save(tmp_path / "mask.npy", wrong)
        with pytest.raises(UserError, match=why):
            trained(tmp_path / "other", "vae", gappy, data__mask=str(tmp_path / "mask.npy"))
    assert not (tmp_path / "other").exists()


def test_one_mask_for_all_channels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, size=(40, 8, 6, 3)).astype(np.uint8)
    mask = np.ones((8, 6))
    mask[2, 1] = 0
    np.save(tmp_path / "mask.npy", mask)
    run = trained(tmp_path / "run", "vae", colour, data__mask=str(tmp_path / "mask.npy"))
    assert "masked: 3 of 144 pixels" in run.notes and run.reconstruct(colour).shape == colour.shape


def test_error_bars_that_come_with_the_data(tmp_path, pictures):
    np.save(tmp_path / "sigma.npy", np.full((8, 6), 4.0))
    settings = {"data__sigma": str(tmp_path / "sigma.npy"), "decoder__sigma": "given"}
    run = trained(tmp_path / "run", "vae", pictures, **settings)
    noise = run.sample(300) - run.sample(300, noise=False)
    assert noise.std() == pytest.approx(4.0, rel=5 / math.sqrt(2 * noise.size))
    with pytest.raises(UserError, match=r"data\.sigma"):
        trained(tmp_path / "other", "vae", pictures, decoder__sigma="given")
    with pytest.raises(UserError, match=r"is what decoder\.sigma=given takes"):
        trained(tmp_path / "other", "vae", pictures, data__sigma=settings["data__sigma"])
    errors, mask = np.full((8, 6), 4.0), np.ones((8, 6))
    errors[1, 1], mask[1, 1] = np.nan, 0
    np.save(tmp_path / "sigma.npy", errors)
    with pytest.raises(UserError, match=r"nan at \(1, 1\): it is above 0, or masked"):
        trained(tmp_path / "other", "vae", pictures, **settings)
    np.save(tmp_path / "mask.npy", mask)
    assert trained(tmp_path / "other", "vae", pictures, data__mask=str(tmp_path / "mask.npy"), **settings).turn == 40


def test_the_forecast_is_said_and_kept(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) * [3, 2, 0.1, 0.1, 0.1, 0.1]
    ludus.train("vae", x, steps=3, run=tmp_path / "run", settings={"prior.dimension": 4, "decoder.sigma": 1.0, **QUICK})
    said = "of 4 latents a linear model would keep 2 at β = 1 and σ = 1"
    assert said in capsys.readouterr().err and said in (tmp_path / "run" / "report.html").read_text()


class Mine(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)

    def forward(self, x, c=None):
        return self.layer(x)


def test_networks_of_the_users_own(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    own = {"encoder": Mine(5, 7), "decoder": Mine(2, 5)}
    run = ludus.train("vae", x, steps=3, run=tmp_path / "run", settings=QUICK, **own)
    again = ludus.load(tmp_path / "run", **own)
    assert np.array_equal(again.encode(x).mean, run.encode(x).mean)
    with pytest.raises(UserError, match="decoder is one of your own"):
        ludus.load(tmp_path / "run", encoder=own["encoder"])
    with pytest.raises(UserError, match=r"decoder's network gave \(2, 1\): it is asked for \(batch, 5\)"):
        ludus.train("vae", x, steps=3, run=tmp_path / "other", settings=QUICK, decoder=Mine(2, 1))
    flat = Mine(5, 1)
    flat.forward = lambda x, c=None: flat.layer(x)[:, 0]
    with pytest.raises(UserError, match=r"encoder's network gave \(2,\) for 2 rows"):
        ludus.train("vae", x, steps=3, run=tmp_path / "other", settings=QUICK, encoder=flat)


# Walks


def test_interpolation():
    a, b = np.array([3.0, 0, 0]), np.array([0, 1.0, 0])
    line, arc = latents.interpolate(a, b, 5), latents.interpolate(a, b, 5, "slerp")
    for path in (line, arc):
        np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-12)
    np.testing.assert_allclose(np.diff(line, axis=0), np.tile((b - a) / 4, (4, 1)))
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), np.linspace(3, 1, 5))
    angles = np.arctan2(arc[:, 1], arc[:, 0])
    np.testing.assert_allclose(np.diff(angles), math.pi / 8)
    np.testing.assert_allclose(latents.interpolate(a, -a, 3, "slerp"), [a, 0 * a, -a])  # no shortest circle
    with pytest.raises(UserError, match="unknown path 'curve'"):
        latents.interpolate(a, b, path="curve")


def test_traversal_sheet_and_attribute(tmp_path, vae, pictures):
    walk = latents.traverse([1.0, 2.0, 3.0], [2], steps=3, width=1.5)
    np.testing.assert_array_equal(walk, [[[1, 2, -1.5], [1, 2, 0], [1, 2, 1.5]]])
    assert vae.traverse(which=[0, 2], steps=4).shape == (2, 4, 8, 6)
    with pytest.raises(UserError, match="latent 3: there are 3"):
        vae.traverse(which=[3])
    z = latents.sheet(10)
    inside = torch.distributions.Normal(0, 1).cdf(torch.from_numpy(z))
    np.testing.assert_allclose(np.unique(inside.round(decimals=6)), (np.arange(10) + 0.5) / 10)
    assert z[0, 0] < 0 < z[0, 1]  # upper left
    with pytest.raises(UserError, match="a sheet is of 2 latents, this run has 3"):
        vae.sheet()
    bright = pictures.mean((1, 2)) > np.median(pictures.mean((1, 2)))
    vector, z = vae.attribute_vector(pictures, bright), vae.encode(pictures).mean
    np.testing.assert_allclose(vector, z[bright].mean(0) - z[~bright].mean(0))
    assert vae.decode(z[~bright] + vector).mean() > vae.decode(z[~bright]).mean()
    with pytest.raises(UserError, match="nothing to tell apart"):
        vae.attribute_vector(pictures, np.ones(80))


# The command line


def command(*words):
    with pytest.raises(SystemExit) as done, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ludus", *map(str, words)])
        main()
    return done.value.code


def test_commands(tmp_path, vae, pictures, capsys):
    np.save(tmp_path / "x.npy", pictures)
    assert command("encode", vae.folder, tmp_path / "x.npy", "--out", tmp_path / "z.h5", "--draws", 2) == 0
    with h5py.File(tmp_path / "z.h5") as file:
        np.testing.assert_allclose(file["mean"][:], vae.encode(pictures).mean, atol=1e-6)
        assert file["std"].shape == (80, 3) and file["draws"].shape == (2, 80, 3)
    assert command("reconstruct", vae.folder, tmp_path / "x.npy", "--out", tmp_path / "r.npy") == 0
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), vae.reconstruct(pictures), atol=1e-3)
    assert command("reconstruct", vae.folder, tmp_path / "x.npy", "--out", tmp_path / "r.png") == 0
    assert command("traverse", vae.folder, "--out", tmp_path / "film.gif", "--steps", 5) == 0
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 8  # there and back
    assert command("traverse", vae.folder, "--latents", "0,2", "--out", tmp_path / "walk.png", "--steps", 5) == 0
    capsys.readouterr()
    for words, why in [
        (("encode", vae.folder, tmp_path / "x.npy", "--out", "z.txt"), "it is written as .h5"),
        (("traverse", vae.folder, "--out", tmp_path / "a.gif", "--latents", "a"), "--latents a: numbers"),
        (("traverse", vae.folder, "--out", tmp_path / "a.gif", "--latents", "9"), "latent 9: there are 3"),
        (("encode", vae.folder, tmp_path / "z.h5:/mean", "--out", tmp_path / "z.h5"), "is the file that is read"),
        (("encode", vae.folder, tmp_path / "none.npy", "--out", tmp_path / "z.h5"), "none.npy"),
    ]:
        assert command(*words) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1


def test_labels_that_are_text(tmp_path, pictures, capsys):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"], file["t"] = pictures, np.array([b"hot", b"cold"] * 40)
    run, x, t = tmp_path / "run", f"{tmp_path}/d.h5:/x", f"{tmp_path}/d.h5:/t"
    quick = ("--steps", 3, "--set", "snapshot.count=0")
    assert command("train", "vae", "--data", x, "--condition", t, "--run", run, *quick) == 0
    assert command("encode", run, x, "--condition", t, "--out", tmp_path / "z.h5") == 0
    capsys.readouterr()
    assert command("encode", run, x, "--out", tmp_path / "z.h5") == 2
    assert "give c too, on the command line --condition" in capsys.readouterr().err
    assert command("traverse", run, "-c", "hot", "--out", tmp_path / "w.png", "--steps", 3) == 0


def test_rows_with_gaps_are_named_or_left_out_as_they_were(tmp_path, pictures, capsys):
    """Channels last: the pixel is said in the user's axes."""
    gappy = np.repeat(pictures[:, :, :, None], 2, 3).astype(np.float32)
    gappy[[3, 8], 5, 2, 1] = np.nan
    np.save(tmp_path / "x.npy", gappy)
    run = trained(tmp_path / "run", "vae", str(tmp_path / "x.npy"), data__nan="drop")
    capsys.readouterr()
    assert command("encode", run.folder, tmp_path / "x.npy", "--out", tmp_path / "z.h5") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/x.npy holds values that are not finite in 2 of 80 rows" in said
    assert "the first in row 3, at (5, 2, 1): leave such rows out, or put numbers there" in said
    assert said.count("\n") == 1
    found = run.evaluate(60, against=str(tmp_path / "x.npy"), out=tmp_path)
    assert found.sets.n == 60
    assert "2 of 80 rows with values that are not finite are not compared with" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"x holds values .* first in row 0, at \(5, 2, 1\)"):
        run.encode(gappy[3:])
    np.save(tmp_path / "none.npy", np.full_like(gappy, np.nan))
    with pytest.raises(UserError, match=r"none\.npy: no row is left to compare with"):
        run.evaluate(60, against=str(tmp_path / "none.npy"), out=tmp_path)


def test_a_mask_of_channels_that_come_last_is_kept_as_it_is(tmp_path, pictures):
    mask = np.ones((8, 6))
    mask[5, 2] = mask[1, 4] = 0
    np.save(tmp_path / "mask.npy", mask)
    x = np.repeat(pictures[:, :, :, None], 2, 3)
    run = trained(tmp_path / "run", "vae", x, data__mask=str(tmp_path / "mask.npy"), data__channels="last")
    for rows in (run.sample(2), run.reconstruct(x[:2]), run.real[:2]):
        np.testing.assert_array_equal(np.isnan(rows), np.broadcast_to((mask == 0)[:, :, None], (2, 8, 6, 2)))


def test_gaps_are_filled_as_they_were(tmp_path, pictures):
    gappy = pictures.astype(np.float32)
    gappy[3, 1, 1] = np.nan
    run = trained(tmp_path / "run", "vae", gappy, data__nan="fill=7")
    filled = np.where(np.isnan(gappy), np.float32(7), gappy)
    assert np.array_equal(run.encode(gappy).mean, run.encode(filled).mean)


def test_asking_a_flow_leaves_the_random_state(tmp_path, pictures):
    pytest.importorskip("zuko")
    run = trained(tmp_path / "run", "vae", pictures, encoder__posterior="flow")
    q, before = run.encode(pictures), torch.get_rng_state()
    q.log_prob(q.mean)
    assert torch.equal(torch.get_rng_state(), before)
