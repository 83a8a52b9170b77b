"""Runs from Python: the user's own networks, recipes, folders, and what may go wrong with them."""

import copy
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ludus
from games import data_of, recipe_of, same, weights
from ludus import recipe as recipes
from ludus import session
from ludus.callbacks.plan import Plan
from ludus.errors import Interrupted, UserError
from ludus.runs import folder, journal, store

QUICK = {"snapshot.count": 0}


class MyGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(64, 30)

    def forward(self, z, c=None):
        return self.dense(z).reshape(-1, 1, 6, 5).tanh()


class MyDiscriminator(nn.Module):
    def __init__(self, *between):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(30, 8), *between, nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def forward(self, x, c=None):
        return self.layers(x).squeeze(1)


@pytest.fixture
def x():
    return np.random.default_rng(0).random((40, 6, 5))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(method, x, run="run", steps=4, settings=None, **more):
    return ludus.train(method, x, steps=steps, run=run, settings=QUICK | (settings or {}), **more)


def test_own_networks_are_used_and_left_to_their_owner(x):
    mine = {"generator": MyGenerator(), "discriminator": MyDiscriminator()}
    run = train("gan", x, **mine)
    trained = weights(mine["generator"])
    drawn = run.sample(3)
    assert all(p.requires_grad for p in mine["generator"].parameters())
    train("gan", x, "second", **mine)  # goes on with the same modules
    assert not same(trained, weights(mine["generator"]))
    assert np.array_equal(run.sample(3), drawn)  # and the first run does not notice
    other = MyGenerator()
    before = weights(other)
    assert np.array_equal(ludus.load("run", generator=other, discriminator=MyDiscriminator()).sample(3), drawn)
    assert same(before, weights(other))
    with pytest.raises(UserError, match="generator is one of your own: hand it over again"):
        ludus.load("run")
    assert "ludus.resume('run', steps=8, data=data, generator=generator" in (run.folder / "report.html").read_text(
    ).replace("&#x27;", "'")


@pytest.mark.parametrize(
    "modules, message",
    [({"generator": MyGenerator}, "generator must be a torch.nn.Module"),
     ({"generatr": MyGenerator()}, "Did you mean 'generator'"),
     ({"generator": nn.Linear(64, 30)}, "c=None"),
     ({"discriminator": MyDiscriminator(nn.BatchNorm1d(8))}, "batch norm")],
)  # fmt: skip
def test_networks_that_do_not_fit(x, modules, message):
    with pytest.raises(UserError, match=message):
        train("r3gan", x, **modules)
    assert not os.path.exists("run")  # nothing was begun, and nothing is left


def test_a_parameter_without_use_is_named(x):
    mine = MyGenerator()
    mine.spare = nn.Parameter(torch.zeros(3))
    with pytest.raises(UserError, match=r"generator's loss does not depend on generator\.spare"):
        train("gan", x, generator=mine)


def test_the_caller_is_not_disturbed(x):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train("gan", x)
    ludus.load("run").sample(2)
    ludus.resume("run", steps=6, data=x)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        train("gan", x, "second")


def test_a_recipe_begins_the_same_run_again(x):
    first = train("gan", x, settings={"method.cost": "minimax"}, seed=5)
    again = ludus.train(recipe=first.folder / "recipe.toml", data=x, run="second")
    assert again.recipe["method"] == {"name": "gan", "cost": "minimax"}
    assert np.array_equal(first.sample(4), again.sample(4))


def test_what_befell_a_run_is_not_part_of_the_next(x):
    recipe = train("gan", x).recipe | {"rollbacks": 1}
    assert "rollbacks" not in ludus.train(recipe=recipe, data=x, run="second").recipe


def test_a_number_that_the_user_gave_is_not_annealed(x):
    recipe = train("r3gan", x, settings={"method.gamma": 3.0}).recipe
    assert recipe["method"]["gamma"] == 3.0 and recipe["annealing"]["values"] == {}


def test_files_are_found_from_anywhere(x, monkeypatch, tmp_path):
    np.save("x.npy", x)
    train("gan", "x.npy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ludus.resume("../run", steps=6).turn == 6


def test_a_refused_resume_changes_nothing(x):
    train("gan", x)
    before = store.turns(Path("run")), Path("run/recipe.toml").read_text()
    with pytest.raises(UserError):
        ludus.resume("run", steps=8)
    assert (store.turns(Path("run")), Path("run/recipe.toml").read_text()) == before


def test_a_refused_option_leaves_no_folder(x):
    with pytest.raises(UserError, match="batch 1000"):
        train("gan", x, batch=1000)
    assert not os.path.exists("run")
    assert train("gan", x).turn == 4


@pytest.mark.parametrize("name", ["data.json", "examples.safetensors"])
def test_damaged_files_are_named(x, name):
    train("gan", x)
    with open(f"run/{name}", "w") as file:
        file.write("{")
    with pytest.raises(UserError, match="missing or damaged"):
        ludus.load("run")
    with pytest.raises(UserError, match="missing or damaged"):
        ludus.resume("run", steps=8, data=x)


def test_edited_recipes_are_noticed(x):
    train("r3gan", x)
    written = recipes.read(Path("run/recipe.toml"))

    def edited(recipe):
        folder.write(Path("run/recipe.toml"), recipes.text(recipe))

    edited({key: value for key, value in written.items() if key != "generator"})
    with pytest.raises(UserError, match="lacks generator"):
        ludus.load("run")
    edited(recipes.nest({"generator.width": 20}, written))
    with pytest.raises(UserError, match="does not fit the networks"):
        ludus.load("run")
    edited(recipes.nest({"method": {"name": "gan"}, "annealing": {}}, written))
    with pytest.raises(UserError, match="of R3GAN, the recipe says GAN"):
        ludus.resume("run", steps=8, data=x)


def test_points_on_a_line(x):
    run = train("r3gan", x[:, 0, 0], settings={"snapshot.count": 1})
    assert run.sample(3).shape == (3,) and (run.folder / "report.html").exists()


def test_steps_overrule_the_clock(monkeypatch):
    data = data_of((2,))
    recipe = recipe_of("gan", data, **QUICK, **{"plan.minutes": 5.0})
    path = Path("run")
    path.mkdir()
    session.prepare(path, recipe, data)

    def interrupt(plan, trainer):
        if trainer.turn == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "before", interrupt)
        with pytest.raises(Interrupted):
            session.play(path, recipe, data, None)
    session.play(path, recipe, data, None, steps=12)
    assert store.load(path).turn == 12
    written = recipes.read(path / "recipe.toml")
    assert written["trainer"]["steps"] == 12 and "plan" not in written
    assert journal.last(path / "metrics.jsonl")["turn"] == 12


def test_a_stopped_run_of_an_array_is_not_for_the_command_line(x, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "before", lambda plan, trainer: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=r"ludus\.resume\('run', \.\.\.\)"):
            train("gan", x, steps=None, minutes=5)
    assert ludus.resume("run", data=x, steps=6).turn == 6


def test_too_many_samples_are_refused_before_they_are_drawn(x):
    run = train("gan", x)
    with pytest.raises(UserError, match="more than the budget"):
        run.sample(10**12)
    with pytest.raises(UserError, match="whole number"):
        run.sample(0)


def test_a_copied_run_is_a_run(x, tmp_path):
    run = train("gan", x)
    os.rename("run", "moved")
    assert np.array_equal(ludus.load("moved").sample(3), run.sample(3))
    assert copy.deepcopy(run.game).sample(2).shape == (2, 1, 6, 5)


OUT_OF_RANGE = [
    "averaging.share=-0.05", "averaging.half_life=0", "method.smoothing=7", "annealing.hold=2", "annealing.decay=-1",
    "trainer.every.generator=0", "snapshot.count=-1", "plan.minutes=-1", "checkpoint.keep=0", "trainer.lr=0",
    "trainer.betas=[0.5,1.5]", "sampler.batch=0", "sampler.seed=3", "annealing.values.gama=[1,2]",
    "annealing.values.smoothing=[-1,0]", "annealing.values.players=[1,2]", "trainer.steps=2.5", "trainer.play=both",
    "trainer.rates.critic=1e-3", "method.penalties.r1=-1",
]  # fmt: skip


@pytest.mark.parametrize("setting", OUT_OF_RANGE)
def test_numbers_out_of_range_are_refused(x, setting):
    key, value = recipes.parse(setting)
    with pytest.raises(UserError, match=key.split(".")[-1].replace("[", r"\[") + "|critic"):
        train("gan", x, settings={key: value})
