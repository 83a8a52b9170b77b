"""What the GAN papers prove: Goodfellow 2014 and his tutorial of 2016 (the three costs), Salimans 2016 (smoothing).

The lecture's costs carry a factor ½ that the library's do not: HALF stands wherever a formula of the lecture does.
"""

import math

import pytest
import torch
from by_hand import added, assert_same, fakes, game_of, gradient_of, through_samples, through_slopes, through_values
from torch import nn

from ludus.callbacks.annealing import Annealing
from ludus.data.sampler import Sampler
from ludus.errors import Diverged
from ludus.losses.adversarial import COSTS, fake, real
from ludus.methods.gan import GAN
from ludus.networks.mlp import MlpDiscriminator
from ludus.networks.priors import Gaussian
from ludus.trainer import Trainer
from ludus.worlds.dirac import dirac

HALF = 0.5
GOLDEN = (1.0, 1.2)  # the model N(1, 1.2²) of the golden numbers; the data are N(0, 1)

# Integrals by the trapezium rule, which converges exponentially for what decays like a Gaussian.
LINE = torch.linspace(-15, 15, 3001, dtype=torch.float64)
STEP = 0.01


def model(m, s):
    """The parameters of N(m, s²); the data are N(0, 1)."""
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (m, s)]


def log_normal(x, m=0.0, s=1.0):
    return -(((x - m) / s) ** 2) / 2 - math.log(2 * math.pi) / 2 - torch.log(s * torch.ones_like(x))


def divergences(m, s):
    """JSD(p, q), KL(p‖q) and KL(q‖p) in nats of the data p = N(0, 1) and the model q = N(m, s²)."""
    log_p, log_q = log_normal(LINE), log_normal(LINE, m, s)
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    p, q = log_p.exp() * STEP, log_q.exp() * STEP
    jsd = ((p * (log_p - log_mean)).sum() + (q * (log_q - log_mean)).sum()) / 2
    return jsd, (p * (log_p - log_q)).sum(), (q * (log_q - log_p)).sum()


def expected(cost, a):
    """E cost(a(z)) over z ~ N(0, 1): the library's costs are means over a batch, here taken one sample at a time."""
    return (log_normal(LINE).exp() * STEP * torch.vmap(cost)(a[:, None])).sum()


def optimal(x, m, s):
    """The logit of D* = p / (p + q), held fixed."""
    return log_normal(x) - log_normal(x, m.detach(), s.detach())


def lectures_cost(cost, m, s):
    """The generator's cost in the lecture's units against D*, differentiable through its samples x̃ = m + s z only."""
    return HALF * expected(COSTS[cost], optimal(m + s * LINE, m, s))


# The three games at the optimal discriminator

DIVERGENCE = {
    "minimax": lambda jsd, kl_pq, kl_qp: jsd,
    "heuristic": lambda jsd, kl_pq, kl_qp: (kl_qp - 2 * jsd) / 2,
    "maximum_likelihood": lambda jsd, kl_pq, kl_qp: kl_pq / 2,
}


@pytest.mark.parametrize("q", [GOLDEN, (0.0, 1.5), (-0.7, 0.8), (2.0, 1.0)])
@pytest.mark.parametrize("cost", COSTS)
def test_each_cost_has_the_gradient_of_its_divergence(cost, q):
    q = model(*q)
    found = torch.autograd.grad(lectures_cost(cost, *q), q)
    assert torch.stack(found).tolist() == pytest.approx(
        torch.stack(torch.autograd.grad(DIVERGENCE[cost](*divergences(*q)), q)).tolist(), abs=1e-6
    )


def test_golden_divergences():
    assert [d.item() for d in divergences(*model(*GOLDEN))] == pytest.approx(
        [0.0983672, 0.3767660, 0.5376784], abs=1e-7
    )


@pytest.mark.parametrize(
    ("cost", "golden"),
    [
        ("minimax", [0.1658994, -0.0337201]),
        ("heuristic", [0.3341006, 0.2170534]),
        ("maximum_likelihood", [0.3472222, -0.1620370]),
    ],
)
def test_golden_gradients_in_mean_and_width(cost, golden):
    q = model(*GOLDEN)
    found = torch.autograd.grad(lectures_cost(cost, *q), q)
    assert [g.item() for g in found] == pytest.approx(golden, abs=1e-7)


@pytest.mark.parametrize(("q", "value"), [(GOLDEN, 0.5947800), ((0.0, 1.0), math.log(2))])
def test_the_best_discriminators_cost_is_log_2_minus_jsd(q, value):
    m, s = model(*q)
    cost = HALF * (expected(real, optimal(LINE, m, s)) + expected(fake, optimal(m + s * LINE, m, s)))
    assert cost.item() == pytest.approx(value, abs=1e-7)
    assert cost.item() == pytest.approx(math.log(2) - divergences(m, s)[0].item(), abs=1e-9)


@pytest.mark.parametrize("q", [GOLDEN, (0.0, 1.0), (-0.7, 0.8), (3.0, 2.0)])
def test_the_value_of_maximum_likelihood_says_nothing(q):
    """At D* it is −½ whatever the model: only its gradient is informative, it cannot be a progress curve."""
    assert lectures_cost("maximum_likelihood", *model(*q)).item() == pytest.approx(-HALF, abs=1e-9)


# Values and slopes in the logit


@pytest.mark.parametrize(
    ("cost", "value", "slope"),
    [
        ("minimax", -math.log(2) / 2, -0.25),
        ("heuristic", math.log(2) / 2, -0.25),
        ("maximum_likelihood", -0.5, -0.5),
    ],
)
def test_values_and_slopes_where_the_discriminator_is_undecided(cost, value, slope):
    a = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    found = HALF * COSTS[cost](a)
    assert found.item() == pytest.approx(value, abs=1e-15)
    assert torch.autograd.grad(found, a)[0].item() == pytest.approx(slope, abs=1e-15)


@pytest.mark.parametrize(
    ("cost", "logit", "value", "slope"),
    [
        (COSTS["minimax"], -100, 0, 0),  # sure of a fake: no gradient
        (COSTS["minimax"], 100, -100, -1),
        (COSTS["heuristic"], -100, 100, -1),  # sure of a fake: the full gradient
        (COSTS["heuristic"], 100, 0, 0),
        (real, -100, 100, -1),
        (real, 100, 0, 0),
        (fake, -100, 0, 0),
        (fake, 100, 100, 1),
    ],
)
def test_value_and_gradient_are_right_at_logits_of_100_in_float32(cost, logit, value, slope):
    a = torch.full((1,), float(logit), requires_grad=True)
    found = cost(a)
    assert found.item() == pytest.approx(value, abs=1e-30)
    assert torch.autograd.grad(found, a)[0].item() == pytest.approx(slope, abs=1e-30)


def test_maximum_likelihood_is_not_clamped_and_its_overflow_is_divergence():
    a = torch.tensor([100.0], requires_grad=True)
    value = COSTS["maximum_likelihood"](a)
    assert value.item() == -math.inf
    assert torch.autograd.grad(value, a)[0].item() == -math.inf

    game = GAN(*dirac(theta=1.0, psi=100.0), cost="maximum_likelihood")  # a logit of 100 on every sample
    trainer = Trainer(game, Sampler(torch.zeros(8, 1), batch=8))
    trainer.step()
    with pytest.raises(Diverged, match="generator's loss 'maximum_likelihood' is -inf"):
        trainer.check_losses()


# The discriminator


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_the_best_discriminator_is_alpha_p_over_p_plus_q(smoothing):
    """p real(a) + q fake(a) is convex in a, so lowest where its slope is zero; α = 1 − smoothing scales p alone."""
    p, q = torch.tensor([[0.3, 0.01, 0.2, 2.0], [0.1, 0.4, 0.2, 0.001]], dtype=torch.float64)

    def slope(d):
        a = torch.logit(d).requires_grad_()
        each = torch.vmap(lambda a, p, q: p * real(a, smoothing) + q * fake(a))(a[:, None], p, q)
        return torch.autograd.grad(each.sum(), a)[0]

    best = (1 - smoothing) * p / (p + q)
    assert slope(best).abs().max() < 1e-12
    assert (slope(best - 1e-4) < 0).all() and (slope(best + 1e-4) > 0).all()


class Affine(nn.Module):
    """The model N(m, s²), x̃ = m + s z."""

    def __init__(self, m, s):
        super().__init__()
        self.m, self.s = nn.Parameter(torch.tensor(m)), nn.Parameter(torch.tensor(s))

    def forward(self, z, c=None):
        return self.m + self.s * z


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x, c=None):
        return self.line(x).squeeze(1)


@pytest.mark.parametrize(
    ("q", "discriminator"),
    [((1.0, 1.0), Linear), (GOLDEN, lambda: MlpDiscriminator((1,), width=32, depth=2))],
    ids=["equal widths: a line", "unequal widths: a parabola, by an mlp"],
)
def test_a_trained_discriminator_is_log_p_over_q(q, discriminator):
    """To 0.05 in its logit, root mean square under (p + q) / 2; the data are 100,000 draws."""
    torch.manual_seed(0)
    game = GAN(Affine(*q), discriminator(), Gaussian(dimension=1))
    sampler = Sampler(torch.randn(100_000, 1), batch=2000)
    options = {"steps": 1000, "lr": 1e-2, "every": {"generator": 10**9}}  # only the discriminator moves
    Trainer(game, sampler, [Annealing(decay=0.01)], **options).run()

    x = LINE[LINE.abs() < 8]
    mixture = (log_normal(x).exp() + log_normal(x, *model(*q)).exp()) / 2 * STEP
    error = game.discriminator(x.float()[:, None]) - optimal(x, *model(*q))
    assert (mixture * error**2).sum().sqrt() < 0.05
    assert [game.generator.m.item(), game.generator.s.item()] == pytest.approx(q)


# Gradient destinations

SLOPES = {
    "minimax": lambda a: -a.sigmoid(),
    "heuristic": lambda a: a.sigmoid() - 1,
    "maximum_likelihood": lambda a: -a.exp(),
}


@pytest.mark.parametrize("cost", COSTS)
def test_the_generator_gets_the_costs_slope_through_its_samples(cost):
    game, batch = game_of(GAN, cost=cost, penalties={"r1": 0.5})  # a penalty is none of its business
    assert_same(gradient_of(game, "generator", batch), through_samples(game, batch, SLOPES[cost]))


@pytest.mark.parametrize("penalties", [None, {"r1": 0.5}, {"r2": 2.0}, {"r1": 0.5, "r2": 2.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_discriminator_gets_the_log_likelihood_of_labels_and_gamma_times_the_slopes(penalties, smoothing):
    game, batch = game_of(GAN, smoothing=smoothing, penalties=penalties)
    f, fake, gamma = game.discriminator, fakes(game, batch), {"r1": 0.0, "r2": 0.0} | (penalties or {})
    expected = added(
        through_values(f, *batch, lambda a: a.sigmoid() - (1 - smoothing)),
        through_values(f, fake, batch.c, torch.sigmoid),
        through_slopes(f, *batch, lambda s: gamma["r1"] * s),
        through_slopes(f, fake, batch.c, lambda s: gamma["r2"] * s),
    )
    assert_same(gradient_of(game, "discriminator", batch), expected)
