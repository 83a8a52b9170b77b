"""Scalings and masks: closed forms there and back, fitted where there is a detector, and right in all that follows."""

import json
import math
import tracemalloc
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import ludus
from games import METHODS, recipe_of, told
from ludus import evaluate, figures, seeds, session
from ludus import recipe as recipes
from ludus.cli import main
from ludus.data import raw as raws
from ludus.data import scaling
from ludus.data.form import Form
from ludus.data.inspect import describe
from ludus.data.load import load
from ludus.data.scaling import Scaling
from ludus.errors import UserError
from ludus.figures.grids import MISSING
from ludus.figures.plane import drawable, plane
from ludus.game import Batch
from ludus.trainer import load_weights

RNG = np.random.default_rng(0)
QUICK = {"snapshot.count": 0, "sampler.batch": 16, "prior.dimension": 3, "doctor.mode": "off", "evaluation.mode": "off"}
COUNTS = (RNG.poisson(3, (80, 8, 6)) + (RNG.random((80, 8, 6)) < 0.05) * RNG.exponential(900, (80, 8, 6))).astype("f4")
BENT = ("log1p", "asinh", "maximum")


def refused(*fragments, args=(), **options):
    """Loading is refused in one line that holds every fragment."""
    with pytest.raises(UserError) as caught:
        load(*args, **options)
    text = str(caught.value)
    assert "\n" not in text and all(str(each) in text for each in fragments), text


def trained(folder, method, data, condition=None, steps=3, **settings):
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    return ludus.train(method, data, condition=condition, steps=steps, run=folder, settings={**QUICK, **settings})


# -- there and back ----------------------------------------------------------------------------------------------------


def bent(kind, x):
    """g(x) by hand."""
    x = x.astype(float)
    if kind == "log1p":
        return np.log1p(x)
    if kind == "asinh":
        return np.arcsinh(x / np.median(np.abs(x[x != 0])))
    return x / x.max((1, 2), keepdims=True) if kind == "maximum" else x


@pytest.mark.parametrize("kind", [*BENT, "minmax", "standard", "none"])
def test_closed_forms(kind):
    g = bent(kind, COUNTS)
    data = load(COUNTS, scaling=kind, held_out=0)
    found = data.x[:, 0].astype(float)
    low, high = (0 if kind == "maximum" else g.min()), g.max()
    by_hand = {"none": g, "standard": (g - g.mean()) / g.std()}.get(kind, 2 * (g - low) / (high - low) - 1)
    np.testing.assert_allclose(found, by_hand, rtol=3e-7, atol=3e-7)
    assert data.form.bounded == (kind not in ("standard", "none")) and str(data.form.scaling) in data.notes
    factor = COUNTS.max((1, 2), keepdims=True) if kind == "maximum" else 1
    np.testing.assert_allclose(data.form.to_user(data.x) * factor, COUNTS, rtol=3e-6, atol=2e-4)


@pytest.mark.parametrize("kind", ["log1p", "asinh"])
@pytest.mark.parametrize("shape", [(400,), (400, 3)])
def test_points_are_standardised_after_it(kind, shape):
    x = RNG.exponential(40, shape) ** 2
    data = load(x, scaling=kind, held_out=0)
    g = bent(kind, x).reshape(len(x), -1)
    assert not data.form.bounded and data.form.scaling.kind == "standard"
    assert data.form.scaling.offset == pytest.approx(g.mean(0)) and data.form.scaling.scale == pytest.approx(
        math.sqrt(g.var(0).mean()))  # fmt: skip
    np.testing.assert_allclose(data.form.to_user(data.x), x, rtol=3e-6, atol=1e-4)


@pytest.mark.parametrize(
    "raw",
    [
        RNG.integers(0, 2**16, (20, 6, 5), dtype=np.uint16),
        RNG.integers(0, 500, (20, 6, 5)).astype(">i2"),
        RNG.integers(2**24, 2**40, (20, 6, 5)),
        RNG.normal(0, 1e-20, (20, 6, 5)),
        RNG.normal(0, 1, (20, 6, 5)).astype(np.float16),
        RNG.integers(0, 2, (20, 6, 5)).astype(bool),
        RNG.normal(-5, 100, (20, 6, 5, 3)).astype(">f4"),
    ],
    ids=["uint16", "big-endian", "int64", "tiny", "half", "bool", "negative"],
)
@pytest.mark.parametrize("kind", BENT)
def test_every_type_comes_back(raw, kind):
    if kind == "log1p" and raw.min() <= -1:
        return refused("log1p takes values above -1", args=(raw,), scaling=kind)
    data = load(raw, scaling=kind, held_out=0)
    form = Form.from_json(json.loads(json.dumps(data.form.to_json())))
    assert form == data.form and np.array_equal(form.to_network(raw), data.x)
    assert np.abs(data.x).max() <= 1 or (kind == "maximum" and raw.min() < 0)
    exact = raw.astype(float)
    largest = exact.reshape(len(raw), -1).max(1).reshape(-1, *(1,) * (raw.ndim - 1)) if kind == "maximum" else 1.0
    back = form.to_user(data.x) * largest
    # an error of y is one of g times the scale, and x moves by dx/dg times that
    steep = {"log1p": 1 + np.abs(exact), "asinh": np.hypot(exact, form.scaling.knee)}.get(kind, largest)
    assert (np.abs(back - exact) <= 2e-7 * (np.abs(exact) + 2 * form.scaling.scale * steep)).all()


def test_limits_are_percentiles_of_the_training_rows():
    data = load(COUNTS, clip="0.5,99", held_out=0.3)
    kept = COUNTS[data.rows].astype(float)
    low, high = np.percentile(kept, [0.5, 99])
    s = data.form.scaling
    assert low == kept.min() and s.low is None and s.high == pytest.approx(high)  # nothing lies below the lowest
    assert s.cut == pytest.approx((kept > high).mean()) and s.offset[0] + s.scale == pytest.approx(high)
    assert np.allclose(data.form.to_user(data.x), kept.clip(low, high), atol=1e-4)
    assert np.abs(data.held_out_x).max() <= 1
    assert f"cut off above {high:.6g}, {100 * s.cut:.3g} % of the values" in str(s)
    x = RNG.normal(size=(500, 4, 4))
    for clip, ends in (("1,99", (1, 99)), ("0,99", (None, 99)), ("2.5,100", (2.5, None))):
        s = load(x, clip=clip, held_out=0, scaling="asinh").form.scaling
        for found, end in zip((s.low, s.high), ends):
            assert (found is None) == (end is None)
            assert end is None or found == pytest.approx(np.percentile(x, end))
        assert s.knee == pytest.approx(np.median(np.abs(x)))  # of what was not cut off
    for wrong in ("1", "a,b", "99,1", "-1,50", "1,2,3", "nan,3", "50,50"):
        refused(f"clip = {wrong!r}", "0.1,99.9", args=(x,), clip=wrong)
    few = np.zeros((500, 4, 4))
    few[0, 0, 0] = 1
    refused("percentiles clip = 1,99 are both 0", args=(few,), clip="1,99")


def test_of_many_values_some_rows_are_taken(monkeypatch):
    x = RNG.normal(size=(1000, 4, 4)) ** 3
    whole = load(x, scaling="asinh", clip="1,99")
    assert not any("picked at random" in note for note in whole.notes)
    monkeypatch.setattr(scaling, "VALUES", 16 * 300)
    some, again = (load(x, scaling="asinh", clip="1,99") for _ in range(2))
    assert "percentiles and median: of 300 of 900 training rows, picked at random" in some.notes
    assert some.form == again.form != whole.form
    assert some.form.scaling.knee == pytest.approx(whole.form.scaling.knee, rel=0.2)
    other = load(x, scaling="asinh", clip="1,99", seed=1, held_out=0)
    assert other.form.scaling.knee != some.form.scaling.knee


def test_memory_is_that_of_a_few_blocks():
    x = RNG.integers(0, 2**16, (4000, 64, 64), dtype=np.uint16)
    load(x[:50], scaling="asinh", clip="0.1,99.9")  # whatever is imported on the way
    tracemalloc.start()
    data = load(x, scaling="asinh", clip="0.1,99.9")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    values = 8 * min(scaling.VALUES, 3600 * 64 * 64)
    assert peak < data.x.nbytes + data.held_out_x.nbytes + max(6 * raws.BLOCK, 4 * values)


def test_what_cannot_be_scaled_is_named_by_its_row():
    x = COUNTS.copy()
    x[37, 2, 3] = -1.5
    refused("row 37 holds -1.5", "log1p", "asinh", args=(x,), scaling="log1p")
    assert load(x, scaling="log1p", clip="1,100").form.scaling.low == 0  # and what is cut off may be
    for row in range(5, 15):  # trained on or held out
        x = COUNTS.copy()
        x[row] = -2
        refused(f"row {row} has the maximum -2", "weakest=0", args=(x,), scaling="maximum", held_out=0.5)
        data = load(x, scaling="maximum", held_out=0.5, weakest=0)
        assert len(data.x) + len(data.held_out_x) == 79
    weak = COUNTS[:, :1] / 1e3 + 1
    data = load(weak, scaling="maximum", held_out=0)
    text = "the maxima, {:.6g} to {:.6g}, are not modelled: samples are fractions of them"
    assert text.format(weak.max((1, 2)).min(), weak.max()) in str(data.form.scaling)
    assert data.form.signal.label == "x / maximum (1)" and data.x.min() > -1
    refused("are points", args=(RNG.normal(size=(50, 3)),), scaling="maximum")
    refused("constant (every row is 5)", args=(np.full((50, 4, 4), 5.0),), scaling="asinh")
    refused("constant (every row is 0)", args=(np.zeros((50, 4, 4)),), scaling="asinh")


@pytest.mark.parametrize("kind", ["log1p", "asinh", "minmax"])
@pytest.mark.parametrize("points", [False, True])
def test_slopes_are_those_of_finite_differences(kind, points):
    x = RNG.exponential(30, (60, 3) if points else (60, 4, 4))
    data = load(x, scaling=kind, held_out=0)
    s, h = data.form.scaling, 1e-4
    x = x if points else x[:, None]
    up, down = ((s.bent(each) - np.asarray(s.offset)) / s.scale for each in (x + h, x - h))
    np.testing.assert_allclose(np.exp(s.log_slope(data.x)), (up - down) / (2 * h), rtol=1e-5)


def test_runs_from_before_are_read():
    old = {
        "name": "x.npy", "axes": "NHW", "shape": [1, 4, 4], "condition": None,
        "scaling": {"kind": "minmax", "offset": [127.5], "scale": 127.5},
    }  # fmt: skip
    form = Form.from_json(old)
    assert form.scaling == Scaling("minmax", (127.5,), 127.5) and form.mask is None and not form.scaling.clips
    assert np.array_equal(form.to_network(np.full((1, 4, 4), 255)), np.ones((1, 1, 4, 4)))
    assert str(form.scaling) == "scaled to [-1, 1]: (x - 127.5) / 127.5"
    data = load(COUNTS, scaling="maximum", clip="0.1,99.9")
    assert Form.from_json(json.loads(json.dumps(data.form.to_json()))) == data.form


# -- masks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gaps(tmp_path):
    """COUNTS with a declared mask of a pixel, where they hold 10⁶, and NaN in another one; the text of the mask."""
    mask = np.ones((8, 6), int)
    mask[0, 0] = 0
    np.save(tmp_path / "mask.npy", mask)
    x = COUNTS.copy()
    x[:, 0, 0] = 1e6
    x[3, 2, 1], x[4, 2, 1], x[9, 5, 5] = np.nan, np.inf, np.nan
    live = mask.astype(bool)
    live[2, 1] = live[5, 5] = False
    return x, live, str(tmp_path / "mask.npy")


@pytest.mark.parametrize("kind", [*BENT, "minmax", "standard"])
def test_a_scaling_is_fitted_where_there_is_a_detector(gaps, kind):
    x, live, mask = gaps
    data = load(x, scaling=kind, clip="1,99", mask=mask, nan="mask", held_out=0)
    other = load(COUNTS[:, live][:, :, None], scaling=kind, clip="1,99", held_out=0)  # only these pixels
    assert data.form.scaling == other.form.scaling
    assert np.array_equal(data.form.mask[0], live) and np.array_equal(data.pixels["mask"], data.form.mask)
    assert np.array_equal(data.x[:, 0][:, live], other.x[:, 0, :, 0]) and not data.x[:, 0][:, ~live].any()
    assert "2 NaN and 1 infinite values in 3 of 80 rows: those pixels are masked in all rows" in data.notes
    assert "masked: 3 of 48 pixels" in data.notes
    back = data.form.to_user(data.x)
    assert np.array_equal(np.isnan(back), np.broadcast_to(~live, back.shape))


def test_a_mask_of_nexus_is_0_where_a_pixel_is_good(tmp_path):
    bad = np.zeros((8, 6), np.uint32)
    bad[2, 3], bad[0, 0] = 16, 1
    with h5py.File(tmp_path / "x.nxs", "w") as file:
        file["entry/detector/pixel_mask"], file["mask"] = bad, bad
    name = f"{tmp_path}/x.nxs:/entry/detector/pixel_mask"
    data = load(COUNTS, mask=name)
    assert np.array_equal(data.form.mask[0], bad == 0)
    assert f"masked: 2 of 48 pixels; {name} is 0 where a pixel is good, as NeXus has it" in data.notes
    refused("leaves 2 of 48 pixels", "0 is where there is NO detector", args=(COUNTS,), mask=f"{tmp_path}/x.nxs:/mask")


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4", "u8"])
def test_the_largest_number_of_a_type_is_said(tmp_path, dtype):
    x, top = RNG.poisson(3, (20, 8, 6)).astype(dtype), np.iinfo(dtype).max
    x[:, 2, 3], x[7, 1, 1] = top, top
    np.save(tmp_path / "x.npy", x)
    note = f"2 pixels hold {top}, the largest of {np.dtype(dtype).name}, in 20 rows: dead or saturated?"
    for lines in (load(x, held_out=0).notes, describe(str(tmp_path / "x.npy")).lines):
        assert sum(line.startswith(note) for line in lines) == 1
    mask = np.ones((8, 6))
    mask[2, 3] = 0
    np.save(tmp_path / "mask.npy", mask)
    assert any("1 pixel holds" in each and "in 1 row:" in each for each in load(x, mask=f"{tmp_path}/mask.npy").notes)
    x[x == top] = top - 1 if dtype != "u8" else 9
    assert not any("largest of" in each for each in load(x).notes)
    white = np.where(x > 2, 255, 0).astype("u1")  # of pictures that is only white
    assert not any("largest of" in each for each in load(white).notes)


def test_masked_columns_of_points():
    x = RNG.normal([3, 50, -7], [1, 9, 2], (200, 3))
    x[5, 1] = np.nan
    data, two = load(x, nan="mask", held_out=0), load(x[:, [0, 2]], held_out=0)
    assert data.form.scaling.offset == (two.form.scaling.offset[0], 0.0, two.form.scaling.offset[1])
    assert data.form.scaling.scale == two.form.scaling.scale and not data.x[:, 1].any()
    assert np.array_equal(data.form.in_units(data.x)[:, 1], np.zeros(200))


@pytest.mark.parametrize("kind, whole", [("asinh", True), ("log1p", False)])
def test_points_of_the_plane_are_drawn_where_all_of_it_can_be_scaled(kind, whole):
    data = load(RNG.exponential(3, (60, 2)), scaling=kind, held_out=0)
    game = recipes.build(recipe_of("gan", data), data.form)
    assert drawable(game, data.form) == whole
    with seeds.measuring(game, 0):
        assert not whole or plane(game, data.form, Batch(torch.from_numpy(data.x)))


def test_gaps_that_are_no_detectors(tmp_path):
    x = RNG.normal(size=(200, 6, 6))
    x[RNG.random(x.shape) < 0.02] = np.nan
    refused("--nan mask would leave", "of 36 pixels", "in different places", "--nan drop", args=(x,), nan="mask")
    assert load(x[:20], nan="mask").form.mask.mean() > 0.5
    dead = RNG.normal(size=(50, 6, 6))
    dead[7] = np.nan
    refused("would leave 0 of 36", args=(dead,), nan="mask")
    refused("--nan mask (those pixels, in all rows)", args=(dead,))  # among what is proposed
    dead[:, 2, 2] = np.nan
    refused("0 rows without gaps", "--nan mask leaves out pixels", args=(dead,), nan="drop")
    np.save(tmp_path / "dead.npy", dead)
    assert describe(str(tmp_path / "dead.npy")).lines[-1].endswith("--nan mask")
    dead[:20, 2, 2] = 1
    np.save(tmp_path / "dead.npy", dead)  # a detector's, if in most of the rows
    assert describe(str(tmp_path / "dead.npy")).lines[-1].endswith("--nan mask")
    dead[:30, 2, 2] = 1
    np.save(tmp_path / "dead.npy", dead)
    assert describe(str(tmp_path / "dead.npy")).lines[-1].endswith("--nan drop")
    dead[:, 2, 2] = 1
    assert load(dead[:7], nan="mask").form.mask is not None and load(dead[:7], nan="mask").form.mask.all()
    few = RNG.normal(size=(100, 6, 6))
    few[70, 1, 1] = np.nan
    assert load(few, nan="mask", n=20, seed=2).form.mask.sum() in (35, 36)  # only of rows that are used
    used = 70 in load(few, nan="mask", n=20, seed=2).rows
    assert not used or load(few, nan="mask", n=20, seed=2).form.mask.sum() == 35


def test_what_measures_pictures_sees_the_mean_there(gaps):
    x, live, mask = gaps
    form = load(x, mask=mask, nan="mask", held_out=0).form
    found = form.in_units(form.to_network(x))[..., 0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.mean((1, 2)), COUNTS[:, live].mean(1), atol=1e-3)
    np.testing.assert_allclose(found[:, ~live], COUNTS[:, live].mean(1)[:, None].repeat(3, 1), atol=1e-3)
    colour = np.stack([COUNTS, 1000 * COUNTS, COUNTS], -1)
    colour[2, 1, 1, 0] = np.nan
    form = load(colour, nan="mask", held_out=0).form
    found = form.in_units(form.to_network(colour))
    assert found[5, 1, 1, 0] == pytest.approx(np.delete(COUNTS[5].ravel(), 7).mean(), rel=1e-3)  # of its channel
    assert np.allclose(found[..., 1], colour[..., 1], rtol=1e-4)


class Free(nn.Module):
    """A generator whose every pixel may be moved by itself."""

    def __init__(self, shape):
        super().__init__()
        self.move = nn.Parameter(torch.randn(shape))
        self.weight = nn.Parameter(torch.randn(4, math.prod(shape)))

    def forward(self, z, c=None):
        return (z @ self.weight).view(len(z), *self.move.shape) + self.move


@pytest.mark.parametrize("method", [m for m in METHODS if "generator" in recipes.roles(m)])
def test_no_loss_depends_on_masked_pixels(gaps, method):
    """Neither player's: where generated pictures hold anything else there, all stays as it is."""
    x, live, mask = gaps
    condition = None if told(method) is None else np.arange(80) % 2
    data = load(x, condition, mask=mask, nan="mask", held_out=0)
    codes = {"prior.name": "codes", "prior.categories": [2], "prior.values": 1, "prior.noise": 1}
    recipe = recipe_of(method, data, **{"generator.name": "custom"}, **(codes if method == "infogan" else {}))
    with seeds.forked(torch.device("cpu"), 0):
        game = recipes.build(recipe, data.form, {"generator": Free((1, 8, 6))}, data.pixels).double()
    batch = Batch(torch.from_numpy(data.x[:16]).double(), None if data.c is None else torch.from_numpy(data.c[:16]))
    free = game.generator.network
    dead = ~torch.from_numpy(live)

    def losses():
        game._drawn = None
        with seeds.forked(torch.device("cpu"), 1):
            return [player.loss(batch).total for player in game.players.values()]

    before = losses()
    values = [loss.item() for loss in before]
    grads = [torch.autograd.grad(loss, free.move, allow_unused=True, retain_graph=True)[0] for loss in before]
    grads = [each for each in grads if each is not None]
    assert grads and all(not each[0][dead].any() for each in grads) and any(each[0][~dead].any() for each in grads)
    with torch.no_grad():
        free.move[0, dead] += 100
    assert [loss.item() for loss in losses()] == values
    with torch.no_grad():
        free.move[0, 3, 3] += 1
    assert [loss.item() for loss in losses()] != values
    x = game.decode(game.prior.sample(5))
    assert not x[:, 0][:, dead].any() and x[:, 0][:, ~dead].all()


def test_weights_of_before_generators_were_masked(gaps):
    x, _, mask = gaps
    data = load(x, mask=mask, nan="mask", held_out=0)
    recipe = recipe_of("r3gan", data)
    old = recipes.build(recipe, replace(data.form, mask=None)).state_dict()
    new = recipes.build(recipe, data.form, pixels=data.pixels)
    load_weights(new, old)
    for name, value in old.items():
        assert torch.equal(new.state_dict()[name.replace("generator.", "generator.network.")], value)
    load_weights(new, new.state_dict())


def test_a_masked_run(tmp_path, gaps, capsys):
    """What comes back is NaN where there is no detector, what is given may be; gaps elsewhere are refused."""
    x, live, mask = gaps
    run = trained(tmp_path / "run", "vae", x, data__mask=mask, data__nan="mask", decoder__likelihood="laplace")
    assert torch.equal(run.game.decoder.mask[0], torch.from_numpy(live))
    again = ludus.load(tmp_path / "run")
    gone = np.where(live, COUNTS, np.nan)
    for each in (run, again):
        z = each.encode(x).mean
        assert np.array_equal(z, each.encode(gone).mean)
        for found in (each.sample(5), each.decode(z), each.reconstruct(x[:5]), each.real, each.seen(x)):
            assert np.array_equal(np.isnan(found), np.broadcast_to(~live, found.shape))
    assert np.array_equal(run.log_likelihood(x[:3], draws=20).value, again.log_likelihood(gone[:3], draws=20).value)
    assert np.isfinite(run.invert(x[:2], restarts=1).residual).all()
    assert ludus.resume(tmp_path / "run", steps=5, data=x).turn == 5
    with pytest.raises(UserError, match=r"not finite in 1 of 80 rows, the first in row 2, at \(3, 3\)"):
        gone[2, 3, 3] = np.nan
        run.encode(gone)
    main_says(["sample", str(tmp_path / "run"), "-n", "4", "--out", str(tmp_path / "x.png")])
    assert drawn_in(tmp_path / "x.png", MISSING) and not drawn_in(tmp_path / "x.png", "#ff0000")
    np.save(tmp_path / "x.npy", x)
    main_says(["reconstruct", str(tmp_path / "run"), str(tmp_path / "x.npy"), "--out", str(tmp_path / "both.png")])
    assert drawn_in(tmp_path / "both.png", MISSING)
    limits = figures.limits_of(run.form.pictures(run.sample(4)))
    assert np.isfinite(limits).all() and session.drawing(run.form, run.sample(4), run.real)
    capsys.readouterr()


def main_says(arguments, monkeypatch=None):
    import sys

    old, sys.argv = sys.argv, ["ludus", *arguments]
    try:
        with pytest.raises(SystemExit) as done:
            main()
    finally:
        sys.argv = old
    assert not done.value.code


def drawn_in(path, colour):
    """Whether a picture holds a colour."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return bool((np.abs(pixels - np.round(255 * np.array(to_rgb(colour)))).max(-1) <= 1).any())


@pytest.mark.slow
def test_a_masked_gan_is_evaluated(tmp_path, gaps):
    x, live, mask = gaps
    x = np.concatenate([x, x[::-1]])
    run = trained(tmp_path / "run", "r3gan", x, data__mask=mask, data__nan="mask", data__held_out=0.4,
                  data__scaling="asinh")  # fmt: skip
    assert not run.draws(8)[:, 0][:, ~live].any() and np.isnan(run.sample(8)[:, ~live]).all()
    found = run.evaluate(50, data=x)
    assert "masked pixels hold the mean of the others, in real and in generated images alike" in found.notes
    for rows in (found.sets.generated.x[..., 0], found.sets.reference.x[..., 0]):
        np.testing.assert_allclose(rows[:, ~live], rows[:, live].mean(1)[:, None].repeat(3, 1), rtol=1e-4)
    assert drawn_in(tmp_path / "run" / "evaluation" / "samples.png", MISSING)


# -- what assumes a linear scaling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["log1p", "asinh"])
def test_a_density_is_in_the_users_units(tmp_path, kind):
    """Change of variables: a run on g(x), by hand, is the same run, and log p(x) = log p(g(x)) + Σ log |dg/dx|."""
    x = COUNTS.astype(float)
    one = trained(tmp_path / "one", "vae", x, data__scaling=kind)
    knee = one.form.scaling.knee
    g = np.log1p(x) if kind == "log1p" else np.arcsinh(x / knee)
    two = trained(tmp_path / "two", "vae", g)
    assert np.allclose(one.encode(x).mean, two.encode(g).mean, atol=1e-4)
    slope = -np.log1p(x) if kind == "log1p" else -np.log(np.hypot(x, knee))
    found, by_hand = (run.log_likelihood(rows[:6], draws=200).value for run, rows in ((one, x), (two, g)))
    np.testing.assert_allclose(found, by_hand + slope[:6].sum((1, 2)), atol=2e-2, rtol=1e-4)


def test_where_there_is_no_density_it_is_said(tmp_path):
    run = trained(tmp_path / "maximum", "vae", COUNTS, data__scaling="maximum")
    with pytest.raises(UserError, match="divided by their maximum, which is not modelled: x has no density"):
        run.log_likelihood(COUNTS)
    assert np.allclose(run.seen(COUNTS), COUNTS / COUNTS.max((1, 2), keepdims=True), atol=1e-6)
    assert np.abs(run.sample(5, noise=False)).max() < 3  # fractions, though the maxima are up to 3,870
    with pytest.raises(UserError, match=r"row 1 has the maximum 0"):
        run.encode(COUNTS * np.array([1, 0] * 40)[:, None, None])
    run = trained(tmp_path / "clip", "vae", COUNTS, data__clip="0.1,99")
    bright = (run.form.scaling.high < COUNTS).any((1, 2))
    with pytest.raises(UserError, match=r"x holds \d+ values beyond those that data\.clip left, above \d+"):
        run.log_likelihood(COUNTS)
    assert np.isfinite(run.log_likelihood(COUNTS[~bright][:3], draws=20).value).all() and bright.any()
    assert np.allclose(run.seen(COUNTS), COUNTS.clip(None, run.form.scaling.high), atol=1e-3)
    run = trained(tmp_path / "log1p", "vae", COUNTS, data__scaling="log1p")
    with pytest.raises(UserError, match="row 4 holds -3, and log1p takes values above -1"):
        worse = COUNTS.copy()
        worse[4, 2, 2] = -3
        run.encode(worse)


def test_laws_of_the_numbers_as_they_are(tmp_path):
    counts = np.round(COUNTS)
    for likelihood in ("poisson", "negative_binomial"):
        for settings in ({"data__scaling": "asinh"}, {"data__scaling": "maximum"}, {"data__clip": "0,99"}):
            with pytest.raises(UserError, match=f"{likelihood} is a law of counts as they are, and data."):
                trained(tmp_path / "no", "vae", counts, decoder__likelihood=likelihood, **settings)
    np.save(tmp_path / "sigma.npy", np.ones((8, 6)))
    for settings in ({"decoder__sigma": 0.5}, {"decoder__sigma": "given", "data__sigma": str(tmp_path / "sigma.npy")}):
        with pytest.raises(UserError, match=r"is in the data's units, which data\.scaling=log1p bends"):
            trained(tmp_path / "no", "vae", counts, data__scaling="log1p", **settings)
    with pytest.raises(UserError, match="grey values for probabilities"):
        trained(tmp_path / "no", "vae", counts, data__scaling="asinh", sampler__binarise=True,
                decoder__likelihood="bernoulli")  # fmt: skip
    assert not (tmp_path / "no").exists()
    run = trained(tmp_path / "cut", "vae", counts, data__clip="0,99", decoder__sigma=0.5)  # still linear
    assert run.log_likelihood(np.clip(counts[:2], None, run.form.scaling.high), draws=10).value.shape == (2,)


def test_distances_are_of_what_it_makes_of_x(tmp_path):
    """Residuals, effects and path lengths: root mean squares of g(x), as the docstring says."""
    run = trained(tmp_path / "run", "vae", COUNTS, data__scaling="asinh")
    found, s = run.invert(COUNTS[:3], restarts=1), run.form.scaling
    with torch.no_grad():
        again = run.game.decode(torch.from_numpy(found.z)).numpy()
    g, mine = (s.offset[0] + s.scale * each.astype(float) for each in (run.rows(COUNTS[:3]).numpy(), again))
    by_hand = np.sqrt(np.square(mine - g).mean((1, 2, 3)))
    np.testing.assert_allclose(found.residual, by_hand, rtol=1e-4)


def test_an_evaluation_says_what_was_cut_and_divided(tmp_path):
    x = np.concatenate([COUNTS, COUNTS[::-1]])
    settings = {"scaling": "maximum", "clip": "0,99", "held_out": 0.4}
    run = trained(tmp_path / "run", "gan", x, **{f"data__{key}": value for key, value in settings.items()})
    found, _ = evaluate.of_run(run, load(x, **settings), n=50, quick=True)
    assert "images are compared as fractions of their own maximum, which is not modelled" in found.notes
    assert f"real images were cut off above {run.form.scaling.high:.6g}, as those trained on: data.clip" in found.notes
    assert found.sets.reference.x.max((1, 2, 3)) == pytest.approx(1, abs=1e-6)
