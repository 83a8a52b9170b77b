"""The doctor: what it measures against closed forms, what it names, and that it leaves the game alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from games import GAMES, data_of, recipe_of, same, trainer_of, weights
from ludus import cli, session
from ludus import recipe as recipes
from ludus.data.load import load
from ludus.doctor import findings as doctor
from ludus.doctor import measure
from ludus.doctor.findings import findings
from ludus.doctor.measure import Gauge
from ludus.doctor.watch import Doctor
from ludus.errors import Diverged, Interrupted, UserError
from ludus.game import Batch, Game, Loss, Player
from ludus.report.page import Section, page
from ludus.runs import journal, store
from test_resume import assert_same, everything, play


class Times(nn.Module):
    """Its weight times what it is given, or times the first column of that."""

    def __init__(self, weight, first=False):
        super().__init__()
        self.weight, self.first = nn.Parameter(torch.tensor(weight)), first

    def forward(self, x, c=None):
        return self.weight * (x[:, 0] if self.first else x)


class Line(Game):
    """x̃ = scale · z, a(x) = slope · x₁; the generator lowers −a, or a where real data are low."""

    def __init__(self, scale=1.0, slope=1.0, low=False):
        super().__init__()
        self.generator, self.discriminator, self.real_is_high = Times(scale), Times(slope, first=True), not low

    @property
    def players(self):
        return {
            "discriminator": Player([self.discriminator], lambda batch: Loss({"a": self.a(batch.x, batch.c)})),
            "generator": Player([self.generator], lambda batch: Loss({"a": -self.a(self.live(batch), batch.c)})),
        }

    def a(self, x, c):
        return (1 if self.real_is_high else -1) * self.discriminator(x, c=c).mean()

    def sample(self, n, c=None):
        return self.generator(torch.randn(n, 2), c)


N = 2048
normal = lambda n, seed: torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))  # noqa: E731


@pytest.fixture
def many(monkeypatch):
    """More rows than a run would look at, for small standard errors."""
    monkeypatch.setattr(measure, "PAIRS", N)


def gauge(shift=0.0):
    """Of data N((shift, 0), 1)."""
    real, held = (normal(4 * N, seed) + torch.tensor([shift, 0.0]) for seed in (1, 2))
    return Gauge(Batch(real), Batch(held), N)


def test_distance_and_spread_of_a_point_and_of_the_data(many):
    """E|y| = √(π/2) and E|y − y'| = √π in the plane, so a point at the mean has energy √2 − 1 and no spread."""
    point, equal = (gauge().measure(Line(scale)) for scale in (0.0, 1.0))
    # sd |y| = √(2 − π/2); the mean over N rows, and R of as many, are each known to 0.655/√N of 1.25
    error = math.sqrt(2 - math.pi / 2) / math.sqrt(N)
    assert point["spread"] == 0
    assert point["energy"] == pytest.approx(math.sqrt(2) - 1, abs=4 * 2 * error)
    assert equal["energy"] == pytest.approx(0, abs=4 * 2 * error)
    assert equal["spread"] == pytest.approx(1, abs=4 * 2 * error)


def test_what_the_discriminator_tells(many):
    """a = x₁ of N(1, 1) exceeds that of N(0, 1) with probability Φ(1/√2); a critic that is low on real data, too."""
    exact = (1 + math.erf(0.5)) / 2
    high, low = gauge(1.0).measure(Line()), gauge(1.0).measure(Line(slope=-1.0, low=True))
    assert high["told"] == pytest.approx(exact, abs=4 * 0.5 / math.sqrt(N))  # the sd of a share is at most ½/√n
    assert low["told"] == high["told"]
    assert high["memory"] == pytest.approx(0.5, abs=4 / math.sqrt(6 * N))  # Mann and Whitney: sd 1/√(12) · √(2/n)


def test_what_reaches_the_generator(many):
    """L = −E a has slope 1 in each logit; a = s x₁ makes that s in each sample, here per R, which is √π."""
    found = gauge().measure(Line(slope=-3.0))
    assert found["slope"] == pytest.approx(1, abs=1e-3)  # four digits are kept
    assert found["force"] / 3 == pytest.approx(math.sqrt(math.pi), abs=4 * 2 * 0.655 / math.sqrt(N))
    assert found["logit"] > 3  # N draws of 3 N(0, 1), per R = √π


def test_the_logits_slope_of_each_cost_is_the_lectures():
    """minimax −σ(a), heuristic −σ(−a), maximum likelihood −eᵃ: taken by the doctor from the game itself."""
    for cost, slope in [("minimax", torch.sigmoid), ("heuristic", lambda a: torch.sigmoid(-a)),
                        ("maximum_likelihood", torch.exp)]:  # fmt: skip
        trainer = trainer_of("gan", data_of((2,)), **{"method.cost": cost})
        batch = next(trainer.sampler)
        _, loss, a, alone = measure.contested(trainer.game, batch)
        (by_a,) = torch.autograd.grad(loss, a)
        assert alone and torch.allclose(-by_a * len(a), slope(a), atol=1e-6)


def test_cells_hold_all_modes_of_the_ring():
    """20 cells of eight narrow modes: none holds two modes, so a generator of three modes misses the other five."""
    angle = torch.arange(8) * math.pi / 4
    modes = torch.stack([angle.cos(), angle.sin()], 1)
    x = modes[torch.arange(800) % 8] + 0.01 * normal(800, 0)
    centres = measure.centres(x, 20, torch.Generator().manual_seed(0))
    assert torch.cdist(centres, modes).min(1).values.max() < 0.05
    seen = {"cells": measure._histogram(x, centres).tolist(), "visits": measure._histogram(x[x[:, 0] > 0.5], centres)}
    assert doctor.missed([seen]) == pytest.approx(5 / 8, abs=1e-6)


def test_alike_is_the_distance_within_classes():
    """Two classes at ±1 of sd 0.1: equal c is 0.1 · 2/√π apart, any two rows are about half 2 and half that."""
    draws, c = normal(400, 0)[:, :1], torch.eye(2)[torch.arange(400) % 2]
    x = 0.1 * draws + 2 * c[:, :1] - 1
    near, tells = measure.alike(x, c)
    within = 0.1 * 2 / math.sqrt(math.pi)
    assert near == pytest.approx(within, rel=0.2)  # 200 rows a class: 4 sd of a mean of |N| over as many
    assert tells == pytest.approx(1 - within / (1 + within / 2), rel=0.05)


def watched(method, data, **settings):
    """A trainer and the doctor that watches it, on every tenth turn."""
    trainer = trainer_of(method, data, **settings)
    c = None if data.c is None else torch.from_numpy(data.c)
    real = Batch(torch.from_numpy(data.x), c)
    trainer.callbacks.append(Doctor("no such file", real, real, lambda text: None, every=10))
    return trainer


@pytest.mark.parametrize(("method", "condition"), GAMES)
def test_watching_changes_nothing(method, condition):
    data, turns = data_of(condition=condition), {"trainer.steps": 21}
    alone, seen = trainer_of(method, data, **turns), watched(method, data, **turns)
    alone.run()
    seen.run()
    assert same(weights(alone.game), weights(seen.game))
    first, second = (row["doctor"] for row in seen.callbacks[-1].rows)
    assert first.keys() == second.keys() >= {"energy", "spread", "cells", "visits", "gradient"}
    assert ("force" in first) == ({"generator", "discriminator"} <= set(seen.players))
    moving = {name for name in seen.players if seen.stages.get(name, (0, 1))[0] == 0}  # in the first turns
    assert first["gradient"].keys() == moving and first != second
    assert all(math.isfinite(value) for value in first.values() if isinstance(value, float))
    judged = "force" in first and recipes.METHODS[method].sees == "x"  # pairs (x, z) cannot be judged without their z
    assert ("told" in first) == judged


def test_a_players_norm_is_that_of_the_gradient_it_follows():
    """Plain gradient steps: the norm of the step over the rate."""
    trainer = watched("gan", data_of((2,)), **{"trainer.optimiser": "sgd", "trainer.lr": 0.01, "trainer.steps": 10})
    before = {}

    class Before(type(trainer.callbacks[0])):
        def before(self, trainer):
            before.update({name: [p.detach().clone() for p in trainer.parameters[name]] for name in trainer.players})

    trainer.callbacks.insert(0, Before())
    trainer.run()
    for name, norm in trainer.callbacks[-1].entry["doctor"]["gradient"].items():
        moved = math.sqrt(sum((p.detach() - q).square().sum() for p, q in zip(trainer.parameters[name], before[name])))
        assert norm == pytest.approx(moved / 0.01, rel=1e-3)


# Findings

FINE = {"told": 0.6, "slope": 0.5, "force": 1.0, "logit": 2.0, "memory": 0.5, "energy": 0.05, "spread": 1.0,
        "cells": [0.25] * 4, "visits": [0.25] * 4, "response": 0.8, "within": 1.0, "tells": 0.3}  # fmt: skip
ONE = {"visits": [1.0, 0, 0, 0]}
ILL = {
    doctor.VANISHING: {"told": 1.0, "slope": 1e-4, "energy": 0.5, "spread": 0.03},
    doctor.CONDITION: {"response": 0.0, "told": 1.0, "energy": 0.5},
    doctor.LATENT: {"within": 0.0, **ONE},
    doctor.OVERPOWERING: {"told": 1.0, "slope": 1.0, "energy": 0.5, "spread": 0.03},
    doctor.OVERPOWERED: {"told": 0.1, "energy": 2.0, "spread": 0.1},
    doctor.OVERFITTING: {"memory": 0.85},
    doctor.COLLAPSE: {"spread": 0.01, "energy": 0.6, "told": 0.9, **ONE},
    doctor.PARTIAL: {"visits": [0.5, 0.5, 0, 0]},
}


def rows(*changes, every=50):
    return [{"turn": every * i, "doctor": FINE | {"moves": every * i} | change} for i, change in enumerate(changes, 1)]


@pytest.mark.parametrize("name", ILL)
def test_each_illness_is_named_alone(name):
    """What follows from it is not named beside it."""
    found = findings(rows(*[ILL[name]] * 10))
    assert [(each.name, each.turn, each.until) for each in found] == [(name, 350, 500)]
    assert found[0].evidence and found[0].advice


def test_hopping_is_named_beside_the_collapse():
    there = [ILL[doctor.COLLAPSE] | {"visits": [1.0 * (i % 4 == k) for k in range(4)]} for i in range(10)]
    assert {each.name for each in findings(rows(*there))} == {doctor.COLLAPSE, doctor.HOPPING}


def test_the_healthy_are_called_so():
    (found,) = findings(rows(*[{}] * 10))
    assert found.name == doctor.HEALTHY and "60%" in found.evidence
    assert findings([]) == [] == findings([{"turn": 10, "losses": {}}])


def test_a_game_without_a_discriminator_is_judged_by_its_samples():
    without = {"told", "slope", "force", "logit", "memory", "response", "within", "tells"}
    bare = lambda change: {k: v for k, v in (FINE | change).items() if k not in without}  # noqa: E731
    for change, name in [({}, doctor.HEALTHY), (ILL[doctor.COLLAPSE], doctor.COLLAPSE)]:
        (found,) = findings([{"turn": 50 * i, "doctor": bare(change) | {"moves": 50 * i}} for i in range(1, 11)])
        assert found.name == name


def test_who_is_still_learning_is_not_called_collapsed():
    """Samples that come nearer or spread out, as those of every game at first."""
    nearer = [ILL[doctor.COLLAPSE] | {"energy": 2 * 0.8**i} for i in range(10)]
    wider = [ILL[doctor.COLLAPSE] | {"spread": 0.01 * 1.2**i} for i in range(10)]
    for game in (nearer, wider):
        assert [each.name for each in findings(rows(*game))] == [doctor.HEALTHY]
    running_away = [ILL[doctor.OVERPOWERED] | {"spread": 2 * 1.2**i} for i in range(10)]
    assert [each.name for each in findings(rows(*running_away))] == [doctor.OVERPOWERED]


def test_what_comes_back_is_another_finding():
    found = findings(rows(*[ILL[doctor.OVERFITTING]] * 8, *[{}] * 4, *[ILL[doctor.OVERFITTING]] * 8))
    assert [(each.name, each.turn, each.until) for each in found] == [
        (doctor.OVERFITTING, 350, 450), (doctor.OVERFITTING, 750, 1000),
    ]  # fmt: skip


@pytest.mark.parametrize("change", [{"spread": 1e3}, {"logit": 1e6}, {"energy": math.nan}, {"logit": math.inf}])
def test_divergence_is_named_at_once(change):
    found = findings(rows({}, ILL[doctor.COLLAPSE] | change))
    assert [(each.name, each.turn) for each in found] == [(doctor.DIVERGENCE, 100)]


def test_a_run_that_ended_in_nan_is_called_diverged():
    found = findings([*rows({}), {"turn": 60, "event": "turn 60: a loss is nan", "diverged": True}])
    assert [(each.name, each.evidence) for each in found] == [(doctor.DIVERGENCE, "turn 60: a loss is nan")]


# At a run

SMALL = {"doctor.every": 10, "snapshot.count": 0, "checkpoint.seconds": 1e9}
STRONG = SMALL | {"trainer.rates": {"generator": 1e-6, "discriminator": 1e-2}, "trainer.steps": 240,
                  "discriminator.width": 32}  # fmt: skip
TWO = np.repeat([[1.0, 1.0], [-1.0, -1.0]], 256, 0) + 0.1 * np.random.default_rng(0).normal(size=(512, 2))


@pytest.mark.parametrize("mode", ["watch", "act"])
def test_resume_is_exact(mode, tmp_path):
    """Before the act, after it, and with an act between: weights, periods and lines are those of the whole run."""
    data = load(TWO, held_out=0.1)
    recipe = recipe_of("gan", data, **STRONG, **{"doctor.mode": mode})
    play(tmp_path / "whole", recipe, data)
    whole = everything(tmp_path / "whole")
    assert sum("doctor" in row for row in whole[2]) == 24
    acts = [row["event"] for row in whole[2] if "event" in row]
    assert len(acts) == (mode == "act") and ("doctor/acted" in whole[0]) == (mode == "act")
    for stop_at in (95, 230):
        path = tmp_path / str(stop_at)
        with pytest.raises(Interrupted):
            play(path, recipe, data, stop_at)
        play(path, recipe, data)
        assert_same(everything(path), whole)
    found = findings(journal.read(tmp_path / "whole" / "metrics.jsonl"))
    assert [each.name for each in found] == [doctor.OVERPOWERING]


def test_an_act_halves_the_moves_of_the_strong_player(tmp_path):
    data = load(TWO, held_out=0.1)
    recipe = recipe_of("gan", data, **STRONG, **{"doctor.mode": "act"})
    play(tmp_path / "run", recipe, data)
    assert "discriminator now moves once in 2 turns, before in 1" in str(journal.read(tmp_path / "run/metrics.jsonl"))
    trainer = session.trainer_of(tmp_path / "run", recipe, data, None)
    kept = store.load(tmp_path / "run")
    trainer.load({name: torch.from_numpy(value) for name, value in kept.tensors.items()}, kept.state)
    trainer.steps += 4
    moves = []
    trainer.move = lambda name, move=trainer.move: (move(name), moves.append(name))
    trainer.run()
    assert 2 * moves.count("discriminator") == moves.count("generator") > 0  # trial turns included


def test_an_act_first_gives_the_weak_player_its_moves_back():
    trainer = watched("wgan", data_of((2,)), **{"trainer.steps": 1})
    (watching,) = (each for each in trainer.callbacks if isinstance(each, Doctor))
    finding = doctor.Finding(doctor.OVERPOWERING, 0, 0, "", "")
    periods = []
    while watching._act(trainer, finding):
        periods.append((trainer.players["generator"].every, trainer.players["discriminator"].every))
    assert periods == [(2, 1), (1, 1), (1, 2), (1, 4), (1, 8), (1, 16)]
    assert watching._act(trainer, finding._replace(name=doctor.CONDITION)) == ""  # no schedule helps there


def test_a_diverging_run_is_ended_by_the_doctor(tmp_path):
    data = data_of((2,), n=512)
    recipe = recipe_of("gan", data, **SMALL, **{"trainer.lr": 100.0, "trainer.steps": 200})
    with pytest.raises(Diverged, match=r"times as wide as the data, .* after a rollback too"):
        play(tmp_path / "run", recipe, data)
    found = findings(journal.read(tmp_path / "run" / "metrics.jsonl"))
    assert found[-1].name == doctor.DIVERGENCE and "times as wide" in found[-1].evidence


def test_it_can_be_off(tmp_path):
    data = data_of((2,), n=512)
    play(tmp_path / "run", recipe_of("gan", data, **SMALL, **{"doctor.mode": "off", "trainer.steps": 20}), data)
    assert not any("doctor" in row for row in journal.read(tmp_path / "run" / "metrics.jsonl"))


def test_its_lines_are_those_of_the_log():
    with pytest.raises(UserError, match="a multiple of 10"):
        Doctor("x", None, None, print, every=25)


@pytest.mark.parametrize("settings, name", [
    ({"method.cost": "minimax", "trainer.rates": {"discriminator": 2e-3, "generator": 1e-5}}, doctor.VANISHING),
    ({"method.penalties": {"r1": 0.1}}, doctor.HEALTHY),
])  # fmt: skip
def test_a_planted_illness_and_a_healthy_run(settings, name, tmp_path):
    """Two of the cases of benchmarks/doctor_battery.py, as a user would meet them."""
    import ludus

    run = ludus.train("gan", "ring", steps=500, run=tmp_path / "run",
                      settings={"data.n": 5000, "snapshot.count": 0, **settings})  # fmt: skip
    assert [each.name for each in findings(journal.read(run.folder / "metrics.jsonl"))] == [name]
    assert name in (run.folder / "report.html").read_text()


def test_the_report_escapes():
    shown = page("t", [Section("run", findings=[doctor.Finding("<ill>", 350, 500, "a & b", "rest")])])
    assert "<b>&lt;ill&gt;</b>, turns 350 to 500: a &amp; b. rest" in shown


# The command line


@pytest.fixture
def ludus(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["ludus", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    return call


def test_diagnose(ludus, tmp_path):
    np.save("x.npy", np.random.default_rng(0).normal(size=(400, 2)).astype("float32"))
    quick = ["--data", "x.npy", "--steps", 50, "--set", "snapshot.count=0"]
    assert ludus("train", "gan", *quick, "--run", "a")[0] == 0
    code, out, _ = ludus("diagnose", "a")
    assert code == 0 and out.startswith("healthy (turn 50)\n")
    assert ludus("train", "gan", *quick, "--run", "b", "--doctor", "off")[0] == 0
    code, _, err = ludus("diagnose", "b")
    assert code == 2 and "nothing was measured of b" in err
    code, _, err = ludus("train", "gan", *quick, "--doctor", "nurse")
    assert code == 2 and "doctor.mode" in err and "act" in err
    code, _, err = ludus("diagnose", "nowhere")
    assert code == 2 and "not a run" in err


def test_rows_that_come_again_are_no_neighbours():
    """20 rows, and c that says nothing of them: no row may be its own nearest, at a distance of nothing."""
    x, c = normal(20, 0), torch.randn(20, 1, generator=torch.Generator().manual_seed(1))
    found = Gauge(Batch(x, c), Batch(x[:0]), 5)
    exact = torch.cdist(x, x).sum() / (20 * 19)
    assert float(found.distance) == pytest.approx(float(exact), rel=1e-5)
    assert abs(float(found.tells)) < 0.5  # 20 distances to one neighbour each: 4 sd of 0.5/√20


def test_distances_far_from_zero():
    """The energy of data at 10⁵ with themselves is that at 0: a matrix product in float32 would lose it."""
    x = normal(500, 0)
    near, far = (Gauge(Batch(x + at), Batch(x[:0]), 100) for at in (0.0, 1e5))
    assert float(far.distance) == pytest.approx(float(near.distance), rel=0.01)  # float32 steps of 1/128 at 10⁵


def test_a_fooled_least_squares_discriminator_does_not_tell():
    """Beyond the label, 1, the generator's cost pulls back; what is more real does not turn round with it."""
    game = trainer_of("gan", data_of((2,)), **{"method.cost": "least_squares"}).game
    game.discriminator = Times(1.0, first=True)
    game.generator = Constant(1.5)
    real = Batch(torch.ones(64, 2))
    assert Gauge(real, real, 64).measure(game)["told"] == 0


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, z, c=None):
        return self.value.expand(len(z), 2)


def test_divergence_is_seen_at_the_last_look_whatever_was_moved():
    """An act that halves a player's moves does not hide the look at which everything flies apart."""
    calm = {"moves": 200, "energy": 0.1, "spread": 1.0, "logit": 1.0, "cells": [1.0], "visits": [1.0]}
    rows = [{"turn": 200, "doctor": calm}, {"turn": 250, "doctor": calm | {"moves": 125, "spread": 1e6}}]
    assert [each.name for each in doctor.now(rows)] == [doctor.DIVERGENCE]


@pytest.mark.parametrize(("beta", "named"), [(100.0, doctor.POSTERIOR), (1.0, doctor.HEALTHY)])
def test_a_posterior_that_collapsed_is_named(beta, named):
    trainer = trainer_of("vae", load("digits", held_out=0.0), **{"method.beta": beta, "trainer.steps": 400})
    real = Batch(trainer.sampler.x)
    watching = Doctor("no such file", real, real, lambda text: None)
    trainer.callbacks.append(watching)
    trainer.run()
    assert {each.name for each in findings(watching.rows)} == {named}
    last, kl = watching.rows[-1]["doctor"], trainer.game.posterior(real.x).kl().sum(1).detach()
    error = float(kl.std()) / math.sqrt(measure.ROWS)
    assert last["nats"] == pytest.approx(float(kl.mean()), abs=4 * error + 1e-4)
    assert sum(last["kl"]) == pytest.approx(last["nats"], abs=1e-3 * len(last["kl"]))
    assert last["active"] == (0 if beta > 1 else trainer.game.prior.dimension)
