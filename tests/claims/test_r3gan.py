"""What the R3GAN paper states: a loss of pairs, R1 and R2 (Huang et al. 2024). On the Dirac-GAN: test_dirac.py."""

import math

import pytest
import torch
from by_hand import (
    added,
    assert_same,
    fakes,
    game_of,
    gradient_of,
    slopes,
    through_samples,
    through_slopes,
    through_values,
)

from ludus.game import Batch
from ludus.methods.r3gan import R3GAN

GAMMA = 0.3


def test_the_losses_are_the_papers_pair_by_pair():
    """The discriminator's −log σ(a(x) − a(x̃)) + γ/2 (|∇a(x)|² + |∇a(x̃)|²), the generator's −log σ(a(x̃) − a(x))."""
    game, batch = game_of(R3GAN, gamma=GAMMA)
    f, fake = game.discriminator, fakes(game, batch)
    gaps = [a - b for a, b in zip(f(*batch).tolist(), f(fake, batch.c).tolist())]

    def mean_square(x):
        return sum(s @ s for s in slopes(f, x, batch.c)).item() / len(x)

    assert {key: term.item() for key, term in game.discriminator_loss(batch).terms.items()} == pytest.approx(
        {
            "relativistic": sum(math.log(1 + math.exp(-gap)) for gap in gaps) / len(gaps),
            "r1": GAMMA / 2 * mean_square(batch.x),
            "r2": GAMMA / 2 * mean_square(fake),
        },
        rel=1e-12,
    )
    generator_loss = sum(math.log(1 + math.exp(gap)) for gap in gaps) / len(gaps)
    assert game.generator_loss(batch).total.item() == pytest.approx(generator_loss, rel=1e-12)


def test_a_constant_added_to_the_logit_changes_nothing():
    game, batch = game_of(R3GAN, gamma=GAMMA)

    def losses():
        loss = game.discriminator_loss(batch)
        return [v.item() for v in (*loss.terms.values(), *loss.seen.values(), game.generator_loss(batch).total)]

    before = losses()
    with torch.no_grad():
        game.discriminator.head.bias += 7.0
    assert losses() == pytest.approx(before, rel=1e-12)


def test_it_matters_who_is_paired_with_whom():
    game, batch = game_of(R3GAN, gamma=GAMMA)
    batch = Batch(batch.x)  # without c the same samples come back, in another order
    before = game.discriminator_loss(batch).terms
    game.prior.z = game.prior.z.roll(1, 0)
    after = game.discriminator_loss(Batch(batch.x)).terms  # another batch: its fakes are drawn anew
    assert after["r2"].item() == pytest.approx(before["r2"].item(), rel=1e-12)
    assert abs(after["relativistic"] - before["relativistic"]) > 1e-3


# Gradient destinations. Every pair pulls with σ(−gap) of its own, gap = a(x) − a(x̃).


def gap(game, batch):
    return (game.discriminator(*batch) - game.discriminator(fakes(game, batch), batch.c)).detach()


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
def test_the_discriminator_gets_the_pairs_and_gamma_times_both_slopes(gamma):
    game, batch = game_of(R3GAN, gamma=gamma)
    f, fake, pull = game.discriminator, fakes(game, batch), torch.sigmoid(-gap(game, batch))
    expected = added(
        through_values(f, *batch, lambda a: -pull),
        through_values(f, fake, batch.c, lambda a: pull),
        through_slopes(f, *batch, lambda s: gamma * s),
        through_slopes(f, fake, batch.c, lambda s: gamma * s),
    )
    assert_same(gradient_of(game, "discriminator", batch), expected)


def test_the_generator_gets_the_pairs_through_its_samples():
    game, batch = game_of(R3GAN, gamma=GAMMA)
    expected = through_samples(game, batch, lambda a: -torch.sigmoid(gap(game, batch)))
    assert_same(gradient_of(game, "generator", batch), expected)


def test_the_generators_loss_asks_no_gradient_of_the_real_side():
    game, batch = game_of(R3GAN, gamma=GAMMA)
    batch.x.requires_grad_()
    weights = list(game.discriminator.parameters())
    to_x, *found = torch.autograd.grad(game.generator_loss(batch).total, [batch.x, *weights], allow_unused=True)
    assert to_x is None
    # What leaks into the discriminator comes by the fakes alone, and the trainer never asks for it.
    pull = torch.sigmoid(gap(game, batch))
    assert_same(found, through_values(game.discriminator, fakes(game, batch), batch.c, lambda a: -pull))
