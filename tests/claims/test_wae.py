"""What is proven of the WAE with the maximum mean discrepancy: the distance, and the loss row by row."""

import numpy as np
import pytest
import torch
from by_hand import Fixed, N, assert_same, gradient_of
from coded import ByHand, batch_of, d, encoder_and_network

from ludus.losses.divergences import mmd
from ludus.methods.wae import WAE

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def double_loop(z, other, width):
    """The authors' estimate, pair by pair: Σ over ordered pairs i ≠ j within each sample, over all pairs between."""
    n = len(z)

    def k(a, b):
        return sum(width * s / (width * s + sum((p - q) ** 2 for p, q in zip(a, b))) for s in SCALES)

    alone = sum(k(t[i], t[j]) for t in (z, other) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return alone - 2 * sum(k(a, b) for a in z for b in other) / n**2


@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 3)])
def test_the_distance_is_that_of_a_double_loop(n, d):
    torch.manual_seed(0)
    z, other = torch.randn(n, d, dtype=torch.float64), 2 * torch.randn(n, d, dtype=torch.float64) + 1
    assert mmd(z, other, 2 * d).item() == pytest.approx(double_loop(z, other, 2 * d).item(), rel=1e-10)


def test_the_distance_knows_no_order():
    torch.manual_seed(0)
    z, other = torch.randn(9, 2, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    a, b = torch.randperm(9), torch.randperm(9)
    assert mmd(z[a], other[b], 4).item() == pytest.approx(mmd(z, other, 4).item(), abs=1e-14)
    assert mmd(other, z, 4).item() == pytest.approx(mmd(z, other, 4).item(), abs=1e-14)


def kernel_mean(variance, width=4.0):
    """E k of a difference N(0, variance) in each of 2 entries: |v|² / 2 variance is exponential."""
    t = (np.arange(200_000) + 0.5) / 200_000 * 40
    return sum((width * s / (width * s + 2 * variance * t) * np.exp(-t)).mean() * 40 for s in SCALES)


@pytest.mark.parametrize("sd", [1.0, 1.5, 3.0])
def test_the_distance_of_small_samples_is_right_on_average(sd):
    """Of N(0, 1) and N(0, sd²) in the plane, in closed form but for one integral: 0 for equal laws, though 8 rows are
    few. The mean of 3,000 repetitions to 4 of its standard errors; for unequal laws it is far above 0.
    """
    torch.manual_seed(0)
    draws = torch.randn(3000, 2, 8, 2, dtype=torch.float64)
    found = torch.stack([mmd(z, sd * other, 4.0) for z, other in draws])
    expected = kernel_mean(2) + kernel_mean(2 * sd**2) - 2 * kernel_mean(1 + sd**2)
    error = found.std().item() / 3000**0.5
    assert found.mean().item() == pytest.approx(expected, abs=4 * error)
    assert (found < 0).any()
    if sd == 1:
        assert expected == pytest.approx(0, abs=1e-12)
    else:
        assert found.mean() > 10 * error


def test_codes_that_are_far_off_are_still_pulled_back():
    """At 30 sds the slope is that of −2 E k ≈ −2 Σ_s C_s / 30², a Gaussian kernel's would be e^-100 of it."""
    torch.manual_seed(0)
    shift = torch.tensor([30.0, 0.0], requires_grad=True)
    mmd(torch.randn(50, 2) + shift, torch.randn(50, 2), 4.0).backward()
    assert shift.grad[0].item() == pytest.approx(4 * 4 * sum(SCALES) / 30**3, rel=0.2)  # the next order is C_s / 30²


def test_codes_are_held_to_the_prior_all_together_and_not_one_by_one():
    """z = √(1 − s²) x + s ε of x ~ N(0, 1): N(0, 1) together, though each q(z|x) is narrow; s = 0.1."""
    torch.manual_seed(0)
    draws = torch.randn(3000, 3, 8, 2, dtype=torch.float64)
    found = torch.stack([mmd(0.99**0.5 * x + 0.1 * noise, other, 4.0) for x, noise, other in draws])
    assert abs(found.mean()) < 4 * found.std() / 3000**0.5


# The loss


def small_game(posterior, weight):
    encoder, generator = encoder_and_network(posterior)
    torch.manual_seed(3)
    return WAE(encoder, generator, Fixed(torch.randn(N, d)), weight=weight).double(), batch_of()


@pytest.mark.parametrize("weight", [0.0, 10.0])
@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_the_loss_and_every_gradient_are_those_of_the_formula(posterior, weight):
    """E |x − G(z)|² + weight · MMD²(z, prior's draws), z row by row; nobody else moves: the prior is but a law."""
    game, batch = small_game(posterior, weight)
    hand, codes, errors = ByHand(game), [], []
    torch.manual_seed(0)
    noise = torch.randn(N, d, dtype=torch.float64)
    for x, c, draw in zip(*batch, noise):
        numbers = hand.code(x, c)
        z = numbers if posterior == "point" else numbers[:d] + numbers[d:].exp() * draw
        errors.append(sum((a - b) ** 2 for a, b in zip(x, hand.network("generator", z, c))))
        codes.append(z)
    cost = sum(errors) / N + weight * double_loop(codes, game.prior.z, 2 * d)
    assert_same(gradient_of(game, "autoencoder", batch), hand.gradient(cost))
    torch.manual_seed(0)
    assert game.loss(batch).total.item() == pytest.approx(cost.item(), rel=1e-12)
    assert list(game.players) == ["autoencoder"] and not list(game.prior.parameters())


def test_the_distance_reaches_the_encoder_alone():
    game, batch = small_game("gaussian", 10.0)
    distance = game.loss(batch).terms["mmd"]
    generator, encoder = list(game.generator.parameters()), list(game.encoder.parameters())
    found = torch.autograd.grad(distance, [*generator, *encoder], allow_unused=True)
    assert all(gradient is None for gradient in found[: len(generator)])
    assert all(gradient.abs().max() > 0 for gradient in found[len(generator) :])
