"""What a decoder returns: each law against SciPy's, in the user's units; σ, masks, conditions, refusals."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from games import data_of, recipe_of, trainer_of
from ludus import recipe as recipes
from ludus.data.load import load
from ludus.errors import UserError
from ludus.networks.decoders import LIKELIHOODS, Decoder
from ludus.networks.mlp import MlpGenerator

SHAPES = {"images": (2, 3, 4), "points": (3,)}
OFFSETS = {"images": (6.0,), "points": (6.0, 2.5, -1.0)}  # as `Scaling` has them: one for pictures, one a dimension
SCALE = 4.0
BITS = {"offset": (0.5,), "scale": 0.5, "bounded": True}  # 0 and 1, as "minmax" has them


class Given(nn.Module):
    """A network whose output for every z is h; several of them, one a row."""

    def __init__(self, h):
        super().__init__()
        self.register_buffer("h", h)

    def forward(self, z, c=None):
        return self.h[torch.arange(len(z)) % len(self.h)]


def decoder_of(kind, likelihood, rows=5, numbers=1, **options):
    """A decoder in float64 that gives random h (rows, *shape), and these h."""
    torch.manual_seed(0)
    shape = SHAPES[kind]
    h = torch.randn(rows, numbers * shape[0], *shape[1:], dtype=torch.float64)
    scaling = {"offset": OFFSETS[kind], "scale": SCALE} if likelihood != "bernoulli" else {}
    decoder = Decoder(Given(h), shape, **{**scaling, **options.pop("of", {})}, likelihood=likelihood, **options)
    return decoder.double(), h.numpy()


def law_of(decoder, rows=5):
    return decoder(torch.zeros(rows, 2, dtype=torch.float64))


def units(kind):
    """The offset of the user's numbers, to be added to the last or to all dimensions, and their scale."""
    return np.array(OFFSETS[kind]) if kind == "points" else OFFSETS[kind][0], SCALE


every_kind = pytest.mark.parametrize("kind", SHAPES)


# The laws, by SciPy, in the user's units


@every_kind
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_densities_of_the_users_numbers(kind, likelihood):
    """log p of u = x · scale + offset is log p(x) − D log scale; σ is in the units of u."""
    decoder, h = decoder_of(kind, likelihood, sigma=3.0)
    offset, scale = units(kind)
    x = np.random.default_rng(0).normal(size=h.shape)
    u, location = x * scale + offset, h * scale + offset
    laws = {"gaussian": scipy.stats.norm(location, 3.0), "laplace": scipy.stats.laplace(location, 3 / 2**0.5)}
    expected = laws[likelihood].logpdf(u).reshape(5, -1).sum(1)
    found = law_of(decoder).log_prob(torch.from_numpy(x)).numpy() - math.prod(SHAPES[kind]) * math.log(scale)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(law_of(decoder).mean.numpy(), h, rtol=1e-12)


@every_kind
@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_probabilities_of_the_users_counts(kind, likelihood):
    decoder, h = decoder_of(kind, likelihood)
    offset, scale = units(kind)
    u, mean = np.random.default_rng(0).integers(0, 12, size=h.shape), scale * np.log1p(np.exp(h)) + 1e-6
    reference = scipy.stats.poisson(mean)
    if likelihood == "negative_binomial":
        nn.init.constant_(decoder.log_r, math.log(3.0) / 10)
        reference = scipy.stats.nbinom(3.0, 3 / (3 + mean))
    expected = reference.logpmf(u).reshape(5, -1).sum(1)
    law, x = law_of(decoder), torch.from_numpy((u - offset) / scale)
    np.testing.assert_allclose(law.log_prob(x).detach().numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(law.mean.detach().numpy() * scale + offset, mean, rtol=1e-10)
    drawn = law.sample().numpy() * scale + offset
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-10)
    assert drawn.min() >= 0 and decoder.misfit(law.sample()) is None


@every_kind
@pytest.mark.parametrize("bounded", [False, True])
def test_probabilities_of_bits(kind, bounded):
    """As 0 and 1, or scaled to −1 and 1; a grey value has the cross-entropy."""
    decoder, h = decoder_of(kind, "bernoulli", of=BITS if bounded else {})
    p, u = 1 / (1 + np.exp(-h)), np.random.default_rng(0).integers(0, 2, size=h.shape)
    to_network = (lambda u: torch.from_numpy(2.0 * u - 1)) if bounded else (lambda u: torch.from_numpy(1.0 * u))
    expected = scipy.stats.bernoulli(p).logpmf(u).reshape(5, -1).sum(1)
    law = law_of(decoder)
    np.testing.assert_allclose(law.log_prob(to_network(u)).numpy(), expected, rtol=1e-10)
    grey = np.random.default_rng(1).uniform(size=h.shape)
    expected = (grey * np.log(p) + (1 - grey) * np.log(1 - p)).reshape(5, -1).sum(1)
    np.testing.assert_allclose(law.log_prob(to_network(grey)).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(law.mean.numpy(), to_network(p).numpy(), rtol=1e-10)
    assert set(law.sample().unique().tolist()) == ({-1.0, 1.0} if bounded else {0.0, 1.0})


@pytest.mark.parametrize("binarise", [False, True])
@pytest.mark.parametrize("ones", [True, False])
def test_bits_are_not_misread(binarise, ones):
    """Of a column that is never 1, minmax puts the 0 to the middle: to read ½ there would be wrong without a word.

    To draw pixels whose grey values are 0 and 1 changes nothing.
    """
    bits = np.random.default_rng(0).integers(0, 2, size=(64, 3)).astype(np.float32)
    bits[:, 1] *= ones
    data = load(bits, held_out=0.0, scaling="minmax")
    settings = {"decoder.likelihood": "bernoulli", "sampler.binarise": binarise, "sampler.batch": 64}
    try:
        trainer = trainer_of("vae", data, **settings)
    except UserError:
        assert not ones
        return
    seen = next(trainer.sampler).x[trainer.sampler.order.argsort()]
    decoder = trainer.game.decoder
    np.testing.assert_allclose(seen * decoder.scale + decoder.offset, bits, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_probabilities_of_counts_sum_to_one(likelihood):
    decoder, _ = decoder_of("points", likelihood, rows=1)
    counts = torch.arange(3000.0, dtype=torch.float64)
    logs = law_of(decoder, 1).each.log_prob(counts[:, None, None])
    torch.testing.assert_close(logs.exp().sum((0, 1)), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-10)


def test_the_variance_of_a_negative_binomial_is_m_plus_m_squared_over_r():
    """200,000 draws of each of three means; r = 4. To 4 standard errors of a variance, from the fourth moment."""
    decoder, h = decoder_of("points", "negative_binomial", rows=1)
    nn.init.constant_(decoder.log_r, math.log(4.0) / 10)
    offset, scale = units("points")
    n, m = 200_000, scale * np.log1p(np.exp(h[0]))
    torch.manual_seed(0)
    u = law_of(decoder, n).sample().numpy() * scale + offset
    variance, fourth = u.var(0), ((u - u.mean(0)) ** 4).mean(0)
    assert (abs(u.mean(0) - m) < 4 * np.sqrt(variance / n)).all()
    assert (abs(variance - (m + m**2 / 4)) < 4 * np.sqrt((fourth - variance**2) / n)).all()


def test_sigma_is_the_standard_deviation_of_a_laplace_too():
    """Of 200,000 draws, in the user's units; a Laplace variance has the relative error √5 / n."""
    n = 200_000
    for likelihood, kurtosis in (("gaussian", 3), ("laplace", 6)):
        decoder, _ = decoder_of("points", likelihood, rows=1, sigma=1.5)
        torch.manual_seed(0)
        u = law_of(decoder, n).sample().numpy() * SCALE
        np.testing.assert_allclose(u.var(0), 1.5**2, rtol=4 * math.sqrt((kurtosis - 1) / n))


# σ


def sds(decoder):
    """The standard deviations of the pixels of the first row, in the user's units."""
    return law_of(decoder).each.stddev[0].detach().numpy() * SCALE


@every_kind
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_every_way_to_have_a_sigma_is_in_the_users_units(kind, likelihood):
    """σ = 1e-3 + e^(10 parameter) of the network's range where it is learned, which times the scale is the user's."""
    shape = SHAPES[kind]
    values = np.random.default_rng(0).uniform(0.5, 2, size=shape).astype(np.float32)
    fixed, _ = decoder_of(kind, likelihood, sigma=2.0)
    np.testing.assert_allclose(sds(fixed), np.full(shape, 2.0), rtol=1e-6)
    given, _ = decoder_of(kind, likelihood, sigma="given", of={"pixels": {"sigma": values}})
    np.testing.assert_allclose(sds(given), values, rtol=1e-6)
    assert not list(fixed.parameters()) and not list(given.parameters())

    shared, _ = decoder_of(kind, likelihood)
    nn.init.constant_(shared.log_sigma, -0.1)
    np.testing.assert_allclose(sds(shared), np.full(shape, (1e-3 + math.exp(-1)) * SCALE), rtol=1e-6)
    pixels, _ = decoder_of(kind, likelihood, sigma="pixels")
    with torch.no_grad():
        pixels.log_sigma.copy_(torch.from_numpy(np.log(values) / 10))
    np.testing.assert_allclose(sds(pixels), (1e-3 + values) * SCALE, rtol=1e-6)

    predicted, h = decoder_of(kind, likelihood, numbers=2, sigma="predicted")
    location, log_sigma = np.split(h, 2, axis=1)
    np.testing.assert_allclose(sds(predicted), (1e-3 + np.exp(log_sigma[0])) * SCALE, rtol=1e-6)
    np.testing.assert_allclose(law_of(predicted).mean.numpy(), location, rtol=1e-12)


def test_a_learned_sigma_ends_at_that_of_the_data():
    """The most likely σ of numbers about 0 is their root mean square."""
    decoder = Decoder(Given(torch.zeros(1, 3)), (3,))
    x = 0.2 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.LBFGS(decoder.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = -decoder(torch.zeros(500, 2)).log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    sigma = decoder(torch.zeros(1, 2)).each.stddev[0, 0].item()
    assert sigma == pytest.approx(x.square().mean().sqrt().item(), rel=1e-3)


# Masks


def masked(kind, likelihood):
    """The decoder, and a mask that hides about a third of the pixels."""
    mask = np.random.default_rng(1).uniform(size=SHAPES[kind]) > 0.4
    assert 0 < mask.sum() < mask.size
    scaling = BITS if likelihood == "bernoulli" else {}
    return decoder_of(kind, likelihood, of={"pixels": {"mask": mask}, **scaling})[0], mask


def within(kind, likelihood):
    """Numbers that the law can give, in the network's range."""
    u = torch.randint(0, 2, (5, *SHAPES[kind]), generator=torch.Generator().manual_seed(0)).double()
    return 2 * u - 1 if likelihood == "bernoulli" else (u - torch.tensor(units(kind)[0])) / SCALE


@every_kind
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_masked_pixel_changes_nothing(kind, likelihood):
    """Neither what is there in the data, impossible numbers too, nor what the network gives there."""
    decoder, mask = masked(kind, likelihood)
    x, hidden = within(kind, likelihood), torch.from_numpy(~mask)
    decoder.network.h.requires_grad_()
    value = law_of(decoder).log_prob(x)
    each = law_of(decoder).each.log_prob(x * decoder.scale + decoder.offset)
    torch.testing.assert_close(value, each[:, ~hidden].sum(1), rtol=1e-12, atol=1e-12)
    value.sum().backward()
    gradient = decoder.network.h.grad
    assert (gradient[:, hidden] == 0).all() and (gradient[:, ~hidden] != 0).all()

    x[:, hidden] = torch.randn(5, int(hidden.sum()), dtype=torch.float64)
    with torch.no_grad():
        decoder.network.h[:, hidden] = 3.0
        assert torch.equal(law_of(decoder).log_prob(x), value)


@every_kind
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_masked_pixel_is_shown_in_the_middle_of_the_range(kind, likelihood):
    decoder, mask = masked(kind, likelihood)
    law = law_of(decoder)
    for x in (law.mean, law.sample()):
        assert (x[:, ~torch.from_numpy(mask)] == 0).all() and x[:, torch.from_numpy(mask)].any()


# Several z for one x


@every_kind
@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize(
    ("likelihood", "sigma"), [*((name, "shared") for name in LIKELIHOODS), ("laplace", "predicted")]
)
def test_many_draws_are_a_loop_over_them(kind, condition, likelihood, sigma):
    """z (k, B, d) with c (B, K): the b-th z of each draw goes with the b-th condition and the b-th x."""
    torch.manual_seed(0)
    shape, wide = SHAPES[kind], 2 if sigma == "predicted" else 1
    network = MlpGenerator((wide * shape[0], *shape[1:]), 2, condition, width=7, activation="tanh")
    scaling = {} if likelihood == "bernoulli" else {"offset": OFFSETS[kind], "scale": SCALE}
    decoder = Decoder(network, shape, **scaling, likelihood=likelihood, sigma=sigma).double()
    z, c = 5 * torch.randn(4, 3, 2).double(), 5 * torch.randn(3, condition).double() if condition else None
    x = (torch.randint(0, 2, (3, *shape)).double() - decoder.offset) / decoder.scale
    law, each = decoder(z, c), [decoder(draw, c) for draw in z]
    torch.testing.assert_close(law.log_prob(x), torch.stack([one.log_prob(x) for one in each]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(law.mean, torch.stack([one.mean for one in each]), rtol=1e-12, atol=1e-12)
    assert law.sample().shape == (4, 3, *shape)
    if condition:
        assert not torch.allclose(law.mean, decoder(z, c.roll(1, 0)).mean)


# Data that a law cannot give, and options that contradict each other


def counts(kind):
    u = np.random.default_rng(0).integers(0, 9, size=(5, *SHAPES[kind])).astype(np.float64)
    return u, lambda u: torch.from_numpy((u - units(kind)[0]) / SCALE)


@every_kind
@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("bad", [-1.0, 2.5, 0.01])
def test_the_first_number_that_is_no_count_is_found(kind, likelihood, bad):
    decoder, _ = decoder_of(kind, likelihood)
    u, to_network = counts(kind)
    assert decoder.misfit(to_network(u)) is None
    first = (2, *(size - 1 for size in SHAPES[kind]))
    u[first] = u[(4, *first[1:])] = bad
    assert decoder.misfit(to_network(u)) == (first, f"{bad:g} is no count, which {likelihood} is for")


@every_kind
@pytest.mark.parametrize("bad", [-0.1, 1.5, math.pi])
def test_the_first_number_outside_zero_to_one_is_found(kind, bad):
    decoder, _ = decoder_of(kind, "bernoulli")
    x = torch.rand(5, *SHAPES[kind], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert decoder.misfit(x) is None
    first = (1, *(0 for _ in SHAPES[kind]))
    x[first] = x[(3, *first[1:])] = bad
    assert decoder.misfit(x) == (first, f"{bad:.6g} is outside [0, 1], over which bernoulli is")


def test_a_masked_pixel_fits_every_law_and_any_number_fits_a_density():
    decoder, mask = masked("images", "poisson")
    u, to_network = counts("images")
    u[:, ~mask] = -0.5
    assert decoder.misfit(to_network(u)) is None
    u[3][mask] = -0.5
    assert decoder.misfit(to_network(u))[0] == (3, *np.argwhere(mask)[0])
    for likelihood in ("gaussian", "laplace"):
        assert decoder_of("images", likelihood)[0].misfit(to_network(u)) is None


def test_float32_counts_of_any_scaling_are_counts():
    """Thousands, scaled and back: they are off by float32's rounding, which is no misfit."""
    raw = np.random.default_rng(0).poisson(4000.0, size=(200, 1, 6, 5)).astype(np.float32)
    for scaling in ("minmax", "standard", "none"):
        data = load(raw, channels="first", held_out=0.0, scaling=scaling)
        game = recipes.build(recipe_of("vae", data, **{"decoder.likelihood": "poisson"}), data.form)
        assert game.decoder.misfit(torch.from_numpy(data.x)) is None
        x = torch.from_numpy(data.x)
        x[7, 0, 2, 3] += 0.5 / data.form.scaling.scale
        assert game.decoder.misfit(x)[0] == (7, 0, 2, 3)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"likelihood": "normal"}, "likelihood"),
        ({"likelihood": "poisson", "sigma": "pixels"}, "sigma belongs to gaussian and laplace: poisson"),
        ({"likelihood": "bernoulli", "sigma": 0.1}, "sigma belongs to gaussian and laplace: bernoulli"),
        ({"likelihood": "bernoulli", "scale": 3.0}, "bernoulli is for data in"),
        ({"likelihood": "bernoulli", "offset": (0.0, 0.1, 0.0)}, "bernoulli is for data in"),
        ({"sigma": "given"}, "give the standard deviations as data.sigma"),
        ({"sigma": 0.0}, "a number above 0"),
        ({"sigma": -1.0}, "a number above 0"),
        ({"sigma": "learned"}, "a number above 0"),
    ],
)
def test_contradictory_options_are_refused(options, why):
    with pytest.raises(UserError, match=why):
        Decoder(Given(torch.zeros(1, 3)), (3,), **options)


def test_a_recipe_says_which_data_a_law_is_not_for():
    data = data_of((2,))  # standardised
    with pytest.raises(UserError, match="bernoulli is for data in"):
        recipes.build(recipe_of("vae", data, **{"decoder.likelihood": "bernoulli"}), data.form)
