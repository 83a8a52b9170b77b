"""Penalties, the lazy ones and historical averaging: closed forms, and what a resumed run has to remember."""

import numpy as np
import pytest
import torch
from torch import nn

from games import data_of, same, trainer_of, weights
from ludus.data.sampler import Sampler
from ludus.errors import UserError
from ludus.game import Game, Loss, Player
from ludus.losses.history import History
from ludus.losses.penalties import PENALTIES, gradient_penalty
from ludus.trainer import Trainer

# Penalties: a critic of row-wise slopes s has E(s − 1)² two-sided, and E max(0, s − 1)² one-sided


SLOPES = torch.linspace(0, 3, 64, dtype=torch.float64)


def critic(x):
    return SLOPES * x[:, 0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r1", SLOPES.square().mean() / 2),
        ("r2", SLOPES.square().mean() / 2),
        ("gradient_penalty", (SLOPES - 1).square().mean()),
        ("gradient_penalty_one_sided", (SLOPES - 1).clamp(min=0).square().mean()),
    ],
)
def test_each_penalty_of_known_slopes(name, expected):
    x, fake = torch.randn(2, 64, 2, dtype=torch.float64)
    assert PENALTIES[name](critic, x, fake).item() == pytest.approx(expected.item(), rel=1e-12)


def test_one_sided_asks_nothing_of_a_flat_critic():
    x, fake = torch.randn(2, 8, 2)
    flat = lambda x: 0.5 * x[:, 0]  # noqa: E731
    assert gradient_penalty(flat, x, fake, one_sided=True) == 0
    assert gradient_penalty(flat, x, fake).item() == pytest.approx(0.25, rel=1e-6)


# Lazily


PENALISED = {
    "gan": {"method.penalties": {"r1": 0.3, "gradient_penalty": 0.5}},
    "wgan_gp": {"method.weight": 0.3},
}
LAZY = {"method.lazy": 3}


@pytest.mark.parametrize("method", PENALISED)
def test_a_lazy_penalty_is_n_times_the_penalty_on_every_nth_move(method):
    settings, names = PENALISED[method], set(PENALISED[method].get("method.penalties", ["penalty"]))
    eager, lazy = (trainer_of(method, data_of((2,)), dtype=torch.float64, **settings | more) for more in ({}, LAZY))
    batch = next(eager.sampler)
    due = []
    for _ in range(7):
        losses = []
        for trainer in (eager, lazy):
            torch.manual_seed(0)
            losses.append(trainer.game.players["discriminator"].loss(batch).terms)
            trainer.game._drawn = None
        due.append(names <= losses[1].keys())
        assert names <= losses[0].keys() and (due[-1] or not names & losses[1].keys())
        for name in names & losses[1].keys():
            assert losses[1][name].item() == pytest.approx(3 * losses[0][name].item(), rel=1e-12)
        lazy.players["discriminator"].after()  # a move that leads nowhere
    assert due == [False, False, True, False, False, True, False]


def test_a_look_at_a_held_player_is_no_move():
    trainer = trainer_of("gan", data_of((2,)), **{"method.lazy": 2, "method.penalties": {"r1": 1.0}})
    trainer.schedule = lambda trainer: ["generator"]
    for _ in range(3):
        trainer.step()
    assert trainer.game.lazily.moves == 0


# What a resumed run has to remember: the moves, the past, singular vectors, the reference batch

REMEMBERS = {
    "gan": {"method.penalties": {"gradient_penalty_one_sided": 1.0}, "method.lazy": 3, "method.history": 0.1},
    "wgan_gp": {"method.lazy": 3, "method.one_sided": True},
}


@pytest.mark.parametrize("method", REMEMBERS)
@pytest.mark.parametrize("stop", [1, 2, 4])
def test_resume_is_exact(method, stop):
    networks = {"generator.name": "dcgan", "generator.norm": "virtual", "generator.widths": [6, 4, 4]}
    settings = REMEMBERS[method] | networks | {"discriminator.spectral": True, "trainer.steps": 8}
    data = data_of(condition="classes")
    whole, begun, resumed = (trainer_of(method, data, **settings) for _ in range(3))
    whole.run()
    for _ in range(stop):
        begun.callbacks[0].before(begun)
        begun.step()
    tensors, numbers = begun.state()
    resumed.load({name: value.clone() for name, value in tensors.items()}, numbers)
    resumed.run()
    assert same(weights(whole.game), weights(resumed.game))
    if method == "gan":
        assert whole.game.lazily.moves == 8 and whole.game.past["generator"].count == 9


def test_nothing_is_kept_that_is_not_asked_for():
    """The weights of a plain game have no new names: older runs load."""
    game = trainer_of("gan", data_of((2,))).game
    assert {name.split(".")[0] for name in game.state_dict()} == {"generator", "discriminator"}


# Historical averaging


def test_history_is_the_squared_distance_to_the_mean_of_all_that_has_been():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 5)).to(memory_format=torch.channels_last)
    past = History(network)
    assert past(network) == 0
    seen = [torch.cat([p.detach().flatten() for p in network.parameters()])]
    for _ in range(4):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        past.moved(network)
        seen.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    off = seen[-1] - torch.stack(seen).mean(0)
    found = past(network)
    assert found.item() == pytest.approx(off.square().sum().item(), rel=1e-5)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(found, list(network.parameters()))])
    torch.testing.assert_close(slope, 2 * off, rtol=1e-4, atol=1e-5)


class Number(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))


class SalimansToy(Game):
    """min over x, max over y of (f(x) − 1)(y − 1), f(x) = x below 0, else x²; its equilibrium is (1, 1)."""

    def __init__(self, weight, start):
        super().__init__()
        self.x, self.y = map(Number, start)
        self.weight, self.past = weight, nn.ModuleDict({"x": History(self.x), "y": History(self.y)})

    @property
    def players(self):
        return {name: Player([getattr(self, name)], lambda batch, name=name: self.loss(name),
                             after=lambda name=name: self.past[name].moved(getattr(self, name)))
                for name in ("x", "y")}  # fmt: skip

    def sample(self, n, c=None):
        return self.x.value.expand(n, 1)

    def loss(self, name):
        x, y = self.x.value, self.y.value
        value = (torch.where(x < 0, x, x**2) - 1) * (y - 1)
        history = self.weight * self.past[name](getattr(self, name))
        return Loss({"game": value if name == "x" else -value, "history": history})


def played(weight, turns, start, h=0.01):
    game = SalimansToy(weight, start)
    sampler = Sampler(torch.zeros(1, 1), batch=1)
    Trainer(game, sampler, steps=turns, lr=h, optimiser="sgd", play="simultaneous").run()
    return game.x.value.item(), game.y.value.item()


def recursion(weight, turns, start, h=0.01):
    """The same in plain numbers."""
    now = np.array(start)
    past = [now]
    total = now.copy()
    for _ in range(turns):
        x, y = now
        velocity = np.array([(1 if x < 0 else 2 * x) * (1 - y), (x if x < 0 else x**2) - 1])
        now = now + h * (velocity - 2 * weight * (now - total / len(past)))
        past.append(now)
        total += now
    return tuple(now)


@pytest.mark.parametrize("start", [(1.5, 1.8), (0.5, 0.5), (-0.3, 1.2)])
def test_historical_averaging_finds_the_equilibrium_that_gradients_alone_turn_round(start):
    """The game of Salimans et al. 2016, section 3.3: 'gradient descent fails, historical averaging converges'."""
    radius = lambda point: np.hypot(point[0] - 1, point[1] - 1)  # noqa: E731
    plain, averaged = (played(weight, 3000, start) for weight in (0.0, 0.1))
    assert plain == pytest.approx(recursion(0.0, 3000, start), rel=1e-9)
    assert averaged == pytest.approx(recursion(0.1, 3000, start), rel=1e-9)
    assert radius(plain) > radius(start)  # it even spirals outwards
    assert radius(averaged) < 0.05 * radius(start)


def test_a_history_annealed_from_nothing_is_told():
    trainer = trainer_of("gan", data_of((2,)), **{"annealing.values": {"history": (0.0, 1.0)}, "annealing.hold": 0.0})
    with pytest.raises(UserError, match="history is annealed from 0"):
        trainer.run()
