"""Networks, priors and the check of each role: sizes, counts, values, and what a bad network is told."""

import copy
import importlib
import inspect
import math

import pytest
import torch
from torch import nn

from ludus.errors import UserError
from ludus.networks.check import batch_norm, check_roles, check_rows_alone
from ludus.networks.heads import Deviation, Discrimination, logits
from ludus.networks.layers import REFERENCE, Crop, Dropout, VirtualNorm, given, known
from ludus.networks.priors import Gaussian, Uniform

NETWORKS = ["mlp", "small", "dcgan", "resnet"]
IMAGES = ["small", "dcgan", "resnet"]
SHAPES = [(1, 8, 8), (1, 20, 20), (1, 28, 28), (1, 20, 200), (3, 33, 50), (2, 5, 7), (1, 4, 4)]
LATENT = 6
SLIM = {  # (generator's options, discriminator's): the layouts at a size that keeps this file fast
    "mlp": ({"width": 16}, {"width": 16}),
    "small": ({"width": 6, "hidden": 16}, {"width": 4, "hidden": 16}),
    "dcgan": ({"widths": (8, 6, 4)}, {"widths": (4, 6)}),
    "resnet": ({"widths": (8, 8, 6), "groups": 2}, {"widths": (8, 8, 6), "groups": 2}),
}


def classes(name: str) -> tuple[type, type]:
    module = importlib.import_module(f"ludus.networks.{name}")
    return getattr(module, f"{name.capitalize()}Generator"), getattr(module, f"{name.capitalize()}Discriminator")


def pair(name: str, shape: tuple[int, ...], condition: int = 0, bounded: bool = False) -> tuple[nn.Module, nn.Module]:
    """The two networks, slim, with every zero-initialised layer woken, as after some turns."""
    torch.manual_seed(0)
    (generator, discriminator), (for_g, for_d) = classes(name), SLIM[name]
    networks = (
        generator(shape, LATENT, condition, bounded, **for_g),
        discriminator(shape, condition, **for_d),
    )
    return tuple(map(woken, networks))


def woken(network: nn.Module) -> nn.Module:
    for p in network.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.normal_(p, std=0.2)
    return network


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conditions(n: int, condition: int) -> torch.Tensor | None:
    return torch.randn(n, condition) if condition else None


# ------------------------------------------------------------------------------------------------ shapes and contracts


@pytest.mark.parametrize("condition", [0, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_image_fits(name, shape, condition):
    generator, discriminator = pair(name, shape, condition, bounded=True)
    c = conditions(3, condition)
    x = generator(torch.randn(3, LATENT), c)
    assert x.shape == (3, *shape)
    assert x.abs().max() <= 1
    out, features = discriminator(x, c), discriminator.features(x, c)
    assert out.shape == (3,) and out.dtype == torch.float32
    assert features.ndim == 2 and features.shape[0] == 3
    assert batch_norm(generator) == (name == "dcgan") and not batch_norm(discriminator)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_head_of_the_features(name):
    _, discriminator = pair(name, (1, 8, 8), 2)
    discriminator.eval()
    x, c = torch.randn(5, 1, 8, 8), torch.randn(5, 2)
    h = discriminator.features(x, c)
    expected = h @ discriminator.head.weight[0] + discriminator.head.bias
    torch.testing.assert_close(discriminator(x, c), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_signatures_are_the_recipe_s(name):
    """Options are keyword-only, with a plain default each, and kept under their own names."""
    generator, discriminator = classes(name)
    for cls, leading in (
        (generator, ["shape", "latent", "condition", "bounded"]),
        (discriminator, ["shape", "condition"]),
    ):
        parameters = list(inspect.signature(cls).parameters.values())
        assert [p.name for p in parameters[: len(leading)]] == leading
        network = cls((1, 8, 8), *([LATENT] if "latent" in leading else []))
        for option in parameters[len(leading) :]:
            assert option.kind is option.KEYWORD_ONLY and option.annotation is not option.empty
            assert getattr(network, option.name) == option.default
        assert network.shape == (1, 8, 8)


def test_mlp_takes_vectors():
    generator, discriminator = pair("mlp", (2,))
    x = generator(torch.randn(5, LATENT))
    assert x.shape == (5, 2) and discriminator(x).shape == (5,)
    assert not any(isinstance(m, nn.Tanh) for m in generator.modules())


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_network_names_mlp_for_vectors(name):
    generator, discriminator = classes(name)
    with pytest.raises(UserError, match=rf"'{name}' .* \(2,\).*'mlp'"):
        generator((2,), LATENT)
    with pytest.raises(UserError, match="'mlp'"):
        discriminator((2,))


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: classes("mlp")[0]((2,), 4, width=0), "width is 0"),
        (lambda: classes("mlp")[1]((2,), activation="leaky"), "'leaky'.*leaky_relu"),
        (lambda: classes("mlp")[1]((2,), minibatch="std"), "'std'.*deviation"),
        (lambda: classes("dcgan")[0]((1, 8, 8), 4, norm="layer"), "'layer'.*virtual"),
        (lambda: classes("dcgan")[1]((1, 8, 8), dropout=1.0), "dropout is 1.0"),
        (lambda: classes("dcgan")[0]((1, 8, 8), 4, widths=(8, 0, 8)), r"widths is \(8, 0, 8\)"),
        (lambda: classes("resnet")[0]((1, 8, 8), 4, groups=7), "groups=7 does not divide the 128 maps"),
        (lambda: classes("small")[1]((1, 0, 8)), "height is 0"),
        (lambda: Gaussian(dimension=0), "dimension is 0"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(UserError, match=message):
        build()


# -------------------------------------------------------------------------------------------------------------- counts


def test_small_has_the_trial_s_parameters():
    generator, discriminator = classes("small")
    assert count(generator((1, 28, 28), 64)) == pytest.approx(680_000, rel=0.05)
    assert count(discriminator((1, 28, 28))) == pytest.approx(160_000, rel=0.05)


def test_dcgan_is_the_practical_s():
    """Keras counts 2,330,944 for the generator: its batch norms' moving means and variances are the difference."""
    generator, discriminator = (cls((1, 28, 28), *args) for cls, args in zip(classes("dcgan"), [[100], []]))
    n = 7 * 7 * 256
    dense = 100 * n + 2 * n
    convolutions = (256 * 128 + 128 * 64 + 64) * 25 + 2 * (128 + 64)
    assert count(generator) == dense + convolutions == 2_305_472
    assert count(generator) + 2 * (n + 128 + 64) == 2_330_944
    assert count(discriminator) == (25 + 1) * 64 + (25 * 64 + 1) * 128 + (6272 + 1) == 212_865


def test_mlp_starts_as_torch_does():
    """U(±1/√fan_in): its sd is 1/√(3 fan_in)."""
    torch.manual_seed(0)
    generator = classes("mlp")[0]((2,), 64, width=400)
    weight = generator.body[0][2].weight
    sd = 1 / math.sqrt(3 * 400)
    error = sd * math.sqrt((9 / 5 - 1) / 4 / weight.numel())  # of the sd of a uniform variable, kurtosis 9/5
    assert weight.std().item() == pytest.approx(sd, abs=4 * error)
    assert weight.abs().max() <= 1 / math.sqrt(400)


# -------------------------------------------------------------------------------------------------------------- values


def test_known_marks_the_rows_with_a_gap():
    c = torch.tensor([[1.0, 2.0], [math.nan, 3.0], [math.nan, math.nan]])
    assert known(c).tolist() == [[1, 2, 0], [0, 3, 1], [0, 0, 1]]
    assert known(c.double()).dtype == torch.float64


def test_no_condition_given_is_an_unknown_one():
    x = torch.randn(4, 1, 8, 8)
    assert given(None, 2, x).tolist() == [[0, 0, 1]] * 4
    assert given(None, 0, x).shape == (4, 0)
    for wrong in (0, 2):
        with pytest.raises(UserError, match=rf"condition={wrong} was given a condition of 3"):
            given(torch.zeros(4, 3), wrong, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_nan_is_unknown_to_every_network(name):
    generator, discriminator = (network.eval() for network in pair(name, (1, 8, 8), 2))
    z, x, unknown = torch.randn(3, LATENT), torch.randn(3, 1, 8, 8), torch.full((3, 2), math.nan)
    torch.testing.assert_close(generator(z, unknown), generator(z))
    torch.testing.assert_close(discriminator(x, unknown), discriminator(x))
    assert not torch.allclose(generator(z), generator(z, torch.zeros(3, 2)))
    assert discriminator(x).isfinite().all()


@pytest.mark.parametrize(
    "prior, reference",
    [
        (Gaussian(dimension=5), torch.distributions.Normal(0.0, 1.0)),
        (Uniform(dimension=5), torch.distributions.Uniform(-1.0, 1.0)),
    ],
)
def test_priors(prior, reference):
    torch.manual_seed(1)
    z = prior.sample(20_000)
    assert z.shape == (20_000, 5)
    torch.testing.assert_close(prior.log_prob(z), reference.log_prob(z).sum(1))
    error = reference.stddev.item() / math.sqrt(z.numel())
    assert abs(z.mean().item()) < 4 * error
    fourth = z.square().var().item()
    assert abs(z.square().mean().item() - reference.variance.item()) < 4 * math.sqrt(fourth / z.numel())
    assert prior.double().sample(2).dtype == torch.float64
    assert not prior.state_dict()


def test_uniform_is_zero_outside_its_cube():
    z = torch.tensor([[0.0, 0.5], [0.0, 1.5]])
    assert Uniform(dimension=2).log_prob(z).tolist() == pytest.approx([-2 * math.log(2), -math.inf])


def test_the_crop_is_central():
    x = torch.arange(8.0).repeat(8, 1)[None, None]
    assert Crop(4, 4)(x)[0, 0, 0].tolist() == [2, 3, 4, 5]
    assert Crop(8, 5)(x)[0, 0, 0].tolist() == [1, 2, 3, 4, 5]
    torch.testing.assert_close(Crop(6, 6)(x.mT), Crop(6, 6)(x).mT)


def test_logits_are_at_least_float32():
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert logits(torch.zeros(1, 1, dtype=dtype)).dtype == expected
    assert logits(torch.zeros(1, 1)).shape == (1,)


# ----------------------------------------------------------------------------------------------------------- behaviour


@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_z_and_c_and_x_matter(name, condition):
    generator, discriminator = (network.eval() for network in pair(name, (1, 9, 8), condition))
    z, c = torch.randn(4, LATENT), conditions(4, condition)
    x = generator(z, c)
    assert (x - generator(z.roll(1, 0), c)).flatten(1).norm(dim=1).min() > 1e-3
    other = torch.randn_like(x)
    assert (discriminator(x, c) - discriminator(other, c)).abs().min() > 1e-5
    if condition:
        assert (x - generator(z, c.roll(1, 0))).flatten(1).norm(dim=1).min() > 1e-3
        assert (discriminator(x, c) - discriminator(x, c.roll(1, 0))).abs().min() > 1e-6


@pytest.mark.parametrize("name", IMAGES)
def test_the_discriminator_is_not_additive_in_x_and_c(name):
    """D(x, c) - D(x, c') - D(x', c) + D(x', c') ≠ 0: else it could not tell a wrong c for a good x."""
    _, discriminator = pair(name, (1, 8, 8), 2)
    x, c = torch.randn(2, 1, 8, 8), torch.randn(2, 2)
    d = discriminator.eval()(x.repeat_interleave(2, 0), c.repeat(2, 1))
    assert abs((d[0] - d[1] - d[2] + d[3]).item()) > 1e-4


@pytest.mark.parametrize("name", IMAGES)
def test_the_discriminator_knows_where(name):
    """A pattern and the same pattern elsewhere get different features: nothing is pooled over all positions."""
    _, discriminator = pair(name, (1, 32, 32))
    x = torch.zeros(2, 1, 32, 32)
    x[0, 0, 8:12, 8:12] = x[1, 0, 16:20, 16:20] = 1
    a, b = discriminator.eval().features(x)
    assert (a - b).norm() > 1e-3 * a.norm()


@pytest.mark.parametrize("name", ["mlp", "small", "resnet"])
def test_samples_do_not_see_each_other(name):
    """In train mode: the gradient penalties are per sample."""
    generator, discriminator = pair(name, (1, 12, 9), 2)
    z, x, c = torch.randn(4, LATENT), torch.randn(4, 1, 12, 9), torch.randn(4, 2)
    torch.testing.assert_close(discriminator(x, c)[:1], discriminator(x[:1], c[:1]))
    torch.testing.assert_close(generator(z, c)[:1], generator(z[:1], c[:1]))


@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient_and_r1_too(name, condition):
    generator, discriminator = pair(name, (1, 9, 8), condition)
    c = conditions(4, condition)
    if condition:
        c[0] = math.nan
    x = generator(torch.randn(4, LATENT), c)
    out = discriminator(x, c)
    for network in (generator, discriminator):
        for (label, _), g in zip(
            network.named_parameters(), torch.autograd.grad(out.square().sum(), network.parameters(), retain_graph=True)
        ):
            assert g.abs().max() > 0, label
    x = torch.randn(4, 1, 9, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(discriminator(x, c).sum(), x, create_graph=True)
    (g,) = torch.autograd.grad(slope.square().sum(), discriminator.head.weight)
    assert g.abs().max() > 0


def test_a_resnet_s_penalty_is_exact():
    """The gradient of R1 agrees with finite differences in float64."""
    _, discriminator = pair("resnet", (1, 5, 5), 1)
    discriminator.double()
    x, c = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True), torch.randn(2, 1, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: discriminator(x, c), (x,))


@pytest.mark.parametrize("name", NETWORKS)
def test_double(name):
    """float64 throughout, also where c is float32, and the values of float32 to its rounding."""
    generator, discriminator = (network.eval() for network in pair(name, (1, 9, 8), 2))
    z, c = torch.randn(3, LATENT), torch.randn(3, 2)
    x = generator(z, c)
    d = discriminator(x, c)
    y = generator.double()(z.double(), c)
    assert y.dtype == torch.float64 and discriminator.double()(y, c).dtype == torch.float64
    torch.testing.assert_close(y.float(), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(discriminator(y, c).float(), d, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_gives_the_same(name):
    generator, discriminator = (network.eval() for network in pair(name, (3, 9, 8), 2))
    z, c = torch.randn(3, LATENT), torch.randn(3, 2)
    x = generator(z, c)
    d = discriminator(x, c)
    y = generator.to(memory_format=torch.channels_last)(z, c)
    torch.testing.assert_close(y, x, rtol=1e-4, atol=1e-5)
    y = y.to(memory_format=torch.channels_last)
    torch.testing.assert_close(discriminator.to(memory_format=torch.channels_last)(y, c), d, rtol=1e-4, atol=1e-5)


def test_a_resnet_starts_without_its_blocks():
    """Fixup: at first every block is the identity, so the generator before its tanh is affine in z."""
    torch.manual_seed(0)
    generator = classes("resnet")[0]((1, 8, 8), LATENT).double()
    a, b = torch.randn(2, 3, LATENT, dtype=torch.float64)
    torch.testing.assert_close(generator(a) + generator(b), generator(a + b) + generator(0 * a))


# ----------------------------------------------------------------------------------------------------------- remedies


LAYERS = [{"minibatch": "discrimination"}, {"minibatch": "deviation"}, {"spectral": True},
          {"minibatch": "discrimination", "spectral": True}]  # fmt: skip


def remedied(name: str, shape: tuple[int, ...], condition: int = 0, **options) -> nn.Module:
    torch.manual_seed(0)
    return woken(classes(name)[1](shape, condition, **SLIM[name][1] | options))


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_remedied_discriminator_is_a_discriminator(name, options):
    discriminator = remedied(name, (2, 9, 8), 2, **options)
    x, c = torch.randn(4, 2, 9, 8), torch.randn(4, 2)
    out = discriminator(x, c)
    assert out.shape == (4,) and out.dtype == torch.float32 and out.isfinite().all()
    assert discriminator.features(x, c).shape == pair(name, (2, 9, 8), 2)[1].features(x, c).shape
    for (label, _), g in zip(
        discriminator.named_parameters(), torch.autograd.grad(out.square().sum(), discriminator.parameters())
    ):
        assert g.abs().max() > 0, label

    discriminator.eval()
    twin, other = copy.deepcopy(discriminator), remedied(name, (2, 9, 8), 2, **options).eval()
    other.load_state_dict({key: value.clone() for key, value in discriminator.state_dict().items()})
    assert torch.equal(twin(x, c), discriminator(x, c)) and torch.equal(other(x, c), discriminator(x, c))
    last = discriminator.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), c)
    torch.testing.assert_close(last, twin(x, c), rtol=1e-4, atol=1e-5)
    doubled = discriminator.double()(x.double(), c)
    assert doubled.dtype == torch.float64
    torch.testing.assert_close(doubled.float(), twin(x, c), rtol=1e-4, atol=1e-5)

    alone, together = discriminator(x[:1].double(), c[:1]), discriminator(x.double(), c)[:1]
    assert torch.allclose(alone, together) == ("minibatch" not in options)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_slope_penalty_refuses_rows_that_see_each_other(name):
    check_rows_alone(remedied(name, (1, 8, 8), spectral=True))
    for layer in ("discrimination", "deviation"):
        with pytest.raises(UserError, match="depends on the others: take its minibatch layer out"):
            check_rows_alone(remedied(name, (1, 8, 8), minibatch=layer))
    with pytest.raises(UserError, match="take its batch norm out"):
        check_rows_alone(nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)))


def test_minibatch_discrimination_is_the_papers_sum_over_the_others():
    """o_b = mean over j ≠ i of exp(−|M_ib − M_jb|₁), entry by entry."""
    torch.manual_seed(0)
    layer, f = Discrimination(3).double().requires_grad_(False), torch.randn(5, 3, dtype=torch.float64)
    m = (f @ layer.T.weight.mT).reshape(5, layer.KERNELS, layer.SIZE)
    out = layer(f)
    assert torch.equal(out[:, :3], f)
    for i in range(5):
        for b in range(layer.KERNELS):
            near = [math.exp(-(m[i, b] - m[j, b]).abs().sum()) for j in range(5) if j != i]
            assert out[i, 3 + b].item() == pytest.approx(sum(near) / 4, rel=1e-12)


def test_a_collapsed_batch_is_all_near_and_a_row_alone_has_nobody():
    layer, f = Discrimination(3), torch.randn(1, 3)
    assert (layer(f.repeat(6, 1))[:, 3:] == 1).all()
    assert (layer(f)[:, 3:] == 0).all()


def test_minibatch_deviation_of_known_rows():
    """Rows ±h have standard deviations |h_k|; a collapsed batch the floor √10⁻⁸."""
    h = torch.tensor([[1.0, -2.0, 6.0]])
    out = Deviation(3)(torch.cat([h, -h, h, -h]))
    assert out[:, 3].tolist() == pytest.approx([3.0] * 4, rel=1e-6)
    collapsed = h.repeat(4, 1).requires_grad_()
    out = Deviation(3)(collapsed)
    assert out[:, 3].tolist() == pytest.approx([1e-4] * 4, rel=1e-3)
    assert torch.autograd.grad(out.sum(), collapsed)[0].isfinite().all()


def largest(a: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(a, 2).item()


def matrix_of(layer: nn.Conv2d, shape: tuple[int, ...]) -> torch.Tensor:
    """A convolution without its bias as a matrix, from what it makes of each unit image."""
    units = torch.eye(math.prod(shape)).unflatten(1, shape)
    return (layer(units) - layer(torch.zeros_like(units))).flatten(1).mT


@pytest.mark.parametrize("name", NETWORKS)
def test_spectral_normalisation_bounds_every_layer(name):
    """A linear layer to the Lipschitz constant 1; a convolution to 1 as a matrix (F, C·kh·kw), to its patches' overlap
    as an operator. One power iteration a forward: after 200 it has converged to 1 %.
    """
    discriminator = remedied(name, (2, 9, 8), 2, spectral=True)
    with torch.no_grad():
        for p in discriminator.parameters():
            nn.init.normal_(p)  # far from where the iteration began
        for _ in range(200):
            discriminator(torch.zeros(1, 2, 9, 8))
        discriminator.eval()
        layers = [m for m in discriminator.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        assert len(layers) > 2
        for layer in layers:
            assert largest(layer.weight.flatten(1)) == pytest.approx(1, abs=0.01)
            if isinstance(layer, nn.Conv2d):
                overlap = math.prod(-(-k // s) for k, s in zip(layer.kernel_size, layer.stride))
                assert largest(matrix_of(layer, (layer.in_channels, 9, 8))) <= 1.01 * math.sqrt(overlap)
        if name == "resnet":  # each map is multiplied with its own row
            assert discriminator.features.rest[-1].basis.flatten(1).norm(dim=1).max() <= 1.01


def test_a_spectral_mlp_has_slope_at_most_one():
    """Its activations have too: |a(x) − a(y)| ≤ |x − y|, which weights from N(0, 1) break without it."""
    found = {}
    for spectral in (True, False):
        discriminator = remedied("mlp", (5,), spectral=spectral)
        with torch.no_grad():
            for p in discriminator.parameters():
                nn.init.normal_(p)
            for _ in range(200):
                discriminator(torch.zeros(1, 5))
        x, y = torch.randn(2, 1000, 5)
        with torch.no_grad():
            change = (discriminator(x) - discriminator(y)).abs()
        found[spectral] = (change / (x - y).norm(dim=1)).max().item()
    assert found[True] <= 1.03 < found[False]


def virtual(shape=(1, 8, 8), condition=0):
    torch.manual_seed(0)
    return classes("dcgan")[0](shape, LATENT, condition, norm="virtual", **SLIM["dcgan"][0])


def test_virtual_batch_norm_is_by_the_moments_of_the_reference_and_the_row():
    layer = VirtualNorm(3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    for shape in ((3,), (3, 4, 2)):
        h = 100 + torch.randn(REFERENCE + 2, *shape, dtype=torch.float64)
        reference, out = h[:REFERENCE], layer(h)
        for i, seen in [(0, reference), (REFERENCE, torch.cat([reference, h[-2:-1]])),
                        (REFERENCE + 1, torch.cat([reference, h[-1:]]))]:  # fmt: skip
            dims = [0, *range(2, h.dim())]
            mean, variance = seen.mean(dims, keepdim=True), seen.var(dims, correction=0, keepdim=True)
            w, b = (p.reshape(3, *[1] * (len(shape) - 1)) for p in (layer.weight, layer.bias))
            torch.testing.assert_close(out[i], (w * (h[i] - mean) / (variance + 1e-5).sqrt() + b)[0])


@pytest.mark.parametrize("condition", [0, 2])
def test_rows_under_virtual_batch_norm_do_not_see_each_other(condition):
    generator, c = virtual(condition=condition), conditions(5, condition)
    z = torch.randn(5, LATENT)
    generator(torch.randn(7, LATENT), conditions(7, condition))  # this one is the reference
    one = None if c is None else c[:1]
    torch.testing.assert_close(generator(z, c)[:1], generator(z[:1], one))
    torch.testing.assert_close(generator.eval()(z, c)[:1], generator(z[:1], one))
    assert not batch_norm(generator)


def test_the_reference_is_the_first_batch_in_train_mode_and_stays():
    generator, z = virtual().eval(), torch.randn(7, LATENT)
    generator(z)
    assert not generator.body.chosen
    generator.train()(z)
    reference = generator.body.reference.clone()
    assert torch.equal(reference[:7], z) and torch.equal(reference[7:14], z)
    before = generator(z)
    generator(torch.randn(100, LATENT))
    assert torch.equal(generator.body.reference, reference) and torch.equal(generator(z), before)
    other = classes("dcgan")[0]((1, 8, 8), LATENT, norm="virtual", **SLIM["dcgan"][0])
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other(z), before)
    last = other.to(memory_format=torch.channels_last)(z)
    torch.testing.assert_close(last, before, rtol=1e-4, atol=1e-5)
    assert other.double()(z.double()).dtype == torch.float64


@pytest.mark.parametrize("norm", ["virtual", "none"])
def test_a_dcgan_generator_without_batch_norm_has_gradients_everywhere(norm):
    torch.manual_seed(0)
    generator = classes("dcgan")[0]((2, 9, 8), LATENT, bounded=True, norm=norm, **SLIM["dcgan"][0])
    x = generator(torch.randn(4, LATENT))
    assert x.shape == (4, 2, 9, 8)
    for (label, _), g in zip(
        generator.named_parameters(), torch.autograd.grad(x.square().sum(), generator.parameters())
    ):
        assert g.abs().max() > 0, label


# ------------------------------------------------------------------------------------------------------------ the check


class Mine(nn.Module):
    """A user's network: gives what it is told to."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, a, c=None):
        return self.out(a)


class WithoutCondition(nn.Module):
    def forward(self, z):
        return z


def named(generator, discriminator, prior):
    return {"generator": generator, "discriminator": discriminator, "prior": prior}


def good_generator():
    return Mine(lambda z: torch.zeros(len(z), 1, 28, 28))


def good_discriminator():
    return Mine(lambda x: x.flatten(1).mean(1))


@pytest.mark.parametrize(
    "generator, discriminator, message",
    [
        (
            Mine(lambda z: torch.zeros(len(z), 1, 32, 32)),
            good_discriminator(),
            r"generator \(Mine\) gave \(2, 1, 32, 32\), the data are \(2, 1, 28, 28\)",
        ),
        (
            WithoutCondition(),
            good_discriminator(),
            r"generator \(WithoutCondition\) has forward\(z\).*generator\(z, c=None\)",
        ),
        (nn.Sequential(nn.Linear(64, 784)), good_discriminator(), r"generator \(Sequential\) has forward\(input\)"),
        (Mine(nn.Linear(32, 784)), good_discriminator(), r"generator \(Mine\) failed on z \(2, 64\), c None: .*shapes"),
        (Mine(lambda z: (z, z)), good_discriminator(), r"generator \(Mine\) gave a tuple"),
        (good_generator(), Mine(lambda x: x.flatten(1)[:, :1]), r"gave \(2, 1\).*squeeze"),
        (good_generator(), Mine(lambda x: x.mean()), r"discriminator \(Mine\) gave \(\) for x \(2, 1, 28, 28\)"),
        (good_generator(), WithoutCondition(), r"discriminator \(WithoutCondition\) has forward\(z\)"),
        (good_generator(), Mine(nn.Linear(3, 1)), r"discriminator \(Mine\) failed on x \(2, 1, 28, 28\)"),
    ],
)
def test_a_network_that_does_not_fit_is_told_in_one_line(generator, discriminator, message):
    with pytest.raises(UserError, match=message) as caught:
        check_roles(named(generator, discriminator, Gaussian(dimension=64)), (1, 28, 28), 0)
    assert "\n" not in str(caught.value)


def test_a_width_of_c_that_does_not_fit_is_told():
    generator, discriminator = pair("mlp", (2,), 1)
    with pytest.raises(UserError, match=r"generator \(MlpGenerator\) refused z \(2, 6\), c \(2, 4\): .*condition=1"):
        check_roles(named(generator, discriminator, Gaussian(dimension=LATENT)), (2,), 4)


@pytest.mark.parametrize("condition", [0, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_check_leaves_no_trace(name, condition):
    generator, discriminator = pair(name, (1, 8, 8), condition)
    generator.body[0].eval()  # a part that the user keeps in eval mode stays there
    modes = [m.training for m in [*generator.modules(), *discriminator.modules()]]
    buffers = [b.clone() for b in generator.buffers()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_roles(named(generator, discriminator, Uniform(dimension=LATENT)), (1, 8, 8), condition)
    assert torch.equal(torch.rand(3), expected)
    assert [m.training for m in [*generator.modules(), *discriminator.modules()]] == modes
    assert all(torch.equal(a, b) for a, b in zip(generator.buffers(), buffers))
    assert all(p.grad is None for p in generator.parameters())


def test_dropout_is_what_its_paper_says():
    layer, x = Dropout(0.3), torch.linspace(1, 2, 250_000, dtype=torch.float64).view(50, 8, 25, 25)
    x = x.to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    y = layer(x)
    kept, n = y != 0, x.numel()
    assert abs(kept.double().mean() - 0.7) < 4 * math.sqrt(0.21 / n) + 2**-16
    assert torch.allclose(y[kept], x[kept] / 0.7, rtol=2**-15)
    assert y.stride() == x.stride()
    flat = kept.permute(0, 2, 3, 1).reshape(-1).double() - 0.7  # as the words lie in memory
    for lag in (1, 2, 3, 4, 8, 200):  # neighbours of one word, and of the next
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 4.5 * 0.21 / math.sqrt(n)
    torch.manual_seed(0)
    assert torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_dropout_has_the_gradient_of_its_mask():
    x = torch.rand(3, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    y = Dropout(0.5)(x)
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    assert torch.allclose(slope, torch.where(y != 0, 2 * y * 2, 0.0))
    (second,) = torch.autograd.grad(slope.sum(), x)
    assert torch.allclose(second, torch.where(y != 0, 8.0, 0.0).to(second))
