"""What the paper of the invertible conditional GAN states: four players and their gradients, and its stages."""

import pytest
import torch
from by_hand import N, assert_same, gradient_of
from coded import D, K, d
from hybrid import OPTIONS, Hand, networks, ready, says_fake, says_real
from torch import nn

from games import averaged, data_of, same, trainer_of, weights
from ludus.errors import UserError
from ludus.game import Batch
from ludus.methods.icgan import ICGAN
from ludus.networks.labeller import Labeller
from ludus.networks.mlp import MlpDiscriminator
from ludus.networks.priors import Gaussian
from ludus.trainer import Callback

PLAYERS = ["discriminator", "generator", "encoder", "labeller"]


def game_of(posterior="point", **options):
    encoder, generator, discriminator = networks(posterior, blind=True)
    labeller = Labeller(MlpDiscriminator((D,), **OPTIONS), (D,), K)
    for p in labeller.parameters():
        nn.init.normal_(p, std=0.5)
    game, batch = ready(ICGAN(generator, discriminator, encoder, labeller, Gaussian(dimension=d), **options))
    batch.c[2] = batch.c[1]  # a label that is the same is not a wrong one
    batch.c[4] = torch.nan
    return game, batch


@pytest.mark.parametrize("name", PLAYERS)
@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_every_player_has_the_papers_gradient(posterior, name):
    game, batch = game_of(posterior)
    hand, costs = Hand(game), {name: [] for name in PLAYERS}
    wrong = []
    for i, (x, c, z) in enumerate(zip(*batch, game.prior.z)):
        fake = hand.network("generator", z, c)
        costs["discriminator"].append(says_real(hand.logit(x, c)) + says_fake(hand.logit(fake, c)) / 2)
        costs["generator"].append(says_real(hand.logit(fake, c)))
        numbers = hand.code(fake)
        if posterior == "point":
            costs["encoder"].append(((z - numbers) ** 2).sum())
        else:
            law = torch.distributions.Normal(numbers[:d], numbers[d:].exp())
            costs["encoder"].append(-law.log_prob(z).sum())
        other = batch.c[i - 1]
        if not (other.isnan() | c.isnan()).any() and (other != c).any():
            wrong.append(says_fake(hand.logit(x, other)) / 2)
        if not c.isnan().any():
            head = hand.w["labeller.head.weight"] @ hand.network("labeller.features", x) + hand.w["labeller.head.bias"]
            costs["labeller"].append(((c - head) ** 2).sum())
    assert len(wrong) == N - 3 and len(costs["labeller"]) == N - 1
    cost = {name: sum(each) / len(each) for name, each in costs.items()}
    cost["discriminator"] = cost["discriminator"] + sum(wrong) / len(wrong)
    assert_same(gradient_of(game, name, batch), hand.of(cost[name], name))


def test_labels_that_are_all_unknown_or_alike_cost_nothing():
    game, batch = game_of()
    for c in (torch.full_like(batch.c, torch.nan), torch.ones_like(batch.c)):
        loss = game.discriminator_loss(Batch(batch.x, c))
        assert loss.total.isfinite() and loss.terms["mismatched"] == 0
    assert game.labeller_loss(Batch(batch.x, torch.full_like(batch.c, torch.nan))).total == 0


def test_the_stages_are_who_moves_when():
    """The generator and the discriminator move in the first 60 % of the turns, then E_z; E_y in all of them."""
    trainer = trainer_of("icgan", data_of((2,), "classes"), **{"trainer.steps": 10})
    for turn in range(10):
        before = weights(trainer.game)
        trainer.step()
        after = weights(trainer.game)
        moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
        assert moved == ({"generator", "discriminator", "labeller"} if turn < 6 else {"encoder", "labeller"})


class Stops(Callback):
    def __init__(self, turn):
        self.turn = turn

    def after(self, trainer):
        trainer.stop = trainer.turn == self.turn


@pytest.mark.parametrize("turn", [2, 6, 8])  # in the first stage, between both, in the second
def test_resume_is_exact_in_every_stage(turn):
    data, ten = data_of((2,), "values"), {"trainer.steps": 10}
    whole, begun, other = (trainer_of("icgan", data, **ten) for _ in range(3))
    for trainer in (whole, begun, other):
        averaged(trainer)
    whole.run()
    begun.callbacks.append(Stops(turn))
    begun.run()
    other.load(*begun.state())
    other.run()
    assert same(weights(whole.game), weights(other.game))


def test_stages_that_make_no_sense_are_refused():
    for stages, why in [
        ({"encoder": [0.5, 0.5]}, "never"),
        ({"nobody": [0.0, 1.0]}, "nobody"),
        ({name: [0.0, 0.5] for name in PLAYERS}, "nobody moves from 0.5 to 1"),
        ({"generator": [0.2, 1.0], "discriminator": [0.2, 1.0], "encoder": [0.2, 1.0], "labeller": [0.3, 1.0]},
         "from 0 to 0.2"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=why):
            trainer_of("icgan", data_of((2,), "classes"), **{"trainer.stages": stages})
    with pytest.raises(UserError, match="--condition"):
        trainer_of("icgan", data_of((2,)))
