"""What Salimans 2016 states of the semi-supervised GAN: K logits are a classifier and a discriminator in one."""

import numpy as np
import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import D, Same, d
from hybrid import OPTIONS, Hand, ready
from test_gan import Given
from torch import nn

from games import averaged, data_of, trainer_of
from ludus.data.load import load
from ludus.game import Batch
from ludus.methods.ssgan import SSGAN, log_z
from ludus.networks.labeller import Labeller
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian

CLASSES = 3
KNOWN = {"some": [0, 2, 3], "none": [], "all": range(N)}


def small_game(known):
    """A game at random weights in float64, and a batch of which some rows have a label."""
    torch.manual_seed(0)
    labeller = Labeller(MlpDiscriminator((D,), **OPTIONS), (D,), CLASSES)
    generator = MlpGenerator((D,), d, **OPTIONS)
    for p in (*labeller.parameters(), *generator.parameters()):
        nn.init.normal_(p, std=0.5)
    game, batch = ready(SSGAN(labeller, generator, Gaussian(dimension=d)))
    c = torch.full((N, CLASSES), torch.nan, dtype=torch.float64)
    for row in known:
        c[row] = torch.eye(CLASSES)[row % CLASSES]
    return game, batch._replace(c=c)


def by_the_paper(game, batch, known):
    """The labeller's cost of the authors' code, and the generator's, row by row: Z = Σ exp l, D = Z / (Z + 1)."""
    hand, labelled, real, fake, f, f_fake = Hand(game), [], [], [], [], []
    unlabelled = [row for row in range(N) if row not in known] or range(N)
    for row in range(N):
        exp = hand.network("labeller", batch.x[row]).exp()
        if row in known:
            labelled.append(-torch.log(exp[row % CLASSES] / sum(exp)))
        if row in unlabelled:
            real.append(-torch.log(sum(exp) / (sum(exp) + 1)))
            f.append(hand.network("labeller.features", batch.x[row]))
        x = hand.network("generator", game.prior.z[row])
        exp = hand.network("labeller", x).exp()
        fake.append(-torch.log(1 - sum(exp) / (sum(exp) + 1)))
        f_fake.append(hand.network("labeller.features", x))
    cost = sum(real) / len(real) / 2 + sum(fake) / N / 2 + (sum(labelled) / len(labelled) if labelled else 0)
    off = sum(f) / len(f) - sum(f_fake) / N
    return {"labeller": hand.of(cost, "labeller"), "generator": hand.of(sum(off**2), "generator")}


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("name", ["labeller", "generator"])
def test_every_player_has_the_papers_gradient(name, known):
    game, batch = small_game(KNOWN[known])
    assert_same(gradient_of(game, name, batch), by_the_paper(game, batch, KNOWN[known])[name])


def test_a_batch_without_labels_and_no_condition_at_all_are_the_same_and_finite():
    game, batch = small_game([])
    without = game.labeller_loss(Batch(batch.x))
    assert game.labeller_loss(batch).terms["labelled"] == 0 and without.total.isfinite()
    assert without.total == game.labeller_loss(batch).total


def test_what_is_unknown_does_not_matter_to_the_labelled_term():
    """Nor does its NaN reach a gradient."""
    game, batch = small_game(KNOWN["some"])
    alone = Batch(batch.x[KNOWN["some"]], batch.c[KNOWN["some"]])
    found, expected = (game.labeller_loss(each).terms["labelled"] for each in (batch, alone))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert all(g.isfinite().all() for g in gradient_of(game, "labeller", batch))


# K logits for K + 1 classes


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_d_is_z_over_z_plus_1(size):
    logits = size * torch.randn(50, CLASSES, dtype=torch.float64).clamp(-3, 3)
    z = logits.exp().sum(1)
    torch.testing.assert_close(log_z(logits).sigmoid(), z / (z + 1))


def test_k_logits_are_k_plus_1_classes():
    """A function of x that is subtracted from all K + 1 logits changes nothing: the last one is then 0."""
    torch.manual_seed(0)
    logits = torch.randn(50, CLASSES + 1, dtype=torch.float64)
    p = logits.softmax(1)
    fewer = logits[:, :-1] - logits[:, -1:]
    real = log_z(fewer).sigmoid()
    torch.testing.assert_close(real, 1 - p[:, -1])
    torch.testing.assert_close(fewer.softmax(1) * real[:, None], p[:, :-1])


# The best labeller on a finite set, where exp l_k(x) ∝ p(k, x)


class Table(nn.Module):
    """f(x) = x, one-hot, so that a linear head is a table of logits."""

    def __init__(self, logits):
        super().__init__()
        self.features, self.head = Same(), nn.Linear(*logits.shape[::-1], bias=False)
        self.head.weight = nn.Parameter(logits)

    def forward(self, x, c=None):
        return self.head(x)


P, Q = torch.tensor([3.0, 1, 2, 4]).double() / 10, torch.tensor([1.0, 4, 3, 2]).double() / 10
LABELS = torch.tensor([[3.0, 1, 0], [0, 2, 2], [1, 1, 2], [4, 0, 0]]).double()  # counts of labels at each point


def on_four_points():
    """Ten rows with no label from p, sixteen with one, ten generated from q."""
    points = torch.eye(4, dtype=torch.float64)
    plain, fake = (points.repeat_interleave((10 * w).round().long(), 0) for w in (P, Q))
    which, label = LABELS.nonzero().repeat_interleave(LABELS[LABELS > 0].long(), 0).T
    c = torch.cat([torch.full((10, CLASSES), torch.nan).double(), torch.eye(CLASSES).double()[label]])
    return Batch(torch.cat([plain, points[which]]), c), fake


def cost(logits):
    batch, fake = on_four_points()
    game = SSGAN(Table(logits.T.contiguous()), Given(fake), Gaussian(dimension=1))
    game.sample = lambda n, c=None: fake
    return game.labeller_loss(batch).total.item(), game


def test_the_best_labeller_knows_how_often_each_label_is_and_p_over_q():
    share = LABELS / LABELS.sum(1, keepdim=True)
    best = (share + 1e-12).log() + (P / Q).log()[:, None]
    lowest, game = cost(best)
    for i in range(4):
        for k in range(CLASSES):
            for step in (1e-3, -1e-3):
                if share[i, k]:
                    other = best.clone()
                    other[i, k] += step
                    assert cost(other)[0] > lowest + 1e-9
    points = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(game.label(points), share, atol=1e-9, rtol=0)
    torch.testing.assert_close(log_z(game.labeller(points)).sigmoid(), P / (P + Q))
    assert share[3].argmax() == 0 and game.label(points)[3, 0] > 1 - 1e-9  # a label that is sure is exact


# What it is for


def test_the_generator_is_not_told_the_label():
    game = trainer_of("ssgan", data_of((2,), "classes")).game
    z = torch.randn(5, 4)
    assert game.generator.condition == 0 and torch.equal(game.decode(z), game.decode(z, torch.eye(3)[[0] * 5]))


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_without_labels_help(seed):
    """Two half-moons, four labels each: the nearest label is wrong for 5 % of the rows at least, the game for none in a
    hundred. It need not be so: with other labels it may lay the boundary across a moon."""
    draws = np.random.default_rng(seed)
    t = np.pi * draws.random((2, 1000))
    x = np.concatenate([np.stack([np.cos(t[0]), np.sin(t[0])], 1), np.stack([1 - np.cos(t[1]), 0.5 - np.sin(t[1])], 1)])
    x = (x + 0.1 * draws.normal(size=x.shape)).astype(np.float32)
    truth, few = np.repeat([0, 1], 1000), np.full(2000, np.nan)
    known = np.concatenate([1000 * k + draws.permutation(1000)[:4] for k in (0, 1)])
    few[known] = truth[known]
    nearest = known[((x[:, None] - x[known]) ** 2).sum(2).argmin(1)]

    data = load(x, few, condition_kind="classes", held_out=0.0)
    settings = {"trainer.lr": 2e-3, "trainer.steps": 1200, "sampler.batch": 128, "prior.dimension": 32}
    trainer = trainer_of("ssgan", data, **settings, **{"labeller.width": 128, "generator.width": 128})
    average = averaged(trainer)
    trainer.run()
    with torch.no_grad():
        found = average.game.label(torch.from_numpy(data.x)).argmax(1).numpy()
    assert (truth[nearest] != truth).mean() > 0.05 and (found != truth).mean() < 0.01
