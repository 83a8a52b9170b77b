"""The loop, the ways of playing, and what turns the dials."""

import copy
import math

import pytest
import torch
from torch import nn

from games import averaged, data_of, same, trainer_of, weights
from ludus.callbacks import plan
from ludus.callbacks.annealing import Annealing
from ludus.callbacks.plan import Plan
from ludus.data.sampler import Sampler
from ludus.errors import Diverged, UserError
from ludus.game import Game, Loss, Player
from ludus.trainer import Callback, Trainer


class Two(Game):
    """Two players on the plane: a lowers x·y, b lowers −x·y; with `shared`, both own x as well."""

    def __init__(self, shared=False):
        super().__init__()
        self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.a.weight)
        nn.init.ones_(self.b.weight)
        self.shared, self.draws = shared, []

    @property
    def players(self):
        return {
            "a": Player([self.a], lambda batch: Loss({"xy": self.x * self.y})),
            "b": Player([self.b, self.a] if self.shared else [self.b], lambda batch: Loss({"xy": -self.x * self.y})),
        }

    @property
    def x(self):
        return self.a.weight.sum()

    @property
    def y(self):
        return self.b.weight.sum()

    def sample(self, n, c=None):
        return torch.zeros(n, 1)


def bilinear(shared=False, **options):
    game = Two(shared).double()
    sampler = Sampler(torch.zeros(8, 1).double(), batch=2)
    return Trainer(game, sampler, **{"optimiser": "sgd", "lr": 0.1, "steps": 10, **options})


def test_alternating_answers_the_latest_move():
    trainer = bilinear()
    trainer.step()
    x = 1 - 0.1
    assert (trainer.game.x.item(), trainer.game.y.item()) == pytest.approx((x, 1 + 0.1 * x), abs=1e-12)


def test_simultaneous_looks_before_it_moves():
    trainer = bilinear(play="simultaneous")
    for _ in range(10):
        trainer.step()
    # Euler's method on a rotation: the radius grows by √(1 + h²) a turn, and the angle is that of (1 + ih)ⁿ
    z = complex(1, 1) * complex(1, 0.1) ** 10
    assert (trainer.game.x.item(), trainer.game.y.item()) == pytest.approx((z.real, z.imag), abs=1e-12)


def test_simultaneous_with_a_module_of_two_owners():
    trainer = bilinear(shared=True, play="simultaneous")
    trainer.step()
    # a moves x by −h·y; b moves y by +h·x and x by +h·y: both gradients are those at the start
    assert (trainer.game.x.item(), trainer.game.y.item()) == pytest.approx((1.0, 1.1), abs=1e-12)


def test_every_counts_turns():
    trainer = bilinear(every={"b": 3})
    moved = []
    for _ in range(7):
        before = trainer.game.y.item()
        trainer.step()
        moved.append(trainer.game.y.item() != before)
    assert moved == [False, False, True, False, False, True, False]


def test_a_held_player_is_still_measured():
    class Accurate(Two):
        turns = 0

        @property
        def players(self):
            return {**super().players, "b": Player([self.b], self.loss)}

        def loss(self, batch):
            Accurate.turns += 1
            return Loss({"xy": -self.x * self.y}, {"accuracy": torch.tensor([0.9, 0.7, 0.5][Accurate.turns % 3])})

    trainer = Trainer(Accurate(), Sampler(torch.zeros(8, 1), batch=2), optimiser="sgd", hold_above={"b": 0.8})
    held = []
    for _ in range(6):
        before = trainer.game.y.item()
        trainer.step()
        held.append(trainer.game.y.item() == before)
    # accuracies seen, turn by turn: .7 .5 .9 .7 .5 .9; who was above .8 is held on the next turn
    assert held == [False, False, False, True, False, False] and Accurate.turns == 6


def test_a_player_without_accuracy_cannot_be_held():
    trainer = bilinear(hold_above={"a": 0.5})
    trainer.step()
    with pytest.raises(UserError, match="the a has no accuracy"):
        trainer.step()


def test_sampler_shows_every_row_once_an_epoch():
    sampler = Sampler(torch.arange(12.0)[:, None], torch.arange(12.0)[:, None], batch=4, seed=3)
    epochs = [torch.cat([next(sampler).x for _ in range(3)]).flatten().tolist() for _ in range(2)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and epochs[0] != epochs[1]
    batch = next(sampler)
    assert torch.equal(batch.x, batch.c)


def test_sampler_goes_to_where_it_was():
    a, b = (Sampler(torch.arange(10.0), batch=3, seed=1) for _ in range(2))
    for _ in range(5):
        next(a)
    b.seek(**a.state)
    assert all(torch.equal(next(a).x, next(b).x) for _ in range(7))


def test_annealing_is_half_a_cosine_after_a_hold():
    trainer = trainer_of("r3gan", data_of((2,)), **{"trainer.steps": 100, "trainer.lr": 0.01})
    annealing = Annealing(hold=0.5, decay=0.1, values={"gamma": (1.0, 0.2)})

    def dials(turn):
        trainer.turn = turn
        annealing.before(trainer)
        return trainer.optimisers["generator"].param_groups[0]["lr"], trainer.game.gamma

    assert dials(0) == dials(50) == pytest.approx((0.01, 1.0))
    assert dials(75) == pytest.approx((0.0055, 0.6))  # halfway
    assert dials(100) == pytest.approx((0.001, 0.2))
    assert dials(60)[1] == pytest.approx(0.2 + 0.4 * (1 + math.cos(0.2 * math.pi)))


def test_averaging_by_its_formula():
    trainer = trainer_of("gan", data_of((1, 8, 8)), **{"generator.name": "dcgan", "discriminator.name": "dcgan"})
    averaging = averaged(trainer, half_life=40.0, share=0.5)
    batch = trainer.sampler.batch
    expected = weights(trainer.game)
    for turn in range(1, 5):
        trainer.step()
        averaging.after(trainer)
        keep = 0.5 ** (batch / min(40.0, 0.5 * turn * batch))
        for name, value in trainer.game.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * value if value.is_floating_point() else value.clone()
    for name, value in averaging.game.state_dict().items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-7), name  # float32, four turns
    assert any("running_var" in name for name in expected)  # buffers too


def test_a_planned_run_is_the_same_run():
    said = []
    plain, planned = (trainer_of("gan", data_of(), **{"trainer.steps": 5}) for _ in range(2))
    planned.callbacks.append(Plan(said.append))
    plain.run()
    planned.run()
    assert same(weights(plain.game), weights(planned.game))
    assert "5 turns of 16" in said[0] and "until" in said[0]


def test_minutes_are_kept():
    trainer = trainer_of("gan", data_of((2,)), **{"trainer.steps": 10**9})
    trainer.callbacks.append(Plan(lambda text: None, minutes=0.05))
    trainer.run()
    assert trainer.turn == trainer.steps and 1 < trainer.seconds < 9  # 3 s, on a machine that may be busy


def test_slow_trial_turns_do_not_end_a_run_early(monkeypatch):
    """The trial turns met another program: three turns were planned, and the minutes are filled all the same."""
    monkeypatch.setattr(plan, "_pace", lambda trainer: 1.0)
    trainer = trainer_of("gan", data_of((2,)), **{"trainer.steps": 10**9})
    trainer.callbacks.append(Plan(lambda text: None, minutes=0.05))
    trainer.run()
    assert 2 < trainer.seconds < 9 and trainer.turn > 30


def test_the_fakes_of_a_turn_are_drawn_once():
    trainer = trainer_of("gan", data_of((2,)))
    game, batch = trainer.game, next(trainer.sampler)
    with torch.no_grad():  # as for a held discriminator
        shown = game.shown(batch)
    assert not shown.requires_grad and torch.equal(game.shown(batch), shown)
    copy.deepcopy(game)  # does not carry the graph along
    live = game.live(batch)
    assert live.requires_grad and torch.equal(live, shown)
    assert not torch.equal(game.shown(batch), shown)  # used up: the generator moves now
    assert not torch.equal(game.live(next(trainer.sampler)), game.live(batch))


def test_divergence_is_named():
    trainer = trainer_of("gan", data_of((2,)), **{"method.cost": "maximum_likelihood"})
    with torch.no_grad():
        trainer.game.discriminator.head.bias.fill_(100.0)
    trainer.step()
    with pytest.raises(Diverged, match="turn 1: the generator's loss 'maximum_likelihood' is -inf"):
        trainer.check_losses()


def test_a_broken_run_is_still_closed():
    closed = []

    class Broken(Callback):
        def after(self, trainer):
            raise RuntimeError("broken")

        def close(self, trainer):
            closed.append(trainer.turn)

    trainer = bilinear()
    trainer.callbacks.append(Broken())
    with pytest.raises(RuntimeError):
        trainer.run()
    assert closed == [1]


@pytest.mark.parametrize("options", [{"rates": {"c": 1.0}}, {"every": {"c": 2}}, {"hold_above": {"c": 0.5}}])
def test_unknown_players_are_named(options):
    with pytest.raises(UserError, match="unknown player 'c'"):
        bilinear(**options)


def test_frozen_parameters_are_left_alone():
    trainer = trainer_of("gan", data_of((2,)))
    frozen = trainer.game.generator.body[0].requires_grad_(False)
    before = weights(frozen)
    Trainer(trainer.game, trainer.sampler).step()
    assert same(before, weights(frozen))
    trainer.game.generator.requires_grad_(False)
    with pytest.raises(UserError, match="the generator has nothing to train"):
        Trainer(trainer.game, trainer.sampler)


def test_a_parameter_cut_from_a_larger_one_learns_like_any_other():
    """Its strides have gaps, which Adam's moments would not have: a fused kernel would run over other memory."""
    class Cut(nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.weight = nn.Parameter(whole[:, :2])

        def forward(self, z, c=None):
            return z[:, :4] @ self.weight

    ends = []
    for dense in (True, False):
        trainer = trainer_of("gan", data_of((2,)))
        whole = torch.arange(24.0).reshape(4, 6).sin()
        trainer.game.generator = Cut(whole[:, :2].clone() if dense else whole)
        again = Trainer(trainer.game, trainer.sampler)
        for _ in range(3):
            again.step()
        ends.append(again.game.generator.weight)
    assert torch.equal(*ends)


# The average's own statistics


def test_batch_norm_of_a_finished_run_has_the_statistics_of_the_average():
    """The first batch norm sees W z, z ~ N(0, 1): mean 0 and the variances Σ_k W_jk², of the averaged W. From 32
    batches of 64 latents, to 5 standard errors; what was averaged on the way is off by more. The game stays as it is.
    """
    settings = {"generator.name": "dcgan", "sampler.batch": 64, "trainer.lr": 0.02, "trainer.steps": 30}
    trainer = trainer_of("gan", data_of(), **settings)
    average = averaged(trainer)
    while trainer.turn < 30:
        trainer.step()
        average.after(trainer)
    linear, norm = average.game.generator.body[:2]
    exact, n = linear.weight.square().sum(1), 32 * 64
    lagging = (norm.running_var / exact - 1).abs().max()
    before = weights(trainer.game), trainer.sampler.state, torch.get_rng_state()
    average.end(trainer)
    assert (norm.running_var / exact - 1).abs().max() < 5 * math.sqrt(2 / n) < lagging
    assert (norm.running_mean.abs() / exact.sqrt()).max() < 5 / math.sqrt(n)
    assert norm.momentum == 0.1 and not norm.training
    after = weights(trainer.game), trainer.sampler.state, torch.get_rng_state()
    assert same(before[0], after[0]) and before[1] == after[1] and torch.equal(before[2], after[2])


def test_a_batch_norm_that_is_held_in_eval_mode_is_left_alone():
    """As a network does whose statistics were learned elsewhere."""

    trainer = trainer_of("gan", data_of(), **{"generator.name": "dcgan", "trainer.steps": 1})
    held = trainer.game.generator.body[1]
    held.eval().train = lambda mode=True: held
    held.running_mean += 3
    average = averaged(trainer)
    trainer.step()
    average.after(trainer)
    average.end(trainer)
    assert (average.game.generator.body[1].running_mean == 3).all()


def test_a_run_that_was_stopped_keeps_its_average():
    trainer = trainer_of("gan", data_of(), **{"generator.name": "dcgan", "trainer.steps": 30})
    average = averaged(trainer)
    trainer.step()
    average.after(trainer)
    before = weights(average.game)
    average.end(trainer)
    assert same(before, weights(average.game))
