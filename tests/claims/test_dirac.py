"""What converges on the Dirac-GAN, and how fast: where 500 turns end, and the eigenvalues of one turn.

Mescheder, Geiger & Nowozin 2018: data at 0, generated point θ, logit ψ x; steps of h = 0.2 from (1, 1), the generator
moves first, no cost carries a ½. "alternate 1:5" is one generator move and then five discriminator moves a turn.
"""

import functools
import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from ludus.data.sampler import Sampler
from ludus.methods.gan import GAN
from ludus.methods.r3gan import R3GAN
from ludus.methods.wgan import WGAN
from ludus.methods.wgan_gp import WGANGP
from ludus.trainer import Trainer
from ludus.worlds.dirac import Dirac, dirac

H, STEPS, START = 0.2, 500, (1.0, 1.0)
PLAYS = {"simultaneous": ("simultaneous", 1), "alternate 1:1": ("alternate", 1), "alternate 1:5": ("alternate", 5)}

# fmt: off
METHODS = {
    "GAN": functools.partial(GAN, cost="minimax"),
    "NSGAN": functools.partial(GAN, cost="heuristic"),
    "WGAN": functools.partial(WGAN, clip=1.0, n_critic=1),
    "WGAN-GP": functools.partial(WGANGP, weight=0.35, target=1.0, n_critic=1),
    "GAN, R1 0.3": functools.partial(GAN, cost="minimax", penalties={"r1": 0.3}),
    "GAN, R1 1.0": functools.partial(GAN, cost="minimax", penalties={"r1": 1.0}),
    "NSGAN, R1 0.3": functools.partial(GAN, cost="heuristic", penalties={"r1": 0.3}),
}
RADII = {  # as printed in the project's reference, one column for each of PLAYS
    "GAN":           ["3.097", "1.421", "1.845"],
    "NSGAN":         [".640", ".284", ".139"],
    "WGAN":          ["1.00", "1.02", ".92"],
    "WGAN-GP":       ["1.80", "1.22", ".72"],
    "GAN, R1 0.3":   ["2.64e-6", "2.3e-7", "9e-34"],
    "GAN, R1 1.0":   ["9.5e-22", "7.5e-17", "5e-12"],
    "NSGAN, R1 0.3": ["2.2e-6", "1.5e-7", "4e-34"],
}


def σ(t):
    return 1 / (1 + math.exp(-t))


VELOCITIES = {  # the paper's (θ', ψ'), with f'(t) = σ(-t); the clip of WGAN follows the move
    "GAN":           lambda θ, ψ: (-ψ * σ(-θ * ψ), θ * σ(-θ * ψ)),
    "NSGAN":         lambda θ, ψ: (-ψ * σ(θ * ψ), θ * σ(-θ * ψ)),
    "WGAN":          lambda θ, ψ: (-ψ, θ),
    "WGAN-GP":       lambda θ, ψ: (-ψ, θ - 0.7 * (ψ - math.copysign(1, ψ))),
    "GAN, R1 0.3":   lambda θ, ψ: (-ψ * σ(-θ * ψ), θ * σ(-θ * ψ) - 0.3 * ψ),
    "GAN, R1 1.0":   lambda θ, ψ: (-ψ * σ(-θ * ψ), θ * σ(-θ * ψ) - ψ),
    "NSGAN, R1 0.3": lambda θ, ψ: (-ψ * σ(θ * ψ), θ * σ(-θ * ψ) - 0.3 * ψ),
}
# fmt: on


def played(method, play, steps=STEPS, start=START, h=H):
    """(θ, ψ) after `steps` turns of a game of the library, in the paper's signs."""
    kind, n = PLAYS[play]
    sign = 1 if method.func is WGAN else -1  # the paper's logit is high on generated data, as only `wgan`'s is
    theta, psi = start
    game = method(*dirac()).double()
    with torch.no_grad():
        game.generator.theta.fill_(theta)
        game.discriminator.psi.fill_(sign * psi)
    sampler = Sampler(Dirac().sample(1).x.double(), batch=1)
    trainer = Trainer(game, sampler, steps=steps, lr=h, optimiser="sgd", play=kind)
    trainer.schedule = lambda trainer: ["generator"] + n * ["discriminator"]
    trainer.run()
    return game.generator.theta.item(), sign * game.discriminator.psi.item()


def recursion(name, play):
    """The same in plain numbers."""
    kind, n = PLAYS[play]
    velocity, bound = VELOCITIES[name], 1.0 if name == "WGAN" else math.inf
    θ, ψ = START
    for _ in range(STEPS):
        before = θ, ψ
        θ += H * velocity(θ, ψ)[0]
        for _ in range(n):
            ψ += H * velocity(*(before if kind == "simultaneous" else (θ, ψ)))[1]
            ψ = min(max(ψ, -bound), bound)
    return θ, ψ


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("name", METHODS)
def test_500_turns_end_at_the_golden_radius(name, play):
    end = played(METHODS[name], play)
    printed = Decimal(RADII[name][list(PLAYS).index(play)])
    # 1 %, or the rounding of a number printed with one or two digits: half a unit of its last one.
    rounding = 0.5 * 10 ** printed.as_tuple().exponent
    assert math.hypot(*end) == pytest.approx(float(printed), rel=0.01, abs=rounding)
    # The rounding of 5e-12 is 10 %: so that nothing hides in it, the paper's recursion has to agree digit by digit.
    assert end == pytest.approx(recursion(name, play), rel=1e-9, abs=0)


@pytest.mark.parametrize("play", PLAYS)
def test_pairing_with_r1_and_r2_converges_as_the_heuristic_game_with_twice_the_penalty(play):
    """A point mass has one pair and a line one slope, so R3GAN's γ on both sides is R1 of weight 2γ."""
    end = played(functools.partial(R3GAN, gamma=0.15), play)
    assert end == pytest.approx(recursion("NSGAN, R1 0.3", play), rel=1e-9, abs=0)
    assert math.hypot(*end) < 3e-6


def test_pairing_alone_does_not_converge():
    end = played(functools.partial(R3GAN, gamma=0.0), "simultaneous")
    assert end == pytest.approx(recursion("NSGAN", "simultaneous"), rel=1e-9, abs=0)
    assert math.hypot(*end) > 0.6


def turn(method, play, eps=1e-6):
    """The 2×2 matrix of one turn near the equilibrium, by central differences: odd games leave an error of eps²."""
    columns = []
    for direction in np.eye(2):
        ahead, behind = (np.array(played(method, play, steps=1, start=s * eps * direction)) for s in (1, -1))
        columns.append((ahead - behind) / (2 * eps))
    return np.stack(columns, 1)


@pytest.mark.parametrize("cost", ["minimax", "heuristic"])
def test_simultaneous_play_of_a_gan_spirals_outwards_by_the_root_of_one_plus_quarter_h_squared(cost):
    modulus = np.abs(np.linalg.eigvals(turn(functools.partial(GAN, cost=cost), "simultaneous")))
    assert modulus == pytest.approx(math.sqrt(1 + H**2 / 4), abs=1e-9)


@pytest.mark.parametrize("cost", ["minimax", "heuristic"])
@pytest.mark.parametrize("play", ["alternate 1:1", "alternate 1:5"])
def test_alternating_play_of_a_gan_stays_on_its_orbit(cost, play):
    matrix = turn(functools.partial(GAN, cost=cost), play)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-9)
    assert np.trace(matrix) == pytest.approx(2 - PLAYS[play][1] * H**2 / 4, abs=1e-9)
    assert np.abs(np.linalg.eigvals(matrix)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("penalty", ["r1", "r2"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.99, 2.0])  # critical at 1, a double root
def test_a_penalised_gan_has_the_eigenvalues_of_the_paper(penalty, gamma):
    root = complex(gamma**2 / 4 - 1 / 4) ** 0.5
    expected = [1 + H * (-gamma / 2 + root), 1 + H * (-gamma / 2 - root)]
    found = np.linalg.eigvals(turn(functools.partial(GAN, cost="minimax", penalties={penalty: gamma}), "simultaneous"))
    assert np.sort_complex(found) == pytest.approx(np.sort_complex(expected), abs=1e-9)
