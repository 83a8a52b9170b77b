"""The length of paths through latent space, where it is known; seeded, and within 3 standard errors."""

import numpy as np
import pytest
import torch

import ludus
from games import METHODS, data_of, told, trainer_of
from ludus.errors import UserError
from ludus.inference import latents
from ludus.inference.path_length import between, path_length, squares
from ludus.networks.priors import Gaussian, Uniform


def pairs(n, d, prior=Gaussian, seed=0):
    torch.manual_seed(seed)
    return prior(dimension=d).double().sample(2 * n).chunk(2)


def weight(D, d):
    return torch.randn(D, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("slerp", [True, False])
def test_of_a_linear_generator_it_is_twice_the_square_of_the_weight(slerp):
    W = weight(30, 8)
    found, exact = path_length(lambda z: z @ W.T, *pairs(4000, 8), slerp), 2 * W.square().sum().item()
    assert abs(found.value - exact) < 3 * found.error < 0.1 * exact


def test_of_features_it_is_that_of_both_together():
    W, V = weight(30, 8), weight(4, 30)
    found, exact = path_length(lambda z: z @ W.T @ V.T, *pairs(4000, 8)), 2 * (V @ W).square().sum().item()
    assert abs(found.value - exact) < 3 * found.error < 0.1 * exact


def test_of_a_uniform_prior_it_is_two_thirds():
    """z of variance ⅓ each: E |W v|² = ⅔ |W|²."""
    W = weight(5, 4)
    found = path_length(lambda z: z @ W.T, *pairs(4000, 4, Uniform), slerp=False)
    assert abs(found.value - 2 / 3 * W.square().sum().item()) < 3 * found.error


def test_the_error_is_that_of_the_mean():
    """Of 200 estimates, whose sd is known to a twentieth of itself: to four of these."""
    W = weight(5, 4)
    found = [path_length(lambda z: z @ W.T, *pairs(200, 4, seed=seed)) for seed in range(200)]
    values, errors = np.array(found).T
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.2)


def test_of_a_curved_generator_it_is_what_the_derivative_says(monkeypatch):
    """G(z) = (sin z, z²): |J v|² = Σ (cos² z + 4 z²) v²."""
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.3))
    a, b = pairs(50, 3)
    z, v = 0.7 * a + 0.3 * b, b - a
    found = squares(lambda z: torch.stack([z.sin(), z.square()], 1), a, b, slerp=False)
    torch.testing.assert_close(found, ((z.cos().square() + 4 * z.square()) * v.square()).sum(1), rtol=1e-12, atol=0)


def test_places_between_are_those_of_the_interpolation(monkeypatch):
    a, b = pairs(20, 5)
    b[1], b[2] = 2 * a[1], -a[2]  # one direction, and opposite ones
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.25))
    expected = [latents.interpolate(first, second, 5, "slerp")[1] for first, second in zip(a.numpy(), b.numpy())]
    np.testing.assert_allclose(between(a, b).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_every_generator_has_a_derivative(method, monkeypatch):
    """Forward mode is asked of each network: in float64, against the difference over a small step."""
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.5))
    condition = told(method)
    game = trainer_of(method, data_of(condition=condition), dtype=torch.float64).game.eval()
    torch.manual_seed(0)
    c = {None: None, "classes": torch.eye(3).double(), "values": torch.zeros(3, 2).double()}[condition]
    a, b = game.prior.sample(6, None).double().chunk(2)
    with torch.no_grad():
        found, step = squares(lambda z: game.decode(z, c), a, b, slerp=False), 1e-6
        apart = game.decode((a + b) / 2 + step * (b - a), c) - game.decode((a + b) / 2 - step * (b - a), c)
    torch.testing.assert_close(found, apart.flatten(1).square().sum(1) / (2 * step) ** 2, rtol=1e-4, atol=1e-12)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional run on pictures of whole numbers from 0 to 255."""
    draws = np.random.default_rng(0)
    x, y = draws.integers(256, size=(40, 6, 5)).astype(np.uint8), draws.integers(2, size=40)
    path = tmp_path_factory.mktemp("run") / "run"
    return ludus.train("gan", x, condition=y, steps=2, run=path, settings={"snapshot.count": 0})


def test_of_a_run_it_is_in_the_units_of_the_data(run):
    """Pictures of 0 to 255 are scaled by 127.5."""
    found = run.path_length(300, c=1)
    torch.manual_seed(5)
    a, b = run.game.prior.sample(600).chunk(2)
    c = torch.tensor([[0.0, 1.0]]).expand(300, 2)
    with torch.no_grad():
        own = path_length(lambda z: 127.5 * run.game.decode(z, c), a, b)
    assert abs(found.value - own.value) < 3 * (found.error**2 + own.error**2) ** 0.5
    assert found == run.path_length(300, c=1) != run.path_length(300, c=0)
    with pytest.raises(UserError, match="n = 1"):
        run.path_length(1)
