"""What the GAN papers prove: Goodfellow 2014 and his tutorial of 2016 (the three costs), Salimans 2016 (smoothing,
feature matching, historical averaging), Mao 2017 (least squares), Lim & Ye 2017 (hinge).

The lecture's costs carry a factor ½ that the library's do not: HALF stands wherever a formula of the lecture does.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from by_hand import added, assert_same, fakes, game_of, gradient_of, through_samples, through_slopes, through_values
from torch import nn

from ludus.callbacks.annealing import Annealing
from ludus.data.sampler import Sampler
from ludus.errors import Diverged, UserError
from ludus.game import Batch
from ludus.losses.adversarial import AGAINST, COSTS, fake, real
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


MODELS = [GOLDEN, (0.0, 1.5), (-0.7, 0.8), (2.0, 1.0)]


@pytest.mark.parametrize("q", MODELS)
@pytest.mark.parametrize("cost", DIVERGENCE)
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


# Least squares at its best discriminator a* = (p − q) / (p + q)


def best_of_least_squares(x, m, s):
    """(p − q) / (p + q), held fixed."""
    return torch.tanh(optimal(x, m, s) / 2)


def chi_squares(m, s):
    """χ²(p‖(p + q) / 2) and the paper's Pearson χ²(p + q‖2q) = ∫ (p − q)² / (p + q)."""
    p, q = log_normal(LINE).exp(), log_normal(LINE, m, s).exp()
    pearson = ((p - q) ** 2 / (p + q)).sum() * STEP
    return pearson / 2, pearson


def kl_to_the_middle(m, s):
    log_p, log_q = log_normal(LINE), log_normal(LINE, m, s)
    return (log_p.exp() * (log_p - torch.logaddexp(log_p, log_q) + math.log(2))).sum() * STEP


@pytest.mark.parametrize("q", MODELS)
def test_the_generator_of_least_squares_lowers_8_kl_minus_2_chi_squared(q):
    m, s = q = model(*q)
    found = torch.autograd.grad(expected(COSTS["least_squares"], best_of_least_squares(m + s * LINE, m, s)), q)
    divergence = 8 * kl_to_the_middle(m, s) - 2 * chi_squares(m, s)[0]
    assert torch.stack(found).tolist() == pytest.approx(
        torch.stack(torch.autograd.grad(divergence, q)).tolist(), abs=1e-6
    )


@pytest.mark.parametrize("q", MODELS)
def test_the_discriminator_of_least_squares_measures_pearsons_chi_squared(q):
    """In value, and so in the gradient of the game in which the generator raises the discriminator's cost."""
    m, s = q = model(*q)
    says_real, says_fake = AGAINST["least_squares"]
    on_fakes = expected(says_fake, best_of_least_squares(m + s * LINE, m, s))
    cost = expected(says_real, best_of_least_squares(LINE, m, s)) + on_fakes
    pearson = chi_squares(m, s)[1]
    assert cost.item() == pytest.approx(2 - pearson.item(), abs=1e-6)
    found, wanted = torch.autograd.grad(-on_fakes, q), torch.autograd.grad(pearson, q)
    assert torch.stack(found).tolist() == pytest.approx(torch.stack(wanted).tolist(), abs=1e-6)


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


class Table(nn.Module):
    """A discriminator on a finite set: x is the number of an entry."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, x, c=None):
        return self.a[x[:, 0].long()]


class Given(nn.Module):
    """A generator that gives the same rows whatever z."""

    def __init__(self, x):
        super().__init__()
        self.register_buffer("x", x)

    def forward(self, z, c=None):
        return self.x[: len(z)]


P, Q = torch.tensor([3.0, 1, 2, 4]), torch.tensor([1.0, 4, 3, 2])  # tenths
P, Q = P.double() / 10, Q.double() / 10


def cost_on_four_points(a, **options):
    """The discriminator's cost in a game whose data are p and whose model is q on four points."""
    rows = [torch.repeat_interleave(torch.arange(4.0), (10 * w).round().long())[:, None] for w in (P, Q)]
    game = GAN(Given(rows[1]), Table(a), Gaussian(dimension=1), **options)
    return game.discriminator_loss(Batch(rows[0])).total.item()


BEST = {  # of the share s of real labels that says generated
    "heuristic": lambda s: torch.logit((1 - s) * P / (P + Q)),
    "least_squares": lambda s: 2 * (1 - s) * P / (P + Q) - 1,
    "hinge": lambda s: torch.sign((1 - 2 * s) * P - Q),
}
LOWEST = {
    "heuristic": -(P * torch.log(P / (P + Q)) + Q * torch.log(Q / (P + Q))).sum(),  # 2 log 2 − 2 JSD
    "least_squares": 2 - ((P - Q) ** 2 / (P + Q)).sum(),
    "hinge": 2 - (P - Q).abs().sum(),  # 2 − 2 TV
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("cost", BEST)
def test_the_best_discriminator(cost, smoothing):
    """Each cost is convex in a, so that what is lowest along every axis of a separable sum is lowest of all."""
    best = BEST[cost](smoothing)
    lowest = cost_on_four_points(best, cost=cost, smoothing=smoothing)
    if smoothing == 0:
        assert lowest == pytest.approx(LOWEST[cost].item(), rel=1e-12)
    for direction in (*torch.eye(4).double(), *-torch.eye(4).double()):
        assert cost_on_four_points(best + 1e-3 * direction, cost=cost, smoothing=smoothing) > lowest + 1e-9


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

# derivatives in a: of the generator's cost, and of the discriminator's on real and on fake
SLOPES = {
    "minimax": lambda a: -a.sigmoid(),
    "heuristic": lambda a: a.sigmoid() - 1,
    "maximum_likelihood": lambda a: -a.exp(),
    "least_squares": lambda a: 2 * (a - 1),
    "hinge": lambda a: -torch.ones_like(a),
}
LOGISTIC = (lambda a: a.sigmoid() - 1, torch.sigmoid)
SLOPES_AGAINST = dict.fromkeys(AGAINST, LOGISTIC) | {
    "least_squares": (lambda a: 2 * (a - 1), lambda a: 2 * (a + 1)),
    "hinge": (lambda a: -(a < 1).double(), lambda a: (a > -1).double()),
}


@pytest.mark.parametrize("cost", COSTS)
def test_the_generator_gets_the_costs_slope_through_its_samples(cost):
    game, batch = game_of(GAN, cost=cost, penalties={"r1": 0.5})  # a penalty is none of its business
    assert_same(gradient_of(game, "generator", batch), through_samples(game, batch, SLOPES[cost]))


class Along(nn.Module):
    """v · features(x, c), as if it were a logit."""

    def __init__(self, features, v):
        super().__init__()
        self.features, self.v = features, v

    def forward(self, x, c):
        return self.features(x, c) @ self.v


def test_feature_matching_draws_the_samples_along_the_difference_of_the_means():
    game, batch = game_of(GAN, cost="feature_matching")
    features = game.discriminator.features
    off = (features(fakes(game, batch), batch.c).mean(0) - features(*batch).mean(0)).detach()
    stand_in = SimpleNamespace(
        sample=game.sample, generator=game.generator, prior=game.prior, discriminator=Along(features, 2 * off)
    )
    assert_same(gradient_of(game, "generator", batch), through_samples(stand_in, batch, torch.ones_like))


def test_feature_matching_ends_where_the_means_agree():
    game, batch = game_of(GAN, cost="feature_matching")
    x = fakes(game, batch)
    matched = GAN(Given(x.flip(0)), game.discriminator, game.prior, cost="feature_matching")  # the same rows, elsewhere
    assert matched.generator_loss(Batch(x)).total < 1e-25
    assert matched.generator_loss(Batch(x + 1)).total > 1e-3


def test_feature_matching_never_moves_the_discriminator():
    """Else its features would collapse to a point, where any two means agree."""
    game, batch = game_of(GAN, cost="feature_matching")
    before = [p.clone() for p in game.discriminator.parameters()]
    trainer = Trainer(game, Sampler(*batch, batch=len(batch.x)))
    for _ in range(3):
        trainer.gradient("generator", batch)
        trainer.move("generator")
    assert all(torch.equal(a, b) for a, b in zip(before, game.discriminator.parameters()))
    assert all(p.grad is None for p in game.discriminator.parameters())


def test_feature_matching_names_a_discriminator_without_features():
    with pytest.raises(UserError, match=r"Slope.*has no features.*feature matching compares their means"):
        GAN(*dirac(), cost="feature_matching")


@pytest.mark.parametrize("penalties", [None, {"r1": 0.5}, {"r2": 2.0}, {"r1": 0.5, "r2": 2.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cost", AGAINST)
def test_the_discriminator_gets_its_costs_slopes_and_gamma_times_the_penalties(cost, smoothing, penalties):
    game, batch = game_of(GAN, cost=cost, smoothing=smoothing, penalties=penalties)
    f, fake, gamma = game.discriminator, fakes(game, batch), {"r1": 0.0, "r2": 0.0} | (penalties or {})
    on_real, on_fake = SLOPES_AGAINST[cost]
    expected = added(
        through_values(f, *batch, lambda a: (1 - smoothing) * on_real(a) + smoothing * on_fake(a)),
        through_values(f, fake, batch.c, on_fake),
        through_slopes(f, *batch, lambda s: gamma["r1"] * s),
        through_slopes(f, fake, batch.c, lambda s: gamma["r2"] * s),
    )
    assert_same(gradient_of(game, "discriminator", batch), expected)


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_history_adds_twice_the_way_from_the_mean_of_the_past(name):
    game, batch = game_of(GAN, history=0.3)
    plain = GAN(game.generator, game.discriminator, game.prior)
    trainer, network = Trainer(game, Sampler(*batch, batch=len(batch.x)), lr=0.1), getattr(game, name)
    seen = [[p.detach().clone() for p in network.parameters()]]
    for _ in range(3):
        trainer.step()
        seen.append([p.detach().clone() for p in network.parameters()])
    off = [now - sum(past) / 4 for now, past in zip(seen[-1], zip(*seen))]
    expected = added(gradient_of(plain, name, batch), [2 * 0.3 * o for o in off])
    assert max(o.abs().max() for o in off) > 0.05
    assert_same(gradient_of(game, name, batch), expected)
