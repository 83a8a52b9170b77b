"""Directions in latent space: those that are known to be there are found, and the control says where there are none."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ludus
from games import data_of, recipe_of
from ludus import recipe as recipes
from ludus.errors import UserError
from ludus.inference import directions, latents
from test_run import QUICK, command, trained

SCALES = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5])


def orthogonal(n, m, seed=0):
    return torch.linalg.qr(torch.randn(n, m, generator=torch.Generator().manual_seed(seed)))[0]


@pytest.fixture
def linear():
    """x = A z + b, A = U diag(SCALES) Vᵀ: the rows of Vᵀ are its directions."""
    layer, Vt = nn.Linear(5, 12), orthogonal(5, 5, 1).mT
    layer.weight.data = orthogonal(12, 5) @ torch.diag(SCALES) @ Vt
    return layer.requires_grad_(False), Vt


def cosines(a, b):
    return (torch.as_tensor(a).double() * torch.as_tensor(b).double()).sum(1).abs()


def test_sefa_is_the_svd_of_the_first_layer(linear):
    layer, Vt = linear
    vectors, share = directions.sefa(layer, 5, 3)
    assert (cosines(vectors, Vt[:3]) > 1 - 1e-6).all()
    torch.testing.assert_close(share, (SCALES.square() / SCALES.square().sum())[:3].double(), atol=1e-6, rtol=0)
    upright = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    assert (upright > 0).all() and torch.allclose(vectors @ vectors.mT, torch.eye(3, dtype=torch.double))


def test_sefa_leaves_out_the_columns_of_the_condition(linear):
    layer, Vt = linear
    wide = nn.Linear(8, 12)
    wide.weight.data = torch.cat([layer.weight, 100 * torch.randn(12, 3)], 1)
    assert (cosines(directions.sefa(wide.requires_grad_(False), 5, 5)[0], Vt) > 1 - 1e-6).all()


def test_sefa_of_a_transposed_convolution():
    """Its weight acts on z as 1 × 1 maps like a matrix."""
    layer, z = nn.ConvTranspose2d(5, 3, 4, bias=False).requires_grad_(False), torch.randn(2, 5)
    A = torch.stack([layer(e[None, :, None, None]).flatten() for e in torch.eye(5)], 1)
    found, h = directions.early(layer, lambda z, c: layer(z[:, :, None, None]), z)
    assert found is layer and torch.allclose(h, z @ A.mT, atol=1e-5)
    assert (cosines(directions.sefa(layer, 5, 5)[0], torch.linalg.svd(A)[2]) > 1 - 1e-5).all()
    with pytest.raises(UserError, match="the first layer here is Conv2d; try ganspace"):
        directions.sefa(nn.Conv2d(5, 3, 1), 5, 5)


def test_ganspace_finds_the_singular_directions(linear):
    """Of a linear layer and z ~ N(0, 1) the components are those of A Aᵀ: in the limit ganspace is sefa."""
    layer, Vt = linear
    z = torch.randn(5000, 5, generator=torch.Generator().manual_seed(0))
    vectors, share = directions.ganspace(layer(z), z, 5)
    assert (cosines(vectors, Vt) > 0.99).all()
    torch.testing.assert_close(share, (SCALES.square() / SCALES.square().sum()).double(), atol=0.03, rtol=0)
    # by the definition: regress z on whitened scores
    h = (layer(z) - layer(z).mean(0)).double().numpy()
    U, _, _ = np.linalg.svd(h, full_matrices=False)
    by_lstsq = np.linalg.lstsq(U[:, :5], (z - z.mean(0)).double().numpy(), rcond=None)[0]
    by_lstsq /= np.linalg.norm(by_lstsq, axis=1, keepdims=True)
    assert (cosines(vectors, by_lstsq) > 1 - 1e-6).all()


def test_pca_is_numpys(linear):
    z = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) @ torch.diag(SCALES) + 7
    vectors, share = directions.pca(z, 4)
    _, s, Vt = np.linalg.svd((z - z.mean(0)).double().numpy(), full_matrices=False)
    assert (cosines(vectors, Vt[:4]) > 1 - 1e-9).all()
    np.testing.assert_allclose(share, (s**2 / (s**2).sum())[:4], atol=1e-6)
    with pytest.raises(UserError, match="the codes do not vary"):
        directions.pca(torch.ones(9, 3), 2)


def test_supervised_finds_a_planted_direction():
    """f = v · z + noise of sd σ: v̂ is off by √((1 + σ²) (d − 1) / n) at right angles to v, and R² is 1 / (1 + σ²)."""
    draws, n, d, sd = torch.Generator().manual_seed(0), 2000, 6, 0.5
    z, v = torch.randn(n, d, generator=draws), orthogonal(d, 2, 3).mT
    factors = z @ v.mT * torch.tensor([1.0, -3.0]) + torch.tensor([1.0, 3.0]) * sd * torch.randn(n, 2, generator=draws)
    vectors, r2 = directions.supervised(factors + 10, z)
    sine = (1 - cosines(vectors, v).square()).sqrt()
    assert (sine < 2 * np.sqrt((1 + sd**2) * (d - 1) / (0.8 * n))).all()
    assert vectors[0] @ v[0].double() > 0.9 and vectors[1] @ v[1].double() < -0.9  # the way in which the factor grows
    np.testing.assert_allclose(r2, 1 / (1 + sd**2), atol=5 * 0.4 / np.sqrt(0.2 * n))
    nothing = directions.supervised(torch.randn(n, 1, generator=draws), z)[1]
    assert abs(float(nothing)) < 0.05
    for m, f, why in [(n, 0 * z[:, :1], "factor 0 is constant"), (7, z[:7, :1], "7 rows are too few: 6 of")]:
        with pytest.raises(UserError, match=why):
            directions.supervised(f, z[:m])


def test_supervised_stays_among_the_codes():
    """A latent that hardly varies does not lead away, however much of the noise it fits."""
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 1e-3])
    f = z[:, :1] + 100 * z[:, 2:]
    vectors, r2 = directions.supervised(f, z)
    assert abs(float(vectors[0, 2])) < 1e-3 and r2 > 0.999


def test_the_control(linear):
    """Of an isotropic generator no direction changes more than another; of a stretched one the first does."""
    layer, Vt = linear
    torch.manual_seed(0)
    z, Vt, share = torch.randn(4000, 5), Vt.double(), torch.ones(5)
    W = orthogonal(12, 5)
    found = directions.measured(lambda z, c: z @ W.mT, z, None, Vt, share)
    sd = float(z.double().var(0).mean().sqrt())
    mean, spread = found.control
    expected = 2 * sd / np.sqrt(12)  # |W 2 sd v|² = 4 sd², over 12 pixels
    np.testing.assert_allclose([*found.effect, mean], expected, rtol=1e-4)
    assert spread < 1e-5 and found.spread == pytest.approx(np.ones(5), abs=5 / np.sqrt(2 * 4000))
    found = directions.measured(lambda z, c: layer(z), z, None, Vt, share)
    np.testing.assert_allclose(found.effect, expected * SCALES, rtol=1e-4)
    mean, spread = found.control
    assert found.effect[0] > mean + 2 * spread and found.effect[-1] < mean - 2 * spread
    live = torch.zeros(12, dtype=torch.bool)
    live[:3] = True
    masked = directions.measured(lambda z, c: layer(z), z, None, Vt, share, live)
    np.testing.assert_allclose(
        masked.effect, 2 * sd * (layer.weight[:3].double() @ Vt.mT).square().mean(0).sqrt(), rtol=1e-4
    )
    seen = []
    directions.measured(lambda z, c: seen.append(z) or z, z.tanh(), None, Vt, share, None, 1.0)
    assert max(float(each.abs().max()) for each in seen) <= 1


@pytest.mark.parametrize("condition", [None, "classes"])
@pytest.mark.parametrize("network", ["mlp", "small", "dcgan", "resnet"])
def test_where_z_enters_the_networks_of_the_library(network, condition):
    data = data_of(condition=condition)
    game = recipes.build(recipe_of("gan", data, **{"generator.name": network}), data.form).eval()
    z, c = game.prior.sample(300), None if data.c is None else torch.from_numpy(data.c).repeat(5, 1)[:300]
    with torch.no_grad():
        layer, h = directions.early(game, game.decode, z, c)
    assert isinstance(layer, nn.Linear) and layer is next(
        each for each in game.generator.modules() if isinstance(each, nn.Linear)
    )
    assert len(h) == 300 and all(not each._forward_hooks for each in game.modules())
    assert directions.sefa(layer, 4, 8)[0].shape == (4, 4) and directions.ganspace(h, z, 3)[0].shape == (3, 4)


def test_a_reference_batch_is_not_taken_for_z():
    data = data_of()
    game = recipes.build(recipe_of("gan", data, **{"generator.norm": "virtual", "generator.name": "dcgan"}), data.form)
    z = game.prior.sample(30)
    assert len(directions.early(game.eval(), game.decode, z)[1]) == 30


# Runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Pictures with a bright and a dark half of their own strengths, and a vae and a gan trained on them."""
    draws, folder = np.random.default_rng(0), tmp_path_factory.mktemp("directions")
    factors = draws.normal(size=(300, 2))
    halves = np.repeat(factors * [1, 3], 18, axis=1).reshape(300, 6, 6)
    x = (halves + 0.1 * draws.normal(size=(300, 6, 6))).astype(np.float32)
    settings = {**QUICK, "prior.dimension": 3}
    vae = ludus.train("vae", x, steps=400, run=folder / "vae", settings=settings)
    return x, factors, {"vae": vae, "gan": trained(folder / "gan", "r3gan", x)}


def test_directions_of_a_run(runs):
    x, _, (vae, gan) = runs[0], runs[1], runs[2].values()
    for run, kind in [(vae, "pca"), (vae, "ganspace"), (vae, "sefa"), (gan, "ganspace"), (gan, "sefa")]:
        found = run.directions(kind)
        k = len(found.vectors)
        assert 1 <= k <= 3 and found.vectors.shape == (k, 3) and found.spread.shape == found.effect.shape == (k,)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
        assert (np.diff(found.share) <= 0).all() and found.share.sum() <= 1 + 1e-6 and found.control[0] > 0
        again = run.directions(kind)
        assert all(np.array_equal(a, b) for a, b in zip(found, again))
        assert len(run.directions(kind, k=1).vectors) == 1
        walk = run.traverse(which=found.vectors, width=3 * found.spread, steps=5)
        assert walk.shape == (k, 5, 6, 6)
    codes = vae.encode(x).mean
    _, s, Vt = np.linalg.svd(codes - codes.mean(0), full_matrices=False)
    found = vae.directions("pca", x)
    assert (cosines(found.vectors, Vt[: len(found.vectors)]) > 1 - 1e-4).all()
    np.testing.assert_allclose(found.spread, (s / np.sqrt(len(x) - 1))[: len(found.vectors)], rtol=1e-4)


def test_factors_of_rows_and_of_what_is_generated(runs):
    x, factors, games = runs
    vae = games["vae"]
    found = vae.directions("supervised", x, factors=factors)
    assert found.vectors.shape == (2, 3) and (found.share > 0.8).all()
    # moving along the second changes the half that it is about, in the sense in which it grows
    low, high = vae.traverse(which=found.vectors[1:], width=1.0, steps=2)[0]
    assert (high - low)[3:].mean() > 3 * abs((high - low)[:3].mean())
    drawn = vae.directions("supervised", factors=lambda x: x[:, 3:].mean((1, 2)))
    assert drawn.vectors.shape == (1, 3) and drawn.share > 0.9
    assert cosines(drawn.vectors, found.vectors[1:]) > 0.9
    assert games["gan"].directions("supervised", factors=lambda x: x.mean((1, 2))).vectors.shape == (1, 3)


def test_units(runs, tmp_path):
    """A change of x is in the user's units: eight times as large for data that are, which scale without rounding."""
    x = runs[0]
    a, b = (trained(tmp_path / name, "r3gan", y).directions("sefa") for name, y in (("a", x), ("b", 8 * x)))
    np.testing.assert_allclose(b.effect, 8 * a.effect, rtol=1e-4)
    assert b.control[0] == pytest.approx(8 * a.control[0], rel=1e-4)


def test_conditions(tmp_path):
    draws = np.random.default_rng(0)
    y = draws.integers(2, size=200)
    x = (draws.normal(size=(200, 3)) + 6 * y[:, None]).astype(np.float32)
    run = ludus.train("vae", x, condition=y, steps=20, run=tmp_path / "run", settings={**QUICK, "prior.dimension": 2})
    assert run.directions("pca", x, y).vectors.shape[1] == run.directions("pca").vectors.shape[1] == 2
    zero, one = (run.directions("ganspace", c=label) for label in (0, 1))
    assert not np.array_equal(zero.effect, one.effect) and run.directions("sefa").vectors.shape == (2, 2)
    assert run.directions("supervised", x, y, factors=x).vectors.shape == (3, 2)
    with pytest.raises(UserError, match="give c too"):
        run.directions("pca", x)
    with pytest.raises(UserError, match="c is of the rows x"):
        run.directions("pca", c=y)


class Mine(nn.Module):
    """z enters it squared, and by its own parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 36)

    def forward(self, z, c=None):
        return self.last((z @ self.first).tanh()).view(-1, 1, 6, 6)


def test_what_cannot_be_asked_for(runs, tmp_path):
    x, factors, games = runs
    vae, gan = games.values()
    settings = {**QUICK, "prior.dimension": 3}
    own = ludus.train("r3gan", x, steps=3, run=tmp_path / "own", settings=settings, generator=Mine())
    for ask, why in [
        (lambda: own.directions("sefa"), "no linear layer or convolution of this network is given z as it is"),
        (lambda: vae.directions("pc"), "unknown kind 'pc'. Did you mean 'pca'?"),
        (lambda: vae.directions("pca", k=0), "k = 0: a whole number"),
        (lambda: gan.directions("pca", x), "r3gan has no encoder; these have"),
        (lambda: gan.directions("supervised", x, factors=factors), "r3gan has no encoder"),
        (lambda: gan.directions("supervised", factors=factors), "factors of which rows"),
        (lambda: vae.directions("supervised", x), "needs factors"),
        (lambda: vae.directions("sefa", factors=factors), "no other kind takes them"),
        (lambda: vae.directions("sefa", x), "sefa looks at no data"),
        (lambda: vae.directions("supervised", x, factors=factors[:5]), r"factors are \(5, 2\)"),
        (lambda: vae.directions("supervised", x, factors=factors * np.nan), "not finite"),
        (lambda: vae.directions("supervised", x, factors=["a"] * 300), "numbers"),
        (lambda: vae.traverse(which=np.zeros((1, 3))), "not all of them 0"),
        (lambda: vae.traverse(which=np.ones((1, 4))), "each is 3 numbers"),
        (lambda: vae.traverse(which=np.ones((2, 3)), width=[1, 2, 3]), r"width is \(3,\)"),
    ]:
        with pytest.raises(UserError, match=why):
            ask()


def test_a_walk_along_an_axis_is_that_of_the_latent():
    z, t = [1.0, 2.0, 3.0], 5
    axes = latents.traverse(z, [0, 2], t, 1.5)
    np.testing.assert_allclose(latents.traverse(z, [[2.0, 0, 0], [0, 0, 0.1]], t, 1.5), axes)
    walk = latents.traverse(z, [[1.0, 1.0, 0]], t, [4.0])[0]
    v = np.array([1, 1, 0]) / np.sqrt(2)
    np.testing.assert_allclose(walk @ v, np.linspace(-4, 4, t), atol=1e-12)
    np.testing.assert_allclose(walk @ [[1, 0], [-1, 0], [0, 1]], np.tile([-1, 3], (t, 1)), atol=1e-12)  # the rest stays


def test_command(runs, tmp_path, capsys):
    run = runs[2]["vae"].folder
    assert command("traverse", run, "--along", "pca", "--out", tmp_path / "film.gif", "--steps", 3) == 0
    assert "along a random direction" in capsys.readouterr().err
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 4
    for kind in ("ganspace", "sefa"):
        assert command("traverse", runs[2]["gan"].folder, "--along", kind, "--out", tmp_path / "walk.png") == 0
    capsys.readouterr()
    for words, why in [
        (("--along", "supervised"), "unknown kind of direction"),
        (("--along", "sefa", "--latents", "0"), "one or the other"),
    ]:
        assert command("traverse", run, "--out", tmp_path / "a.gif", *words) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1
