"""Ways to play and to hold, on games that can be followed by hand."""

import collections
import dataclasses
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from claims.by_hand import added, assert_same, fakes, game_of
from games import METHODS, data_of, same, told, trainer_of, weights
from ludus import recipe as recipes
from ludus.data.sampler import Sampler
from ludus.errors import UserError
from ludus.game import Game, Loss, Player
from ludus.methods.gan import GAN
from ludus.methods.r3gan import R3GAN
from ludus.play import PLAYS
from ludus.trainer import Trainer
from ludus.worlds.dirac import dirac

H = 0.1


class Plane(Game):
    """Player a lowers f(x, y), player b lowers −f; x and y have n entries, f is their sum over entries."""

    def __init__(self, f, x=1.0, y=1.0, n=1):
        super().__init__()
        self.a, self.b, self.f = nn.ParameterList([torch.full((n,), x)]), nn.ParameterList([torch.full((n,), y)]), f

    @property
    def players(self):
        return {
            "a": Player([self.a], lambda batch: Loss({"f": self.f(self.a[0], self.b[0]).sum()})),
            "b": Player([self.b], lambda batch: Loss({"f": -self.f(self.a[0], self.b[0]).sum()})),
        }

    def sample(self, n, c=None):
        return torch.zeros(n, 1)


def plane(f, x=1.0, y=1.0, n=1, **options):
    sampler = Sampler(torch.zeros(2, 1), batch=1)
    return Trainer(Plane(f, x, y, n).double(), sampler, **{"optimiser": "sgd", "lr": H, **options})


def bilinear(**options):
    return plane(lambda x, y: x * y, **options)


def after(trainer, turns):
    for _ in range(turns):
        trainer.step()
    return complex(trainer.game.a[0].item(), trainer.game.b[0].item())


# min max xy, with z = x + iy: the gradient field turns z by a right angle, so a turn of each play is a factor


@pytest.mark.parametrize(
    "play, weight, factor, modulus",
    [
        ("simultaneous", 0.0, 1 + 1j * H, math.sqrt(1 + H**2)),
        ("extragradient", 0.0, 1 + 1j * H - H**2, math.sqrt(1 - H**2 + H**4)),
        ("simultaneous", 0.5, 1 + 1j * H - H * 0.5, math.sqrt((1 - H * 0.5) ** 2 + H**2)),
    ],
)
def test_a_turn_of_the_bilinear_game_is_a_factor(play, weight, factor, modulus):
    assert abs(factor) == pytest.approx(modulus, rel=1e-12)
    assert after(bilinear(play=play, consensus=weight), 20) == pytest.approx((1 + 1j) * factor**20, abs=1e-12)


def test_optimistic_play_follows_its_recursion_and_contracts_as_its_root():
    """z ← z + ih (2z − z₋₁) has the roots (1 + 2ih ± √(1 − 4h²)) / 2: the larger one rules in the end."""
    trainer, z, before = bilinear(play="optimistic"), 1 + 1j, 1 + 1j
    for _ in range(20):
        z, before = z + 1j * H * (2 * z - before), z
    assert after(trainer, 20) == pytest.approx(z, abs=1e-12)
    near, far = after(trainer, 80), after(trainer, 1)
    # the other root is |λ| < 0.12: of it, nothing is left after 100 turns
    assert abs(far) / abs(near) == pytest.approx(math.sqrt((1 + math.sqrt(1 - 4 * H**2)) / 2), rel=1e-12)
    assert abs(far) / abs(near) < 1


def test_alternating_play_of_the_bilinear_game_keeps_its_orbit():
    """x² + y² − hxy is what the turn's matrix leaves as it is."""
    z = after(bilinear(play="alternate"), 1000)
    assert z.real**2 + z.imag**2 - H * z.real * z.imag == pytest.approx(2 - H, rel=1e-9)


# A GAN of two networks, in torch's own words


def field(game, batch, w):
    """The gradients of the plain minimax GAN at weights w, differentiable, by player."""

    def logits(x):
        return functional_call(game.discriminator, w["discriminator"], (x, batch.c))

    fake = functional_call(game.generator, w["generator"], (game.prior.sample(len(batch.x)), batch.c))
    d = -(torch.sigmoid(logits(batch.x)).log() + (1 - torch.sigmoid(logits(fake))).log()).mean()
    g = (1 - torch.sigmoid(logits(fake))).log().mean()
    costs = {"discriminator": d, "generator": g}
    return {k: torch.autograd.grad(costs[k], list(w[k].values()), create_graph=True) for k in w}


def two_networks(**options):
    game, batch = game_of(GAN, cost="minimax")
    trainer = Trainer(game, Sampler(*batch, batch=len(batch.x)), **{"optimiser": "sgd", "lr": 0.3, **options})
    names = ["discriminator", "generator"]
    start = {k: {n: p.detach().clone().requires_grad_() for n, p in getattr(game, k).named_parameters()} for k in names}
    return trainer, batch, start


def stepped(w, v, h):
    return {k: {n: (p - h * g).detach().requires_grad_() for (n, p), g in zip(w[k].items(), v[k])} for k in w}


def assert_at(game, w):
    for k, entries in w.items():
        assert_same([dict(getattr(game, k).named_parameters())[n] for n in entries], list(entries.values()))


def test_extragradient_moves_from_where_it_was_along_what_it_saw_ahead():
    trainer, batch, w = two_networks(play="extragradient")
    trainer.play(trainer, list(w), batch)
    ahead = stepped(w, field(trainer.game, batch, w), 0.3)
    assert_at(trainer.game, stepped(w, field(trainer.game, batch, ahead), 0.3))


def test_extragradient_with_adam_is_extra_adam():
    """Both moves are Adam's own, with one set of moments (Gidel et al. 2019, algorithm 4)."""
    options = {"betas": (0.5, 0.9), "lr": 0.01}
    trainer, batch, w = two_networks(play="extragradient", optimiser="adam", **options)
    optimisers = {k: torch.optim.Adam(w[k].values(), **options) for k in w}
    for _ in range(3):
        trainer.play(trainer, list(w), batch)
        here = {k: {n: p.detach().clone() for n, p in w[k].items()} for k in w}
        for restore in (False, True):
            v = field(trainer.game, batch, w)
            for k in w:
                for (n, p), g in zip(w[k].items(), v[k]):
                    p.grad = g.detach()
                    if restore:
                        p.data.copy_(here[k][n])
                optimisers[k].step()
    assert_at(trainer.game, w)


def test_optimistic_play_takes_twice_the_gradient_less_the_one_before():
    trainer, batch, w = two_networks(play="optimistic")
    past = field(trainer.game, batch, w)
    for _ in range(3):
        trainer.play(trainer, list(w), batch)
        now = field(trainer.game, batch, w)
        w = stepped(w, {k: [2 * a - b for a, b in zip(now[k], past[k])] for k in w}, 0.3)
        past = now
    assert_at(trainer.game, w)


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_consensus_adds_the_gradient_of_half_the_square_of_all_gradients(name):
    """Also what the discriminator's gradient owes to the generator, by way of the generated rows."""
    weight = 0.7
    trainer, batch, w = two_networks(consensus=weight)
    v = field(trainer.game, batch, w)
    half_square = sum(g.square().sum() for gs in v.values() for g in gs) / 2
    pull = torch.autograd.grad(half_square, list(w[name].values()))
    trainer.gradient(name, batch)
    assert_same(trainer.gradients[name], added(v[name], [weight * p for p in pull]))


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_consensus_differentiates_both_sides_of_a_pairing(name):
    """R3GAN of x = 0, x̃ = θ, a = ψx: v = (θ s(ψθ), −ψ s(−ψθ)) with s the sigmoid, but the generator's x̃ alone moves."""
    theta, psi = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, -0.7))
    game = R3GAN(*dirac(), gamma=0.0).double()
    with torch.no_grad():
        game.generator.theta.fill_(theta)
        game.discriminator.psi.fill_(psi)
    trainer = Trainer(game, Sampler(torch.zeros(1, 1).double(), batch=1), lr=H, optimiser="sgd", consensus=2.0)
    v_d, v_g = theta * torch.sigmoid(psi * theta), -psi * torch.sigmoid(-psi * theta)
    mine, at = {"discriminator": (v_d, psi), "generator": (v_g, theta)}[name]
    (pull,) = torch.autograd.grad((v_d**2 + v_g**2) / 2, at)
    trainer.gradient(name, next(trainer.sampler))
    assert float(trainer.gradients[name][0]) == pytest.approx((mine + 2 * pull).item(), rel=1e-12)


def test_consensus_differentiates_both_sides_of_feature_matching():
    """|E f(x) − E f(x̃)|² in the parameters of f, which hold both means; without consensus only one is asked for."""
    game, batch = game_of(GAN, cost="feature_matching")
    game.attached, f = True, partial(game.discriminator.features, c=batch.c)
    owned = list(game.discriminator.features.parameters())
    found = torch.autograd.grad(game.players["generator"].loss(batch).total, owned)
    direct = (f(batch.x).mean(0) - f(fakes(game, batch)).mean(0)).square().sum()
    assert_same(found, torch.autograd.grad(direct, owned))


def test_without_consensus_no_gradient_leads_from_the_discriminator_to_the_generator():
    trainer, batch, _ = two_networks()
    assert not trainer.game.shown(batch).requires_grad and fakes(trainer.game, batch).isfinite().all()
    trainer, batch, _ = two_networks(consensus=0.1)
    assert trainer.game.shown(batch).requires_grad


# Every way of playing, for every method: runs on exactly, and looks where it says it does

WAYS = {play: {"trainer.play": play} for play in PLAYS} | {
    "consensus": {"trainer.consensus": 0.1},
    "hold_below": {"trainer.hold_below": {"discriminator": 0.9, "generator": 0.9}},
    "balance": {"trainer.balance": 1e-3},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_the_uninterrupted_one(method, way):
    trunk = next(role for role in ("discriminator", "encoder", "labeller") if role in recipes.of_data(method))
    settings = WAYS[way] | {"trainer.steps": 12, f"{trunk}.name": "dcgan", f"{trunk}.widths": [4, 6]}
    data = data_of(condition=told(method, "values"), n=32)
    if way == "hold_below":
        players = list(trainer_of(method, data).players)
        settings["trainer.hold_below"] = dict.fromkeys([players[0], players[-1]], 0.9)
    if way == "balance" and not trainer_of(method, data).game.cross_entropies:
        pytest.skip("it weighs the two cross-entropies of a discriminator")
    whole, half, rest = (trainer_of(method, data, **settings) for _ in range(3))
    whole.run()
    for _ in range(5):
        for callback in half.callbacks:
            callback.before(half)
        half.step()
    tensors, numbers = half.state()
    rest.load({name: torch.from_numpy(t.detach().clone().numpy()) for name, t in tensors.items()}, numbers)
    rest.run()
    assert same(weights(whole.game), weights(rest.game))
    assert whole.losses.keys() == rest.losses.keys()
    for name, loss in whole.losses.items():
        assert all(torch.equal(value, rest.losses[name].terms[key]) for key, value in loss.terms.items())
    whole.check_finite()


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"balance"}))  # which holds nobody in so few turns
def test_every_way_is_one_of_its_own(way):
    ends = {name: weights(run(settings).game) for name, settings in WAYS.items() if name in (way, "alternate")}
    assert way == "alternate" or not same(ends[way], ends["alternate"])


def run(settings):
    trainer = trainer_of("gan", data_of((2,)), **{"trainer.steps": 6, **settings})
    trainer.run()
    return trainer


def test_a_clipped_critic_stays_in_its_box_while_it_looks_ahead():
    """Extragradient of a constrained game projects both moves."""
    trainer = trainer_of("wgan", data_of((2,)), **{"trainer.play": "extragradient", "trainer.lr": 0.1})
    critic, seen = trainer.players["discriminator"], []

    def loss(batch):
        seen.append(max(p.abs().max().item() for p in critic.parameters))
        return critic.loss(batch)

    trainer.players["discriminator"] = dataclasses.replace(critic, loss=loss)
    for _ in range(3):
        trainer.step()
    assert max(seen[1:]) <= 0.01 and len(seen) == 6  # two looks a turn


def test_a_lazy_penalty_and_a_history_count_what_extragradient_plays_not_what_it_tries():
    settings = {"method.penalties": {"r1": 1.0}, "method.lazy": 2, "method.history": 0.1, "trainer.steps": 6}
    trainer = trainer_of("gan", data_of((2,)), **settings, **{"trainer.play": "extragradient"})
    penalised, mean = [], trainer.game.past["generator"].mean.clone()
    for turn in range(6):
        trainer.step()
        penalised.append("r1" in trainer.losses["discriminator"].terms)
        flat = torch.cat([p.detach().flatten() for p in trainer.parameters["generator"]])
        mean += (flat - mean) / (turn + 2)
        torch.testing.assert_close(trainer.game.past["generator"].mean, mean)
    assert penalised == [False, True] * 3


def test_batch_statistics_follow_every_look():
    trainer = trainer_of("gan", data_of(), **{"generator.name": "dcgan", "trainer.play": "extragradient"})
    trainer.step()
    counts = [b.item() for name, b in trainer.game.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts and set(counts) == {2}


# Schedules


def test_a_player_is_held_while_its_gradient_is_small_beside_the_others():
    """|∂f/∂y| = |x| and |∂f/∂x| = |y| on min max xy: b is held while |x| < 0.8 |y|, as this recursion says."""
    trainer, (x, y), moved = bilinear(play="simultaneous", hold_below={"b": 0.8}), (1.0, 1.0), []
    seen = None
    for _ in range(60):
        held = seen is not None and seen[0] < 0.8 * seen[1]
        seen = abs(x), abs(y)
        x, y = x - H * y, y if held else y + H * x
        moved.append(not held)
        trainer.step()
        assert (trainer.game.a[0].item(), trainer.game.b[0].item()) == pytest.approx((x, y), rel=1e-12)
    assert moved[0] and [went for went, _ in itertools.groupby(moved)][:3] == [True, False, True]  # it comes back


@pytest.mark.parametrize(
    ("real", "fake", "moves"),
    [
        (0.69, 0.69, {"discriminator", "generator"}),
        (0.30, 0.69, {"generator"}),  # the discriminator is sure of one kind
        (0.69, 1.10, {"discriminator"}),  # or is fooled
        (0.30, 1.10, {"discriminator", "generator"}),  # both would wait
        (0.35, 1.03, {"discriminator", "generator"}),  # just within 0.35 of log 2
    ],
)
def test_the_stronger_side_waits(real, fake, moves):
    """Larsen et al. 2016's gate, at their margin; whoever is no side of the game moves on each turn."""
    trainer = trainer_of("vae_gan", data_of((2,)), **{"trainer.balance": 0.35})
    assert trainer.schedule(trainer) == list(trainer.players)  # nothing is known yet
    terms = {"real": torch.tensor(real), "fake": torch.tensor(fake)}
    trainer.losses["discriminator"] = Loss(terms)
    assert set(trainer.schedule(trainer)) == moves | {"encoder"}


def test_a_balance_needs_two_sides_with_their_costs():
    for method, settings in (("vae", {}), ("r3gan", {}), ("wgan", {}), ("gan", {"method.cost": "hinge"})):
        with pytest.raises(UserError, match="cross-entropies for costs"):
            trainer_of(method, data_of((2,)), **{"trainer.balance": 0.35, **settings})
    with pytest.raises(UserError, match="below log 2"):
        trainer_of("gan", data_of((2,)), **{"trainer.balance": 0.7})


def test_norms_are_measured_only_where_they_decide():
    assert "gradient" not in run({}).losses["generator"].seen
    seen = run({"trainer.hold_below": {"discriminator": 1e-9}}).losses["generator"].seen
    assert seen["gradient"] > 0


def test_a_turn_that_would_hold_everybody_holds_nobody():
    """Limits above one for both: each waits for the other, and the game would stand still for good."""
    trainer = bilinear(hold_below={"a": 3.0, "b": 30.0})
    moves = collections.Counter()
    trainer.move = lambda name, move=trainer.move: (move(name), moves.update([name]))
    for _ in range(20):
        trainer.step()
    assert min(moves["a"], moves["b"]) > 5


def test_a_player_to_hold_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="critic"):
        trainer_of("gan", data_of((2,)), **{"trainer.hold_below": {"critic": 0.1}})


# Two time scales (Heusel et al. 2017): f = (1 + x²)(100 − y²), x lowers it, y raises it, unit noise on each gradient


def saddle(rate_x, rate_y, turns, n=1000):
    """x and y of n runs that differ by their noise."""
    noisy = lambda x, y: (1 + x**2) * (100 - y**2) + torch.randn_like(x) * x + torch.randn_like(y) * y  # noqa: E731
    trainer = plane(noisy, 0.5, -0.4, n, rates={"a": rate_x, "b": rate_y}, steps=turns)
    trainer.run()
    return trainer.game.a[0].detach(), trainer.game.b[0].detach()


@pytest.mark.parametrize("rate_x, rate_y", [(1e-4, 1e-2), (1e-3, 1e-2), (2e-3, 2e-2)])
def test_each_rate_settles_its_own_player(rate_x, rate_y):
    """Near the saddle x ← (1 − 200 h) x + h ε and y ← (1 − 2 h) y + h ε: a stationary variance h² / (1 − a²) each."""
    n = 1000
    for found, h, curvature in zip(saddle(rate_x, rate_y, 600, n), (rate_x, rate_y), (200, 2)):
        variance = h**2 / (1 - (1 - curvature * h) ** 2)
        se = variance * math.sqrt(2 / n)
        # the start has decayed by e^-12 at least; y² ≤ 0.01 shifts the curvature of x, and x² that of y, by 1 % at most
        assert found.square().mean().item() == pytest.approx(variance, abs=4 * se + 0.01 * variance)


def test_one_rate_for_both_leaves_the_stiff_player_wandering():
    """h = 0.01 makes the multiplier of x exactly −1 at y = 0: nothing pulls it back, its noise adds up turn by turn."""
    n, turns = 1000, 600
    x, y = saddle(1e-2, 1e-2, turns, n)
    # the multiplier is −(1 − 0.02 y²); Σ y² over the turns is 4.04 from the start and 1.5 from noise
    kept = math.exp(-2 * 0.02 * (0.16 / (1 - 0.98**2) + turns * 0.01**2 / (1 - 0.98**2)))
    se = math.sqrt(2 / n)
    assert x.square().mean().item() > (0.25 + turns * 0.01**2) * kept * (1 - 4 * se)
    assert y.square().mean().item() < 0.01
