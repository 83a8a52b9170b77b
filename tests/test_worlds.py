"""The worlds are what they say, and the mode count agrees with what is known of a perfect sampler."""

import numpy as np
import pytest
import torch

from ludus.data import locate
from ludus.metrics.modes import coverage, modes
from ludus.worlds.mixtures import WORLDS, Mixture, gaussian, grid, ring, spiral


def draw(world, n, seed=0):
    return world.sample(n, torch.Generator().manual_seed(seed))


def test_ring_has_eight_distinct_modes_the_first_on_the_x_axis():
    means = ring().means
    assert torch.allclose(means[0], torch.tensor([1.0, 0.0]))
    assert torch.allclose(means.norm(dim=1), torch.ones(8))
    assert torch.pdist(means).min() == pytest.approx(2 * np.sin(np.pi / 8), rel=1e-5)
    assert ring().sd == 0.01


def test_grid_has_25_modes_at_even_places():
    assert sorted(map(tuple, grid().means.tolist())) == [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    assert grid().sd == 0.05


@pytest.mark.parametrize("world", [ring(), grid(), gaussian()], ids=["ring", "grid", "gaussian"])
def test_samples_lie_round_the_mean_that_their_condition_names(world):
    x, c = draw(world, 40_000)
    k = len(world.means)
    assert x.dtype == c.dtype == torch.float32
    assert torch.equal(c.sum(1), torch.ones(len(x)))
    residual = (x - c @ world.means).double() / world.sd
    assert residual.mean().item() == pytest.approx(0, abs=4 / np.sqrt(80_000))
    assert residual.var().item() == pytest.approx(1, abs=4 * np.sqrt(2 / 80_000) + 1e-4)
    share = c.mean(0).numpy()
    assert share == pytest.approx(np.full(k, 1 / k), abs=4 * np.sqrt(1 / k * (1 - 1 / k) / 40_000) + 1e-9)


@pytest.mark.parametrize("world", [ring(), grid(), gaussian()], ids=["ring", "grid", "gaussian"])
def test_log_prob_is_that_of_torch(world):
    means = world.means.double()
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(means), dtype=torch.float64)),
        torch.distributions.Independent(torch.distributions.Normal(means, world.sd), 1),
    )
    x = draw(world, 500).x.double()
    assert torch.allclose(world.log_prob(x), mixture.log_prob(x), atol=1e-9)


@pytest.mark.parametrize(
    "world, half, step", [(ring(), 1.1, 0.005), (grid(), 4.4, 0.02), (gaussian(), 7, 0.05), (spiral(), 1.2, 0.02)]
)
def test_density_integrates_to_one(world, half, step):
    line = torch.arange(-half, half, step, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    total = sum(world.log_prob(part).exp().sum() for part in x.split(8192)) * step**2
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_spiral_turns_twice_and_its_condition_is_the_angle():
    x, c = draw(spiral(), 20_000)
    assert c.shape == (20_000, 1) and c.min() >= 0 and c.max() <= 4 * np.pi
    assert c.max() > 3.99 * np.pi
    curve = c / (4 * np.pi) * torch.cat([c.cos(), c.sin()], 1)
    residual = (x - curve) / 0.02
    assert residual.var().item() == pytest.approx(1, abs=4 * np.sqrt(2 / 40_000))


def test_spiral_density_agrees_with_its_samples():
    line = torch.arange(-1.2, 1.2, 0.02, dtype=torch.float64)
    cells = torch.cartesian_prod(line, line)
    p = spiral().log_prob(cells).exp() * 0.02**2
    x = draw(spiral(), 40_000).x
    for inside in (
        lambda x: x[:, 0] > 0.495,
        lambda x: x.norm(dim=1) < 0.5,
        lambda x: (x[:, 1] < 0.105) & (x[:, 0] < 0),
    ):
        expected = p[inside(cells)].sum().item()
        assert inside(x).float().mean().item() == pytest.approx(expected, abs=4 * 0.5 / 200 + 0.003)


def test_same_seed_same_draws():
    for make in WORLDS.values():
        a, b, other = draw(make(), 10, 3), draw(make(), 10, 3), draw(make(), 10, 4)
        assert torch.equal(a.x, b.x) and torch.equal(a.c, b.c) and not torch.equal(a.x, other.x)


def test_the_table_of_worlds_is_the_one_that_the_command_line_knows():
    assert set(WORLDS) == set(locate.WORLDS)


@pytest.mark.parametrize("world, rows", [(ring(), 8), (grid(), 25)])
def test_a_perfect_sampler_reaches_all_modes_at_the_floor(world, rows):
    found = [modes(draw(world, 2500, seed).x.numpy(), world.means.numpy(), world.sd) for seed in range(40)]
    assert all(each.captured == rows for each in found)
    quality = np.mean([each.quality for each in found])
    assert quality == pytest.approx(1 - np.exp(-4.5), abs=4 * np.sqrt(0.9889 * 0.0111 / 100_000))
    kl = np.array([each.reverse_kl for each in found])
    assert kl.mean() == pytest.approx(found[0].floor, abs=4 * kl.std() / np.sqrt(40) + 1e-5)
    assert found[0].floor == pytest.approx((rows - 1) / 5000, rel=0.02)


def test_modes_of_collapsed_samplers():
    world = ring()
    means, sd = world.means.numpy(), world.sd
    one = modes(np.repeat(means[:1], 100, 0), means, sd)
    assert (one.captured, one.quality) == (1, 1) and one.reverse_kl == pytest.approx(np.log(8))
    half = modes(np.concatenate([means[:4], means[:4] + 4 * sd]), means, sd)
    assert (half.captured, half.quality) == (4, 0.5) and half.reverse_kl == pytest.approx(np.log(2))
    none = modes(np.full((10, 2), 5.0), means, sd)
    assert (none.captured, none.quality) == (0, 0) and np.isnan(none.reverse_kl)


def test_modes_by_hand_for_uneven_shares():
    means = np.array([[0.0], [10.0]])
    found = modes(np.array([[0.0], [0.1], [0.2], [10.0], [12.9], [13.1]]), means, 1.0)
    p = np.array([3, 2]) / 5
    assert found.captured == 2 and found.quality == pytest.approx(5 / 6)
    assert found.reverse_kl == pytest.approx((p * np.log(2 * p)).sum())
    assert found.floor == pytest.approx(1 / 10)


def test_coverage_of_a_thousand_modes_has_its_golden_floor():
    """Stacked-MNIST's metric: 26,000 samples of a uniform law over 1,000 modes have a KL of 0.0190 ± 0.0010."""
    draws = [np.random.default_rng(seed).integers(1000, size=26_000) for seed in range(20)]
    found = np.array([coverage(which, 1000) for which in draws])
    assert (found[:, 0] == 1000).all()
    assert found[:, 1].mean() == pytest.approx(0.0190, abs=4 * found[:, 1].std() / np.sqrt(20) + 1e-4)
    assert found[0, 2] == pytest.approx(999 / 52_000)


def test_mixture_keeps_the_precision_of_its_argument():
    assert Mixture(torch.zeros(1, 2), 1.0).log_prob(torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.float64
