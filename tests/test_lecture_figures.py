"""The lecture's figures: the numbers behind each against closed forms, and each drawn, listed and saved."""

import math
import sys
import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

from ludus import cli, figures, recipe, seeds
from ludus.data.form import Form
from ludus.data.scaling import Scaling
from ludus.figures import plane as planes
from ludus.figures.lecture import FIGURES, costs, divergences, evidence, family, portraits, ratio, unrolling
from ludus.game import Batch
from ludus.methods.gan import GAN
from ludus.methods.r3gan import R3GAN
from ludus.methods.wgan import WGAN
from ludus.networks.lenses import Lensed
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian
from ludus.worlds.mixtures import ring

# ------------------------------------------------------------------------------------------------- the three costs


def test_costs_are_the_lectures():
    d = torch.tensor([0.001, 0.2, 0.5, 0.9, 0.999], dtype=torch.float64)
    lecture = {  # J⁽ᴳ⁾, and its slope in the logit
        "minimax": (0.5 * (1 - d).log(), -0.5 * d),
        "heuristic": (-0.5 * d.log(), -0.5 * (1 - d)),
        "maximum_likelihood": (-0.5 * d / (1 - d), -0.5 * d / (1 - d)),
    }
    for name in costs.NAMES:
        torch.testing.assert_close(costs.value_and_slope(name, d.logit()), lecture[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_maximum_likelihood_is_carried_by_a_share_of_e_to_minus_m_squared(m):
    mean, share = costs.carried("maximum_likelihood", m)
    assert mean == pytest.approx(0.5, rel=1e-12)
    assert share == pytest.approx(math.exp(-(m**2)), rel=1e-9)


def test_golden_shares():
    """As printed in the project's reference, to half a unit of the last digit."""
    for m, printed, half in ((1, 0.368, 5e-4), (2, 0.0183, 5e-5), (3, 1.23e-4, 5e-7)):
        assert costs.carried("maximum_likelihood", m)[1] == pytest.approx(printed, rel=0, abs=half)


@pytest.mark.parametrize("m", [0.3, 1.0, 2.5])
def test_minimax_and_heuristic_slopes_share_one_half(m):
    """σ(a) and 1 − σ(a) add to 1, and E D* under q is ∫ pq/(p + q)."""
    minimax, heuristic = (costs.carried(name, m)[0] for name in ("minimax", "heuristic"))
    assert minimax + heuristic == pytest.approx(0.5, rel=1e-12)
    p, q = torch.exp(-((costs.Z + m) ** 2) / 2), torch.exp(-(costs.Z**2) / 2)
    overlap = (p * q / (p + q)).sum().item() * 0.01 / math.sqrt(2 * math.pi)
    assert minimax == pytest.approx(overlap / 2, rel=1e-9)
    assert minimax < 0.25 < heuristic


def test_each_sample_has_the_gradient_that_its_weight_says():
    """Of the library's own cost, in the mean m of the model x̃ = m + z, at D* held fixed: −m ∂J/∂a on each sample."""
    m, z = 1.5, torch.linspace(-3, 3, 7, dtype=torch.float64)
    for name in costs.NAMES:
        shift = torch.full_like(z, m, requires_grad=True)
        a = ratio.log_normal(shift + z, 0, 1) - ratio.log_normal(shift + z, m, 1)
        torch.testing.assert_close(a, -(m**2) / 2 - m * z)
        each = torch.autograd.grad(torch.vmap(costs.COSTS[name])(a[:, None]).sum() / 2, shift)[0]
        torch.testing.assert_close(each, -m * costs.value_and_slope(name, a)[1])


def test_batches_agree_with_the_law_where_it_leaves_them_samples():
    """And never less than one. To second order the share's bias, as an estimate, is Var(w)/B − 2 Cov(w, w²)/B² +
    Var(w²)/B³ over n, B = E w², for E w = 1: 2.1/n under maximum likelihood at m = 0.7, less for bounded slopes."""
    for name in costs.NAMES:
        seen = costs.batches(name, 0.7, 4000, 200)
        error = seen.std().item() / math.sqrt(len(seen))
        assert seen.mean().item() == pytest.approx(costs.carried(name, 0.7)[1], rel=0, abs=4 * error + 3 / 4000)
    few = costs.batches("maximum_likelihood", 4.0, 256, 100)
    assert few.min() >= 1 / 256 and few.mean() > 1000 * math.exp(-16)


# ------------------------------------------------------------------------------------------------------ divergences


@pytest.mark.parametrize("separation", [0.5, 3.0, 8.0, 12.0])
def test_maximum_likelihood_matches_moments(separation):
    """Its one minimum has p's mean and variance, and the value h(q) − h(p), the cross-entropy being q's entropy."""
    (fit,) = divergences.fits("KL(p‖q)", separation)
    sd, log_p = math.hypot(1, separation / 2), divergences.two(separation)
    entropy = -(log_p.exp() * log_p).sum().item() * divergences.STEP
    assert fit.mean == pytest.approx(0, abs=1e-5) and fit.sd == pytest.approx(sd, rel=1e-6)
    assert fit.value == pytest.approx(math.log(sd) + math.log(2 * math.pi * math.e) / 2 - entropy, abs=1e-9)


@pytest.mark.parametrize(("name", "limit"), [("KL(q‖p)", math.log(2)), ("JSD(p, q)", 0.75 * math.log(4 / 3))])
def test_far_apart_the_others_choose_one_mode(name, limit):
    """q is one half of p: KL(q‖p) = log 2, and JSD = ¼ log(2/3) + ¼ log 2 + ½ log(4/3) = ¾ log(4/3)."""
    fit = divergences.fits(name, 12.0)[0]
    assert [abs(fit.mean), fit.sd] == pytest.approx([6, 1], abs=1e-3)
    assert fit.value == pytest.approx(limit, abs=1e-5)


@pytest.mark.parametrize("name", divergences.DIVERGENCES)
@pytest.mark.parametrize("separation", [4.0, 8.0])
def test_fits_are_minima_and_the_first_is_the_lowest_of_all(name, separation):
    log_p = divergences.two(separation)

    def value(mean, sd):
        log_sd = torch.tensor(math.log(sd), dtype=torch.float64)
        return divergences.DIVERGENCES[name](log_p, divergences.log_normal(torch.tensor(mean), log_sd)).item()

    found = divergences.fits(name, separation)
    for fit in found:
        assert fit.value == pytest.approx(value(fit.mean, fit.sd), abs=1e-12)
        for mean, sd in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
            assert value(fit.mean + mean, fit.sd + sd) > fit.value
    everywhere = [value(m, s) for m in np.linspace(-6, 0, 25) for s in np.geomspace(0.5, 6, 25)]
    assert found[0].value <= min(everywhere) < found[0].value + 0.03


def test_where_the_minima_change_places():
    """What the figure's words say: the reverse KL and JSD leave the cover at 5.6 and at 8.5 sd."""
    covers = lambda name, s: abs(divergences.fits(name, s)[0].mean) < 0.01  # noqa: E731
    assert covers("KL(q‖p)", 5.5) and not covers("KL(q‖p)", 5.7)
    assert covers("JSD(p, q)", 8.4) and not covers("JSD(p, q)", 8.6)
    assert len(divergences.fits("JSD(p, q)", 5.5)) == 1 and len(divergences.fits("JSD(p, q)", 5.7)) == 2


# ---------------------------------------------------------------------------------------------------- density ratio


def test_the_optimal_logit_is_a_parabola():
    x, s = ratio.X, ratio.SD
    by_hand = math.log(s) + (x - ratio.MEAN) ** 2 / (2 * s**2) - x**2 / 2
    torch.testing.assert_close(ratio.optimal_logit(x), by_hand)
    assert ratio.error(ratio.optimal_logit(x) + 0.3) == pytest.approx(0.3)


def test_a_discriminator_trained_on_samples_is_near_it_and_the_callers_random_state_is_not():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learnt = ratio.trained_logit(ratio.X, steps=300)
    assert torch.equal(torch.get_rng_state(), before)
    assert ratio.error(learnt) < 0.1 < ratio.error(torch.zeros_like(learnt))
    assert torch.equal(learnt, ratio.trained_logit(ratio.X, steps=300))


# --------------------------------------------------------------------------------------------------------- Dirac-GAN

SIGMA = lambda t: 1 / (1 + math.exp(-t))  # noqa: E731
VELOCITIES = {  # the signs of Mescheder et al. 2018: under maximum likelihood θ lowers −exp(−θψ)
    "gan\nminimax": lambda t, p: (-p * SIGMA(-t * p), t * SIGMA(-t * p)),
    "gan\nheuristic": lambda t, p: (-p * SIGMA(t * p), t * SIGMA(-t * p)),
    "gan\nmaximum\nlikelihood": lambda t, p: (-p * math.exp(-t * p), t * SIGMA(-t * p)),
    "gan\nminimax\nR1, γ = 0.3": lambda t, p: (-p * SIGMA(-t * p), t * SIGMA(-t * p) - 0.3 * p),
    "wgan\nclip = 1": lambda t, p: (-p, t),
    "wgan_gp\nλ = 0.35": lambda t, p: (-p, t - 0.7 * (p - math.copysign(1, p))),
}


@pytest.mark.parametrize("label", VELOCITIES)
def test_the_field_is_the_papers(label):
    points = np.random.default_rng(0).uniform(-3, 3, (20, 2))
    expected = [VELOCITIES[label](*point) for point in points]
    np.testing.assert_allclose(portraits.velocity(*portraits.GAMES[label], points), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "column", "moves", "radius"),
    [
        ("gan\nminimax", "simultaneous", 1, "3.097"),
        ("gan\nminimax", "alternate", 1, "1.421"),
        ("gan\nheuristic", "alternate, 1 : 5", 5, "0.139"),
        ("wgan_gp\nλ = 0.35", "simultaneous", 1, "1.80"),
    ],
)
def test_orbits_start_at_one_one_and_end_at_the_golden_radius(label, column, moves, radius):
    way, shown = portraits.schedules()[column]
    path = portraits.orbit(*portraits.GAMES[label], way, moves)
    assert path.shape == (501, 2) and path[0].tolist() == [1, 1]
    half = 0.5 * 10 ** Decimal(radius).as_tuple().exponent  # a unit of the last digit printed
    assert shown == moves and np.hypot(*path[-1]) == pytest.approx(float(radius), rel=0.01, abs=half)
    if column == "simultaneous":  # its first step is along the field
        first = portraits.velocity(*portraits.GAMES[label], path[:1])[0]
        np.testing.assert_allclose(path[1] - path[0], portraits.RATE * first, atol=1e-12)


def test_every_method_and_every_way_of_playing_is_shown():
    shown = {method for method, _ in portraits.games().values()}
    assert shown == {m for m in recipe.METHODS if set(recipe.roles(m)) == {"generator", "discriminator", "prior"}}
    ways = {way.get("play", "alternate") for way, _ in portraits.schedules().values()}
    assert ways == set(portraits.PLAYS)


# ------------------------------------------------------------------------------------------------------- family tree


def test_every_method_hangs_on_the_tree():
    def leaves(node):
        return [node] if isinstance(node, str) else [leaf for below in node.values() for leaf in leaves(below)]

    here = family.offered()
    assert set(leaves(family.TREE)) == set(here)
    assert set(recipe.METHODS) <= {name for names in here.values() for name in names}
    words = " ".join(text.get_text().replace("\n", " ") for text in family.family_tree().axes[0].texts)
    for said in [*leaves(family.TREE), *recipe.METHODS, "none here", "maximum likelihood"]:
        assert said in words, said


# ------------------------------------------------------------------------------------- a game in the plane, a snapshot


def game_of(method=GAN, conditions=0, **options):
    torch.manual_seed(0)
    generator = MlpGenerator((2,), 3, conditions, width=16, depth=2)
    return method(generator, MlpDiscriminator((2,), conditions, width=16, depth=2), Gaussian(dimension=3), **options)


FORM = Form("plane", "ND", (2,), Scaling("standard", (10.0, -5.0), 4.0))
BATCH = Batch(torch.randn(64, 2, generator=torch.Generator().manual_seed(1)))

WEIGHTS = {  # minus the derivative of each cost in the logit of a sample: what it pulls with along ∇ₓa
    "minimax": (GAN, {"cost": "minimax"}, lambda a, real: a.sigmoid()),
    "heuristic": (GAN, {"cost": "heuristic"}, lambda a, real: 1 - a.sigmoid()),
    "maximum likelihood": (GAN, {"cost": "maximum_likelihood"}, lambda a, real: a.exp()),
    "wgan": (WGAN, {}, lambda a, real: -torch.ones_like(a)),
    "r3gan": (R3GAN, {}, lambda a, real: (real - a).sigmoid()),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_arrows_are_the_generators_gradient(name):
    method, options, weight = WEIGHTS[name]
    game = game_of(method, **options)
    with seeds.measuring(game, seed=0):
        x, moved = planes.moves(game, BATCH)
    with seeds.measuring(game, seed=0):
        assert torch.equal(x, game.sample(64))  # the same latents as ever
        real = game.discriminator(BATCH.x)
    x.requires_grad_()
    a = game.discriminator(x)
    slope = torch.autograd.grad(a.sum(), x)[0]
    torch.testing.assert_close(moved, weight(a, real).detach()[:, None] * slope)


def test_a_step_along_the_arrows_lowers_the_loss():
    game = game_of()
    with seeds.measuring(game, seed=0):
        x, moved = planes.moves(game, BATCH)
        before, after = (torch.nn.functional.softplus(-game.discriminator(y)).mean() for y in (x, x + 0.01 * moved))
        assert (after - before).item() == pytest.approx(-0.01 * moved.square().sum(1).mean().item(), rel=0.05)


def test_the_heat_map_is_the_logit_at_its_place_in_the_users_units():
    game = game_of()
    with seeds.measuring(game, seed=0):
        figure = planes.plane(game, FORM, BATCH)
        shown = figure.axes[0].images[0]
        heat, (left, right, low, high) = shown.get_array(), shown.get_extent()
        for row, column in ((0, 0), (17, 90), (119, 3)):
            at = np.array([[left + (column + 0.5) * (right - left) / 120, low + (row + 0.5) * (high - low) / 120]])
            logit = game.discriminator(torch.from_numpy(FORM.to_network(at))).item()
            assert heat[row, column] == pytest.approx(logit, abs=1e-5)
    with seeds.measuring(game, seed=0):
        x, _ = planes.moves(game, BATCH)
    assert shown.origin == "lower" and figure.axes[0].get_xlim() == (left, right)
    real, generated = figure.axes[0].collections[:2]
    np.testing.assert_allclose(real.get_offsets(), FORM.to_user(BATCH.x.numpy()))
    np.testing.assert_allclose(generated.get_offsets(), FORM.to_user(x.numpy()))
    assert figures.png(figure).startswith(b"\x89PNG")


def test_arrows_point_where_the_gradient_does_and_the_longest_is_an_eighth_of_the_width():
    game = game_of()
    with seeds.measuring(game, seed=0):
        figure = planes.plane(game, FORM, BATCH)
    with seeds.measuring(game, seed=0):
        moved = planes.moves(game, BATCH)[1].numpy()
    arrows = figure.axes[0].collections[2]
    drawn, (left, right) = np.stack([arrows.U, arrows.V], 1), figure.axes[0].get_xlim()
    np.testing.assert_allclose(drawn / np.linalg.norm(drawn, axis=1, keepdims=True),
                               moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-6)  # fmt: skip
    assert np.linalg.norm(drawn, axis=1).max() == pytest.approx((right - left) / 8)


def test_a_picture_changes_nothing_of_the_game():
    game = game_of(conditions=2)
    batch, before = Batch(BATCH.x, torch.eye(2).repeat(32, 1)), {k: v.clone() for k, v in game.state_dict().items()}
    with seeds.measuring(game, seed=0):
        shown = planes.logits(game, BATCH.x, 2)
        assert torch.equal(shown, game.discriminator(BATCH.x, torch.full((64, 2), torch.nan)))  # condition unknown
        planes.moves(game, batch)
    assert all(torch.equal(before[k], v) for k, v in game.state_dict().items())
    assert all(p.grad is None for p in game.parameters()) and not game.generator._forward_hooks


def test_every_method_that_can_be_drawn_is():
    """A method that is made of these three has a picture, whatever its loss does."""
    for name in {method for method, _ in portraits.games().values()}:
        game = game_of(recipe.load_object(recipe.METHODS[name].path))
        assert planes.drawable(game, FORM), name
        with seeds.measuring(game, seed=0):
            _, moved = planes.moves(game, BATCH)
        assert moved.shape == (64, 2) and moved.abs().max() > 0, name


def test_what_is_no_function_of_one_point_of_the_plane_is_not_drawn():
    game = game_of()
    assert not planes.drawable(game, Form("line", "ND", (1,), FORM.scaling))
    assert not planes.drawable(game, Form("pictures", "NHW", (1, 4, 4), FORM.scaling))
    packed = GAN(game.generator, Lensed(MlpDiscriminator((4,)), pack=2), game.prior)
    noisy = GAN(game.generator, Lensed(game.discriminator, noise=0.5), game.prior)
    minibatch = GAN(game.generator, MlpDiscriminator((2,), minibatch="deviation"), game.prior)
    assert not planes.drawable(packed, FORM) and not planes.drawable(minibatch, FORM)
    assert planes.drawable(noisy, FORM)
    with torch.no_grad():
        assert torch.equal(planes.logits(noisy, BATCH.x, 0), game.discriminator(BATCH.x))  # D itself, not through noise


# ---------------------------------------------------------------------------------------------------- command, files


@pytest.fixture
def ludus(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ludus", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    return call


def test_figures_are_listed_with_what_they_show(ludus):
    code, out, _ = ludus("figure")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(FIGURES)
    assert all(len(line.split()) > 5 for line in out.splitlines())


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_drawn(ludus, monkeypatch, name):
    monkeypatch.setattr(portraits, "orbit", lambda *_: np.ones((3, 2)))  # its numbers are tested above, in less time
    monkeypatch.setattr(ratio, "trained_logit", lambda x: ratio.optimal_logit(x))
    monkeypatch.setattr(unrolling, "TURNS", 12)
    code, out, err = ludus("figure", name)
    assert (code, out) == (0, f"{name}.png\n"), err
    assert Path(f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = [t.get_text() for axes in recipe.load_object(FIGURES[name])().axes for t in axes.findobj()
            if hasattr(t, "get_text")]  # fmt: skip
    assert any(len(t) > 3 for t in text) and not any("$" in t and "mathdefault" not in t for t in text)


@pytest.mark.slow
def test_unrolling_keeps_the_modes_that_the_plain_game_leaves(monkeypatch):
    """At every moment shown: one or two of the eight without it, all eight with it (Metz et al. 2017, figure 2)."""
    monkeypatch.setattr(unrolling, "TURNS", 3000)
    modes = ring().means.numpy()

    def held(x):
        near = np.linalg.norm(x[:, None] - modes, axis=2) < 0.35
        return int((near.mean(0) > 0.02).sum())

    plain, ahead = ([held(x) for x in unrolling.frames(k).values()] for k in (0, unrolling.K))
    print(plain, ahead)
    assert max(plain[1:]) <= 3 and ahead[1:] == [8] * (unrolling.SHOTS - 1)


def test_svg_is_well_formed_and_the_same_again(ludus):
    assert ludus("figure", "generator-costs", "--out", "a.svg")[0] == 0
    assert ludus("figure", "generator-costs", "--out", "b.svg")[0] == 0
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    root = ET.parse("a.svg").getroot()
    assert root.tag.endswith("svg") and b"<dc:date>" not in Path("a.svg").read_bytes()
    assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generator-cost"], "unknown figure 'generator-cost'. Did you mean 'generator-costs'?"),
        (["dirac", "--out", "x.pdf"], ".png or .svg"),
        (["dirac", "--out", "nowhere/x.png"], "nowhere/x.png"),
    ],
)
def test_bad_input_is_one_line(ludus, words, says):
    code, out, err = ludus("figure", *words)
    assert code == 2 and out == "" and says in err.strip() and len(err.strip().splitlines()) == 1


def test_a_run_in_the_plane_has_a_picture_of_its_game(ludus):
    quick = ["--set", "snapshot.count=1", "--set", "generator.width=8", "--set", "discriminator.width=8"]
    code, _, err = ludus("train", "gan", "--data", "ring", "--steps", "2", "--run", "r", *quick)
    assert code == 0, err
    assert sorted(p.name for p in Path("r/samples").iterdir()) == ["00000000.png", "00000002.png"]
    from PIL import Image

    assert Image.open("r/samples/00000002.png").size == (1120, 960)  # one panel, not the two of points alone


# -------------------------------------------------------------------------------------------------------- evidence


def test_the_bound_and_its_gap_are_the_evidence_at_every_width():
    """log p(x) = ELBO + KL, from three formulas; equal at the posterior's own width only."""
    found = evidence.bounds()
    torch.testing.assert_close(found.elbo + found.kl, torch.full_like(found.kl, found.evidence), rtol=0, atol=1e-6)
    assert abs(evidence.WIDTHS[found.elbo.argmax()] - 1) < 0.01


def test_what_the_prior_misses_falls_with_draws_and_grows_with_latents():
    off = {d: evidence.shortfall(d, "prior").median(1).values for d in (1, 4, 8)}
    assert off[1][0] < off[4][0] < off[8][0]
    assert off[1][-1].abs() < 0.05 and off[8][-1] > 10  # 65,536 draws are plenty for one latent, and nothing for eight
    # a q 1.5 times too wide: E w² / (E w)² = (1.5² / √(2·1.5² − 1))⁸ = 2.1⁴, so that the error is √((2.1⁴ − 1) / n)
    sure = evidence.shortfall(8, "posterior")[-1]
    spread = (1.5**2 / math.sqrt(2 * 1.5**2 - 1)) ** 8
    assert sure.abs().max() < 5 * math.sqrt((spread - 1) / evidence.DRAWS[-1])
