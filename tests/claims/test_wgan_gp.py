"""What follows from the WGAN-GP paper's equation: the slope that its penalty really gives (Gulrajani et al. 2017)."""

import pytest
import torch
from by_hand import N, added, assert_same, fakes, game_of, gradient_of, through_samples, through_slopes, through_values

from ludus.data.sampler import Sampler
from ludus.losses.penalties import gradient_penalty
from ludus.methods.wgan_gp import WGANGP
from ludus.trainer import Trainer
from ludus.worlds.dirac import Dirac, dirac


@pytest.mark.parametrize(
    ("weight", "target", "d", "slope"),
    [(10.0, 1.0, 1.0, 1.05), (0.1, 1.0, 1.0, 6.0), (0.1, 1.0, 2.0, 11.0), (10.0, 2.0, 1.0, 2.05), (0.5, 0.0, 3.0, 3.0)],
)
def test_between_two_points_the_slope_is_target_plus_d_over_two_lambda(weight, target, d, slope):
    """Lowest of −s d + λ (s − t)²: data at 0, model at d, a linear critic trained by the library, the model held."""
    game = WGANGP(*dirac(theta=d, psi=-0.1), weight=weight, target=target, n_critic=10**9).double()
    sampler = Sampler(Dirac().sample(4).x.double(), batch=4)
    trainer = Trainer(game, sampler, steps=60, lr=0.25 / weight, optimiser="sgd")
    trainer.run()
    assert -game.discriminator.psi.item() == pytest.approx(slope, abs=1e-3)  # high on the data

    # so the critic over-reads the distance, which is d, by the factor `slope`
    terms, seen = trainer.losses["discriminator"]
    assert -(terms["real"] + terms["fake"]).item() == pytest.approx(slope * d, abs=1e-3)
    assert seen["accuracy"] == 1  # for it, high is right


def test_a_critic_of_slope_one_pays_nothing():
    x, fake = torch.randn(2, 64, 1, 3, 3)
    assert gradient_penalty(lambda x: x[:, 0, 1, 1], x, fake) == 0
    assert gradient_penalty(lambda x: 3 * x[:, 0, 1, 1], x, fake, target=3.0) == 0


def test_the_norm_is_taken_row_by_row():
    """Over the whole batch it would be √64 for a critic of slope one, and the penalty 49: a library has done this."""
    x, fake = torch.randn(2, 64, 2, dtype=torch.float64)
    row_slope = torch.linspace(0, 3, 64, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: row_slope * x[:, 0], x, fake)
    assert penalty.item() == pytest.approx((row_slope - 1).square().mean().item(), rel=1e-12)


def test_slopes_are_taken_on_the_lines_each_at_a_place_of_its_own():
    """Also off the data, uniformly on the line: ½ in the mean, to 4 of its standard errors, and 1/12 in variance."""
    torch.manual_seed(0)
    x, fake, seen = torch.randn(20_000, 1, 2, 2), torch.randn(20_000, 1, 2, 2), []
    gradient_penalty(lambda x: (seen.append(x), x.square().sum((1, 2, 3)))[1], x, fake)
    t = ((seen[0].detach() - x) / (fake - x)).double().flatten(1).median(1).values
    torch.testing.assert_close(seen[0].detach(), torch.lerp(x, fake, t.float()[:, None, None, None]), rtol=0, atol=1e-4)
    assert t.min() > -1e-3 and t.max() < 1 + 1e-3
    assert t.mean().item() == pytest.approx(1 / 2, abs=4 * (1 / 12 / 20_000) ** 0.5)
    assert t.var().item() == pytest.approx(1 / 12, abs=4 * (1 / 180 / 20_000) ** 0.5)


# Gradient destinations


@pytest.mark.parametrize(("weight", "target"), [(10.0, 1.0), (0.1, 0.5)])
def test_the_critic_gets_the_distance_and_the_penalty_on_the_lines(weight, target):
    game, batch = game_of(WGANGP, weight=weight, target=target)
    f, fake = game.discriminator, fakes(game, batch)
    torch.manual_seed(3)
    t = torch.rand(N, 1, dtype=torch.float64)
    between = (1 - t) * batch.x + t * fake

    def weight_of(s):
        norm = s.norm(dim=1, keepdim=True)
        return 2 * weight * (norm - target) * s / norm

    expected = added(
        through_values(f, fake, batch.c, torch.ones_like),
        through_values(f, *batch, lambda a: -torch.ones_like(a)),
        through_slopes(f, between, batch.c, weight_of),
    )
    assert_same(gradient_of(game, "discriminator", batch, seed=3), expected)


def test_the_generator_gets_minus_the_critics_mean_through_its_samples():
    game, batch = game_of(WGANGP)
    assert_same(gradient_of(game, "generator", batch), through_samples(game, batch, lambda a: -torch.ones_like(a)))
